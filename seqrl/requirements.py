"""What trainers ask of a task and a policy before anything is done; who lacks it is told so, with what can be done."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from seqrl.protocols import Task, Trainer
from seqrl.trajectory import Trajectory


def hint(asked: object, missing: str) -> str:
    """Give the settings of a task that help where it or its policy lacks something, to stand before other advice; "" where it names none.

    Args:
        asked: task or policy, `hints` where it has any.
        missing: see `hints` of `seqrl.protocols.Task`.
    """
    found = getattr(asked, "hints", {}).get(missing)
    return f"{found}, or " if found else ""


def demonstrations_of(task: Task) -> Callable[[Tensor | None], Trajectory]:
    """Give a task's method `demonstrations`.

    Raises:
        ValueError: when it has none, saying what can be done.
    """
    give: Callable[[Tensor | None], Trajectory] | None = getattr(task, "demonstrations", None)
    if give is None:
        raise ValueError(
            f"{type(task).__name__} has no demonstrations to imitate; {hint(task, 'demonstrations')}choose a trainer that learns from "
            "rewards alone, with imitation.weight 0 and imitation.forced_steps 0, or give the task a method `demonstrations`"
        )
    return give


def duel_of(task: Task) -> Callable[..., Trajectory]:
    """Give a task's method `duel`, in which a policy plays against another one.

    Raises:
        ValueError: when it has none, saying what can be done.
    """
    give: Callable[..., Trajectory] | None = getattr(task, "duel", None)
    if give is None:
        raise ValueError(
            f"trainer league: expected a game of two, a task with a method `duel`, got {type(task).__name__}; choose ppo, a2c or "
            "reinforce, or the task matrix_game or board_duel"
        )
    return give


def expert_of(task: Task) -> nn.Module:
    """Give the policy `expert` of a task.

    Raises:
        ValueError: when it has none, saying what can be done.
    """
    expert = getattr(task, "expert", None)
    if not isinstance(expert, nn.Module):
        raise ValueError(
            f"{type(task).__name__} has no expert to be asked; {hint(task, 'expert')}choose a trainer that learns from rewards or from "
            "demonstrations, or give the task a policy `expert`"
        )
    return expert


def require_whole_rows(task: Task, trainer: str) -> None:
    """Refuse a task whose rows are stretches, for a trainer that compares the scores of rows.

    Raises:
        ValueError: saying what can be done.
    """
    if not getattr(task, "whole_rows", True):
        raise ValueError(
            f"trainer {trainer}: expected whole episodes, whose scores it compares, got stretches of steps that begin and end anywhere; "
            f"{hint(task, 'whole_rows')}choose ppo, a2c, trpo or vtrace with a critic, or dqn, which learn from stretches"
        )


def lags(task: Task, trainer: str, *, dropout: bool) -> bool:
    """Say whether a task gives rows that an older policy has sampled, and refuse to weigh them by a policy with dropout.

    Raises:
        ValueError: saying what can be done.
    """
    older = bool(getattr(task, "reward_ahead", 0))
    if older and dropout:
        raise ValueError(
            f"trainer {trainer}: expected dropout=false where rewards are computed ahead, since the ratio of probabilities with dropout "
            f"and without says nothing about the policy's change; {hint(task, 'rows_of_the_present')}set trainer.dropout=false"
        )
    return older


def require_weights_of_older_rows(task: Task, trainer: Trainer) -> None:
    """Refuse a task whose rows an older policy has sampled, for a trainer that takes them for the present one's, or has no use for rows.

    Raises:
        ValueError: saying what can be done.
    """
    if getattr(task, "reward_ahead", 0) and not getattr(trainer, "weighs_older_rows", False):
        raise ValueError(
            f"trainer {type(trainer).__name__}: expected rewards that are not computed ahead, since it does not weigh rows that the policy "
            f"of an earlier update has sampled; {hint(task, 'rows_of_the_present')}choose self_critical, reinforce, ppo, vtrace or "
            "off_policy"
        )


def require_constant_rewards(task: Task, trainer: str, what: str) -> None:
    """Refuse a task whose rewards change their unit, for a trainer that keeps what it cannot bring into the new one.

    Args:
        task: `reward_unit_moves` where it says so itself.
        trainer: name of the trainer.
        what: it keeps.

    Raises:
        ValueError: saying what can be done.
    """
    if getattr(task, "reward_unit_moves", False):
        raise ValueError(
            f"trainer {trainer}: expected rewards of one unit, since it keeps {what}, got rewards that are divided by a running "
            f"deviation; {hint(task, 'constant_rewards')}choose another trainer"
        )


def require_probabilities(policy: nn.Module, trainer: str) -> None:
    """Refuse a policy that acts on values, or whose probabilities have no weights to be learned by gradient.

    Args:
        policy: `is_value_based` where it says so itself.
        trainer: name of the one that needs probabilities.

    Raises:
        ValueError: saying which trainers can serve the policy.
    """
    by_value = bool(getattr(policy, "is_value_based", False))
    if by_value or not any(parameter.requires_grad for parameter in policy.parameters()):
        what = "acts on values and has no probabilities" if by_value else "has no weights for a gradient"
        raise ValueError(
            f"trainer {trainer}: expected a policy whose probabilities have gradients, got a {type(policy).__name__}, which {what}; "
            f"{hint(policy, 'probabilities')}choose dqn (action_values), q_table (action_value_table) or cem with fit: counts "
            "(probability_table)"
        )


def require_distribution(policy: nn.Module, needed_by: str, instead: str) -> None:
    """Refuse a policy that does not tell the distribution that its actions are drawn from, as texts do not.

    Args:
        policy: `has_distribution` is False where it says so itself.
        needed_by: name of the trainer or the setting.
        instead: what can be done.

    Raises:
        ValueError: saying so.
    """
    if not getattr(policy, "has_distribution", True):
        raise ValueError(
            f"{needed_by}: expected a policy that gives `Evaluation.distribution`, as an ActorCritic does, got a "
            f"{type(policy).__name__}, which gives none; {hint(policy, 'distribution')}{instead}"
        )


def require_critic(policy: nn.Module, trainer: str) -> nn.Module:
    """Give the policy's module `critic`, which estimates values.

    Args:
        policy: asked for it.
        trainer: name of the one that needs it.

    Raises:
        ValueError: when the policy has none, saying who can do without.
    """
    critic = getattr(policy, "critic", None)
    if not isinstance(critic, nn.Module):
        raise ValueError(
            f"trainer {trainer}: expected a policy with a critic (a module `critic`), got a {type(policy).__name__} without one; "
            f"{hint(policy, 'critic')}do without: reinforce or ppo with "
            "leave_one_out, self_critical; dqn, q_table and cem serve action values and tables"
        )
    return critic
