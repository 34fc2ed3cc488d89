"""Evaluate a finished cross-entropy run on the test scenes and put its best weights where they ship with the package.

    seqrl train configs/captioning/scenes_converged_xe.yaml
    python benchmarks/ship_captioner.py runs/scenes_converged_xe --name scenes_xe [--field.field=value ...]

Writes tasks/captioning/shipped/NAME/: model.safetensors, config.yaml, SHA256SUMS, and meta.json with scores and source.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from competitors import run_benchmark
from provenance import ROOT, provenance

from seqrl.run import checkpoint
from seqrl.run.config import decisive, write_config
from seqrl.run.integrity import write_sums
from seqrl.run.train import load, task_fingerprints

MAX_BYTES = 4_000_000


def ship(run: Path, name: str, overrides: Sequence[str] = (), *, commit: str | None = None) -> Path:
    """Write the folder; give it.

    Raises:
        ValueError: when the weights take more than MAX_BYTES.
    """
    config, task, policy, best = load(run, overrides)
    size = (best / checkpoint.WEIGHTS).stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{best}: expected at most {MAX_BYTES} bytes of weights, got {size}; choose smaller sizes")
    folder = ROOT / "tasks" / "captioning" / "shipped" / name
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(best / checkpoint.WEIGHTS, folder / checkpoint.WEIGHTS)
    write_config(dataclasses.replace(config, runs_folder=Path("runs")), folder / "config.yaml")
    source = provenance([config.seed], command=["-m", "seqrl", "train", f"configs/captioning/{config.name}.yaml", f"--seed={config.seed}"])
    meta = {
        "step": checkpoint.read_meta(best)["step"],
        "config": decisive(config),
        # The weights know the words; document frequencies are the affair of whoever rewards.
        "task": {key: value for key, value in task_fingerprints(task).items() if key == "vocabulary"},
        "test": task.evaluate(policy, split="test"),
        "provenance": source | ({"commit": commit, "clean": True} if commit else {}),
    }
    (folder / checkpoint.META).write_text(json.dumps(meta, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    write_sums(folder)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", default="scenes_xe")
    parser.add_argument("--commit", help="of the code that the run was trained with, where it is not this one")
    args, overrides = parser.parse_known_args()
    folder = ship(args.run, args.name, overrides, commit=args.commit)
    print(json.dumps(json.loads((folder / checkpoint.META).read_text(encoding="utf-8"))["test"], indent=1))


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
