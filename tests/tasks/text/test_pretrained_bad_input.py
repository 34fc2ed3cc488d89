"""What can be wrong with a pretrained text model and its settings: one clear error each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers")

from tiny_text_models import NUM_TOKENS, PROMPTS, REFERENCES, make_model, make_tokenizer, policy_of  # noqa: E402

from seqrl.tasks.captioning.policies import PolicyConfig as CaptionerConfig  # noqa: E402
from seqrl.tasks.text import DataConfig, PolicyConfig, TextConfig, TextTask  # noqa: E402
from seqrl.tasks.writing.pretrained.dtypes import weights_format  # noqa: E402
from seqrl.tasks.writing.pretrained.loading import load_text_policy, text_policy  # noqa: E402
from seqrl.tasks.writing.pretrained.lora import LoraConfig  # noqa: E402
from seqrl.tasks.writing.pretrained.vocabulary import ModelVocabulary  # noqa: E402

TEMPLATE = "{% for message in messages %}{{ message.role }} {{ message.content }} {% endfor %}{% if add_generation_prompt %}sees{% endif %}"


def saved(folder: Path, kind: str = "t5", **rules: Any) -> Path:
    make_model(kind, **rules).save_pretrained(folder)
    make_tokenizer(closes=True).save_pretrained(folder)
    return folder


def task_of(path: Path | str, data: DataConfig | None = None, prompts: list[str] = PROMPTS, **policy: Any) -> TextTask:
    config = TextConfig(data=data or DataConfig(), policy=PolicyConfig(type="pretrained", path=str(path), max_tokens=6, **policy))
    return TextTask(prompts, REFERENCES, "sentence_bleu", config=config)


def test_a_model_that_is_missing_or_of_another_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"policy.path: expected a folder or hub name of a model for texts, got nothing"):
        task_of("")
    with pytest.raises(FileNotFoundError, match=r"policy.path: .* which does not exist"):
        task_of(tmp_path / "nothing")
    transformers.MambaConfig(num_hidden_layers=1).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"one of the kinds bart, .*t5, .*llama.*qwen2.*, got .*, which is of kind mamba"):
        task_of(tmp_path)
    small = transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    with pytest.raises(ValueError, match="got BertModel, which is of kind bert"):
        text_policy(transformers.BertModel(small), make_tokenizer(closes=True))
    with pytest.raises(ValueError, match="got a T5Model, which has no output matrix; load it by AutoModelForSeq2SeqLM"):
        text_policy(transformers.T5Model(make_model("t5").config), make_tokenizer(closes=True))


def test_a_tokenizer_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    tokenizer = make_tokenizer(closes=True)
    tokenizer.add_tokens(["giraffe", "zebra"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(
        ValueError, match=rf"tokenizer: expected at most the {NUM_TOKENS} tokens that the model writes, got {NUM_TOKENS + 2}"
    ):
        task_of(folder)
    with pytest.raises(ValueError, match=r"data.tokenizer: a pretrained model reads and writes with its own tokenizer"):
        task_of(folder, DataConfig(tokenizer="other"))
    with pytest.raises(ValueError, match=r"data.pieces: a pretrained model reads and writes"):
        task_of(folder, DataConfig(pieces=50))
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match=r"policy.path: the tokenizer of .* cannot be used"):
        task_of(folder)


def test_settings_of_lora_that_cannot_be_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for settings, problem in (
        ({"rank": 0}, "rank: expected at least 1, or no lora, to train all weights, got 0"),
        ({"alpha": 0.0}, "alpha: expected a positive number"),
        ({"dropout": 1.0}, "dropout: expected a share from 0 to below 1"),
    ):
        with pytest.raises(ValueError, match=problem):
            LoraConfig(**settings)
    with pytest.raises(ValueError, match=r"lora.targets: expected linear layers of the T5.*, which end in k, o, q, v, wi, wo, got q_proj"):
        policy_of("t5", lora=LoraConfig(targets=["q", "q_proj"]))
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match=r"policy.lora: LoRA needs the package peft; pip install peft"):
        policy_of("t5", lora=LoraConfig())


def test_dtypes_that_the_device_lacks_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"policy.dtype: fp16 needs a GPU, and there is none"):
        load_text_policy(tmp_path, dtype="fp16")
    with pytest.raises(ValueError, match=r"policy.dtype: expected one of fp32, bf16, fp16, got 'int8'"):
        load_text_policy(tmp_path, dtype="int8")  # type: ignore[arg-type]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla V100")
    with pytest.raises(ValueError, match=r"policy.dtype: Tesla V100 has no bf16; set it to fp32, or to fp16 with policy.lora"):
        weights_format("bf16", only_lora_learns=False)
    with pytest.raises(ValueError, match=r"policy.dtype: what weights learn is too small for fp16"):
        weights_format("fp16", only_lora_learns=False)
    assert weights_format("fp16", only_lora_learns=True) is torch.float16


def test_lengths_that_the_model_cannot_read_are_refused(tmp_path: Path) -> None:
    config = transformers.GPT2Config(vocab_size=NUM_TOKENS, n_positions=12, n_embd=16, n_layer=1, n_head=2, eos_token_id=1, bos_token_id=2)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path)
    make_tokenizer(closes=False).save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match=r"the prompt 'the old cat .* has 7 tokens, of which the model can read 6; set data.max_prompt_tokens=6"
    ):
        task_of(tmp_path)
    task = task_of(tmp_path, DataConfig(max_prompt_tokens=6))
    assert task.train.tokens.shape[1] == 6 and task.train.tokens[1].tolist() == make_tokenizer(closes=False)(PROMPTS[1])["input_ids"][1:]
    with pytest.raises(ValueError, match="policy.max_tokens: expected at most 11 with this model, got 12"):
        ModelVocabulary(make_tokenizer(closes=False), load_text_policy(tmp_path, max_tokens=12))


def test_what_a_kind_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="freeze_encoder: a GPT2LMHeadModel has no encoder"):
        policy_of("gpt2", freeze_encoder=True)
    with pytest.raises(ValueError, match="generation_config: min_length of a model that goes on with a prompt would count the prompt"):
        policy_of("gpt2", min_length=4)
    with pytest.raises(ValueError, match="critic: a pretrained model has no critic"):
        PolicyConfig(type="pretrained", critic=True)
    for settings in ({"lora": LoraConfig()}, {"gradient_checkpointing": True}, {"dtype": "bf16"}):
        for kind in (PolicyConfig, CaptionerConfig):
            with pytest.raises(ValueError, match=f"{next(iter(settings))}: type transformer does not read it"):
                kind(**settings)
    with pytest.raises(ValueError, match="policy.chat: the tokenizer has no chat template"):
        task_of(saved(tmp_path), chat=True)
    policy = policy_of("t5")
    with pytest.raises(ValueError, match="prompts: expected at least one token in each, got a prompt without any"):
        policy.encode({"tokens": torch.zeros(2, 3, dtype=torch.long), "mask": torch.zeros(2, 3, dtype=torch.bool)})


def test_prefix_suffix_and_chat_template_stand_around_the_prompt(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    assert task_of(folder, prefix="the small ").train.tokens[2, :4].tolist() == [16, 8, 15, 1]
    assert task_of(folder, suffix=" sees").train.tokens[2, :3].tolist() == [15, 13, 1]
    tokenizer = make_tokenizer(closes=True)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    assert task_of(folder, prefix="the ", chat=True).train.tokens[2, :4].tolist() == [3, 16, 15, 13]
