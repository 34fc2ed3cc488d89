"""Time self-critical training of a ViT + GPT-2 beside `generate` of transformers and a plain autograd loop, part by part.

    python benchmarks/captioning.py [--sizes 10M,60M,200M,own] [--seeds 0,1,2] [--rounds 5] [--threads 2] [--no-memory]

A step: 16 images of 128x128 pixels, a greedy caption and five samples for each, at most 20 tokens, CIDEr-D on token ids as the
reward, the greedy one as the baseline, one step of AdamW with clipped gradients. All sides have the same weights, drawn at random
(`captioners.py`), the same reward and fp32; captions end like people's (`ends`), or never (`full`). Both peers call `generate` twice
(do_sample with num_return_sequences=5, and greedy; use_cache) and learn from whole logits, log_softmax, and torch's own AdamW. The
`loop` is the one that a reader of the manual writes: pixels go into both calls, and into the model once for every sample. The `careful`
one encodes each image once for both calls, and once more with gradients unless the encoder is frozen. Ours is `SelfCritical` on
`TransformersPolicy`; where the encoder is frozen it reads hidden states that were computed before, as `seqrl train` does; with `--sides
ours,plain,loop,careful` also with the decoder as transformers has it (`fast=False`). They take turns in one process, and the first turn
of each does not count. `own` is this project's small captioner for photographs, which has no peer; its captions never end, since its
weights are fresh.

Parts: encode (without gradients), sample (both kinds of captions), reward, learn (with encoding, where it has gradients). Milliseconds are
medians over rounds and seeds, of wall-clock and of CPU time over all threads. Peak memory is measured in processes of their own,
two steps each: the highest resident size, and how much of it came with the steps (gradients, averages of AdamW, caches, what is kept for
the derivatives).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from competitors import run_benchmark, run_competitor
from provenance import RESULTS, add_arguments, provenance, require_clean, write_results

NUM_IMAGES, NUM_SAMPLES, LEARNING_RATE = 16, 5, 1e-7
PARTS = ("encode", "sample", "reward", "learn")
PEERS = ("loop", "careful")
SIZE_NAMES = ("10M", "60M", "200M", "own")
# How captions end, and whether the encoder learns.
CASES = {"ends": (True, False), "ends_frozen": (True, True), "full": (False, False), "full_frozen": (False, True)}


class Clock:
    """Sums wall-clock and CPU seconds of named parts; a part within another one counts for itself, but not within `learn`."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.wall = dict.fromkeys(PARTS, 0.0)
        self.processor = dict.fromkeys(PARTS, 0.0)
        self._open: list[str] = []
        self._since = (0.0, 0.0)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        if "learn" in self._open:
            yield
            return
        self._turn()
        self._open.append(name)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **settings: Any) -> Any:
            with self.part(name):
                return function(*args, **settings)

        return timed

    def _turn(self) -> None:
        now = (time.perf_counter(), time.process_time())
        if self._open:
            self.wall[self._open[-1]] += now[0] - self._since[0]
            self.processor[self._open[-1]] += now[1] - self._since[1]
        self._since = now


def make_reward(vocabulary: int, seed: int) -> Any:
    """Give CIDEr-D on token ids against five references an image, drawn at random among few words."""
    import numpy as np

    from seqrl.metrics.mix import MetricMix

    draws = np.random.default_rng(seed)
    lengths = draws.integers(8, 16, (1_000, 5))
    references = [[draws.integers(3, min(vocabulary, 400), length).tolist() for length in row] for row in lengths]
    reward = MetricMix({"cider_d": 1.0}, references, end=2, score_end=True)
    # Its loops are compiled when they are first called, which is no step's time or memory.
    reward.score(np.array([[3, 4, 2]]), np.array([3]), np.array([0]))
    return reward


