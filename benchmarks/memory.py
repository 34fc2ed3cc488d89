"""Train heads over tapes by REINFORCE for some seeds, and evaluate them at twice the length that they learned from.

    python benchmarks/memory.py [--seeds 0,1,2] [--runs FOLDER] [--names tapes_copy]
    python benchmarks/memory.py --memory-tape [--seeds 0,1,2] [--runs FOLDER]
    python benchmarks/memory.py --networks [--seeds 0,1,2] [--runs FOLDER]

Does what `seqrl train NAME --seed=S` and `seqrl evaluate RUN --split=test` do for the configurations of configs/memory, one thread.
Writes benchmarks/results/memory.json (for each configuration and seed its figures on test, its curve on dev, CPU seconds) and
docs/figures/memory_tapes.png: symbols that were not written right while each seed learned, and where the heads of the first seed were.
The second form does the same for heads with a memory tape, in memory_tape.json and docs/figures/memory_tape.png, the heads alone.
The third form trains networks with differentiable memory or time by cross-entropy, and an LSTM beside each; it writes
benchmarks/results/memory_networks.json and docs/figures/memory_heads.png, the heads of the first neural Turing machine.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from competitors import run_benchmark
from provenance import RESULTS, ROOT, add_arguments, provenance, require_clean, write_results
from small_png import write_small_png

from configs import run_seed

COLOURS = {
    "tapes_copy": "#56B4E9",
    "tapes_reverse": "#D55E00",
    "tapes_repeat_copy": "#009E73",
    "tapes_addition": "#CC79A7",
}
MEMORY_TAPE = "tapes_reverse_memory"
LSTM = "--task.policy.type=lstm"
# A line of the table -> its configuration, and changes of it.
NETWORKS: dict[str, tuple[str, list[str]]] = {
    "ntm_copy": ("ntm_copy", []),
    "lstm_copy": ("ntm_copy", [LSTM]),
    "act_addition": ("act_addition", []),
    "lstm_addition": ("act_addition", [LSTM]),
}


def main() -> None:
    """Train, evaluate, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--names", nargs="+", choices=COLOURS, default=list(COLOURS), help="configurations, in this order")
    parser.add_argument("--memory-tape", action="store_true", help="train heads with a memory tape")
    parser.add_argument("--networks", action="store_true", help="train networks with differentiable memory or time")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "memory")
    add_arguments(parser)
    args = parser.parse_args()
    require_clean(allow_dirty=args.allow_dirty)
    seeds = [int(seed) for seed in args.seeds.split(",")]
    report: dict[str, Any] = {"provenance": provenance(seeds, threads=1), "configs": {}}
    folder = args.runs / report["provenance"]["commit"][:10]
    if args.networks:
        train_all(NETWORKS, seeds, folder, report, "memory_networks.json")
        copy_heads(folder / f"ntm_copy_seed{seeds[0]}", "memory_heads.png")
        return
    if args.memory_tape:
        train_all({MEMORY_TAPE: (MEMORY_TAPE, [])}, seeds, folder, report, "memory_tape.json")
        copy_heads(folder / f"{MEMORY_TAPE}_seed{seeds[0]}", "memory_tape.png")
        return
    train_all({name: (name, []) for name in args.names}, seeds, folder, report, "memory.json")
    draw(report["configs"], folder, seeds[0])


def train_all(lines: Mapping[str, tuple[str, list[str]]], seeds: Sequence[int], folder: Path, report: dict[str, Any], results: str) -> None:
    """Train each line's configuration, with its changes, for each seed, and write after each."""
    for line, (name, changes) in lines.items():
        report["configs"][line] = {"seeds": {}}
        for seed in seeds:
            record = run_seed(name, seed, changes, folder)
            report["configs"][line]["seeds"][seed] = {key: value for key, value in record.items() if key != "provenance"}
            write_results(RESULTS / results, report)
            print(f"{line}, seed {seed}: {record['test']}  {record['processor_s']:.0f} CPU seconds", flush=True)


def copy_heads(run: Path, name: str) -> None:
    """Put the picture of a run's heads beside the pages."""
    path = ROOT / "docs" / "figures" / name
    shutil.copyfile(heads(run), path)
    print(path)


def draw(configs: dict[str, Any], folder: Path, seed: int) -> None:
    """Draw the learning curves of all seeds, and the heads of one seed's run of each configuration."""
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(4 + 3 * len(configs), 5.4), layout="constrained")
    curves, *pictures = figure.subplots(1, 1 + len(configs))
    for name, entry in configs.items():
        for which, record in entry["seeds"].items():
            error, steps = 1 - np.array(record["curve"]["dev/return_mean"]), np.array(record["curve"]["env_steps"])
            curves.plot(steps / 1000, error, color=COLOURS[name], label="_" * (int(which) != seed) + name, alpha=0.8)
    for name, picture in zip(configs, pictures, strict=True):
        picture.imshow(np.asarray(Image.open(heads(folder / f"{name}_seed{seed}"))))
        picture.set_axis_off()
        picture.set_title(f"{name}: a line a step", fontsize=9)
    curves.set(xlabel="environment steps (thousands), a line a seed", ylabel="symbol error on dev, twice the length", ylim=(-0.02, 1.02))
    curves.grid(alpha=0.25)
    curves.legend(fontsize=8)
    path = ROOT / "docs" / "figures" / "memory_tapes.png"
    write_small_png(figure, path, dpi=100)
    print(path)


def heads(run: Path) -> Path:
    """Draw episodes of a run as `seqrl sample` does; give the picture of the longest one, a repeated copy that repeats something."""
    from PIL import Image

    from seqrl.run.train import load

    _, task, policy, _ = load(run)
    pictures = [path for path in task.sample(policy, run / "samples", count=4) if path.suffix == ".png"]
    return max(pictures, key=lambda path: Image.open(path).height)


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
