"""The settings that say where images and captions come from."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from seqrl.metrics.tokenisations import tokenisation_by_name
from seqrl.settings import Count, Limit, NotNegative, ReadBy, check_settings
from seqrl.tasks.captioning.scenes import ScenesConfig
from seqrl.tasks.paths import expanded

Source = Literal["scenes", "flickr8k", "coco", "karpathy", "jsonl", "datasets"]
ImageSize = Annotated[int, Limit("at least 16 pixels", lambda value: value >= 16)]
_PHOTOGRAPHS = ReadBy("source", "flickr8k", "coco", "karpathy", "jsonl", "datasets")
_IN_FILES = ReadBy("source", "flickr8k", "coco", "karpathy", "jsonl")
_FLICKR8K, _COCO, _DATASETS = ReadBy("source", "flickr8k"), ReadBy("source", "coco"), ReadBy("source", "datasets")


@dataclass
class DataConfig:
    """Where images and captions come from.

    Attributes:
        source: "scenes" (drawn here), "flickr8k" (token file, or Kaggle's captions.txt), "coco" (captions JSON), "karpathy"
            (dataset.json), "jsonl" (one's own) or "datasets" (a `datasets` name or folder).
        path: folder that the names below are relative to; for "datasets" the name or folder. `~` and `$NAME` are
            expanded.
        captions: caption file. For "flickr8k" the usual names are tried when empty.
        dev_captions: "coco": caption file of the dev images.
        images: folder or zip file of the images; `path` itself when empty and none of the usual names is there.
        dev_images: "coco": folder or zip file of the dev images; `images` when empty.
        train_list: "flickr8k": file with the names of the training images; the usual names are tried when empty.
        dev_list: the same for dev.
        test_list: the same for test.
        image_column: "datasets": column of the images.
        caption_column: "datasets": column of the captions, a text or a list of texts a row.
        num_dev: number of training images held out as dev where the source has none. Kaggle's captions.txt without lists
            gives an eighth of the images each to dev and test where it is 0; hashes of the names choose.
        num_test: number of dev images, the last ones, held out as test where the source has none.
        features: file with features of one's own for `policy.encoder: features`, relative to `path`: .npy with names beside it, .npz or
            HDF5 (.h5, .hdf5), see `seqrl.tasks.captioning.feature_files.open_features`. Photographs then need not be there.
        max_images: keep only the first ones of each split, for a quick look; 0 keeps all.
        image_size: S, pixels; photographs are cropped to their centre square, but for a pretrained policy whose processor decides.
        skip_broken_images: leave out images that are missing, do not decode or have no features instead of stopping.
        min_count: words that are rarer in the training captions become the unknown word. With 1, "scenes" takes the words of its
            grammar, so that the vocabulary is the same for any number of scenes.
        tokens: what a word is, to the captioner's word list and to every metric: "ptb" (as coco-caption splits) or "characters", for
            Chinese, Japanese or Thai, which put no spaces between words.
        tokenizer: name or folder of a `transformers` tokenizer to use instead of a word list.
        scenes: what to draw, for "scenes".
    """

    source: Source = "scenes"
    path: Annotated[str, _PHOTOGRAPHS] = ""
    captions: Annotated[str, _IN_FILES] = ""
    dev_captions: Annotated[str, _COCO] = ""
    images: Annotated[str, _IN_FILES] = ""
    dev_images: Annotated[str, _COCO] = ""
    train_list: Annotated[str, _FLICKR8K] = ""
    dev_list: Annotated[str, _FLICKR8K] = ""
    test_list: Annotated[str, _FLICKR8K] = ""
    image_column: Annotated[str, _DATASETS] = "image"
    caption_column: Annotated[str, _DATASETS] = "captions"
    features: str = ""
    num_dev: Annotated[NotNegative[int], _PHOTOGRAPHS] = 0
    num_test: Annotated[NotNegative[int], _PHOTOGRAPHS] = 0
    max_images: NotNegative[int] = 0
    image_size: ImageSize = 64
    skip_broken_images: Annotated[bool, _PHOTOGRAPHS] = False
    min_count: Count = 1
    tokens: str = "ptb"
    tokenizer: str = ""
    scenes: Annotated[ScenesConfig, ReadBy("source", "scenes")] = field(default_factory=ScenesConfig)

    def check(self) -> None:
        """Refuse settings that cannot work, before any file is opened.

        Raises:
            ValueError: naming the setting, what was expected and what came.
        """
        check_settings(self)
        tokenisation_by_name(self.tokens)
        if self.source != "scenes" and not self.path:
            raise ValueError(f"path: expected where the data of source {self.source} is, got nothing; set `path`")

    def check_features(self, encoder: str, *, flip: bool) -> None:
        """Refuse features of one's own that nobody reads, or that are not there, before any file is opened.

        Args:
            encoder: of the policy.
            flip: whether mirrored images are wanted.

        Raises:
            ValueError: naming the setting and what to do.
            FileNotFoundError: when there is no such file.
        """
        if encoder == "features" and not self.features:
            wanted = "policy.encoder features needs a file of features (.npy, .npz, .h5), got nothing; set data.features"
            raise ValueError(f"data.features: {wanted}")
        if not self.features:
            return
        if encoder != "features":
            raise ValueError(f"data.features: policy.encoder {encoder} does not read it; set policy.encoder: features")
        if flip:
            raise ValueError("flip: nobody knows the features of the mirrored images where they are one's own; set flip: false")
        if not self.feature_file().exists():
            raise FileNotFoundError(f"data.features: {self.feature_file()}: no such file")

    def feature_file(self) -> Path:
        """Give where the features of one's own are."""
        folder = Path(os.path.expandvars(self.path)).expanduser() if self.path else Path()
        return (folder if folder.is_dir() else Path()) / expanded(self.features)
