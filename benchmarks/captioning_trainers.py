"""Compare the trainers on drawn scenes from one cross-entropy checkpoint: reward against samples and against time.

    python benchmarks/captioning_trainers.py [--seeds 0,1,2] [--updates 100] [--methods a,b] [--warm RUN] [--field.field=value ...]

Every run starts from the same weights, samples 5 captions of 16 images an update and has the learning rate, schedule,
clipping and precision of configs/captioning/scenes_self_critical.yaml; nothing is tuned for any of them, there is no
imitation and no penalty for leaving the first policy. Further --field.field=value go to every run. The policy has a
critic in all of them, which only two use; cross-entropy does not train it. One thread. Time is CPU time in sampling,
reward and update, so that other work on the machine counts little. Finished runs of the same settings are not done again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = "1"

import numpy as np
from competitors import train_once, whole
from small_png import write_small_png

from seqrl.run import checkpoint
from seqrl.run.config import RunConfig, decisive, fingerprint, read_config, write_config
from seqrl.run.decode import encode
from seqrl.run.environment import environment, write_environment
from seqrl.run.interrupt import run_command
from seqrl.run.loop import fit
from seqrl.run.run_folder import check_writable
from seqrl.run.statistics import bootstrap_interval, interquartile_mean
from seqrl.run.train import build, start_from, task_fingerprints

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs" / "captioning"

# What differs between the methods: the configuration to begin with, and its changes.
METHODS: dict[str, tuple[str, list[str]]] = {
    **{
        f"reinforce_{baseline}": ("scenes_reinforce", [f"--trainer.baseline={baseline}"])
        for baseline in ("none", "moving_average", "critic", "leave_one_out", "group_norm", "greedy")
    },
    **{
        f"self_critical_{baseline}": ("scenes_self_critical", [f"--trainer.baseline={baseline}"])
        for baseline in ("leave_one_out", "greedy")
    },
    **{f"ppo_{name}": ("scenes_ppo", [f"--trainer.advantage={name}", "--trainer.kl_coef=0.0"]) for name in ("leave_one_out", "gae")},
}
SHARED = [
    "--task.policy.critic=true",
    "--task.images_per_batch=16",
    "--task.evaluation.max_images=200",
    "--trainer.num_samples=5",
    "--trainer.imitation.weight=0.0",
    "--trainer.optimiser.learning_rate=5e-4",
    "--early_stop=null",
    "--save_every=0",
    "--log_every=1",
    "--num_threads=1",
    "--trainer.optimiser.precision=fp32",
]

COLOURS = {
    "reinforce_none": "#888888",
    "reinforce_moving_average": "#E69F00",
    "reinforce_critic": "#009E73",
    "reinforce_leave_one_out": "#0072B2",
    "reinforce_group_norm": "#56B4E9",
    "reinforce_greedy": "#D55E00",
    "self_critical_leave_one_out": "#0072B2",
    "self_critical_greedy": "#D55E00",
    "ppo_leave_one_out": "#000000",
    "ppo_gae": "#CC79A7",
}
# Measured quantity of a record's curve -> how the picture names it.
QUANTITIES = {"evaluations": "CIDEr-D (greedy, dev)", "rewards": "reward (sampled, train)"}
AXES = {"samples": "captions sampled", "processor_s": "CPU time (s)"}


class ProcessorClock:
    """Keeps a run's figures, each with the CPU time spent in updates until then; evaluations do not count."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._spent, self._last = 0.0, time.process_time()

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        if "reward/mean" in figures:
            self._spent += time.process_time() - self._last
        self.rows.append({**figures, "step": step, "processor_s": self._spent})
        self._last = time.process_time()

    def close(self) -> None:
        pass


