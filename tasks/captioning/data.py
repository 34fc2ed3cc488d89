"""What a captioner learns from: one form for built-in scenes and for every source of photographs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from seqrl.metrics.tokenisations import tokenisation_by_name, unspaced_example
from seqrl.tasks.captioning.caption_files import CaptionedImage
from seqrl.tasks.captioning.data_config import DataConfig
from seqrl.tasks.captioning.features import Eyes
from seqrl.tasks.captioning.image_stores import DrawnStore
from seqrl.tasks.captioning.images import Prepare
from seqrl.tasks.captioning.photographs import SPLITS, Photographs, find_photographs
from seqrl.tasks.captioning.scene_layout import Scene
from seqrl.tasks.captioning.scene_words import grammar_words
from seqrl.tasks.captioning.scenes import DrawnSplit, load_scenes
from seqrl.tasks.captioning.shown import Shown, load_shown
from seqrl.tasks.writing.vocabulary import SPECIALS, TokenizerVocabulary, Vocabulary, refuse_unscorable

_LOG = logging.getLogger(__name__)

__all__ = ["CaptionData", "CaptionSplit", "DataConfig", "load_data"]


@dataclass(frozen=True)
class CaptionSplit:
    """Images with their captions.

    Attributes:
        name: "train", "dev" or "test".
        image_ids: N distinct names.
        images: what a policy's `encode` takes, possibly mapped from a file and read-only: uint8 [N, 3, S, S], or [N, 3, H, W] as a
            pretrained model's processor has it; where frozen eyes have looked, their features float16 [N, R, D]; of features of one's own
            whose number of regions varies a mapping with `regions` and `mask` [N, R] bool.
        references: raw captions of each image, at least one.
        words: the same captions as words, as `task.data.tokens` has it; all metrics but functions of one's own see these.
        scenes: what is truly there, where the images were drawn; None for photographs.
        figures: float32 [N, M, 5], where it can be seen, see `describe_figures`; None for photographs.
        mirrored: the features of the mirrored images, where there are any.
        pictures: gives the picture of an image by its number, to be looked at; None where `images` are pictures.
    """

    name: str
    image_ids: list[str]
    images: Any
    references: list[list[str]]
    words: list[list[list[str]]]
    scenes: list[Scene] | None = None
    figures: np.ndarray | None = None
    mirrored: np.ndarray | None = None
    pictures: Callable[[int], np.ndarray] | None = None

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together.

        Raises:
            ValueError: when the lengths differ.
        """
        images = self.images.values() if isinstance(self.images, dict) else [self.images]
        parts: list[Sized] = [self.image_ids, self.references, self.words, *images]
        parts += [part for part in (self.scenes, self.mirrored) if part is not None]
        lengths = {len(part) for part in parts}
        if len(lengths) != 1:
            raise ValueError(f"{self.name}: expected as many ids, images, references, words and scenes, got {sorted(lengths)}")

    def __len__(self) -> int:
        """Number of images."""
        return len(self.image_ids)

    @property
    def columns(self) -> dict[str, list[str]]:
        """What functions of one's own are told about the images beside their references, by name."""
        return {"image_id": self.image_ids}

    def describe(self, index: int) -> str:
        """Name an image in a message."""
        return f"image {self.image_ids[index]}"

    def rows(self, index: Any) -> Any:
        """Give images by their numbers or a slice, as tensors of their own."""
        return rows_of(self.images, index)

    def picture(self, index: int) -> np.ndarray:
        """Give an image to be looked at, uint8 [3, S, S]."""
        return self.images[index] if self.pictures is None else self.pictures(index)  # type: ignore[no-any-return]


def rows_of(images: Any, index: Any) -> Any:
    """Give rows of a split's `images` as tensors of their own, since what is mapped from a file is read-only.

    Args:
        images: an array [N, ...], or several by name.
        index: a slice, or the rows' numbers.
    """
    if isinstance(images, dict):
        return {name: rows_of(part, index) for name, part in images.items()}
    return torch.from_numpy(np.array(images[index]))


@dataclass(frozen=True)
class CaptionData:
    """The three parts of a data set and the vocabulary of its training part.

    Attributes:
        train: to learn from.
        dev: to choose by.
        test: to report; may be empty.
        vocabulary: from the training captions, or a tokenizer's.
        prepared: whether the images are what a pretrained model's image processor made of the photographs.
        seen_by: key of the frozen eyes whose features are the images; "" where there are none.
    """

    train: CaptionSplit
    dev: CaptionSplit
    test: CaptionSplit
    vocabulary: Vocabulary | TokenizerVocabulary
    prepared: bool = False
    seen_by: str = ""


