"""A trained model leaves as a folder that plain transformers loads: the same captions, a model card, and nothing half written."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from seqrl.run.cli import main
from seqrl.run.export import _set_generation
from seqrl.run.train import Source

WORDS = ["<pad>", "<begin>", "<end>", "<unknown>", "a", "red", "blue", "square", "circle", "left", "of"]
OURS = """
name: ours
num_updates: 0
eval_every: 0
num_threads: 1
task:
  type: captioning
  images_per_batch: 2
  data: {image_size: 16, scenes: {num_train: 6, num_dev: 3, num_test: 2}}
  policy: {dim: 16, num_layers: 1, num_heads: 2, max_tokens: 4}
trainer: {type: self_critical, optimiser: {precision: fp32}}
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save_model(folder: Path) -> None:
    """Save a random captioner whose own settings ask `generate` for beams."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 32, "patch_size": 8}
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    text = transformers.GPT2Config(vocab_size=len(WORDS), n_positions=16, n_embd=16, n_layer=1, n_head=2, **special)
    text.is_decoder = text.add_cross_attention = True
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(transformers.ViTConfig(**size), text)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 1, 0, 2
    model = transformers.VisionEncoderDecoderModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6)
    model.generation_config.update(num_beams=4, max_length=30, no_repeat_ngram_size=2, early_stopping=True)
    model.save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"pad_token": "<pad>", "bos_token": "<begin>", "eos_token": "<end>", "unk_token": "<unknown>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)


def trained(home: Path) -> list[Any]:
    """Train a captioner for two updates in runs/run; give the photographs of dev."""
    from PIL import Image

    draws = np.random.default_rng(0)
    made = [Image.fromarray(draws.integers(0, 256, (40 + 7 * number, 50, 3), dtype=np.uint8)) for number in range(8)]
    rows = []
    for number, photograph in enumerate(made):
        photograph.save(home / f"{number}.png")
        rows.append({"image": f"{number}.png", "captions": ["red square", "a circle"], "split": "train" if number < 4 else "dev"})
    (home / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    save_model(home / "model")
    (home / "run.yaml").write_text(f"""
name: run
num_updates: 2
eval_every: 2
seed: 3
num_threads: 1
task:
  type: captioning
  images_per_batch: 2
  data: {{source: jsonl, path: {home}, captions: captions.jsonl, tokenizer: {home}/model, image_size: 32}}
  policy: {{type: pretrained, path: {home}/model, max_tokens: 7}}
  reward: {{metrics: {{bleu1: 1.0}}}}
