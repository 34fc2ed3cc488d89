from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from seqrl import PPOConfig, ReinforceConfig, SelfCriticalConfig, SupervisedConfig
from seqrl.policies.actor_critic import ActionSize, ActorCritic
from seqrl.policies.encoders import ObservationSize
from seqrl.run import checkpoint
from seqrl.run.config import EarlyStop
from seqrl.run.log import read_metrics
from seqrl.run.loop import fit
from seqrl.run.seeding import seed_everything
from seqrl.trainers.imitation import ImitationConfig


def make(seed: int = 0, **settings: Any) -> tuple[Any, Any]:
    import toy_for_runs

    torch.manual_seed(seed)
    task = toy_for_runs.ToyTaskConfig(**settings).build(seed)
    return toy_for_runs.ToyTrainerConfig().build(task.build_policy(), seed=seed, num_updates=10), task


def scripted(task: Any, values: list[float]) -> None:
    """Let the task's evaluations give these values one after the other."""
    left = iter(values)
    task.evaluate = lambda policy, split="dev": {"score": next(left)}


def steps_with(rows: list[dict[str, float]], key: str) -> list[int]:
    return [int(row["step"]) for row in rows if key in row]


def test_what_happens_after_how_many_updates(tmp_path: Path) -> None:
    trainer, task = make()
    result = fit(trainer, task, num_updates=10, run_folder=tmp_path, eval_every=4, save_every=3, log_every=5, keep_checkpoints=3)
    rows = read_metrics(tmp_path)
    assert steps_with(rows, "train/loss") == [5, 10]
    assert steps_with(rows, "dev/score") == [0, 4, 8, 10]
    assert [folder.name for folder in checkpoint.step_folders(tmp_path)] == ["step_00000006", "step_00000009", "step_00000010"]
    assert (result.step, result.interrupted, result.stopped_early, result.run_folder) == (10, False, False, tmp_path)
    assert result.evaluation["falling"] == -10.0
    # Two rows an update; five of the six actions count.
    assert [(row["progress/num_samples"], row["progress/num_actions"]) for row in rows if "train/loss" in row] == [(10, 25), (20, 50)]
    shares = [sum(row[f"time/{part}_share"] for part in ("collect", "reward", "update")) for row in rows if "train/loss" in row]
    assert shares == pytest.approx([1.0, 1.0])


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trainer, task = make()
    result = fit(trainer, task, num_updates=3, eval_every=2)
    assert result.step == 3 and result.run_folder is None and list(tmp_path.iterdir()) == []


def test_patience_and_the_best_checkpoint(tmp_path: Path) -> None:
    trainer, task = make()
    scripted(task, [1.0, 3.0, 2.0, 3.0, 9.0])
    result = fit(trainer, task, num_updates=50, run_folder=tmp_path, eval_every=2, early_stop=EarlyStop("score", patience=2))
    assert (result.step, result.stopped_early, result.best_value, result.best_step) == (6, True, 3.0, 2)
    assert checkpoint.read_meta(checkpoint.best_folder(tmp_path))["step"] == 2
    assert checkpoint.read_meta(checkpoint.best_folder(tmp_path))["evaluation"] == {"score": 3.0}
    assert checkpoint.step_folders(tmp_path)[-1].name == "step_00000006"
    assert [row["dev/best_score"] for row in read_metrics(tmp_path) if "dev/score" in row] == [1.0, 3.0, 3.0, 3.0]


def test_smallest_is_best_and_nan_never_is() -> None:
    trainer, task = make()
    scripted(task, [5.0, float("nan"), 4.0, 6.0])
    result = fit(trainer, task, num_updates=3, eval_every=1, early_stop=EarlyStop("score", patience=None, mode="min"))
    assert (result.best_value, result.best_step, result.stopped_early) == (4.0, 2, False)


