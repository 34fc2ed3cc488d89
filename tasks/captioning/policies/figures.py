"""A detector on the encoder's regions, which teaches an encoder from scratch what the things of a drawn scene look like."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.tasks.captioning.scene_layout import COLOURS, SHAPES, TEXTURES


class FigureDetector(nn.Module):
    """Tells shape, colour and texture of a figure from the region of its middle.

    The loss is -log p(shape | region) - log p(colour | region) - log p(texture | region), the mean over all figures that can
    be seen. Captioners of photographs start from encoders that were taught on labelled images; drawn scenes have labels of
    their own.

    Args:
        feature_dim: size of a region's feature.
    """

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.looks = nn.ModuleList(nn.Linear(feature_dim, len(names)) for names in (SHAPES, COLOURS, TEXTURES))

    @staticmethod
    def seen(figures: Tensor) -> Tensor:
        """Say which of figures [B, M, 5] are there, [B, M] bool."""
        return figures[:, :, 2] >= 0

    def forward(self, regions: Tensor, figures: Tensor, image: Tensor | None) -> Tensor:
        """Compare with what was drawn.

        Args:
            regions: [N, R, D] float, a square grid of R regions, row by row.
            figures: [B, M, 5] float, see `seqrl.tasks.captioning.scene_figures.describe_figures`; rows of one image are alike.
            image: [B] the image of each row; None where row i has image i.

        Returns:
            [] loss, nats a figure.
        """
        side = round(regions.shape[1] ** 0.5)
        row = torch.arange(figures.shape[0], device=figures.device) if image is None else image
        seen = self.seen(figures)
        x, y, *names = figures[seen].unbind(dim=1)
        cell = (y * side).long() * side + (x * side).long()
        features = regions[row.unsqueeze(1).expand_as(seen)[seen], cell].float()
        losses = [F.cross_entropy(head(features), name.long(), reduction="sum") for head, name in zip(self.looks, names, strict=True)]
        return torch.stack(losses).sum() / max(cell.shape[0], 1)
