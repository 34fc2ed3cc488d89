"""Pictures with their captions and scores, to look at: one PNG and one HTML page that holds everything in itself."""

from __future__ import annotations

import base64
import html
import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1c1c1c; background: #fafafa }
h1 { font-size: 1.3rem } .grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem }
figure { margin: 0; background: #fff; border: 1px solid #ddd; border-radius: 6px; padding: .8rem }
img { width: 100%; image-rendering: pixelated; border-radius: 4px } dt { font-weight: 600; margin-top: .5rem } dd { margin: 0 }
.score { color: #0b6e4f; font-variant-numeric: tabular-nums; float: right } details { margin-top: .6rem; color: #555 }
"""


@dataclass(frozen=True)
class GalleryItem:
    """One picture of a gallery.

    Attributes:
        name: the image's name.
        image: uint8 [3, S, S].
        captions: for each label, such as "before" and "after", a caption and its score.
        references: what people wrote.
    """

    name: str
    image: np.ndarray
    captions: Mapping[str, tuple[str, float]]
    references: Sequence[str]


def write_gallery(items: Sequence[GalleryItem], directory: Path, *, title: str = "Captions", metric: str = "CIDEr-D") -> list[Path]:
    """Write `gallery.png` and `gallery.html`.

    Args:
        items: what to show, at least one.
        directory: made where it does not exist.
        title: heading of the page.
        metric: name of the scores.

    Returns:
        The two files.

    Raises:
        ValueError: when there is nothing to show.
    """
    if not items:
        raise ValueError("expected at least one picture to show, got none")
    directory.mkdir(parents=True, exist_ok=True)
    page, picture = directory / "gallery.html", directory / "gallery.png"
    page.write_text(_page(items, title, metric), encoding="utf-8")
    _draw(items, picture, metric)
    return [picture, page]


def _draw(items: Sequence[GalleryItem], path: Path, metric: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(4, len(items))
    rows = -(-len(items) // columns)
    texts = [_text(item, metric) for item in items]
    text_height = 0.16 * (1 + max(text.count("\n") + 1 for text in texts))  # inches
    size = 3.4
    height = size + text_height
    figure, axes = pyplot.subplots(rows, columns, figsize=(size * columns, height * rows), squeeze=False)
    bottom = text_height / (height * rows)
    figure.subplots_adjust(left=0.01, right=0.99, top=1.0, bottom=bottom, wspace=0.04, hspace=text_height / size)
    for axis in axes.flat:
        axis.axis("off")
    for axis, item, text in zip(axes.flat, items, texts, strict=False):
        axis.imshow(item.image.transpose(1, 2, 0), interpolation="nearest")
        axis.text(0, -0.02, text, transform=axis.transAxes, fontsize=9, va="top", ha="left")
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def _text(item: GalleryItem, metric: str) -> str:
    """Labels, scores and captions, wrapped to the picture's width."""
    return "\n".join(
        textwrap.fill(f"{label} ({metric} {score:.2f}): {caption}", 46, subsequent_indent="   ")
        for label, (caption, score) in item.captions.items()
    )


def _page(items: Sequence[GalleryItem], title: str, metric: str) -> str:
    figures = "\n".join(_figure(item, metric) for item in items)
    heading = html.escape(title)
    return (
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{heading}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{heading}</h1><div class='grid'>\n{figures}\n</div></body></html>\n"
    )


def _figure(item: GalleryItem, metric: str) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(item.image.transpose(1, 2, 0))).save(buffer, format="PNG")
    source = base64.b64encode(buffer.getvalue()).decode()
    captions = "".join(
        f"<dt>{html.escape(label)} <span class='score'>{html.escape(metric)} {score:.2f}</span></dt><dd>{html.escape(caption)}</dd>"
        for label, (caption, score) in item.captions.items()
    )
    references = "".join(f"<li>{html.escape(text)}</li>" for text in item.references)
    return (
        f"<figure><img alt='{html.escape(item.name)}' src='data:image/png;base64,{source}'><dl>{captions}</dl>"
        f"<details><summary>references</summary><ul>{references}</ul></details></figure>"
    )
