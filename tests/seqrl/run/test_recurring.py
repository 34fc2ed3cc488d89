from __future__ import annotations

from seqrl.run.recurring import Recurring


def test_only_what_comes_back_is_said_and_then_not_again_for_a_while() -> None:
    now = [0.0]
    recurring = Recurring(window=3, least=2, period_s=10.0, clock=lambda: now[0])
    said = []
    for step, found in enumerate([{"a": "a0"}, {}, {"a": "a2", "b": "b2"}, {"a": "a3", "b": "b3"}, {"a": "a4"}, {}, {}, {"b": "b7"}]):
        now[0] = float(step)
        said.append(recurring.pick(found))
    # a: in updates 0 and 2 of 0..2, then silent; b: in 2 and 3.
    assert said == [{}, {}, {"a": "a2"}, {"b": "b3"}, {}, {}, {}, {}]
    now[0] = 20.0
    assert recurring.pick({"a": "a8"}) == {}  # once in the last three
    assert recurring.pick({"a": "a9"}) == {"a": "a9"}


def test_a_window_of_one_says_it_at_once() -> None:
    assert Recurring(window=1, least=1).pick({"a": "text"}) == {"a": "text"}
