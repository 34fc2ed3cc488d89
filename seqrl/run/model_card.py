"""The README.md of an exported model: what it is, how it was trained, and what its metrics are and how they were computed."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import yaml

from seqrl.run import registry
from seqrl.run.config import RunConfig
from seqrl.run.decode import encode
from seqrl.run.environment import read_starts, version_of

_TASKS = {"image": "image-to-text", "encoder-decoder": "text2text-generation", "decoder": "text-generation"}
_ARTICLES = {"captioning": "A captioner of images", "text": "A model that answers texts with texts"}
_LOADERS = {
    "preprocessor_config.json": ("AutoImageProcessor", "processor"),
    "processor_config.json": ("AutoProcessor", "processor"),
    "tokenizer_config.json": ("AutoTokenizer", "tokenizer"),
}


def model_card(
    folder: Path,
    config: RunConfig,
    meta: Mapping[str, Any],
    evaluations: Sequence[Mapping[str, Any]],
    *,
    license: str,
    name: str,
    prompt: Sequence[int] = (),
) -> str:
    """Write a model card, with a header of YAML as the hub reads it. Folders of this machine are named by their last part alone.

    Args:
        folder: of the exported model.
        config: of the run.
        meta: of the checkpoint.
        evaluations: of it: `split`, `figures` and `signatures` each.
        license: identifier.
        name: of the model.
        prompt: tokens that an image's text goes on from, a begin token first; none where each text has a prompt of its own.
    """
    tree = _without_folders(encode(config))
    model, starts = json.loads((folder / "config.json").read_text(encoding="utf-8")), read_starts(config.run_folder)
    kind = _kind(model)
    parts = [
        _header(tree, kind, evaluations, license, name),
        f"# {name.rpartition('/')[2]}",
        f"{_ARTICLES.get(tree['task'].get('type', ''), 'A model of sequences')}, trained with seqrl "
        f"{version_of('seqrl') or ''} (trainer `{registry.name_of(registry.TRAINERS, type(config.trainer))}`): "
        f"checkpoint of update {meta['step']} of {config.num_updates}.",
        "## Use",
        _usage(folder, model, kind, name, str(_part(tree, "policy").get("prompt", "")), prompt),
        f"`generate` writes greedily, {_most_tokens(folder)} tokens at most, as it was evaluated; `generation_config.json` says so.",
        "## Metrics",
        _metrics(evaluations),
        "## Training",
        _training(config, starts),
        "Data: `" + _data(tree) + "`.",
        "The whole configuration:",
        "```yaml\n" + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=140).rstrip() + "\n```",
        "## License",
        "Not stated; whoever trained it knows the license of the model it began as, and of the data."
        if license == "unknown"
        else f"{license}, as stated by whoever exported it.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _header(tree: Mapping[str, Any], kind: str, evaluations: Sequence[Mapping[str, Any]], license: str, name: str) -> str:
    task = _TASKS[kind]
    results = [
        {
            "task": {"type": task},
            "dataset": {"name": _data(tree), "type": str(_part(tree, "data").get("source", "unknown")), "split": each["split"]},
            "metrics": [
                {"type": key, "value": float(value), "name": str(each["signatures"].get(key, key))}
                for key, value in each["figures"].items()
            ],
        }
        for each in evaluations
    ]
    tags = ["seqrl", "reinforcement-learning"]
    header: dict[str, Any] = {"license": license, "library_name": "transformers", "pipeline_tag": task, "tags": tags}
    base = str(_part(tree, "policy").get("path", ""))
    if re.fullmatch(r"[\w.\-]+/[\w.\-]+", base):
        header["base_model"] = base
    if results:
        header["model-index"] = [{"name": name.rpartition("/")[2], "results": results}]
    return "---\n" + yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=1000).rstrip() + "\n---"


def _kind(model: Mapping[str, Any]) -> str:
    if "vision_config" in model or model.get("model_type") == "vision-encoder-decoder":
        return "image"
    return "encoder-decoder" if model.get("is_encoder_decoder") else "decoder"


def _usage(folder: Path, model: Mapping[str, Any], kind: str, name: str, said: str, prompt: Sequence[int]) -> str:
    """Show how it is called, with the settings that `generation_config.json` has, for models that hand on what is said alone."""
    architecture = next(iter(model.get("architectures") or []), "AutoModel")
    loaders = {loader: variable for file, (loader, variable) in _LOADERS.items() if (folder / file).is_file()}
    variables = list(loaders.values()) or ["tokenizer"]
    left = ', padding_side="left"' if kind == "decoder" else ""
    texts = f'prompts, return_tensors="pt", padding=True{left}, return_token_type_ids=False'
    lines = [f"from transformers import {', '.join([*loaders, architecture])}", ""]
    lines += [f'model = {architecture}.from_pretrained("{name}").eval()']
    lines += [f'{variable} = {loader}.from_pretrained("{name}")' for loader, variable in loaders.items()]
    settings = f"max_new_tokens={_most_tokens(folder)}, num_beams=1, do_sample=False"
    if kind == "image" and "image_token_id" in model:
        return _block([*lines, _of_chat(said, settings)])
    given = 'images, return_tensors="pt"' if kind == "image" else texts
    lines += [f"inputs = {variables[0]}({given})"]
    if kind == "image" and said:
        # BLIP takes an end token behind its prompt, and leaves it out.
        ids, name_of_ids = list(prompt), "decoder_input_ids" if model.get("is_encoder_decoder") else "input_ids"
        ids += [model["text_config"]["sep_token_id"]] if model.get("model_type") == "blip" else []
        lines += [f"prompt = torch.tensor([{ids}] * len(images))  # {said!r}"]
        lines[0] = f"import torch\n{lines[0]}"
        lines += [f"written = model.generate(**inputs, {name_of_ids}=prompt, {settings})", f"written = written[:, {len(prompt)} :]"]
    else:
        lines += [f"written = model.generate(**inputs, {settings})"]
        lines += ['written = written[:, inputs["input_ids"].shape[1] :]  # without the prompt'] if kind == "decoder" else []
    return _block([*lines, f"print({variables[-1]}.batch_decode(written, skip_special_tokens=True))"])


def _of_chat(said: str, settings: str) -> str:
    """Show how a model is called whose prompt holds the image."""
    shown = Template(Path(__file__).with_name("model_card_chat.txt").read_text(encoding="utf-8").strip())
    return shown.substitute(said=json.dumps([{"type": "text", "text": said}] if said else []), settings=settings)


def _block(lines: Sequence[str]) -> str:
    return "```python\n" + "\n".join(lines) + "\n```"


def _most_tokens(folder: Path) -> int:
    return int(json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))["max_new_tokens"])


def _metrics(evaluations: Sequence[Mapping[str, Any]]) -> str:
    if not evaluations:
        return "None were computed of this checkpoint; `seqrl evaluate RUN --split=test`, and another export, fills them in."
    parts = []
    for each in evaluations:
        signatures = {name: f"`{text}`".replace("|", "\\|") for name, text in each["signatures"].items() if text}
        rows = [f"| `{name}` | {value:.4f} | {signatures.get(name, '')} |" for name, value in each["figures"].items()]
        parts.append("\n".join([f"| metric, {each['split']} | value | signature |", "|---|---|---|", *rows]))
    return "\n\n".join(parts)


def _training(config: RunConfig, starts: Sequence[Mapping[str, Any]]) -> str:
    lines = [f"- seed: {config.seed}"]
    signature = starts[-1].get("signatures", {}).get("reward") if starts else ""
    lines += [f"- reward: `{signature}`"] if signature else []
    for start in starts:
        command = shlex.join(_shortened(str(word)) for word in start.get("command", []))
        packages = ", ".join(f"{name} {version}" for name, version in dict(start.get("packages", {})).items())
        commit = start.get("git_commit") or "unknown"
        lines.append(f"- command: `{command}`, commit {commit}, Python {start.get('python')}, {packages}")
    return "\n".join(lines)


def _part(tree: Mapping[str, Any], name: str) -> dict[str, Any]:
    return dict(tree.get("task", {}).get(name) or {})


def _data(tree: Mapping[str, Any]) -> str:
    data = _part(tree, "data")
    named = [str(data[key]) for key in ("path", "dataset", "domain", "captions", "pairs", "prompts") if data.get(key)]
    return " ".join([str(data.get("source", "unknown")), *dict.fromkeys(named)])


def _without_folders(value: Any) -> Any:
    """Name absolute paths by their last part, since they say nothing elsewhere."""
    if isinstance(value, Mapping):
        return {key: _without_folders(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(entry) for entry in value]
    return _shortened(value) if isinstance(value, str) else value


def _shortened(text: str) -> str:
    head, equals, tail = text.rpartition("=")
    return f"{head}{equals}{Path(tail).name}" if Path(tail).is_absolute() else text
