"""Writes a figure as a PNG of few colours, which a repository can hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def write_small_png(figure: Any, path: Path, *, dpi: int = 90) -> None:
    """Draw a figure of matplotlib and write it with 96 colours.

    Args:
        figure: a `matplotlib.figure.Figure`.
        path: of the PNG.
        dpi: dots an inch.
    """
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(dpi)
    canvas.draw()
    Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()).quantize(96).save(path, optimize=True)
