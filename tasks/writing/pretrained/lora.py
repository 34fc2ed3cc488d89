"""LoRA: a pretrained model learns small matrices beside its own, which stay as they are."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from torch import nn

from seqrl.settings import FractionBelowOne, Limit, Positive, ReadBy, check_settings

# Marks settings of a policy that only a pretrained model reads.
PRETRAINED = ReadBy("type", "pretrained")
Rank = Annotated[int, Limit("at least 1, or no lora, to train all weights", lambda value: value >= 1)]


@dataclass
class LoraConfig:
    """Which layers learn beside their weights, and how much.

    A layer y = W x becomes y = W x + (alpha / rank) B A x, of which only A [rank, in] and B [out, rank] learn; B is 0 at first.

    Attributes:
        rank: of what is learned.
        alpha: how strongly it counts.
        dropout: probability of dropping an entry of x on its way to A, in supervised training.
        targets: names of layers, or the ends of them, such as q_proj and v_proj; empty for all linear layers but the output matrix.

    Source: Hu et al. 2021 (LoRA: low-rank adaptation of large language models).
    """

    rank: Rank = 8
    alpha: Positive = 16.0
    dropout: FractionBelowOne = 0.0
    targets: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_settings(self)


class Lora:
    """The matrices that a model learns in the place of its weights.

    Args:
        model: of transformers; its layers are wrapped in place, and its own weights frozen.
        config: see `LoraConfig`.
        left_out: part of the model whose layers stay as they are.

    Raises:
        ValueError: when peft is not installed, or the model has no such layers, naming those that it has.
    """

    def __init__(self, model: nn.Module, config: LoraConfig, *, left_out: nn.Module | None = None) -> None:
        try:
            from peft import LoraConfig as PeftConfig
            from peft import LoraModel
        except ModuleNotFoundError as error:
            raise ValueError("policy.lora: LoRA needs the package peft; pip install peft, or leave lora out") from error
        layers = linear_layers(model, left_out=left_out)
        lacking = [target for target in config.targets if not any(_is_among(name, [target]) for name in layers)]
        if lacking:
            ends = sorted({name.rsplit(".", 1)[-1] for name in layers})
            raise ValueError(
                f"policy.lora.targets: expected linear layers of the {type(model).__name__}, which end in {', '.join(ends)}, got "
                f"{', '.join(lacking)}"
            )
        peft_config = PeftConfig(
            r=config.rank,
            lora_alpha=config.alpha,  # type: ignore[arg-type]
            lora_dropout=config.dropout,
            target_modules=[name for name in layers if not config.targets or _is_among(name, config.targets)],
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that GPT-2's matrices are stored the other way round, which peft then takes into account
            self._tuner = LoraModel(model, peft_config, "default")
        # Beside weights of 16 bits, too: what is learned at first is too small for them.
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()

    def merged(self) -> Any:
        """Give a copy of the model whose weights are W + (alpha / rank) B A."""
        return copy.deepcopy(self._tuner).merge_and_unload()


def linear_layers(model: Any, *, left_out: nn.Module | None = None) -> list[str]:
    """Name the linear layers of a model of transformers, but for output matrices, of parts of it, too, and those of what is left out."""
    from transformers import PreTrainedModel
    from transformers.pytorch_utils import Conv1D

    not_these = set() if left_out is None else set(left_out.modules())
    not_these |= {part.get_output_embeddings() for part in model.modules() if isinstance(part, PreTrainedModel)}
    return [name for name, part in model.named_modules() if isinstance(part, nn.Linear | Conv1D) and part not in not_these]


def _is_among(name: str, targets: Sequence[str]) -> bool:
    return any(name == target or name.endswith(f".{target}") for target in targets)
