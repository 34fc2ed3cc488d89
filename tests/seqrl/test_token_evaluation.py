"""Evaluation of chosen tokens: sums by hand, and the linear head's pieces against autograd on all logits in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import seqrl.policies.linear_evaluation
import seqrl.policies.token_evaluation
from seqrl.functional.losses import nll
from seqrl.optimiser import Optimiser, OptimiserConfig
from seqrl.policies.linear_evaluation import evaluate_linear
from seqrl.policies.packing import pack
from seqrl.policies.token_evaluation import LinearHead, evaluate_tokens
from seqrl.trajectory import Evaluation, Trajectory

WRONG = (1, 4)
COUNTED = torch.tensor([[True, True, False, True], [False, False, False, False], [True, False, False, False]])


def text(actions: list[list[int]], counted: list[list[bool]]) -> Trajectory:
    action, mask = torch.tensor(actions), torch.tensor(counted)
    zeros, none = torch.zeros(mask.shape), torch.zeros_like(mask)
    return Trajectory(action, zeros, torch.zeros(mask.shape[0], mask.shape[1] + 1), zeros, none, none, mask)


def test_evaluation_equals_sums_written_out_and_is_zero_where_nothing_counts() -> None:
    probability = [0.1, 0.2, 0.7]
    logits = torch.tensor(probability).log().view(1, 1, 3).repeat(1, 3, 1)
    trajectory = text([[2, 0, 1]], [[True, False, False]]).replace(imitate=torch.tensor([[False, False, True]]))
    evaluation = evaluate_tokens(logits, lambda features: features, trajectory)
    entropy = -sum(p * math.log(p) for p in probability)
    mean = sum(math.log(p) for p in probability) / 3
    assert evaluation.logp[0].tolist() == pytest.approx([math.log(0.7), 0.0, math.log(0.2)])
    assert evaluation.entropy[0].tolist() == pytest.approx([entropy, 0.0, entropy])
    assert evaluation.mean_logp is not None
    assert evaluation.mean_logp[0].tolist() == pytest.approx([mean, 0.0, mean])


def test_a_forbidden_token_gives_finite_entropy_and_gradients() -> None:
    logits = torch.tensor([[[0.0, float("-inf"), 0.0]]], requires_grad=True)
    evaluation = evaluate_tokens(logits, lambda features: features, text([[0]], [[True]]))
    assert evaluation.entropy.item() == pytest.approx(math.log(2))
    (evaluation.entropy.sum() + evaluation.logp.sum()).backward()
    assert logits.grad is not None and bool(logits.grad.isfinite().all())


@pytest.mark.parametrize("forbidden", [0.0, float("-inf")])
def test_the_mean_over_tokens_is_in_full_precision_in_half_precision_too(forbidden: float) -> None:
    logits = torch.tensor([[[0.0, forbidden, 0.3, -1.7, 2.0]]])
    rows = text([[0]], [[True]])
    expected = evaluate_tokens(logits, lambda features: features, rows, wrong=(1,)).mean_logp
    with torch.autocast("cpu", torch.bfloat16):
        found = evaluate_tokens(logits, lambda features: features, rows, wrong=(1,)).mean_logp
    assert found is not None and expected is not None and found.item() == expected.item()
    assert math.isfinite(found.item())


@pytest.fixture(params=["kept", "computed again"])
def _small_pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take two or three words at a time, however few logits there are."""
    monkeypatch.setattr(seqrl.policies.token_evaluation, "FEW_LOGITS", -1)
    monkeypatch.setattr(seqrl.policies.linear_evaluation, "PIECE_BYTES", {"cpu": 1})
    monkeypatch.setattr(seqrl.policies.linear_evaluation, "FEWEST_WORDS", 3)
    if request.param == "computed again":
        monkeypatch.setattr(seqrl.policies.linear_evaluation, "KEPT_BYTES", 0)


def numbers(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype).requires_grad_()


def by_autograd(x: Tensor, weight: Tensor, bias: Tensor | None, temperature: float, action: Tensor) -> tuple[Tensor, ...]:
    """The three numbers [M] from all logits in float64, with their sums written out."""
    logits = x.double() @ weight.double().t() + (0 if bias is None else bias.double())
    logp = torch.log_softmax(logits / temperature, dim=1)
    right = [word for word in range(weight.shape[0]) if word not in WRONG]
    return logp[torch.arange(len(action)), action], -(logp.exp() * logp).sum(1), logp[:, right].mean(1)


