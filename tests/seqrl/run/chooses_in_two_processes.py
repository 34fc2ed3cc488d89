"""One of two processes that choose dtypes and threads together; `test_two_processes` starts it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

import seqrl.run.measured_settings as measured_settings
from seqrl.run.config import read_config
from seqrl.run.timed_updates import Bench
from seqrl.run.train import begin, train


def seconds(bench: Bench, config: object, clock: object, known_s: float = 0.0) -> float:
    """Let bf16 be fast in the first process; the second has nothing to measure."""
    assert os.environ["RANK"] == "0"
    task, trainer = bench._made(config)  # type: ignore[arg-type]
    trainer.update(trainer.collect(task))  # alone, else this would wait for the other for ever
    return 1.0 if "'bf16'" in repr(config) else 2.0


def main(folder: Path) -> None:
    measured_settings.SMALLEST_MEASURED_POLICY = measured_settings.FEWEST_UPDATES = 0
    Bench.seconds = seconds  # type: ignore[method-assign]
    Bench.shorten = lambda bench, config: None  # type: ignore[method-assign]
    config = read_config(folder / "it.yaml")
    for _ in range(2):  # the second time the processes are connected
        whole, said, _, _ = begin(config)
        (folder / f"said_{os.environ['RANK']}.txt").write_text(f"{said}\n{whole.trainer.optimiser.precision} {whole.num_threads}\n")
    train(config, display=False)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
