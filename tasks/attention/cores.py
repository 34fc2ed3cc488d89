"""The networks between retina and heads: glimpse network and recurrent core, by a ReLU recurrence or by an LSTM."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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
    size: CoreSize

    def start(self, context: Tree) -> Tree:
        """Give the state before the first glimpse, leaves [B, ...]; the context's "label" has B rows."""

    def run(self, glimpse: Tensor, location: Tensor, state: Tree) -> tuple[Tensor, Tensor]:
        """Take in all glimpses [N, B, P] of known locations [N, B, 2], differentiably: all states [N, B, H], and the last again."""

    def advance(self, glimpse: Tensor, location: Tensor, state: Tree) -> tuple[Tensor, Tree]:
        """Take in one glimpse [B, P] of a location [B, 2] without gradients: the state that heads read [B, H], and all of it."""


def num_rows(context: Tree) -> int:
    """Give B of a context whose "label" is [B, K]."""
    assert isinstance(context, Mapping) and isinstance(context["label"], Tensor)
    return context["label"].shape[0]


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
        self.glimpse_features = nn.Linear(size.num_inputs, size.num_features)
        self.location_features = nn.Linear(2, size.num_features)
        self.join_glimpse = nn.Linear(size.num_features, size.glimpse_units)
        self.join_location = nn.Linear(size.num_features, size.glimpse_units, bias=False)
        self.enter = nn.Linear(size.glimpse_units, size.hidden_units)
        self.recur = nn.Linear(size.hidden_units, size.hidden_units, bias=False)
        for layer in (self.glimpse_features, self.location_features, self.join_glimpse, self.join_location, self.enter):
            initialise_orthogonal(layer, math.sqrt(2.0), generator)
        initialise_orthogonal(self.recur, 1.0, generator)
        self._last: _KnownPass | None = None

    @property
    def weights(self) -> ReluRNNWeights:
        """The parameters."""
        return ReluRNNWeights(*self.parameters())

    def start(self, context: Tree) -> Tree:
        """Give zeros [B, H], from which every pass begins."""
        return self.recur.weight.new_zeros(()).expand(num_rows(context), self.size.hidden_units)

    @torch.no_grad()
    def begin(self, glimpse: Tensor, location: Tensor) -> tuple[Tensor, Callable[[int], None]]:
        """Begin to look; see `begin_to_look`."""
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

    def run(self, glimpse: Tensor, location: Tensor, state: Tree = None) -> tuple[Tensor, Tensor]:
        """Take in all glimpses; see `Core.run`."""
        weights, known = self.weights, self._last
        if known is None or not known.serves(glimpse, location, weights):
            cast, activations = run_pass(weights, glimpse, location, self.dtype)
            known = _KnownPass(cast, activations, activations.hidden.to(self.glimpse_features.weight.dtype), ())
        return ReluRNNPass.apply(known.cast, known.activations, known.states, *weights)  # type: ignore[no-any-return, no-untyped-call]

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
        same = all(a.data_ptr() == b.data_ptr() and a.shape == b.shape for a, b in zip(mine, (glimpse, location), strict=True))
        return same and self.versions == _versions(weights)


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
        self.glimpse_features = nn.Linear(size.num_inputs, size.num_features)
        self.location_features = nn.Linear(2, size.num_features)
        self.join = nn.Linear(2 * size.num_features, size.glimpse_units)
        self.memory = nn.LSTM(size.glimpse_units, size.hidden_units)
        for layer in (self.glimpse_features, self.location_features, self.join):
            initialise_orthogonal(layer, math.sqrt(2.0), generator)
        initialise_orthogonal(self.memory, 1.0, generator)

    def start(self, context: Tree) -> Tree:
        """Give two times zeros [B, H], hidden state and cell."""
        zeros = self.join.weight.new_zeros(num_rows(context), self.size.hidden_units)
        return zeros, zeros

    def run(self, glimpse: Tensor, location: Tensor, state: Tree) -> tuple[Tensor, Tensor]:
        """Take in all glimpses; see `Core.run`."""
        hidden = self._run(glimpse, location, state)[0]
        return hidden, hidden[-1]

    @torch.no_grad()
    def advance(self, glimpse: Tensor, location: Tensor, state: Tree) -> tuple[Tensor, Tree]:
        """Take in one glimpse; see `Core.advance`."""
        hidden, after = self._run(glimpse.unsqueeze(0), location.unsqueeze(0), state)
        return hidden[0], tuple(part.squeeze(0) for part in after)

    def _run(self, glimpse: Tensor, location: Tensor, state: Tree) -> tuple[Tensor, tuple[Tensor, ...]]:
        parts = F.relu(self.glimpse_features(glimpse.float())), F.relu(self.location_features(location.float()))
        joined = F.relu(self.join(torch.cat(parts, dim=-1)))
        return run_recurrent(self.memory, joined, tuple(part.unsqueeze(0) for part in tree_leaves(state)))  # type: ignore[no-any-return]


def begin_to_look(core: Core, glimpse: Tensor, location: Tensor, state: Tree) -> tuple[Tensor, Callable[[int], None]]:
    """Begin to take glimpses in, without gradients.

    Args:
        core: what takes them in.
        glimpse: [N, B, P] in the core's dtype, filled in step by step.
        location: [N, B, 2] the same.
        state: what the core's `start` gave.

    Returns:
        room for the states [N, B, H] float32, and a function that takes in glimpse[t] of location[t] and writes the state after
        it there, for t = 0, 1, ..., N - 1.
    """
    if isinstance(core, ReluRNNCore):
        return core.begin(glimpse, location)
    states = torch.empty(*glimpse.shape[:2], core.size.hidden_units, device=glimpse.device)

    def take(step: int) -> None:
        nonlocal state
        states[step], state = core.advance(glimpse[step], location[step], state)

    return states, take