def load_data(config: DataConfig, prepare: Prepare | None = None, *, eyes: Eyes | None = None, mirrored: bool = False) -> CaptionData:
    """Read captions, decode or draw the images (once, then cached) and build the vocabulary.

    Everything that can be checked without decoding images is checked before they are decoded.

    Args:
        config: see there.
        prepare: makes what is stored of photographs; squares of `image_size` pixels when None.
        eyes: frozen ones, whose features take the place of the images.
        mirrored: also compute their features of the mirrored training images.

    Raises:
        FileNotFoundError: when a file, folder or image is not there.
        ValueError: when a setting or a file's content is wrong; the message names file, place and remedy.
    """
    config.check()
    drawn = load_scenes(config.scenes, config.image_size) if config.source == "scenes" else {}
    found = _as_photographs(drawn) if drawn else find_photographs(config)
    records = {name: found.records[name][: config.max_images or None] for name in SPLITS}
    split = tokenisation_by_name(config.tokens).split
    words = {name: [[split(caption) for caption in record.captions] for record in records[name]] for name in SPLITS}
    if not drawn:
        reserved = () if config.tokenizer else SPECIALS
        for name in SPLITS:
            for record, captions in zip(records[name], words[name], strict=True):
                for index, (text, caption) in enumerate(zip(record.captions, captions, strict=True)):
                    refuse_unscorable(f"image {record.image_id}: caption {index}", text, caption, reserved)
        if config.tokens == "ptb":
            _warn_of_unspaced(records["train"])
    vocabulary = _vocabulary(config, words["train"])
    named = {name: [(record.image_id, record.file_name) for record in records[name]] for name in SPLITS}
    shown = load_shown(config, found.stores, named, prepare=prepare, eyes=eyes, mirrored=mirrored)
    splits = {name: _make_split(name, records[name], words[name], shown[name], drawn.get(name)) for name in SPLITS}
    return CaptionData(**splits, vocabulary=vocabulary, prepared=prepare is not None, seen_by="" if eyes is None else eyes.key)


def _as_photographs(drawn: Mapping[str, DrawnSplit]) -> Photographs:
    """Give scenes the form of photographs in files."""
    records = {
        name: [CaptionedImage(image, image, tuple(captions)) for image, captions in zip(part.image_ids, part.captions, strict=True)]
        for name, part in drawn.items()
    }
    return Photographs(records, {name: DrawnStore(part.image_ids, part.images) for name, part in drawn.items()})


def _make_split(
    name: str, records: Sequence[CaptionedImage], words: list[list[list[str]]], shown: Shown, drawn: DrawnSplit | None
) -> CaptionSplit:
    found, kept = shown
    if records and not any(kept):
        raise ValueError(f"{name}: expected at least one image that decodes, got none of {len(records)}")
    rows = [row for row, keep in enumerate(kept) if keep]
    return CaptionSplit(
        name=name,
        image_ids=[records[row].image_id for row in rows],
        references=[list(records[row].captions) for row in rows],
        words=[words[row] for row in rows],
        scenes=None if drawn is None else [drawn.scenes[row] for row in rows],
        figures=None if drawn is None else drawn.figures[rows],
        **found,
    )


def _warn_of_unspaced(records: Sequence[CaptionedImage]) -> None:
    example = unspaced_example(caption for record in records for caption in record.captions)
    if example:
        _LOG.warning(
            "most captions have no spaces between words, as in %r; a whole sentence counts as one word, and scores stay near 0. "
            "Learn characters instead: task.data.tokens: characters",
            example[:40],
        )


def _vocabulary(config: DataConfig, words: list[list[list[str]]]) -> Vocabulary | TokenizerVocabulary:
    if config.tokenizer:
        return TokenizerVocabulary(config.tokenizer, tokens=config.tokens)
    if config.source == "scenes" and config.min_count == 1 and config.tokens == "ptb":
        # Weights fit every number of scenes, since the grammar and not the draw says which words there are.
        return Vocabulary(grammar_words())
    return Vocabulary.build((caption for captions in words for caption in captions), config.min_count, tokens=config.tokens)
