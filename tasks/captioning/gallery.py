"""Pictures with their captions and scores, to look at: one PNG and one HTML page that holds everything in itself."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from seqrl.tasks.captioning.data import CaptionSplit
from seqrl.tasks.fonts import load_font

Word = tuple[str, bool]  # and whether it is wrong
Labelled = tuple[str, str, Sequence[Word]]  # a label, a score and a caption

_PAGE = Path(__file__).with_name("gallery.html")
MAX_COLUMNS = 3
PICTURE, GAP, FONT_SIZE = 400, 28, 19  # pixels
LINE, LABEL_SPACE = 25, 8
INK, PALE, GOOD, WRONG, PAPER = "#1c1c1c", "#767676", "#0b6e4f", "#c62828", "#ffffff"


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
    page.write_text(Template(_PAGE.read_text(encoding="utf-8")).substitute(heading=heading, grid=grid), encoding="utf-8")
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


def draw_gallery(items: Sequence[tuple[np.ndarray, Sequence[Labelled]]], path: Path) -> None:
    """Draw pictures in rows, under each its captions, as one PNG that can be read at half its size; what is wrong is red and struck out.

    Args:
        items: picture, uint8 [3, S, S], and its captions.
        path: the PNG.
    """
    regular, bold = (load_font(FONT_SIZE, bold=bold) for bold in (False, True))
    wrapped = [[(label, score, wrap(words, regular, PICTURE)) for label, score, words in captions] for _, captions in items]
    columns = min(MAX_COLUMNS, len(items))
    rows = [range(start, min(start + columns, len(items))) for start in range(0, len(items), columns)]
    heights = [PICTURE + max(_height(wrapped[index]) for index in row) + GAP for row in rows]
    page = Image.new("RGB", (columns * (PICTURE + GAP) + GAP, sum(heights) + GAP), PAPER)
    draw, top = ImageDraw.Draw(page), GAP
    for row, height in zip(rows, heights, strict=True):
        for column, index in enumerate(row):
            left = GAP + column * (PICTURE + GAP)
            page.paste(_enlarged(items[index][0]), (left, top))
            _write(draw, left, top + PICTURE, wrapped[index], regular, bold)
        top += height
    page.save(path)


def wrap(words: Sequence[Word], font: ImageFont.FreeTypeFont, width: float) -> list[list[Word]]:
    """Break words into lines of at most `width` pixels; a longer word gets a line of its own."""
    lines: list[list[Word]] = []
    for word in words:
        if lines and font.getlength(" ".join(text for text, _ in [*lines[-1], word])) <= width:
            lines[-1].append(word)
        else:
            lines.append([word])
    return lines


def _height(captions: Sequence[tuple[str, str, list[list[Word]]]]) -> int:
    return sum(LABEL_SPACE + LINE * (1 + len(lines)) for _, _, lines in captions)


def _write(
    draw: ImageDraw.ImageDraw,
    left: int,
    top: int,
    captions: Sequence[tuple[str, str, list[list[Word]]]],
    regular: ImageFont.FreeTypeFont,
    bold: ImageFont.FreeTypeFont,
) -> None:
    for number, (label, score, lines) in enumerate(captions):
        top += LABEL_SPACE
        draw.text((left, top), label, fill=GOOD if number else PALE, font=bold)
        draw.text((left + PICTURE - regular.getlength(score), top), score, fill=GOOD if number else PALE, font=regular)
        for line in lines:
            top += LINE
            _write_line(draw, left, top, line, regular)
        top += LINE


def _write_line(draw: ImageDraw.ImageDraw, left: float, top: int, line: Sequence[Word], font: ImageFont.FreeTypeFont) -> None:
    space, middle = font.getlength(" "), top + round(0.62 * FONT_SIZE)
    for place, (text, wrong) in enumerate(line):
        draw.text((left, top), text, fill=WRONG if wrong else INK, font=font)
        right = left + font.getlength(text)
        if wrong:
            # One stroke through neighbours that are both wrong.
            end = right + space if place + 1 < len(line) and line[place + 1][1] else right
            draw.line((left, middle, end, middle), fill=WRONG, width=2)
        left = right + space


def _enlarged(picture: np.ndarray) -> Image.Image:
    """Scale to PICTURE pixels; of small pictures each pixel stays a square."""
    image = Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0)))
    small = max(image.size) * 2 <= PICTURE
    return image.resize((PICTURE, PICTURE), Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS)
