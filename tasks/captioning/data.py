"""What a captioner learns from: one form for built-in scenes and for every source of photographs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from seqrl.metrics.tokenisations import tokenisation_by_name, unspaced_example
from seqrl.tasks.captioning.caption_files import CaptionedImage
from seqrl.tasks.captioning.data_config import DataConfig
from seqrl.tasks.captioning.features import Eyes, load_features
from seqrl.tasks.captioning.image_stores import DrawnStore, ImageStore
from seqrl.tasks.captioning.images import Prepare, decode_image, load_images
from seqrl.tasks.captioning.photographs import SPLITS, Photographs, find_photographs
from seqrl.tasks.captioning.scene_layout import Scene
from seqrl.tasks.captioning.scene_words import grammar_words
from seqrl.tasks.captioning.scenes import load_scenes
from seqrl.tasks.captioning.vocabulary import SPECIALS, TokenizerVocabulary, Vocabulary

_LOG = logging.getLogger(__name__)
# Pixels of a photograph that a gallery shows where training needs none.
_SHOWN_SIZE = 224

__all__ = ["CaptionData", "CaptionSplit", "DataConfig", "load_data"]


@dataclass(frozen=True)
class CaptionSplit:
    """Images with their captions.

    Attributes:
        name: "train", "dev" or "test".
        image_ids: N distinct names.
        images: what a policy's `encode` takes, possibly mapped from a file and read-only: uint8 [N, 3, S, S], or [N, 3, H, W] as a
            pretrained model's processor has it; where frozen eyes have looked, their features float16 [N, R, D].
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
    if config.source == "scenes":
        return _load_scenes(config, prepare, eyes, mirrored)
    photographs = find_photographs(config)
    words = {name: _words(config, [record.captions for record in photographs.records[name]]) for name in SPLITS}
    for name in SPLITS:
        _refuse_wordless(photographs.records[name], words[name], reserved=() if config.tokenizer else SPECIALS)
    if config.tokens == "ptb":
        _warn_of_unspaced(photographs.records["train"])
    vocabulary = _vocabulary(config, words["train"])
    seen = _Seen(config, prepare, eyes, mirrored)
    train, dev, test = (_load_split(seen, photographs, name, words[name]) for name in SPLITS)
    return CaptionData(train, dev, test, vocabulary, prepared=prepare is not None, seen_by="" if eyes is None else eyes.key)


@dataclass(frozen=True)
class _Seen:
    """What a policy is shown of an image; see `load_data`."""

    config: DataConfig
    prepare: Prepare | None
    eyes: Eyes | None
    mirrored: bool

    def load(self, store: ImageStore, names: Sequence[str], split: str) -> tuple[dict[str, Any], list[bool]]:
        """Give the fields of a `CaptionSplit` that hold images, and which of the names are kept."""
        skip = self.config.skip_broken_images
        if self.eyes is None:
            images, kept = load_images(store, names, self.config.image_size, skip_broken=skip, prepare=self.prepare)
            return {"images": images}, kept
        features, kept = load_features(store, names, self.eyes, skip_broken=skip)
        whole = [name for name, keep in zip(names, kept, strict=True) if keep]
        found: dict[str, Any] = {"images": features, "pictures": partial(_picture, store, whole)}
        if self.mirrored and split == "train":
            found["mirrored"] = load_features(store, whole, self.eyes, mirrored=True)[0]
        return found, kept


def _picture(store: ImageStore, names: Sequence[str], index: int) -> np.ndarray:
    return decode_image(store.read(names[index]), _SHOWN_SIZE)


def _load_scenes(config: DataConfig, prepare: Prepare | None, eyes: Eyes | None, mirrored: bool) -> CaptionData:
    splits, kept = {}, config.max_images or None
    for name, part in load_scenes(config.scenes, config.image_size).items():
        ids, pictures, captions = part.image_ids[:kept], part.images[:kept], part.captions[:kept]
        seen: dict[str, Any] = {"images": pictures}
        if prepare is not None or eyes is not None:
            seen, _ = _Seen(config, prepare, eyes, mirrored).load(DrawnStore(ids, pictures), ids, name)
            seen["pictures"] = pictures.__getitem__
        words = _words(config, captions)
        splits[name] = CaptionSplit(
            name, ids, references=captions, words=words, scenes=part.scenes[:kept], figures=part.figures[:kept], **seen
        )
    vocabulary = _vocabulary(config, splits["train"].words)
    return CaptionData(**splits, vocabulary=vocabulary, prepared=prepare is not None, seen_by="" if eyes is None else eyes.key)


def _load_split(seen: _Seen, photographs: Photographs, name: str, words: list[list[list[str]]]) -> CaptionSplit:
    records = photographs.records[name]
    found, kept = seen.load(photographs.stores[name], [record.file_name for record in records], name)
    if records and not any(kept):
        raise ValueError(f"{name}: expected at least one image that decodes, got none of {len(records)}")
    rows = [(record, tokens) for record, tokens, keep in zip(records, words, kept, strict=True) if keep]
    return CaptionSplit(
        name=name,
        image_ids=[record.image_id for record, _ in rows],
        references=[list(record.captions) for record, _ in rows],
        words=[tokens for _, tokens in rows],
        **found,
    )


def _words(config: DataConfig, captions: Sequence[Sequence[str]]) -> list[list[list[str]]]:
    split = tokenisation_by_name(config.tokens).split
    return [[split(caption) for caption in texts] for texts in captions]


def _warn_of_unspaced(records: Sequence[CaptionedImage]) -> None:
    example = unspaced_example(caption for record in records for caption in record.captions)
    if example:
        _LOG.warning(
            "most captions have no spaces between words, as in %r; a whole sentence counts as one word, and scores stay near 0. "
            "Learn characters instead: task.data.tokens: characters",
            example[:40],
        )


def _refuse_wordless(records: Sequence[CaptionedImage], words: list[list[list[str]]], reserved: Sequence[str]) -> None:
    for record, captions in zip(records, words, strict=True):
        for index, caption in enumerate(captions):
            if not caption:
                raise ValueError(
                    f"image {record.image_id}: caption {index} holds no word after tokenisation ({record.captions[index]!r}); "
                    "an empty reference cannot be scored, write a caption or remove it"
                )
            special = next((word for word in caption if word in reserved), None)
            if special:
                raise ValueError(
                    f"image {record.image_id}: caption {index} holds {special}, the name of a token of the word list "
                    f"({record.captions[index]!r}); a captioner would be rewarded for writing it, so replace it by a word"
                )


def _vocabulary(config: DataConfig, words: list[list[list[str]]]) -> Vocabulary | TokenizerVocabulary:
    if config.tokenizer:
        return TokenizerVocabulary(config.tokenizer, tokens=config.tokens)
    if config.source == "scenes" and config.min_count == 1 and config.tokens == "ptb":
        # Weights fit every number of scenes, since the grammar and not the draw says which words there are.
        return Vocabulary(grammar_words())
    return Vocabulary.build((caption for captions in words for caption in captions), config.min_count, tokens=config.tokens)
