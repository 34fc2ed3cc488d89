"""Time one epoch of recurrent attention on MNIST: 60,000 images, six glimpses of 8x8, beside the best-known open PyTorch implementation.

    git clone https://github.com/kevinzakka/recurrent-visual-attention /tmp/peer
    SEQRL_DATA=/folder/of/data python benchmarks/attention.py --peer /tmp/peer [--seeds 0,1,2] [--threads 2] [--processor-time]
    SEQRL_DATA=/folder/of/data python benchmarks/attention.py --study glimpses [--seeds 0,1,2] [--runs FOLDER]

The second form trains what a study of `STUDIES` compares, all with the same number of updates, one thread, and writes the errors on test to
benchmarks/results/attention_studies.json: "glimpses", 2 to 7 of them on 28x28; "sizes", digits of 28 pixels with and without augmentation,
evaluated at other sizes; "clutter", both canvases with clutter by the published rule; "perception", ap-gym's LightDark
(`pip install ap-gym`), also with steps at random, "perception_reinforce" by REINFORCE, "perception_still" with no steps. The rest is on the
first form.

The peer runs its own `Trainer.train_one_epoch` with its own settings, from images that lie ready in memory as its loader would
give them, so that its loader's time does not count. Ours is `collect` and `update` of `configs/attention/mnist_6x8.yaml`, its
figures included. The competitors take turns, each in a process of its own; each does `--batches` batches, of which the first
ones do not count, and the rate is carried over to 60,000 images. With --processor-time the seconds are those that all threads
computed, divided by their number, as on a machine with nothing else to do whose cores are always busy.

The split of ours is measured apart, with one thread and a clock around each part: retina (placing and cutting the glimpses), network
(all else of looking), backward (gradients), optimiser (norm, clipping, AdamW), rest (advantages, figures, the graph of the heads).
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import json
import os
import statistics
import sys
import time
import types
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from competitors import ROOT, run_benchmark, run_competitor
from provenance import RESULTS, add_arguments, provenance, require_clean, write_results

NUM_IMAGES, BATCHES_LEFT_OUT = 60_000, 20
CONTENDERS = {
    "ours": (128, "auto"),
    "ours_fp32": (128, "fp32"),
    "peer": (128, ""),
    "ours_512": (512, "auto"),
    "ours_512_fp32": (512, "fp32"),
    "peer_512": (512, ""),
}
# By study: updates, and for each line what is trained: a configuration and changes of it. Far fewer updates than the configurations have.
GLIMPSES = range(2, 8)
SIZES = (20, 28, 36)
STUDIES: dict[str, tuple[int, dict[str, tuple[str, list[str]]]]] = {
    "glimpses": (8000, {str(number): ("mnist_6x8", [f"--task.num_glimpses={number}"]) for number in GLIMPSES}),
    "sizes": (
        1000,
        {
            "without": ("translated_8x12", []),
            "with": ("translated_8x12", ["--task.data.scale_augmentation=1.5"]),
        },
    ),
    "clutter": (2000, {"60x60": ("cluttered_8x12", []), "100x100": ("cluttered100_8x12", [])}),
    "perception": (
        0,  # as configured
        {
            "PPO": ("lightdark_ppo", []),
            "PPO, random steps": ("lightdark_ppo", ["--task.environment=RandomLightDark-v0"]),
        },
    ),
    "perception_reinforce": (0, {"REINFORCE": ("lightdark_reinforce", [])}),
    "perception_still": (0, {"PPO, no steps": ("lightdark_ppo", ["--task.environment=StillLightDark-v0"])}),
}


class Clock:
    """Sums the seconds that are spent in named parts, without those of parts within them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._open: list[str] = []
        self._since = 0.0

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        self._turn(name)
        try:
            yield
        finally:
            self._turn(None)

    def _turn(self, name: str | None) -> None:
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] = self.seconds.get(self._open[-1], 0.0) + now - self._since
        self._since = now
        if name is None:
            self._open.pop()
        else:
            self._open.append(name)

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **settings: Any) -> Any:
            with self.part(name):
                return function(*args, **settings)

        return timed


def build_ours(batch_size: int, precision: str, seed: int, threads: int) -> tuple[Any, Any]:
    from seqrl.run.config import read_config
    from seqrl.run.train import begin

    changes = [f"--seed={seed}", f"--task.images_per_batch={batch_size}", f"--task.policy.precision={precision}", "--task.data.num_dev=1"]
    changes += [f"--num_threads={threads}", "--trainer.optimiser.precision=fp32"]
    config = read_config(ROOT / "configs" / "attention" / "mnist_6x8.yaml", changes)
    config, _, task, policy = begin(config)
    return task, config.trainer.build(policy, seed=seed, num_updates=10_000)


