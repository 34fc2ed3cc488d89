from __future__ import annotations

import json
import math
from collections.abc import Iterable

from seqrl.run.run_warnings import StagnationMonitor, WarningFilter


def found(troubles: StagnationMonitor, rows: Iterable[dict[str, float]]) -> dict[str, int]:
    """At which update each trouble was found first."""
    first: dict[str, int] = {}
    for step, row in enumerate(rows, start=1):
        for kind in troubles.update(step, row):
            first.setdefault(kind, step)
    return first


def test_a_critic_that_never_explained_anything() -> None:
    assert found(StagnationMonitor(100), [{"critic/explained_variance": 0.01}] * 60) == {"idle_critic": 50}
    # A tenth of a long run is longer than 50 updates.
    assert found(StagnationMonitor(900), [{"critic/explained_variance": -0.02}] * 95) == {"idle_critic": 90}
    learned = [{"critic/explained_variance": value} for value in [0.0] * 10 + [0.4] + [0.0] * 100]
    assert found(StagnationMonitor(100), learned) == {}
    # Harmful is another trouble, which `warnings_for` tells.
    assert found(StagnationMonitor(100), [{"critic/explained_variance": -0.5}] * 60) == {}


def test_a_policy_that_still_chooses_at_random() -> None:
    most = math.log(4)
    assert found(StagnationMonitor(100, most), [{"policy/entropy": 0.995 * most}] * 60) == {"random_policy": 50}
    assert found(StagnationMonitor(100, most), [{"policy/entropy": 0.9 * most}] * 60) == {}
    assert found(StagnationMonitor(100), [{"policy/entropy": 0.995 * most}] * 60) == {}


def test_a_policy_that_does_the_same_whatever_it_sees() -> None:
    key = "policy/mean_spread"
    assert found(StagnationMonitor(100), [{key: 0.004}] * 60) == {"same_action": 50}
    # From the centre locations spread slowly; that is no trouble before it is time.
    assert found(StagnationMonitor(100), [{key: 0.002 * step} for step in range(1, 90)]) == {}
    assert found(StagnationMonitor(900), [{key: 0.004}] * 89 + [{key: 0.5}] * 10) == {}
    # Not only what was never otherwise: means may run to a border and stay there.
    assert found(StagnationMonitor(100), [{key: 2.0}] * 70 + [{key: 0.0}] * 5) == {"same_action": 71}


def test_a_jump_is_told_at_once_and_by_what_is_usual() -> None:
    usual = [{"policy/kl_sampling": 0.005}] * 10
    assert found(StagnationMonitor(100), [*usual, {"policy/kl_sampling": 0.4}, *usual]) == {"jump": 11}
    assert found(StagnationMonitor(100), [*usual, {"policy/kl_sampling": 0.04}]) == {}
    assert found(StagnationMonitor(100), [{"policy/kl_sampling": 0.2}] * 20) == {}


def test_chance_that_does_not_end() -> None:
    assert found(StagnationMonitor(100), [{"explore/epsilon": 0.6}] * 100) == {"much_chance": 51}
    assert found(StagnationMonitor(100), [{"explore/epsilon": 0.4}] * 100) == {}


def episodes(troubles: StagnationMonitor, lines: Iterable[tuple[float, float, int]]) -> list[bool]:
    keys = ("episode/return_mean", "episode/return_max", "episode/count")
    return ["equal_returns" in troubles.episodes(dict(zip(keys, line, strict=True))) for line in lines]


def test_returns_that_never_differed() -> None:
    assert episodes(StagnationMonitor(100), [(-200, -200, 30)] * 3) == [False, True, True]
    assert episodes(StagnationMonitor(100), [(0, 0, 30), (0.5, 1, 30), (0, 0, 500)]) == [False, False, False]
    # Solved, after there was something to learn.
    assert episodes(StagnationMonitor(100), [(20, 35, 30), (500, 500, 30), (500, 500, 500)]) == [False, False, False]
    assert StagnationMonitor(100).episodes({}) == {}


def test_a_resumed_run_remembers() -> None:
    troubles = StagnationMonitor(100)
    found(troubles, [{"critic/explained_variance": 0.5}])
    episodes(troubles, [(1, 2, 5)])
    other = StagnationMonitor(100, state=json.loads(json.dumps(troubles.state_dict())))
    assert found(other, [{"critic/explained_variance": 0.0}] * 80) == {}
    assert episodes(other, [(1, 1, 500)]) == [False]


def test_only_what_comes_back_is_said_and_then_not_again_for_a_while() -> None:
    now = [0.0]
    recurring = WarningFilter(window=3, least=2, period_s=10.0, clock=lambda: now[0])
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
    assert WarningFilter(window=1, least=1).pick({"a": "text"}) == {"a": "text"}