def warm_up(folder: Path, steps: int, extra: Sequence[str]) -> Path:
    """Train the checkpoint that all runs start from, unless it is there; give the checkpoint used."""
    overrides = [f"--name={folder.name}", f"--runs_folder={folder.parent}", "--seed=0", f"--num_updates={steps}", "--num_threads=1"]
    overrides += ["--trainer.optimiser.precision=fp32"]
    if (
        not (folder / "config.yaml").is_file() or read_config(folder / "config.yaml").num_updates == steps
    ):  # another one's length is its own
        train_once(read_config(CONFIGS / "scenes_xe.yaml", [*overrides, "--task.policy.critic=true", *extra]))
    return checkpoint.find(folder, prefer_best=True)


def make_config(method: str, seed: int, updates: int, warm: Path, runs: Path, extra: Sequence[str]) -> RunConfig:
    base, changes = METHODS[method]
    own = [f"--name={method}_seed{seed}", f"--runs_folder={runs}", f"--seed={seed}", f"--init_from={warm}"]
    length = [f"--num_updates={updates}", f"--eval_every={max(1, updates // 5)}"]
    return read_config(CONFIGS / f"{base}.yaml", [*SHARED, *changes, *own, *length, *extra])


def measure(config: RunConfig, *, updates: int | None = None) -> list[dict[str, float]]:
    """Do a run and give its figures; with `updates` only that many, and nothing is kept."""
    task, policy = build(config)
    present = task_fingerprints(task)
    assert config.init_from is not None
    start_from(config.init_from, policy, present)
    folder = None if updates else config.run_folder
    if folder is not None:
        check_writable(folder)
        write_config(config, folder / "config.yaml")
        write_environment(folder / "env.json", seed=config.seed)
    trainer = config.trainer.build(policy, seed=config.seed, num_updates=config.num_updates)
    clock = ProcessorClock()
    meta = {"config": decisive(config), "fingerprint": fingerprint(config), "task": present}
    steps = updates or config.num_updates
    settings: dict[str, Any] = {"num_updates": steps, "run_folder": folder, "eval_every": config.eval_every}
    whole(fit(trainer, task, policy=policy, writers=[clock], meta=meta, **settings))
    return clock.rows


def record_of(method: str, config: RunConfig) -> dict[str, Any]:
    """Do a run, or read what it gave before, and give its curves."""
    path, settings = config.run_folder / "record.json", json.loads(json.dumps(encode(config)))
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["settings"] == settings:
            return kept
    rows = measure(config)
    dev = [row for row in rows if "dev/cider_d" in row]
    learning = [row for row in rows if "reward/mean" in row]
    blocks = [learning[start : start + config.eval_every] for start in range(0, len(learning), config.eval_every)]
    record = {
        "method": method,
        "seed": config.seed,
        "optimiser_steps": float(np.mean([row.get("policy/optimiser_steps", 1.0) for row in learning])),
        "wall_s": learning[-1]["time/train_s"],
        "last_evaluation": {key.removeprefix("dev/"): round(value, 5) for key, value in dev[-1].items() if key.startswith("dev/")},
        "evaluations": {
            "samples": [row["progress/num_samples"] for row in dev],
            "processor_s": [round(row["processor_s"], 3) for row in dev],
            "value": [round(row["dev/cider_d"], 5) for row in dev],
        },
        # Averages between two evaluations, at the middle of them.
        "rewards": {
            "samples": [float(np.mean([row["progress/num_samples"] for row in block])) for block in blocks],
            "processor_s": [round(float(np.mean([row["processor_s"] for row in block])), 3) for block in blocks],
            "value": [round(float(np.mean([row["reward/mean"] for row in block])), 5) for block in blocks],
        },
        "settings": settings,
    }
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


def interval(values: Sequence[float]) -> dict[str, Any]:
    low, high = bootstrap_interval(values, generator=np.random.default_rng(0))
    numbers = {"mean": float(interquartile_mean(values)), "low": float(low), "high": float(high)}
    return {**{name: None if np.isnan(value) else round(value, 5) for name, value in numbers.items()}, "values": list(values)}


