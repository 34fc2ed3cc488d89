from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from seqrl.run.decode import CommandLineText, decode, encode, meanings


@dataclass
class Inner:
    """An inner part.

    Attributes:
        rate: how fast,
            in hertz.
        sizes: three numbers.
    """

    rate: float = 1.0
    sizes: tuple[int, int, int] = (1, 2, 3)


@dataclass
class Square:
    side: float


@dataclass
class Outer:
    name: str
    inner: Inner = field(default_factory=Inner)
    shape: Square | None = None
    kind: Literal["a", "b"] = "a"
    weights: dict[str, float] = field(default_factory=dict)
    folder: Path | None = None
    flag: bool = False
    count: int = 1
    either: int | str = 0
    items: list[Inner] = field(default_factory=list)


def test_off_is_a_word_though_yaml_reads_it_as_false() -> None:
    assert decode(Literal["auto", "off"], False) == "off" == decode(Literal["auto", "off"], CommandLineText("off"))
    with pytest.raises(ValueError, match="expected one of 'a', 'b', got bool False"):
        decode(Literal["a", "b"], False)


def test_plain_data_becomes_typed() -> None:
    outer = decode(
        Outer,
        {
            "name": "n",
            "inner": {"rate": "1e-4", "sizes": [4, 5, 6]},
            "shape": {"side": 2},
            "weights": {"x": 1},
            "folder": "a/b",
            "flag": True,
            "either": "word",
            "items": [{"rate": 3}],
        },
    )
    assert outer == Outer("n", Inner(1e-4, (4, 5, 6)), Square(2.0), "a", {"x": 1.0}, Path("a/b"), True, 1, "word", [Inner(3.0)])
    assert isinstance(outer.shape, Square) and isinstance(outer.shape.side, float)


def test_encode_is_the_way_back() -> None:
    outer = Outer("n", shape=Square(1.5), folder=Path("x"), items=[Inner()])
    assert decode(Outer, encode(outer)) == outer


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nmae": "x"}, "nmae: there is no such field; did you mean 'name'?"),
        ({"inner": {"raet": 1}}, "inner.raet: there is no such field; did you mean 'rate'?"),
        ({"inner": {"rate": "fast"}}, "inner.rate: expected float, got str 'fast'"),
        ({"inner": {"rate": True}}, "inner.rate: expected float, got bool True"),
        ({"inner": {"sizes": [1, 2]}}, "inner.sizes: expected 3 items, got list [1, 2]"),
        ({"inner": {"sizes": [1, 2, 2.5]}}, r"inner.sizes[2]: expected int, got float 2.5"),
        ({"inner": 3}, "inner: expected a mapping of fields, got int 3"),
        ({"count": True}, "count: expected int, got bool True"),
        ({"count": None}, "count: expected int, got nothing (null)"),
        ({"flag": "yes"}, "flag: expected bool, got str 'yes'"),
        ({"kind": "c"}, "kind: expected one of 'a', 'b', got str 'c'"),
        ({"shape": {"sdie": 1}}, "shape.sdie: there is no such field; did you mean 'side'?"),
        ({"shape": {}}, "shape.side: is missing; expected float"),
        ({"weights": {"x": "y"}}, "weights.x: expected float, got str 'y'"),
        ({"weights": [1]}, "weights: expected a mapping, got list [1]"),
        ({"folder": 3}, "folder: expected Path, got int 3"),
        ({"items": [{"rate": 1}, {"rat": 1}]}, r"items[1].rat: there is no such field; did you mean 'rate'?"),
    ],
)
def test_message_names_the_field(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as raised:
        decode(Outer, {"name": "n", **change})
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("expected", "text", "value"),
    [
        (str, "3", "3"),
        (int, "3", 3),
        (float, "1e-3", 1e-3),
        (bool, "true", True),
        (int | None, "null", None),
        (Path | None, "none", None),
        (str | None, "7", "7"),
        (list[str], "[a, b]", ["a", "b"]),
        (dict[str, float], "{a: 1}", {"a": 1.0}),
        (tuple[int, ...], "[1, 2]", (1, 2)),
        (Inner, "{rate: 2}", Inner(2.0)),
    ],
)
def test_typed_text_takes_the_type_of_its_field(expected: Any, text: str, value: Any) -> None:
    decoded = decode(expected, CommandLineText(text))
    assert decoded == value
    assert type(decoded) is type(value)


def test_meanings_come_from_the_docstring() -> None:
    assert meanings(Inner) == {"rate": "how fast, in hertz.", "sizes": "three numbers."}


@dataclass
class Owner:
    plain: Inner = field(default_factory=Inner)
    chosen: Inner = field(default_factory=lambda: Inner(rate=10.0, sizes=(4, 5, 6)))


def test_a_mapping_changes_single_fields_of_the_default_that_its_owner_chose() -> None:
    owner = decode(Owner, {"plain": {"rate": 5}, "chosen": {"rate": 5}})
    assert owner == Owner(Inner(5.0, (1, 2, 3)), Inner(5.0, (4, 5, 6)))
