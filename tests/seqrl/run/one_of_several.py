"""One of several processes that begin runs, or go on with them; `test_redistributing` starts it."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from seqrl.run.config import read_config
from seqrl.run.train import train


def run_all(folder: Path, steps: int, going_on: bool) -> None:
    for path in sorted(folder.glob("*.yaml")):
        train(read_config(path, [f"--num_updates={steps}"]), resume=going_on, display=False)


if __name__ == "__main__":
    run_all(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "resume")
    torch.distributed.destroy_process_group()
