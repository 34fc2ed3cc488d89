"""Score hypotheses against references: seqrl score HYPOTHESES REFERENCES."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqrl.metrics.by_name import METRICS, metric_by_name
from seqrl.metrics.tokenize import ptb_tokenize

SHOWN = ("cider_d", "bleu1", "bleu2", "bleu3", "bleu4", "rouge_l")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("hypotheses", type=Path, help="text, one a line; JSON list, {id: text}, or COCO results")
    parser.add_argument(
        "references", type=Path, help="text, one item a line, tabs between; JSON list of lists, {id: [text]}, or COCO captions"
    )
    parser.add_argument("--metrics", default=",".join(SHOWN), help=f"names with commas between: {', '.join(METRICS)}")
    parser.add_argument("--json", type=Path, help="also write the corpus figures and each hypothesis's scores to this file")


def run(args: argparse.Namespace) -> int:
    """Print a table of corpus figures."""
    hypotheses, references = read_pairs(args.hypotheses, args.references)
    figures: dict[str, float] = {}
    scores: dict[str, list[float]] = {}
    for name in args.metrics.split(","):
        metric = metric_by_name(name)
        figures[name] = metric.corpus(hypotheses, references)
        if args.json:
            scores[name] = [float(score) for score in metric.score(hypotheses, references)]
    width = max(map(len, figures))
    print(f"{len(hypotheses)} hypotheses, {sum(map(len, references))} references")
    for name, figure in figures.items():
        print(f"  {name:<{width}}  {figure:.4f}")
    if args.json:
        args.json.write_text(json.dumps({"corpus": figures, "scores": scores}, indent=1) + "\n", encoding="utf-8")
    return 0


def read_pairs(hypotheses_path: Path, references_path: Path) -> tuple[list[list[str]], list[list[list[str]]]]:
    """Read hypotheses and their references, matched by place or by id, split into words as coco-caption does.

    Args:
        hypotheses_path: one a line, or JSON: a list of texts, {id: text}, or COCO results [{image_id, caption}].
        references_path: one item a line with tabs between its references, or JSON: a list of lists of texts,
            {id: [text]}, or COCO captions {annotations: [{image_id, caption}]}.

    Raises:
        FileNotFoundError: when a file is missing.
        ValueError: when the files do not fit each other, or an item has no reference, naming it.
    """
    hypotheses = _keyed(_read(hypotheses_path), hypotheses_path, many=False)
    references = _keyed(_read(references_path), references_path, many=True)
    by_place = all(isinstance(key, int) for key in (*hypotheses, *references))
    if by_place and len(hypotheses) != len(references):
        raise ValueError(
            f"{hypotheses_path} has {len(hypotheses)} items, {references_path} {len(references)}; expected as many, in the same order"
        )
    for key in hypotheses:
        if key not in references:
            raise ValueError(f"{references_path}: no references for {key!r}, which {hypotheses_path} has")
    for key in hypotheses:
        if not references[key] or not all(words for words in references[key]):
            raise ValueError(f"{references_path}: item {_place(key)} has no reference, or an empty one")
    if not hypotheses:
        raise ValueError(f"{hypotheses_path}: holds no hypothesis")
    return [hypotheses[key][0] for key in hypotheses], [references[key] for key in hypotheses]


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: there is no such file") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text: {error}") from error
    if path.suffix.lower() != ".json":
        return text.splitlines()
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON: {error}") from error


def _keyed(content: Any, path: Path, *, many: bool) -> dict[int | str, list[list[str]]]:
    """Give the tokenised texts of each item, by place or by id."""
    if isinstance(content, dict) and "annotations" in content:
        content = content["annotations"]
    items: dict[int | str, list[str]] = {}
    if isinstance(content, dict):
        items = {str(key): _texts(value, path, str(key), many=many) for key, value in content.items()}
    elif isinstance(content, list) and content and all(isinstance(entry, dict) for entry in content):
        for place, entry in enumerate(content):
            if "image_id" not in entry or "caption" not in entry:
                raise ValueError(f"{path}: entry {place + 1} lacks image_id or caption")
            items.setdefault(str(entry["image_id"]), []).extend(_texts(entry["caption"], path, str(entry["image_id"]), many=False))
    elif isinstance(content, list):
        for place, entry in enumerate(content):
            texts = entry.split("\t") if many and isinstance(entry, str) and path.suffix.lower() != ".json" else entry
            items[place] = _texts(texts, path, place, many=many)
    else:
        raise ValueError(f"{path}: expected a list or a mapping, got {type(content).__name__}")
    doubled = [key for key, texts in items.items() if not many and len(texts) > 1]
    if doubled:
        raise ValueError(f"{path}: {doubled[0]!r} has {len(items[doubled[0]])} hypotheses; expected one an item")
    return {key: [ptb_tokenize(text) for text in texts] for key, texts in items.items()}


def _texts(value: Any, path: Path, key: int | str, *, many: bool) -> list[str]:
    texts: Sequence[Any] = value if many and isinstance(value, list) else [value]
    if many and not isinstance(value, list):
        raise ValueError(f"{path}: item {_place(key)}: expected a list of texts, got {type(value).__name__}")
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f"{path}: item {_place(key)}: expected text, got {type(text).__name__} {text!r}")
    return list(texts)


def _place(key: int | str) -> str:
    return str(key + 1) if isinstance(key, int) else repr(key)
