from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seqrl.distributions import Categorical
from seqrl.policies.actor_critic import ActorCriticConfig
from seqrl.run.cli import main
from seqrl.tasks.control.policy import ControlPolicyConfig
from seqrl.tasks.control.task import EnvTask
from seqrl.trainers.dagger import DAgger, DAggerConfig, Mixture, labelled
from seqrl.trajectory import Evaluation, Step, Trajectory, tree_leaves


class Says(nn.Module):
    """Does action `number`, whatever it sees; asked, says the sign of the first number seen."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def initial_state(self, context: Any) -> None:
        return None

    def act(self, obs: Any, state: Any = None, **settings: Any) -> Step:
        none = torch.zeros(len(obs))
        return Step(torch.full((len(obs),), self.number), none, none)

    def forward(self, rows: Trajectory) -> Evaluation:
        first = rows.obs[:, :-1, 0]  # type: ignore[index, call-overload]
        choice = Categorical(torch.stack([-first, first], dim=2))
        return Evaluation(choice.logp(rows.action), choice.entropy(), torch.zeros_like(first), distribution=choice)


def pole(**settings: Any) -> EnvTask:
    task = EnvTask("CartPole-v1", **{"num_envs": 3, "num_steps": 5, "num_eval_episodes": 2, "max_episode_steps": 50, **settings})
    task.expert = Says(1)
    return task


def test_beta_falls_linearly_from_the_expert_alone() -> None:
    def betas(ramp: int) -> list[float]:
        trainer = DAgger(pole().build_policy(), DAggerConfig(beta_updates=ramp))
        found = []
        for update in range(5):
            trainer.optimiser.num_finished = update
            found.append(trainer.beta)
        return found

    assert betas(0) == [0] * 5 and betas(1) == [1, 0, 0, 0, 0] and betas(4) == pytest.approx([1, 0.75, 0.5, 0.25, 0])


@pytest.mark.parametrize(("beta", "share"), [(0.0, 0.0), (1.0, 1.0), (0.3, 0.3)])
def test_the_mixture_draws_who_acts_for_each_row(beta: float, share: float) -> None:
    actor = Mixture(Says(0), Says(1), beta)
    action = actor.act(torch.zeros(20_000, 4), generator=torch.Generator().manual_seed(0)).action
    assert float(action.float().mean()) == pytest.approx(share, abs=0.011)


def test_every_visited_step_is_labelled_with_what_the_expert_would_have_done() -> None:
    task = pole()
    trainer = DAgger(task.build_policy(), DAggerConfig(beta_updates=0, epochs=1))
    rows = trainer.collect(task)
    assert isinstance(rows.obs, torch.Tensor)
    assert torch.equal(rows.action, (rows.obs[:, :-1, 0] > 0).long()) and not bool(rows.mask.any())
    assert rows.imitate is not None and bool(rows.imitate.all())
    # The learner acted and not the expert: replaying its own choices leads through the same observations.
    taken = Trajectory.of_known(vars(rows) | {"mask": rows.imitate, "imitate": None})
    assert not torch.equal(labelled(taken, Says(1)).action, torch.ones_like(rows.action))
    stats = [trainer.update(rows), trainer.update(trainer.collect(task))]
    assert [each["dagger/num_labels"] for each in stats] == [15, 30] and stats[0]["dagger/beta"] == 0


def test_the_first_update_goes_where_the_expert_goes() -> None:
    task = pole(num_envs=1, num_steps=6)
    rows = DAgger(task.build_policy()).collect(task)
    assert isinstance(rows.obs, torch.Tensor)
    assert bool((rows.obs[0, 1:, 1] > rows.obs[0, :-1, 1]).all())  # pushed to the right at each step, the cart speeds up


def test_it_learns_the_experts_rule() -> None:
    task = pole(num_envs=8, num_steps=16, max_episode_steps=200)
    trainer = DAgger(task.build_policy(), DAggerConfig(epochs=10, batch_size=64), num_updates=12)
    trainer.optimiser.config.learning_rate = 1e-2
    for _ in range(12):
        trainer.update(trainer.collect(task))
    seen = torch.randn(500, 2, 4, generator=torch.Generator().manual_seed(1)) * 0.2
    seen = seen[seen[:, 0, 0].abs() > 0.05]
    said = trainer.policy.act(seen[:, 0], None, greedy=True).action
    assert float((said == (seen[:, 0, 0] > 0)).float().mean()) > 0.9


@pytest.mark.parametrize("memories", [("none", "none"), ("lstm", "none"), ("none", "gru"), ("lstm", "gru")])
def test_learner_and_expert_each_keep_a_memory_of_their_own(memories: tuple[str, str]) -> None:
    def config(memory: Any) -> ControlPolicyConfig:
        return ControlPolicyConfig(hidden_sizes=(8,), actor_critic=ActorCriticConfig(memory=memory, memory_size=6))

    task = pole(policy=config(memories[0]), max_episode_steps=7)
    expert = pole(policy=config(memories[1])).build_policy().eval()
    task.expert = expert
    trainer = DAgger(task.build_policy(), DAggerConfig(beta_updates=4))
    for _ in range(3):
        rows = trainer.collect(task)
        assert bool(tree_leaves(rows.state0)) == (memories[0] != "none")
        assert trainer.update(rows)["loss/cross_entropy"] > 0


def test_a_resumed_run_keeps_its_labels() -> None:
    def start() -> tuple[EnvTask, DAgger]:
        task = pole()
        return task, DAgger(task.build_policy(), DAggerConfig(beta_updates=3, batch_size=8))

    task, trainer = start()
    trainer.update(trainer.collect(task))
    state = copy.deepcopy((trainer.state_dict(), task.state_dict(), trainer.policy.state_dict()))
    expected = trainer.update(trainer.collect(task))
    task, trainer = start()
    trainer.load_state_dict(state[0])
    task.load_state_dict(state[1])
    trainer.policy.load_state_dict(state[2])
    assert trainer.update(trainer.collect(task)) == expected


def test_without_an_expert_it_says_what_to_do() -> None:
    task = EnvTask("CartPole-v1")
    with pytest.raises(ValueError, match=r"no expert to be asked; set task\.expert to the folder of a run"):
        DAgger(task.build_policy()).collect(task)


def test_an_expert_from_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--task.num_envs=2", "--task.num_steps=8", "--task.num_eval_episodes=2", "--task.max_episode_steps=20", "--quiet"]
    small += ["--num_updates=1", "--eval_every=1", f"--runs_folder={tmp_path}"]
    assert main(["train", "cartpole_ppo", "--name=expert", *small]) == 0
    assert main(["train", "acrobot_ppo", "--name=other", *small]) == 0
    assert main(["train", "cartpole_ppo", "--name=stacked", "--task.frame_stack=2", *small]) == 0
    assert main(["train", "cartpole_dagger", f"--task.expert={tmp_path / 'expert'}", *small]) == 0
    # A policy that was taught by an expert is an expert itself, though its teacher is gone.
    (tmp_path / "expert").rename(tmp_path / "moved")
    assert main(["train", "cartpole_dagger", f"--task.expert={tmp_path / 'cartpole_dagger'}", "--name=pupil", *small]) == 0
    capsys.readouterr()
    for expert, said in {
        "other": "expected a run of environment CartPole-v1",
        "stacked": "expected a run with observations Box",
        "expert": "expected the folder of a run",
    }.items():
        assert main(["train", "cartpole_dagger", f"--task.expert={tmp_path / expert}", "--name=refused", *small]) == 2
        assert said in capsys.readouterr().err and not (tmp_path / "refused").exists()
    kept = next((tmp_path / "moved" / "checkpoints").glob("step_*")) / "model.safetensors"
    kept.write_bytes(kept.read_bytes()[:100])
    assert main(["train", "cartpole_dagger", f"--task.expert={tmp_path / 'moved'}", "--name=refused", *small]) == 2
    assert "damaged" in capsys.readouterr().err
