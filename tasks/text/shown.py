"""Prompts, references and replies before and after a training beside each other, for people and for programs."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

from seqrl.metrics.cache_files import atomic_write
from seqrl.tasks.text.pairs import Pairs
from seqrl.tasks.text.slots import Slots

_PAGE = Path(__file__).with_name("replies.html")


@dataclass(frozen=True)
class Written:
    """Replies to the first prompts, what the reward pays for each, and columns that its functions logged by `log_extra`."""

    texts: Sequence[str]
    scores: Sequence[float]
    extra: Mapping[str, Sequence[Any]] = field(default_factory=dict)


def write_rows(pairs: Pairs, columns: Mapping[str, Written], path: Path) -> Path:
    """Write a JSON object a line: prompt, references, and for each column, such as `before` and `after`, the reply and its score.

    Args:
        pairs: prompts and references.
        columns: replies to the first prompts, by name.
        path: replaced as a whole.
    """
    count = min(len(written.texts) for written in columns.values())
    lines = []
    for index in range(count):
        row: dict[str, Any] = {"prompt": pairs.prompts[index], "references": list(pairs.references[index])}
        row |= {name: written.texts[index] for name, written in columns.items()}
        row |= {f"{name}_score": _number(written.scores[index]) for name, written in columns.items()}
        extra = [(f"{name}_{key}", values) for name, written in columns.items() for key, values in written.extra.items()]
        row |= {key: values[index] for key, values in extra if len(values) == count}
        lines.append(json.dumps(row, ensure_ascii=False, default=str) + "\n")
    with atomic_write(path) as file:
        file.write("".join(lines).encode())
    return path


def _number(score: float) -> float | None:
    return None if math.isnan(score) else float(score)  # JSON knows no NaN


def write_replies(pairs: Pairs, columns: Mapping[str, Written], slots: Slots, folder: Path) -> list[Path]:
    """Write the first pairs with their replies as text, as a page, and as a JSON object a line.

    Args:
        pairs: prompts and references.
        columns: replies to the first prompts, by name.
        slots: are marked.
        folder: made where it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = min(len(written.texts) for written in columns.values())
    text, page = folder / "replies.txt", folder / "replies.html"
    text.write_text("\n".join(_as_text(pairs, columns, slots, index) for index in range(count)), encoding="utf-8")
    head = "".join(f"<th>{name}</th>" for name in ("input", "references", *columns))
    rows = "\n".join(_as_row(pairs, columns, slots, index) for index in range(count))
    page.write_text(Template(_PAGE.read_text(encoding="utf-8")).substitute(head=head, rows=rows), encoding="utf-8")
    return [text, page, write_rows(pairs, columns, folder / "replies.jsonl")]


def _as_text(pairs: Pairs, columns: Mapping[str, Written], slots: Slots, index: int) -> str:
    prompt, references = pairs.prompts[index], pairs.references[index]
    wanted, lines = slots.wanted(prompt, references), [f"input      {slots.marked(prompt)}"]
    lines += [f"reference  {slots.marked(text)}" for text in references]
    for name, written in columns.items():
        reply = written.texts[index]
        missing = sorted(wanted - set(reply.split()))
        left_out = f"  (left out: {', '.join(missing)})" if missing else ""
        lines.append(f"{name:9}  {slots.marked(reply, wanted)}  {written.scores[index]:.3f}{left_out}")
    return "\n".join([*lines, ""])


def _as_row(pairs: Pairs, columns: Mapping[str, Written], slots: Slots, index: int) -> str:
    prompt, references = pairs.prompts[index], pairs.references[index]
    wanted = slots.wanted(prompt, references)
    cells = [_coloured(prompt, slots, None), "<br>".join(_coloured(text, slots, None) for text in references)]
    for written in columns.values():
        reply = written.texts[index]
        missing = " ".join(sorted(wanted - set(reply.split())))
        left_out = f' <span class="missing">left out: {html.escape(missing)}</span>' if missing else ""
        cells.append(f'{_coloured(reply, slots, wanted)}<br><span class="score">{written.scores[index]:.3f}</span>{left_out}')
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _coloured(text: str, slots: Slots, wanted: set[str] | None) -> str:
    """Write words as HTML, slots with a colour behind them."""
    words = []
    for word in text.split(" "):
        shown, kind = html.escape(word), slots.kind(word, wanted)
        words.append(f'<mark class="{kind}">{shown}</mark>' if kind else shown)
    return " ".join(words)
