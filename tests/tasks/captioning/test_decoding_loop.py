"""Decoding against a plain loop (one row at a time, no cache, nothing dropped), and rows that share what they look at."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqrl.beam_search import beam_search
from seqrl.decoding import sample, sample_beside_greedy
from seqrl.policies.tokens import TokenPolicy
from seqrl.tasks.captioning.policies.captioner import CaptionPolicy
from seqrl.tasks.captioning.policies.lstm import AttentionLSTMDecoder, LSTMDecoder
from seqrl.tasks.captioning.policies.transformer import TransformerDecoder
from seqrl.trajectory import Trajectory

V, DIM, MAX_TOKENS, REGIONS = 8, 16, 7, 5
KINDS = ("transformer", "lstm", "att_lstm", "module")
SHARES = [(0.0, 0.0), (0.9, 0.5), (1.1, 1.1)]


class Seen(nn.Module):
    """Takes features [N, R, D], with a mask in the first place of each where `masked`, for what an encoder saw."""

    feature_dim = DIM

    def __init__(self, *, masked: bool = False) -> None:
        super().__init__()
        self.masked = masked

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        seen = {"regions": features, "pooled": features.mean(dim=1)}
        return seen | {"mask": features[:, :, 0] > 0} if self.masked else seen


class Mean(nn.Module):
    """A module of one's own: logits [B, T, V] from the mean of the tokens so far and of the features."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.output = nn.Embedding(V, DIM), nn.Linear(DIM, V)

    def forward(self, context: dict[str, Tensor], tokens: Tensor) -> Tensor:
        count = torch.arange(1, tokens.shape[1] + 1).view(1, -1, 1)
        return self.output((self.embed(tokens).cumsum(dim=1) / count + context["image"].mean(dim=1, keepdim=True)).tanh())


def make_policy(kind: str, **settings: bool) -> Any:
    torch.manual_seed(0)
    if kind == "module":
        module = Mean()
        module.output.weight.data.mul_(3)
        module.output.bias.data[2] += 2
        return TokenPolicy(module, max_tokens=MAX_TOKENS).eval()
    decoder: nn.Module
    if kind == "transformer":
        decoder = TransformerDecoder(V, memory_dim=DIM, dim=DIM, num_layers=2, num_heads=2, dropout=0.5, max_tokens=MAX_TOKENS)
    elif kind == "lstm":
        decoder = LSTMDecoder(V, memory_dim=DIM, dim=DIM, num_layers=2, dropout=0.5)
    else:
        decoder = AttentionLSTMDecoder(V, memory_dim=DIM, dim=DIM, dropout=0.5)
    policy = CaptionPolicy(Seen(masked=settings.pop("masked", False)), decoder, max_tokens=MAX_TOKENS, tie_embeddings=False, **settings)
    policy.output.weight.data.mul_(30)
    return policy.eval()


def features(count: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(count, REGIONS, DIM, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def probabilities(policy: Any, image: Tensor, row: list[int]) -> list[float]:
    """What one row may go on with, from one pass over all of it."""
    tokens = torch.tensor([[policy.begin, *row]])
    if isinstance(policy, TokenPolicy):
        logits = policy.module({"image": image.unsqueeze(0)}, tokens)[0, -1]
    else:
        logits = policy.output(policy.decoder(tokens, policy.encode(image.unsqueeze(0))))[0, -1]
    return logits.double().softmax(dim=0).tolist()  # type: ignore[no-any-return]


def written_alone(policy: Any, image: Tensor, numbers: list[float] | None) -> tuple[list[int], list[float]]:
    """Write one row in plain Python: the first token whose cumulated probability exceeds the step's number, or the likeliest."""
    row: list[int] = []
    logp: list[float] = []
    while len(row) < MAX_TOKENS and (not row or row[-1] != policy.end):
        p = probabilities(policy, image, row)
        if numbers is None:
            token = p.index(max(p))
        else:
            token = next(token for token, total in enumerate(itertools.accumulate(p)) if total > numbers[len(row)])
        row.append(token)
        logp.append(math.log(p[token]))
    return row, logp


def drawn_numbers(num_rows: int, seed: int) -> list[list[float]]:
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.rand(num_rows, generator=generator) for _ in range(MAX_TOKENS)], dim=1).tolist()  # type: ignore[no-any-return]


