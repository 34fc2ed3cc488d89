"""What an attention policy looks at: labelled grey images in three splits, and the canvases that they are placed on."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from seqrl.tasks.attention.data_config import DataConfig
from seqrl.tasks.attention.image_sources import open_source, refuse_strange_labels
from seqrl.tasks.attention.placing import Placement, resized

__all__ = ["AttentionData", "DataConfig", "ImageSplit", "load_data"]

# What is held out and where dev and test images stand must be the same in every run.
_SHUFFLE_SEED = 20_140_624
_PLACING_SEEDS = {"dev": 20_140_625, "test": 20_140_626}


@dataclass(frozen=True, eq=False)
class ImageSplit:
    """Images with their classes.

    Attributes:
        name: "train", "dev" or "test".
        images: uint8 [N, H, W], one channel, 0 is black.
        labels: int64 [N], numbers of the classes.
    """

    name: str
    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together.

        Raises:
            ValueError: when a shape, a type or the lengths are wrong.
        """
        if self.images.dim() != 3 or self.images.dtype != torch.uint8:
            raise ValueError(
                f"{self.name}: expected grey images, uint8 [N, H, W], got {self.images.dtype} {list(self.images.shape)}; "
                "turn colours into one channel of grey"
            )
        if self.labels.dim() != 1 or self.labels.dtype != torch.int64:
            raise ValueError(f"{self.name}: expected labels int64 [N], got {self.labels.dtype} {list(self.labels.shape)}; convert them")
        if len(self.images) != len(self.labels):
            raise ValueError(
                f"{self.name}: expected a label for each image, got {len(self.images)} images and {len(self.labels)} labels; "
                "take both from the same data set"
            )

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class AttentionData:
    """The three parts of a data set, and how their images are placed.

    Attributes:
        train: to learn from.
        dev: to choose by.
        test: to report; may be empty.
        class_names: the name of each class.
        placement: what a canvas looks like.
        scale_augmentation: r; training images are resized by factors from 1 / r to r; 1 for none.
    """

    train: ImageSplit
    dev: ImageSplit
    test: ImageSplit
    class_names: list[str]
    placement: Placement
    scale_augmentation: float = 1.0
    _placed: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together.

        Raises:
            ValueError: when images differ in size or do not fit the canvas, a label names no class, there is only one class,
                or train or dev is empty.
        """
        if len(self.class_names) < 2:
            raise ValueError(f"expected at least 2 classes, got {len(self.class_names)} ({', '.join(self.class_names)}); add another")
        size = self.train.images.shape[1:]
        self.placement.check(*size)
        for split in (self.train, self.dev, self.test):
            if not len(split) and split is not self.test:
                raise ValueError(f"{split.name}: expected at least one image, got none; add images or hold out others (num_dev)")
            if split.images.shape[1:] != size:
                raise ValueError(
                    f"{split.name}: expected images of {size[0]}x{size[1]} pixels as in {self.train.name}, "
                    f"got {split.images.shape[1]}x{split.images.shape[2]}; resize them"
                )
            refuse_strange_labels(split.name, split.labels, len(self.class_names))

    def batch(self, items: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Place training images, anew each time.

        Args:
            items: int64 [B], which of the training images.
            generator: on the CPU; draws sizes, places, clutter and the second image of a pair.

        Returns:
            canvases: uint8 [B, S, S].
            labels: int64 [B, K], K = 1, or 2 for placement "pair": from left to right.
        """
        canvases, shown = self.placement.place(self.train.images, items, generator, self._heights(len(items), generator))
        return canvases, self.train.labels[shown]

    def _heights(self, count: int, generator: torch.Generator) -> Tensor | None:
        """Draw a height for each image, H r^u with u uniform in -1..1; None where all stay as they are."""
        if self.scale_augmentation == 1:
            return None
        exponent = torch.rand(count, generator=generator) * 2 - 1
        return (self.train.images.shape[1] * self.scale_augmentation**exponent).round().long().clamp(min=1)

    def placed(self, split: str) -> tuple[Tensor, Tensor]:
        """Place every image of dev or test, the same way in every run.

        Args:
            split: "dev" or "test".

        Returns:
            canvases: uint8 [N, S, S], kept and given again; not to be written to.
            labels: int64 [N, K], as in `batch`.

        Raises:
            ValueError: when the split is another or empty.
        """
        if split not in _PLACING_SEEDS:
            raise ValueError(f"split: expected {' or '.join(_PLACING_SEEDS)}, got {split!r}; training images come from `batch`")
        part: ImageSplit = getattr(self, split)
        if not len(part):
            raise ValueError(f"{split}: the data has no {split} images; add some, or evaluate on dev")
        if split not in self._placed:
            generator = torch.Generator().manual_seed(_PLACING_SEEDS[split])
            canvases, shown = self.placement.place(part.images, torch.arange(len(part)), generator)
            self._placed[split] = canvases, part.labels[shown]
        return self._placed[split]


def load_data(config: DataConfig) -> AttentionData:
    """Read the images of a source, make the splits that it lacks, and bring all images to one size.

    Args:
        config: see there.

    Raises:
        FileNotFoundError: when a file or folder is not there.
        ValueError: when a setting or a file's content is wrong; the message names file, place and remedy.
    """
    found = open_source(config)
    train = found.splits["train"]
    order = torch.randperm(len(train.labels), generator=torch.Generator().manual_seed(_SHUFFLE_SEED))
    # Shuffled, so that the first ones, which max_images keeps, are of every class also where the source goes class by class.
    rows = {name: (part, torch.arange(len(part.labels))) for name, part in found.splits.items()}
    for name in ("dev", "test"):
        held_out = 0 if name in rows else found.num_held_out.get(name, 0)
        if held_out >= len(order):
            raise ValueError(
                f"{name}: expected fewer images to hold out than the {len(order)} training images, got {held_out}; "
                f"{'set num_dev' if config.source in ('mnist', 'datasets') else 'add images'}"
            )
        if name not in rows:
            rows[name] = train, order[len(order) - held_out :]
            order = order[: len(order) - held_out]
    rows["train"] = train, order[: config.max_images or None]
    size = config.shown_size or config.image_size
    splits = {name: ImageSplit(name, resized(part.read(chosen), size), part.labels[chosen]) for name, (part, chosen) in rows.items()}
    named = {"class_names": found.class_names, "placement": config.build_placement(), "scale_augmentation": config.scale_augmentation}
    return AttentionData(**splits, **named)  # type: ignore[arg-type]
