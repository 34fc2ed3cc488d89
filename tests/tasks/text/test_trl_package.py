"""The real TRL: metrics of ours reward its trainers, and what it tells reward functions is what we tell them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from seqrl.metrics.trl import reward
from seqrl.tasks.text import PolicyConfig, TextConfig, TextTask

pytestmark = pytest.mark.slow  # importing TRL alone takes seconds
PROMPTS = ["one two", "two three four", "three", "four one"]
REFERENCES = [["two one", "two then one"], ["four three two"], ["three"], ["one four"]]
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }} {{ message['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}assistant {% endif %}"
)


@pytest.fixture(scope="module")
def trl() -> Any:
    return pytest.importorskip("trl", reason="needs TRL: pip install 'seqrl[trl]'")


def tiny() -> tuple[Any, Any]:
    """Give a random GPT-2 of a few words and its tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    words = ["<pad>", "<end>", "<unk>", "one", "two", "three", "four", "then", "user", "assistant"]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>", unk_token="<unk>", padding_side="left")
    fast.chat_template = TEMPLATE
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(words), n_positions=32, n_embd=16, n_layer=1, n_head=2, eos_token_id=1, pad_token_id=0, bos_token_id=1
    )
    return GPT2LMHeadModel(config), fast


def trained(trl: Any, kind: str, rewards: Any, folder: Path, prompts: Any, **settings: Any) -> Any:
    """Let a trainer of TRL take two steps; give it."""
    from datasets import Dataset

    model, tokenizer = tiny()
    data = Dataset.from_dict({"prompt": prompts, "references": REFERENCES, "level": [0, 1, 2, 3]})
    config = getattr(trl, f"{kind}Config")(
        output_dir=str(folder),
        per_device_train_batch_size=4,
        num_generations=2,
        max_completion_length=5,
        max_steps=2,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        learning_rate=0.1,
        beta=0.0,  # or RLOO loads the model anew as its reference
        disable_tqdm=True,
        **settings,
    )
    trainer = getattr(trl, f"{kind}Trainer")(model=model, reward_funcs=rewards, args=config, train_dataset=data, processing_class=tokenizer)
    before = [weight.detach().clone() for weight in model.parameters()]
    trainer.train()
    assert any(not torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))
    return trainer


@pytest.mark.parametrize("kind", ["GRPO", "RLOO"])
@pytest.mark.parametrize("conversation", [False, True], ids=["texts", "messages"])
def test_our_metrics_reward_its_trainers(kind: str, conversation: bool, trl: Any, tmp_path: Path) -> None:
    if not hasattr(trl, f"{kind}Trainer"):
        pytest.skip(f"this TRL has no {kind}Trainer")
    seen: list[tuple[list[str], list[float]]] = []
    metric = reward({"cider_d": 1.0, "bleu1": 1.0}, document_frequency=REFERENCES, tokens="spaces", name="ours")

    def watched(completions: Any, references: Any, **kwargs: Any) -> Any:
        scores = metric(completions=completions, references=references, **kwargs)
        seen.append((completions, scores))
        return scores

    watched.__name__ = "ours"
    prompts = [[{"role": "user", "content": prompt}] for prompt in PROMPTS] if conversation else PROMPTS
    trainer = trained(trl, kind, [watched, reward("bleu2", tokens="spaces")], tmp_path, prompts, reward_weights=[1.0, 0.5])
    logged = [row for row in trainer.state.log_history if "reward" in row]
    assert len(seen) == len(logged) == 2
    for (completions, scores), row in zip(seen, logged, strict=True):
        assert isinstance(completions[0], list if conversation else str)
        assert row["rewards/ours/mean"] == pytest.approx(sum(scores) / len(scores), abs=1e-5)
        assert row["reward"] == pytest.approx(row["rewards/ours/mean"] + 0.5 * row["rewards/bleu2/mean"], abs=1e-5)


def test_a_function_is_told_the_same_by_both(trl: Any, tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    def some(**kwargs: Any) -> list[float | None]:
        seen.append(kwargs | {"step": kwargs["trainer_state"].global_step})
        kwargs["log_metric"]("level", sum(kwargs["level"]) / len(kwargs["level"]))
        kwargs["log_extra"]("level", kwargs["level"])
        return [None if level == 1 else float(len(ids)) for level, ids in zip(kwargs["level"], kwargs["completion_ids"], strict=True)]

    async def other(completions: Any, **kwargs: Any) -> list[float]:
        return [1.0] * len(completions)

    prompts = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
    trainer = trained(trl, "GRPO", [some, other], tmp_path, prompts)
    theirs = seen.copy()
    seen.clear()
    config = TextConfig(policy=PolicyConfig(dim=16, num_layers=1, num_heads=2, dropout=0.0, max_tokens=5), prompts_per_batch=4)
    task = TextTask(prompts, REFERENCES, [some, other], columns={"level": [0, 1, 2, 3]}, config=config)
    policy = task.build_policy().eval()
    for _ in range(2):
        task.rollout(policy, num_samples=2)
    assert len(theirs) == len(seen) == 2
    for mine, given in zip(seen, theirs, strict=True):
        assert set(mine) == set(given)
        assert mine["step"] == given["step"]
        for name in ("prompts", "completions", "completion_ids", "level", "references"):
            assert _form(mine[name]) == _form(given[name]), name
    row = [row for row in trainer.state.log_history if "reward" in row][-1]
    assert {"level", "rewards/some/mean", "rewards/other/mean"} <= set(row)
    assert {"logged/level", "reward/mean_some", "reward/mean_other"} <= set(task.pop_metrics())


def _form(value: Any) -> str:
    """Describe the form of what a function is told: the types within types, and the keys and roles of messages."""
    first = value[0]
    if isinstance(first, list) and first and isinstance(first[0], dict):
        return json.dumps([sorted(first[0]), first[0]["role"], type(first[0]["content"]).__name__])
    return f"{type(value).__name__} of {type(first).__name__}"