def run_ours(batch_size: int, precision: str, seed: int, threads: int) -> tuple[Callable[[], None], str]:
    task, trainer = build_ours(batch_size, precision, seed, threads)
    return (lambda: trainer.update(trainer.collect(task)) and None), str(trainer.policy.core.dtype).removeprefix("torch.")


def run_peer(path: Path, batch_size: int, seed: int, num_batches: int, mark: Callable[[], None]) -> None:
    import torch

    from seqrl.tasks.attention.data import DataConfig, load_data

    class Loader:
        """Batches as the peer's loader gives them; says when one begins."""

        def __init__(self, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
            self.batches, self.sampler = batches, types.SimpleNamespace(indices=range(batch_size * len(batches)))

        def __len__(self) -> int:
            return len(self.batches)

        def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
            for batch in self.batches:
                mark()
                yield batch
            mark()

    # Only its TensorBoard log needs this package.
    sys.modules["tensorboard_logger"] = types.SimpleNamespace(configure=None, log_value=None)  # type: ignore[assignment]
    sys.path.insert(0, str(path))
    trainer_module, config_module = __import__("trainer"), __import__("config")
    config, _ = config_module.parser.parse_known_args([])
    config.use_gpu, config.use_tensorboard, config.plot_freq = False, False, 10**9
    train = load_data(DataConfig(source="mnist", path="$SEQRL_DATA/mnist", num_dev=1)).train
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    rows = [order[(start % 100) * batch_size % 50_000 :][:batch_size] for start in range(num_batches)]
    loader = Loader([((train.images[row].unsqueeze(1) / 255.0 - 0.1307) / 0.3081, train.labels[row]) for row in rows])
    torch.manual_seed(seed)
    os.chdir("/tmp")  # it makes a folder for plots where it is started
    trainer = trainer_module.Trainer(config, (loader, loader))
    with contextlib.redirect_stderr(io.StringIO()):
        trainer.train_one_epoch(1)


def split_of_ours(num_batches: int) -> dict[str, float]:
    """Give each part's share of the time of an update, with one thread."""
    import torch

    import seqrl.tasks.attention.relu_rnn as relu_rnn

    torch.set_num_threads(1)
    task, trainer = build_ours(128, "auto", 0, 1)
    clock = Clock()
    for owner, name, part in (
        (task.data, "batch", "retina"),
        (task.retina, "prepare", "retina"),
        (task.retina, "cut_prepared", "retina"),
        (task, "rollout", "network"),
        (trainer.optimiser, "_backward", "backward"),
        (trainer.optimiser, "_apply", "optimiser"),
        (relu_rnn, "gradients", "backward"),
    ):
        object.__setattr__(owner, name, clock.around(part, getattr(owner, name)))
    for batch in range(num_batches + BATCHES_LEFT_OUT):
        if batch == BATCHES_LEFT_OUT:
            clock.seconds.clear()
        with clock.part("rest"):
            trainer.update(trainer.collect(task))
    total = sum(clock.seconds.values())
    return {name: seconds / total for name, seconds in clock.seconds.items()}


def worker(name: str, args: argparse.Namespace) -> None:
    """Time a competitor's batches and print the seconds of each."""
    if not name.startswith("peer"):
        import_module("seqrl")  # before PyTorch, as the command does: it tells PyTorch's threads how to wait
    import torch

    if name == "split":
        print(json.dumps(split_of_ours(args.batches)))
        return
    torch.set_num_threads(args.threads)
    batch_size, precision = CONTENDERS[name]
    num_batches, marks = max(30, args.batches * 128 // batch_size) + BATCHES_LEFT_OUT, list[tuple[float, float]]()

    def mark() -> None:
        marks.append((time.perf_counter(), time.process_time() / args.threads))

    dtype = "float32"
    if name.startswith("peer"):
        run_peer(args.peer, batch_size, int(args.seeds), num_batches, mark)
    else:
        step, dtype = run_ours(batch_size, precision, int(args.seeds), args.threads)
        mark()
        for _ in range(num_batches):
            step()
            mark()
    spans = [[now - before for now, before in zip(*pair, strict=True)] for pair in zip(marks[1:], marks[:-1], strict=True)]
    wall, processor = (statistics.fmean(column) for column in zip(*spans[BATCHES_LEFT_OUT:], strict=True))
    per_epoch = NUM_IMAGES / batch_size
    print(json.dumps({"wall_s": per_epoch * wall, "processor_s": per_epoch * processor, "dtype": dtype}))


def measure(name: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Run a competitor in a process of its own and read its last line."""
    arguments = ["--seeds", str(seed), "--threads", str(args.threads), "--batches", str(args.batches)]
    return run_competitor(__file__, name, [*arguments, *(["--peer", str(args.peer)] if args.peer else [])])


def light_dark_without_choice(size: float, **settings: Any) -> Any:
    """Make LightDark with each step drawn at random from -size..size, whatever is asked for."""
    import gymnasium as gym

    import_module("ap_gym")

    class WithoutChoice(gym.ActionWrapper):
        def action(self, action: dict[str, Any]) -> dict[str, Any]:
            drawn = self.env.unwrapped.np_random.uniform(-size, size, size=2).astype("float32")
            return {**action, "action": drawn}

    return WithoutChoice(gym.make("LightDark-v0", disable_env_checker=True, **settings))


def study(name: str, seeds: Sequence[int], runs: Path, output: Path) -> None:
    """Train each line of a study for each seed, and write after each run."""
    import_module("torch").set_num_threads(1)
    from configs import label_of, run_seed
    from seqrl.run.train import load

    number, lines = STUDIES[name]
    report = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else {}
    entry = report[name] = {"provenance": provenance(seeds, threads=1), "updates": number, "lines": {line: {} for line in lines}}
    folder = runs / entry["provenance"]["commit"][:10]
    short = [f"--num_updates={number}", f"--eval_every={number}", "--task.evaluation.num_paths=0", "--task.policy.precision=fp32"]
    short = ["--trainer.optimiser.precision=fp32", *(short if number else [])]
    if name.startswith("perception"):
        for kind, size in (("Random", 1.0), ("Still", 0.0)):
            make = functools.partial(light_dark_without_choice, size)
            import_module("gymnasium").register(f"{kind}LightDark-v0", entry_point=make)
    for seed in seeds:
        for line, (config, changes) in lines.items():
            record = run_seed(config, seed, [*changes, *short], folder)
            kept = {key: record[key] for key in ("test", "updates", "processor_s")} | {
                "env_steps": record["curve"].get("env_steps", [0])[-1]
            }
            if name == "sizes":
                run = folder / label_of(config, seed, [*changes, *short])
                evaluated = {size: load(run, [f"--task.data.shown_size={size}"]) for size in SIZES}
                kept["sizes"] = {size: task.evaluate(policy, split="test") for size, (_, task, policy, _) in evaluated.items()}
            entry["lines"][line][seed] = kept
            write_results(output, report)
            print(f"{name} {line}, seed {seed}: {kept}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="a clone of the peer; without it ours runs alone")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--batches", type=int, default=200, help="batches of 128 images that are timed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processor-time", action="store_true")
    parser.add_argument("--worker", choices=[*CONTENDERS, "split"], help="only run this, and print what it measured")
    parser.add_argument("--study", choices=STUDIES, help="train and compare errors, and time nothing")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "attention", help="--study: where the runs go")
    parser.add_argument("--output", type=Path, help="file of results")
    add_arguments(parser)
    args = parser.parse_args()
    args.output = args.output or RESULTS / ("attention_studies.json" if args.study else "attention.json")
    if args.worker is not None:
        worker(args.worker, args)
        return
    require_clean(allow_dirty=args.allow_dirty)
    if args.study:
        study(args.study, [int(seed) for seed in args.seeds.split(",")], args.runs, args.output)
        return
    names = [name for name in CONTENDERS if args.peer or not name.startswith("peer")]
    seeds = [int(seed) for seed in args.seeds.split(",")]
    report: dict[str, Any] = {"provenance": provenance(seeds, threads=args.threads)}
    report |= {"threads": args.threads, "batches": args.batches, "load_average_before": os.getloadavg(), "seeds": {}}
    clock = "processor_s" if args.processor_time else "wall_s"
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for seed in seeds:
        report["seeds"][seed] = {}
        for name in names:
            said = report["seeds"][seed][name] = measure(name, seed, args)
            seconds[name].append(said[clock])
            print(f"seed {seed}  {name:10s} {said['dtype']:9s} {said[clock]:6.2f} s an epoch", flush=True)
    report["split"] = measure("split", 0, args)
    print("ours, one thread: " + "  ".join(f"{name} {share:.0%}" for name, share in report["split"].items()))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    report |= {"seconds_an_epoch": medians, "clock": clock, "load_average_after": os.getloadavg()}
    if args.peer:
        peers = {name: medians["peer_512" if "512" in name else "peer"] for name in names if name.startswith("ours")}
        report["times_the_peer"] = {name: peer / medians[name] for name, peer in peers.items()}
        print("as fast as the peer (fp32), times: " + "  ".join(f"{name} {ratio:.2f}" for name, ratio in report["times_the_peer"].items()))
    write_results(args.output, report)
    print(f"written to {args.output}")


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
