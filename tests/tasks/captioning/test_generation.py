"""A pretrained model's generation settings: several end tokens and every rule, against transformers' own `generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

transformers = pytest.importorskip("transformers")

from seqrl.beam_search import beam_search  # noqa: E402
from seqrl.decoding import sample  # noqa: E402
from seqrl.policies.tokens import TokenPolicy, end_tokens  # noqa: E402
from seqrl.rollout import unroll  # noqa: E402
from seqrl.sources import TokenSource  # noqa: E402
from seqrl.tasks.captioning.policies.pretrained import captioner_of  # noqa: E402
from seqrl.tasks.writing.pretrained.policy import TransformersPolicy  # noqa: E402

VOCABULARY, LENGTH = 24, 9
RULES: dict[str, dict[str, Any]] = {
    "none": {},
    "starts with bos": {"decoder_start_token_id": None},
    "pads with end": {"pad_token_id": None},
    "forced_bos": {"forced_bos_token_id": 7},
    "forced_eos": {"forced_eos_token_id": 4},
    "bad_words": {"bad_words_ids": [[6], [8, 9], [10, 11, 12]]},
    "suppressed": {"suppress_tokens": [6, 11, 13], "begin_suppress_tokens": [2, 3, 9]},
    "begin_after_forced": {"begin_suppress_tokens": [9, 14], "forced_bos_token_id": 7},
    "min_length": {"min_length": 5},
    "min_new_tokens": {"min_new_tokens": 6},
    "no_repeat": {"no_repeat_ngram_size": 2},
    "repetition": {"repetition_penalty": 1.8},
    "decay": {"exponential_decay_length_penalty": (3, 1.5)},
    "bias": {"sequence_bias": [[[6], -3.0], [[8, 9], 2.0]]},
    "together": {"no_repeat_ngram_size": 2, "min_length": 4, "suppress_tokens": [6], "forced_eos_token_id": 5, "repetition_penalty": 1.2},
}


def tiny_model(seed: int = 0, **settings: Any) -> Any:
    torch.manual_seed(seed)
    encoder = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=16, patch_size=8
    )
    text = transformers.GPT2Config(vocab_size=VOCABULARY, n_positions=16, n_embd=16, n_layer=1, n_head=2)
    text.is_decoder = text.add_cross_attention = True
    model = transformers.VisionEncoderDecoderModel(transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, text))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5)
    tokens: dict[str, Any] = {"bos_token_id": 1, "decoder_start_token_id": 1, "pad_token_id": 0, "eos_token_id": [2, 3, 4, 5]}
    model.generation_config = transformers.GenerationConfig(**(tokens | settings))
    return model.eval()


def policy_of(model: Any, **settings: Any) -> TransformersPolicy:
    processor = transformers.ViTImageProcessorPil(size={"height": 16, "width": 16})
    return captioner_of(model, processor, max_tokens=LENGTH, **settings).eval()


def pictures(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def generated(policy: TransformersPolicy, images: Tensor, **settings: Any) -> list[list[int]]:
    """What `generate` writes, without the begin token and up to the first end token."""
    pixels = policy.adapter.processor(list(images), return_tensors="pt")["pixel_values"]
    rows = policy.model.generate(pixel_values=pixels, max_length=LENGTH + 1, do_sample=False, **settings)[:, 1:].tolist()
    return [cut(row, (2, 3, 4, 5)) for row in rows]


def cut(row: list[int], ends: tuple[int, ...]) -> list[int]:
    length = next((place for place, token in enumerate(row) if token in ends), len(row) - 1)
    return row[: length + 1]


@pytest.mark.parametrize("rules", RULES)
def test_greedy_captions_are_those_of_generate(rules: str) -> None:
    ended = set()
    for seed in range(4):
        policy = policy_of(tiny_model(seed, **RULES[rules]))
        images = pictures(6)
        written = sample(policy, {"image": images}, greedy=True)
        ours = [action[mask].tolist() for action, mask in zip(written.action, written.mask, strict=True)]
        assert ours == generated(policy, images, num_beams=1), seed
        assert torch.equal(written.terminated.sum(dim=1), torch.ones(6, dtype=torch.long))
        ended |= {row[-1] for row in ours}
    assert len(ended & {2, 3, 4, 5}) > 1 or rules != "none"


@pytest.mark.parametrize("rules", RULES)
def test_beams_are_those_of_generate(rules: str) -> None:
    for seed in range(3):
        policy = policy_of(tiny_model(seed, **RULES[rules]))
        images = pictures(4)
        found, scores = beam_search(policy, {"image": images}, beam_size=3)
        theirs = generated(policy, images, num_beams=3, length_penalty=0.0, early_stopping="never")
        for image, (row, other, score) in enumerate(zip(found, theirs, scores, strict=True)):
            reached = score_of(policy, images[image : image + 1], other)
            if rules == "decay":  # which adds to log-probabilities, so that `generate` stops before the best is found
                assert score >= reached - 1e-3
                continue
            assert row == [token for token in other if token not in policy.ends], seed
            assert score == pytest.approx(reached, abs=1e-3)


@torch.no_grad()
def score_of(policy: TransformersPolicy, image: Tensor, row: list[int]) -> float:
    """Sum what beam search adds for each token of a row."""
    state, before, total = policy.initial_state({"image": image}), torch.tensor([policy.begin]), 0.0
    for token in row:
        logp, state = policy.next_logp(before, state)
        total += float(logp[0, token])
        before = torch.tensor([token])
    return total


@pytest.mark.parametrize("rules", RULES)
def test_what_is_sampled_has_the_probabilities_that_forward_says(rules: str) -> None:
    policy = policy_of(tiny_model(1, **RULES[rules]), temperature=0.7)
    images = pictures(3)
    ours = sample(policy, {"image": images}, num_samples=8, generator=torch.Generator().manual_seed(1))
    evaluation = policy(ours)
    torch.testing.assert_close(evaluation.logp[ours.mask], ours.logp[ours.mask], atol=1e-4, rtol=1e-4)
    assert bool(evaluation.entropy.isfinite().all())
    lengths = ours.mask.sum(dim=1)
    for row, length in zip(ours.action.tolist(), lengths.tolist(), strict=True):
        assert cut(row[:length], policy.ends) == row[:length] and (length == LENGTH or row[length - 1] in policy.ends)
    source = TokenSource(24, begin=policy.begin, end=end_tokens(policy), max_tokens=LENGTH)
    repeated = {"image": images.repeat_interleave(8, dim=0)}
    loop, _ = unroll(policy, source, max_steps=LENGTH, context=repeated, generator=torch.Generator().manual_seed(1))
    assert torch.equal(ours.mask, loop.mask) and torch.equal(ours.action[ours.mask], loop.action[loop.mask])
    (-evaluation.logp[ours.mask]).sum().backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in policy.parameters() if parameter.grad is not None)


def test_demonstrations_are_imitated_whatever_the_rules_forbid() -> None:
    images = {"image": pictures(1)}
    free, ruled = policy_of(tiny_model(0)), policy_of(tiny_model(0, suppress_tokens=[6], min_length=8))
    shown = sample(free, images, forced=torch.tensor([[6, 7, 2]]), greedy=True)
    torch.testing.assert_close(ruled(shown).logp, free(shown).logp)
    assert bool(free(shown).logp.isfinite().all())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("encoder_no_repeat_ngram_size", 2),
        ("guidance_scale", 1.5),
        ("renormalize_logits", True),
        ("stop_strings", ["."]),
        ("penalty_alpha", 0.6),
    ],
)
def test_rules_that_are_not_understood_are_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"generation_config: expected settings among .*got {name}, which change what is written"):
        policy_of(tiny_model(0, **{name: value}))


def test_settings_without_an_effect_are_no_rules() -> None:
    neutral = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "min_length": 0, "bad_words_ids": None, "num_beams": 4, "top_k": 7}
    assert not policy_of(tiny_model(0, **neutral)).rules


def test_a_policy_of_ones_own_may_have_several_end_tokens() -> None:
    table = torch.full((6, 6), -1e9)
    table[1, 4], table[4, 5], table[5, 3] = 0, 0, 0

    def module(context: Any, tokens: Tensor) -> Tensor:
        return table[tokens]

    class Table(torch.nn.Module):
        def forward(self, context: Any, tokens: Tensor) -> Tensor:
            return module(context, tokens)

    for ends, length in (((2, 5), 2), ((2,), 4), ((5, 3), 2), ((3, 2), 3)):
        policy = TokenPolicy(Table(), end=ends, max_tokens=4)
        assert (policy.end, policy.ends) == (ends[0], ends)
        assert sample(policy, torch.zeros(1, 1), greedy=True).mask.sum() == length
        rows, _ = beam_search(policy, torch.zeros(1, 1), beam_size=2)
        assert rows[0] == [4, 5, 3, 0][: length - (length < 4)] or length == 4


def test_rewards_evaluation_and_demonstrations_end_at_any_end_token(tmp_path: Path) -> None:
    """A task on scenes whose policy ends rows with a word of the vocabulary, too."""
    from seqrl.tasks.captioning.data import DataConfig
    from seqrl.tasks.captioning.evaluation import greedy_captions
    from seqrl.tasks.captioning.policies import PolicyConfig
    from seqrl.tasks.captioning.scenes import ScenesConfig
    from seqrl.tasks.captioning.task import CaptioningConfig

    config = CaptioningConfig(
        data=DataConfig(scenes=ScenesConfig(num_train=8, num_dev=4, num_test=2), image_size=32),
        policy=PolicyConfig(dim=16, num_heads=2, tie_embeddings=False),
        images_per_batch=4,
    )
    task = config.build(0)
    policy: Any = task.build_policy()
    word = task.vocabulary.encode([task.data.train.words[0][0][2]])[0]
    policy.ends = (task.vocabulary.end, word)
    with torch.no_grad():
        direction = policy.output.weight[word]
        policy.decoder.norm.bias.add_(2 * direction / direction.square().sum())
    trajectory = task.rollout(policy, num_samples=4, generator=torch.Generator().manual_seed(0))
    lengths = trajectory.mask.sum(dim=1)
    last = trajectory.action.gather(1, lengths.unsqueeze(1) - 1).squeeze(1)
    assert (last == word).sum() > 4
    with_end = torch.where(trajectory.action == word, task.vocabulary.end, trajectory.action)
    expected = task.reward.score(with_end, lengths, trajectory.group)
    torch.testing.assert_close(trajectory.score, expected)
    for words, ended in greedy_captions(policy, task.data.dev, task.vocabulary, task.config.evaluation, 4):
        assert task.vocabulary.words[word] not in words and ended
