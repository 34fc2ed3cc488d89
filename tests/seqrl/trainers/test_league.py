"""The league as a trainer: what it collects, keeps, saves, and how it fails."""

from __future__ import annotations

import copy
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from seqrl import PPOConfig
from seqrl.run import checkpoint
from seqrl.run.cli import main
from seqrl.tasks.matrix_games.task import MatrixGameConfig, MatrixGameTask
from seqrl.trainers.league import PAIR, League, LeagueConfig
from seqrl.trajectory import Trajectory

SMALL = {"main_exploiters": 1, "league_exploiters": 1, "matches": 3, "games": 4, "keep_min_updates": 1, "keep_max_updates": 2}
ONCE = PPOConfig(epochs=2, minibatches=1)
CONFIG = "league/rps_league"
QUICK = ["--num_updates=4", "--eval_every=0", "--save_every=2", "--quiet", "--trainer.keep_max_updates=1", "--trainer.keep_min_updates=1"]


def started(**settings: Any) -> tuple[MatrixGameTask, League]:
    task = MatrixGameConfig(stakes=(1.0, 2.0, 3.0), noise=0.5).build(0)
    return task, League(task.build_policy(), LeagueConfig(**{**SMALL, "ppo": ONCE, **settings}), num_updates=6)


def test_rows_say_who_met_whom_and_the_table_what_came_of_it() -> None:
    task, trainer = started(decay=1.0, matches=5)
    rows = trainer.collect(task)
    assert rows.batch_size == 3 * 5 * 4 and rows.group is not None
    assert (rows.group // PAIR).bincount().tolist() == [20, 20, 20]
    trainer.update(rows)
    for pair in rows.group.unique().tolist():
        home, away = divmod(pair, PAIR)
        if home == away:
            continue
        score = torch.cat([rows.score[rows.group == pair], -rows.score[rows.group == away * PAIR + home]])
        assert float(trainer.players.games[home, away]) == len(score)
        assert float(trainer.players.wins[home, away]) == float((score > 0).sum() + (score == 0).sum() / 2)


def test_each_learns_from_its_own_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    task, trainer = started()
    rows, seen = trainer.collect(task), list[Trajectory]()
    for learner in trainer.learners:
        monkeypatch.setattr(learner, "update", lambda part: seen.append(part) or {})
    trainer.update(rows)
    assert [(part.group // PAIR).unique().tolist() for part in seen] == [[0], [1], [2]]  # type: ignore[operator]


def test_who_is_kept_is_a_copy_and_main_exploiters_begin_anew() -> None:
    task, trainer = started(keep_max_updates=1, reset=0.0)
    first = copy.deepcopy(trainer.policy.state_dict())
    trainer.update(trainer.collect(task))
    assert [player.name for player in trainer.players.players[3:]] == ["main_0:0", "main_0:1", "main_exploiter_0:0", "league_exploiter_0:0"]
    assert same(trainer.kept["main_0:0"], first) and same(trainer.kept["main_0:1"], trainer.policy.state_dict())
    main, exploiter, everybody = (learner.policy.state_dict() for learner in trainer.learners)
    assert not same(main, first) and same(exploiter, first) and not same(everybody, first)
    assert not same(trainer.kept["main_exploiter_0:0"], first)
    before = copy.deepcopy(trainer.kept)
    trainer.update(trainer.collect(task))
    assert all(same(trainer.kept[name], weights) for name, weights in before.items())


def test_league_exploiters_begin_anew_by_chance() -> None:
    task, trainer = started(keep_max_updates=1, reset=0.25, main_exploiters=0, league_exploiters=1)
    first, anew = trainer.kept["main_0:0"], 0
    for _ in range(200):
        trainer.learners[1].policy.load_state_dict({name: tensor + 1 for name, tensor in first.items()})
        trainer._keep(1)
        anew += same(trainer.learners[1].policy.state_dict(), first)
    assert 30 <= anew <= 72  # 50, within 3.6 deviations


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in other)


def test_a_resumed_league_goes_on_with_the_same_numbers() -> None:
    task, trainer = started()
    for _ in range(3):
        trainer.update(trainer.collect(task))
    state = copy.deepcopy((trainer.state_dict(), task.state_dict(), trainer.policy.state_dict()))
    expected = [trainer.update(trainer.collect(task)) for _ in range(2)]
    task, other = started()
    other.load_state_dict(state[0])
    task.load_state_dict(state[1])
    other.policy.load_state_dict(state[2])
    assert [other.update(other.collect(task)) for _ in range(2)] == expected
    assert all(same(other.kept[name], weights) for name, weights in trainer.kept.items())


def test_a_run_keeps_the_league_as_safetensors_and_resumes_to_the_bit(tmp_path: Path) -> None:
    for name in ("whole", "parts"):
        assert main(["train", CONFIG, *QUICK, f"--name={name}", f"--runs_folder={tmp_path}", "--keep_checkpoints=9"]) == 0
    (tmp_path / "parts" / "checkpoints" / "step_00000004" / checkpoint.META).unlink()
    assert main(["resume", str(tmp_path / "parts"), "--quiet"]) == 0
    one, other = (
        load_file(tmp_path / name / "checkpoints" / "step_00000004" / "league_weights.safetensors") for name in ("whole", "parts")
    )
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    names = {key.partition("/")[0] for key in one}
    assert {"main_0:0", "main_0:4", "main_exploiter_0", "league_exploiter_1:3"} <= names and "main_0" not in names
    folder = tmp_path / "whole" / "checkpoints" / "step_00000004"
    assert "league_weights" not in checkpoint.load_state(folder)["trainer"]
    assert "league_weights.safetensors" in (folder / "SHA256SUMS").read_text(encoding="utf-8")


def test_an_interrupt_while_games_are_played_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["train", CONFIG, *QUICK, "--name=whole", f"--runs_folder={tmp_path}"]) == 0
    duel, calls = MatrixGameTask.duel, list[int]()

    def interrupted(self: MatrixGameTask, *arguments: Any, **settings: Any) -> Trajectory:
        calls.append(1)
        if len(calls) == 40:
            os.kill(os.getpid(), signal.SIGINT)
        return duel(self, *arguments, **settings)

    monkeypatch.setattr(MatrixGameTask, "duel", interrupted)
    assert main(["train", CONFIG, *QUICK, "--name=parts", f"--runs_folder={tmp_path}"]) == 130
    assert main(["resume", str(tmp_path / "parts"), "--quiet"]) == 0
    for file in ("model.safetensors", "league_weights.safetensors"):
        one, other = (load_file(tmp_path / name / "checkpoints" / "step_00000004" / file) for name in ("whole", "parts"))
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_a_league_that_has_lost_its_players_is_damaged(tmp_path: Path) -> None:
    assert main(["train", CONFIG, *QUICK, f"--runs_folder={tmp_path}"]) == 0
    (tmp_path / "rps_league" / "checkpoints" / "step_00000004" / "league_weights.safetensors").unlink()
    with pytest.raises(ValueError, match=r"league_weights\.safetensors: damaged"):
        checkpoint.load_tables(tmp_path / "rps_league" / "checkpoints" / "step_00000004", ["league_weights"])


@pytest.mark.parametrize("failure", ["illegal", "crash"])
def test_an_opponent_that_fails_is_named_and_a_checkpoint_kept(
    failure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module, number = League._module, 0

    def broken(self: League, index: int) -> Any:
        nonlocal number
        number += 1
        found = module(self, index)
        if number < 40:
            return found
        found = copy.deepcopy(found)

        def act(obs: Any, *_: Any, **__: Any) -> Any:
            if failure == "crash":
                raise ZeroDivisionError("its own fault")
            from seqrl.trajectory import Step

            return Step(torch.full((len(obs),), 7), None, None)

        monkeypatch.setattr(found, "act", act, raising=False)
        return found

    monkeypatch.setattr(League, "_module", broken)
    try:
        code = main(["train", CONFIG, *QUICK, "--num_updates=50", f"--runs_folder={tmp_path}"])
        said = capsys.readouterr().err
        assert code != 0
    except ZeroDivisionError as error:  # a fault of code is shown with its traceback
        said = "\n".join([str(error), *error.__notes__])
    expected = {"crash": "its own fault", "illegal": "the opponent: chose 7 in game 0, which is illegal; expected 0 to 2"}[failure]
    assert expected in said and "trainer league: " in said and " played against " in said
    assert checkpoint.step_folders(tmp_path / "rps_league")
    monkeypatch.undo()
    assert main(["resume", str(tmp_path / "rps_league"), "--quiet", "--num_updates=12"]) == 0


def test_tasks_without_an_opponent_are_refused() -> None:
    from seqrl.tasks.control.task import EnvTask

    task = EnvTask("CartPole-v1", num_envs=2, num_steps=4)
    with pytest.raises(ValueError, match=r"trainer league: expected a game of two, a task with a method `duel`, got EnvTask; choose ppo"):
        League(task.build_policy()).collect(task)


def test_one_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqrl.trainers.league.num_launched", lambda: 2)
    with pytest.raises(ValueError, match="expected one process"):
        started()


@pytest.mark.slow
def test_a_league_is_less_exploitable_than_naive_self_play() -> None:
    """On Blotto, games being equal: naive self-play ends with a single strategy, against which another one always wins (1.0)."""
    from seqrl import OptimiserConfig, fit

    ppo = PPOConfig(minibatches=1, ent_coef=0.05, optimiser=OptimiserConfig(learning_rate=1e-2, epsilon=1e-5, max_grad_norm=0.5))
    found = {}
    for name, updates, settings in (
        ("league", 60, {"matches": 8, "games": 16, "keep_min_updates": 5, "keep_max_updates": 10}),
        ("naive", 240, {"main_exploiters": 0, "league_exploiters": 0, "self_play": 1.0, "verification": 0.0, "matches": 1, "games": 128}),
    ):
        task = MatrixGameConfig(game="blotto").build(0)
        trainer = League(task.build_policy(), LeagueConfig(**settings, ppo=ppo), num_updates=updates)  # type: ignore[arg-type]
        fit(trainer, task, num_updates=updates)
        found[name] = task.evaluate(trainer.policy)["exploitability"]
    assert found["league"] < 0.8 < 0.95 < found["naive"]  # 0.42 to 0.58, and 1.00, on three seeds
