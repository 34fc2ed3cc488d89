"""Token choice, evaluation of chosen tokens and the wrapper around one's own module, against brute force."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqrl.functional.losses import nll
from seqrl.policies.tokens import TokenPolicy, choose_token, distinct_rows, encode_distinct, evaluation_mode, input_tokens
from seqrl.protocols import Policy
from seqrl.rollout import unroll
from seqrl.sources import TokenSource
from seqrl.trajectory import Trajectory

VOCABULARY = 5


class Bigram(nn.Module):
    """logits of the next token from the last one and the context, by hand enumerable."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, VOCABULARY)
        nn.init.normal_(self.table.weight, generator=torch.Generator().manual_seed(3))
        self.dropout = nn.Dropout(0.5)
        self.calls = 0

    def forward(self, context: dict[str, Tensor], tokens: Tensor) -> Tensor:
        self.calls += 1
        return self.table(tokens) + context["bias"].unsqueeze(1)


def rollout(policy: TokenPolicy, batch_size: int, seed: int = 0, bias: Tensor | None = None) -> Trajectory:
    bias = torch.zeros(batch_size, VOCABULARY) if bias is None else bias
    source = TokenSource(batch_size, begin=1, end=2, max_tokens=policy.max_tokens)
    return unroll(policy, source, max_steps=policy.max_tokens, context={"bias": bias}, generator=torch.Generator().manual_seed(seed))[0]


def text(actions: list[list[int]], counted: list[list[bool]]) -> Trajectory:
    action = torch.tensor(actions)
    mask = torch.tensor(counted)
    zeros = torch.zeros(mask.shape)
    begin = torch.ones(action.shape[0], 1, dtype=torch.long)
    return Trajectory(
        action=action,
        logp=zeros,
        value=torch.zeros(mask.shape[0], mask.shape[1] + 1),
        reward=zeros,
        terminated=torch.zeros_like(mask),
        truncated=torch.zeros_like(mask),
        mask=mask,
        obs=torch.cat([begin, action], dim=1),
        context={"bias": torch.zeros(action.shape[0], VOCABULARY)},
    )


def test_choose_token_cuts_the_unit_interval_at_the_cumulated_probabilities() -> None:
    logits = torch.tensor([0.5, 0.0, 0.25, 0.25]).log().expand(6, 4)
    token, logp = choose_token(logits, torch.tensor([0.0, 0.49, 0.51, 0.74, 0.76, 1 - 2**-24]))
    assert token.tolist() == [0, 0, 2, 2, 3, 3]
    assert logp.exp().tolist() == pytest.approx([0.5, 0.5, 0.25, 0.25, 0.25, 0.25])


def test_choose_token_never_takes_a_forbidden_last_token_even_where_rounding_lifts_the_threshold() -> None:
    logits = torch.randn(2000, 50, generator=torch.Generator().manual_seed(0))
    logits[:, -10:] = float("-inf")
    logits[:, 0] = float("-inf")
    for noise in (0.0, 1 - 2**-24):
        token, logp = choose_token(logits, torch.full((2000,), noise))
        assert bool(logp.isfinite().all())
        assert int(token.max()) < 40 and int(token.min()) > 0


@pytest.mark.parametrize("noise", [None, torch.tensor([0.0, 0.5])])
def test_choose_token_of_logits_that_are_not_finite_gives_a_token_whose_update_is_skipped(noise: Tensor | None) -> None:
    logits = torch.tensor([[1.0, float("nan"), 0.0], [float("inf"), 0.0, 0.0]])
    token, logp = choose_token(logits, noise)
    assert bool(((token >= 0) & (token < 3)).all()) and not bool(logp.isfinite().any())


def test_choose_token_without_noise_takes_the_most_probable() -> None:
    token, logp = choose_token(torch.tensor([[0.0, math.log(3.0)]]), None)
    assert token.tolist() == [1]
    assert logp.item() == pytest.approx(math.log(0.75))


