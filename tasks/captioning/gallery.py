"""Pictures with their captions and scores, to look at: one PNG and one HTML page that holds everything in itself."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from seqrl.tasks.captioning.data import CaptionSplit
from seqrl.tasks.captioning.gallery_drawing import Labelled, draw_gallery

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1c1c1c; background: #fafafa }
h1 { font-size: 1.3rem } .grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem }
figure { margin: 0; background: #fff; border: 1px solid #ddd; border-radius: 6px; padding: .8rem }
img { width: 100%; image-rendering: pixelated; border-radius: 4px } dt { font-weight: 600; margin-top: .5rem } dd { margin: 0 }
.score { color: #0b6e4f; font-variant-numeric: tabular-nums; float: right } details { margin-top: .6rem; color: #555 }
s { color: #c62828; text-decoration-thickness: 2px }
"""


@dataclass(frozen=True)
class Captioned:
    """A caption of a gallery.

    Attributes:
        caption: words with spaces between them.
        score: of this caption.
        wrong: places of the words, from 0, that say what is not so; they are struck out in red.
    """

    caption: str
    score: float
    wrong: frozenset[int] = frozenset()

    def words(self) -> list[tuple[str, bool]]:
        """Give each word, and whether it is wrong."""
        return [(word, place in self.wrong) for place, word in enumerate(self.caption.split())]


def write_gallery(
    split: CaptionSplit,
    columns: Mapping[str, Sequence[Captioned]],
    directory: Path,
    *,
    title: str = "Captions",
    num_drawn: int | None = None,
) -> list[Path]:
    """Write `gallery.png` and `gallery.html`.

    Args:
        split: whose first images are shown, at least one.
        columns: captions of these images, with their CIDEr-D, for each label, such as "before" and "after".
        directory: made where it does not exist.
        title: heading of the page.
        num_drawn: how many of the images the PNG shows; all by default.

    Returns:
        The two files.

    Raises:
        ValueError: when there is nothing to show.
    """
    number = min(map(len, columns.values()), default=0)
    if not number:
        raise ValueError("expected at least one picture to show, got none")
    directory.mkdir(parents=True, exist_ok=True)
    page, picture = directory / "gallery.html", directory / "gallery.png"
    shown = [
        (split.picture(index), [(label, f"CIDEr-D {texts[index].score:.2f}", texts[index].words()) for label, texts in columns.items()])
        for index in range(number)
    ]
    figures = [_figure(split.image_ids[index], *item, split.references[index]) for index, item in enumerate(shown)]
    heading, grid = html.escape(title), "\n".join(figures)
    page.write_text(
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{heading}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{heading}</h1><div class='grid'>\n{grid}\n</div></body></html>\n",
        encoding="utf-8",
    )
    draw_gallery(shown[:num_drawn], picture)
    return [picture, page]


def _figure(name: str, image: np.ndarray, labelled: Sequence[Labelled], texts: Sequence[str]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(buffer, format="PNG")
    source = base64.b64encode(buffer.getvalue()).decode()
    captions = "".join(
        f"<dt>{html.escape(label)} <span class='score'>{html.escape(score)}</span></dt><dd>{_marked(words)}</dd>"
        for label, score, words in labelled
    )
    references = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
    return (
        f"<figure><img alt='{html.escape(name)}' src='data:image/png;base64,{source}'><dl>{captions}</dl>"
        f"<details><summary>references</summary><ul>{references}</ul></details></figure>"
    )


def _marked(words: Sequence[tuple[str, bool]]) -> str:
    """Write words, those that are wrong struck out."""
    return " ".join(f"<s>{html.escape(word)}</s>" if wrong else html.escape(word) for word, wrong in words)
