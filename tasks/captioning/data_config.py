"""The settings that say where images and captions come from."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path

from seqrl.metrics.tokenisations import tokenisation_by_name
from seqrl.tasks.captioning.images import MIN_IMAGE_SIZE
from seqrl.tasks.captioning.scenes import ScenesConfig
from seqrl.tasks.paths import expanded

# The settings that each source reads, beside those that all do.
_SETTINGS_READ = {
    "scenes": {"scenes"},
    "flickr8k": {"path", "captions", "images", "train_list", "dev_list", "test_list", "num_dev", "num_test", "skip_broken_images"},
    "coco": {"path", "captions", "dev_captions", "images", "dev_images", "num_dev", "num_test", "skip_broken_images"},
    "karpathy": {"path", "captions", "images", "num_dev", "num_test", "skip_broken_images"},
    "jsonl": {"path", "captions", "images", "num_dev", "num_test", "skip_broken_images"},
    "datasets": {"path", "image_column", "caption_column", "num_dev", "num_test", "skip_broken_images"},
}
_SETTINGS_READ_BY_ALL = {"source", "max_images", "image_size", "min_count", "tokens", "tokenizer", "features"}


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

    source: str = "scenes"
    path: str = ""
    captions: str = ""
    dev_captions: str = ""
    images: str = ""
    dev_images: str = ""
    train_list: str = ""
    dev_list: str = ""
    test_list: str = ""
    image_column: str = "image"
    caption_column: str = "captions"
    features: str = ""
    num_dev: int = 0
    num_test: int = 0
    max_images: int = 0
    image_size: int = 64
    skip_broken_images: bool = False
    min_count: int = 1
    tokens: str = "ptb"
    tokenizer: str = ""
    scenes: ScenesConfig = field(default_factory=ScenesConfig)

    def check(self) -> None:
        """Refuse settings that cannot work, before any file is opened.

        Raises:
            ValueError: naming the setting, what was expected and what came.
        """
        if self.source not in _SETTINGS_READ:
            raise ValueError(f"source: expected one of {', '.join(_SETTINGS_READ)}, got {self.source!r}")
        if self.image_size < MIN_IMAGE_SIZE:
            raise ValueError(f"image_size: expected at least {MIN_IMAGE_SIZE} pixels, got {self.image_size}")
        for name in ("num_dev", "num_test", "max_images"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected 0 or more, got {getattr(self, name)}")
        if self.min_count < 1:
            raise ValueError(f"min_count: expected at least 1, got {self.min_count}")
        tokenisation_by_name(self.tokens)
        if self.source != "scenes" and not self.path:
            raise ValueError(f"path: expected where the data of source {self.source} is, got nothing; set `path`")
        read = _SETTINGS_READ[self.source] | _SETTINGS_READ_BY_ALL
        unread = [setting.name for setting in dataclasses.fields(self) if setting.name not in read and self._is_set(setting)]
        if unread:
            raise ValueError(f"{unread[0]}: source {self.source} does not read it; it reads {', '.join(sorted(read))}")

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
            raise ValueError(
                "data.features: policy.encoder features needs a file of features (.npy, .npz, .h5), got nothing; set data.features"
            )
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

    def _is_set(self, setting: dataclasses.Field[object]) -> bool:
        default = setting.default if setting.default_factory is dataclasses.MISSING else setting.default_factory()
        return bool(getattr(self, setting.name) != default)
