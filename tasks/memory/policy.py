"""A policy that reads an input tape through a recurrent cell, symbol by symbol, and then writes its answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.policies.token_evaluation import evaluate_tokens
from seqrl.policies.tokens import act_on_tokens, encode_distinct, first_leaf
from seqrl.settings import Count, FractionBelowOne, NotNegative, ReadBy, check_settings
from seqrl.tasks.memory.cells import LSTM, PONDER, AdaptiveTime, NeuralTuringMachine, State
from seqrl.trajectory import Evaluation, Trajectory, Tree

PAD, BEGIN, END, FIRST = 0, 1, 2, 3  # tokens; symbol s is token FIRST + s


@dataclass
class MemoryPolicyConfig:
    """Settings of the policy.

    Attributes:
        type: "lstm"; "ntm", a layer with a memory beside it, see `seqrl.tasks.memory.cells.NeuralTuringMachine`; "act", an LSTM that
            thinks as often as it wants about each symbol, see `seqrl.tasks.memory.cells.AdaptiveTime`.
        num_units: of the LSTM or the layer.
        memory_length: "ntm": locations of the memory.
        memory_width: "ntm": numbers in each.
        most_thoughts: "act": about one symbol.
        ponder_weight: "act": what each thought costs beside the cross-entropy, tau.
        halting_epsilon: "act": how much of the halting probability may be missing.
    """

    type: Literal["lstm", "ntm", "act"] = "ntm"
    num_units: Count = 100
    memory_length: Annotated[Count, ReadBy("type", "ntm")] = 32
    memory_width: Annotated[Count, ReadBy("type", "ntm")] = 16
    most_thoughts: Annotated[Count, ReadBy("type", "act")] = 10
    ponder_weight: Annotated[NotNegative[float], ReadBy("type", "act")] = 0.001
    halting_epsilon: Annotated[FractionBelowOne, ReadBy("type", "act")] = 0.01

    def __post_init__(self) -> None:
        check_settings(self)


class MemoryPolicy(nn.Module):
    """Reads columns of symbols, one a step, then is asked for tokens, one a step, of which it sees none.

    The context is {"given": [B, R, C] long}, the answer symbols s as tokens s + 3, ended by token 2. While it reads, the cell sees the
    symbols one-hot; while it writes, nothing but that it shall, so that all of the answer has to come from what it remembers.

    Args:
        config: see `MemoryPolicyConfig`.
        num_rows: R.
        num_symbols: those that may be given, the blank included.
        max_tokens: longest answer, its end included.

    Source: Graves et al. 2014 (Neural Turing machines), the experiment on copying.
    """

    has_distribution = False
    act = act_on_tokens
    begin, end, pad, wrong = BEGIN, END, PAD, (PAD, BEGIN)

    def __init__(self, config: MemoryPolicyConfig, num_rows: int, num_symbols: int, max_tokens: int) -> None:
        super().__init__()
        self.config, self.max_tokens, self._num_symbols = config, max_tokens, num_symbols
        self._num_inputs = num_inputs = num_rows * num_symbols + 1
        self.cell: LSTM | NeuralTuringMachine | AdaptiveTime
        if config.type == "ntm":
            self.cell = NeuralTuringMachine(num_inputs, config.num_units, config.memory_length, config.memory_width)
        elif config.type == "act":
            self.cell = AdaptiveTime(LSTM(num_inputs + 1, config.num_units), config.most_thoughts, config.halting_epsilon)
        else:
            self.cell = LSTM(num_inputs, config.num_units)
        self.head = nn.Linear(self.cell.num_outputs, num_symbols - 1 + FIRST)

    def initial_state(self, context: Tree) -> Tree:
        """Read the context and give the state after it."""
        return self._read(context)[-1]

    def next_logits(self, tokens: Tensor, state: Tree) -> tuple[Tensor, Tree]:
        """Give the logits [B, V] of the next token; tokens [B] are what was written before, which is not looked at."""
        output, state = self._ask(state)
        return self._logits(output), state

    def forward(self, trajectory: Trajectory) -> Evaluation:
        """Evaluate the tokens of a trajectory; the cost of thinking, where there is one, is the auxiliary loss."""
        state: Any = encode_distinct(self.initial_state, trajectory.context, trajectory.group)
        outputs = []
        for _ in range(trajectory.num_steps):
            output, state = self._ask(state)
            outputs.append(output)
        evaluation = evaluate_tokens(torch.stack(outputs, dim=1), self._logits, trajectory, wrong=self.wrong)
        if PONDER not in state:
            return evaluation
        return dataclasses.replace(evaluation, aux_loss=self.config.ponder_weight * state[PONDER].mean())

    @torch.no_grad()
    def heads(self, trajectory: Trajectory) -> dict[str, Tensor]:
        """Give where the heads were in each step of reading and writing, `writes_at` and `reads_at` [B, S, N]."""
        steps = self._steps(trajectory)
        return {name: torch.stack([state[name] for state in steps], dim=1) for name in ("writes_at", "reads_at")}

    @torch.no_grad()
    def thoughts(self, trajectory: Trajectory) -> float:
        """Give the mean cost of thinking, N + R, of a step."""
        steps = self._steps(trajectory)
        return float(steps[-1][PONDER].mean()) / len(steps)

    def aux_count(self, trajectory: Trajectory) -> Tensor:
        """Count the rows, [], whose thinking costs something."""
        costs = self.config.type == "act" and self.config.ponder_weight
        return torch.tensor(float(trajectory.batch_size if costs else 0), device=trajectory.action.device)

    def _read(self, context: Tree) -> list[State]:
        """Give the states after each column of what is given; columns of blanks, with which short instances end, are not read."""
        assert isinstance(context, Mapping) and isinstance(context["given"], Tensor)
        given = context["given"]
        seen = F.pad(F.one_hot(given, self._num_symbols).to(self.head.weight).permute(0, 2, 1, 3).flatten(2), (0, 1))
        used = (given != self._num_symbols - 1).any(dim=1)
        states = [self.cell.initial_state(len(seen))]
        for column, reads in zip(seen.unbind(dim=1), used.unbind(dim=1), strict=True):
            if not bool(reads.any()):
                break
            state = self.cell(column, states[-1])[1]
            if not bool(reads.all()):
                state = {name: torch.where(_like(reads, leaf), leaf, states[-1][name]) for name, leaf in state.items()}
            states.append(state)
        return states[1:]

    def _steps(self, trajectory: Trajectory) -> list[State]:
        """Give the states after each step of reading and writing."""
        states = self._read(trajectory.context)
        for _ in range(trajectory.num_steps):
            states.append(self._ask(states[-1])[1])
        return states

    def _ask(self, state: Any) -> tuple[Tensor, State]:
        like, rows = self.head.weight, len(first_leaf(state))
        asked = F.one_hot(torch.full((rows,), self._num_inputs - 1, device=like.device), self._num_inputs).to(like)
        output, state = self.cell(asked, state)
        return output, state

    def _logits(self, output: Tensor) -> Tensor:
        logits: Tensor = self.head(output)
        logits[..., list(self.wrong)] = -torch.inf
        return logits


def _like(rows: Tensor, leaf: Tensor) -> Tensor:
    """Shape flags [B] so that they broadcast with a leaf [B, ...]."""
    return rows.view(-1, *[1] * (leaf.dim() - 1))
