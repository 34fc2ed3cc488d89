"""Tiny models of transformers for texts: load, sample, one step, save; against transformers' own forward pass and `generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

transformers = pytest.importorskip("transformers")

from seqrl.beam_search import beam_search  # noqa: E402
from seqrl.decoding import sample  # noqa: E402
from seqrl.tasks.text import PolicyConfig, TextConfig, TextTask  # noqa: E402
from seqrl.tasks.writing.pretrained.loading import load_text_policy, text_policy  # noqa: E402

SPECIALS = ["<pad>", "</s>", "<s>", "<unk>"]
WORDS = ["a", "red", "blue", "green", "small", "large", "dog", "cat", "bird", "sees", "no", "two", "the", "old", "house", "runs"]
LENGTH = 7
# Strong enough that tokens differ, weak enough that rounding does not.
SCALE = {"t5": 1.0}
PROMPTS = ["a red dog", "the old cat sees no small bird", "two", "blue house sees"]


def make_tokenizer(*, closes: bool) -> Any:
    """Word pieces of one word each; what is read is closed with an end token where `closes`."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = {word: index for index, word in enumerate(SPECIALS + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if closes:
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    named = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)


def make_model(kind: str, seed: int = 0, **settings: Any) -> Any:
    torch.manual_seed(seed)
    config: Any
    size = {"vocab_size": len(SPECIALS) + len(WORDS), "pad_token_id": 0, "eos_token_id": 1}
    if kind == "t5":
        shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.1}
        config = transformers.T5Config(**shape, decoder_start_token_id=0, **size)
        model = transformers.T5ForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(SCALE[kind])
    for name, value in settings.items():
        setattr(model.generation_config, name, value)
    return model.eval()


def policy_of(kind: str, seed: int = 0, **settings: Any) -> Any:
    own = {name: settings.pop(name) for name in ("temperature", "freeze_encoder", "max_tokens") if name in settings}
    return text_policy(make_model(kind, seed, **settings), make_tokenizer(closes=True), **{"max_tokens": LENGTH, **own}).eval()


def context_of(policy: Any, *, left: bool = False) -> dict[str, dict[str, Tensor]]:
    rows = [policy.tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    width = max(map(len, rows)) + 2  # columns of padding alone are nothing special
    padded = [[0] * (width - len(row)) + row if left else row + [0] * (width - len(row)) for row in rows]
    mask = [[bool(left) ^ (place < (width - len(row) if left else len(row))) for place in range(width)] for row in rows]
    return {"image": {"tokens": torch.tensor(padded), "mask": torch.tensor(mask)}}


KINDS = ["t5"]


@pytest.mark.parametrize("kind", KINDS)
def test_sampled_log_probabilities_are_the_model_s_own_of_each_row_alone(kind: str) -> None:
    """Teacher-forced by the plain model, without padding."""
    policy = policy_of(kind, temperature=1.3)
    rows = sample(policy, context_of(policy), num_samples=3, generator=torch.Generator().manual_seed(1))
    assert len(set(rows.mask.sum(dim=1).tolist())) > 1
    assert torch.allclose(policy(rows).logp[rows.mask], rows.logp[rows.mask], atol=1e-5)
    for index in range(rows.batch_size):
        action = rows.action[index][rows.mask[index]]
        logits = teacher_forced(policy, PROMPTS[index // 3], action)
        expected = (logits / 1.3).log_softmax(dim=-1).gather(1, action.unsqueeze(1)).squeeze(1)
        assert torch.allclose(rows.logp[index][rows.mask[index]], expected, atol=1e-5)


@torch.no_grad()
def teacher_forced(policy: Any, prompt: str, action: Tensor) -> Tensor:
    read = policy.tokenizer([prompt], return_tensors="pt")
    tokens = torch.cat([torch.tensor([policy.begin]), action[:-1]]).unsqueeze(0)
    return policy.model(input_ids=read["input_ids"], attention_mask=read["attention_mask"], decoder_input_ids=tokens).logits[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_and_beam_search_are_those_of_generate(kind: str) -> None:
    for seed in range(2):
        policy = policy_of(kind, seed)
        greedy = sample(policy, context_of(policy), greedy=True)
        ours = [action[mask].tolist() for action, mask in zip(greedy.action, greedy.mask, strict=True)]
        assert ours == generated(policy, num_beams=1)
        found, _ = beam_search(policy, context_of(policy), beam_size=3)
        theirs = generated(policy, num_beams=3, length_penalty=0.0, early_stopping="never")
        assert found == [[token for token in row if token not in policy.ends] for row in theirs]


def generated(policy: Any, **settings: Any) -> list[list[int]]:
    """What `generate` writes about each prompt alone, up to its first end token."""
    rows = []
    for prompt in PROMPTS:
        read = policy.tokenizer([prompt], return_tensors="pt")
        read = {name: read[name] for name in ("input_ids", "attention_mask")}
        row = policy.model.generate(**read, max_new_tokens=policy.max_tokens, do_sample=False, **settings)[0, 1:].tolist()
        length = next((place for place, token in enumerate(row) if token in policy.ends), len(row) - 1)
        rows.append(row[: length + 1])
    return rows


@pytest.mark.parametrize("kind", KINDS)
def test_padding_on_either_side_gives_the_same_numbers(kind: str) -> None:
    policy = policy_of(kind)
    right, left = (
        sample(policy, context_of(policy, left=side), num_samples=2, generator=torch.Generator().manual_seed(3)) for side in (False, True)
    )
    assert torch.equal(right.action, left.action) and torch.equal(right.logp, left.logp)
    assert torch.allclose(policy(right).logp, policy(left).logp, atol=1e-6)


def test_the_task_reads_and_writes_with_the_model_s_tokenizer(tmp_path: Path) -> None:
    make_model("t5").save_pretrained(tmp_path)
    make_tokenizer(closes=True).save_pretrained(tmp_path)
    config = TextConfig(policy=PolicyConfig(type="pretrained", path=str(tmp_path), max_tokens=LENGTH), prompts_per_batch=2)
    task = TextTask(PROMPTS, ["a dog", "a cat", "two birds", "the house runs"], "sentence_bleu", config=config)
    policy = task.build_policy().eval()
    assert task.train.tokens[0].tolist() == [4, 5, 10, 1, 0, 0, 0, 0]
    rows = task.demonstrations(torch.tensor([0, 3]))
    assert rows.action.tolist() == [[4, 10, 1, 0], [16, 18, 19, 1]] and rows.obs[:, 0].tolist() == [0, 0]  # type: ignore[index]
    drawn = task.rollout(policy, num_samples=2, generator=torch.Generator().manual_seed(0))
    assert drawn.score.isfinite().all() and "bleu4" in task.evaluate(policy) and len(task.reply(policy, ["a red bird"])) == 1
    assert isinstance(load_text_policy(tmp_path).tokenizer.eos_token_id, int)
