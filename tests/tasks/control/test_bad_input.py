"""What cannot work is refused by the command in plain words, before any rollout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seqrl.run.cli import main
from seqrl.run.reports import EXIT_BAD_INPUT
from seqrl.tasks.control.task import EnvTask

TABLE = {"environment": "FrozenLake-v1", "policy": {"type": "action_value_table"}}
VALUES = {"policy": {"type": "action_values"}}


@pytest.mark.parametrize(
    ("task", "trainer", "words"),
    [
        ({"environment": "CartPol-v1"}, {"type": "ppo"}, ["'CartPol-v1' is not known", "CartPole-v1"]),
        ({"environment": "nothing_of_this_name:Thing-v0"}, {"type": "ppo"}, ["nothing_of_this_name"]),
        (
            {"policy": {"type": "actor_critics"}},
            {"type": "ppo"},
            ["task.policy: type: expected one of actor_critic, soft"],
        ),
        ({"num_env": 3}, {"type": "ppo"}, ["task.num_env", "did you mean 'num_envs'?"]),
        ({}, {"type": "ppoo"}, ["'ppoo' is not registered", "did you mean 'ppo'?"]),
        ({}, {"type": "ppo", "clip_range": 2.0}, ["trainer", "clip_range", "got 2.0"]),
        # An actor-critic for a trainer of values, and the other way round.
        ({}, {"type": "dqn"}, ["dqn", "action_values", "got a ActorCritic"]),
        ({}, {"type": "q_table"}, ["q_table", "action_value_table"]),
        ({}, {"type": "cem", "fit": "counts"}, ["counts", "probability_table"]),
        *((VALUES, {"type": name}, [name, "ActionValues", "dqn"]) for name in ("ppo", "reinforce", "self_critical", "cem")),
        *((VALUES, {"type": name}, [name, "ActionValues", "dqn"]) for name in ("a2c", "trpo", "vtrace", "off_policy")),
        *((TABLE, {"type": name}, [name, "ActionValueTable", "q_table"]) for name in ("ppo", "reinforce", "self_critical", "cem")),
        # Actions and observations that a policy has no layer for.
        ({"environment": "Pendulum-v1", **VALUES}, {"type": "dqn"}, ["task.policy.type: action_values", "Discrete", "actor_critic"]),
        ({**TABLE, "environment": "CartPole-v1"}, {"type": "q_table"}, ["task.policy.type: action_value_table", "numbered", "dqn"]),
        ({**TABLE, "environment": "Taxi-v4", "action_masks": True}, {"type": "q_table"}, ["task.action_masks: expected false", "got true"]),
        ({"policy": {"actor_critic": {"squash": True}}}, {"type": "ppo"}, ["task.policy.actor_critic.squash", "Discrete(2)"]),
    ],
)
def test_refused_before_the_first_rollout(
    task: dict[str, object],
    trainer: dict[str, object],
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(EnvTask, "rollout", lambda *arguments, **settings: pytest.fail("a rollout"))
    path = tmp_path / "bad.yaml"
    settings = {"name": "bad", "num_updates": 2, "num_threads": 1, "runs_folder": str(tmp_path), "task": {"type": "control"} | task}
    path.write_text(json.dumps(settings | {"trainer": trainer}))
    assert main(["train", str(path), "--quiet"]) == EXIT_BAD_INPUT
    said = capsys.readouterr().err
    assert said.startswith("seqrl: ") and "Traceback" not in said
    for word in words:
        assert word in said
    assert not (tmp_path / "bad" / "metrics.jsonl").exists()
