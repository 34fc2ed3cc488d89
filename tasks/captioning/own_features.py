"""Brings features of one's own to the images that they belong to, and keeps them as those of frozen eyes are kept."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from seqrl.metrics.limits import brief
from seqrl.tasks.captioning.cache import content_key, load_rows
from seqrl.tasks.captioning.feature_form import FeatureFile
from seqrl.tasks.captioning.features import in_16_bits
from seqrl.tasks.captioning.images import with_bar

_LOG = logging.getLogger(__name__)
_FEATURES_VERSION = 1
# An image as data sets name it: its id and its file's name.
Image = tuple[str, str]
# What a file of features may call an image; one way holds for the whole file.
_NAMINGS: tuple[Callable[[Image], str], ...] = (
    lambda image: image[0],
    lambda image: image[1],
    lambda image: PurePosixPath(image[1]).name,
    lambda image: PurePosixPath(image[1]).stem,
)


def rows_of_images(found: FeatureFile, splits: Mapping[str, Sequence[Image]], *, skip_missing: bool = False) -> dict[str, list[int | None]]:
    """Find the row of each image in a file of features.

    The file may call images by their ids, by their files' names, or by these without folder or ending; what finds the most is taken.

    Args:
        found: the file.
        splits: id and file name of each image of a split.
        skip_missing: give None for images without features instead of stopping.

    Raises:
        ValueError: when images have no features, or two have the same.
    """
    places = {name: row for row, name in enumerate(found.names)}
    images = [image for split in splits.values() for image in split]
    naming = max(_NAMINGS, key=lambda way: sum(way(image) in places for image in images))
    known = Counter(name for name in map(naming, images) if name in places)
    if not known:
        raise ValueError(
            f"{found.path}: these are features of other images: expected names such as {brief(images[0][1])}, "
            f"got {', '.join(map(brief, found.names[:3]))}; set `features` to the file of these images"
        )
    twice, times = known.most_common(1)[0]
    if times > 1:
        raise ValueError(
            f"{found.path}: {brief(twice)} stands for more than one image; name features by the images' ids, or with their folders"
        )
    rows = {split: [places.get(naming(image)) for image in part] for split, part in splits.items()}
    for split, part in splits.items():
        missing = [image[1] for image, row in zip(part, rows[split], strict=True) if row is None]
        if not missing:
            continue
        first = ", ".join(map(brief, missing[:3]))
        said = f"{split}: {len(missing)} of {len(part)} images have no features in {found.path}, the first: {first}"
        if not skip_missing:
            raise ValueError(f"{said}; add them, or set skip_broken_images: true")
        _LOG.warning("%s; they are left out", said)
    return rows


def load_own_features(found: FeatureFile, rows: Sequence[int]) -> Any:
    """Read the features of some images once, and map them from the cache afterwards.

    Args:
        found: the file.
        rows: N rows of it.

    Returns:
        float16 [N, R, D], read-only where mapped; where the number of regions varies, a mapping with these as `regions` and `mask`
        [N, R] bool.

    Raises:
        ValueError: when a number is not finite in 16 bits, naming the image.
        OSError: when the cache's disk lacks the space.
    """
    most = max(found.counts)
    file = found.path.stat()
    key = content_key("own features", _FEATURES_VERSION, str(found.path.resolve()), file.st_size, file.st_mtime_ns, most, list(rows))

    def make() -> Iterator[np.ndarray | None]:
        for row in with_bar(rows, f"features of {len(rows)} images"):
            given = found.row(row)
            if found.mask is not None:  # what does not count may be anything
                given = np.where(found.mask[row][:, None], given, 0)
            padded = np.zeros((most, found.dim), dtype=np.float16)
            padded[: len(given)] = in_16_bits(given, f"{found.path}, {brief(found.names[row])}")
            yield padded

    regions, _ = load_rows("features", key, [found.names[row] for row in rows], make, (most, found.dim), np.float16)
    if found.mask is None and min(found.counts) == most:
        return regions
    mask = np.arange(most) < np.array(found.counts)[list(rows), None] if found.mask is None else found.mask[list(rows)]
    return {"regions": regions, "mask": mask}
