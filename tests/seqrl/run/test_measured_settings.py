"""The choice of dtypes and threads; how long an update takes is said by the tests, not by the machine."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from seqrl.run import checkpoint, measured_settings, timed_updates
from seqrl.run.cli import main
from seqrl.run.config import RunConfig, read_config
from seqrl.run.measured_settings import automatic
from seqrl.run.timed_updates import Bench
from seqrl.run.train import read_run, resume, train

TINY_NET = {"policy": {"hidden_sizes": [8]}}
CART_POLE = {"type": "control", "environment": "CartPole-v1", "num_envs": 2, "num_steps": 8, "max_episode_steps": 30}
SCENES = {"num_train": 8, "num_dev": 2, "num_test": 0}
CAPTIONS = {"type": "captioning", "images_per_batch": 2, "data": {"image_size": 16, "scenes": SCENES}}
CAPTIONS |= {"policy": {"dim": 16, "num_layers": 1, "num_heads": 2, "max_tokens": 6, "dropout": 0.1}}
GLIMPSES = {"type": "attention", "images_per_batch": 4, "num_glimpses": 3, "data": {"image_size": 20, "canvas_size": 30}}
GLIMPSES |= {"policy": {"num_features": 8, "glimpse_units": 8, "hidden_units": 8}}
ATARI = {"type": "atari", "environment": "pong", "num_envs": 2, "num_steps": 8, "max_frames": 80, "num_eval_episodes": 1}
RUNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "captions_supervised": (CAPTIONS, {"type": "supervised", "scheduled_sampling": 0.5, "scheduled_sampling_updates": 1}),
    "captions_self_critical": (CAPTIONS, {"type": "self_critical", "num_samples": 2, "imitation": {"weight": 0.5}}),
    "cartpole_ppo": (CART_POLE | TINY_NET, {"type": "ppo", "minibatch_unit": "steps"}),
    "cartpole_dqn": (CART_POLE | {"policy": {"type": "action_values"}}, {"type": "dqn", "learning_starts": 1000, "batch_size": 4}),
    "glimpses": (GLIMPSES, {"type": "ppo", "advantage": "leave_one_out", "num_samples": 3}),
    "atari": (ATARI, {"type": "ppo", "minibatch_unit": "steps", "epochs": 1, "minibatches": 2}),
}
QUICK = ("cartpole_ppo",)
Times = Callable[[RunConfig], float]
SHORTEN = Bench.shorten  # which no other test may use


@pytest.fixture(autouse=True)
def four_free_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(measured_settings, "available_cores", lambda: 4)
    monkeypatch.setattr(measured_settings, "SMALLEST_MEASURED_POLICY", 0)
    monkeypatch.setattr(measured_settings, "FEWEST_UPDATES", 0)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)


def say(monkeypatch: pytest.MonkeyPatch, seconds: Times, *, update: bool = True) -> list[RunConfig]:
    """Let an update of a configuration take so long, after one has really been made; give the configurations that were timed."""
    timed: list[RunConfig] = []

    def answer(bench: Bench, config: RunConfig, clock: object, known_s: float = math.inf) -> float:
        timed.append(config)
        if update:
            assert config.num_threads is not None
            torch.set_num_threads(config.num_threads)
            task, trainer = bench._made(config)
            trainer.update(trainer.collect(task))
        return seconds(config)

    monkeypatch.setattr(Bench, "seconds", answer)
    monkeypatch.setattr(Bench, "shorten", lambda bench, config: None)
    return timed


def bf16(config: RunConfig) -> int:
    """Count the settings that are bf16."""
    return repr((config.task, config.trainer)).count("'bf16'")


def write(folder: Path, kind: str, **settings: Any) -> RunConfig:
    task, trainer = RUNS[kind]
    path = folder / f"{kind}.yaml"
    path.write_text(
        json.dumps({"name": kind, "num_updates": 2, "seed": 5, "runs_folder": str(folder), "task": task, "trainer": trainer} | settings)
    )
    return read_config(path)


def state(run: Path) -> tuple[bytes, bytes]:
    folder = checkpoint.find(run)
    states = checkpoint.load_state(folder)
    return (folder / checkpoint.WEIGHTS).read_bytes(), json.dumps(
        {name: states[name] for name in ("trainer", "task", "random")}, default=lambda tensor: tensor.tolist(), sort_keys=True
    ).encode()


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[] if kind in QUICK else [pytest.mark.slow]) for kind in RUNS])
def test_a_measured_run_is_the_run_of_its_own_config(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "atari":
        pytest.importorskip("ale_py")
    timed = say(monkeypatch, lambda config: 1.0 / (2 ** bf16(config) * min(2, config.num_threads or 1)))
    config = write(tmp_path, kind)
    names = automatic(config)
    assert names[-1] == "trainer.optimiser.precision"
    assert names[:-1] == {"glimpses": ["task.policy.precision"], "atari": ["task.precision"]}.get(kind, [])
    train(config, display=False)
    assert len(timed) > 4
    said = yaml.safe_load((config.run_folder / "config.yaml").read_text())
    assert said["num_threads"] == 2 and said["trainer"]["optimiser"]["precision"] == "bf16"
    assert not automatic(read_config(config.run_folder / "config.yaml"))
    timed.clear()
    again = train(read_config(config.run_folder / "config.yaml", ["--name=again"]), display=False)
    assert not timed and again.run_folder is not None
    assert state(config.run_folder) == state(again.run_folder)


@pytest.mark.parametrize(
    ("half", "threads", "expected"),
    [
        (8.4, {2: 8.4, 4: 8.4}, ("fp32", 1)),  # a fifth, less a little: ties go to fp32 and to one thread
        (8.2, {2: 12.0, 4: 1.0}, ("bf16", 1)),  # two are slower, so that four are not tried
        (20.0, {2: 9.0, 4: 4.0}, ("fp32", 4)),
        (math.inf, {2: 5.0, 4: 4.5}, ("fp32", 2)),  # four are a tenth faster than two: not worth it
    ],
)
def test_a_fifth_decides(
    half: float, threads: dict[int, float], expected: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = say(monkeypatch, lambda config: threads.get(config.num_threads or 1, half if bf16(config) else 10.0), update=False)
    config = write(tmp_path, "cartpole_ppo")
    settings = measured_settings.choose_settings(config, lambda config: pytest.fail("built"), None, nn.Linear(9, 9))  # type: ignore[arg-type]
    assert (settings.precisions["trainer.optimiser.precision"], settings.num_threads) == expected and settings.measured
    assert (4 in {config.num_threads for config in timed}) is (threads[2] < 10.0)
    assert ("broken off" in str(settings)) is (half == math.inf)
    chosen = settings.applied(config)
    assert (chosen.trainer.optimiser.precision, chosen.num_threads) == expected
    assert config.trainer.optimiser.precision == "auto" and config.num_threads is None


def test_what_wins_once_by_another_programs_doing_does_not_win_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disturbed = iter([10.0])
    say(monkeypatch, lambda config: 5.0 if bf16(config) else next(disturbed, 5.0), update=False)
    config = write(tmp_path, "cartpole_ppo", num_threads=1)
    settings = measured_settings.choose_settings(config, lambda config: pytest.fail("built"), None, nn.Linear(9, 9))  # type: ignore[arg-type]
    assert settings.precisions == {"trainer.optimiser.precision": "fp32"}
    said = "an update took 1e+04 ms (CPU time); trainer.optimiser.precision bf16: 5e+03 ms"
    assert str(settings) == f"trainer.optimiser.precision fp32, 1 thread (as num_threads says; {said})"


def test_what_was_asked_for_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed = say(monkeypatch, lambda config: 1.0, update=False)

    def choose(config: RunConfig, policy: nn.Module) -> measured_settings.Settings:
        return measured_settings.choose_settings(config, lambda config: pytest.fail("built"), None, policy)  # type: ignore[arg-type]

    half = {"type": "ppo", "optimiser": {"precision": "bf16"}}
    assert str(choose(write(tmp_path, "cartpole_ppo", num_threads=3, trainer=half), nn.Linear(9, 9))) == "3 threads (as num_threads says)"
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert choose(write(tmp_path, "cartpole_ppo", trainer=half), nn.Linear(9, 9)).num_threads == 2
    assert choose(write(tmp_path, "cartpole_ppo", num_threads=1, trainer=half), nn.Linear(9, 9)).num_threads == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    monkeypatch.setattr(measured_settings, "SMALLEST_MEASURED_POLICY", 100_000)
    found = choose(write(tmp_path, "cartpole_ppo"), nn.Linear(64, 64))
    assert not found.measured and found.precisions == {"trainer.optimiser.precision": "fp32"}
    assert str(found).endswith("1 thread (a policy of 4,160 parameters has no work for more)")
    monkeypatch.setattr(measured_settings, "FEWEST_UPDATES", 50)
    assert "not measured for 2 updates" in str(choose(write(tmp_path, "cartpole_ppo"), nn.Conv2d(3, 3, 3)))
    assert not timed


def test_a_run_says_what_it_chose_and_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    say(monkeypatch, lambda config: 0.3 if bf16(config) else 0.4)
    config = write(tmp_path, "cartpole_ppo")
    train(config)
    line = (
        "trainer.optimiser.precision bf16, 1 thread (an update took 400 ms (CPU time); trainer.optimiser.precision bf16: 300 ms; "
        "an update took 300 ms (on 1 thread); 2 threads: 300 ms; 4 threads: 300 ms)"
    )
    assert f"cartpole_ppo: {line}\n" in capsys.readouterr().out
    timed = say(monkeypatch, lambda config: 1.0 if bf16(config) else 0.1)
    torch.set_num_threads(2)
    resume(config.run_folder, ["--num_updates=4"], display=False)
    assert not timed and torch.get_num_threads() == 1
    starts = json.loads((config.run_folder / "env.json").read_text())
    assert [start["chosen"] for start in starts] == [line, "1 thread and dtypes as when it began"]
    # The configuration that the run began with means the same choice.
    again = train(dataclasses.replace(config, num_updates=5), resume=True, display=False)
    assert not timed and again.step == 5 and read_run(config.run_folder).trainer.optimiser.precision == "bf16"
    with pytest.raises(ValueError, match="trainer.optimiser.precision was 'bf16', is 'fp32'"):
        resume(config.run_folder, ["--num_updates=6", "--trainer.optimiser.precision=fp32"], display=False)


def test_a_failing_update_is_left_to_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(config: RunConfig) -> float:
        raise RuntimeError("out of paper")

    say(monkeypatch, fail)
    config = write(tmp_path, "cartpole_ppo")
    train(config)
    assert "precision fp32, 1 thread (not measured, since an update failed: out of paper)" in capsys.readouterr().out


def test_all_seeds_run_as_the_first_one_chose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed = say(monkeypatch, lambda config: 1.0 if bf16(config) else 2.0, update=False)
    write(tmp_path, "cartpole_ppo")
    assert main(["train", str(tmp_path / "cartpole_ppo.yaml"), "--seeds=4,7", "--quiet"]) == 0
    assert {config.seed for config in timed} == {4}
    kept = [read_run(tmp_path / f"cartpole_ppo_seed{seed}") for seed in (4, 7)]
    assert [(run.seed, run.num_threads, run.trainer.optimiser.precision) for run in kept] == [(4, 1, "bf16"), (7, 1, "bf16")]


class Slow(nn.Module):
    """Takes 10 ms a step; notes how many."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.steps += 1
        time.sleep(0.01)
        return x


