"""How often a policy is wrong: by its mean path, by a sampled one, and by several sampled ones together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from seqrl.functional.reductions import masked_mean
from seqrl.settings import Count, NotNegative, check_settings

Looker = Callable[[Tensor, bool, torch.Generator], Tensor]
SEED = 1_234_567


@dataclass
class EvaluationConfig:
    """Settings of the evaluation.

    Attributes:
        num_paths: sampled paths that are averaged; they see so many times the glimpses of one. 0 leaves this metric and that of a
            single sampled path out.
        images_per_batch: images looked at side by side.
    """

    num_paths: NotNegative[int] = 10
    images_per_batch: Count = 1000

    def __post_init__(self) -> None:
        check_settings(self)


# For each image that a process has looked at, by the name of the metric: whether it was wrong, and each object's nats.
Share = dict[str, Tensor]


@torch.no_grad()
def look_at(look: Looker, label: Tensor, config: EvaluationConfig, part: int = 0, parts: int = 1) -> Share:
    """Look at a process's share of the images; one with several objects is wrong where one of them is.

    Each batch has random numbers of its own, so that it does not matter who looks at it.

    Args:
        look: takes indices of images [B], whether to take the mean path, and a generator; gives logits [B, K, C].
        label: [N, K] long.
        config: see `EvaluationConfig`.
        part: number of the process.
        parts: of processes.
    """
    found: dict[str, list[Tensor]] = {"error_percent": [], "cross_entropy": []}
    for items in torch.arange(label.shape[0], device=label.device).split(config.images_per_batch)[part::parts]:
        generator = torch.Generator(label.device).manual_seed(SEED + int(items[0]))
        right = label[items]
        logits = look(items, True, generator)
        found["cross_entropy"].append(F.cross_entropy(logits.flatten(0, 1), right.flatten(), reduction="none"))
        found["error_percent"].append(is_wrong(logits, right))
        if config.num_paths:
            paths = [look(items, False, generator).softmax(dim=-1) for _ in range(config.num_paths)]
            found.setdefault("error_percent_sampled", []).append(is_wrong(paths[0], right))
            found.setdefault("error_percent_averaged", []).append(is_wrong(torch.stack(paths).sum(dim=0), right))
    return {name: torch.cat(each).cpu() for name, each in found.items() if each}


def metrics_of(shares: Sequence[Share]) -> dict[str, float]:
    """Give the metrics of all processes together.

    Returns:
        error_percent of the mean path, error_percent_sampled of one sampled path, error_percent_averaged of the mean of the
        probabilities over `num_paths` of them; and the mean path's cross_entropy, nats an object.
    """
    names = dict.fromkeys(name for share in shares for name in share)
    means = {name: float(masked_mean(torch.cat([share[name] for share in shares if name in share]).float(), None)) for name in names}
    cross_entropy = means.pop("cross_entropy")
    return {name: 100.0 * mean for name, mean in means.items()} | {"cross_entropy": cross_entropy}


def evaluate_looking(look: Looker, label: Tensor, config: EvaluationConfig) -> dict[str, float]:
    """Count errors on all images; see `look_at` and `metrics_of`."""
    return metrics_of([look_at(look, label, config)])


def is_wrong(scores: Tensor, label: Tensor) -> Tensor:
    """Whether the best class of some object is not its own, [B] bool, for scores [B, K, C] and label [B, K]."""
    return (scores.argmax(dim=-1) != label).any(dim=-1)