def test_watched_metric_must_be_evaluated() -> None:
    trainer, task = make()
    with pytest.raises(ValueError, match="the task evaluates no 'cider'; .*It gives falling, score"):
        fit(trainer, task, num_updates=3, eval_every=1, early_stop=EarlyStop("cider"))


def test_metrics_without_a_line_yet_outlive_a_failure(tmp_path: Path) -> None:
    """Five rollouts before the sixth fails, with returns 10 to 50; a resumed run's next ones are the seventh and the eighth."""
    trainer, task = make(fail_at=6)
    with_episodes(task)
    with pytest.raises(ValueError, match="sample 3 is nan"):
        fit(trainer, task, num_updates=7, run_folder=tmp_path, log_every=100)
    trainer, task = make()
    with_episodes(task)
    fit(trainer, task, num_updates=7, run_folder=tmp_path, log_every=100, resume_from=checkpoint.find(tmp_path))
    (line,) = read_metrics(tmp_path)
    assert (line["episode/count"], line["episode/return_max"]) == (7, 80)
    assert line["episode/return_mean"] == pytest.approx((10 + 20 + 30 + 40 + 50 + 70 + 80) / 7)


def test_failed_reward_keeps_the_last_completed_step(tmp_path: Path) -> None:
    trainer, task = make(fail_at=6)
    with pytest.raises(ValueError, match="sample 3 is nan") as raised:
        fit(trainer, task, num_updates=10, run_folder=tmp_path)
    weights = {name: tensor.clone() for name, tensor in trainer.policy.state_dict().items()}
    folder = checkpoint.step_folder(tmp_path, 5)
    assert raised.value.__notes__ == [f"while collecting for update 6; the last checkpoint is {folder}"]
    other, _ = make(seed=1)
    checkpoint.load_weights(folder, other.policy)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in other.policy.state_dict().items())


