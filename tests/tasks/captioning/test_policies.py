"""The captioning policies: shapes, invariances, gradients and that each can learn to tell images apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqrl.decoding import sample
from seqrl.protocols import Policy
from seqrl.tasks.captioning.policies import PolicyConfig, build_policy
from seqrl.tasks.captioning.policies.encoder import ConvolutionalEncoder, PatchEncoder, build_encoder, normalise
from seqrl.tasks.writing.vocabulary import Vocabulary
from seqrl.trajectory import Trajectory

SMALL = PolicyConfig(dim=32, num_layers=2, num_heads=4, max_tokens=7)
KINDS = ("transformer", "lstm", "att_lstm", "updown")
SLOW_KINDS = ("att_lstm", "updown")  # to learn


def vocabulary() -> Vocabulary:
    return Vocabulary([f"word{index}" for index in range(10)])


def pictures(count: int, size: int = 64) -> Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def small_policy(**changes: object) -> nn.Module:
    torch.manual_seed(0)
    return build_policy(replace(SMALL, **changes), vocabulary(), 64)  # type: ignore[arg-type]


def captions(rows: list[list[int]], images: Tensor, group: list[int] | None = None) -> Trajectory:
    longest = max(len(row) for row in rows)
    action = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[True] * len(row) + [False] * (longest - len(row)) for row in rows])
    zeros = torch.zeros(mask.shape)
    return Trajectory(
        action=action,
        logp=zeros,
        value=torch.zeros(len(rows), longest + 1),
        reward=zeros,
        terminated=torch.zeros_like(mask),
        truncated=torch.zeros_like(mask),
        mask=mask,
        obs=torch.cat([torch.ones(len(rows), 1, dtype=torch.long), action], dim=1),
        context={"image": images},
        group=None if group is None else torch.tensor(group),
    )


@pytest.mark.parametrize(("preset", "size", "regions"), [("scenes", 64, 64), ("photographs", 128, 64), ("patches", 64, 64)])
def test_encoders_give_regions_that_do_not_depend_on_the_batch(preset: str, size: int, regions: int) -> None:
    encoder = build_encoder(preset, size).train()
    images = pictures(3, size)
    encoded = encoder(images)
    assert encoded["regions"].shape == (3, regions, encoder.feature_dim)
    assert encoded["pooled"].shape == (3, encoder.feature_dim)
    alone = encoder(images[1:2])
    assert torch.allclose(encoded["regions"][1:2], alone["regions"], atol=1e-4)


def test_an_encoder_region_sees_its_own_place() -> None:
    encoder = build_encoder("scenes", 64).eval()
    black = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    marked = black.clone()
    marked[:, :, :8, :8] = 255
    change = (encoder(marked)["regions"] - encoder(black)["regions"]).norm(dim=2).view(8, 8)
    assert change[0, 0] == change.max()
    assert change[6, 6] < 0.01 * change[0, 0]


def test_normalise_maps_bytes_to_plus_minus_two() -> None:
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    assert normalise(images).flatten().tolist() == [-2.0] * 3 + [2.0] * 3
    with pytest.raises(ValueError, match="uint8"):
        normalise(images.float())


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[pytest.mark.slow] if kind in SLOW_KINDS else []) for kind in KINDS])
def test_every_policy_learns_to_tell_two_images_apart(kind: str) -> None:
    policy = small_policy(type=kind, dropout=0.0)
    assert isinstance(policy, Policy)
    images = torch.stack([torch.zeros(3, 64, 64), torch.full((3, 64, 64), 200.0)]).to(torch.uint8)
    images[0, 0, 10:30, 10:30] = 255
    rows = [[4, 5, 6, 7, 2], [8, 9, 2]]
    trajectory = captions(rows, images)
    optimiser = torch.optim.AdamW(policy.parameters(), lr=5e-3)
    for _ in range(60):
        loss = -policy(trajectory).logp.sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    greedy = sample(policy, {"image": images}, greedy=True)
    written = [action[mask].tolist() for action, mask in zip(greedy.action, greedy.mask, strict=True)]
    assert written == rows


@pytest.mark.parametrize("kind", KINDS)
def test_forward_ignores_padding_row_order_and_how_samples_are_grouped(kind: str) -> None:
    policy = small_policy(type=kind).eval()
    with torch.no_grad():
        policy.output.weight.mul_(20)  # type: ignore[operator, union-attr]
    images = pictures(2)
    rows = [[4, 5, 2], [6, 2], [7, 8, 9, 10, 2], [11, 2]]
    of_image = [0, 0, 1, 1]
    alone = [policy(captions([row], images[image : image + 1])).logp[0] for row, image in zip(rows, of_image, strict=True)]
    # Neighbours, scattered rows, unequal groups, and no groups at all.
    orders = [([0, 1, 2, 3], True), ([2, 0, 3, 1], True), ([0, 1, 2], True), ([3, 1, 0, 2], False), ([2, 3], True)]
    for order, grouped in orders:
        group = [of_image[row] for row in order] if grouped else None
        trajectory = captions([rows[row] for row in order], images[torch.tensor([of_image[row] for row in order])], group)
        logp = policy(trajectory).logp
        for place, row in enumerate(order):
            assert torch.allclose(logp[place, : len(rows[row])], alone[row], atol=1e-5), (order, row)


@pytest.mark.parametrize("kind", KINDS)
def test_grouped_and_separate_rows_have_the_same_gradient(kind: str) -> None:
    images = pictures(2)[torch.tensor([0, 0, 1, 1])]
    rows = [[4, 5, 2], [6, 2], [7, 8, 2], [11, 2]]
    gradients = []
    for group in ([0, 0, 1, 1], None):
        policy = small_policy(type=kind).eval()
        evaluation = policy(captions(rows, images, group))
        (evaluation.logp.sum() + evaluation.entropy.sum()).backward()
        gradients.append([parameter.grad for parameter in policy.parameters()])
    for grouped, separate in zip(*gradients, strict=True):
        assert (grouped is None) == (separate is None)
        assert grouped is None or torch.allclose(grouped, separate, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_does_not_see_what_comes_after_it(kind: str) -> None:
    policy = small_policy(type=kind).eval()
    images = pictures(1)
    first = policy(captions([[4, 5, 6, 7, 2]], images)).logp[0]
    second = policy(captions([[4, 5, 6, 11, 2]], images)).logp[0]
    assert torch.equal(first[:3], second[:3])
    assert first[4] != second[4]


def test_only_distinct_images_are_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = small_policy()
    seen: list[int] = []
    encode = policy.encode
    monkeypatch.setattr(policy, "encode", lambda images: seen.append(images.shape[0]) or encode(images))  # type: ignore[func-returns-value, operator]
    images = pictures(2)[torch.tensor([0, 1, 0])]
    policy(captions([[4, 2], [5, 2], [6, 2]], images, [0, 1, 0]))
    policy(captions([[4, 2], [5, 2], [6, 2]], images, [-1, -1, -1]))
    assert seen == [2, 3]


def test_temperature_divides_the_logits_in_forward() -> None:
    images = pictures(1)
    trajectory = captions([[4, 2]], images)
    hot, cold = (small_policy(temperature=temperature).eval() for temperature in (2.0, 1.0))
    resampled = torch.full((1,), 1)
    logits, _ = cold.next_logits(resampled, cold.initial_state(trajectory.context))  # type: ignore[operator]
    by_hand = (logits[0] / 2).exp()
    assert hot(trajectory).logp[0, 0].exp().item() == pytest.approx((by_hand[4] / by_hand.sum()).item(), rel=1e-4)


def test_dropout_acts_in_training_mode_only() -> None:
    policy = small_policy(dropout=0.5)
    trajectory = captions([[4, 5, 2]], pictures(1))
    policy.eval()
    assert torch.equal(policy(trajectory).logp, policy(trajectory).logp)
    policy.train()
    assert not torch.equal(policy(trajectory).logp, policy(trajectory).logp)


def test_tied_embeddings_are_one_matrix() -> None:
    tied, untied = small_policy(tie_embeddings=True), small_policy(tie_embeddings=False)
    assert tied.output.weight is tied.decoder.token_embedding.weight  # type: ignore[union-attr]
    assert untied.output.weight is not untied.decoder.token_embedding.weight  # type: ignore[union-attr]


def test_resample_gives_a_token_for_every_step() -> None:
    policy = small_policy().eval()
    trajectory = captions([[4, 5, 2], [6, 2]], pictures(2))
    first = policy.resample(trajectory, torch.Generator().manual_seed(0))  # type: ignore[operator]
    assert first.shape == (2, 3)
    assert torch.equal(first, policy.resample(trajectory, torch.Generator().manual_seed(0)))  # type: ignore[operator]


def test_an_encoder_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    for frozen in (None, True):
        policy: Any = small_policy(encoder="test_policies:own_encoder", freeze_encoder=frozen)
        policy(captions([[4, 5, 2], [6, 2]], pictures(2))).logp.sum().backward()
        learned = any(parameter.grad is not None for parameter in policy.encoder.parameters())
        assert type(policy.encoder).__name__ == "ConvolutionalEncoder" and policy.encoder.num_regions == 4 and learned == (not frozen)


def own_encoder(config: PolicyConfig, image_size: int) -> ConvolutionalEncoder:
    assert config.encoder == "test_policies:own_encoder"
    return ConvolutionalEncoder(image_size, widths=(8,), blocks=(0,), stem_stride=image_size // 2)


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match="type: expected one of.*got 'rnn'"):
        small_policy(type="rnn")
    with pytest.raises(ValueError, match="num_heads"):
        small_policy(num_heads=5)
    with pytest.raises(ValueError, match="encoder"):
        small_policy(encoder="resnet")
    with pytest.raises(ValueError, match="image_size"):
        ConvolutionalEncoder(60, widths=(8, 8), blocks=(0, 0))
    with pytest.raises(ValueError, match="blocks"):
        ConvolutionalEncoder(64, widths=(8, 8), blocks=(0,))
    with pytest.raises(ValueError, match="patch size"):
        PatchEncoder(60)
    policy = small_policy()
    with pytest.raises(ValueError, match="max_tokens"):
        policy(captions([[4] * 8], pictures(1)))
    with pytest.raises(ValueError, match='"image" or "memory"'):
        policy(captions([[4, 2]], pictures(1)).replace(context={"picture": pictures(1)}))


@pytest.mark.parametrize("kind", KINDS)
def test_label_smoothing_leaves_out_what_is_never_right(kind: str) -> None:
    policy = small_policy(type=kind).eval()
    rows = captions([[4, 9, 2], [7, 2]], pictures(2))
    mean = policy(rows).mean_logp
    chosen = [policy(rows.replace(action=torch.full_like(rows.action, token))).logp for token in [2, *range(4, 14)]]
    assert torch.allclose(mean, torch.stack(chosen).mean(dim=0), atol=1e-5)
