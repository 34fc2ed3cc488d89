"""What a policy is shown of the images of every split: pictures, what frozen eyes saw of them, or features of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from seqrl.tasks.captioning.data_config import DataConfig
from seqrl.tasks.captioning.feature_files import open_features
from seqrl.tasks.captioning.features import Eyes, load_features
from seqrl.tasks.captioning.image_stores import ImageStore
from seqrl.tasks.captioning.images import Prepare, decode_image, load_images
from seqrl.tasks.captioning.own_features import load_own_features, rows_of_images

# Pixels of a photograph that a gallery shows where training needs none.
_SHOWN_SIZE = 224
# The fields of a `CaptionSplit` that hold images, and which of the images are kept.
Shown = tuple[dict[str, Any], list[bool]]


@dataclass(frozen=True)
class Showing:
    """Loads what a policy is shown.

    Attributes:
        config: of the data.
        prepare: makes what is stored of photographs; squares of `image_size` pixels when None.
        eyes: frozen ones, whose features take the place of the images.
        mirrored: also compute their features of the mirrored training images.
    """

    config: DataConfig
    prepare: Prepare | None = None
    eyes: Eyes | None = None
    mirrored: bool = False

    def load(self, stores: Mapping[str, ImageStore], images: Mapping[str, Sequence[tuple[str, str]]]) -> dict[str, Shown]:
        """Load every split.

        Args:
            stores: where the images of a split are.
            images: id and file name of each.
        """
        if self.config.features:
            return self._own_features(stores, images)
        return {split: self._seen(split, stores[split], [name for _, name in part]) for split, part in images.items()}

    @property
    def _size(self) -> int:
        return self.config.image_size if self.config.source == "scenes" else _SHOWN_SIZE

    def _seen(self, split: str, store: ImageStore, names: Sequence[str]) -> Shown:
        skip = self.config.skip_broken_images
        if self.eyes is None:
            images, kept = load_images(store, names, self.config.image_size, skip_broken=skip, prepare=self.prepare)
            return {"images": images}, kept
        features, kept = load_features(store, names, self.eyes, skip_broken=skip)
        whole = [name for name, keep in zip(names, kept, strict=True) if keep]
        found: dict[str, Any] = {"images": features, "pictures": partial(_picture, store, whole, self._size)}
        if self.mirrored and split == "train":
            found["mirrored"] = load_features(store, whole, self.eyes, mirrored=True)[0]
        return found, kept

    def _own_features(self, stores: Mapping[str, ImageStore], images: Mapping[str, Sequence[tuple[str, str]]]) -> dict[str, Shown]:
        shown = {}
        with open_features(self.config.feature_file()) as file:
            rows = rows_of_images(file, images, skip_missing=self.config.skip_broken_images)
            for split, part in images.items():
                kept = [row is not None for row in rows[split]]
                names = [name for (_, name), keep in zip(part, kept, strict=True) if keep]
                features = load_own_features(file, [row for row in rows[split] if row is not None])
                shown[split] = ({"images": features, "pictures": partial(_picture, stores[split], names, self._size)}, kept)
        return shown


def _picture(store: ImageStore, names: Sequence[str], size: int, index: int) -> np.ndarray:
    """Give a photograph to be looked at; grey where there are only features of it."""
    if store.missing([names[index]]):
        return np.full((3, size, size), 200, dtype=np.uint8)
    return decode_image(store.read(names[index]), size)
