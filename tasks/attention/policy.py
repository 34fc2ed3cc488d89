"""The recurrent attention model: it looks at an image through glimpses, chooses where to look next, and says what it saw."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.distributions import Gaussian
from seqrl.policies.convolutions import EncoderPrecision, dtype_of
from seqrl.run.trust import NAMES_CODE
from seqrl.settings import Count, FractionBelowOne, NotNegative, Positive, ReadBy, check_settings, named
from seqrl.tasks.attention.classification import classification_loss
from seqrl.tasks.attention.cores import CoreSize, LSTMCore, ReluRNNCore
from seqrl.tasks.attention.dram import DramCore
from seqrl.trajectory import Evaluation, Step, Trajectory, Tree

TYPES = ("relu_rnn", "lstm", "dram")


@dataclass
class GlimpsePolicyConfig:
    """Settings of the recurrent attention model; the sizes are the paper's.

    Attributes:
        type: core of the policy: "relu_rnn", the paper's for images; "lstm", its for games; "dram", two LSTMs and a context, see
            `seqrl.tasks.attention.dram`; or `module:function` for a policy of one's own, where the function takes this configuration, the
            numbers in a glimpse, the number of classes, and by keyword what `GlimpsePolicy` takes: `start` and `generator`.
        num_features: units of the hidden layers over a glimpse and over its location, each.
        glimpse_units: units in which the two are joined.
        hidden_units: units of the core; of "dram", half of them in each LSTM.
        context_size: "dram": pixels of the side that the whole image is shrunk to for the context; 0 is no context.
        location_std: deviation of the locations that are sampled, in halves of the image's side.
        location_gradient: let the loss of the locations and of the critic change glimpse network and core, too, rather than
            their own layers alone.
        head_scale: not for "dram": factor on what the layers of location and critic give, before the tanh. Adam moves every weight by
            about the learning rate; over the states of many units that adds up, so that a small factor keeps the means from running
            about.
        classification_weight: weight of the cross-entropy beside the trainer's own losses.
        early_classification: share of it that goes to the class after the glimpses before the last; with it the classifier can
            tell what a single glimpse has brought, see the task's reward "information_gain".
        precision: dtype of glimpse network and core of "relu_rnn"; "auto": what the run measures to be fastest, see
            `seqrl.run.measured_settings`, and fp32 outside of a run. Heads, losses and weights are fp32.
    """

    type: Annotated[str, named(*TYPES)] = field(default="relu_rnn", metadata={NAMES_CODE: ()})
    num_features: Count = 128
    glimpse_units: Count = 256
    hidden_units: Count = 256
    context_size: Annotated[NotNegative[int], ReadBy("type", "dram")] = 12
    location_std: Positive = 0.1
    location_gradient: bool = False
    head_scale: Annotated[Positive, ReadBy("type", "relu_rnn", "lstm")] = 0.25
    classification_weight: NotNegative[float] = 1.0
    early_classification: FractionBelowOne = 0.0
    precision: EncoderPrecision = "auto"

    def __post_init__(self) -> None:
        check_settings(self)
        if self.type == "dram" and self.hidden_units % 2:
            raise ValueError(f"hidden_units: expected an even number, half for each LSTM of type dram, got {self.hidden_units}")


class GlimpsePolicy(nn.Module):
    """Chooses the next location from a Gaussian around tanh(s W h_t + b_t), and classifies by the core's state after the last glimpse.

    s is `head_scale`; b_t, one for each glimpse, is where the means start. With `type: dram` s is 1, b the same after every glimpse, and
    the heads read the halves of the state that `seqrl.tasks.attention.dram` says.

    Observations are {"glimpse": [B, P], "location": [B, 2]}, actions the next locations [B, 2], which may lie outside of the image
    (the retina takes them to its border). The context's "label" [B, K] holds the classes; with K > 1 the glimpses are shared out
    evenly, and the k-th class is read after the k-th part of them.

    The cross-entropy of the classes is the evaluation's `aux_loss`, so that any policy-gradient trainer makes it the hybrid loss.

    Args:
        num_inputs: P, numbers in a glimpse.
        num_classes: C.
        config: see `GlimpsePolicyConfig`.
        start: [N, 2] where the means of the N locations start to be, inside of the image; the first is no choice of the policy's.
        generator: draws the initial weights; PyTorch's own when None.

    Source: Mnih et al. 2014 (Recurrent models of visual attention), sections 3 and 4; classes one after the other: Ba et al. 2015
    (Multiple object recognition with visual attention), section 3.
    Differs from: Mnih et al., who have no bias for each glimpse, and do not say how a mean is kept inside of the image; here by tanh.
    """

    def __init__(
        self,
        num_inputs: int,
        num_classes: int,
        config: GlimpsePolicyConfig | None = None,
        *,
        start: Tensor,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = config = config or GlimpsePolicyConfig()
        is_dram, units = config.type == "dram", config.hidden_units
        size = CoreSize(num_inputs, config.num_features, config.glimpse_units, units)
        self.core: ReluRNNCore | LSTMCore | DramCore
        if is_dram:
            self.core = DramCore(size, config.context_size, separate=not config.location_gradient, generator=generator)
        elif config.type == "lstm":
            self.core = LSTMCore(size, generator=generator)
        else:
            self.core = ReluRNNCore(size, dtype=dtype_of(config.precision), generator=generator)
        known, plan = (slice(units // 2), slice(units // 2, units)) if is_dram else (slice(units), slice(units))
        scale = 1.0 if is_dram else config.head_scale
        self.locate = Head(plan, 2, 0.01, scale=scale, bias=is_dram, generator=generator)
        self.critic = Head(plan, 1, 1.0, scale=scale, generator=generator)
        self.classify = Head(known, num_classes, 1.0, generator=generator)
        self.start = None if is_dram else nn.Parameter(start[1:].clamp(-0.95, 0.95).atanh())
        self.log_std = nn.Parameter(torch.full((2,), math.log(config.location_std)), requires_grad=False)

    def initial_state(self, context: Tree) -> Tree:
        """Give the memory before the first glimpse, as many rows as the context has labels."""
        return self.core.start(context)

    def act(self, obs: Tree, state: Tree, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
        """Take in a glimpse and choose where to look next; greedy takes the mean."""
        hidden, state = self.core.advance(*seen_in(obs), state)
        raw = self.locate(hidden)
        if self.start is not None:
            assert isinstance(obs, Mapping) and isinstance(obs["step"], Tensor)
            raw = raw + self.start[obs["step"].clamp(max=len(self.start) - 1)]  # after the last glimpse nothing is chosen
        locations = Gaussian(raw.tanh(), self.log_std)
        action = locations.mode() if greedy else locations.sample(generator)
        return Step(action, locations.logp(action), self.value(hidden), state)

    def raw_location(self, hidden: Tensor, step: int) -> Tensor:
        """Give what tanh makes the mean of the location after glimpse `step`, [..., 2], from the core's states there [..., H]."""
        return self.locate(hidden, None if self.start is None else self.start[step])  # type: ignore[no-any-return]

    def value(self, hidden: Tensor) -> Tensor:
        """Give the expected reward, [...], from the core's states [..., H]."""
        return self.critic(hidden).squeeze(-1)  # type: ignore[no-any-return]

    def aux_count(self, trajectory: Trajectory) -> Tensor:
        """Count the rows, [], whose classes are learned: all, or none without a weight."""
        count = trajectory.batch_size if self.config.classification_weight else 0
        return torch.tensor(float(count), device=trajectory.action.device)

    def forward(self, trajectory: Trajectory) -> Evaluation:
        """Evaluate the locations [B, N-1, 2] of a trajectory, and the classes [B, K] read from its N glimpses."""
        context, config = trajectory.context, self.config
        assert isinstance(context, Mapping) and isinstance(context["label"], Tensor)
        glimpse, location = seen_in(trajectory.obs)
        hidden, last = self.core.run(glimpse.transpose(0, 1), location.transpose(0, 1), self.core.start(context))
        before = hidden[:-1]
        if not config.location_gradient and config.type != "dram":  # whose core parts its gradients itself
            before = before.detach()
        raw = self.locate(before) if self.start is None else self.locate(before) + self.start.unsqueeze(1)
        locations = Gaussian(raw.tanh().transpose(0, 1), self.log_std)
        classified = classification_loss(self.classify, hidden, last, context["label"], config.early_classification)
        return Evaluation(
            logp=locations.logp(trajectory.action),
            entropy=locations.entropy(),
            value=self.value(before).t(),
            aux_loss=config.classification_weight * classified,
            distribution=locations,
        )


