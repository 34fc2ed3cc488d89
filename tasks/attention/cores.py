"""The networks between retina and heads: glimpse network and recurrent core, by rectifiers or by an LSTM."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.policies.networks import initialise_orthogonal, run_recurrent
from seqrl.tasks.attention.relu_rnn import Activations, ReluRNNPass, ReluRNNWeights, recur, run_pass, take_in
from seqrl.trajectory import Tree, tree_leaves


@dataclass(frozen=True)
class CoreSize:
    """Sizes of glimpse network and core.

    Attributes:
        num_inputs: P, numbers in a glimpse.
        num_features: G, units of the hidden layers over the glimpse and over its location, each.
        glimpse_units: J, units that the two are joined in.
        hidden_units: H, units of the core.
    """

    num_inputs: int
    num_features: int
    glimpse_units: int
    hidden_units: int


class Core(Protocol):
    """What takes glimpses in one after the other."""

    dtype: torch.dtype

    def begin(self, glimpse: Tensor, location: Tensor) -> tuple[Tensor, Callable[[int], None]]:
        """Begin to look, without gradients.

        Args:
            glimpse: [N, B, P] in the core's dtype, filled in step by step.
            location: [N, B, 2] the same.

        Returns:
            room for the states [N, B, H] float32, and a function that takes in glimpse[t] of location[t] and writes the state after
            it there, for t = 0, 1, ..., N - 1.
        """

    def run(self, glimpse: Tensor, location: Tensor) -> tuple[Tensor, Tensor]:
        """Take in all glimpses [N, B, P] of known locations [N, B, 2], differentiably: all states [N, B, H], and the last again."""

    def empty(self, num_rows: int) -> Tree:
        """Give the state before the first glimpse, leaves [B, ...]."""

    def advance(self, glimpse: Tensor, location: Tensor, state: Tree) -> tuple[Tensor, Tree]:
        """Take in one glimpse [B, P] of a location [B, 2] without gradients: the state that heads read [B, H], and all of it."""


def look_by_advancing(core: Core, glimpse: Tensor, location: Tensor, state: Tree, num_units: int) -> tuple[Tensor, Callable[[int], None]]:
    """Do what `Core.begin` does, for a core that goes from state to state.

    Args:
        core: whose `advance` is called.
        glimpse: [N, B, P].
        location: [N, B, 2].
        state: before the first glimpse.
        num_units: H, of what heads read.
    """
    states = torch.empty(*glimpse.shape[:2], num_units, device=glimpse.device)

    def take(step: int) -> None:
        nonlocal state
        states[step], state = core.advance(glimpse[step], location[step], state)

    return states, take


class ReluRNNCore(nn.Module):
    """Glimpse network and core of the recurrent attention model, see `seqrl.tasks.attention.relu_rnn.ReluRNNWeights`.

    What the last pass computed while it chose where to look is kept: `run` on the very same tensors, before any weight has
    changed, need not compute it again.

    Args:
        size: see `CoreSize`.
        dtype: dtype of the pass; the weights and what comes out are float32.
        generator: draws the initial weights; PyTorch's own when None.

    Source: Mnih et al. 2014 (Recurrent models of visual attention), section 4.
    """

    def __init__(self, size: CoreSize, *, dtype: torch.dtype = torch.float32, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.size, self.dtype = size, dtype
        self.see = nn.Linear(size.num_inputs, size.num_features)
        self.place = nn.Linear(2, size.num_features)
        self.join_seen = nn.Linear(size.num_features, size.glimpse_units)
        self.join_placed = nn.Linear(size.num_features, size.glimpse_units, bias=False)
        self.enter = nn.Linear(size.glimpse_units, size.hidden_units)
        self.recur = nn.Linear(size.hidden_units, size.hidden_units, bias=False)
        for layer in (self.see, self.place, self.join_seen, self.join_placed, self.enter):
            initialise_orthogonal(layer, math.sqrt(2.0), generator)
        initialise_orthogonal(self.recur, 1.0, generator)
        self._last: _KnownPass | None = None

    @property
    def weights(self) -> ReluRNNWeights:
        """The parameters."""
        return ReluRNNWeights(
            self.see.weight,
            self.see.bias,
            self.place.weight,
            self.place.bias,
            self.join_seen.weight,
            self.join_placed.weight,
            self.join_seen.bias,
            self.enter.weight,
            self.recur.weight,
            self.enter.bias,
        )

    @torch.no_grad()
    def begin(self, glimpse: Tensor, location: Tensor) -> tuple[Tensor, Callable[[int], None]]:
        """Begin to look; see `Core.begin`."""
        weights = self.weights
        cast = weights.to(self.dtype)
        activations = Activations.empty(glimpse, location, cast)
        states = activations.hidden if self.dtype == torch.float32 else torch.empty_like(activations.hidden, dtype=torch.float32)
        self._last = _KnownPass(cast, activations, states, _versions(weights))

        @torch.no_grad()
        def take(step: int) -> None:
            take_in(cast, activations, slice(step, step + 1))
            hidden = recur(cast, activations, step)
            if states is not activations.hidden:
                states[step] = hidden

        return states, take

    def run(self, glimpse: Tensor, location: Tensor) -> tuple[Tensor, Tensor]:
        """Take in all glimpses; see `Core.run`."""
        weights, known = self.weights, self._last
        if known is None or not known.serves(glimpse, location, weights):
            cast, activations = run_pass(weights, glimpse, location, self.dtype)
            known = _KnownPass(cast, activations, activations.hidden.to(self.see.weight.dtype), ())
        return ReluRNNPass.apply(known.cast, known.activations, known.states, *weights)  # type: ignore[no-any-return, no-untyped-call]

    def empty(self, num_rows: int) -> Tree:
        """Give zeros [B, H]."""
        return self.recur.weight.new_zeros(()).expand(num_rows, self.size.hidden_units)

    @torch.no_grad()
    def advance(self, glimpse: Tensor, location: Tensor, state: Tree) -> tuple[Tensor, Tree]:
        """Take in one glimpse; see `Core.advance`."""
        cast = self.weights.to(self.dtype)
        activations = Activations.empty(glimpse.to(self.dtype).unsqueeze(0), location.to(self.dtype).unsqueeze(0), cast)
        take_in(cast, activations, slice(0, 1))
        assert isinstance(state, Tensor)
        hidden = activations.hidden[0].addmm_(state.to(self.dtype), cast.recur.t()).relu_().float()
        return hidden, hidden

    def __getstate__(self) -> dict[str, object]:
        """Leave the last pass out of copies."""
        return {**self.__dict__, "_last": None}


@dataclass(frozen=True)
class _KnownPass:
    """A pass, its states in float32, and the versions that the weights had."""

    cast: ReluRNNWeights
    activations: Activations
    states: Tensor
    versions: tuple[int, ...]

    def serves(self, glimpse: Tensor, location: Tensor, weights: ReluRNNWeights) -> bool:
        """Whether this is the pass over these very glimpses with these very weights."""
        mine = self.activations.glimpse, self.activations.location
        return all(a.data_ptr() == b.data_ptr() and a.shape == b.shape for a, b in zip(mine, (glimpse, location), strict=True)) and (
            self.versions == _versions(weights)
        )


def _versions(weights: ReluRNNWeights) -> tuple[int, ...]:
    """How often each weight has been changed in place, and where it lies."""
    return tuple(number for weight in weights for number in (weight._version, weight.data_ptr()))


class LSTMCore(nn.Module):
    """The same glimpse network, with an LSTM as the core; always in float32.

    Args:
        size: see `CoreSize`.
        generator: draws the initial weights; PyTorch's own when None.

    Source: Mnih et al. 2014 (Recurrent models of visual attention), section 4.2 (dynamic environments); Hochreiter & Schmidhuber
    1997 (Long short-term memory).
    """

    dtype = torch.float32

    def __init__(self, size: CoreSize, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.size = size
        self.see = nn.Linear(size.num_inputs, size.num_features)
        self.place = nn.Linear(2, size.num_features)
        self.join = nn.Linear(2 * size.num_features, size.glimpse_units)
        self.memory = nn.LSTM(size.glimpse_units, size.hidden_units)
        for layer in (self.see, self.place, self.join):
            initialise_orthogonal(layer, math.sqrt(2.0), generator)
        initialise_orthogonal(self.memory, 1.0, generator)

    def begin(self, glimpse: Tensor, location: Tensor) -> tuple[Tensor, Callable[[int], None]]:
        """Begin to look; see `Core.begin`."""
        return look_by_advancing(self, glimpse, location, self.empty(glimpse.shape[1]), self.size.hidden_units)

    def run(self, glimpse: Tensor, location: Tensor) -> tuple[Tensor, Tensor]:
        """Take in all glimpses; see `Core.run`."""
        hidden = run_recurrent(self.memory, self._joined(glimpse, location))[0]
        return hidden, hidden[-1]

    def empty(self, num_rows: int) -> Tree:
        """Give two times zeros [B, H], hidden state and cell."""
        zeros = self.join.weight.new_zeros(num_rows, self.size.hidden_units)
        return zeros, zeros

    @torch.no_grad()
    def advance(self, glimpse: Tensor, location: Tensor, state: Tree) -> tuple[Tensor, Tree]:
        """Take in one glimpse; see `Core.advance`."""
        assert isinstance(state, tuple)
        before = tuple(part.unsqueeze(0) for part in tree_leaves(state))
        output, after = run_recurrent(self.memory, self._joined(glimpse, location).unsqueeze(0), before)
        return output[0], tuple(part.squeeze(0) for part in after)

    def _joined(self, glimpse: Tensor, location: Tensor) -> Tensor:
        parts = F.relu(self.see(glimpse.float())), F.relu(self.place(location.float()))
        return F.relu(self.join(torch.cat(parts, dim=-1)))
