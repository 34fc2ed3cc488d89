"""The moving average of the weights: what it is, who sees it, and that a run goes on exactly."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rescued import at, raising
from torch import Tensor, nn

from seqrl import weight_average
from seqrl.optimiser import Optimiser, OptimiserConfig
from seqrl.run import checkpoint
from seqrl.run.config import EarlyStop
from seqrl.run.loop import fit
from seqrl.trainers.trpo import TRPOConfig
from seqrl.trajectory import Evaluation, Trajectory
from seqrl.weight_average import WeightAverage

DECAYS = [2 / 11, 3 / 12, 4 / 13]  # (1 + t) / (10 + t), all below the 0.9 that is asked for


def averages_of(path: list[float]) -> list[float]:
    """By hand: the average after each of the weights that follow the first one."""
    found = [path[0]]
    for decay, weight in zip(DECAYS, path[1:], strict=False):
        found.append(decay * found[-1] + (1 - decay) * weight)
    return found


def test_by_hand_and_given_back_after_an_error() -> None:
    weight, other = nn.Parameter(torch.tensor([1.0])), nn.Parameter(torch.tensor([[8.0]]))
    average = WeightAverage([weight, other], 0.9)
    for value in (3.0, 7.0):
        weight.data.fill_(value)
        average.step()
    expected = averages_of([1.0, 3.0, 7.0])[-1]
    with pytest.raises(KeyError), average.in_use():
        assert weight.item() == pytest.approx(expected)
        assert other.item() == 8
        assert average.state_dict()["learning"][0].item() == 7  # also in the middle of it
        raise KeyError
    assert weight.item() == 7
    average.num_steps = 10_000
    average.step()
    with average.in_use():
        assert weight.item() == pytest.approx(0.9 * expected + 0.1 * 7)


def test_a_state_of_other_weights_is_refused() -> None:
    average = WeightAverage([nn.Parameter(torch.zeros(2))], 0.9)
    with pytest.raises(ValueError, match="is it the same policy"):
        average.load_state_dict(WeightAverage([nn.Parameter(torch.zeros(3))], 0.9).state_dict())


class OneWeight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, trajectory: Trajectory) -> Evaluation:
        logp = self.weight * trajectory.reward
        return Evaluation(logp, torch.zeros_like(logp), torch.zeros_like(logp))


class Trainer:
    """Moves the weight by about its learning rate an update, upwards."""

    def __init__(self) -> None:
        self.policy = OneWeight()
        self.optimiser = Optimiser(self.policy, OptimiserConfig(learning_rate=1.0, precision="fp32", ema_decay=0.9), num_updates=9)
        self.path = [0.0]

    def collect(self, task: Any) -> Trajectory:
        reward, yes = torch.ones(1, 1), torch.ones(1, 1, dtype=torch.bool)
        return Trajectory(torch.zeros(1, 1).long(), torch.zeros(1, 1), torch.zeros(1, 2), reward, yes, ~yes, yes)

    def update(self, trajectory: Trajectory) -> dict[str, float]:
        def terms(part: Trajectory, evaluation: Evaluation) -> dict[str, Tensor]:
            return {"loss/total": -evaluation.logp.sum()}

        metrics = self.optimiser.minimise(trajectory, terms)
        self.path.append(self.policy.weight.item())
        self.optimiser.finish_update()
        return metrics

    def state_dict(self) -> dict[str, Any]:
        return {"optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimiser.load_state_dict(state["optimiser"])


def evaluating(seen: list[float]) -> Any:
    """A task that evaluates a policy by its weight."""

    def evaluate(policy: OneWeight, *, split: str) -> dict[str, float]:
        seen.append(policy.weight.item())
        return {"weight": seen[-1]}

    return SimpleNamespace(evaluate=evaluate)


def saved(folder: Path) -> float:
    policy = OneWeight()
    checkpoint.load_weights(folder, policy)
    return policy.weight.item()


def test_evaluations_and_checkpoints_have_the_average(tmp_path: Path) -> None:
    trainer, seen = Trainer(), list[float]()
    fit(trainer, evaluating(seen), num_updates=3, run_folder=tmp_path, eval_every=1, save_every=1, early_stop=EarlyStop("weight"))
    expected = averages_of(trainer.path)
    assert seen == pytest.approx(expected)
    assert trainer.policy.weight.item() == trainer.path[-1] != pytest.approx(expected[-1])
    assert saved(checkpoint.best_folder(tmp_path)) == saved(checkpoint.step_folder(tmp_path, 3)) == seen[-1]
    assert saved(checkpoint.step_folder(tmp_path, 2)) == seen[-2]


def test_a_resumed_run_goes_on_with_the_weights_that_learn(tmp_path: Path) -> None:
    whole, parts = Trainer(), Trainer()
    fit(whole, evaluating([]), num_updates=3)
    fit(parts, evaluating([]), num_updates=2, run_folder=tmp_path)
    resumed, seen = Trainer(), list[float]()
    fit(resumed, evaluating(seen), num_updates=3, resume_from=checkpoint.step_folder(tmp_path, 2), eval_every=3)
    assert resumed.policy.weight.item() == whole.policy.weight.item()
    assert seen[-1] == pytest.approx(averages_of(whole.path)[-1])


def test_with_an_average_from_a_checkpoint_without_one(tmp_path: Path) -> None:
    trainer = Trainer()
    trainer.optimiser.average = None
    fit(trainer, evaluating([]), num_updates=2, run_folder=tmp_path)
    resumed = Trainer()
    fit(resumed, evaluating([]), num_updates=2, resume_from=checkpoint.find(tmp_path))
    assert resumed.optimiser.average is not None
    with resumed.optimiser.average.in_use():
        assert resumed.policy.weight.item() == trainer.path[-1]


@pytest.mark.usefixtures("a_copy_before_each_update")
def test_a_failed_update_leaves_the_average_before_it(tmp_path: Path) -> None:
    trainer: Any = Trainer()
    trainer.update = at(3, raising(ValueError), trainer.update)
    with pytest.raises(ValueError, match="trouble"):
        fit(trainer, evaluating([]), num_updates=3, run_folder=tmp_path)
    assert saved(checkpoint.step_folder(tmp_path, 2)) == pytest.approx(averages_of(trainer.path[:3])[-1])


def test_a_signal_never_comes_between_the_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exchange, calls = weight_average._write, list[int]()

    def write(*what: Any) -> None:
        calls.append(len(calls))
        if len(calls) == 3:  # the evaluation before the first update has exchanged them twice
            signal.raise_signal(signal.SIGINT)
        exchange(*what)

    trainer: Any = Trainer()
    monkeypatch.setattr(weight_average, "_write", write)
    assert fit(trainer, evaluating([]), num_updates=3, run_folder=tmp_path, eval_every=2).interrupted == signal.SIGINT
    assert saved(checkpoint.find(tmp_path)) == pytest.approx(averages_of(trainer.path)[-1])
    assert trainer.policy.weight.item() == trainer.path[-1]


def test_who_cannot_average_says_so() -> None:
    with pytest.raises(ValueError, match="ema_decay.*choose the trainer ppo"):
        TRPOConfig(optimiser=OptimiserConfig(ema_decay=0.9))
    with pytest.raises(ValueError, match="ema_decay: expected a share from 0 to below 1"):
        OptimiserConfig(ema_decay=1.0)
