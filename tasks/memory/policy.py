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
        type: "lstm"; "ntm", an LSTM with a memory beside it, see `seqrl.tasks.memory.cells.NeuralTuringMachine`; "act", an LSTM that
            thinks as often as it wants about each symbol, see `seqrl.tasks.memory.cells.AdaptiveTime`.
        num_units: of the LSTM.
        memory_length: "ntm": locations of the memory.
        memory_width: "ntm": numbers in each.
        most_thoughts: "act": about one symbol.
        ponder_weight: "act": what each thought costs beside the cross-entropy, tau.
        halting_epsilon: "act": how much of the halting probability may be missing.
    """

    type: Literal["lstm", "ntm", "act"] = "ntm"
    num_units: Count = 64
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
        assert isinstance(context, Mapping) and isinstance(context["given"], Tensor)
        seen = F.one_hot(context["given"], self._num_symbols).to(self.head.weight).permute(0, 2, 1, 3).flatten(2)
        state = self.cell.initial_state(len(seen))
        for column in F.pad(seen, (0, 1)).unbind(dim=1):
            _, state = self.cell(column, state)
        return state

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

    def aux_count(self, trajectory: Trajectory) -> Tensor:
        """Count the rows, [], whose thinking costs something."""
        costs = self.config.type == "act" and self.config.ponder_weight
        return torch.tensor(float(trajectory.batch_size if costs else 0), device=trajectory.action.device)

    def _ask(self, state: Any) -> tuple[Tensor, State]:
        like, rows = self.head.weight, len(first_leaf(state))
        num_inputs = self._num_inputs
        return self.cell(F.one_hot(torch.full((rows,), num_inputs - 1, device=like.device), num_inputs).to(like), state)  # type: ignore[no-any-return]

    def _logits(self, output: Tensor) -> Tensor:
        logits: Tensor = self.head(output)
        logits[..., list(self.wrong)] = -torch.inf
        return logits
