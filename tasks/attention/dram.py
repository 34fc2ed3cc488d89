"""The deep recurrent attention model: one memory says what it saw, another where to look, which first sees the whole image coarsely."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.policies.networks import initialise_orthogonal, run_recurrent
from seqrl.tasks.attention.cores import CoreSize, num_rows
from seqrl.trajectory import Tree, tree_leaves


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

    As the classifier reads the lower LSTM alone, it cannot guess from the coarse image, and none of its gradient reaches the upper LSTM
    or the context network: these learn where to look from the reward.

    Args:
        size: see `CoreSize`; H is that of both LSTMs together.
        context_size: pixels of the coarse image's side; 0 is none, and the upper LSTM starts from zeros, too.
        separate: let no gradient go from the upper LSTM into the lower one and the glimpse network.
        generator: draws the initial weights; PyTorch's own when None.

    Source: Ba et al. 2015 (Multiple object recognition with visual attention), section 3; the product: Larochelle & Hinton 2010
    (Learning to combine foveal glimpses with a third-order Boltzmann machine).
    Differs from: the paper, whose glimpse and context networks are convolutions; here they are fully connected, as pixels are few
    and a processor is to train it. The bias b_3 begins at 1, so that all features pass at first. `separate` is not the paper's. Its
    first location already comes from the context; here the first glimpse is where the task says, the centre, and the second one is the
    first that the context has a say in. Its heads have a hidden layer, ours are linear. It ends with a symbol of its own and learns
    from the objects up to the first mistake; here their number is known, and each counts by itself.
    """

    dtype = torch.float32

    def __init__(self, size: CoreSize, context_size: int, *, separate: bool, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.size, self.layer_units, self.separate = size, size.hidden_units // 2, separate
        self.glimpse_features = nn.Sequential(
            nn.Linear(size.num_inputs, size.num_features), nn.ReLU(), nn.Linear(size.num_features, size.glimpse_units)
        )
        self.location_features = nn.Linear(2, size.glimpse_units)
        self.lower, self.upper = nn.LSTM(size.glimpse_units, self.layer_units), nn.LSTM(self.layer_units, self.layer_units)
        self.context: nn.Module | None = None
        if context_size:
            layers = nn.Linear(context_size**2, size.num_features), nn.ReLU(), nn.Linear(size.num_features, self.layer_units)
            self.context = nn.Sequential(nn.Flatten(), *layers)
            initialise_orthogonal(self.context, math.sqrt(2.0), generator)
        for part, gain in ((self.glimpse_features, math.sqrt(2.0)), (self.location_features, 1.0), (self.lower, 1.0), (self.upper, 1.0)):
            initialise_orthogonal(part, gain, generator)
        nn.init.ones_(self.location_features.bias)

    def run(self, glimpse: Tensor, location: Tensor, state: Tree) -> tuple[Tensor, Tensor]:
        """Take in all glimpses; see `Core.run`."""
        hidden = self._run(glimpse, location, state)[0]
        return hidden, hidden[-1]

    def start(self, context: Tree) -> tuple[Tensor, ...]:
        """Give the state before the first glimpse; the context's "coarse" [B, c, c], in 0..1, sets the upper LSTM's."""
        zeros = self.location_features.weight.new_zeros(num_rows(context), self.layer_units)
        if self.context is None:
            return zeros, zeros, zeros, zeros
        assert isinstance(context, Mapping)
        cell = self.context(context["coarse"])
        return zeros, zeros, cell.tanh(), cell

    @torch.no_grad()
    def advance(self, glimpse: Tensor, location: Tensor, state: Tree) -> tuple[Tensor, Tree]:
        """Take in one glimpse; see `Core.advance`."""
        hidden, after = self._run(glimpse.unsqueeze(0), location.unsqueeze(0), state)
        return hidden[0], after

    def _run(self, glimpse: Tensor, location: Tensor, state: Tree) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Give what heads read after each of N glimpses, [N, B, H], and the state after the last."""
        first, first_cell, second, second_cell = (part.unsqueeze(0) for part in tree_leaves(state))
        features = self.glimpse_features(glimpse).relu() * self.location_features(location).relu()
        below, memory = run_recurrent(self.lower, features, (first.contiguous(), first_cell.contiguous()))
        above, plan = run_recurrent(self.upper, below.detach() if self.separate else below, (second, second_cell))
        return torch.cat([below, above], dim=2), tuple(part.squeeze(0) for part in (*memory, *plan))
