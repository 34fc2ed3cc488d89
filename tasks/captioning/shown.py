"""What a policy is shown of the images of every split: pictures, what frozen eyes saw of them, or features of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from seqrl.tasks.captioning.data_config import DataConfig
from seqrl.tasks.captioning.feature_files import open_features
from seqrl.tasks.captioning.features import Eyes, load_features
from seqrl.tasks.captioning.image_stores import DrawnStore, ImageStore
from seqrl.tasks.captioning.images import Prepare, decode_image, load_images
from seqrl.tasks.captioning.own_features import load_own_features, rows_of_images

# Pixels of a photograph that a gallery shows where training needs none.
_SHOWN_SIZE = 224
# The fields of a `CaptionSplit` that hold images, and which of the images are kept.
Shown = tuple[dict[str, Any], list[bool]]


def load_shown(
    config: DataConfig,
    stores: Mapping[str, ImageStore],
    images: Mapping[str, Sequence[tuple[str, str]]],
    *,
    prepare: Prepare | None = None,
    eyes: Eyes | None = None,
    mirrored: bool = False,
) -> dict[str, Shown]:
    """Load what a policy is shown of every split.

    Args:
        config: of the data.
        stores: where the images of a split are.
        images: id and file name of each.
        prepare: makes what is stored of photographs; squares of `image_size` pixels when None.
        eyes: frozen ones, whose features take the place of the images.
        mirrored: also compute their features of the mirrored training images.
    """
    size = config.image_size if config.source == "scenes" else _SHOWN_SIZE
    if config.features:
        return _own_features(config, stores, images, size)
    skip, shown = config.skip_broken_images, dict[str, Shown]()
    for split, part in images.items():
        store, names = stores[split], [name for _, name in part]
        if eyes is not None:
            features, kept = load_features(store, names, eyes, skip_broken=skip)
            whole = [name for name, keep in zip(names, kept, strict=True) if keep]
            shown[split] = {"images": features, "pictures": partial(_picture, store, whole, size)}, kept
            if mirrored and split == "train":
                shown[split][0]["mirrored"] = load_features(store, whole, eyes, mirrored=True)[0]
        elif prepare is None and isinstance(store, DrawnStore):
            shown[split] = {"images": store.pictures[: len(names)]}, [True] * len(names)
        else:
            pictures, kept = load_images(store, names, config.image_size, skip_broken=skip, prepare=prepare)
            shown[split] = {"images": pictures}, kept
    return shown


def _own_features(
    config: DataConfig, stores: Mapping[str, ImageStore], images: Mapping[str, Sequence[tuple[str, str]]], size: int
) -> dict[str, Shown]:
    shown = {}
    with open_features(config.feature_file()) as file:
        rows = rows_of_images(file, images, skip_missing=config.skip_broken_images)
        for split, part in images.items():
            kept = [row is not None for row in rows[split]]
            names = [name for (_, name), keep in zip(part, kept, strict=True) if keep]
            features = load_own_features(file, [row for row in rows[split] if row is not None])
            shown[split] = ({"images": features, "pictures": partial(_picture, stores[split], names, size)}, kept)
    return shown


def _picture(store: ImageStore, names: Sequence[str], size: int, index: int) -> np.ndarray:
    """Give a photograph to be looked at; grey where there are only features of it."""
    if store.missing([names[index]]):
        return np.full((3, size, size), 200, dtype=np.uint8)
    return decode_image(store.read(names[index]), size)
