"""What a file of features may hold: the form of its arrays, names and masks are checked before anything is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seqrl.metrics.limits import brief
from seqrl.metrics.text_files import refuse_twice


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


def from_array(path: Path, features: Any, names: Sequence[str], extra: Mapping[str, np.ndarray]) -> FeatureFile:
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
    refuse_twice(((name, f"row {row}") for row, name in enumerate(names)), "name", path)
    mask = _mask_of(path, extra, number, regions)
    return FeatureFile(path, list(names), [regions] * number, dim, mask, lambda row: np.asarray(features[row]).reshape(regions, dim))


def from_members(
    path: Path, members: Iterable[str], header: Callable[[str], tuple[Sequence[int], Any]], read: Callable[[str], Any]
) -> FeatureFile:
    """Describe a file of several arrays: `features` with `names`, or those of each image under its name.

    Args:
        path: of the file.
        members: names of the arrays.
        header: gives an array's shape and dtype.
        read: gives an array, or what reads its rows.

    Raises:
        ValueError: when there are none, or images differ in how many numbers a region has.
    """
    names = list(members)
    if "features" in names and "names" in names:
        extra: dict[str, np.ndarray] = {name: np.asarray(read(name)[...]) for name in ("counts", "mask") if name in names}
        return from_array(path, read("features"), _texts(path, np.asarray(read("names")[...])), extra)
    if not names:
        raise ValueError(f"{path}: expected features under the images' names, found none")
    forms = [check_form(f"{path}, {brief(name)}", *header(name), first=0) for name in names]
    counts, dim = [count for count, _ in forms], forms[0][1]
    other = next((row for row, form in enumerate(forms) if form[1] != dim), None)
    if other is not None:
        raise ValueError(
            f"{path}: expected as many numbers a region in every image, got {dim} in {names[0]} and {forms[other][1]} in {names[other]}"
        )
    return FeatureFile(path, names, counts, dim, None, lambda row: np.asarray(read(names[row])[...]).reshape(counts[row], dim))


def _texts(path: Path, names: np.ndarray) -> list[str]:
    found = names.tolist()
    # In HDF5, texts of varying length come as Python's bytes; anything else that is an object is refused.
    if names.ndim != 1 or not (
        names.dtype.kind in "US" or (names.dtype.hasobject and all(isinstance(name, bytes | str) for name in found))
    ):
        raise ValueError(f"{path}, names: expected a list of texts, got {names.dtype} {list(names.shape)}; save them as np.array(names)")
    return [name.decode("utf-8", "replace") if isinstance(name, bytes) else name for name in found]


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