def rows_of(trajectory: Trajectory) -> list[list[int]]:
    return [action[mask].tolist() for action, mask in zip(trajectory.action, trajectory.mask, strict=True)]


def same(one: Trajectory, other: Trajectory) -> None:
    for name in ("action", "mask", "terminated", "truncated", "obs", "group"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    for name in ("logp", "value"):
        assert torch.allclose(getattr(one, name), getattr(other, name), atol=1e-5), name
    assert (one.imitate is None) == (other.imitate is None)
    assert one.imitate is None or other.imitate is None or torch.equal(one.imitate, other.imitate)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shares", SHARES)
def test_rows_equal_those_of_a_plain_loop(kind: str, shares: tuple[float, float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqrl.decoding.COMPACT_BELOW", shares[0])
    monkeypatch.setattr("seqrl.decoding.COMPACT_ITEMS_BELOW", shares[1])
    policy, images = make_policy(kind), features(4)
    drawn, best = sample_beside_greedy(policy, {"image": images}, num_samples=3, generator=torch.Generator().manual_seed(2))
    numbers = drawn_numbers(12, seed=2)
    for trajectory, count in ((drawn, 3), (best, 1)):
        expected = [written_alone(policy, images[row // count], numbers[row] if count == 3 else None) for row in range(4 * count)]
        assert rows_of(trajectory) == [row for row, _ in expected]
        logp = torch.tensor([number for _, row in expected for number in row])
        assert torch.allclose(trajectory.logp[trajectory.mask], logp, atol=1e-5)
    assert len({len(row) for row in rows_of(drawn)}) > 2, "rows have to end at different times"


@pytest.mark.parametrize("kind", KINDS)
def test_samples_beside_the_greedy_row_are_those_of_two_calls(kind: str) -> None:
    policy = make_policy(kind, critic=True) if kind != "module" else make_policy(kind)
    if kind != "module":
        policy.critic[-1].weight.data.normal_()
    context, group = {"image": features(6)}, torch.tensor([5, 0, 9, 2, 2, 7])
    for forced in (None, torch.tensor([[3, 4], [3, 2], [5, 5], [6, 7], [4, 4], [2, 0]])):
        generators = [torch.Generator().manual_seed(3) for _ in range(2)]
        both = sample_beside_greedy(policy, context, num_samples=3, forced=forced, group=group, generator=generators[0])
        same(both[0], sample(policy, context, num_samples=3, forced=forced, group=group, generator=generators[1]))
        same(both[1], sample(policy, context, greedy=True, group=group))
        assert torch.equal(generators[0].get_state(), generators[1].get_state())


def test_a_shared_memory_gives_what_a_repeated_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, context = make_policy("transformer"), {"image": features(9)}
    assert policy.shares_memory
    shared = sample(policy, context, num_samples=4, generator=torch.Generator().manual_seed(1))
    beams = [beam_search(policy, context, beam_size=3, length_penalty=alpha) for alpha in (0.0, 1.0)]
    monkeypatch.setattr(policy, "shares_memory", False)
    same(shared, sample(policy, context, num_samples=4, generator=torch.Generator().manual_seed(1)))
    for (rows, scores), alpha in zip(beams, (0.0, 1.0), strict=True):
        repeated_rows, repeated_scores = beam_search(policy, context, beam_size=3, length_penalty=alpha)
        assert rows == repeated_rows and scores == pytest.approx(repeated_scores, abs=1e-5)


def test_memory_of_items_without_rows_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = make_policy("transformer")
    sizes: list[tuple[int, int]] = []
    step = policy.decoder.step

    def watched(tokens: Tensor, state: Any) -> Any:
        # The first step is taken once an item.
        item = state.get("item", torch.arange(tokens.shape[0]))
        sizes.append((state["memory"]["layers"][0][0].shape[0], item.unique().numel()))
        assert int(item.max()) < sizes[-1][0] and bool((item.diff() >= 0).all())
        return step(tokens, state)

    monkeypatch.setattr(policy.decoder, "step", watched)
    monkeypatch.setattr("seqrl.decoding.COMPACT_BELOW", 1.1)
    monkeypatch.setattr("seqrl.decoding.COMPACT_ITEMS_BELOW", 1.1)
    sample(policy, {"image": features(12)}, generator=torch.Generator().manual_seed(0))
    assert sizes[0] == (12, 12) and sizes[-1][0] < 12 and all(kept == needed for kept, needed in sizes)


def masked_features(count: int) -> Tensor:
    images = features(count, seed=4)
    there = torch.rand(count, REGIONS, generator=torch.Generator().manual_seed(4)) > 0.4
    there[:, 2] = True
    images[:, :, 0] = torch.where(there, images[:, :, 0].abs() + 0.1, -1.0)
    return images.masked_fill(~there.unsqueeze(2) & (torch.arange(DIM) > 0), 50.0)


def test_regions_that_are_masked_are_as_good_as_cut_away() -> None:
    policy, images = make_policy("transformer", masked=True), masked_features(6)
    rows = sample(policy, {"image": images}, num_samples=3, generator=torch.Generator().manual_seed(5))
    assert torch.allclose(policy(rows).logp[rows.mask], rows.logp[rows.mask], atol=1e-5)
    numbers = drawn_numbers(18, seed=5)
    for row in range(18):
        image = images[row // 3]
        alone = written_alone(policy, image[image[:, 0] > 0], numbers[row])
        assert rows_of(rows)[row] == alone[0]
        assert rows.logp[row][rows.mask[row]].tolist() == pytest.approx(alone[1], abs=1e-5)
    assert beam_search(policy, {"image": images}, beam_size=1)[0] == [
        [token for token in row if token != 2] for row in rows_of(sample(policy, {"image": images}, greedy=True))
    ]


@pytest.mark.parametrize("image", [None, [0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 1, 2], [2, 0, 1, 0, 1, 1]])
@pytest.mark.parametrize("masked", [False, True])
def test_a_pass_over_real_tokens_equals_the_one_over_all(image: list[int] | None, masked: bool) -> None:
    decoder = make_policy("transformer").decoder
    num_images = 6 if image is None else 3
    regions = features(num_images, seed=1).requires_grad_()
    memory = {"regions": regions} | ({"mask": masked_features(num_images)[:, :, 0] > 0} if masked else {})
    tokens = torch.randint(3, V, (6, MAX_TOKENS), generator=torch.Generator().manual_seed(2))
    mask = torch.arange(MAX_TOKENS) < torch.tensor([3, 7, 1, 2, 5, 4]).unsqueeze(1)
    index = None if image is None else torch.tensor(image)
    outside = torch.randn(int(mask.sum()), DIM, generator=torch.Generator().manual_seed(3))
    gradients = []
    for mask_given in (None, mask):
        given = decoder(tokens, memory, index, mask_given)
        gradients.append(
            torch.autograd.grad((given if mask_given is not None else given[mask]).mul(outside).sum(), [regions, *decoder.parameters()])
        )
        with torch.no_grad():
            assert torch.allclose(decoder(tokens, memory, index, mask_given), given, atol=1e-5)
    for padded, packed in zip(*gradients, strict=True):
        assert torch.allclose(padded, packed, atol=1e-4)
    alone = [
        decoder(row[None], {name: leaf[i][None] for name, leaf in memory.items()}) for row, i in zip(tokens, image or range(6), strict=True)
    ]
    assert torch.allclose(decoder(tokens, memory, index), torch.cat(alone), atol=1e-5)
    # Tokens that do not count, but come before some that do, are read.
    holes = mask.clone()
    holes[:, 1] = False
    assert torch.allclose(decoder(tokens, memory, index, holes), decoder(tokens, memory, index)[holes], atol=1e-5)
    assert decoder(tokens, memory, index, torch.zeros_like(mask)).shape == (0, DIM)
