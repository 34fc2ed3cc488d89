"""What learns where the eyes do not: a small adapter from ready features of an image's regions to what decoders attend to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqrl.trajectory import Tree


@dataclass(frozen=True)
class FeatureShape:
    """The form of the features of a data set.

    Attributes:
        num_regions: R, regions of an image; the most that one has where their number varies.
        feature_dim: D, numbers of a region.
        varies: whether the number of regions varies from image to image.
    """

    num_regions: int
    feature_dim: int
    varies: bool = False

    @classmethod
    def of(cls, images: Any) -> FeatureShape | None:
        """Give the form of a split's `images`, or None where these are pictures."""
        varies = isinstance(images, dict)
        regions = images["regions"] if varies else images
        if regions.dtype == np.uint8:
            return None
        return cls(regions.shape[1], regions.shape[2], varies)


class FeatureEncoder(nn.Module):
    """regions = norm(W dropout(features) + b) + position, pooled = the mean of the regions that count.

    The normalisation comes last, since decoders take regions as they are. Positions are learned where all images have the same regions, as
    in a grid; regions that a detector found have no order.

    Args:
        shape: of the features.
        dim: size D' of what it gives.
        dropout: probability of dropping a number of a region's feature.
    """

    def __init__(self, shape: FeatureShape, *, dim: int, dropout: float) -> None:
        super().__init__()
        self.shape = shape
        self.feature_dim = dim
        self.num_regions = shape.num_regions
        self.norm = nn.LayerNorm(dim)
        self.project = nn.Linear(shape.feature_dim, dim)
        in_order = shape.num_regions > 1 and not shape.varies
        self.position = nn.Parameter(torch.randn(shape.num_regions, dim) * 0.02) if in_order else None
        self.dropout = nn.Dropout(dropout)

    def forward(self, images: Any) -> Tree:
        """Adapt features.

        Args:
            images: [N, R, D] floating point, or a mapping with these as `regions` and `mask` [N, R] bool, True for a region that counts.

        Returns:
            `regions` [N, R, D'], `pooled` [N, D'], and `mask` where it was given.

        Raises:
            ValueError: when they have another form.
        """
        features = images["regions"] if isinstance(images, dict) else images
        dim, most = self.shape.feature_dim, self.shape.num_regions
        if features.ndim != 3 or features.shape[2] != dim or (self.position is not None and features.shape[1] != most):
            raise ValueError(f"images: expected features [N, {most}, {dim}], got {features.dtype} {list(features.shape)}")
        if not features.is_floating_point():
            raise ValueError(f"images: expected features in floating point, got {features.dtype}; a frozen encoder gives them")
        regions = self.norm(self.project(self.dropout(features.float())))
        if self.position is not None:
            regions = regions + self.position
        if not isinstance(images, dict):
            return {"regions": regions, "pooled": regions.mean(dim=1)}
        return masked_memory(regions, images["mask"])


def masked_memory(regions: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Give what a decoder attends to of regions [N, R, D] that count where `mask` [N, R] says so, and their mean, `pooled` [N, D]."""
    counted = mask.unsqueeze(2).to(regions.dtype)
    return {"regions": regions, "mask": mask, "pooled": (regions * counted).sum(dim=1) / counted.sum(dim=1)}
