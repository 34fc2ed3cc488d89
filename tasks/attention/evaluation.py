"""How often a policy is wrong: by its mean path, by a sampled one, and by several sampled ones together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from seqrl.reduce import masked_mean

Looker = Callable[[Tensor, bool, torch.Generator], Tensor]
SEED = 1_234_567


@dataclass
class EvaluationConfig:
    """Settings of the evaluation.

    Attributes:
        num_paths: sampled paths that are averaged; they see so many times the glimpses of one. 0 leaves this figure and that of a
            single sampled path out.
        images_per_batch: images looked at side by side.
    """

    num_paths: int = 10
    images_per_batch: int = 1000

    def __post_init__(self) -> None:
        if self.num_paths < 0 or self.images_per_batch < 1:
            given = f"{self.num_paths} and {self.images_per_batch}"
            raise ValueError(f"num_paths, images_per_batch: expected at least 0 and 1, got {given}")


@torch.no_grad()
def evaluate_looking(look: Looker, label: Tensor, config: EvaluationConfig) -> dict[str, float]:
    """Count errors; an image with several objects is wrong where one of them is.

    Args:
        look: takes indices of images [B], whether to take the mean path, and a generator; gives logits [B, K, C].
        label: [N, K] long.
        config: see `EvaluationConfig`.

    Returns:
        error_percent of the mean path, error_percent_sampled of one sampled path, error_percent_averaged of the mean of the
        probabilities over `num_paths` of them; and the mean path's cross_entropy, nats an object.
    """
    generator = torch.Generator(label.device).manual_seed(SEED)
    wrong: dict[str, list[Tensor]] = {}
    cross_entropy: list[Tensor] = []
    for items in torch.arange(label.shape[0], device=label.device).split(config.images_per_batch):
        right = label[items]
        logits = look(items, True, generator)
        cross_entropy.append(F.cross_entropy(logits.flatten(0, 1), right.flatten(), reduction="none"))
        wrong.setdefault("error_percent", []).append(is_wrong(logits, right))
        if config.num_paths:
            paths = [look(items, False, generator).softmax(dim=-1) for _ in range(config.num_paths)]
            wrong.setdefault("error_percent_sampled", []).append(is_wrong(paths[0], right))
            wrong.setdefault("error_percent_averaged", []).append(is_wrong(torch.stack(paths).sum(dim=0), right))
    figures = {name: 100.0 * float(masked_mean(torch.cat(parts).float(), None)) for name, parts in wrong.items()}
    return figures | {"cross_entropy": float(masked_mean(torch.cat(cross_entropy), None))}


def is_wrong(scores: Tensor, label: Tensor) -> Tensor:
    """Whether the best class of some object is not its own, [B] bool, for scores [B, K, C] and label [B, K]."""
    return (scores.argmax(dim=-1) != label).any(dim=-1)
