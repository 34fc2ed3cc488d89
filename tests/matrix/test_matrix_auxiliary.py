"""What only the auxiliary loss reaches is learned on all rows by every trainer, as if nothing else were learned."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from matrix_cells import VARIANTS, parameters, running
from matrix_kinds import KINDS
from matrix_updates import difference, learn, make_policy, rows_of
from test_matrix_equal import tolerance
from test_matrix_imitation import mixed
from torch import Tensor

from seqrl.trainers.imitation import ImitationConfig
from seqrl.trajectory import Trajectory

# A population moves the layer of the classes by its scores, too.
GLIMPSES = [pair for pair in running() if KINDS[pair[1]].family == "glimpses" and pair[0] != "evolution_strategies"]
DETECTING = "captions_detecting"
WORDS = [(name, DETECTING) for name in ("supervised", "reinforce_leave_one_out", "self_critical_greedy", "ppo_gae", "ppo_leave_one_out")]


def read_after(num_glimpses: int, num_objects: int) -> list[int]:
    return [num_glimpses * (k + 1) // num_objects - 1 for k in range(num_objects)]


def classification(policy: Any, rows: Trajectory) -> Tensor:
    """The loss of the classes, row by row and object by object."""
    label, obs = rows.context["label"], rows.obs  # type: ignore[index]
    state = policy.initial_state(rows.context)
    core = policy.started(rows.context) if hasattr(policy, "started") else policy.core
    advance = type(core).advance.__wrapped__  # with gradients
    wrong, early, N = [], policy.config.early_classification, obs["glimpse"].shape[1]  # type: ignore[index, call-overload, union-attr]
    for step in range(N):
        hidden, state = advance(core, obs["glimpse"][:, step], obs["location"][:, step], state)  # type: ignore[index, call-overload]
        of = next(k for k, read in enumerate(read_after(N, label.shape[1])) if step <= read)
        wrong.append(F.cross_entropy(policy.classify(hidden), label[:, of], reduction="none"))
    reads = read_after(N, label.shape[1])
    named = torch.stack([wrong[step] for step in reads]).mean()
    others = [wrong[step] for step in range(N) if step not in reads]
    return (1 - early) * named + (early * torch.stack(others).mean() if early else 0.0)


@pytest.mark.parametrize(("variant", "kind"), parameters(GLIMPSES))
def test_the_classes_are_learned_on_all_rows(variant: str, kind: str) -> None:
    policy, rows = make_policy(variant, kind).eval(), rows_of(variant, kind)
    expected = dict(
        zip(("weight", "bias"), torch.autograd.grad(classification(policy, rows), list(policy.classify.parameters())), strict=True)
    )
    for parts in (1, 2):
        learned = learn(variant, kind, optimiser={"accumulation": parts})
        found = {name: learned.gradients[0].get(f"classify.{name}", torch.zeros(())) for name in expected}
        # TRPO's own step may have moved the layers below before.
        limit = 0.05 if variant == "trpo" and kind == "glimpses_early" else 1e-5
        assert difference({n: g * torch.ones_like(expected[n]) for n, g in found.items()}, expected) < limit
        moved = [learned.change[f"classify.{name}"].abs().max() for name in expected]
        assert min(moved) > 0


def detection(policy: Any, rows: Trajectory) -> Tensor:
    """The loss of the words that each demonstration holds: -log of products of probabilities, word by word, in double precision."""
    special = (policy.begin, policy.end, policy.pad)
    shown = rows.select_rows(rows.imitate.any(dim=1))  # type: ignore[union-attr]
    absent = (1 - policy.words.project(policy.encode(shown.context["image"])["regions"]).double().sigmoid()).prod(dim=1)  # type: ignore[index]
    loss, count = torch.zeros((), dtype=torch.float64), 0
    for row in range(shown.batch_size):
        words = {token for token in shown.action[row][shown.imitate[row]].tolist() if token not in special}  # type: ignore[index]
        for token in range(absent.shape[1]):
            loss = loss - ((1 - absent[row, token]) if token in words else absent[row, token]).log()
        count += len(words)
    return policy.word_detection * loss / count


@pytest.mark.parametrize("parts", [1, pytest.param(2, marks=pytest.mark.slow), 4])
@pytest.mark.parametrize("variant", [name for name, _ in WORDS])
def test_the_words_of_demonstrations_are_learned(variant: str, parts: int) -> None:
    supervised = VARIANTS[variant].trainer == "supervised"
    rows = rows_of(variant, DETECTING) if supervised else mixed(variant, DETECTING)
    mix: dict[str, Any] = {} if supervised else {"imitation": ImitationConfig(weight=0.5), "dropout": True}
    policy = make_policy(variant, DETECTING).train()
    expected = dict(
        zip(("weight", "bias"), torch.autograd.grad(detection(policy, rows), list(policy.words.project.parameters())), strict=True)
    )
    gradients = learn(variant, DETECTING, rows, optimiser={"accumulation": parts}, **mix).gradients[0]
    assert difference({name: gradients[f"words.project.{name}"] for name in expected}, expected) < 1e-5


@pytest.mark.parametrize("minibatches", [2, 4])
def test_minibatches_without_demonstrations_have_no_words_to_learn(minibatches: int) -> None:
    # Nothing to detect is no loss; it was once taken for "none of the words is there", a hundred times as large.
    rows = mixed("ppo_gae", DETECTING)
    settings: dict[str, Any] = {"imitation": ImitationConfig(weight=0.5), "dropout": True, "epochs": 1}
    whole = learn("ppo_gae", DETECTING, rows, minibatches=1, **settings).stats["loss/auxiliary"]
    parts = learn("ppo_gae", DETECTING, rows, minibatches=minibatches, **settings).stats["loss/auxiliary"]
    assert 0 < parts < 1.5 * whole


def test_rows_without_demonstrations_have_no_words_to_learn() -> None:
    for variant in ("reinforce_leave_one_out", "ppo_gae", "a2c", "vtrace", "off_policy"):
        gradients = learn(variant, DETECTING).gradients[0]
        assert all(not gradient.any() for name, gradient in gradients.items() if name.startswith(("words", "figures")))
        assert any(gradient.any() for gradient in gradients.values()) and tolerance(variant) < 1
