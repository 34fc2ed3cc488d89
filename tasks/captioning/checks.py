"""What data a captioning task cannot work with."""

from __future__ import annotations

from seqrl.metrics.by_name import reads_document_frequency
from seqrl.tasks.captioning.data import CaptionData
from seqrl.tasks.captioning.policies.feature_encoder import FeatureShape
from seqrl.tasks.writing.reward_config import RewardConfig


def refuse_single_images(reward: RewardConfig, data: CaptionData) -> None:
    """Refuse a split whose CIDEr is always 0.

    Raises:
        ValueError: naming the split.
    """
    wanted = [("dev", data.dev)]
    if not reward.named and not reward.document_frequency and any(map(reads_document_frequency, reward.metrics)):
        wanted.append(("train", data.train))
    for name, split in wanted:
        if len(split) < 2:
            raise ValueError(
                f"{name}: expected at least 2 images, got {len(split)}; CIDEr weighs words by how few images' captions hold them, "
                "and over a single image every score is 0. Add images"
                + (", or set reward.document_frequency to a corpus's or reward.metrics to others" if name == "train" else "")
            )


def refuse_what_images_lack(data: CaptionData, *, detects_figures: bool, flips: bool) -> None:
    """Refuse settings that need more than the images of this data set have.

    Raises:
        ValueError: naming the setting.
    """
    if detects_figures and data.train.figures is None:
        raise ValueError("policy.figure_detection: expected drawn scenes, got images without known figures; set it to 0")
    if flips and FeatureShape.of(data.train.images) is not None and data.train.mirrored is None:
        raise ValueError("flip: expected the features of the mirrored images, too, got none; call load_data(..., mirrored=True)")
