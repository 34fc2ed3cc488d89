"""What a file of features may hold: the form of its arrays, names and masks are checked before anything is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seqrl.metrics.limits import brief


@dataclass(frozen=True)
class FeatureFile:
    """The features of M images, not yet read.

    Attributes:
        path: of the file.
        names: M distinct names.
        counts: regions of each image.
        dim: D, numbers of a region.
        mask: [M, R] bool, the regions that count, where the file says so.
        row: reads the features [regions, D] of an image by its number.
    """

    path: Path
    names: list[str]
    counts: list[int]
    dim: int
    mask: np.ndarray | None
    row: Callable[[int], np.ndarray]


def check_form(place: str, shape: Sequence[int], dtype: Any, *, first: int) -> tuple[int, int]:
    """Check the form of an array of features; give its regions R and numbers D of a region.

    Args:
        place: named in messages.
        shape: [D], [R, D] or [H, W, D] after the first axes.
        dtype: of its numbers.
        first: how many axes come before: 1 where images do.

    Raises:
        ValueError: when it has another form, holds nothing, or other things than real numbers.
    """
    if np.dtype(dtype).kind != "f":
        raise ValueError(f"{place}: expected real numbers (float16, float32 or float64), got {np.dtype(dtype)}; convert them")
    form = tuple(shape[first:])
    if not 1 <= len(form) <= 3 or not math.prod(shape):
        wanted = ", ".join(f"[{'N, ' * first}{rest}]" for rest in ("D", "R, D", "H, W, D"))
        raise ValueError(f"{place}: expected features {wanted}, none of them 0, got {list(shape)}")
    return math.prod(form[:-1]), form[-1]


def from_arrays(path: Path, features: Any, names: Sequence[str], extra: Mapping[str, np.ndarray]) -> FeatureFile:
    """Describe features that stand in one array, [M, ...].

    Args:
        path: of the file.
        features: array or HDF5 data set, of which rows are read.
        names: M names.
        extra: perhaps `counts` or `mask`.

    Raises:
        ValueError: when they do not belong together.
    """
    regions, dim = check_form(f"{path}, features", features.shape, features.dtype, first=1)
    number = features.shape[0]
    if len(names) != number:
        raise ValueError(f"{path}: expected a name for each of {number} images, got {len(names)}")
    refuse_same_names(path, names)
    mask = _mask_of(path, extra, number, regions)

    def row(index: int) -> np.ndarray:
        return np.asarray(features[index]).reshape(regions, dim)

    return FeatureFile(path, list(names), [regions] * number, dim, mask, row)


def from_parts(path: Path, forms: Mapping[str, tuple[int, int]], read: Callable[[str], np.ndarray]) -> FeatureFile:
    """Describe features that stand under the images' names.

    Args:
        path: of the file.
        forms: regions and numbers of each image's features.
        read: gives an image's features in any of the forms.

    Raises:
        ValueError: when there are none, or images differ in how many numbers a region has.
    """
    if not forms:
        raise ValueError(f"{path}: expected features under the images' names, found none")
    names = list(forms)
    dim = forms[names[0]][1]
    other = next((name for name in names if forms[name][1] != dim), None)
    if other is not None:
        raise ValueError(
            f"{path}: expected as many numbers a region in every image, got {dim} in {names[0]} and {forms[other][1]} in {other}"
        )
    counts = [forms[name][0] for name in names]
    return FeatureFile(path, names, counts, dim, None, lambda index: read(names[index]).reshape(counts[index], dim))


def refuse_same_names(path: Path, names: Sequence[str]) -> None:
    """Refuse names of which one comes twice."""
    if len(set(names)) < len(names):
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"{path}: expected every name once, got {brief(twice)} twice")


def check_names(path: Path, names: Any) -> list[str]:
    """Give names out of an array of texts."""
    array = np.asarray(names)
    if array.ndim != 1 or array.dtype.kind not in "US":
        raise ValueError(f"{path}, names: expected a list of texts, got {array.dtype} {list(array.shape)}; save them as np.array(names)")
    return [name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in array.tolist()]


def _mask_of(path: Path, extra: Mapping[str, np.ndarray], number: int, regions: int) -> np.ndarray | None:
    if "counts" in extra:
        counts = np.asarray(extra["counts"])
        if counts.shape != (number,) or counts.dtype.kind not in "iu" or counts.min() < 1 or counts.max() > regions:
            raise ValueError(
                f"{path}, counts: expected {number} whole numbers from 1 to {regions}, got {counts.dtype} {brief(counts.tolist())}"
            )
        return np.asarray(np.arange(regions) < counts[:, None])
    if "mask" not in extra:
        return None
    mask = np.asarray(extra["mask"])
    if mask.shape != (number, regions) or mask.dtype != np.bool_ or not mask.any(axis=1).all():
        raise ValueError(
            f"{path}, mask: expected bool [{number}, {regions}] with a region that counts in every row, got {mask.dtype} {list(mask.shape)}"
        )
    return mask
