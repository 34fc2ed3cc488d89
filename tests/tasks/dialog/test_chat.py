"""Talking to a restaurant policy: what is heard by hand, whole dialogs over the hand-crafted policy, and the terminal's side."""

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
from handcrafted import HandCrafted, columns_of
from numpy.typing import NDArray

from seqrl.run.chat import open_conversation, talk, typed
from seqrl.run.cli import main
from seqrl.run.train import Loaded, Source
from seqrl.tasks.dialog import restaurant_user as user
from seqrl.tasks.dialog.conversation import RestaurantConversation
from seqrl.tasks.dialog.hearing import understand
from seqrl.tasks.dialog.restaurant_data import ANY, RestaurantData
from seqrl.tasks.dialog.restaurant_dialogs import RestaurantDialogs
from seqrl.tasks.dialog.voice import SystemAct, WrittenVoice

# Three restaurants: (food, area, price). british centre cheap, british east cheap, greek north moderate.
TABLE = np.array([[0, 0, 0], [0, 1, 0], [3, 2, 1]])


class ByThresholds:
    """Acts as the hand-crafted policy does."""

    def __init__(self, policy: HandCrafted) -> None:
        self.policy, self.begun = policy, 0

    def begin(self) -> None:
        self.begun += 1

    def choose(self, seen: NDArray[Any], allowed: NDArray[Any]) -> int:
        assert seen.shape[0] == 1 and allowed.shape[0] == 1
        return int(self.policy(seen, allowed)[0])


def conversation(error_rate: float = 0.0, **settings: Any) -> RestaurantConversation:
    data = RestaurantData(TABLE, np.full((1, 3), ANY), np.ones((1, 3), dtype=bool))
    dialogs = RestaurantDialogs(data, 1, error_rate)
    thresholds = {name: settings.pop(name) for name in ("request", "confirm") if name in settings}
    acting: Any = ByThresholds(HandCrafted(columns_of(data), **{"request": 0.0, "confirm": 0.0, **thresholds}))
    return RestaurantConversation(dialogs, acting, np.random.default_rng(0), **settings)


@pytest.mark.parametrize(
    ("text", "act", "values", "question"),
    [
        ("I'd like some THAI food, please", user.INFORM, (10, -1, -1), -1),
        ("somewhere cheap in the center", user.INFORM, (-1, 0, 0), -1),
        ("no, greek", user.NEGATE, (3, -1, -1), -1),
        ("not thai but greek", user.NEGATE, (3, -1, -1), -1),
        ("no preference", user.INFORM, (-1, ANY, -1), -1),
        ("any price, but italian", user.INFORM, (5, -1, ANY), -1),
        ("mexcan", user.INFORM, (8, -1, -1), -1),
        ("what is their telephone number?", user.REQUEST, (-1, -1, -1), 0),
        ("the postcode, thanks", user.REQUEST, (-1, -1, -1), 2),
        ("something else", user.ALTERNATIVES, (-1, -1, -1), -1),
        ("yes", user.AFFIRM, (-1, -1, -1), -1),
        ("nope", user.NEGATE, (-1, -1, -1), -1),
        ("thank you, good bye", user.BYE, (-1, -1, -1), -1),
    ],
)
def test_what_is_heard(text: str, act: int, values: tuple[int, ...], question: int) -> None:
    understood = understand(text, requested=1)
    assert understood is not None
    said, score = understood
    assert (said.act[0], tuple(said.values[0]), said.question[0]) == (act, values, question)
    assert score == pytest.approx(12 / 13 if text == "mexcan" else 1.0)  # 2 · 6 letters of 6 + 7


@pytest.mark.parametrize("text", ["", "what is their website", "qwertz", "12345 !?", "\ufffd\u4f60", "a b c", "tha"])
def test_what_cannot_be_heard(text: str) -> None:
    assert understand(text) is None
    assert conversation().reply(text) is None


def test_anything_without_a_question_is_about_all() -> None:
    understood = understand("anything will do, but cheap")
    assert understood is not None and understood[0].values[0].tolist() == [ANY, ANY, 0]


def test_a_dialog_from_greeting_to_success() -> None:
    talking = conversation()
    assert talking.reply("british") == "There is Golden British 0, cheap, with british food, in the centre."
    assert talking.reply("in the east") == "There is Silver British 1, cheap, with british food, in the east."
    number = f"01223 {300_000 + 7_919}"
    assert talking.reply("phone?") == f"The phone of Silver British 1 is {number}."
    assert talking.facts()["heard"] == "request(phone) (1.00)" and talking.facts()["act"] == "inform"
    assert "british     1.00" in talking.facts()["belief"] and "phone     answered    1.00" in talking.facts()["belief"]
    assert not talking.ended and talking.facts()["paid"] == "-3 after 3 turns"
    assert talking.reply("bye") == "Goodbye, and enjoy your meal."
    assert talking.ended and talking.facts()["paid"] == "+16 after 4 turns, a success"
    assert talking.reply("greek") == "There is Old Greek 2, moderate, with greek food, in the north." and not talking.ended
    assert talking.facts()["paid"] == "-1 after 1 turns"


def test_nothing_fits_and_another_one() -> None:
    talking = conversation()
    assert talking.reply("cheap greek food in the north") == "I am sorry, I know no cheap greek restaurant in the north."
    assert "Golden British 0" in str(talking.reply("british, anywhere"))
    assert "Another one is Silver British 1" in str(talking.reply("another one"))
    assert talking.reply("bye") is not None and talking.facts()["paid"].endswith("a success")


