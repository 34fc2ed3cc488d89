"""The font of everything that tasks draw."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from PIL import ImageFont


@cache
def load_font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Load the font that comes with matplotlib, so that every machine draws the same; it knows more signs than Pillow's.

    Args:
        size: pixels.
        bold: whether strokes are thick.
    """
    from matplotlib import get_data_path

    return ImageFont.truetype(str(Path(get_data_path(), "fonts", "ttf", f"DejaVuSans{'-Bold' if bold else ''}.ttf")), size)


def fit_text(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """Shorten a text to a width in pixels, with an ellipsis where something was left out."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
