"""Draws pictures with captions beneath them as one PNG that can be read at half its size, as on a project's front page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from seqrl.tasks.fonts import load_font

Word = tuple[str, bool]  # and whether it is wrong
Labelled = tuple[str, str, Sequence[Word]]  # a label, a score and a caption

MAX_COLUMNS = 3
PICTURE, GAP, FONT_SIZE = 400, 28, 19  # pixels
LINE, LABEL_SPACE = 25, 8
INK, PALE, GOOD, WRONG, PAPER = "#1c1c1c", "#767676", "#0b6e4f", "#c62828", "#ffffff"


def draw_gallery(items: Sequence[tuple[np.ndarray, Sequence[Labelled]]], path: Path) -> None:
    """Draw pictures in rows, under each its captions; what is wrong in one is red and struck out.

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
