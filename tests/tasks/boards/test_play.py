"""A person plays against a policy at the terminal."""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from seqrl.policies.search_policy import Choice
from seqrl.run.cli import main
from seqrl.run.play import play_match
from seqrl.tasks.boards.games import make_game
from seqrl.tasks.boards.match import BoardMatch
from seqrl.tasks.boards.rules import Boards


class FirstFree(torch.nn.Module):
    """Takes the first legal move."""

    def __init__(self, game: Any) -> None:
        super().__init__()
        self.game = game

    def choose(self, state: Boards, **_: Any) -> Choice:
        legal = self.game.legal(state)
        return Choice(legal.argmax(axis=1), np.zeros(1), np.zeros(1), legal)


def match(name: str, size: int | None = None, **settings: Any) -> BoardMatch:
    game = make_game(name, size)
    return BoardMatch(game, FirstFree(game), **settings)


def played(opened: BoardMatch, *lines: str) -> str:
    out = io.StringIO()
    play_match(opened, iter(f"{line}\n" for line in lines), out)
    return out.getvalue()


def test_a_game_that_a_person_wins() -> None:
    said = played(match("tic_tac_toe"), "b2", "", "C1", "a3")
    assert said.count("the policy plays") == 2 and "the policy plays a1" in said and "the policy plays b1" in said
    assert said.endswith("  a b c\n1 O O X\n2 . X .\n3 X . .\nyou are X, the policy is O\nyou have won\n")


def test_a_game_that_the_policy_wins_with_the_first_move() -> None:
    said = played(match("tic_tac_toe", first=False), "a2", "b2", "c3")
    assert said.startswith("  a b c\n1 X . .\n2 . . .\n3 . . .\nyou are O, the policy is X\nthe policy plays a1\n")
    assert said.endswith("the policy plays c1\nthe policy has won\n")


def test_what_is_no_move_is_asked_again() -> None:
    opened = match("connect4")
    said = played(opened, "8", "left", *"12" * 3, "1", "/quit", "2")
    assert "there is no move '8'; you can play 1, 2, 3, 4, 5, 6, 7" in said and "there is no move 'left'" in said
    assert "1 cannot be played now; you can play 2, 3, 4, 5, 6, 7" in said
    assert said.endswith("the game was left before its end\n") and said.count("you are X") == 6
    assert "1 2 3 4 5 6 7\n" in said


def test_go_has_its_own_names() -> None:
    said = played(match("go", 3), "b2", "pass")
    assert "  A B C\n3 O . .\n2 . X .\n1 . . .\n" in said and "moves: A3, B3, C3, A2, B2, C2, A1, B1, C1, pass" in said


def test_a_finished_game_takes_no_moves_and_begins_anew() -> None:
    opened = match("tic_tac_toe")
    played(opened, "b2", "c1", "a3")
    assert opened.result == "you have won" and opened.moves() == []
    with pytest.raises(ValueError, match="the game is over: you have won"):
        opened.move("c3")
    assert opened.begin() == "" and opened.result == "" and len(opened.moves()) == 9


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("seqrl.run.plots.run_curves", lambda folder: folder)
    small = [
        "--num_updates=1",
        "--eval_every=0",
        "--task.num_games=2",
        "--task.policy.search.num_simulations=4",
        "--trainer.gradient_steps=1",
    ]
    pinned = ["--trainer.optimiser.precision=fp32", "--num_threads=1", f"--runs_folder={tmp_path}", "--quiet"]
    assert main(["train", "tic_tac_toe_alpha_zero", *small, *pinned]) == 0
    run = str(tmp_path / "tic_tac_toe_alpha_zero")
    capsys.readouterr()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"b2\n\xff\nb2\n"), encoding="utf-8"))
    assert main(["play", run, "--simulations=20"]) == 0
    said = capsys.readouterr().out
    assert said.count("the policy plays") == 1 and "there is no move" in said and "b2 cannot be played" in said
    assert said.endswith("the game was left before its end\n") and "\x1b" not in said
    interrupted = SimpleNamespace(isatty=lambda: True, readline=lambda: os.kill(os.getpid(), signal.SIGINT))
    monkeypatch.setattr(sys, "stdin", interrupted)
    assert main(["play", run, "--second"]) == 130
    captured = capsys.readouterr()
    assert captured.out.endswith("your move: \n") and captured.err == "seqrl: interrupted by Ctrl-C\n"
    assert "you are O" in captured.out
    assert main(["play", run, "--simulations=-1"]) == 2 and "--simulations: expected 0 or more, got -1" in capsys.readouterr().err
    assert main(["play", run, "--first", "--second"]) == 2 and "expected one of them, got both" in capsys.readouterr().err


def test_tasks_without_a_game_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("seqrl.run.plots.run_curves", lambda folder: folder)
    small = ["--num_updates=1", "--eval_every=0", "--task.num_envs=2", "--task.num_steps=8", "--task.num_eval_episodes=2"]
    pinned = ["--trainer.optimiser.precision=fp32", "--num_threads=1", f"--runs_folder={tmp_path}", "--quiet"]
    assert main(["train", "cartpole_a2c", *small, *pinned]) == 0
    assert main(["play", str(tmp_path / "cartpole_a2c")]) == 2
    assert "task control: nobody can play against its policies; train one with configs/boards" in capsys.readouterr().err
    with pytest.raises(ValueError, match="--simulations: expected a policy that searches, got a FirstFree"):
        match("tic_tac_toe", simulations=3)