trainer: {{type: self_critical, num_samples: 3, optimiser: {{precision: fp32, learning_rate: 0.01}}}}
""")
    assert main(["train", "run.yaml", "--quiet"]) == 0
    return made[4:]


@pytest.mark.slow
def test_plain_transformers_writes_what_was_evaluated(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    from seqrl.decoding import sample
    from seqrl.run.train import load
    from seqrl.tasks.captioning.data import rows_of

    photographs = trained(home)
    assert main(["evaluate", "runs/run"]) == 0
    (home / "out").mkdir()  # an empty folder may be there
    assert main(["export", "runs/run", "out", "--license=apache-2.0"]) == 0
    assert "out: runs/run/checkpoints/step_00000002, with its model card README.md" in capsys.readouterr().out
    assert not list(home.glob(".*partial"))

    model = transformers.VisionEncoderDecoderModel.from_pretrained("out").eval()
    processor = transformers.AutoImageProcessor.from_pretrained("out")
    tokenizer = transformers.AutoTokenizer.from_pretrained("out")
    theirs = model.generate(pixel_values=processor(photographs, return_tensors="pt")["pixel_values"])
    texts = tokenizer.batch_decode(theirs, skip_special_tokens=True)
    _, task, policy, _ = load("runs/run")
    rows = sample(policy.eval(), {"image": rows_of(task.data.dev.images, slice(0, 4))}, greedy=True)
    ours = [" ".join(task.vocabulary.decode(row[mask].tolist())) for row, mask in zip(rows.action, rows.mask, strict=True)]
    assert texts == ours and len(set(ours)) > 1
    before = transformers.VisionEncoderDecoderModel.from_pretrained("model")
    assert any(not torch.equal(one, other) for one, other in zip(before.parameters(), model.parameters(), strict=True))

    card = Path("out/README.md").read_text()
    capsys.readouterr()
    exec(card.split("```python\n")[1].split("```")[0], {"images": photographs})  # what it shows, done
    assert capsys.readouterr().out.strip() == str(ours)
    header = yaml.safe_load(card.split("---\n")[1])
    assert (header["license"], header["library_name"], header["pipeline_tag"]) == ("apache-2.0", "transformers", "image-to-text")
    (results,) = header["model-index"][0]["results"]
    metrics = json.loads(Path("runs/run/evaluation_dev.json").read_text())
    assert {each["type"]: each["value"] for each in results["metrics"]} == metrics["figures"]
    assert re.search(r"\| `bleu1` \| 0\.\d{4} \| `BLEU.*version:", card) and "- seed: 3" in card
    assert "reward: `BLEU" in card and "- command: `" in card and "Data: `jsonl" in card
    assert str(home) not in card and "type: self_critical" in card

    capsys.readouterr()
    assert main(["export", "runs/run", "out"]) == 2
    assert "out: is there already; an export replaces nothing" in capsys.readouterr().err

    from seqrl.run import export

    uploaded: list[Any] = []

    class Hub:
        def create_repo(self, **settings: Any) -> None:
            uploaded.append(settings["repo_id"])

        def upload_folder(self, **settings: Any) -> None:
            uploaded.append(sorted(path.name for path in Path(settings["folder_path"]).iterdir()))
            raise OSError("no route to the hub")

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(
        OSError, match=r"somebody/one could not be uploaded \(no route to the hub\); two is whole: .*hf upload somebody/one two"
    ):
        export.export(Source(Path("runs/run")), Path("two"), push="somebody/one")
    assert uploaded[0] == "somebody/one" and {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= set(uploaded[1])


def test_what_cannot_be_exported_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "ours.yaml").write_text(OURS)
    assert main(["train", "ours.yaml", "--quiet"]) == 0
    for arguments, problem in (
        (
            ["runs/ours", "out"],
            "no model of transformers.*of type pretrained, of captions or of texts.*checkpoints/step_00000000: `seqrl evaluate`",
        ),
        (["runs/ours", "ours.yaml"], "ours.yaml: is there already"),
        (["runs/ours", "runs"], "runs: is there already; an export replaces nothing"),
        (["runs/none", "out"], "runs/none: there is no such folder"),
        (["runs/ours", "out", "--license=Apache License"], "--license: expected an identifier such as apache-2.0"),
        (["runs/ours", "out", "--push=a/b/c"], "--push: expected a name on the hub such as somebody/captioner, got 'a/b/c'"),
        (["runs/ours", "out", "--push=a/b"], "--push: HF_HUB_OFFLINE is set"),
    ):
        capsys.readouterr()
        assert main(["export", *arguments]) == 2
        assert re.search(problem, capsys.readouterr().err), arguments
        assert not (home / "out").exists() and not list(home.glob(".*partial"))


def test_generation_is_greedy_with_the_policy_s_own_tokens(home: Path) -> None:
    class Policy:
        begin, ends, pad, max_tokens = 1, (2, 5), 0, 9

    for kind, begin in ((True, 1), (False, None)):
        (home / "config.json").write_text(json.dumps({"is_encoder_decoder": kind}))
        (home / "generation_config.json").write_text(
            json.dumps({"num_beams": 4, "max_length": 20, "temperature": 0.7, "bad_words_ids": [[4]]})
        )
        _set_generation(home, Policy())
        settings = json.loads((home / "generation_config.json").read_text())
        assert settings.pop("decoder_start_token_id", None) == begin
        greedy = {"do_sample": False, "num_beams": 1, "max_new_tokens": 9, "eos_token_id": [2, 5], "pad_token_id": 0}
        assert settings == greedy | {"bad_words_ids": [[4]]}