class SlowTrainer:
    """An update of a hundred steps."""

    def __init__(self) -> None:
        self.policy = Slow()

    def collect(self, task: object) -> None:
        self.policy(torch.zeros(1))

    def update(self, trajectory: None) -> None:
        for _ in range(100):
            self.policy(torch.zeros(1))


def test_a_slow_update_is_broken_off() -> None:
    trainer = SlowTrainer()
    assert timed_updates._seconds_of_update(None, trainer, time.perf_counter, 0.05) == math.inf  # type: ignore[arg-type]
    assert 1 < trainer.policy.steps < 20
    trainer.policy(torch.zeros(1))  # nothing is left of the limit
    assert 1.0 < timed_updates._seconds_of_update(None, trainer, time.perf_counter, math.inf) < 60.0  # type: ignore[arg-type]


def test_long_updates_are_timed_by_a_quarter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []

    def update(task: Any, trainer: Any, clock: object, limit_s: float) -> float:
        seen.append((task.config.num_steps, trainer.config.minibatches))
        return math.inf if task.config.num_steps > 4 else 0.15

    monkeypatch.setattr(timed_updates, "_seconds_of_update", update)
    monkeypatch.setattr(Bench, "shorten", SHORTEN)
    config = write(tmp_path, "cartpole_ppo", num_threads=1, task=CART_POLE | {"num_steps": 16} | TINY_NET)
    from seqrl.run.train import build

    found = measured_settings.choose_settings(config, build, *build(config))
    assert "(as num_threads says; 1/4 of an update took 150 ms" in str(found)
    assert seen[0] == (16, config.trainer.minibatches) and set(seen[1:]) == {(4, round(config.trainer.minibatches / 4))}
