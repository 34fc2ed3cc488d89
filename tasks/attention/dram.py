"""The deep recurrent attention model: one memory says what it saw, another where to look, which first sees the whole image coarsely."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.distributions import Gaussian
from seqrl.policies.networks import initialise_orthogonal, run_recurrent
from seqrl.tasks.attention.cores import CoreSize, look_by_advancing
from seqrl.tasks.attention.policy import GlimpsePolicyConfig, count_classified, evaluate_looks, seen_in
from seqrl.trajectory import Evaluation, Step, Trajectory, Tree


def shrink(images: Tensor, size: int) -> Tensor:
    """Average images [B, H, W] uint8 over the cells of a grid: [B, size, size] float32 in 0..1."""
    return F.adaptive_avg_pool2d(images.float().unsqueeze(1), size).squeeze(1) / 255.0


class DramCore(nn.Module):
    """Glimpse network, two LSTMs one above the other, and the context network that sets the upper one's first state.

    what_t = relu(W_2 relu(W_1 p_t + b_1) + b_2),  where_t = relu(W_3 x_t + b_3),  g_t = what_t ⊙ where_t
    (h1_t, c1_t) = LSTM_1(g_t; h1_{t-1}, c1_{t-1}),  h1_{-1} = c1_{-1} = 0
    (h2_t, c2_t) = LSTM_2(h1_t; h2_{t-1}, c2_{t-1}),  c2_{-1} = V_2 relu(V_1 I + a_1) + a_2,  h2_{-1} = tanh c2_{-1}

    with p_t [P] the glimpse, x_t [2] its location and I the coarse image, its rows one after the other. Heads read [h1_t, h2_t]
    [B, H], the classifier its first half, what chooses locations the second one. A state is (h1, c1, h2, c2), [B, H/2] each.

    Args:
        size: see `CoreSize`; H is that of both LSTMs together.
        context_size: pixels of the coarse image's side; 0 is none, and the upper LSTM starts from zeros, too.
        separate: let no gradient go from the upper LSTM into the lower one and the glimpse network.
        generator: draws the initial weights; PyTorch's own when None.

    Source: Ba et al. 2015 (Multiple object recognition with visual attention), section 3; the product: Larochelle & Hinton 2010
    (Learning to combine foveal glimpses with a third-order Boltzmann machine).
    Differs from: the paper, whose glimpse and context networks are convolutions; here they are fully connected, as pixels are few
    and a processor is to train it. The bias b_3 begins at 1, so that all features pass at first. `separate` is not the paper's.
    """

    dtype = torch.float32

    def __init__(self, size: CoreSize, context_size: int, *, separate: bool, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.layer_units, self.separate = size.hidden_units // 2, separate
        self.see = nn.Sequential(nn.Linear(size.num_inputs, size.num_features), nn.ReLU(), nn.Linear(size.num_features, size.glimpse_units))
        self.place = nn.Linear(2, size.glimpse_units)
        self.lower, self.upper = nn.LSTM(size.glimpse_units, self.layer_units), nn.LSTM(self.layer_units, self.layer_units)
        self.context: nn.Module | None = None
        if context_size:
            layers = nn.Linear(context_size**2, size.num_features), nn.ReLU(), nn.Linear(size.num_features, self.layer_units)
            self.context = nn.Sequential(nn.Flatten(), *layers)
            initialise_orthogonal(self.context, math.sqrt(2.0), generator)
        for part, gain in ((self.see, math.sqrt(2.0)), (self.place, 1.0), (self.lower, 1.0), (self.upper, 1.0)):
            initialise_orthogonal(part, gain, generator)
        nn.init.ones_(self.place.bias)

    def start(self, coarse: Tensor | None, num_rows: int) -> tuple[Tensor, ...]:
        """Give the state before the first glimpse.

        Args:
            coarse: [B, c, c] float in 0..1; None without a context network.
            num_rows: B.
        """
        zeros = self.place.weight.new_zeros(num_rows, self.layer_units)
        if self.context is None:
            return zeros, zeros, zeros, zeros
        cell = self.context(coarse)
        return zeros, zeros, cell.tanh(), cell

    def run(self, glimpse: Tensor, location: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Take in N glimpses, differentiably.

        Args:
            glimpse: [N, B, P].
            location: [N, B, 2].
            state: before the first of them.

        Returns:
            What heads read after each, [N, B, H]; and the state after the last.
        """
        first, first_cell, second, second_cell = (part.unsqueeze(0) for part in state)
        features = self.see(glimpse).relu() * self.place(location).relu()
        below, memory = run_recurrent(self.lower, features, (first.contiguous(), first_cell.contiguous()))
        above, plan = run_recurrent(self.upper, below.detach() if self.separate else below, (second, second_cell))
        return torch.cat([below, above], dim=2), tuple(part.squeeze(0) for part in (*memory, *plan))


