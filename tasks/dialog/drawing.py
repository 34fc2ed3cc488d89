"""Draws a dialog as one picture: a row a turn with what was said, heard and believed, and what it earned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from seqrl.tasks.fonts import fit_text, load_font

WIDTH, MARGIN, LINE = 1000, 12, 18
SAID, BARS, BAR, PAID = 90, 600, 150, 930  # left edges of columns, and the width of a certain belief
# Okabe and Ito's colours, which colour-blind readers can tell apart.
INK, FAINT, RULE, BELIEF, WRONG, WELL = "#181820", "#777780", "#d8d8dc", "#56B4E9", "#D55E00", "#009E73"


@dataclass(frozen=True)
class Turn:
    """A turn of the system and of the user.

    Attributes:
        act: of the system, as acts are written; "" before its first one.
        text: in words.
        said: the user's act.
        heard: what the system took it for.
        score: its confidence.
        beliefs: after it, (slot, value, share) of what is believed most.
        reward: paid for the turn; None before the system's first act.
    """

    act: str
    text: str
    said: str
    heard: str
    score: float
    beliefs: list[tuple[str, str, float]] = field(default_factory=list)
    reward: float | None = None


def draw_dialog(goal: str, turns: Sequence[Turn]) -> NDArray[np.uint8]:
    """Draw a dialog so far, [H, 1000, 3] uint8; the height grows with the turns.

    What was heard stands in another colour where it is not what was said.

    Args:
        goal: what the user wants.
        turns: of the dialog, the first one the user's alone.
    """
    heights = [max(len(_said(turn)), len(turn.beliefs)) * LINE + MARGIN for turn in turns]
    picture = Image.new("RGB", (WIDTH, (sum(heights) + 3 * MARGIN + 2 * LINE) // 2 * 2), "white")
    pen, top = ImageDraw.Draw(picture), MARGIN
    pen.text((MARGIN, top), "goal", FAINT, load_font(12))
    pen.text((SAID, top), goal, INK, load_font(12, bold=True))
    top += LINE + MARGIN // 2
    for turn, height in zip(turns, heights, strict=True):
        pen.line((MARGIN, top, WIDTH - MARGIN, top), RULE)
        _draw_turn(pen, turn, top + MARGIN // 2)
        top += height
    pen.line((MARGIN, top, WIDTH - MARGIN, top), RULE)
    total = sum(turn.reward or 0.0 for turn in turns)
    pen.text((BARS, top + MARGIN // 2), f"{len(turns) - 1} turns of the system", FAINT, load_font(12))
    pen.text((PAID, top + MARGIN // 2), f"{total:+g}", WELL if total > 0 else WRONG, load_font(12, bold=True))
    return np.asarray(picture)


def _said(turn: Turn) -> list[tuple[str, str, str]]:
    """List a turn's lines: who, what, and its colour."""
    system = [("system", turn.text or turn.act, INK), ("", turn.act, FAINT)] if turn.act else []
    if not turn.said:
        return system
    heard = f"{turn.heard}  {turn.score:.2f}"
    return [*system, ("user", turn.said, INK), ("heard", heard, FAINT if turn.heard == turn.said else WRONG)]


def _draw_turn(pen: ImageDraw.ImageDraw, turn: Turn, top: int) -> None:
    for row, (who, what, colour) in enumerate(_said(turn)):
        pen.text((MARGIN, top + row * LINE), who, FAINT, load_font(12))
        pen.text((SAID, top + row * LINE), fit_text(what, load_font(12), BARS - SAID - MARGIN), colour, load_font(12))
    for row, (slot, value, share) in enumerate(turn.beliefs):
        line = top + row * LINE
        pen.rectangle((BARS, line + 2, BARS + max(1, round(BAR * share)), line + LINE - 3), fill=BELIEF)
        pen.text((BARS + 4, line), f"{slot} {value}", INK, load_font(12))
        pen.text((BARS + BAR + MARGIN, line), f"{share:.2f}", FAINT, load_font(12))
    if turn.reward is not None:
        pen.text((PAID, top), f"{turn.reward:+g}", WELL if turn.reward > 0 else FAINT, load_font(12))
