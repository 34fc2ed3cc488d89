"""What every trainer needs of a task, with which settings it meets the kinds of task, and how it refuses what lacks something."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from matrix_kinds import (
    CRITIC,
    DEMONSTRATIONS,
    DISTRIBUTION,
    DUELS,
    EPISODES,
    EXPERT,
    KINDS,
    NUMBERS,
    PLANNED,
    PROBABILITY_TABLE,
    SAMPLES,
    SEARCHED,
    SEEN,
    SOFT,
    VALUE_TABLE,
    VALUES,
    Kind,
)

from seqrl.optimiser import OptimiserConfig
from seqrl.run import registry
from seqrl.trainers.bonus import BonusConfig
from seqrl.trainers.ppo_config import PPOConfig

# A large epsilon keeps AdamW from making large steps of tiny differences; clipping would mix all of them.
OPTIMISER = OptimiserConfig(learning_rate=1e-3, epsilon=1e-2, max_grad_norm=0.0, precision="fp32")


@dataclass(frozen=True)
class Variant:
    """A trainer with settings.

    Attributes:
        trainer: its registered name.
        settings: of its configuration.
        needs: what a task has to give.
        policy: what the policy is in environments, see `ControlPolicyConfig.kind`.
        updates_in_order: its result depends on the order of the rows by design; what stands here says why.
    """

    trainer: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    needs: frozenset[str] = frozenset()
    policy: str = "actor_critic"
    updates_in_order: str = ""


def _needs(*names: str) -> frozenset[str]:
    return frozenset(names)


_FORETOLD = BonusConfig("random_distillation", hidden_sizes=(8,), num_features=4, gradient_steps=1, optimiser=OPTIMISER)
_ONE_STEP = {"epochs": 1, "minibatches": 1}
_DQN = {"learning_starts": 0, "batch_size": 5, "gradient_steps": 2, "buffer_size": 100, "window_steps": 3, "target_every": 2}
_SAC = {"learning_starts": 0, "batch_size": 5, "gradient_steps": 2, "buffer_size": 100}
_DRAWS = "steps are drawn from the replay by their place"
VARIANTS: dict[str, Variant] = {
    "supervised": Variant("supervised", {}, _needs(DEMONSTRATIONS)),
    "supervised_smoothed": Variant("supervised", {"label_smoothing": 0.1}, _needs(DEMONSTRATIONS)),
    "reinforce_critic": Variant("reinforce", {"baseline": "critic", "num_samples": 1, "ent_coef": 0.1}, _needs(CRITIC)),
    "reinforce_none": Variant("reinforce", {"baseline": "none", "num_samples": 1, "ent_coef": 0.1, "gamma": 0.9}),
    "reinforce_moving_average": Variant("reinforce", {"baseline": "moving_average", "num_samples": 1, "whiten": True}),
    "reinforce_leave_one_out": Variant("reinforce", {"baseline": "leave_one_out", "num_samples": 3}, _needs(SAMPLES)),
    "reinforce_group_norm": Variant("reinforce", {"baseline": "group_norm", "num_samples": 3, "ent_coef": 0.1}, _needs(SAMPLES)),
    "reinforce_greedy": Variant("reinforce", {"baseline": "greedy", "num_samples": 3, "reward_to_go": False}, _needs(SAMPLES)),
    "reinforce_minimum_risk": Variant("reinforce", {"baseline": "minimum_risk", "num_samples": 3, "sharpness": 0.5}, _needs(SAMPLES)),
    "self_critical_leave_one_out": Variant("self_critical", {"num_samples": 3, "ent_coef": 0.1}, _needs(SAMPLES)),
    "self_critical_greedy": Variant("self_critical", {"baseline": "greedy", "num_samples": 3}, _needs(SAMPLES)),
    "ppo_gae": Variant("ppo", {**_ONE_STEP, "epochs": 2, "ent_coef": 0.1}, _needs(CRITIC)),
    "ppo_clipped_value": Variant("ppo", {**_ONE_STEP, "clip_range_vf": 0.2, "kl_coef": 0.1}, _needs(CRITIC)),
    "ppo_bonus": Variant("ppo", {**_ONE_STEP, "bonus": _FORETOLD}, _needs(CRITIC, SEEN)),
    "ppo_leave_one_out": Variant("ppo", {**_ONE_STEP, "advantage": "leave_one_out", "num_samples": 3}, _needs(SAMPLES)),
    "ppo_group_norm": Variant("ppo", {**_ONE_STEP, "advantage": "group_norm", "num_samples": 3}, _needs(SAMPLES)),
    "ppo_greedy": Variant("ppo", {**_ONE_STEP, "advantage": "greedy", "num_samples": 3, "kl_coef": 0.1}, _needs(SAMPLES)),
    "reinforce_over_rows": Variant("reinforce", {"baseline": "none", "num_samples": 1, "average_over": "rows", "ent_coef": 0.1}),
    "reinforce_over_row_means": Variant("reinforce", {"num_samples": 3, "average_over": "row_means"}, _needs(SAMPLES)),
    "ppo_grpo": Variant(
        "ppo",
        {
            **{**_ONE_STEP, "advantage": "group_norm", "num_samples": 3, "average_over": "row_means"},
            **{"kl_in": "loss", "kl_estimator": "k3", "kl_coef": 0.1},
        },
        _needs(SAMPLES),
    ),
    "ppo_dr_grpo": Variant("ppo", {**_ONE_STEP, "advantage": "group_mean", "num_samples": 3, "average_over": "rows"}, _needs(SAMPLES)),
    "a2c": Variant("a2c", {"n_steps": 2, "normalise_advantage": True}, _needs(CRITIC)),
    "a2c_gae": Variant("a2c", {"advantage": "gae"}, _needs(CRITIC)),
    "vtrace": Variant("vtrace", {"actor_lag": 1}, _needs(CRITIC)),
    "off_policy": Variant("off_policy", {"epochs": 2, "ent_coef": 0.1}, _needs(CRITIC)),
    "off_policy_own_action": Variant("off_policy", {"weighting": "own_action", "baseline": "none"}),
    "off_policy_normalised": Variant(
        "off_policy", {"self_normalise": True, "max_weight": 3.0, "num_samples": 3, "baseline": "none"}, _needs(SAMPLES)
    ),
    "trpo": Variant("trpo", {"critic_epochs": 2, "critic_minibatches": 1}, _needs(DISTRIBUTION, CRITIC)),
    "cem": Variant("cem", {"num_samples": 3, "gradient_steps": 2, "percentile": 50.0, "ent_coef": 0.1}, _needs(EPISODES)),
    "cem_group": Variant("cem", {"num_samples": 3, "threshold": "group", "percentile": 50.0, "gradient_steps": 1}, _needs(EPISODES)),
    "cem_kept": Variant("cem", {"num_samples": 3, "elite_iterations": 2, "gradient_steps": 1, "percentile": 60.0}, _needs(EPISODES)),
    "cem_single": Variant("cem", {"percentile": 50.0, "gradient_steps": 1}, _needs(EPISODES)),
    "cem_counts": Variant("cem", {"fit": "counts", "percentile": 50.0}, _needs(PROBABILITY_TABLE, EPISODES), "probability_table"),
    "evolution_strategies": Variant("evolution_strategies", {"population_size": 4, "greedy": False}, _needs(EPISODES)),
    "model_based": Variant("model_based", {"gradient_steps": 2, "batch_size": 6}, _needs(PLANNED), "planner", _DRAWS),
    "alpha_zero": Variant(
        "alpha_zero", {"gradient_steps": 2, "batch_size": 6, "buffer_size": 100}, _needs(SEARCHED), "tree_search", _DRAWS
    ),
    "dagger": Variant("dagger", {"epochs": 2, "beta_updates": 3}, _needs(EXPERT)),
    "gail": Variant(
        "gail",
        {"discriminator_steps": 2, "gradient_penalty": 0.1, "discriminator": OPTIMISER, "ppo": PPOConfig(epochs=2, minibatches=1)},
        _needs(DEMONSTRATIONS, CRITIC, NUMBERS),
    ),
    "league": Variant("league", {"matches": 2, "games": 6, "ppo": PPOConfig(epochs=2, minibatches=1, ent_coef=0.1)}, _needs(DUELS, CRITIC)),
    "dqn": Variant("dqn", _DQN, _needs(VALUES), "action_values", _DRAWS),
    "dqn_prioritised": Variant(
        "dqn", {**_DQN, "replay": "prioritised", "double": True, "n_step": 2}, _needs(VALUES), "action_values", _DRAWS
    ),
    "dqn_without_replay": Variant(
        "dqn", {**_DQN, "replay": "none", "target_network": "moving_average"}, _needs(VALUES), "action_values", _DRAWS
    ),
    "dqn_bonus": Variant("dqn", {**_DQN, "bonus": _FORETOLD}, _needs(VALUES), "action_values", _DRAWS),
    "sac": Variant("sac", {**_SAC, "ent_coef": 0.2}, _needs(SOFT), "soft_actor_critic", _DRAWS),
    "sac_tuned": Variant("sac", {**_SAC, "n_step": 2}, _needs(SOFT), "soft_actor_critic", _DRAWS),
    "q_table": Variant("q_table", {}, _needs(VALUE_TABLE), "action_value_table", "each step is learned from before the next"),
    "q_table_sarsa": Variant(
        "q_table", {"rule": "sarsa", "n_step": 2}, _needs(VALUE_TABLE), "action_value_table", "each step is learned from before the next"
    ),
    "q_table_bonus": Variant(
        "q_table",
        {"bonus": BonusConfig("counts")},
        _needs(VALUE_TABLE),
        "action_value_table",
        "each step is learned from before the next",
    ),
    "q_table_planning": Variant(
        "q_table", {"planning_steps": 3}, _needs(VALUE_TABLE), "action_value_table", "each step is learned from before the next"
    ),
}
# How each of these says that it is missing: what the text has to hold, and what the page says in its place.
MISSING = {
    DEMONSTRATIONS: (r"no demonstrations.*(choose|give the task)", "has no demonstrations"),
    EXPERT: (r"no expert to be asked.*(choose|give the task)", "has no expert"),
    DUELS: (r"league: expected a game of two.*choose", "needs a game of two"),
    NUMBERS: (r"gail: expected an ActorCritic that sees numbers.*choose", "needs numbers to be seen"),
    SEEN: (r"bonus\.type: random_distillation expects a policy that acts.*set trainer\.bonus", "`bonus` needs an environment"),
    DISTRIBUTION: (r"Evaluation\.distribution.*choose", "needs the actions' distribution"),
    CRITIC: (r"a policy with a critic.*do without", "needs a critic"),
    SAMPLES: (r"set task\.mode=episodes", "needs whole episodes"),
    EPISODES: (r"(task\.)?mode.*episodes", "needs whole episodes"),
    VALUES: (r"dqn: expected a network of action values|action space|action_values", "needs action values"),
    VALUE_TABLE: (r"q_table learns a table of action values|action_value_table", "needs a table"),
    SOFT: (r"sac: expected a soft_actor_critic, which has an actor", "needs numbers to be seen, and critics of actions"),
    PLANNED: (r"model_based teaches the model of a policy that plans", "needs a policy that plans"),
    SEARCHED: (r"alpha_zero teaches a policy that searches a game's tree", "needs a game to search"),
    PROBABILITY_TABLE: (r"counts needs a table of probabilities", "`counts` needs a table of probabilities"),
}
ORDER = (
    PLANNED,
    SEARCHED,
    SOFT,
    VALUES,
    VALUE_TABLE,
    PROBABILITY_TABLE,
    DISTRIBUTION,
    CRITIC,
    DUELS,
    DEMONSTRATIONS,
    EXPERT,
    NUMBERS,
    SEEN,
    SAMPLES,
    EPISODES,
)


def missing(variant: Variant, kind: Kind) -> str | None:
    """Say what a kind lacks for a variant: the first thing that the trainer asks for; None where it runs."""
    return next((name for name in ORDER if name in variant.needs - kind.gives), None)


def policy_kind(variant: Variant, kind: Kind) -> str:
    """Say what the policy is in environments: a table where the kind is about tables and the trainer does not mind."""
    if PROBABILITY_TABLE in kind.gives and variant.policy == "actor_critic":
        return "probability_table"
    needed = {
        "action_values": VALUES,
        "action_value_table": VALUE_TABLE,
        "probability_table": PROBABILITY_TABLE,
        "planner": PLANNED,
        "tree_search": SEARCHED,
        "soft_actor_critic": SOFT,
    }
    return variant.policy if needed.get(variant.policy, "") in kind.gives else "actor_critic"


def trainers() -> list[str]:
    """Name every trainer that is registered."""
    return sorted(registry.registered(registry.TRAINERS))


def running() -> list[tuple[str, str]]:
    """List the pairs of variant and kind that run."""
    return [(variant, kind) for variant, v in VARIANTS.items() for kind, k in KINDS.items() if missing(v, k) is None]


def fast() -> set[tuple[str, str]]:
    """Choose the pairs of the fast tests: each trainer on each kind once, with one of its variants in turn, and each variant once."""
    pairs, chosen = [pair for pair in running() if not KINDS[pair[1]].slow], set[tuple[str, str]]()
    for trainer in trainers():
        kinds = [kind for kind in KINDS if any(VARIANTS[name].trainer == trainer for name, where in pairs if where == kind)]
        for number, kind in enumerate(kinds):
            names = [name for name, where in pairs if where == kind and VARIANTS[name].trainer == trainer]
            chosen.add((names[number % len(names)], kind))
    left = [name for name in VARIANTS if name not in {variant for variant, _ in chosen}]
    return chosen | {next(pair for pair in pairs if pair[0] == name) for name in left}


def parameters(pairs: Iterable[tuple[str, str]], *, wide: bool = False) -> list[Any]:
    """Make test parameters of the pairs that `fast` has chosen and of slow kinds; of all where `wide`, the others slow."""
    quick = fast()
    kept = [(v, k) for v, k in pairs if wide or (v, k) in quick or (KINDS[k].slow and k != "atari_steps")]
    return [pytest.param(*pair, marks=[] if pair in quick else [pytest.mark.slow]) for pair in kept]
