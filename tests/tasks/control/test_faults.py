"""What happens when an environment misbehaves in the middle of a run."""

from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqrl.run.cli import main
from seqrl.run.loop import fit
from seqrl.run.reports import EXIT_FAILED
from seqrl.tasks.control.policy import ControlPolicyConfig
from seqrl.tasks.control.task import ControlConfig, EnvTask
from seqrl.tasks.control.watchdog import watched
from seqrl.trainers.ppo import PPO, PPOConfig

_SPEC = importlib.util.spec_from_file_location("faulty_environments", Path(__file__).with_name("faulty.py"))
assert _SPEC is not None and _SPEC.loader is not None
_SPEC.loader.exec_module(importlib.util.module_from_spec(_SPEC))


def task_of(environment: str = "Faulty-v0", seed: int = 0, **settings: Any) -> EnvTask:
    config = ControlConfig(environment, num_envs=2, num_steps=5, policy=ControlPolicyConfig(hidden_sizes=(4,)), **settings)
    return config.build(seed)


def bad_row(task: EnvTask) -> int:
    """The row whose first seed is odd."""
    return 1 - task._next_seed() % 2


def run(task: EnvTask, folder: Path | None = None, **settings: Any) -> None:
    trainer = PPO(task.build_policy(), PPOConfig(epochs=1, minibatches=1), num_updates=4)
    fit(trainer, task, num_updates=4, run_folder=folder, **settings)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            "raises",
            r"environment Faulty-v0 failed after 1\d steps.*row {row} .*failed at step 8 .*: ZeroDivisionError: the world ended",
        ),
        ("nan_reward", r"reward: expected finite numbers, row {row} of environment Faulty-v0 gave nan at step 8 of its episode, after 16"),
        ("nan_observation", r"observation: expected finite numbers, row {row} of environment Faulty-v0 gave \[0\.8\d* +nan\] at step 8"),
    ],
)
def test_an_environment_that_fails_is_named_and_a_checkpoint_kept(how: str, message: str, seed: int, tmp_path: Path) -> None:
    task = task_of(environment_options={"how": how, "at": 8}, seed=seed)
    with pytest.raises(RuntimeError, match=message.format(row=bad_row(task))) as caught:
        run(task, tmp_path)
    assert "while collecting for update 2" in caught.value.__notes__[0]
    kept = sorted((tmp_path / "checkpoints").iterdir())
    assert kept and kept[-1].name == "step_00000001"
    # The rows stand at different steps now, so the run goes on with new episodes.
    mended = task_of(environment_options={"how": "not", "at": 8}, seed=seed)
    with pytest.warns(UserWarning, match="Faulty-v0 did not keep its state: its episodes start anew"):
        run(mended, tmp_path, resume_from=kept[-1])


def test_the_command_says_it_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = {"type": "control", "environment": "Faulty-v0", "environment_options": {"how": "raises", "at": 8}, "num_envs": 2, "num_steps": 5}
    settings = {
        "name": "faulty",
        "num_updates": 4,
        "num_threads": 1,
        "runs_folder": str(tmp_path),
        "task": task,
        "trainer": {"type": "ppo"},
    }
    (tmp_path / "faulty.yaml").write_text(json.dumps(settings))
    assert main(["train", str(tmp_path / "faulty.yaml"), "--quiet"]) == EXIT_FAILED
    (line,) = capsys.readouterr().err.splitlines()
    for words in ("seqrl: environment Faulty-v0", "at step 8 of its episode: ZeroDivisionError: the world ended (faulty.py, line 3"):
        assert words in line
    assert line.endswith(f"while collecting for update 2; the last checkpoint is {tmp_path / 'faulty' / 'checkpoints' / 'step_00000001'}")


@pytest.mark.filterwarnings("ignore:.*WARN")
@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_an_environment_that_hangs_is_given_up(vectorization: Any) -> None:
    task = task_of(environment_options={"how": "hangs"}, vectorization=vectorization, step_timeout_s=0.3)
    started = time.monotonic()
    where = {"sync": r"row {row} of environment Faulty-v0 failed at step 3 of its episode: ", "async": ""}[vectorization]
    with pytest.raises(RuntimeError, match=rf"{where.format(row=bad_row(task))}TimeoutError: no answer for 0.3 seconds") as caught:
        run(task)
    assert time.monotonic() - started < 20
    if vectorization == "async":
        assert f"not from row {bad_row(task)}" in str(caught.value)
        task._source.envs.close(terminate=True)


@pytest.mark.filterwarnings("ignore:.*ERROR")
def test_a_process_that_raises_is_named() -> None:
    task = task_of(environment_options={"how": "raises"}, vectorization="async")
    with pytest.raises(RuntimeError, match=rf"row {bad_row(task)} of environment Faulty-v0 failed at step 3 .*ZeroDivisionError"):
        run(task)


def test_slow_is_not_hanging() -> None:
    task = task_of(step_timeout_s=0.2)
    step = task._source.envs.step

    def slow(action: np.ndarray) -> Any:
        time.sleep(0.03)
        return step(action)

    task._source.envs.step = slow
    run(task)  # 20 steps of 0.03 seconds, an alarm every 0.2; a machine under load may take several times as long a step


def test_a_slow_reset_before_a_slow_step_is_not_hanging() -> None:
    """A reset counts no step, so that two calls show the same number of steps, for longer than the time allowed."""
    source = task_of(step_timeout_s=0)._source

    def slow(**settings: Any) -> Any:
        time.sleep(0.08)
        return np.zeros((2, 2), np.float32), {}

    source.envs.reset = slow
    with watched(source, 0.1):
        for _ in range(5):
            source.reset(0)


def test_an_environment_that_does_not_repeat_itself_starts_anew(tmp_path: Path) -> None:
    run(task_of("Unrepeatable-v0"), tmp_path)
    with pytest.warns(UserWarning, match="Unrepeatable-v0 shows something else after the same seed and actions: its episodes start anew"):
        fit(
            *(PPO((task := task_of("Unrepeatable-v0")).build_policy(), PPOConfig(epochs=1, minibatches=1), num_updates=4), task),
            num_updates=5,
            resume_from=tmp_path / "checkpoints" / "step_00000004",
        )


def test_bad_settings_are_named_before_any_work() -> None:
    with pytest.raises(ValueError, match=r"Faulty-v0 cannot be made with .*no_such.*task.environment_options"):
        task_of(environment_options={"no_such": 1})
    with pytest.raises(ValueError, match=r"action_masks: environment Faulty-v0 gives no info\['action_mask'\]"):
        task_of(action_masks=True)
    for setting in (
        {"frame_stack": 0},
        {"reward_clip": -1.0},
        {"reward_discount": 1.5},
        {"step_timeout_s": -1.0},
        {"vectorization": "thread"},
        {"mode": "step"},
    ):
        with pytest.raises(ValueError, match=next(iter(setting))):
            ControlConfig(**setting)  # type: ignore[arg-type]
