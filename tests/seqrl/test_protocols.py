"""What an object may have is called where it has it."""

from __future__ import annotations

from seqrl.protocols import ask


class Adder:
    name = "no method"

    def add(self, first: int, *, second: int = 0) -> int:
        return first + second


def test_a_method_is_called_where_there_is_one() -> None:
    assert ask(Adder(), "add", 1, second=2) == 3
    assert ask(Adder(), "multiply", 1) is None
    assert ask(Adder(), "name", 1, otherwise=7) == 7