def test_goodbye_with_an_open_question_is_no_success() -> None:
    talking = conversation()
    talking.reply("british")
    talking.dialogs.state["asked"][0, 1] = True
    talking.reply("bye")
    assert talking.ended and "no success" in talking.facts()["paid"]


def test_questions_and_confirmations() -> None:
    talking = conversation(request=0.5, confirm=0.95, mishear=True, error_rate=0.0001)
    assert "Which part of town" in str(talking.reply("thai food"))
    assert "cheap, moderate or expensive" in str(talking.reply("anything"))
    assert str(talking.reply("cheap")) in ("You want thai food, is that right?", "You want any part of town, is that right?")


def test_misheard_as_often_as_in_training() -> None:
    heard = []
    for mishear in (False, True):
        talking = conversation(error_rate=1.0, mishear=mishear)
        for _ in range(20):
            talking.begin()
            talking.reply("thai")
            heard.append(talking.facts()["heard"].startswith("inform(food=thai)"))
    assert heard == [True] * 20 + [False] * 20


def test_the_terminals_side() -> None:
    out = io.StringIO()
    lines = ["greek", "", "blah", "/belief", "/nothing", "/help", "/new", "british", "bye", "/quit", "never read"]
    talk(conversation(), iter(lines), out, show=False)
    text = out.getvalue()
    assert text.count("system: Hello") == 2 and "There is Old Greek 2" in text and "greek       1.00" in text
    assert "nothing heard, and no turn taken; I can hear food: british" in text and "there is no /nothing; /heard, /belief" in text
    assert "the dialog has ended: +18 after 2 turns, a success" in text and text.count("system:") == 5
    shown = io.StringIO()
    talk(conversation(), iter(["greek"]), shown, show=True)
    assert "  heard: inform(food=greek) (1.00)\n  belief:\n    food      greek       1.00" in shown.getvalue()


def test_lines_come_until_the_end_of_the_file() -> None:
    assert list(typed(io.StringIO("a\nb"))) == ["a\n", "b"]


def test_tasks_that_nobody_can_talk_to_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from seqrl.tasks.control.task import ControlConfig

    cartpole = ControlConfig("CartPole-v1", num_envs=1)
    policy: Any = object()
    loaded = Loaded(SimpleNamespace(task=cartpole), cartpole.build(0), policy, tmp_path, {})  # type: ignore[arg-type]
    monkeypatch.setattr(Source, "load", lambda self: loaded)
    with pytest.raises(ValueError, match="CartPole-v1: expected one to talk to"):
        open_conversation(Source(tmp_path))
    loaded = loaded._replace(task=policy)
    with pytest.raises(ValueError, match="task control: nobody can talk to its policies"):
        open_conversation(Source(tmp_path))
    with pytest.raises(ValueError, match="--seed: expected at least 0, got -1"):
        open_conversation(Source(tmp_path), seed=-1)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--num_updates=1", "--eval_every=0", "--task.num_envs=2", "--task.num_steps=8", "--task.num_eval_episodes=2"]
    pinned = ["--trainer.optimiser.precision=fp32", "--num_threads=1", f"--runs_folder={tmp_path}", "--quiet"]
    assert main(["train", "restaurant_ppo", *small, *pinned, "--task.policy.hidden_sizes=[8]"]) == 0
    run = str(tmp_path / "restaurant_ppo")
    capsys.readouterr()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"thai food\n\xff\n/paid\n"), encoding="utf-8"))
    assert main(["chat", run, "--show"]) == 0
    printed = capsys.readouterr().out
    assert "paid: -1 after 1 turns" in printed and printed.count("nothing heard") == 1 and "heard: inform(food=thai) (1.00)" in printed
    interrupted = SimpleNamespace(isatty=lambda: True, readline=lambda: os.kill(os.getpid(), signal.SIGINT))
    monkeypatch.setattr(sys, "stdin", interrupted)
    assert main(["chat", run]) == 130
    captured = capsys.readouterr()
    assert captured.out.endswith("you: \n") and captured.err == "seqrl: interrupted by Ctrl-C\n"
    assert main(["chat", run, "--voice", run]) == 2 and "--voice: expected the run of a text task" in capsys.readouterr().err


def test_a_voice_needs_acts_with_slots() -> None:
    with pytest.raises(ValueError, match="--voice: expected the run of a text task"):
        WrittenVoice(object(), None)


def test_the_nearest_known_act_is_written() -> None:
    voice = WrittenVoice.__new__(WrittenVoice)
    prompts = ("inform SLOT_NAME SLOT_FOOD", "inform SLOT_NAME SLOT_FOOD SLOT_AREA", "?request food=?", "inform SLOT_NAME SLOT_PHONE")
    voice.known = {frozenset(prompt.split()): prompt for prompt in prompts}
    offer = SystemAct("inform", {"name": "old greek 2", "food": "greek", "area": "north", "pricerange": "cheap"})
    assert voice._prompt(offer) == prompts[1]
    assert voice._prompt(SystemAct("request", {"food": "?"})) == prompts[2]
    assert voice._prompt(SystemAct("inform", {"name": "old greek 2", "phone": "1"})) == prompts[3]
    assert voice._prompt(SystemAct("inform", {"name": "old greek 2", "postcode": "1"})) is None