def test_failed_update_saves_the_one_before(tmp_path: Path) -> None:
    trainer, task = make()
    update, calls = trainer.update, []

    def failing(trajectory: Any) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 5:
            raise ValueError("the loss is nan")
        return update(trajectory)

    trainer.update = failing
    with pytest.raises(ValueError) as raised:
        fit(trainer, task, num_updates=10, run_folder=tmp_path, save_every=3)
    assert raised.value.__notes__ == [f"in update 5; the last checkpoint is {checkpoint.step_folder(tmp_path, 4)}"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_finishes_the_update_and_saves(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(number)
    monkeypatch.setenv("TOY_SIGNAL", str(int(number)))
    monkeypatch.setenv("TOY_SIGNAL_AT", "5")
    trainer, task = make()
    result = fit(trainer, task, num_updates=10, run_folder=tmp_path, eval_every=5)
    assert (result.step, result.interrupted) == (5, number)
    assert steps_with(read_metrics(tmp_path), "dev/score") == [0]  # left for the resumed run
    assert checkpoint.find(tmp_path).name == "step_00000005"
    assert signal.getsignal(number) is before


def test_second_signal_breaks_off_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, task = make()

    def collect(task: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.15)  # what comes sooner is the same request, as `timeout` makes it
        os.kill(os.getpid(), signal.SIGINT)

    trainer.collect = collect
    with pytest.raises(KeyboardInterrupt):
        fit(trainer, task, num_updates=10)


def test_resumed_parts_equal_the_whole(tmp_path: Path) -> None:
    def run(folder: Path, steps: int, resume: bool, seed: int) -> Any:
        trainer, task = make()
        seed_everything(seed)  # a resumed process starts with other random numbers
        start = checkpoint.find(folder) if resume else None
        return trainer, fit(
            trainer, task, num_updates=steps, run_folder=folder, eval_every=3, early_stop=EarlyStop("score", 99), resume_from=start
        )

    whole_trainer, whole = run(tmp_path / "whole", 9, False, 0)
    run(tmp_path / "parts", 3, False, 0)
    run(tmp_path / "parts", 6, True, 1)
    parts_trainer, parts = run(tmp_path / "parts", 9, True, 2)
    for name, tensor in whole_trainer.policy.state_dict().items():
        assert torch.equal(tensor, parts_trainer.policy.state_dict()[name])
    assert replace(parts, run_folder=None) == replace(whole, run_folder=None)


def test_more_patience_lets_a_stopped_run_go_on(tmp_path: Path) -> None:
    trainer, task = make()
    scripted(task, [3.0, 2.0, 1.0, 9.0, 9.0])
    assert fit(trainer, task, num_updates=4, run_folder=tmp_path, eval_every=1, early_stop=EarlyStop("score", 2)).step == 2
    for patience, step in ((2, 2), (3, 4)):
        result = fit(
            trainer,
            task,
            num_updates=4,
            run_folder=tmp_path,
            eval_every=1,
            early_stop=EarlyStop("score", patience),
            resume_from=checkpoint.find(tmp_path),
        )
        assert result.step == step


class Listener:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[tuple[int, str]] = []

    def write(self, step: int, metrics: Any) -> None:
        pass

    def say(self, step: int, text: str) -> None:
        self.said.append((step, text))

    def close(self) -> None:
        pass


def test_a_trouble_of_every_update_is_said_once(tmp_path: Path) -> None:
    trainer, task = make()
    update, listener = trainer.update, Listener()
    trainer.update = lambda trajectory: update(trajectory) | {"policy/entropy": 0.001 / task.position}
    fit(trainer, task, num_updates=30, run_folder=tmp_path, writers=[listener])
    ((step, text),) = listener.said
    assert step == 8 and "nearly deterministic" in text
    (line,) = (tmp_path / "warnings.jsonl").read_text().splitlines()
    assert json.loads(line) == {"step": 8, "kind": "no_entropy", "warning": text}


def test_a_skipped_step_is_said_at_once_and_not_again(tmp_path: Path) -> None:
    trainer, task = make()
    update, listener = trainer.update, Listener()
    trainer.update = lambda trajectory: update(trajectory) | {"optimiser/skipped_share": 0.5 if task.position in (3, 5) else 0.0}
    fit(trainer, task, num_updates=6, run_folder=tmp_path, writers=[listener])
    ((step, text),) = listener.said
    assert step == 3 and text.startswith("50% of the optimiser steps of an update were skipped")


def test_a_task_finds_the_troubles_of_its_evaluations_also_in_a_resumed_run(tmp_path: Path) -> None:
    def prepared(values: list[float]) -> Any:
        trainer, task = make()
        scripted(task, values)
        task.warnings_for = lambda history: {"fell": f"{[row['score'] for row in history]}"} if history[-1] != history[0] else {}
        return trainer, task

    fit(*prepared([3.0, 3.0]), num_updates=2, run_folder=tmp_path, eval_every=2)
    assert not (tmp_path / "warnings.jsonl").exists()
    listener = Listener()
    trainer, task = prepared([1.0, 0.5])
    fit(trainer, task, num_updates=6, run_folder=tmp_path, eval_every=2, resume_from=checkpoint.find(tmp_path), writers=[listener])
    assert listener.said == [(4, "[3.0, 3.0, 1.0]")]


def test_failed_evaluation_keeps_what_was_done(tmp_path: Path) -> None:
    trainer, task = make()
    task.evaluate = lambda policy, split="dev": {"score": 1.0 / (4 - task.position)}
    with pytest.raises(ZeroDivisionError) as raised:
        fit(trainer, task, num_updates=10, run_folder=tmp_path, eval_every=2)
    folder = checkpoint.step_folder(tmp_path, 4)
    assert raised.value.__notes__ == [f"in the evaluation after update 4; the last checkpoint is {folder}"]
    assert checkpoint.is_checkpoint(folder)


def with_episodes(task: Any, per_rollout: int = 1) -> None:
    """Let the task end an episode a rollout, with the return 10 times its number, and keep them until they are asked for."""
    rollout, ended = task.rollout, []

    def counted(policy: Any, **settings: Any) -> Any:
        trajectory = rollout(policy, **settings)
        ended.append(10.0 * task.position)
        return trajectory

    def pop_metrics() -> dict[str, float]:
        metrics = {"progress/num_env_steps": 6.0 * task.position}
        if ended:
            metrics |= {"episode/return_mean": sum(ended) / len(ended), "episode/return_max": max(ended), "episode/count": len(ended)}
        ended.clear()
        return metrics

    task.rollout, task.pop_metrics = counted, pop_metrics


def test_lines_tell_of_all_updates_since_the_last_one(tmp_path: Path) -> None:
    trainer, task = make()
    with_episodes(task)
    update, losses = trainer.update, []

    def noted(trajectory: Any) -> dict[str, float]:
        losses.append(update(trajectory)["loss"])
        return {"loss": losses[-1]}

    trainer.update = noted
    fit(trainer, task, num_updates=6, run_folder=tmp_path, eval_every=2, log_every=3)
    lines = [row for row in read_metrics(tmp_path) if "train/loss" in row]
    assert [row["train/loss"] for row in lines] == pytest.approx([sum(losses[:3]) / 3, sum(losses[3:]) / 3])
    # The evaluation after update 2 asks for the episodes, too; they stand in the line after update 3 all the same.
    assert [(row["episode/return_mean"], row["episode/return_max"], row["episode/count"]) for row in lines] == [(20, 30, 3), (50, 60, 3)]
    evaluations = [(row["step"], row["progress/num_env_steps"]) for row in read_metrics(tmp_path) if "dev/score" in row]
    assert evaluations == [(0, 0), (2, 12), (4, 24), (6, 36)]


def test_metrics_without_a_line_yet_outlive_an_interrupt(tmp_path: Path) -> None:
    for folder, parts in (("whole", [7]), ("parts", [2, 5, 7])):
        for number, steps in enumerate(parts):
            trainer, task = make()
            with_episodes(task)
            start = checkpoint.find(tmp_path / folder) if number else None
            fit(trainer, task, num_updates=steps, run_folder=tmp_path / folder, log_every=7 if steps == 7 else 100, resume_from=start)
    keys = ("train/loss", "episode/return_mean", "episode/count", "progress/num_env_steps", "progress/num_actions")
    whole, parts = (
        [{key: row[key] for key in keys} for row in read_metrics(tmp_path / name) if row["step"] == 7] for name in ("whole", "parts")
    )
    # A part ends with a line of its own; what stands after it is about the rest.
    assert whole[0]["episode/count"] == 7 and whole[0]["episode/return_mean"] == 40
    assert parts[0]["episode/count"] == 2 and parts[0]["episode/return_mean"] == 65
    assert parts[0]["progress/num_env_steps"] == whole[0]["progress/num_env_steps"] == 42


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ReinforceConfig(), "whole episodes"),
        (SelfCriticalConfig(), "whole episodes"),
        (PPOConfig(imitation=ImitationConfig(weight=0.0, final_weight=0.5, anneal_updates=9)), "has no demonstrations to imitate"),
        (SupervisedConfig(), "has no demonstrations to imitate"),
    ],
)
def test_a_task_that_the_trainer_cannot_serve_is_refused_before_anything_is_done(config: Any, message: str) -> None:
    class Stretches:
        whole_rows = False

        def evaluate(self, policy: Any, *, split: str = "dev") -> dict[str, float]:
            pytest.fail("it was evaluated before it was refused")

    trainer = config.build(ActorCritic(ObservationSize((2,)), ActionSize(num_actions=2), (3,)), seed=0, num_updates=2)
    with pytest.raises(ValueError, match=message):
        fit(trainer, Stretches(), num_updates=2, eval_every=1)  # type: ignore[arg-type]
