from __future__ import annotations

import json
import math
from collections.abc import Iterable

from seqrl.run.lasting import LastingTroubles


def found(troubles: LastingTroubles, rows: Iterable[dict[str, float]]) -> dict[str, int]:
    """At which update each trouble was found first."""
    first: dict[str, int] = {}
    for step, row in enumerate(rows, start=1):
        for kind in troubles.update(step, row):
            first.setdefault(kind, step)
    return first


def test_a_critic_that_never_explained_anything() -> None:
    assert found(LastingTroubles(100), [{"critic/explained_variance": 0.01}] * 60) == {"idle_critic": 50}
    # A tenth of a long run is longer than 50 updates.
    assert found(LastingTroubles(900), [{"critic/explained_variance": -0.02}] * 95) == {"idle_critic": 90}
    learned = [{"critic/explained_variance": value} for value in [0.0] * 10 + [0.4] + [0.0] * 100]
    assert found(LastingTroubles(100), learned) == {}
    # Harmful is another trouble, which `warnings_for` tells.
    assert found(LastingTroubles(100), [{"critic/explained_variance": -0.5}] * 60) == {}


def test_a_policy_that_still_chooses_at_random() -> None:
    most = math.log(4)
    assert found(LastingTroubles(100, most), [{"policy/entropy": 0.995 * most}] * 60) == {"random_policy": 50}
    assert found(LastingTroubles(100, most), [{"policy/entropy": 0.9 * most}] * 60) == {}
    assert found(LastingTroubles(100), [{"policy/entropy": 0.995 * most}] * 60) == {}


def test_a_jump_is_told_at_once_and_by_what_is_usual() -> None:
    usual = [{"policy/kl_sampling": 0.005}] * 10
    assert found(LastingTroubles(100), [*usual, {"policy/kl_sampling": 0.4}, *usual]) == {"jump": 11}
    assert found(LastingTroubles(100), [*usual, {"policy/kl_sampling": 0.04}]) == {}
    assert found(LastingTroubles(100), [{"policy/kl_sampling": 0.2}] * 20) == {}


def test_chance_that_does_not_end() -> None:
    assert found(LastingTroubles(100), [{"explore/epsilon": 0.6}] * 100) == {"much_chance": 51}
    assert found(LastingTroubles(100), [{"explore/epsilon": 0.4}] * 100) == {}


def episodes(troubles: LastingTroubles, lines: Iterable[tuple[float, float, int]]) -> list[bool]:
    keys = ("episode/return_mean", "episode/return_max", "episode/count")
    return ["equal_returns" in troubles.episodes(dict(zip(keys, line, strict=True))) for line in lines]


def test_returns_that_never_differed() -> None:
    assert episodes(LastingTroubles(100), [(-200, -200, 30)] * 3) == [False, True, True]
    assert episodes(LastingTroubles(100), [(0, 0, 30), (0.5, 1, 30), (0, 0, 500)]) == [False, False, False]
    # Solved, after there was something to learn.
    assert episodes(LastingTroubles(100), [(20, 35, 30), (500, 500, 30), (500, 500, 500)]) == [False, False, False]
    assert LastingTroubles(100).episodes({}) == {}


def test_a_resumed_run_remembers() -> None:
    troubles = LastingTroubles(100)
    found(troubles, [{"critic/explained_variance": 0.5}])
    episodes(troubles, [(1, 2, 5)])
    other = LastingTroubles(100, state=json.loads(json.dumps(troubles.state_dict())))
    assert found(other, [{"critic/explained_variance": 0.0}] * 80) == {}
    assert episodes(other, [(1, 1, 500)]) == [False]
