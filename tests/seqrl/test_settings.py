"""Declared limits of settings: what is refused, in what words, and that Python and YAML say the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest

from seqrl.run.decode import decode
from seqrl.settings import Count, Fraction, FractionBelowOne, Limit, NotNegative, Positive, ReadBy, check_settings, named

FILES = ReadBy("source", "files", "folder")


@dataclass
class Settings:
    count: Count = 1
    patience: Count | None = None
    lag: NotNegative[int] = 0
    weight: NotNegative[float] = 0.0
    rate: Positive = 0.1
    gamma: Fraction = 1.0
    decay: FractionBelowOne = 0.0
    even: Annotated[int, Limit("an even number", lambda value: value % 2 == 0)] = 2
    source: Literal["files", "folder", "drawn"] = "files"
    stage: Literal["first", "last"] | None = None
    path: Annotated[str, FILES] = ""
    names: Annotated[list[str], FILES] = field(default_factory=list)
    held_out: Annotated[NotNegative[int], FILES] = 0
    free: float = -1.0

    def __post_init__(self) -> None:
        check_settings(self)


UNREAD = "source drawn does not read it, it is for files, folder"
REFUSED = {
    "count: expected at least 1, got 0": {"count": 0},
    "patience: expected at least 1 or null, got 0": {"patience": 0},
    "lag: expected 0 or more, got -1": {"lag": -1},
    "weight: expected 0 or more, got -0.5": {"weight": -0.5},
    "rate: expected a positive number, got 0.0": {"rate": 0.0},
    "gamma: expected a number from 0 to 1, got 1.5": {"gamma": 1.5},
    "decay: expected a share from 0 to below 1, got 1.0": {"decay": 1.0},
    "even: expected an even number, got 3": {"even": 3},
    "held_out: expected 0 or more, got -1": {"held_out": -1},
    f"path: {UNREAD}, got 'x'; leave it out or change source": {"source": "drawn", "path": "x"},
    f"names: {UNREAD}, got ['x']; leave it out or change source": {"source": "drawn", "names": ["x"]},
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_refused(message: str) -> None:
    for make in (lambda given: Settings(**given), lambda given: decode(Settings, given)):
        with pytest.raises(ValueError) as caught:
            make(REFUSED[message])
        assert str(caught.value) == message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"source": "web"}, "source: expected one of files, folder, drawn, got 'web'"),
        ({"stage": "middle"}, "stage: expected one of first, last or null, got 'middle'"),
        ({"weight": float("nan")}, "weight: expected 0 or more, got nan"),
        ({"decay": float("nan")}, "decay: expected a share from 0 to below 1, got nan"),
    ],
)
def test_what_only_python_can_give(given: dict, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Settings(**given)
    assert str(caught.value) == message


def test_what_is_allowed() -> None:
    Settings(count=1, patience=None, weight=0.0, gamma=0.0, decay=0.99, stage="last", free=-3.0)
    Settings(patience=1, gamma=1.0, source="folder", path="x", names=["x"], held_out=3)
    Settings(source="drawn", path="", names=[], held_out=0)
    assert decode(Settings, {"count": 3, "path": "x"}) == Settings(count=3, path="x")


@dataclass
class Policy:
    type: Annotated[str, named("lstm", "pretrained")] = "lstm"
    path: Annotated[str, ReadBy("type", "pretrained")] = ""

    def __post_init__(self) -> None:
        check_settings(self)


def test_code_of_ones_own_may_be_named_and_reads_everything() -> None:
    Policy(type="my_module:build", path="x")
    Policy(type="pretrained", path="x")
    with pytest.raises(ValueError, match="path: type lstm does not read it, it is for pretrained, got 'x'"):
        Policy(path="x")
    with pytest.raises(ValueError, match="type: expected one of lstm, pretrained or module:function, got 'gru'"):
        Policy(type="gru")
