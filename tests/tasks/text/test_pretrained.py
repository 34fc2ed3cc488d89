"""Models of transformers for texts as policies, against their own forward pass and `generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers")

from tiny_text_models import (  # noqa: E402
    LENGTH,
    PROMPTS,
    REFERENCES,
    context_of,
    generated,
    make_model,
    make_tokenizer,
    policy_of,
    teacher_forced,
)

from seqrl.beam_search import beam_search  # noqa: E402
from seqrl.decoding import sample  # noqa: E402
from seqrl.tasks.text import PolicyConfig, TextConfig, TextTask  # noqa: E402
from seqrl.tasks.writing.pretrained.loading import DECODERS, ENCODER_DECODERS, text_policy  # noqa: E402
from seqrl.trajectory import Trajectory  # noqa: E402

# One of each way to run a model is enough between changes to them.
KINDS = ("t5", "marian", "gpt2", "llama")
EVERY = [pytest.param(kind, marks=[] if kind in KINDS else [pytest.mark.slow]) for kind in (*ENCODER_DECODERS, *DECODERS)]
RULES: dict[str, dict[str, Any]] = {
    "marian": {"bad_words_ids": [[0], [5, 6]], "forced_eos_token_id": 1},
    "bart": {"forced_bos_token_id": 2, "forced_eos_token_id": 1, "no_repeat_ngram_size": 2, "min_length": 4},
    "t5": {"eos_token_id": [1, 9, 13, 17], "suppress_tokens": [0, 3], "repetition_penalty": 1.5},
    "gpt2": {"eos_token_id": [1, 9, 13], "no_repeat_ngram_size": 2, "min_new_tokens": 3, "forced_eos_token_id": 17},
    "llama": {"repetition_penalty": 1.6, "bad_words_ids": [[8], [5, 6], [10, 4, 7]], "begin_suppress_tokens": [1, 5]},
    "qwen2": {"eos_token_id": [1, 5, 6, 7], "sequence_bias": [[[6], -3.0], [[8, 9], 2.0]]},
}


def drawn(policy: Any, num_samples: int = 3, *, left: bool = False) -> Trajectory:
    return sample(policy, context_of(policy, left=left), num_samples=num_samples, generator=torch.Generator().manual_seed(1))


def actions(rows: Trajectory) -> list[list[int]]:
    return [action[mask].tolist() for action, mask in zip(rows.action, rows.mask, strict=True)]


@pytest.mark.parametrize("kind", EVERY)
def test_sampled_log_probabilities_are_the_model_s_own_of_each_row_alone(kind: str) -> None:
    policy = policy_of(kind, temperature=1.3, eos_token_id=[1, 6, 9, 13, 17])
    rows = drawn(policy)
    assert len(set(rows.mask.sum(dim=1).tolist())) > 1
    with torch.no_grad():
        assert torch.allclose(policy(rows).logp[rows.mask], rows.logp[rows.mask], atol=1e-5)
        for index in range(rows.batch_size):
            action = rows.action[index][rows.mask[index]]
            expected = (teacher_forced(policy, PROMPTS[index // 3], action) / 1.3).log_softmax(dim=-1).gather(1, action.unsqueeze(1))
            assert torch.allclose(rows.logp[index][rows.mask[index]], expected.squeeze(1), atol=1e-5)


@pytest.mark.parametrize("kind", EVERY)
def test_greedy_and_beam_search_are_those_of_generate(kind: str) -> None:
    policy = policy_of(kind, seed=1)
    assert actions(sample(policy, context_of(policy), greedy=True)) == generated(policy, num_beams=1)
    found, _ = beam_search(policy, context_of(policy), beam_size=3)
    theirs = generated(policy, num_beams=3, length_penalty=0.0, early_stopping="never")
    assert found == [[token for token in row if token not in policy.ends] for row in theirs]


@pytest.mark.parametrize("kind", EVERY)
def test_padding_on_either_side_gives_the_same_numbers(kind: str) -> None:
    policy = policy_of(kind)
    right, left = drawn(policy), drawn(policy, left=True)
    assert torch.equal(right.action, left.action) and torch.equal(right.logp, left.logp)
    with torch.no_grad():
        assert torch.allclose(policy(right).logp, policy(left).logp, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "num_seeds"), [("marian", 1), ("gpt2", 1), *(pytest.param(kind, 4, marks=pytest.mark.slow) for kind in RULES)]
)
def test_rules_of_generation_are_those_of_generate_and_of_learning(kind: str, num_seeds: int) -> None:
    ended = set()
    for seed in range(num_seeds):
        policy = policy_of(kind, seed, **RULES[kind])
        greedy = actions(sample(policy, context_of(policy), greedy=True))
        assert greedy == generated(policy, num_beams=1), seed
        found, _ = beam_search(policy, context_of(policy), beam_size=3)
        theirs = generated(policy, num_beams=3, length_penalty=0.0, early_stopping="never")
        assert found == [[token for token in row if token not in policy.ends] for row in theirs], seed
        rows = drawn(policy, 4)
        with torch.no_grad():
            assert torch.allclose(policy(rows).logp[rows.mask], rows.logp[rows.mask], atol=1e-5)
        ended |= {row[-1] for row in actions(rows)}
    assert len(ended & set(policy.ends)) > 1 or len(policy.ends) == 1 or num_seeds == 1


def test_a_forbidden_word_leaves_its_probability_to_the_others_and_a_forced_one_is_certain() -> None:
    marian, bart = policy_of("marian", bad_words_ids=[[0]]), policy_of("bart", forced_bos_token_id=2)
    rows = drawn(marian)
    assert not bool((rows.action[rows.mask] == 0).any())
    action = rows.action[0][rows.mask[0]]
    with torch.no_grad():
        logits = teacher_forced(marian, PROMPTS[0], action)
    logits[:, 0] = float("-inf")
    expected = logits.log_softmax(dim=-1).gather(1, action.unsqueeze(1)).squeeze(1)
    assert torch.allclose(rows.logp[0][rows.mask[0]], expected, atol=1e-5)
    rows = drawn(bart)
    assert set(rows.action[:, 0].tolist()) == {2} and bool((rows.logp[:, 0] == 0).all())
    assert bart.begin == 1 and marian.begin == 0


@pytest.mark.parametrize("kind", ["t5", "marian", "gpt2", "llama"])
def test_gradients_are_the_plain_model_s_with_one_reading_of_each_prompt(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqrl.policies.token_evaluation.FEW_LOGITS", 0)  # as many logits are, these are made in pieces
    policy = policy_of(kind)
    rows = drawn(policy, 2)
    (policy(rows).logp * rows.mask).sum().backward()
    ours = {name: parameter.grad for name, parameter in policy.model.named_parameters()}
    policy.zero_grad()
    total = torch.zeros(())
    for index in range(rows.batch_size):
        action = rows.action[index][rows.mask[index]]
        total = total + teacher_forced(policy, PROMPTS[index // 2], action).log_softmax(dim=-1).gather(1, action.unsqueeze(1)).sum()
    total.backward()
    for name, parameter in policy.model.named_parameters():
        assert (ours[name] is None) == (parameter.grad is None), name
        if parameter.grad is not None:
            assert torch.allclose(ours[name], parameter.grad, atol=1e-4, rtol=1e-3), name


@pytest.mark.parametrize("kind", ["t5", "bart", "gpt2", "llama"])
def test_gradient_checkpointing_changes_no_number_and_runs_layers_again(kind: str) -> None:
    plain, policy = policy_of(kind), policy_of(kind, gradient_checkpointing=True)
    rows, again = drawn(plain, 2), drawn(policy, 2)
    assert torch.equal(rows.action, again.action) and torch.equal(rows.logp, again.logp)
    calls = []
    policy.model.get_decoder().register_forward_hook(lambda *_: calls.append("model"))
    layer = next(part for part in policy.model.get_decoder().modules() if "forward" in vars(part))
    next(part for part in layer.modules() if isinstance(part, torch.nn.LayerNorm) or "Norm" in type(part).__name__).register_forward_hook(
        lambda *_: calls.append("layer")
    )
    for each in (plain, policy):
        (each(rows).logp * rows.mask).sum().backward()
    assert calls.count("layer") == 2 * calls.count("model")
    for ours, theirs in zip(policy.parameters(), plain.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None)
        assert ours.grad is None or torch.allclose(ours.grad, theirs.grad, atol=1e-4, rtol=1e-3)


def test_the_task_reads_and_writes_with_the_model_s_tokenizer(tmp_path: Path) -> None:
    make_model("t5").save_pretrained(tmp_path)
    make_tokenizer(closes=True).save_pretrained(tmp_path)
    config = TextConfig(policy=PolicyConfig(type="pretrained", path=str(tmp_path), max_tokens=LENGTH), prompts_per_batch=2)
    task = TextTask(PROMPTS, REFERENCES, "sentence_bleu", config=config)
    policy = task.build_policy().eval()
    assert task.train.tokens[0].tolist() == [4, 5, 10, 1, 0, 0, 0, 0]
    rows = task.demonstrations(torch.tensor([0, 3]))
    assert rows.action.tolist() == [[4, 10, 1, 0], [16, 18, 19, 1]] and rows.obs[:, 0].tolist() == [0, 0]  # type: ignore[index]
    first = task.rollout(policy, num_samples=2, generator=torch.Generator().manual_seed(0))
    assert first.score.isfinite().all() and "bleu4" in task.evaluate(policy) and len(task.reply(policy, ["a red bird"])) == 1


def test_a_model_that_goes_on_with_prompts_learns_replies_alone() -> None:
    policy = text_policy(make_model("gpt2"), make_tokenizer(closes=False), max_tokens=LENGTH)
    task = TextTask(PROMPTS, REFERENCES, "sentence_bleu", policy=policy, config=TextConfig(prompts_per_batch=2))
    assert task.demonstrations(torch.tensor([3])).action.tolist() == [[16, 18, 19, 1]]
    assert task.build_policy() is policy and task.train.tokens[0].tolist() == [4, 5, 10, 0, 0, 0, 0]
    rows = task.demonstrations(torch.tensor([0]))
    expected = teacher_forced(policy.eval(), PROMPTS[0], torch.tensor([4, 10, 1])).log_softmax(dim=-1)
    assert torch.allclose(policy(rows).logp[0], expected[torch.arange(3), torch.tensor([4, 10, 1])], atol=1e-5)


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_a_frozen_encoder_reads_once_and_gets_no_gradient(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, plain = policy_of(kind, freeze_encoder=True), policy_of(kind)
    rows, same = drawn(policy, 2), drawn(plain, 2)
    assert torch.equal(rows.action, same.action) and isinstance(rows.context, dict) and set(rows.context) == {"memory"}

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(policy.adapter.encoder, "forward", refuse)
    logp = policy(rows).logp
    assert torch.allclose(logp, plain(same).logp, atol=1e-6)
    logp.sum().backward()
    assert all(weight.grad is None for weight in policy.adapter.encoder.parameters())
    assert any(weight.grad is not None for weight in policy.model.get_decoder().parameters())
