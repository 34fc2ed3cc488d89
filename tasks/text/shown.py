"""Prompts, references and replies beside each other, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from seqrl.tasks.text.pairs import Pairs


def write_replies(pairs: Pairs, replies: Sequence[str], scores: Sequence[float], folder: Path) -> list[Path]:
    """Write the first pairs with their replies as text and as a JSON object a line.

    Args:
        pairs: prompts and references.
        replies: to the first prompts.
        scores: what the reward pays for each.
        folder: made where it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shown, rows = [], []
    for prompt, references, reply, score in zip(pairs.prompts, pairs.references, replies, scores, strict=False):
        shown += [
            f"input      {prompt}",
            *(f"reference  {text}" for text in references),
            f"output     {reply}",
            f"score      {score:.3f}",
            "",
        ]
        rows.append({"prompt": prompt, "references": list(references), "output": reply, "score": score})
    text, lines = folder / "replies.txt", folder / "replies.jsonl"
    text.write_text("\n".join(shown), encoding="utf-8")
    lines.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return [text, lines]
