"""A trained text model leaves as a folder that plain transformers loads, and writes there what it wrote here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from seqrl.run.cli import main
from seqrl.tasks.text.policy import PolicyConfig

PAIRS = [("one two", "two one"), ("two three four", "four three two"), ("three", "three"), ("four one", "one four")] * 3
WORDS = ["<pad>", "<end>", "<unk>", "one", "two", "three", "four", "then"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("lora" not in PolicyConfig.__dataclass_fields__, reason="this version has no pretrained models of texts"),
]


def save_model(kind: str, folder: Path) -> None:
    """Save a random T5 or GPT-2 with a tokenizer of a few words."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if kind == "t5":
        tokenizer.post_processor = processors.TemplateProcessing(single="$A <end>", special_tokens=[("<end>", 1)])
    names = {"pad_token": "<pad>", "eos_token": "<end>", "unk_token": "<unk>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(0)
    special: Any = {"pad_token_id": 0, "eos_token_id": 1}
    if kind == "t5":
        size = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
        config = transformers.T5Config(vocab_size=len(WORDS), decoder_start_token_id=0, tie_word_embeddings=False, **size, **special)
        model: Any = transformers.T5ForConditionalGeneration(config)
    else:
        config = transformers.GPT2Config(vocab_size=len(WORDS), n_positions=32, n_embd=16, n_layer=1, n_head=2, bos_token_id=1, **special)
        model = transformers.GPT2LMHeadModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    model.save_pretrained(folder)


@pytest.mark.parametrize(("kind", "lora"), [("t5", False), ("gpt2", False), ("gpt2", True)])
def test_plain_transformers_writes_the_same_replies(
    kind: str, lora: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import transformers

    from seqrl.run.train import load

    monkeypatch.chdir(tmp_path)
    save_model(kind, tmp_path / "model")
    (tmp_path / "pairs.jsonl").write_text("\n".join(json.dumps({"prompt": one, "reference": other}) for one, other in PAIRS))
    learned = "lora: {rank: 2}, " if lora else ""
    (tmp_path / "run.yaml").write_text(f"""
name: run
num_updates: 2
eval_every: 2
num_threads: 1
task:
  type: text
  data: {{source: jsonl, pairs: {tmp_path}/pairs.jsonl, num_dev: 4}}
  policy: {{type: pretrained, path: {tmp_path}/model, {learned}max_tokens: 6}}
  prompts_per_batch: 4
trainer: {{type: reinforce, num_samples: 3, optimiser: {{precision: fp32, learning_rate: 0.02}}}}
""")
    assert main(["train", "run.yaml", "--quiet"]) == 0
    assert main(["export", "runs/run", "out"]) == 0
    _, task, policy, _ = load("runs/run")
    prompts = [one for one, _ in PAIRS[:4]]
    ours = task.reply(policy.eval(), prompts)  # type: ignore[attr-defined]

    kinds: Any = {"t5": transformers.T5ForConditionalGeneration, "gpt2": transformers.GPT2LMHeadModel}
    model = kinds[kind].from_pretrained("out").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained("out")
    theirs = []
    for prompt in prompts:
        inputs = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
        row = model.generate(**inputs)[0]
        theirs.append(tokenizer.decode(row if kind == "t5" else row[inputs["input_ids"].shape[1] :], skip_special_tokens=True))
    assert [text.split() for text in theirs] == [text.split() for text in ours] and len(set(ours)) > 1
    text = Path("out/README.md").read_text()
    capsys.readouterr()
    exec(text.split("```python\n")[1].split("```")[0], {"prompts": prompts})  # what it shows, done
    assert capsys.readouterr().out.strip() == str(theirs)
    card = yaml.safe_load(text.split("---\n")[1])
    assert card["pipeline_tag"] == ("text2text-generation" if kind == "t5" else "text-generation")