@pytest.mark.usefixtures("_small_pieces")
@pytest.mark.parametrize("used", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)])
@pytest.mark.parametrize(
    ("temperature", "has_bias", "learns"), [(1.0, False, (0, 1)), (0.7, True, (0, 1, 2)), (2.0, True, (0,)), (1.0, True, (1, 2))]
)
def test_a_linear_head_gives_the_numbers_and_gradients_of_all_logits(
    used: tuple[int, ...], temperature: float, has_bias: bool, learns: tuple[int, ...]
) -> None:
    rows = text([[0, 8, 3, 1], [0, 0, 0, 0], [5, 1, 1, 1]], COUNTED.tolist())
    features, weight, bias = numbers(3, 4, 6, seed=0), numbers(9, 6, seed=1), numbers(9, seed=2) if has_bias else None
    inputs = [tensor for place, tensor in enumerate((features, weight, bias)) if tensor is not None and place in learns]
    for tensor in (features, weight, bias):
        if tensor is not None:
            tensor.requires_grad_(any(tensor is other for other in inputs))
    evaluation = evaluate_tokens(features, LinearHead(weight, bias, temperature), rows, wrong=WRONG)
    expected = by_autograd(features[COUNTED], weight, bias, temperature, rows.action[COUNTED])
    found = (evaluation.logp, evaluation.entropy, evaluation.mean_logp)
    upstream = numbers(3, 3, 4, seed=3).detach()
    for number, wanted in zip(found, expected, strict=True):
        assert number is not None and not bool(number[~COUNTED].any()) and number.dtype == torch.float32
        torch.testing.assert_close(number[COUNTED].double(), wanted, rtol=1e-6, atol=1e-6)
    loss = sum((u * number).sum() for u, number, on in zip(upstream, found, used, strict=True) if on and number is not None)
    wanted_loss = sum((u[COUNTED] * number).sum() for u, number, on in zip(upstream, expected, used, strict=True) if on)
    for gradient, wanted in zip(torch.autograd.grad(loss, inputs), torch.autograd.grad(wanted_loss, inputs), strict=True):  # type: ignore[arg-type]
        torch.testing.assert_close(gradient, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("_small_pieces")
def test_first_and_second_derivatives_against_differences() -> None:
    x, weight, bias = (numbers(*shape, seed=4, dtype=torch.float64) for shape in ((3, 2), (5, 2), (5,)))
    action, shares = torch.tensor([4, 0, 2]), torch.tensor([0.5, 0.0, 0.25, 0.25, 0.0], dtype=torch.float64)

    def found(x: Tensor, weight: Tensor, bias: Tensor) -> Any:
        return evaluate_linear(x, weight, bias, 0.8, action, shares)

    assert torch.autograd.gradcheck(found, (x, weight, bias)) and torch.autograd.gradgradcheck(found, (x, weight, bias))


@pytest.mark.usefixtures("_small_pieces")
def test_packed_features_whole_ones_and_a_plain_head_agree() -> None:
    rows = text([[0, 8, 3, 1], [0, 0, 0, 0], [5, 1, 1, 1]], COUNTED.tolist())
    features, weight = numbers(3, 4, 6, seed=0), numbers(9, 6, seed=1)
    head = LinearHead(weight, temperature=1.5)
    whole, packed, plain = (
        evaluate_tokens(*given, rows, wrong=WRONG)
        for given in ((features, head), (pack(features, COUNTED), head), (features, lambda x: head(x)))
    )
    for name in ("logp", "entropy", "mean_logp", "value"):
        assert torch.equal(getattr(whole, name), getattr(packed, name))
        torch.testing.assert_close(getattr(whole, name), getattr(plain, name), rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("_small_pieces")
def test_under_autocast_it_stays_as_near_as_bf16_and_gives_gradients_of_the_weights_own_type() -> None:
    features, weight, bias = numbers(40, 32, seed=0), numbers(50, 32, seed=1), numbers(50, seed=2)
    action = torch.arange(40)
    with torch.autocast("cpu", torch.bfloat16):
        found = evaluate_linear(features, weight, bias, 1.0, action, torch.full((50,), 0.02))
        loss = found[0].sum() + found[1].sum()
    exact = by_autograd(features, weight, bias, 1.0, action)
    assert found[0].dtype == torch.float32
    torch.testing.assert_close(found[0].double(), exact[0], rtol=0.02, atol=0.1)
    wanted = torch.autograd.grad(exact[0].sum() + exact[1].sum(), (features, weight, bias))
    for gradient, other in zip(torch.autograd.grad(loss, (features, weight, bias)), wanted, strict=True):
        assert gradient.dtype == torch.float32
        assert float(torch.nn.functional.cosine_similarity(gradient.flatten(), other.flatten(), dim=0)) > 0.999


@pytest.mark.usefixtures("_small_pieces")
def test_without_steps_or_gradients() -> None:
    features, weight = numbers(0, 6, seed=0), numbers(9, 6, seed=1)
    evaluation = evaluate_tokens(features, LinearHead(weight), text([[0, 1]], [[False, False]]))
    assert evaluation.logp.tolist() == [[0.0, 0.0]]
    assert not bool(torch.autograd.grad(evaluation.logp.sum() + evaluation.entropy.sum(), weight)[0].any())
    with torch.no_grad():
        evaluation = evaluate_tokens(numbers(1, 1, 6, seed=2), LinearHead(weight), text([[8]], [[True]]))
    assert not evaluation.logp.requires_grad and float(evaluation.logp) < 0


@pytest.mark.usefixtures("_small_pieces")
def test_a_forbidden_word_of_a_linear_head_is_left_out() -> None:
    weight, bias = torch.zeros(4, 2), torch.tensor([0.0, float("-inf"), 0.0, 0.0])
    evaluation = evaluate_tokens(torch.zeros(1, 1, 2), LinearHead(weight, bias), text([[0]], [[True]]))
    for number in (-evaluation.logp, evaluation.entropy, -evaluation.mean_logp):  # type: ignore[operator]
        assert number.item() == pytest.approx(math.log(3))


@pytest.mark.usefixtures("_small_pieces")
def test_features_that_are_not_finite_stay_seen() -> None:
    evaluation = evaluate_tokens(torch.full((1, 1, 2), float("nan")), LinearHead(torch.ones(7, 2)), text([[3]], [[True]]))
    assert not bool(evaluation.logp.isfinite())


class Largest(TorchDispatchMode):
    """Notes how many numbers the largest tensor has that any operation gives, the backward pass included."""

    numel = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        self.numel = max([self.numel, *(leaf.numel() for leaf in tree_leaves(found) if isinstance(leaf, Tensor))])
        return found


def test_no_tensor_has_a_logit_for_each_word_of_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """400 steps of 30,000 words would be 12 million logits; nothing larger than a piece is made, gradients included."""
    steps, words, dim = 400, 30_000, 4
    features, weight = numbers(steps, dim, seed=0), numbers(words, dim, seed=1)
    rows = text([[step * 70 for step in range(steps)]], [[True] * steps])
    with Largest() as pieces:
        evaluation = evaluate_tokens(features, LinearHead(weight), rows, wrong=WRONG)
        (evaluation.logp.sum() + evaluation.entropy.sum() + evaluation.mean_logp.sum()).backward()  # type: ignore[union-attr]
    assert features.grad is not None and weight.grad is not None
    assert pieces.numel <= seqrl.policies.linear_evaluation.PIECE_BYTES["cpu"] // 4 < steps * words // 20


class Writer(nn.Module):
    """Features and output from one matrix: the embedding of the token before, read by itself."""

    wrong = WRONG

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 6)
        nn.init.normal_(self.embedding.weight, generator=torch.Generator().manual_seed(1))

    def forward(self, trajectory: Trajectory) -> Evaluation:
        before = nn.functional.pad(trajectory.action[:, :-1], [1, 0])
        return evaluate_tokens(self.embedding(before), self.head(), trajectory, wrong=self.wrong)

    def head(self) -> Any:
        return LinearHead(self.embedding.weight, temperature=0.9)


class PlainWriter(Writer):
    def head(self) -> Any:
        return lambda features: features @ self.embedding.weight.t() / 0.9


@pytest.mark.usefixtures("_small_pieces")
@pytest.mark.parametrize("accumulation", [1, 3])
def test_tied_weights_and_parts_of_a_batch_give_the_step_of_all_logits(accumulation: int) -> None:
    rows, weights = text([[0, 8, 3, 1], [0, 0, 0, 0], [5, 1, 1, 1]], COUNTED.tolist()), []
    for policy, parts in ((Writer(), accumulation), (PlainWriter(), 1)):
        optimiser = Optimiser(policy, OptimiserConfig(accumulation=parts, learning_rate=0.1, epsilon=1e-2), num_updates=1)

        def terms(part: Trajectory, evaluation: Evaluation) -> dict[str, Tensor]:
            return {"loss/total": nll(evaluation.logp, evaluation.mean_logp, label_smoothing=0.2) - 0.1 * evaluation.entropy}

        optimiser.minimise(rows, terms)
        weights.append(policy.embedding.weight.detach())
    torch.testing.assert_close(*weights, rtol=1e-5, atol=1e-6)
