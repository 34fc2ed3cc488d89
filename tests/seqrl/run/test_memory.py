"""A device with too little memory: the run says which of its settings to change, and what was learned is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from rescued import at, make, newest
from toy_for_runs import ToyTaskConfig, ToyTrainerConfig

from seqrl import SelfCriticalConfig
from seqrl.failures import OutOfMemory
from seqrl.run.config import RunConfig
from seqrl.run.loop import fit
from seqrl.run.train import train

CUDA = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB\nof which 1.00 GiB is free."


@dataclass
class Evaluation:
    prompts_per_batch: int = 64
    beam_size: int = 5


@dataclass
class Policy:
    max_tokens: int = 40
    lora: Evaluation | None = None
    gradient_checkpointing: bool = False


@dataclass
class Settings:
    policy: Policy = field(default_factory=Policy)
    evaluation: Evaluation = field(default_factory=Evaluation)
    prompts_per_batch: int = 16


def short() -> None:
    raise torch.OutOfMemoryError(CUDA)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (
            "rollout",
            r"the GPU has too little memory while collecting for update 5; lower task.prompts_per_batch=16, task.policy.max_tokens=40, "
            r"trainer.num_samples=5 \(CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB\)",
        ),
        (
            "update",
            r"in update 5; raise trainer.optimiser.accumulation=1 or set task.policy.gradient_checkpointing=true "
            r"\(the update stays the same\), or set task.policy.lora=\{rank: 8\}, "
            r"or lower task.prompts_per_batch=16, task.policy.max_tokens=40, trainer.num_samples=5 \(CUDA",
        ),
        ("evaluate", r"in the evaluation after update 4; lower task.evaluation.prompts_per_batch=64, task.evaluation.beam_size=5 \(CUDA"),
    ],
)
def test_a_gpu_without_memory_names_the_settings_that_need_less(part: str, said: str, tmp_path: Path) -> None:
    trainer, task = make()
    for owner, settings in ((trainer, SelfCriticalConfig()), (task, Settings())):
        vars(settings).update(vars(getattr(owner, "config", settings)))  # the toys read their own
        owner.config = settings
    owner = trainer if part == "update" else task
    setattr(owner, part, at(2 if part == "evaluate" else 5, short, getattr(owner, part), first=True))
    with pytest.raises(OutOfMemory, match=said) as raised:
        fit(trainer, task, num_updates=8, run_folder=tmp_path, eval_every=4)
    assert newest(tmp_path) == 4 and f"step_{4:08d}" in raised.value.__notes__[0]


def test_a_policy_that_does_not_fit_is_told_before_the_first_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = RunConfig("run", task=ToyTaskConfig(), trainer=ToyTrainerConfig(), num_updates=1, runs_folder=tmp_path, num_threads=1)
    monkeypatch.setattr("toy_for_runs.ToyTrainerConfig.build", lambda *_, **__: short())
    with pytest.raises(OutOfMemory, match="the GPU has too little memory before the first update; use smaller batches"):
        train(config, display=False)


def test_other_troubles_stay_as_they_are(tmp_path: Path) -> None:
    trainer, task = make()

    def fail() -> None:
        raise RuntimeError("a shape does not fit")

    task.rollout = at(2, fail, task.rollout)
    with pytest.raises(RuntimeError, match="a shape does not fit"):
        fit(trainer, task, num_updates=8, run_folder=tmp_path)
