from __future__ import annotations

import pytest

from seqrl.run import timing


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Rewarding:
    seconds_in_reward = 0.0


def test_shares_and_rates_by_a_clock_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, task = Clock(), Rewarding()
    monkeypatch.setattr(timing.time, "perf_counter", clock)
    watch = timing.Stopwatch(task, elapsed_s=100.0, train_s=50.0)
    for _ in range(2):
        with watch.part("collect"):
            clock.now += 3.0
            task.seconds_in_reward += 1.0
        with watch.part("update"):
            clock.now += 1.0
        watch.count(num_samples=4, num_actions=20)
    with watch.part("evaluate"):
        clock.now += 10.0
    assert watch.metrics() == {
        "time/collect_share": 0.5,
        "time/reward_share": 0.25,
        "time/update_share": 0.25,
        "time/samples_per_second": 1.0,
        "time/actions_per_second": 5.0,
    }
    assert (watch.elapsed_s, watch.train_s, watch.last_s["evaluate"]) == (118.0, 58.0, 10.0)
    with watch.part("update"):
        clock.now += 2.0
    assert watch.metrics()["time/update_share"] == 1.0
