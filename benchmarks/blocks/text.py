"""Puts numbers and tables into words."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Lay out a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return (
        "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
        .replace("| --- |", "|---|")
        .replace(" --- |", "---|")
    )


def number(value: float, digits: int = 0) -> str:
    """Write a number with so many digits after the point; a minus sign is no hyphen's width shorter."""
    text = f"{value:,.{digits}f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text


def each(values: Sequence[float], digits: int = 0) -> str:
    """List values with commas."""
    return ", ".join(number(value, digits) for value in values)


def span(values: Sequence[float], digits: int = 0) -> str:
    """Give the smallest and the largest value; one of them where they look alike."""
    low, high = number(min(values), digits), number(max(values), digits)
    return low if low == high else f"{low} to {high}"


def mean(values: Sequence[float], digits: int = 0) -> str:
    """Give the mean."""
    return number(statistics.fmean(values), digits)


def mean_and_span(values: Sequence[float], digits: int = 0) -> str:
    """Give the mean and, in brackets, the smallest and the largest value."""
    middle, ends = mean(values, digits), span(values, digits)
    return middle if middle == ends else f"{middle} ({ends})"


def rounded(value: float, figures: int = 2) -> str:
    """Write a number with so many significant figures, as a whole number."""
    return f"{float(f'{value:.{figures}g}'):,.0f}"


def rounded_span(values: Sequence[float], figures: int = 2) -> str:
    """Give the smallest and the largest value with so many significant figures."""
    low, high = rounded(min(values), figures), rounded(max(values), figures)
    return low if low == high else f"{low} to {high}"
