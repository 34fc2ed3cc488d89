"""Every kind of pretrained model that writes about images through whole runs: train, resume, evaluate, and plain transformers again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

transformers = pytest.importorskip("transformers")

import tiny_models  # noqa: E402
from tiny_models import KINDS  # noqa: E402

from seqrl.decoding import sample  # noqa: E402
from seqrl.run import checkpoint  # noqa: E402
from seqrl.run.cli import main  # noqa: E402
from seqrl.run.log import read_metrics  # noqa: E402
from seqrl.run.train import load  # noqa: E402

CLASSES = {
    "vision-encoder-decoder": "VisionEncoderDecoderModel",
    "blip": "BlipForConditionalGeneration",
    "git": "GitForCausalLM",
    "idefics3": "AutoModelForImageTextToText",
    "llava": "LlavaForConditionalGeneration",
}
LORA = {"freeze_encoder": True, "lora": {"rank": 4}, "gradient_checkpointing": True}
PROMPTS = {"vision-encoder-decoder": "", "blip": "a photo of", "git": "", "idefics3": "describe the image", "llava": "describe the image"}


@pytest.fixture
def photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Six photographs of different sizes with captions beside them."""
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path / "cache"))
    draws, lines, made = np.random.default_rng(0), [], []
    for number in range(6):
        noise = draws.integers(0, 256, (3,)) + draws.integers(-60, 60, (40 + 7 * number, 70, 3))
        made.append(Image.fromarray(noise.clip(0, 255).astype(np.uint8)))
        made[-1].save(tmp_path / f"{number}.png")
        captions = [f"a {word} dog" for word in ("big", "red", "blue")[number % 3 :]] + ["the left circle"]
        lines.append(json.dumps({"image": f"{number}.png", "captions": captions, "split": "train" if number < 4 else "dev"}))
    (tmp_path / "captions.jsonl").write_text("\n".join(lines))
    return made


def settings(folder: Path, kind: str, **others: Any) -> list[str]:
    data = {"source": "jsonl", "path": str(folder), "captions": "captions.jsonl", "tokenizer": str(folder / "model")}
    policy = {"type": "pretrained", "path": str(folder / "model"), "max_tokens": 6, "prompt": PROMPTS[kind], **others}
    task = {"type": "captioning", "images_per_batch": 2, "data": data, "policy": policy, "reward": {"metrics": {"cider_d": 1.0}}}
    trainer = {"type": "self_critical", "num_samples": 3, "optimiser": {"precision": "fp32", "learning_rate": 1e-3}}
    config = {"name": "run", "num_updates": 2, "eval_every": 2, "save_every": 1, "log_every": 1, "task": task, "trainer": trainer}
    (folder / "run.yaml").write_text(json.dumps(config))  # which is YAML, too
    return [str(folder / "run.yaml"), "--num_threads=1", f"--runs_folder={folder}", "--quiet"]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "frozen"), [*((kind, False) for kind in KINDS if kind != "llava"), ("idefics3", True)])
def test_what_a_run_has_learned_writes_the_same_in_plain_transformers(
    kind: str, frozen: bool, tmp_path: Path, photographs: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_models.save(tmp_path / "model", kind)
    assert main(["train", *settings(tmp_path, kind, **(LORA if frozen else {}))]) == 0
    assert main(["resume", str(tmp_path / "run"), "--num_updates=3", "--quiet"]) == 0
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert "cider_d" in capsys.readouterr().out
    assert [row["step"] for row in read_metrics(tmp_path / "run") if "reward/mean" in row] == [1, 2, 3]
    loaded: Any = load(tmp_path / "run")
    task, policy, folder = loaded[1], loaded[2].eval(), loaded[3] / checkpoint.PRETRAINED
    rows = sample(policy, {"image": torch.from_numpy(np.array(task.data.dev.images))}, greedy=True)
    ours = [action[mask].tolist() for action, mask in zip(rows.action, rows.mask, strict=True)]
    model = getattr(transformers, CLASSES[kind]).from_pretrained(folder)
    theirs = plain_captions(kind, folder, model, photographs[4:])
    assert ours == [row[: row.index(2) + 1] if 2 in row else row for row in theirs]
    start = getattr(transformers, CLASSES[kind]).from_pretrained(tmp_path / "model").state_dict()
    changed = {name for name, weight in model.state_dict().items() if not torch.equal(weight, start[name])}
    seeing = {id(part) for part in policy.adapter.encoder.parameters()}
    encoder = {name for name, part in policy.model.named_parameters() if id(part) in seeing}
    assert changed - encoder and bool(changed & encoder) is not frozen

    assert main(["export", str(tmp_path / "run"), str(tmp_path / "out")]) == 0
    monkeypatch.chdir(tmp_path)
    shown = (tmp_path / "out" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    capsys.readouterr()
    exec(shown, {"images": photographs[4:]})  # what the model card shows, done
    assert capsys.readouterr().out.strip() == str([" ".join(task.vocabulary.decode(row)) for row in ours])


def plain_captions(kind: str, folder: Path, model: Any, shown: list[Any]) -> list[list[int]]:
    """Write captions as somebody does who knows nothing of seqrl, one image at a time; what comes after the prompt."""
    written = []
    for photograph in shown:
        if kind == "vision-encoder-decoder":
            inputs = dict(transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")(photograph, return_tensors="pt"))
            first = 1
        else:
            processor = transformers.AutoProcessor.from_pretrained(folder, backend="pil")
            if kind in ("idefics3", "llava"):
                turn = {"role": "user", "content": [{"type": "image", "image": photograph}, {"type": "text", "text": PROMPTS[kind]}]}
                how: Any = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, "return_tensors": "pt"}
                inputs = dict(processor.apply_chat_template([turn], **how))
            elif PROMPTS[kind]:
                inputs = dict(processor(images=photograph, text=PROMPTS[kind], return_tensors="pt"))
            else:
                inputs = dict(processor(images=photograph, return_tensors="pt"))
            # BLIP leaves out the end token that its tokenizer has put behind the prompt; GIT begins with one token.
            first = inputs["input_ids"].shape[1] - (kind == "blip") if "input_ids" in inputs else 1
        written.append(model.generate(**inputs, max_new_tokens=6, do_sample=False)[0, first:].tolist())
    return written