def test_choose_token_takes_the_most_probable_where_a_number_is_negative() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [0.0, 2.0, 1.0], [3.0, float("-inf"), 0.0]])
    token, logp = choose_token(logits, torch.tensor([-1.0, 0.99, -1.0]))
    assert token.tolist() == [1, 2, 0]
    expected = [2 - math.log(1 + math.e**2 + math.e), 1 - math.log(1 + math.e**2 + math.e), 3 - math.log(math.e**3 + 1)]
    assert logp.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("rows_at_once", [1, 3, 1000])
def test_choose_token_goes_through_many_tokens_in_parts(rows_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqrl.policies.tokens._NUMBERS_AT_ONCE", rows_at_once * 40)
    generator = torch.Generator().manual_seed(0)
    logits, noise = 3 * torch.randn(7, 40, generator=generator), torch.rand(7, generator=generator)
    token, logp = choose_token(logits, noise)
    for row in range(7):
        p = logits[row].double().softmax(dim=0).tolist()
        assert token[row] == next(k for k in range(40) if sum(p[: k + 1]) > noise[row])
        assert logp[row].item() == pytest.approx(math.log(p[int(token[row])]), abs=1e-6)
    assert choose_token(logits, None)[0].tolist() == [max(range(40), key=row.__getitem__) for row in logits.tolist()]


def test_distinct_rows_puts_every_group_back_and_never_joins_negative_numbers() -> None:
    group = torch.tensor([7, 3, 7, -1, -1, 3])
    first, inverse = distinct_rows(group)
    assert first.tolist() == [0, 1, 3, 4]
    assert inverse.tolist() == [0, 1, 0, 2, 3, 1]


def test_encode_distinct_encodes_each_group_once() -> None:
    sizes: list[int] = []

    def encode(context: Tensor) -> Tensor:
        sizes.append(context.shape[0])
        return context * 10

    context = torch.tensor([[1.0], [2.0], [1.0], [3.0]])
    assert encode_distinct(encode, context, torch.tensor([5, 9, 5, 0])).flatten().tolist() == [10, 20, 10, 30]  # type: ignore[union-attr, arg-type]
    encode_distinct(encode, context, None)  # type: ignore[arg-type]
    assert sizes == [3, 4]


def test_smoothed_labels_are_shared_by_the_tokens_that_can_be_right() -> None:
    """The label written out, 0.3 over the end 2 and the words 4 to 6 beside 0.7 on the target, against PyTorch's cross-entropy."""

    class Given(nn.Module):
        def forward(self, context: dict[str, Tensor], tokens: Tensor) -> Tensor:
            return context["bias"].unsqueeze(1).expand(-1, tokens.shape[1], -1)

    policy = TokenPolicy(Given(), begin=1, end=2, pad=0, unknown=3)
    bias = torch.randn(2, 7, generator=torch.Generator().manual_seed(0))
    bias[1, 5] = float("-inf")  # forbidden by the module itself: the label leaves it out as well
    shown = text([[4, 2], [6, 2]], [[False, False], [False, False]]).replace(
        imitate=torch.ones(2, 2, dtype=torch.bool), context={"bias": bias}
    )
    evaluation = policy(shown)
    loss = nll(evaluation.logp, evaluation.mean_logp, label_smoothing=0.3)
    for row, shared in ((0, [2, 4, 5, 6]), (1, [2, 4, 6])):
        for step in range(2):
            label = torch.zeros(7)
            label[shared] = 0.3 / len(shared)
            label[shown.action[row, step]] += 0.7
            logits = bias[row].clamp(min=-1e4)
            assert float(loss[row, step]) == pytest.approx(float(nn.functional.cross_entropy(logits, label)), abs=1e-5)


@pytest.mark.parametrize(("special", "wrong"), [({}, (0, 1)), ({"pad": 2, "begin": 2}, ()), ({"end": [2, 0], "unknown": 3}, (1, 3))])
def test_a_token_that_ends_a_text_can_be_right_whatever_else_it_is(special: dict[str, Any], wrong: tuple[int, ...]) -> None:
    assert TokenPolicy(Bigram(), **special).wrong == wrong


def test_evaluation_mode_restores_each_submodule_after_an_exception() -> None:
    module = nn.Sequential(nn.Dropout(), nn.Dropout()).train()
    module[1].eval()
    with pytest.raises(KeyError), evaluation_mode(module):
        assert not module[0].training
        raise KeyError
    assert module.training and module[0].training and not module[1].training


def test_token_policy_is_a_policy_whose_forward_gives_the_sampled_log_probabilities() -> None:
    policy = TokenPolicy(Bigram(), max_tokens=4, temperature=0.7)
    assert isinstance(policy, Policy)
    trajectory = rollout(policy, 64)
    evaluation = policy(trajectory)
    assert torch.allclose(evaluation.logp[trajectory.mask], trajectory.logp[trajectory.mask], atol=1e-6)
    assert bool((evaluation.logp[~trajectory.mask] == 0).all())


def test_samples_have_the_frequencies_of_the_enumerated_distribution() -> None:
    policy = TokenPolicy(Bigram(), max_tokens=2, temperature=0.5)
    table = (policy.module.table.weight / 0.5).softmax(dim=1).tolist()  # type: ignore[operator, union-attr]
    expected: dict[tuple[int, ...], float] = {}
    for first, second in itertools.product(range(VOCABULARY), repeat=2):
        row: tuple[int, ...] = (first,) if first == 2 else (first, second)
        expected[row] = table[1][first] * (1.0 if first == 2 else table[first][second])
    count = 40_000
    trajectory = rollout(policy, count)
    rows = [tuple(action[mask].tolist()) for action, mask in zip(trajectory.action, trajectory.mask, strict=True)]
    for row, probability in expected.items():
        deviation = math.sqrt(probability * (1 - probability) / count)
        assert rows.count(row) / count == pytest.approx(probability, abs=5 * deviation)


def test_encode_runs_once_for_each_group_and_its_result_reaches_the_module() -> None:
    sizes: list[int] = []

    def encode(context: dict[str, Tensor]) -> dict[str, Tensor]:
        sizes.append(context["bias"].shape[0])
        return {"bias": context["bias"] * 2}

    bias = torch.randn(2, VOCABULARY, generator=torch.Generator().manual_seed(1)).repeat_interleave(3, dim=0)
    encoding = TokenPolicy(Bigram(), max_tokens=3, encode=encode)  # type: ignore[arg-type]
    trajectory = rollout(encoding, 6, bias=bias).replace(group=torch.tensor([0, 0, 0, 1, 1, 1]))
    sizes.clear()
    evaluation = encoding(trajectory)
    assert sizes == [2]
    direct = TokenPolicy(Bigram(), max_tokens=3)(trajectory.replace(context={"bias": bias * 2}))
    assert torch.allclose(evaluation.logp, direct.logp, atol=1e-6)


def test_resample_draws_for_every_step_given_the_tokens_before_it() -> None:
    policy = TokenPolicy(Bigram(), max_tokens=3)
    with torch.no_grad():
        policy.module.table.weight.copy_(torch.eye(VOCABULARY).roll(1, dims=1) * 100)  # type: ignore[operator, union-attr]
    tokens = policy.resample(text([[4, 0, 3]], [[True] * 3]), torch.Generator().manual_seed(0))
    assert tokens.tolist() == [[2, 0, 1]]


def test_texts_cannot_be_cut_into_steps() -> None:
    trajectory = text([[4, 0, 3]], [[True] * 3])
    step = trajectory.select_steps(torch.tensor([0]), torch.tensor([1]))
    with pytest.raises(ValueError, match="minibatches over rows"):
        input_tokens(step, begin=1)
    with pytest.raises(ValueError, match="tensor of tokens"):
        input_tokens(trajectory.replace(obs=None), begin=1)


@pytest.mark.parametrize(("settings", "name"), [({"max_tokens": 0}, "max_tokens"), ({"temperature": 0.0}, "temperature")])
def test_settings_out_of_range_are_named(settings: dict[str, int], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        TokenPolicy(Bigram(), **settings)  # type: ignore[arg-type]


def test_a_context_without_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one tensor"):
        TokenPolicy(Bigram()).initial_state(None)
