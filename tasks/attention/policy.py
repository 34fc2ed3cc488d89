"""The recurrent attention model: it looks at an image through glimpses, chooses where to look next, and says what it saw."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.distributions import Gaussian
from seqrl.policies.convolutions import EncoderPrecision, dtype_of
from seqrl.policies.networks import initialise_orthogonal
from seqrl.run.trust import NAMES_CODE
from seqrl.settings import Count, FractionBelowOne, NotNegative, Positive, ReadBy, check_settings, named
from seqrl.tasks.attention.classification import classification_loss
from seqrl.tasks.attention.cores import Core, CoreSize, LSTMCore, ReluRNNCore
from seqrl.trajectory import Evaluation, Step, Trajectory, Tree

TYPES = ("rectifier", "lstm", "dram")


@dataclass
class GlimpsePolicyConfig:
    """Settings of the recurrent attention model; the sizes are the paper's.

    Attributes:
        type: core of the policy: "rectifier", the paper's for images; "lstm", its for games; "dram", two LSTMs and a context, see
            `seqrl.tasks.attention.dram`; or `module:function` for a policy of one's own, where the function takes this configuration, the
            numbers in a glimpse, the number of classes, and by keyword what `GlimpsePolicy` takes: `start` and `generator`.
        num_features: units of the hidden layers over a glimpse and over its location, each.
        glimpse_units: units in which the two are joined.
        hidden_units: units of the core; of "dram", half of them in each LSTM.
        context_size: "dram": pixels of the side that the whole image is shrunk to for the context; 0 is no context.
        location_std: deviation of the locations that are sampled, in halves of the image's side.
        learned_std: let training change that deviation.
        location_gradient: let the loss of the locations and of the critic change glimpse network and core, too, rather than
            their own layers alone.
        head_scale: not for "dram": factor on what the layers of location and critic give, before the tanh. Adam moves every weight by
            about the learning rate; over the states of many units that adds up, so that a small factor keeps the means from running
            about.
        classification_weight: weight of the cross-entropy beside the trainer's own losses.
        early_classification: share of it that goes to naming the class after the glimpses before the last; with it the classifier can
            tell what a single glimpse has brought, see the task's reward "information_gain".
        precision: dtype of glimpse network and core of the rectifier; "auto": what the run measures to be fastest, see
            `seqrl.run.measured_settings`, and fp32 outside of a run. Heads, losses and weights are fp32.
    """

    type: Annotated[str, named(*TYPES)] = field(default="rectifier", metadata={NAMES_CODE: ()})
    num_features: Count = 128
    glimpse_units: Count = 256
    hidden_units: Count = 256
    context_size: Annotated[NotNegative[int], ReadBy("type", "dram")] = 12
    location_std: Positive = 0.1
    learned_std: bool = False
    location_gradient: bool = False
    head_scale: Annotated[Positive, ReadBy("type", "rectifier", "lstm")] = 0.25
    classification_weight: NotNegative[float] = 1.0
    early_classification: FractionBelowOne = 0.0
    precision: EncoderPrecision = "auto"

    def __post_init__(self) -> None:
        check_settings(self)
        if self.type == "dram" and self.hidden_units % 2:
            raise ValueError(f"hidden_units: expected an even number, half for each LSTM of type dram, got {self.hidden_units}")


class GlimpsePolicy(nn.Module):
    """Chooses the next location from a Gaussian around tanh(s W h_t + b_t), and classifies by the core's state after the last glimpse.

    s is `head_scale`; b_t, one for each glimpse, is where the means start.

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
        size = CoreSize(num_inputs, config.num_features, config.glimpse_units, config.hidden_units)
        self.core: ReluRNNCore | LSTMCore = (
            LSTMCore(size, generator=generator)
            if config.type == "lstm"
            else ReluRNNCore(size, dtype=dtype_of(config.precision), generator=generator)
        )
        self.locate = nn.Linear(config.hidden_units, 2, bias=False)
        self.critic, self.classify = (nn.Linear(config.hidden_units, number) for number in (1, num_classes))
        for layer, gain in ((self.locate, 0.01), (self.critic, 1.0), (self.classify, 1.0)):
            initialise_orthogonal(layer, gain, generator)
        self.start = nn.Parameter(start[1:].clamp(-0.95, 0.95).atanh())
        self.log_std = nn.Parameter(torch.full((2,), math.log(config.location_std)), requires_grad=config.learned_std)

    def initial_state(self, context: Tree) -> Tree:
        """Give an empty memory, as many rows as the context has labels."""
        assert isinstance(context, Mapping) and isinstance(context["label"], Tensor)
        return self.core.empty(context["label"].shape[0])

    def act(self, obs: Tree, state: Tree, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
        """Take in a glimpse and choose where to look next; greedy takes the mean."""
        hidden, state = self.core.advance(*seen_in(obs), state)
        assert isinstance(obs, Mapping) and isinstance(obs["step"], Tensor)
        step = obs["step"].clamp(max=len(self.start) - 1)  # after the last glimpse nothing is chosen
        raw = F.linear(hidden, self.locate.weight * self.config.head_scale) + self.start[step]
        locations = Gaussian(raw.tanh(), self.log_std)
        action = locations.mode() if greedy else locations.sample(generator)
        return Step(action, locations.logp(action), self.value(hidden), state)

    def raw_location(self, hidden: Tensor, step: int) -> Tensor:
        """Give what tanh makes the mean of the location after glimpse `step`, [..., 2], from the core's states there [..., H]."""
        return F.linear(hidden, self.locate.weight * self.config.head_scale, self.start[step])

    def locations(self, hidden: Tensor) -> Gaussian:
        """Give the distributions of the locations [B, N-1, 2] that follow the core's states [N-1, B, H]."""
        raw = F.linear(hidden, self.locate.weight * self.config.head_scale) + self.start.unsqueeze(1)
        return Gaussian(raw.tanh().transpose(0, 1), self.log_std)

    def value(self, hidden: Tensor) -> Tensor:
        """Give the expected reward, [...], from the core's states [..., H]."""
        return F.linear(hidden, self.critic.weight * self.config.head_scale, self.critic.bias).squeeze(-1)

    def aux_count(self, trajectory: Trajectory) -> Tensor:
        """Count the rows, [], whose classes are learned."""
        return count_classified(self.config, trajectory)

    def forward(self, trajectory: Trajectory) -> Evaluation:
        """Evaluate the locations [B, N-1, 2] of a trajectory, and the classes read from its N glimpses."""
        return evaluate_looks(self, self.core, trajectory, detach=not self.config.location_gradient)


def seen_in(obs: Tree) -> tuple[Tensor, Tensor]:
    """Give the glimpses [..., P] and their locations [..., 2] of observations."""
    assert isinstance(obs, Mapping) and isinstance(obs["glimpse"], Tensor) and isinstance(obs["location"], Tensor)
    return obs["glimpse"], obs["location"]


def count_classified(config: GlimpsePolicyConfig, trajectory: Trajectory) -> Tensor:
    """Count the rows, [], whose classes are learned: all, or none without a weight; the `aux_count` of all glimpse policies."""
    return torch.tensor(float(trajectory.batch_size if config.classification_weight else 0), device=trajectory.action.device)


def evaluate_looks(policy: Any, core: Core, trajectory: Trajectory, *, detach: bool) -> Evaluation:
    """Evaluate a trajectory by a policy's heads over a core's states; the `forward` of all glimpse policies.

    Args:
        policy: has `config`, `classify`, and `locations` and `value` of the states [N-1, B, H].
        core: takes in the trajectory's glimpses.
        trajectory: [B, N-1], its context's "label" [B, K].
        detach: let no gradient go from locations and values into the core.
    """
    context, config = trajectory.context, policy.config
    assert isinstance(context, Mapping) and isinstance(context["label"], Tensor)
    glimpse, location = seen_in(trajectory.obs)
    hidden, last = core.run(glimpse.transpose(0, 1), location.transpose(0, 1))
    before = hidden[:-1].detach() if detach else hidden[:-1]
    locations = policy.locations(before)
    return Evaluation(
        logp=locations.logp(trajectory.action),
        entropy=locations.entropy(),
        value=policy.value(before).t(),
        aux_loss=config.classification_weight
        * classification_loss(policy.classify, hidden, last, context["label"], config.early_classification),
        distribution=locations,
    )