class Task:
    """What `CaptioningTask.rollout` does, on images drawn at random and with a clock around its parts."""

    def __init__(self, images: Any, reward: Any, clock: Clock) -> None:
        self.images, self.reward, self.clock = images, reward, clock

    def rollout(self, policy: Any, *, num_samples: int, generator: Any, **_: Any) -> Any:
        import torch

        from seqrl.decoding import sample_beside_greedy

        items, context = torch.arange(NUM_IMAGES), {"image": self.images.to(next(policy.parameters()).device)}
        with self.clock.part("sample"):
            rows, greedy = sample_beside_greedy(policy, context, num_samples=num_samples, group=items, generator=generator)
        scores, baseline = self._score(rows), self._score(greedy)
        return rows.replace(
            reward=rows.reward + scores.unsqueeze(1) * rows.terminated, baseline=baseline.repeat_interleave(num_samples, dim=0)
        )

    def _score(self, rows: Any) -> Any:
        import torch

        with self.clock.part("reward"):
            parts = (rows.action, rows.mask.sum(dim=1), rows.group)
            scores = self.reward.score(*(part.cpu().numpy() for part in parts))
            return torch.as_tensor(scores, dtype=torch.float32, device=rows.action.device)


class Ours:
    """`SelfCritical` on a policy, which looks at images once where its encoder is frozen and pretrained."""

    def __init__(self, policy: Any, images: Any, reward: Any, seed: int) -> None:
        import torch

        from seqrl.optimiser_config import OptimiserConfig
        from seqrl.trainers.self_critical import SelfCritical, SelfCriticalConfig

        self.clock = Clock()
        optimiser = OptimiserConfig(learning_rate=LEARNING_RATE, precision="fp32")
        config = SelfCriticalConfig(baseline="greedy", num_samples=NUM_SAMPLES, optimiser=optimiser)
        self.trainer = SelfCritical(policy, config, seed=seed)
        if policy.freeze_encoder:
            with torch.no_grad():
                memory = policy.encode(images)
            images = memory.get("hidden", images)
        self.task: Any = Task(images, reward, self.clock)
        policy.encode = self.clock.around("encode", policy.encode)

    def step(self) -> float:
        """Take a step; give the mean length of the samples."""
        rows = self.trainer.collect(self.task)
        with self.clock.part("learn"):
            self.trainer.update(rows)
        return float(rows.mask.sum(dim=1).float().mean())


class Peer:
    """`generate` and a plain autograd loop; a careful one encodes each image once for all that is written about it."""

    def __init__(self, model: Any, pixels: Any, reward: Any, *, frozen: bool, careful: bool) -> None:
        import torch

        self.clock, self.model, self.pixels, self.reward, self.frozen = Clock(), model, pixels, reward, frozen
        self.careful = careful
        model.encoder.requires_grad_(not frozen)
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.0)

    def step(self) -> float:
        """Take a step; give the mean length of the samples."""
        import torch
        from captioners import END, MAX_TOKENS
        from transformers.modeling_outputs import BaseModelOutput

        with torch.no_grad():
            hidden, seen = None, {"pixel_values": self.pixels}
            if self.careful:
                with self.clock.part("encode"):
                    hidden = self.model.encoder(pixel_values=self.pixels).last_hidden_state
            with self.clock.part("sample"):
                settings: dict[str, Any] = {"max_new_tokens": MAX_TOKENS, "use_cache": True, "num_beams": 1}
                drawn = {"do_sample": True, "top_k": 0, "top_p": 1.0, "num_return_sequences": NUM_SAMPLES}
                rows, greedy = (
                    # `generate` changes what it is given.
                    self.model.generate(
                        **({"encoder_outputs": BaseModelOutput(last_hidden_state=hidden)} if self.careful else seen), **kind
                    )
                    for kind in (drawn | settings, {"do_sample": False} | settings)
                )
        with self.clock.part("reward"):
            lengths = [_lengths(tokens[:, 1:], END) for tokens in (rows, greedy)]
            scores = [
                torch.as_tensor(
                    self.reward.score(tokens[:, 1:].cpu().numpy(), length.cpu().numpy(), items.numpy()),
                    dtype=torch.float32,
                    device=tokens.device,
                )
                for tokens, length, items in zip(
                    (rows, greedy),
                    lengths,
                    (torch.arange(NUM_IMAGES).repeat_interleave(NUM_SAMPLES), torch.arange(NUM_IMAGES)),
                    strict=True,
                )
            ]
            advantage = scores[0] - scores[1].repeat_interleave(NUM_SAMPLES)
        with self.clock.part("learn"):
            self._learn(rows, lengths[0], advantage, hidden)
        return float(lengths[0].float().mean())

    def _learn(self, rows: Any, lengths: Any, advantage: Any, hidden: Any) -> None:
        import torch
        from transformers.modeling_outputs import BaseModelOutput

        if not self.careful:
            logits = self.model(pixel_values=self.pixels.repeat_interleave(NUM_SAMPLES, dim=0), decoder_input_ids=rows[:, :-1]).logits
        else:
            if not self.frozen:
                hidden = self.model.encoder(pixel_values=self.pixels).last_hidden_state
            encoded = BaseModelOutput(last_hidden_state=hidden.repeat_interleave(NUM_SAMPLES, dim=0))
            logits = self.model(encoder_outputs=encoded, decoder_input_ids=rows[:, :-1]).logits
        logp = logits.log_softmax(dim=-1).gather(2, rows[:, 1:].unsqueeze(2)).squeeze(2)
        mask = torch.arange(logp.shape[1], device=logp.device) < lengths.unsqueeze(1)
        loss = -(advantage.unsqueeze(1) * logp * mask).sum() / mask.sum()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()


