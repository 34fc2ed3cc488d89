"""Settings that are right alone, on the kinds where they meet: minibatches, masks, critics, dropout, chance actions, half precision."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from matrix_cells import VARIANTS, missing, parameters, running
from matrix_kinds import CRITIC, KINDS
from matrix_updates import Learned, assert_same, difference, learn, make_policy, make_task, make_trainer, rows_of, whole, worst
from torch import Tensor

from seqrl.trajectory import Trajectory

MINIBATCHES = [("ppo_gae", kind) for kind in KINDS if missing(VARIANTS["ppo_gae"], KINDS[kind]) is None and not KINDS[kind].slow]
RECURRENT = ("memory_steps", "masks_episodes", "catch_episodes")


def pieces(variant: str, kind: str, number: int, unit: str, **settings: Any) -> tuple[Learned, list[float]]:
    """Take all minibatches at the initial weights; also give how many steps each has."""
    from seqrl.trainers.minibatches import Minibatches

    sizes: list[float] = []
    epoch = Minibatches.epoch

    def noted(self: Minibatches, **columns: Tensor) -> Any:
        for part in epoch(self, **columns):
            sizes.append(float(part[0].mask.sum()) or 1e-9 * part[0].batch_size)
            yield part

    Minibatches.epoch = noted  # type: ignore[method-assign, assignment]
    try:
        settings = {"epochs": 1, "minibatches": number, "minibatch_unit": unit, "normalise_over": "batch", **settings}
        return learn(variant, kind, optimiser={"learning_rate": 1e-30}, **settings), sizes
    finally:
        Minibatches.epoch = epoch  # type: ignore[method-assign]


@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize(("variant", "kind"), MINIBATCHES)
def test_minibatches_of_rows_add_up_to_the_batch(variant: str, kind: str, number: int) -> None:
    """Each is the mean over its own steps, so that weighted by their numbers they are the mean over all."""
    if KINDS[kind].family == "glimpses":
        number = 3  # minibatches of one size: those of unequal sizes share out the classes by themselves
    one, _ = pieces(variant, kind, 1, "rows")
    many, sizes = pieces(variant, kind, number, "rows")
    assert len(many.gradients) == number == len(sizes)
    added = {name: sum(size / sum(sizes) * g[name] for size, g in zip(sizes, many.gradients, strict=True)) for name in one.gradients[0]}
    assert difference(added, one.gradients[0]) < 3e-6, worst(added, one.gradients[0])  # type: ignore[arg-type]


@pytest.mark.parametrize(("variant", "kind"), MINIBATCHES)
def test_minibatches_of_steps_add_up_to_the_batch_or_are_refused(variant: str, kind: str) -> None:
    if KINDS[kind].family in ("texts", "glimpses") or kind in RECURRENT:
        with pytest.raises(ValueError, match=r"minibatches over rows"):
            pieces(variant, kind, 3, "steps")
        return
    one, _ = pieces(variant, kind, 1, "rows")
    many, sizes = pieces(variant, kind, 3, "steps")
    added = {name: sum(size / sum(sizes) * g[name] for size, g in zip(sizes, many.gradients, strict=True)) for name in one.gradients[0]}
    assert difference(added, one.gradients[0]) < 3e-6  # type: ignore[arg-type]


MASKED = [pair for pair in running() if pair[1].startswith("masks_") and VARIANTS[pair[0]].policy == "actor_critic"]


@pytest.mark.parametrize(("variant", "kind"), parameters(MASKED))
def test_forbidden_actions_have_no_probability_and_no_gradient(variant: str, kind: str) -> None:
    rows, policy = rows_of(variant, kind), make_policy(variant, kind)
    allowed = rows.obs["action_mask"][:, :-1].bool()  # type: ignore[index, call-overload, union-attr]
    assert bool(allowed.gather(2, rows.action.unsqueeze(2)).squeeze(2)[rows.mask].all()), "a forbidden action was taken"
    counted = rows.mask.unsqueeze(2)
    probabilities = policy(rows).distribution.logits.softmax(dim=2)
    assert bool((probabilities[counted & ~allowed] == 0).all()) and bool((probabilities[counted & allowed] > 0).all())
    # Which of the forbidden actions would have been likely must not matter: move the last layer's bias where it is never allowed.
    never = ~(allowed & counted).flatten(0, 1).any(dim=0)
    for name, gradient in learn(variant, kind).gradients[0].items():
        assert bool(gradient.isfinite().all()), name
        if name.endswith("bias") and gradient.shape == never.shape:
            assert bool((gradient[never] == 0).all())


def in_turn(names: list[str], *quick: str) -> list[Any]:
    """Make test parameters of variants, of which some are in the fast tests."""
    return [pytest.param(name, marks=[] if name in quick else [pytest.mark.slow]) for name in names]


CRITIC_FREE = [
    name
    for name, v in VARIANTS.items()
    if CRITIC not in v.needs and v.trainer in ("reinforce", "self_critical", "ppo", "off_policy", "cem", "supervised")
]
UNCRITICAL = [(name, "captions_critic") for name in CRITIC_FREE if missing(VARIANTS[name], KINDS["captions"]) is None]


@pytest.mark.parametrize(
    "variant",
    in_turn(
        [name for name in CRITIC_FREE if missing(VARIANTS[name], KINDS["captions"]) is None],
        *("supervised", "reinforce_greedy", "self_critical_leave_one_out", "ppo_group_norm", "off_policy_own_action", "cem_group"),
    ),
)
def test_a_critic_that_nobody_uses_changes_nothing(variant: str) -> None:
    rows = rows_of(variant, "captions")
    bare, critical = make_policy(variant, "captions"), make_policy(variant, "captions_critic")
    shared = bare.state_dict()
    critical.load_state_dict({**critical.state_dict(), **shared})
    one, other = learn(variant, "captions", rows, policy=bare), learn(variant, "captions_critic", rows, policy=critical)
    for step, gradients in enumerate(one.gradients):
        assert difference(gradients, {name: other.gradients[step][name] for name in gradients}) == 0
    assert all(torch.equal(one.after[name], other.after[name]) for name in one.after)
    assert all(torch.equal(other.before[name], other.after[name]) for name in other.after if name.startswith("critic"))


@pytest.mark.parametrize("kind", ["glimpses", "cartpole_episodes", "pictures_steps", "memory_steps", "table_episodes"])
@pytest.mark.parametrize("variant", CRITIC_FREE)
def test_a_critic_that_nobody_uses_stays_as_it_is(variant: str, kind: str) -> None:
    if missing(VARIANTS[variant], KINDS[kind]) is not None:
        return
    learned, rows = whole(variant, kind), rows_of(variant, kind)
    critics = [name for name in learned.after if name.startswith("critic")]
    assert critics and all(torch.equal(learned.before[name], learned.after[name]) for name in critics)
    assert_same(learn(variant, kind, rows.replace(value=torch.zeros_like(rows.value))), learned) if not bootstraps(rows) else None


def bootstraps(rows: Trajectory) -> bool:
    return bool((rows.mask & ~rows.terminated).any(dim=1).any() and not rows.terminated.any(dim=1).all())


DROPPING = [
    name
    for name, v in VARIANTS.items()
    if v.trainer in ("reinforce", "self_critical", "ppo", "cem", "supervised") and missing(v, KINDS["captions_critic"]) is None
]
DROPPED = [(name, "captions_critic") for name in DROPPING]


@pytest.mark.parametrize("variant", in_turn(DROPPING, "supervised", "reinforce_none", "self_critical_greedy", "ppo_gae", "cem"))
def test_dropout_is_on_in_the_update_where_asked_for_and_never_in_sampling(variant: str) -> None:
    def drop(policy: Any) -> Any:
        for part in policy.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.5
        return policy

    kind, asked = "captions_critic", {} if VARIANTS[variant].trainer == "supervised" else {"dropout": True}
    plain, still = whole(variant, kind), learn(variant, kind, policy=drop(make_policy(variant, kind)))
    noisy = [learn(variant, kind, policy=drop(make_policy(variant, kind)), optimiser={"accumulation": parts}, **asked) for parts in (1, 3)]
    for learned in noisy:
        assert difference(learned.gradients[0], plain.gradients[0]) > 1e-3
    if asked:
        assert_same(still, plain, 0.0)
        undropped = learn(variant, kind, **asked)
        assert_same(undropped, plain)
        torch.manual_seed(2)
        trainer = make_trainer(variant, kind, drop(make_policy(variant, kind)), **asked)
        rows = trainer.collect(make_task(variant, kind))
        with torch.no_grad():
            seen = trainer.policy.eval()(rows)
        torch.testing.assert_close(seen.logp[rows.mask], rows.logp[rows.mask], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not KINDS[kind].slow])
def test_chance_actions_run_or_are_refused_by_name(kind: str) -> None:
    critic = CRITIC in KINDS[kind].gives
    policy = make_policy("off_policy_own_action", kind)
    settings = {"epsilon": 0.5, "baseline": "critic" if critic else "none"}
    try:
        trainer = make_trainer("off_policy_own_action", kind, policy, **settings)
        rows = trainer.collect(make_task("off_policy_own_action", kind))
    except ValueError as error:
        assert re.search(r"epsilon.*set trainer\.epsilon=0", str(error))
        assert KINDS[kind].family in ("texts", "glimpses") or kind in ("pendulum_steps", "pendulum_episodes", "catch_episodes", "self_play")
        return
    # mu = (1 - epsilon) pi + epsilon / (number of allowed actions), with pi what the learner says of the same step.
    with torch.no_grad():
        distribution = trainer.policy(rows).distribution
    probabilities = distribution.logits.softmax(dim=2)
    chosen = probabilities.gather(2, rows.action.unsqueeze(2)).squeeze(2)
    expected = 0.5 * chosen + 0.5 / (probabilities > 0).sum(dim=2)
    torch.testing.assert_close(rows.logp[rows.mask].exp(), expected[rows.mask], rtol=1e-4, atol=1e-5)
    trainer.update(rows)


HALVED = [pair for pair in running() if VARIANTS[pair[0]].trainer != "q_table" and pair[0] != "cem_counts" and pair[1] != "atari_steps"]


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "kind"), parameters(HALVED))
def test_half_precision_learns_nearly_the_same(variant: str, kind: str) -> None:
    exact, rounded = whole(variant, kind), learn(variant, kind, optimiser={"precision": "bf16"})
    assert all(tensor.dtype == exact.after[name].dtype for name, tensor in rounded.after.items())
    for one, other in zip(exact.gradients, rounded.gradients, strict=True):
        if not one:  # a step of a discriminator's, which is no part of the policy
            continue
        flat, near = (torch.cat([g.flatten().double() for g in gradients.values()]) for gradients in (one, other))
        if float(flat.norm()) > 1e-6:
            assert float(torch.nn.functional.cosine_similarity(flat, near, dim=0)) > 0.85


REMEMBERING = ("captions_lstm", "replies_recurrent", "glimpses_early", "glimpses_dram", "memory_steps")


@pytest.mark.parametrize("kind", REMEMBERING)
def test_recurrent_layers_learn_in_training_mode_as_cudnn_wants(kind: str) -> None:
    """cuDNN refuses derivatives in evaluation mode, in which reinforcement updates: the numbers are the same."""
    variant = next(name for name, v in VARIANTS.items() if v.trainer == "reinforce" and missing(v, KINDS[kind]) is None)
    policy, rows = make_policy(variant, kind), rows_of(variant, kind)
    policy.eval()
    seen: list[bool] = []
    for module in policy.modules():
        if isinstance(module, torch.nn.LSTM | torch.nn.GRU):
            module.register_forward_pre_hook(lambda layer, given: seen.append(layer.training))
    policy(rows)
    assert seen and all(seen)
