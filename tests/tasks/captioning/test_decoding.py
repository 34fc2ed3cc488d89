"""Sampling and beam search against the generic loop, enumeration and constants worked out by hand."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from seqrl.beam_search import beam_search
from seqrl.decoding import sample
from seqrl.policies.tokens import TokenPolicy
from seqrl.rollout import unroll
from seqrl.sources import TokenSource
from seqrl.tasks.captioning.policies.captioner import CaptionPolicy
from seqrl.tasks.captioning.policies.encoder import ConvolutionalEncoder
from seqrl.tasks.captioning.policies.lstm import AttentionLSTMDecoder, LSTMDecoder
from seqrl.tasks.captioning.policies.transformer import TransformerDecoder
from seqrl.trajectory import Trajectory

SIZE = 16
KINDS = ("transformer", "lstm", "att_lstm")


def captioner(kind: str = "transformer", *, vocabulary: int = 8, max_tokens: int = 6, **settings: bool) -> CaptionPolicy:
    torch.manual_seed(0)
    encoder = ConvolutionalEncoder(SIZE, widths=(8, 16), blocks=(0, 1))
    decoder: nn.Module
    if kind == "lstm":
        decoder = LSTMDecoder(vocabulary, memory_dim=16, dim=16, num_layers=2, dropout=0.5)
    elif kind == "att_lstm":
        decoder = AttentionLSTMDecoder(vocabulary, memory_dim=16, dim=16, dropout=0.5)
    else:
        decoder = TransformerDecoder(vocabulary, memory_dim=16, dim=16, num_layers=2, num_heads=2, dropout=0.5, max_tokens=max_tokens)
    policy = CaptionPolicy(encoder, decoder, max_tokens=max_tokens, tie_embeddings=False, **settings)
    with torch.no_grad():
        policy.output.weight.mul_(10)
        # Raises the end token's logit by 1, so that rows end at different times.
        end = policy.output.weight[2]
        policy.decoder.norm.bias.copy_(end / end.square().sum())
    return policy


def pictures(count: int, seed: int = 0) -> dict[str, Tensor]:
    return {"image": torch.randint(0, 256, (count, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))}


class Table(nn.Module):
    """The next token's probabilities depend on the last token and on the row's own table."""

    def forward(self, context: dict[str, Tensor], tokens: Tensor) -> Tensor:
        return context["table"].gather(1, tokens.unsqueeze(2).expand(-1, -1, context["table"].shape[2]))


def table_policy(tables: Tensor, max_tokens: int) -> tuple[TokenPolicy, dict[str, Tensor]]:
    return TokenPolicy(Table(), max_tokens=max_tokens), {"table": tables}


def random_tables(count: int, vocabulary: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(count, vocabulary, vocabulary, generator=torch.Generator().manual_seed(seed)) * 1.5


def every_text(table: Tensor, max_tokens: int) -> dict[tuple[int, ...], float]:
    """Log-probability of every text that a table can write, end token included."""
    logp = table.log_softmax(dim=1).tolist()
    texts: dict[tuple[int, ...], float] = {}
    for length in range(1, max_tokens + 1):
        for row in itertools.product(range(table.shape[0]), repeat=length):
            if 2 in row[:-1] or (row[-1] != 2 and length < max_tokens):
                continue
            texts[row] = sum(logp[before][token] for before, token in zip((1, *row[:-1]), row, strict=True))
    assert sum(math.exp(value) for value in texts.values()) == pytest.approx(1, abs=1e-5)
    return texts


def rows_of(trajectory: Trajectory) -> list[tuple[int, ...]]:
    return [tuple(action[mask].tolist()) for action, mask in zip(trajectory.action, trajectory.mask, strict=True)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("greedy", [True, False])
def test_sample_equals_the_generic_loop_with_the_same_generator(kind: str, greedy: bool) -> None:
    policy = captioner(kind).eval()
    images = pictures(8)
    ours = sample(policy, images, num_samples=3, greedy=greedy, generator=torch.Generator().manual_seed(5))
    source = TokenSource(24, begin=1, end=2, max_tokens=policy.max_tokens)
    repeated = {"image": images["image"].repeat_interleave(3, dim=0)}
    loop, _ = unroll(policy, source, max_steps=6, context=repeated, greedy=greedy, generator=torch.Generator().manual_seed(5))
    for name in ("mask", "terminated", "truncated"):
        assert torch.equal(getattr(ours, name), getattr(loop, name)), name
    assert torch.equal(ours.action[ours.mask], loop.action[loop.mask])
    assert torch.allclose(ours.logp[ours.mask], loop.logp[loop.mask], atol=1e-5)
    assert isinstance(ours.obs, Tensor) and isinstance(loop.obs, Tensor)
    assert torch.equal(ours.obs[:, :-1][ours.mask], loop.obs[:, :-1][ours.mask])
    assert not greedy or rows_of(ours)[0] == rows_of(ours)[1]


@pytest.mark.parametrize("kind", KINDS)
def test_sampled_log_probabilities_are_those_of_forward(kind: str) -> None:
    policy = captioner(kind).eval()
    trajectory = sample(policy, pictures(6), num_samples=5, generator=torch.Generator().manual_seed(1))
    assert len(set(trajectory.mask.sum(dim=1).tolist())) > 2, "the test needs rows of several lengths, so that rows are dropped"
    evaluation = policy(trajectory)
    assert torch.allclose(evaluation.logp[trajectory.mask], trajectory.logp[trajectory.mask], atol=1e-5)
    assert bool((trajectory.action[~trajectory.mask] == policy.pad).all())
    assert bool((trajectory.terminated.sum(dim=1) == 1).all())


def test_dropping_ended_rows_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = captioner()
    results = []
    for share in (0.0, 0.75, 1.1):
        monkeypatch.setattr("seqrl.decoding.COMPACT_BELOW", share)
        results.append(sample(policy, pictures(8), num_samples=4, generator=torch.Generator().manual_seed(2)))
    assert len(set(results[0].mask.sum(dim=1).tolist())) > 2
    for other in results[1:]:
        assert torch.equal(results[0].action, other.action)
        assert torch.allclose(results[0].logp, other.logp, atol=1e-6)


def test_an_image_is_encoded_once_and_dropout_is_off_and_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = captioner().train()
    seen: list[int] = []
    encode = policy.encode
    monkeypatch.setattr(policy, "encode", lambda images: seen.append(images.shape[0]) or encode(images))  # type: ignore[func-returns-value]
    first = sample(policy, pictures(4), num_samples=5, generator=torch.Generator().manual_seed(3))
    second = sample(policy, pictures(4), num_samples=5, generator=torch.Generator().manual_seed(3))
    assert seen == [4, 4]
    assert torch.equal(first.logp, second.logp)
    assert all(module.training for module in policy.modules())
    assert first.group is not None and first.group.tolist() == [image for image in range(4) for _ in range(5)]


def test_greedy_rows_do_not_depend_on_the_batch_they_are_in() -> None:
    policy = captioner()
    images = pictures(7)["image"]
    whole = rows_of(sample(policy, {"image": images}, greedy=True))
    parts = [row for part in images.split([3, 4]) for row in rows_of(sample(policy, {"image": part}, greedy=True))]
    assert parts == whole
    order = torch.tensor([6, 2, 0, 5, 1, 4, 3])
    assert rows_of(sample(policy, {"image": images[order]}, greedy=True)) == [whole[index] for index in order.tolist()]


def test_a_frozen_encoder_is_not_run_again_and_gets_no_gradient() -> None:
    policy = captioner(freeze_encoder=True).eval()
    trajectory = sample(policy, pictures(3), num_samples=2, generator=torch.Generator().manual_seed(0))
    assert isinstance(trajectory.context, dict) and set(trajectory.context) == {"memory"}
    policy.encoder.forward = None  # type: ignore[assignment]
    evaluation = policy(trajectory)
    assert torch.allclose(evaluation.logp[trajectory.mask], trajectory.logp[trajectory.mask], atol=1e-5)
    evaluation.logp.sum().backward()
    assert all(parameter.grad is None for parameter in policy.encoder.parameters())
    assert policy.output.weight.grad is not None


def test_a_critic_gives_the_same_values_while_sampling_and_in_forward() -> None:
    policy = captioner(critic=True).eval()
    assert policy.critic is not None
    with torch.no_grad():
        policy.critic[-1].weight.normal_(generator=torch.Generator().manual_seed(0))  # type: ignore[index, operator, union-attr]
    trajectory = sample(policy, pictures(4), num_samples=3, generator=torch.Generator().manual_seed(0))
    value = policy(trajectory).value
    assert torch.allclose(value[trajectory.mask], trajectory.value[:, :-1][trajectory.mask], atol=1e-5)
    assert value.std() > 0.01
    value.sum().backward()
    assert policy.output.weight.grad is None


def test_forced_tokens_are_taken_marked_and_scored() -> None:
    policy = captioner().eval()
    forced = torch.tensor([[5, 7], [2, 0], [6, 2]])
    trajectory = sample(policy, pictures(3), num_samples=2, forced=forced, generator=torch.Generator().manual_seed(4))
    assert trajectory.action[:, :2].tolist() == [[5, 7], [5, 7], [2, 0], [2, 0], [6, 2], [6, 2]]
    assert trajectory.imitate is not None
    assert trajectory.imitate.sum(dim=1).tolist() == [2, 2, 1, 1, 2, 2]
    assert not bool(trajectory.mask[:, :2].any()) and not bool(trajectory.mask[2:].any())
    assert bool(trajectory.mask[:2, 2].all())
    counted = trajectory.mask | trajectory.imitate
    assert torch.allclose(policy(trajectory).logp[counted], trajectory.logp[counted], atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"top_k": 2}, [0.6, 0.4, 0, 0]),
        ({"top_p": 0.7}, [0.6, 0.4, 0, 0]),
        ({"top_p": 0.76}, [0.5, 1 / 3, 1 / 6, 0]),
        ({"top_k": 1}, [1, 0, 0, 0]),
    ],
)
def test_top_k_and_top_p_keep_the_right_tokens(settings: dict[str, int], kept: list[float]) -> None:
    # Probabilities 0.45, 0.3, 0.15, 0.1 of the tokens 3, 0, 1, 2.
    table = torch.tensor([0.3, 0.15, 0.1, 0.45]).log().expand(4, 4).unsqueeze(0)
    policy, context = table_policy(table, max_tokens=1)
    count = 20_000
    trajectory = sample(policy, context, num_samples=count, generator=torch.Generator().manual_seed(0), **settings)  # type: ignore[arg-type]
    drawn = trajectory.action.flatten()
    for token, probability in zip((3, 0, 1, 2), kept, strict=True):
        share = (drawn == token).float().mean().item()
        assert share == pytest.approx(probability, abs=5 * math.sqrt(0.25 / count) if 0 < probability < 1 else 0)
        if probability:
            assert trajectory.logp.flatten()[drawn == token].exp()[0].item() == pytest.approx(probability, abs=1e-6)


def test_samples_have_the_enumerated_frequencies() -> None:
    tables = random_tables(2)
    policy, context = table_policy(tables, max_tokens=3)
    count = 20_000
    rows = rows_of(sample(policy, context, num_samples=count, generator=torch.Generator().manual_seed(1)))
    for image in range(2):
        drawn = rows[image * count : (image + 1) * count]
        for row, logp in every_text(tables[image], 3).items():
            probability = math.exp(logp)
            assert drawn.count(row) / count == pytest.approx(probability, abs=5 * math.sqrt(probability / count) + 1e-4)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.5])
def test_a_wide_beam_finds_the_best_of_all_texts(alpha: float) -> None:
    tables = random_tables(12, seed=7)
    policy, context = table_policy(tables, max_tokens=4)
    found, scores = beam_search(policy, context, beam_size=250, length_penalty=alpha)
    for table, row, score in zip(tables, found, scores, strict=True):
        texts = {text: logp / ((5 + len(text)) / 6) ** alpha for text, logp in every_text(table, 4).items()}
        best = max(texts, key=lambda text: texts[text])
        assert row == [token for token in best if token != 2]
        assert score == pytest.approx(texts[best], abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_beam_of_one_is_greedy(kind: str) -> None:
    policy = captioner(kind)
    images = pictures(9)
    rows = [[token for token in row if token != 2] for row in rows_of(sample(policy, images, greedy=True))]
    found, _ = beam_search(policy, images, beam_size=1)
    assert found == rows


@pytest.mark.parametrize("kind", KINDS)
def test_a_beam_scores_its_captions_as_forward_does_and_images_do_not_disturb_each_other(kind: str) -> None:
    policy = captioner(kind).eval()
    images = pictures(6)["image"]
    found, scores = beam_search(policy, {"image": images}, beam_size=3)
    alone = [beam_search(policy, {"image": image.unsqueeze(0)}, beam_size=3) for image in images]
    assert [rows[0] for rows, _ in alone] == found
    assert [score[0] for _, score in alone] == pytest.approx(scores, abs=1e-5)
    greedy = sample(policy, {"image": images}, greedy=True)
    assert sum(scores) >= greedy.logp.sum().item() - 1e-4
    longest = max(len(row) for row in found)
    forced = torch.tensor([[*row, *[2] * (longest + 1 - len(row))][: policy.max_tokens] for row in found])
    trajectory = sample(policy, {"image": images}, forced=forced, greedy=True)
    forced_logp = policy(trajectory).logp.sum(dim=1).tolist()
    for row, score, logp in zip(found, scores, forced_logp, strict=True):
        assert score == pytest.approx(logp, abs=1e-4), row


def test_the_length_penalty_decides_between_a_short_and_a_long_caption() -> None:
    # "end" at once: log 0.5. "3 end": log 0.45 + log 1. Divided by (6/6)^a and (7/6)^a:
    # -0.693 against -0.799 without penalty; with a = 1, -0.693 against -0.684.
    impossible = -1e9
    table = torch.full((1, 4, 4), impossible)
    table[0, 1] = torch.tensor([0.05, 1e-12, 0.5, 0.45]).log()
    table[0, 3, 2] = 0.0
    table[0, 0, 0] = 0.0
    policy, context = table_policy(table, max_tokens=5)
    for alpha, caption, score in ((0.0, [], -0.693147), (1.0, [3], -0.684435)):
        rows, scores = beam_search(policy, context, beam_size=2, length_penalty=alpha)
        assert rows == [caption]
        assert scores[0] == pytest.approx(score, abs=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_a_beam_may_search_at_another_temperature_than_the_policy_samples_at(temperature: float) -> None:
    tables = random_tables(12, seed=7)
    policy, context = table_policy(tables, max_tokens=4)
    policy.temperature = 0.4
    found, scores = beam_search(policy, context, beam_size=250, temperature=temperature)
    for table, row, score in zip(tables, found, scores, strict=True):
        texts = every_text(table / temperature, 4)
        assert row == [token for token in max(texts, key=lambda text: texts[text]) if token != 2]
        assert score == pytest.approx(max(texts.values()), abs=1e-4)
    assert policy.temperature == 0.4 and scores != beam_search(policy, context, beam_size=250)[1]
    with pytest.raises(RuntimeError, match="out of bounds"):
        beam_search(policy, {"table": tables[:, :1]}, beam_size=2, temperature=temperature)
    assert policy.temperature == 0.4, "it comes back after an error, too"


def test_begin_end_and_pad_may_be_the_same_token() -> None:
    tables = random_tables(5, seed=2)
    policy = TokenPolicy(Table(), begin=2, end=2, pad=2, max_tokens=4)
    trajectory = sample(policy, {"table": tables}, num_samples=6, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(policy(trajectory).logp[trajectory.mask], trajectory.logp[trajectory.mask], atol=1e-6)
    assert all(2 not in row[:-1] for row in rows_of(trajectory))
    assert beam_search(policy, {"table": tables}, beam_size=2)[0] != []


def test_arguments_out_of_range_are_named() -> None:
    policy, context = table_policy(random_tables(2), max_tokens=3)
    bad: list[tuple[str, dict[str, object]]] = [
        ("num_samples", {"num_samples": 0}),
        ("top_k", {"top_k": -1}),
        ("top_p", {"top_p": 0.0}),
        ("forced", {"forced": torch.zeros(3, 1, dtype=torch.long)}),
    ]
    for name, arguments in bad:
        with pytest.raises(ValueError, match=name):
            sample(policy, context, **arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="beam_size"):
        beam_search(policy, context, beam_size=0)
    with pytest.raises(ValueError, match="length_penalty"):
        beam_search(policy, context, beam_size=2, length_penalty=-1.0)
    with pytest.raises(ValueError, match="temperature: expected a positive number, or None for the policy's own, got 0.0"):
        beam_search(policy, context, beam_size=2, temperature=0.0)
    del policy.temperature
    with pytest.raises(ValueError, match="temperature: TokenPolicy has no attribute of that name to search with 1.0 in its place"):
        beam_search(policy, context, beam_size=2, temperature=1.0)