def _lengths(tokens: Any, end: int) -> Any:
    """Count the tokens of rows up to their first end token, which counts."""
    ended = (tokens == end).cumsum(dim=1) - (tokens == end).int()
    return (ended == 0).sum(dim=1)


def make_sides(size: str, case: str, seed: int, names: Sequence[str]) -> dict[str, Any]:
    """Make the named sides, each with a model of its own: "ours", "plain" (ours with the decoder of transformers), "loop" and "careful"."""
    import copy

    from captioners import SIZES, build_model, pictures, policy_of

    ending, frozen = CASES[case]
    images = pictures(NUM_IMAGES, seed=seed)
    if size == "own":
        return {"ours": _own_captioner(images, seed, frozen=frozen)}
    first, reward = build_model(SIZES[size], seed, ending=ending), make_reward(SIZES[size].vocabulary, seed)
    pixels = policy_of(first).adapter.processor(list(images), return_tensors="pt")["pixel_values"]
    models = {name: copy.deepcopy(first) for name in names[1:]} | {names[0]: first}
    return {
        name: Peer(models[name], pixels, reward, frozen=frozen, careful=name == "careful")
        if name in PEERS
        else Ours(policy_of(models[name], freeze_encoder=frozen, fast=name == "ours"), images, reward, seed)
        for name in names
    }


def _own_captioner(images: Any, seed: int, *, frozen: bool) -> Ours:
    import torch

    from seqrl.tasks.captioning.policies import PolicyConfig, build_policy
    from seqrl.tasks.writing.vocabulary import Vocabulary

    torch.manual_seed(seed)
    words = Vocabulary([f"word{index}" for index in range(2_596)])
    config = PolicyConfig(encoder="photographs", dim=256, num_layers=3, num_heads=8, freeze_encoder=frozen)
    return Ours(build_policy(config, words, images.shape[2]), images, make_reward(2_600, seed), seed)


def measure(size: str, case: str, seed: int, rounds: int, names: Sequence[str]) -> dict[str, Any]:
    """Let the sides take turns; give seconds of each part, round by round."""
    sides = make_sides(size, case, seed, names)
    found: dict[str, Any] = {name: {"wall_s": [], "processor_s": [], "length": []} for name in sides}
    for turn in range(rounds + 1):
        for name in sorted(sides, reverse=bool(turn % 2)):
            side = sides[name]
            if hasattr(side, "trainer"):
                side.trainer.policy.eval()
            side.clock.clear()
            length = side.step()
            if turn:
                found[name]["wall_s"].append(side.clock.wall)
                found[name]["processor_s"].append(side.clock.processor)
                found[name]["length"].append(length)
    return found


