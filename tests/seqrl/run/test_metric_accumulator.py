from __future__ import annotations

import json

from seqrl.run.metric_accumulator import MetricAccumulator


def test_updates_are_averaged_over_those_that_gave_the_key() -> None:
    gathered = MetricAccumulator()
    for metrics in ({"loss/td": 1.0, "policy/entropy": 4.0}, {"loss/td": 2.0}, {"loss/td": 6.0, "policy/entropy": 2.0}):
        gathered.add(metrics)
    assert gathered.pop() == {"loss/td": 3.0, "policy/entropy": 3.0}
    assert gathered.pop() == {}


def test_episodes_count_each_for_one() -> None:
    """Three episodes of 10, 20, 60, told of in two parts, and a part without any."""
    gathered = MetricAccumulator()
    gathered.add_popped({"episode/return_mean": 15.0, "episode/return_max": 20.0, "episode/count": 2, "progress/num_env_steps": 7})
    gathered.add_popped({"progress/num_env_steps": 9})
    gathered.add_popped({"episode/return_mean": 60.0, "episode/return_max": 60.0, "episode/count": 1, "progress/num_env_steps": 12})
    assert gathered.counts == {"progress/num_env_steps": 12}
    assert gathered.pop() == {"episode/return_mean": 30.0, "episode/return_max": 60.0, "episode/count": 3}
    assert gathered.counts == {"progress/num_env_steps": 12} and gathered.pop() == {}


def test_processes_add_up() -> None:
    """Two episodes of 10 and 20 in one process, one of 60 in another, and none as yet in a third."""
    gathered = MetricAccumulator()
    one = {"episode/return_mean": 15.0, "episode/return_max": 20.0, "episode/count": 2, "progress/num_env_steps": 30}
    two = {"episode/return_mean": 60.0, "episode/return_max": 60.0, "episode/count": 1, "progress/num_env_steps": 60}
    gathered.add_popped(one, two, {"episode/count": 0, "progress/num_env_steps": 5})
    assert gathered.counts == {"progress/num_env_steps": 95}
    assert gathered.pop() == {"episode/return_mean": 30.0, "episode/return_max": 60.0, "episode/count": 3}


def test_state_is_plain_and_comes_back() -> None:
    gathered = MetricAccumulator()
    gathered.add({"loss/td": 1.0})
    gathered.add_popped({"episode/return_mean": 2.0, "episode/count": 1, "progress/num_env_steps": 5, "other/x": 3.0})
    other = MetricAccumulator(json.loads(json.dumps(gathered.state_dict())))
    gathered.add({"loss/td": 4.0})  # what is added now is not in the state
    assert other.counts == {"progress/num_env_steps": 5}
    assert other.pop() == {"loss/td": 1.0, "other/x": 3.0, "episode/return_mean": 2.0, "episode/count": 1}
