"""The recurrent attention model: it looks at an image through glimpses, chooses where to look next, and says what it saw."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.convolutions import EncoderPrecision, choose_precision
from seqrl.distributions import Gaussian
from seqrl.networks import initialise_orthogonal
from seqrl.reduce import masked_mean
from seqrl.trajectory import Evaluation, Step, Trajectory, Tree
from tasks.attention.cores import CoreSize, LSTMCore, RectifierCore

CoreName = Literal["rectifier", "lstm"]


@dataclass
class GlimpsePolicyConfig:
    """Settings of the recurrent attention model; the sizes are the paper's.

    Attributes:
        core: "rectifier", the paper's for images, or "lstm", its for games.
        num_features: units of the hidden layers over a glimpse and over its location, each.
        glimpse_units: units in which the two are joined.
        hidden_units: units of the core.
        location_std: deviation of the locations that are sampled, in halves of the image's side.
        learned_std: let training change that deviation.
        location_gradient: let the loss of the locations and of the critic change glimpse network and core, too, rather than
            their own layers alone.
        classification_weight: weight of the cross-entropy beside the trainer's own losses.
        precision: number format of glimpse network and core of the rectifier; "auto" is bf16 where a short measurement finds it
            fast. Heads, losses and weights are fp32.
    """

    core: CoreName = "rectifier"
    num_features: int = 128
    glimpse_units: int = 256
    hidden_units: int = 256
    location_std: float = 0.1
    learned_std: bool = False
    location_gradient: bool = False
    classification_weight: float = 1.0
    precision: EncoderPrecision = "auto"

    def __post_init__(self) -> None:
        if self.core not in get_args(CoreName):
            raise ValueError(f"core: expected one of {', '.join(get_args(CoreName))}, got {self.core!r}")
        for name in ("num_features", "glimpse_units", "hidden_units"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if not self.location_std > 0:
            raise ValueError(f"location_std: expected a positive number, got {self.location_std}")
        if self.classification_weight < 0:
            raise ValueError(f"classification_weight: expected 0 or more, got {self.classification_weight}")


class GlimpsePolicy(nn.Module):
    """Chooses the next location from a Gaussian around tanh(W h_t + b), and classifies by the core's state after the last glimpse.

    Observations are {"glimpse": [B, P], "location": [B, 2]}, actions the next locations [B, 2], which may lie outside of the image
    (the retina takes them to its border). The context's "label" [B, K] holds the classes; with K > 1 the glimpses are shared out
    evenly, and the k-th class is read after the k-th part of them.

    The cross-entropy of the classes is the evaluation's `aux_loss`, so that any policy-gradient trainer makes it the hybrid loss.

    Args:
        num_inputs: P, numbers in a glimpse.
        num_classes: C.
        config: see `GlimpsePolicyConfig`.
        num_objects: K.
        generator: draws the first weights; PyTorch's own when None.

    Source: Mnih et al. 2014 (Recurrent models of visual attention), sections 3 and 4; classes one after the other: Ba et al. 2015
    (Multiple object recognition with visual attention), section 3.
    Differs from: Mnih et al., who do not say how a mean is kept inside of the image; here by tanh.
    """

    def __init__(
        self,
        num_inputs: int,
        num_classes: int,
        config: GlimpsePolicyConfig | None = None,
        *,
        num_objects: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = config = config or GlimpsePolicyConfig()
        self.num_objects = num_objects
        size = CoreSize(num_inputs, config.num_features, config.glimpse_units, config.hidden_units)
        self.core: RectifierCore | LSTMCore = (
            LSTMCore(size, generator=generator)
            if config.core == "lstm"
            else RectifierCore(size, dtype=choose_precision(config.precision), generator=generator)
        )
        self.locate, self.critic, self.classify = (nn.Linear(config.hidden_units, number) for number in (2, 1, num_classes))
        for layer, gain in ((self.locate, 0.01), (self.critic, 1.0), (self.classify, 1.0)):
            initialise_orthogonal(layer, gain, generator)
        self.log_std = nn.Parameter(torch.full((2,), math.log(config.location_std)), requires_grad=config.learned_std)

    def initial_state(self, context: Tree) -> Tree:
        """Give an empty memory, as many rows as the context has labels."""
        assert isinstance(context, Mapping) and isinstance(context["label"], Tensor)
        return self.core.empty(context["label"].shape[0])

    def act(self, obs: Tree, state: Tree, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
        """Take in a glimpse and choose where to look next; greedy takes the mean."""
        assert isinstance(obs, Mapping) and isinstance(obs["glimpse"], Tensor) and isinstance(obs["location"], Tensor)
        hidden, state = self.core.advance(obs["glimpse"], obs["location"], state)
        locations = self.locations(hidden)
        action = locations.mode() if greedy else locations.sample(generator)
        return Step(action, locations.logp(action), self.critic(hidden).squeeze(-1), state)

    def locations(self, hidden: Tensor) -> Gaussian:
        """Give the distribution of the next location, [..., 2], from the core's states [..., H]."""
        return Gaussian(self.mean_location(hidden), self.log_std)

    def mean_location(self, hidden: Tensor) -> Tensor:
        """Give the mean of the next location, [..., 2], from the core's states [..., H]."""
        return F.linear(hidden, self.locate.weight, self.locate.bias).tanh()

    def read_steps(self, num_glimpses: int) -> list[int]:
        """Say after which glimpses, numbered from 0, a class is read."""
        return [num_glimpses * (index + 1) // self.num_objects - 1 for index in range(self.num_objects)]

    def forward(self, trajectory: Trajectory) -> Evaluation:
        """Evaluate the locations [B, N-1, 2] of a trajectory, and the classes read from its N glimpses."""
        obs, context = trajectory.obs, trajectory.context
        assert isinstance(obs, Mapping) and isinstance(obs["glimpse"], Tensor) and isinstance(obs["location"], Tensor)
        assert isinstance(context, Mapping) and isinstance(context["label"], Tensor)
        hidden, last = self.core.run(obs["glimpse"].transpose(0, 1), obs["location"].transpose(0, 1))
        before = hidden[:-1] if self.config.location_gradient else hidden[:-1].detach()
        before = before.transpose(0, 1)
        locations = self.locations(before)
        return Evaluation(
            logp=locations.logp(trajectory.action),
            entropy=locations.entropy(),
            value=self.critic(before).squeeze(-1),
            aux_loss=self.config.classification_weight * self._cross_entropy(hidden, last, context["label"]),
            distribution=locations,
        )

    def _cross_entropy(self, hidden: Tensor, last: Tensor, label: Tensor) -> Tensor:
        """Average the cross-entropy of the classes [B, K] over rows and objects."""
        states = last.unsqueeze(0) if self.num_objects == 1 else hidden[self.read_steps(hidden.shape[0])]
        logits = self.classify(states)
        return masked_mean(F.cross_entropy(logits.flatten(0, 1), label.t().flatten(), reduction="none"), None)