def summarise(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Average over the seeds: at the end of the samples, and at the time when the fastest run ended."""
    shortest = min(record["evaluations"]["processor_s"][-1] for record in records)
    summary: dict[str, Any] = {"same_time_s": shortest, "start": records[0]["evaluations"]["value"][0], "methods": {}}
    for method in dict.fromkeys(record["method"] for record in records):
        own = [record for record in records if record["method"] == method]
        curves = [record["evaluations"] for record in own]
        summary["methods"][method] = {
            "seeds": [record["seed"] for record in own],
            "optimiser_steps_an_update": float(np.mean([record["optimiser_steps"] for record in own])),
            "dev_cider_d": interval([curve["value"][-1] for curve in curves]),
            "dev_cider_d_at_same_time": interval([float(np.interp(shortest, curve["processor_s"], curve["value"])) for curve in curves]),
            "train_reward": interval([record["rewards"]["value"][-1] for record in own]),
            "processor_s": interval([curve["processor_s"][-1] for curve in curves]),
        }
    return summary


def table(summary: Mapping[str, Any], samples: float) -> str:
    def cell(numbers: Mapping[str, Any], digits: int = 3) -> str:
        mean, low, high = (numbers[name] for name in ("mean", "low", "high"))
        return f"{mean:.{digits}f}" + ("" if low is None else f" ({low:.{digits}f}-{high:.{digits}f})")

    heads = ["trainer", "optimiser steps an update", f"dev CIDEr-D after {samples:,.0f} samples", "train reward, last fifth"]
    rows = [[*heads, f"time for {samples:,.0f} samples (s)", f"dev CIDEr-D after {summary['same_time_s']:.0f} s"]]
    for method, numbers in summary["methods"].items():
        shown = [method, f"{numbers['optimiser_steps_an_update']:.1f}", cell(numbers["dev_cider_d"]), cell(numbers["train_reward"])]
        rows.append([*shown, cell(numbers["processor_s"], 1), cell(numbers["dev_cider_d_at_same_time"])])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def draw(records: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], path: Path) -> None:
    """Draw both quantities against samples and time, and beside them where each method ended."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 6.4), layout="constrained")
    panels = figure.subplots(2, 3, width_ratios=(1, 1, 1))
    for row, (quantity, meaning) in zip(panels, QUANTITIES.items(), strict=True):
        for panel, (axis, label) in zip(row, AXES.items(), strict=False):
            for method in summary["methods"]:
                _draw_curve(panel, [record[quantity] for record in records if record["method"] == method], axis, method)
            panel.set_xlabel(label)
            panel.set_ylabel(meaning)
            panel.grid(alpha=0.25)
        _draw_ends(row[2], summary["methods"], "dev_cider_d" if quantity == "evaluations" else "train_reward")
        row[2].set_xlabel(f"{meaning}, at the end" if quantity == "evaluations" else f"{meaning}, last fifth")
    for draw_line, panel in zip(("axhline", "axhline", "axvline"), panels[0], strict=True):
        getattr(panel, draw_line)(summary["start"], color="#444444", linewidth=0.8, linestyle=":")
    path.parent.mkdir(parents=True, exist_ok=True)
    # A palette makes the file a third as large.
    write_small_png(figure, path)


def _draw_curve(panel: Any, curves: Sequence[Mapping[str, Any]], axis: str, method: str) -> None:
    style = {"color": COLOURS[method], "linestyle": "--" if method.startswith("self_critical") else "-"}
    values = np.array([curve["value"] for curve in curves])
    places = np.mean([curve[axis] for curve in curves], axis=0)
    panel.plot(places, interquartile_mean(values, axis=0), linewidth=1.8, **style)
    if len(curves) > 1:
        low, high = bootstrap_interval(values, generator=np.random.default_rng(0))
        panel.fill_between(places, low, high, color=COLOURS[method], alpha=0.10, linewidth=0)


def _draw_ends(panel: Any, methods: Mapping[str, Any], name: str) -> None:
    """Draw where each method ended: a dot a seed, a bar for the interval; the names serve the other panels as legend."""
    for place, (method, numbers) in enumerate(methods.items()):
        end, colour = numbers[name], COLOURS[method]
        if end["low"] is not None:
            panel.plot([end["low"], end["high"]], [place, place], color=colour, linewidth=5, alpha=0.3)
        panel.plot(end["values"], [place] * len(end["values"]), ".", color=colour, markersize=4)
        face = "white" if method.startswith("self_critical") else colour
        panel.plot(end["mean"], place, "o", color=colour, markerfacecolor=face, markersize=8)
    panel.set_yticks(range(len(methods)), [method.replace("_", " ") for method in methods], fontsize="small")
    for tick, method in zip(panel.get_yticklabels(), methods, strict=True):
        tick.set_color(COLOURS[method])
    panel.invert_yaxis()
    panel.grid(alpha=0.25, axis="x")


def parse(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--seeds", default="0,1,2", help="seeds of the images' order and of the sampling")
    parser.add_argument("--updates", type=int, default=100, help="of each run, 80 samples each")
    parser.add_argument("--methods", default=",".join(METHODS), help="some of the methods")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "captioning_trainers", help="where the runs go")
    parser.add_argument("--warm", type=Path, help="cross-entropy run with policy.critic=true; RUNS/warm, made when absent, by default")
    parser.add_argument("--warm-steps", type=int, default=1200, help="updates by cross-entropy, where that run is made here")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "captioning_trainers.json")
    parser.add_argument("--figure", type=Path, default=ROOT / "docs" / "figures" / "captioning_trainers.png")
    args, extra = parser.parse_known_args(arguments)
    unknown = set(args.methods.split(",")) - set(METHODS)
    if unknown:
        parser.error(f"--methods: unknown {', '.join(sorted(unknown))}; there are {', '.join(METHODS)}")
    return args, extra