@dataclass(frozen=True)
class StartedCore:
    """A core that has seen its images coarsely: a `seqrl.tasks.attention.cores.Core` for these rows.

    Attributes:
        core: what takes the glimpses in.
        state: before the first of them.
    """

    core: DramCore
    state: tuple[Tensor, ...]
    dtype = torch.float32

    def begin(self, glimpse: Tensor, location: Tensor) -> tuple[Tensor, Callable[[int], None]]:
        """Begin to look; see `Core.begin`."""
        return look_by_advancing(self, glimpse, location, self.state, 2 * self.core.layer_units)

    def run(self, glimpse: Tensor, location: Tensor) -> tuple[Tensor, Tensor]:
        """Take in all glimpses; see `Core.run`."""
        hidden = self.core.run(glimpse, location, self.state)[0]
        return hidden, hidden[-1]

    def empty(self, num_rows: int) -> Tree:
        """Give the state before the first glimpse."""
        return self.state

    @torch.no_grad()
    def advance(self, glimpse: Tensor, location: Tensor, state: Tree) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Take in one glimpse; see `Core.advance`."""
        assert isinstance(state, tuple)
        hidden, after = self.core.run(glimpse.unsqueeze(0), location.unsqueeze(0), state)  # type: ignore[arg-type]
        return hidden[0], after


class HalfLinear(nn.Module):
    """A linear layer over one half of its input: y = W x[begin:end] + b.

    Args:
        num_inputs: size of that half.
        num_outputs: size of y.
        second: read the second half.
        gain: scale of the initial weights, which are orthogonal.
        generator: draws them.
    """

    def __init__(self, num_inputs: int, num_outputs: int, *, second: bool, gain: float, generator: torch.Generator | None) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(num_outputs, num_inputs)), nn.Parameter(torch.zeros(num_outputs))
        self._half = slice(num_inputs, None) if second else slice(num_inputs)
        nn.init.orthogonal_(self.weight, gain, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [..., 2 num_inputs] to y [..., num_outputs]."""
        return F.linear(x[..., self._half], self.weight, self.bias)


class DramPolicy(nn.Module):
    """Chooses the next location from what the upper LSTM knows, and names the k-th class from what the lower one does.

    Observations, actions and classes are those of `GlimpsePolicy`; the context also has "coarse" [B, c, c], the whole image at
    low resolution. As the classifier reads the lower LSTM alone, it cannot guess from the coarse image, and none of its gradient
    reaches the upper LSTM or the context network: these learn where to look from the reward.

    Args:
        num_inputs: P, numbers in a glimpse.
        num_classes: C.
        config: `core` is "dram".
        generator: draws the initial weights; PyTorch's own when None.

    Source: Ba et al. 2015 (Multiple object recognition with visual attention), section 3.
    Differs from: the paper, whose first location already comes from the context; here the first glimpse is where the task says, the
    centre, and the second one is the first that the context has a say in. Its heads have a hidden layer, ours are linear. It ends with
    a symbol of its own and learns from the objects up to the first mistake; here their number is known, and each counts by itself.
    """

    def __init__(
        self,
        num_inputs: int,
        num_classes: int,
        config: GlimpsePolicyConfig,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        size = CoreSize(num_inputs, config.num_features, config.glimpse_units, config.hidden_units)
        self.core = DramCore(size, config.context_size, separate=not config.location_gradient, generator=generator)
        units = self.core.layer_units
        self.locate = HalfLinear(units, 2, second=True, gain=0.01, generator=generator)
        self.critic = HalfLinear(units, 1, second=True, gain=1.0, generator=generator)
        self.classify = HalfLinear(units, num_classes, second=False, gain=1.0, generator=generator)
        self.log_std = nn.Parameter(torch.full((2,), math.log(config.location_std)), requires_grad=config.learned_std)

    def started(self, context: Tree) -> StartedCore:
        """Give the core that has seen a context's coarse images."""
        assert isinstance(context, Mapping) and isinstance(context["label"], Tensor)
        coarse = context.get("coarse")
        assert coarse is None or isinstance(coarse, Tensor)
        return StartedCore(self.core, self.core.start(coarse, context["label"].shape[0]))

    def initial_state(self, context: Tree) -> Tree:
        """Give the memory that the coarse images leave."""
        return self.started(context).state

    def act(self, obs: Tree, state: Tree, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
        """Take in a glimpse and choose where to look next; greedy takes the mean."""
        hidden, after = StartedCore(self.core, ()).advance(*seen_in(obs), state)
        locations = Gaussian(self.raw_location(hidden).tanh(), self.log_std)
        action = locations.mode() if greedy else locations.sample(generator)
        return Step(action, locations.logp(action), self.value(hidden), after)

    def raw_location(self, hidden: Tensor, step: int | None = None) -> Tensor:
        """Give what tanh makes the mean of the next location, [..., 2], from the core's states [..., H], after whichever glimpse."""
        raw: Tensor = self.locate(hidden)
        return raw

    def locations(self, hidden: Tensor) -> Gaussian:
        """Give the distributions of the locations [B, N-1, 2] that follow the core's states [N-1, B, H]."""
        return Gaussian(self.raw_location(hidden).tanh().transpose(0, 1), self.log_std)

    def value(self, hidden: Tensor) -> Tensor:
        """Give the expected reward, [...], from the core's states [..., H]."""
        value: Tensor = self.critic(hidden)
        return value.squeeze(-1)

    def aux_count(self, trajectory: Trajectory) -> Tensor:
        """Count the rows, [], whose classes are learned."""
        return count_classified(self.config, trajectory)

    def forward(self, trajectory: Trajectory) -> Evaluation:
        """Evaluate the locations [B, N-1, 2] of a trajectory, and the classes read from its N glimpses."""
        # What may not learn from the locations is parted off inside of the core.
        return evaluate_looks(self, self.started(trajectory.context), trajectory, detach=False)


class StartedDram:
    """A `DramPolicy` whose core has seen its images coarsely, as `looking.look` wants it; all else is the policy's."""

    def __init__(self, policy: DramPolicy, context: Tree) -> None:
        self._policy = policy
        with torch.no_grad():
            self.core = policy.started(context)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)
