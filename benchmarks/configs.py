"""Train configurations for some seeds, evaluate each on test, and keep the figures.

    python benchmarks/configs.py acrobot_ppo mnist_6x8 --seeds 0,1,2 [-- --task.looking=grid]

Does what `seqrl train NAME --seed=S` and `seqrl evaluate RUN --split=test` do, one thread, in benchmarks/results/configs.json:
for each configuration and its changes, each seed's figures on test, its curve on dev, wall-clock and CPU seconds of
training (evaluations on dev included), and where they come from. Agents are evaluated twice, with their most probable actions
and with sampled ones (`sampled`); `training` is the mean return of the episodes of the last fifth of training. What stands there
already for this commit is not done again.
Ctrl-C or SIGTERM ends all of it after a checkpoint, and the same command goes on from there; half a run is never counted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import yaml
from competitors import run_benchmark, whole
from provenance import RESULTS, ROOT, add_arguments, provenance, require_clean, write_results
from sampling import sampling

from seqrl.run import checkpoint
from seqrl.run.config import RunConfig, read_config
from seqrl.run.configs import find_config
from seqrl.run.log import read_metrics
from seqrl.run.signatures import evaluation_signatures, kept_signatures
from seqrl.run.train import load, train

LAST_PART = 0.2


def run_seed(name: str, seed: int, overrides: Sequence[str], folder: Path) -> dict[str, Any]:
    """Train, or go on with training, and evaluate.

    Raises:
        Interrupted: when a signal ended the training.
    """
    label = label_of(name, seed, overrides)
    settings = [*overrides, f"--seed={seed}", f"--name={label}", f"--runs_folder={folder}"]
    config = read_config(name, settings)
    with _spent(folder / f"{label}.json") as spent:
        begun = bool(checkpoint.step_folders(config.run_folder))
        result = whole(train(config, resume=begun, overwrite=not begun, display=False))
    config, task, policy, kept = load(config.run_folder)
    record = {"test": task.evaluate(policy, split="test"), "checkpoint": checkpoint.read_meta(kept)["step"], "updates": result.step}
    if hasattr(policy, "actor"):
        with sampling(policy):
            record["sampled"] = task.evaluate(policy, split="test")
    if found := evaluation_signatures(task, "test"):
        record["signatures"] = found | {"reward": kept_signatures(config.run_folder).get("reward", "")}
    rows = read_metrics(config.run_folder)
    record |= {"training": training_return(rows, config), "curve": curve(rows, config), "precision": precisions(config.run_folder)}
    return record | spent | {"provenance": provenance([seed])}


def label_of(name: str, seed: int, overrides: Sequence[str]) -> str:
    """Name a run."""
    return "_".join([name, *(change.lstrip("-").replace("=", "_").replace("/", "_") for change in overrides), f"seed{seed}"])


def training_return(rows: Sequence[dict[str, float]], config: RunConfig) -> float | None:
    """Average the returns of the episodes that ended in the last fifth of training; None where there are no episodes."""
    late = [row for row in rows if row["step"] > (1 - LAST_PART) * config.num_updates and row.get("episode/count")]
    count = sum(row["episode/count"] for row in late)
    return sum(row["episode/count"] * row["episode/return_mean"] for row in late) / count if count else None


def curve(rows: Sequence[dict[str, float]], config: RunConfig) -> dict[str, list[float]]:
    """Give updates, environment steps where there are any, and the watched figure of each evaluation on dev."""
    key = f"dev/{config.early_stop.metric}" if config.early_stop else "dev/return_mean"
    evaluated = [row for row in rows if key in row]
    columns = {"updates": "step", "env_steps": "progress/num_env_steps", key: key}
    return {name: [row[column] for row in evaluated] for name, column in columns.items() if all(column in row for row in evaluated)}


def precisions(run: Path) -> dict[str, str]:
    """Give every setting of a dtype that the run's config.yaml holds."""

    def walk(node: Any, path: str) -> Iterator[tuple[str, str]]:
        if isinstance(node, dict):
            for key, value in node.items():
                if key == "precision":
                    yield f"{path}{key}", value
                yield from walk(value, f"{path}{key}.")

    return dict(walk(yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")), ""))


@contextlib.contextmanager
def _spent(path: Path) -> Iterator[dict[str, float]]:
    """Add up wall-clock and CPU seconds over interrupts, in a file beside the run."""
    spent = {"wall_s": 0.0, "processor_s": 0.0}
    if path.is_file():
        spent |= json.loads(path.read_text(encoding="utf-8"))
    start, start_processor = time.perf_counter(), time.process_time()
    try:
        yield spent
    finally:
        spent["wall_s"] += time.perf_counter() - start
        spent["processor_s"] += time.process_time() - start_processor
        write_results(path, spent)


def stands(kept: dict[str, Any] | None, commit: str | None) -> bool:
    """Say whether a seed's figures are of this commit, unchanged."""
    return kept is not None and kept["provenance"]["clean"] is True and kept["provenance"]["commit"] == commit


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing and write after each run."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    own, _, overrides = (
        (arguments[: arguments.index("--")], "--", arguments[arguments.index("--") + 1 :]) if "--" in arguments else (arguments, "", [])
    )
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="NAME", help="of configurations, without folder and .yaml")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "configs")
    parser.add_argument("--output", type=Path, default=RESULTS / "configs.json")
    add_arguments(parser)
    known = parser.parse_args(own)
    try:
        paths = {name: find_config(name).resolve() for name in known.names}
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    require_clean(allow_dirty=known.allow_dirty)
    here = provenance([])
    folder = known.runs / (here["commit"] or "no_commit")[:10]
    for name in known.names:
        key = " ".join([name, *overrides])
        for seed in known.seeds.split(","):
            results = json.loads(known.output.read_text(encoding="utf-8")) if known.output.is_file() else {"configs": {}}
            entry = results["configs"].setdefault(key, {"config": str(paths[name].relative_to(ROOT)), "seeds": {}})
            if here["clean"] and stands(entry["seeds"].get(seed), here["commit"]):
                print(f"{key}, seed {seed}: stands already", flush=True)
                continue
            entry["overrides"] = list(overrides)
            entry["seeds"][seed] = record = run_seed(name, int(seed), overrides, folder)
            write_results(known.output, results)
            print(f"{key}, seed {seed}: {record['test']}  {record['processor_s']:.0f} CPU seconds", flush=True)


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