def main(arguments: Sequence[str] | None = None) -> None:
    args, extra = parse(arguments)
    warm = warm_up(args.warm or args.runs / "warm", args.warm_steps, extra)
    seeds, methods = [int(seed) for seed in args.seeds.split(",")], args.methods.split(",")
    # Seeds outside, so that a change in the machine's load meets all methods alike.
    configs = [(method, make_config(method, seed, args.updates, warm, args.runs, extra)) for seed in seeds for method in methods]
    measure(configs[0][1], updates=2)  # what is compiled or loaded once is no method's cost
    records = []
    for method, config in configs:
        records.append(record_of(method, config))
        curve = records[-1]["evaluations"]
        print(f"{config.name:36s} dev CIDEr-D {curve['value'][-1]:.3f}  {curve['processor_s'][-1]:6.1f} s", flush=True)
    records.sort(key=lambda record: (methods.index(record["method"]), record["seed"]))
    summary = summarise(records)
    about = environment(seed=seeds[0])
    starts = [json.loads((config.run_folder / "env.json").read_text(encoding="utf-8"))[-1] for _, config in configs]
    meta = json.loads((warm / checkpoint.META).read_text(encoding="utf-8"))
    report = {
        "command": " ".join(["python", "benchmarks/captioning_trainers.py", *about["command"][1:]]),
        "seeds": seeds,
        "git_commits": sorted({str(start["git_commit"]) for start in starts}),
        **{name: about[name] for name in ("python", "packages", "platform", "cpu", "num_cpus", "num_threads")},
        "warm": {"step": meta["step"], "dev_all_images": meta["evaluation"]},
        "settings": {
            method: {"config": f"configs/captioning/{METHODS[method][0]}.yaml", "changes": METHODS[method][1]} for method in methods
        },
        "shared_changes": [*SHARED, f"--num_updates={args.updates}", *extra],
        "summary": summary,
        "runs": [{key: value for key, value in record.items() if key != "settings"} for record in records],
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    draw(records, summary, args.figure)
    print(f"\n{table(summary, records[0]['evaluations']['samples'][-1])}\n\nwritten to {args.output} and {args.figure}")


if __name__ == "__main__":
    sys.exit(run_command(main, name="captioning_trainers.py"))
