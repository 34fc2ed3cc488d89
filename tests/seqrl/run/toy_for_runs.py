"""A tiny task and trainer with every kind of state, to test what surrounds a trainer."""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from seqrl.run import checkpoint
from seqrl.trajectory import Trajectory

_num_calls: dict[str, int] = {}


def pause(phase: str) -> None:
    """Sleep in the phase that TOY_PAUSE names, `update:3` say, after a file TOY_MARK says that it is reached."""
    _num_calls[phase] = _num_calls.get(phase, 0) + 1
    if os.environ.get("TOY_PAUSE") == f"{phase}:{_num_calls[phase]}":
        Path(os.environ["TOY_MARK"]).touch()
        end = time.monotonic() + float(os.environ.get("TOY_PAUSE_S", "60"))
        while time.monotonic() < end:  # a signal in the very moment before one long sleep would not end it
            time.sleep(0.05)


def pausing(function: Any, phase: str) -> Any:
    """Let a function pause before it does its work."""

    def paused(*arguments: Any, **settings: Any) -> Any:
        pause(phase)
        return function(*arguments, **settings)

    return paused


if os.environ.get("TOY_PAUSE"):
    pause("import")
    if "save" in os.environ["TOY_PAUSE"]:
        checkpoint.save_model = pausing(checkpoint.save_model, "save")
    if "curves" in os.environ["TOY_PAUSE"]:
        from seqrl.run import plots

        plots.run_curves = pausing(plots.run_curves, "curves")


@dataclass
class ToyTaskConfig:
    """Settings.

    Attributes:
        width: of the hidden layer.
        vocabulary: what the fingerprint says.
        fail_at: rollout that fails.
        delay_s: length of a rollout.
    """

    width: int = 4
    vocabulary: str = "abc"
    fail_at: int = -1
    delay_s: float = 0.0

    def build(self, seed: int) -> ToyTask:
        """Make the task."""
        pause("data")
        return ToyTask(self, seed)


class ToyTask:
    """Rewards noise; its next rollout depends on a counter and three random generators."""

    def __init__(self, config: ToyTaskConfig, seed: int) -> None:
        self.config, self.position, self.seconds_in_reward = config, 0, 0.0
        self.generator = torch.Generator().manual_seed(seed)

    def rollout(self, policy: nn.Module, **settings: Any) -> Trajectory:
        config = self.config
        self.position += 1
        # Faults come by the environment, since a resumed run keeps its settings.
        if self.position in (config.fail_at, int(os.environ.get("TOY_FAIL_AT", -1))):
            raise ValueError("reward: sample 3 is nan; expected finite numbers")
        if self.position == int(os.environ.get("TOY_SIGNAL_AT", -1)):
            os.kill(os.getpid(), int(os.environ["TOY_SIGNAL"]))
        time.sleep(config.delay_s)
        pause("rollout")
        noise = torch.rand(2, 3, generator=self.generator) + random.random() + np.random.rand() + torch.rand(()) + self.position
        mask = torch.tensor([[True, True, False], [True, True, True]])
        off = torch.zeros_like(mask)
        zeros = torch.zeros(2, 3)
        return Trajectory(action=zeros.long(), logp=zeros, value=torch.zeros(2, 4), reward=noise, terminated=off, truncated=off, mask=mask)

    def demonstrations(self, group: torch.Tensor | None = None) -> Trajectory:
        raise ValueError("the toy has no demonstrations")

    def evaluate(self, policy: nn.Module, *, split: str = "dev") -> dict[str, float]:
        pause("evaluate")
        return {"score": float(sum(p.detach().double().sum() for p in policy.parameters())), "falling": -float(self.position)}

    def build_policy(self) -> nn.Module:
        return nn.Sequential(nn.Linear(3, self.config.width), nn.Linear(self.config.width, 1))

    def sample(self, policy: nn.Module, directory: Path, *, count: int = 8) -> list[Path]:
        path = directory / "sample.txt"
        path.write_text("sample\n" * count)
        return [path]

    def fingerprint(self) -> dict[str, str]:
        return {"vocabulary": self.config.vocabulary}

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position = state["position"]
        self.generator.set_state(state["generator"])


@dataclass
class ToyOptimiserConfig:
    """Settings.

    Attributes:
        learning_rate: step size.
        betas: decay rates.
    """

    learning_rate: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.999)


@dataclass
class ToyTrainerConfig:
    """Settings.

    Attributes:
        optimiser: see `ToyOptimiserConfig`.
    """

    optimiser: ToyOptimiserConfig = field(default_factory=ToyOptimiserConfig)

    def build(self, policy: nn.Module, *, seed: int, num_updates: int) -> ToyTrainer:
        """Make the trainer."""
        return ToyTrainer(policy, self, seed)


class ToyTrainer:
    """Fits a regression with Adam and dropout-like noise of its own generator."""

    def __init__(self, policy: nn.Module, config: ToyTrainerConfig, seed: int) -> None:
        self.policy = policy
        self.adam = torch.optim.Adam(policy.parameters(), lr=config.optimiser.learning_rate, betas=config.optimiser.betas)
        self.generator = torch.Generator().manual_seed(seed + 1)

    def collect(self, task: ToyTask) -> Trajectory:
        return task.rollout(self.policy)

    def update(self, trajectory: Trajectory) -> dict[str, float]:
        noise = torch.rand(2, 3, generator=self.generator)
        loss = (self.policy(trajectory.reward + noise) - 1).square().mean()
        self.adam.zero_grad()
        loss.backward()
        pause("update")
        self.adam.step()
        return {"loss": float(loss.detach()), "reward/mean": float(trajectory.reward.mean())}

    def state_dict(self) -> dict[str, Any]:
        return {"adam": self.adam.state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.adam.load_state_dict(state["adam"])
        self.generator.set_state(state["generator"])