class Head(nn.Module):
    """A linear layer over a part of a core's state: y = s W x[part] + b.

    Args:
        part: of the state.
        num_outputs: size of y.
        gain: scale of the initial weights, which are orthogonal.
        scale: s.
        bias: whether there is one; it begins at 0.
        generator: draws the initial weights.
    """

    def __init__(
        self, part: slice, num_outputs: int, gain: float, *, scale: float = 1.0, bias: bool = True, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self._part, self._scale = part, scale
        self.weight = nn.Parameter(torch.empty(num_outputs, len(range(part.stop)[part])))
        self.bias = nn.Parameter(torch.zeros(num_outputs)) if bias else None
        nn.init.orthogonal_(self.weight, gain, generator=generator)

    def forward(self, state: Tensor, bias: Tensor | None = None) -> Tensor:
        """Map states [..., H] to [..., num_outputs]; `bias` stands in for the layer's own."""
        return F.linear(state[..., self._part], self.weight * self._scale, self.bias if bias is None else bias)


def seen_in(obs: Tree) -> tuple[Tensor, Tensor]:
    """Give the glimpses [..., P] and their locations [..., 2] of observations."""
    assert isinstance(obs, Mapping) and isinstance(obs["glimpse"], Tensor) and isinstance(obs["location"], Tensor)
    return obs["glimpse"], obs["location"]
