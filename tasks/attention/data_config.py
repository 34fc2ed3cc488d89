"""The settings that say which images an attention policy looks at, and how they stand on their canvas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from seqrl.settings import Count, Limit, NotNegative, ReadBy, check_settings
from seqrl.tasks.attention.placing import ClutterRule, Placement, PlacementKind

Source = Literal["digits", "mnist", "datasets", "folder"]
_DATASETS, _CLUTTERED = ReadBy("source", "datasets"), ReadBy("placement", "cluttered")


@dataclass
class DataConfig:
    """Which images there are, and how they are shown.

    Attributes:
        source: "digits" (1,797 handwritten digits of 8x8 pixels that scikit-learn brings along), "mnist" (four IDX files, MNIST's or
            others of the same names), "datasets" (a `datasets` name or folder) or "folder" (one folder of images a class).
            Images should be bright on a dark ground, as canvases are black.
        path: folder of the IDX files; name or folder for "datasets"; for "folder" the one that holds a folder a class, or
            `train` and perhaps `dev` and `test` with a folder a class each. `~` and `$NAME` are expanded.
        image_column: "datasets": column of the images.
        label_column: "datasets": column of the classes, numbers or names.
        placement: "centred", "translated" (anywhere on the canvas), "cluttered" (translated, with pieces of images) or
            "pair" (two images, both to be named from left to right).
        canvas_size: S, pixels, the side of the square canvas; 0 is image_size, for "centred" alone. Others: typically 60 or 100.
        num_clutter: "cluttered": pieces of clutter on a canvas.
        clutter_size: "cluttered": side of a piece, pixels.
        clutter_rule: "cluttered": "added", DeepMind's published rule, the pieces first and the image added on top; "brightest", pieces of
            other images over it, of which the brighter pixel is seen.
        image_size: side of the square images, pixels. "digits" are enlarged to it, images of "folder" and "datasets" resized
            (each side on its own); those of "mnist" must have it.
        shown_size: side in pixels that all images are resized to before they are placed; 0 leaves them at image_size. For evaluating a
            trained policy on digits of another size: `seqrl evaluate RUN --task.data.shown_size=20`.
        scale_augmentation: r; each training image is resized by a factor from 1 / r to r, equally likely on a logarithmic scale,
            whenever it is placed; 1 for none. Not for placement "pair". Images of dev and test are never augmented.
        num_dev: training images held out as dev where "mnist" and "datasets" have none. The other sources hold out a fixed
            part: "digits" 247 for dev and 250 for test, "folder" a tenth for each of the two that has no folder.
        max_images: keep only the first ones of the training images, which are shuffled once and for all; 0 keeps all.
    """

    source: Source = "digits"
    path: Annotated[str, ReadBy("source", "mnist", "datasets", "folder")] = ""
    image_column: Annotated[str, _DATASETS] = "image"
    label_column: Annotated[str, _DATASETS] = "label"
    placement: PlacementKind = "centred"
    canvas_size: NotNegative[int] = 0
    num_clutter: Annotated[NotNegative[int], _CLUTTERED] = 4
    clutter_size: Annotated[Count, _CLUTTERED] = 8
    clutter_rule: Annotated[ClutterRule, _CLUTTERED] = Placement.clutter_rule
    image_size: Count = 28
    shown_size: NotNegative[int] = 0
    scale_augmentation: Annotated[float, Limit("a factor of at least 1", lambda value: 1 <= value < float("inf"))] = 1.0
    num_dev: Annotated[NotNegative[int], ReadBy("source", "mnist", "datasets")] = 5000
    max_images: NotNegative[int] = 0

    def __post_init__(self) -> None:
        check_settings(self)
        placement = self.build_placement()
        if self.placement != "centred" and not self.canvas_size:
            raise ValueError(
                f"canvas_size: placement {self.placement} needs the side of the canvas in pixels, {self.image_size} or more, got 0; "
                "set canvas_size, typically 60 or 100"
            )
        shown = self.shown_size or self.image_size
        placement.check(shown, shown)
        if self.scale_augmentation > 1:
            if self.placement == "pair":
                raise ValueError(f"scale_augmentation: expected 1 for placement pair, got {self.scale_augmentation}; leave it out")
            largest = round(shown * self.scale_augmentation)
            if largest > placement.canvas_size:
                raise ValueError(
                    f"scale_augmentation: images of {shown} pixels become up to {largest} by a factor of {self.scale_augmentation}, "
                    f"more than the canvas of {placement.canvas_size}; set a larger canvas_size or a smaller factor"
                )
        if self.source != "digits" and not self.path:
            raise ValueError(f"path: expected where the data of source {self.source} is, got nothing; set `path`")

    @property
    def num_objects(self) -> int:
        """K, images on a canvas that are to be named."""
        return self.build_placement().num_objects

    def build_placement(self) -> Placement:
        """Give what a canvas looks like."""
        return Placement(
            self.placement, self.canvas_size or self.shown_size or self.image_size, self.num_clutter, self.clutter_size, self.clutter_rule
        )
