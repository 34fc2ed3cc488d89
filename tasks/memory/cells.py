"""Recurrent cells with differentiable memory or time: an LSTM, a neural Turing machine, and adaptive computation time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.tasks.memory import addressing

State = dict[str, Tensor]
PONDER = "ponder"  # in a state: [B] what thinking has cost so far


class LSTM(nn.Module):
    """An LSTM alone, to compare with.

    Args:
        num_inputs: size of an input.
        num_units: of the LSTM.
    """

    def __init__(self, num_inputs: int, num_units: int) -> None:
        super().__init__()
        self.cell, self.num_outputs = nn.LSTMCell(num_inputs, num_units), num_units

    def initial_state(self, num_rows: int) -> State:
        """Give an empty state of B rows."""
        zeros = self.cell.weight_hh.new_zeros(num_rows, self.num_outputs)
        return {"hidden": zeros, "cell": zeros}

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Take in x [B, I]; give the output [B, H] and the new state."""
        hidden, cell = self.cell(x, (state["hidden"], state["cell"]))
        return hidden, {"hidden": hidden, "cell": cell}


class NeuralTuringMachine(nn.Module):
    """A layer with a memory of N locations, one head that writes there and one that reads, moved by `addressing`.

    In each step h = tanh(W [x, r] + b) of the input x and of what was read before, r. From h a linear layer says of each head: key k,
    strength β = softplus, gate g = σ, moves s = softmax, power γ = 1 + softplus; and of the writing one erase e = σ and add a = tanh. It
    writes, then reads; the output is h beside what was read. Both heads begin at the first location of a memory of small equal numbers.

    Args:
        num_inputs: size of an input.
        num_units: of the layer.
        memory_length: N.
        memory_width: W, numbers in a location.

    Source: Graves et al. 2014 (Neural Turing machines), with a feedforward controller, which has no memory of its own to lean on;
    the first memory: Collier & Beel 2018 (Implementing neural Turing machines).
    Differs from: Graves et al., who do not say where heads begin, and let heads differ in number; here one of each.
    """

    def __init__(self, num_inputs: int, num_units: int, memory_length: int, memory_width: int) -> None:
        super().__init__()
        self.shape, self.num_outputs = (memory_length, memory_width), num_units + memory_width
        self.controller = nn.Linear(num_inputs + memory_width, num_units)
        self.sizes = [memory_width, 1, 1, 3, 1] * 2 + [memory_width] * 2  # of both heads, then erase and add
        self.heads = nn.Linear(num_units, sum(self.sizes))

    def initial_state(self, num_rows: int) -> State:
        """Give the memory of B rows before anything is seen."""
        like = self.heads.weight
        first = F.one_hot(torch.zeros(num_rows, dtype=torch.long, device=like.device), self.shape[0]).to(like)
        memory = like.new_full((num_rows, *self.shape), 1e-6)
        return {"memory": memory, "read": memory[:, 0], "reads_at": first, "writes_at": first}

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Take in x [B, I]; give the output [B, H + W] and the new state, with `reads_at` and `writes_at` [B, N]."""
        hidden = self.controller(torch.cat([x, state["read"]], dim=1)).tanh()
        *said, erase, add = self.heads(hidden).split(self.sizes, dim=1)
        writes_at = self._place(state["memory"], state["writes_at"], said[:5])
        memory = addressing.write(state["memory"], writes_at, erase.sigmoid(), add.tanh())
        reads_at = self._place(memory, state["reads_at"], said[5:])
        found = addressing.read(memory, reads_at)
        return torch.cat([hidden, found], dim=1), {"memory": memory, "read": found, "reads_at": reads_at, "writes_at": writes_at}

    def _place(self, memory: Tensor, before: Tensor, said: list[Tensor]) -> Tensor:
        """Move a head: by content, then from where it was, then along the ring, then sharper."""
        key, strength, gate, moves, power = said
        found = addressing.by_content(memory, key.tanh(), F.softplus(strength))
        weight = addressing.interpolate(found, before, gate.sigmoid())
        return addressing.sharpen(addressing.shift(weight, moves.softmax(dim=1)), 1 + F.softplus(power))


class AdaptiveTime(nn.Module):
    """Lets a cell think several times about each input, as long as it wants, and charges for it.

    The n-th thought gives state s_n and output y_n, and halts by h_n = σ(w y_n + b). It stops at N, the first n with
    h_1 + ... + h_n >= 1 - ε, or the largest one allowed. The weights p_n = h_n before N, and p_N = R = 1 - Σ_{n<N} h_n, sum to 1:
    state and output are Σ p_n s_n and Σ p_n y_n. The cost of the step is N + R, of which R alone has a gradient. The first thought
    is told from the others by one more input.

    Args:
        cell: made with one input more.
        most_thoughts: about one input.
        epsilon: ε, which lets a step end after one thought.

    Source: Graves 2016 (Adaptive computation time for recurrent neural networks), equations for halting, weights and ponder cost.
    """

    def __init__(self, cell: LSTM, most_thoughts: int, epsilon: float = 0.01) -> None:
        super().__init__()
        self.cell, self.num_outputs, self.most_thoughts, self.epsilon = cell, cell.num_outputs, most_thoughts, epsilon
        self.halt = nn.Linear(cell.num_outputs, 1)
        nn.init.ones_(self.halt.bias)  # begins with little thought

    def initial_state(self, num_rows: int) -> State:
        """Give an empty state of B rows that has cost nothing."""
        return self.cell.initial_state(num_rows) | {PONDER: self.halt.weight.new_zeros(num_rows)}

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Take in x [B, I]; give the output [B, H] and the new state."""
        cost, inner = state[PONDER], {name: leaf for name, leaf in state.items() if name != PONDER}
        outputs, states, halts = list[Tensor](), list[State](), list[Tensor]()
        for thought in range(self.most_thoughts):
            flag = x.new_full((len(x), 1), float(thought == 0))
            output, inner = self.cell(torch.cat([x, flag], dim=1), inner)
            outputs, states, halts = [*outputs, output], [*states, inner], [*halts, self.halt(output).sigmoid().squeeze(1)]
            if bool((torch.stack(halts).sum(dim=0) >= 1 - self.epsilon).all()):
                break
        weights, ponder = halting(torch.stack(halts, dim=1), self.epsilon)

        def mean(leaves: list[Tensor]) -> Tensor:
            return (weights.unsqueeze(2) * torch.stack(leaves, dim=1)).sum(dim=1)

        after = {name: mean([each[name] for each in states]) for name in inner}
        return mean(outputs), after | {PONDER: cost + ponder}


def halting(halt: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Give the weights p of all thoughts, which sum to 1, and what they cost, N + R.

    Args:
        halt: h [B, M], from 0 to 1; the last one stops in any case.
        epsilon: ε.

    Returns:
        [B, M] and [B].
    """
    total = halt.cumsum(dim=1)
    goes_on = total < 1 - epsilon
    goes_on[:, -1] = False
    before = goes_on.sum(dim=1, keepdim=True)  # N - 1
    rest = 1 - (halt * goes_on).sum(dim=1, keepdim=True)
    last = before == torch.arange(halt.shape[1], device=halt.device)
    return halt * goes_on + rest * last, (before + 1 + rest).squeeze(1)