def worker(name: str, args: argparse.Namespace) -> None:
    """Measure what `name` says, "times" or "memory" of a size, case and side, and print it as JSON."""
    import torch
    import transformers  # noqa: F401  # counts among the imports

    import seqrl.tasks.captioning.policies.pretrained
    import seqrl.trainers.self_critical  # noqa: F401

    torch.set_num_threads(args.threads)
    kind, size, case, seed, *side = name.split(":")
    if kind == "times":
        print(json.dumps(measure(size, case, int(seed), args.rounds, args.sides.split(","))))
        return
    (measured,) = make_sides(size, case, int(seed), side).values()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2):
        measured.step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"peak_mb": peak / 1024, "growth_mb": (peak - before) / 1024}))


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Take medians over the rounds of all seeds, and ratios of the sides."""
    summary: dict[str, Any] = {}
    for clock in ("wall", "processor"):
        sides = {
            name: {part: 1000 * statistics.median(each[part] for run in runs for each in run[name][f"{clock}_s"]) for part in PARTS}
            for name in runs[0]
        }
        for parts in sides.values():
            parts["step"] = sum(parts.values())
        summary[f"{clock}_ms"] = sides
        for parts in sides.values():
            parts["decode"] = parts["encode"] + parts["sample"]
        if "ours" in sides:
            summary[f"{clock}_ratio"] = {
                name: {part: sides[name][part] / sides["ours"][part] for part in ("sample", "decode", "learn", "step")}
                for name in PEERS
                if name in sides
            }
    summary["mean_length"] = {name: statistics.fmean(length for run in runs for length in run[name]["length"]) for name in runs[0]}
    return summary


def show(size: str, case: str, summary: dict[str, Any]) -> None:
    """Print a size and case."""
    for clock in ("wall", "processor"):
        for name, parts in summary[f"{clock}_ms"].items():
            print(
                f"{size:5s} {case:12s} {name:5s} {clock:9s} " + "  ".join(f"{part} {value:8.1f}" for part, value in parts.items()) + " ms"
            )
        for name, ratios in summary.get(f"{clock}_ratio", {}).items():
            parts = "  ".join(f"{part} {value:.2f}" for part, value in ratios.items())
            print(f"{size:5s} {case:12s} times the speed of {name}, {clock}: {parts}")
    for key in ("peak_mb", "growth_mb"):
        if "memory" in summary:
            print(f"{size:5s} {case:12s} {key}: " + "  ".join(f"{name} {values[key]:.0f}" for name, values in summary["memory"].items()))
    print(f"{size:5s} {case:12s} mean tokens of a sample: {summary['mean_length']}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=",".join(SIZE_NAMES), help=f"of {', '.join(SIZE_NAMES)}")
    parser.add_argument("--cases", default=",".join(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--rounds", type=int, default=5, help="steps of each side that count, a seed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sides", default="ours,loop,careful", help="of ours, plain, loop, careful")
    parser.add_argument("--no-memory", action="store_true", help="leave out the peak memory")
    parser.add_argument("--worker", help="only measure this, and print it")
    parser.add_argument("--output", type=Path, default=RESULTS / "captioning.json")
    add_arguments(parser)
    args = parser.parse_args()
    if args.worker is not None:
        worker(args.worker, args)
        return
    require_clean(allow_dirty=args.allow_dirty)
    seeds = [int(seed) for seed in args.seeds.split(",")]
    report: dict[str, Any] = {"provenance": provenance(seeds, threads=args.threads), "load_average_before": os.getloadavg()}
    report |= {"images": NUM_IMAGES, "samples_an_image": NUM_SAMPLES, "rounds": args.rounds, "sizes": {}}
    settings = ["--rounds", str(args.rounds), "--threads", str(args.threads), "--sides", args.sides]
    names = args.sides.split(",")
    for size in args.sizes.split(","):
        report["sizes"][size] = {"parameters": _parameters(size), "cases": {}}
        cases = args.cases if size != "own" else args.cases.replace("ends", "full")
        for case in dict.fromkeys(cases.split(",")):
            runs = [run_competitor(__file__, f"times:{size}:{case}:{seed}", settings) for seed in seeds]
            summary = summarise(runs)
            if not args.no_memory and size != "own":
                memory = {name: run_competitor(__file__, f"memory:{size}:{case}:{seeds[0]}:{name}", settings) for name in names}
                summary["memory"] = memory
            show(size, case, summary)
            report["sizes"][size]["cases"][case] = summary
            report["load_average_after"] = os.getloadavg()
            write_results(args.output, report)  # a large size takes long, and may be broken off
    print(f"written to {args.output}")


def _parameters(size: str) -> dict[str, int]:
    """Count parameters: all, those of the vocabulary, and those of the encoder."""
    from captioners import SIZES, build_model, count_parameters

    return {} if size == "own" else count_parameters(build_model(SIZES[size], 0, ending=False))


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
