"""The problems of the tapes for policies with differentiable memory: all that is given is read once, then the answer is written."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqrl.rollout import evaluation_seed
from seqrl.run.json_text import parse_json
from seqrl.settings import Count, check_settings
from seqrl.tasks.memory.drawing import draw_heads
from seqrl.tasks.memory.policy import BEGIN, END, FIRST, PAD, MemoryPolicy, MemoryPolicyConfig
from seqrl.tasks.memory.problems import Name, Problem
from seqrl.tasks.writing.imitated_references import imitated_rows
from seqrl.token_rollout import EVALUATION_SEEDS, token_rollout
from seqrl.trajectory import Trajectory


@dataclass
class MemoryConfig:
    """Settings of the memory task.

    Attributes:
        problem: "copy", "reverse", "repeat_copy" or "addition", see `seqrl.tasks.memory.problems.Problem`.
        alphabet: number of symbols, or the base of addition.
        repeats: largest number of repetitions of "repeat_copy".
        min_length: of what is learned from.
        max_length: the same; each batch has one length, drawn evenly.
        test_length: of all instances of an evaluation; max_length when null.
        batch_size: instances of an update.
        num_evaluated: instances of an evaluation, the same ones each time.
        policy: see `MemoryPolicyConfig`.
    """

    problem: Name = "copy"
    alphabet: int = 5
    repeats: Count = 3
    min_length: Count = 1
    max_length: Count = 10
    test_length: Count | None = None
    batch_size: Count = 32
    num_evaluated: Count = 256
    policy: MemoryPolicyConfig = field(default_factory=MemoryPolicyConfig)

    def __post_init__(self) -> None:
        check_settings(self)
        self.drawn_from  # refuses what it does not know  # noqa: B018
        if self.min_length > self.max_length:
            raise ValueError(f"min_length: expected at most max_length, {self.max_length}, got {self.min_length}")
        least = self.drawn_from.num_given(self.longest)
        if self.policy.type == "ntm" and self.policy.memory_length < least:
            raise ValueError(
                f"policy.memory_length: expected at least {least} locations for {self.problem} of {self.longest} symbols, got "
                f"{self.policy.memory_length}; give more, or a smaller max_length or test_length"
            )

    @property
    def drawn_from(self) -> Problem:
        """The problem that instances are drawn from."""
        return Problem(self.problem, self.alphabet, self.repeats)

    @property
    def longest(self) -> int:
        """Symbols of the longest instances, of training and of evaluations."""
        return max(self.max_length, self.test_length or 0)

    def build(self, seed: int) -> MemoryTask:
        """Make the task."""
        return MemoryTask(self, seed=seed)


class MemoryTask:
    """Instances to imitate, or to write about for a reward: the share of symbols that stand right before the first mistake.

    Args:
        config: see `MemoryConfig`.
        seed: of the instances that are learned from, and of the policy's first weights.
    """

    def __init__(self, config: MemoryConfig, *, seed: int = 0) -> None:
        self.config, self._problem, self._seed = config, config.drawn_from, seed
        self._random = np.random.default_rng(seed)
        self._asked: dict[str, Tensor] = {}

    def build_policy(self) -> nn.Module:
        """Make a policy; its first weights depend on the task's seed."""
        problem, longest = self._problem, self._problem.most_answered(self.config.longest)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            return MemoryPolicy(self.config.policy, problem.num_rows, problem.alphabet + 1, longest)

    def rollout(self, policy: nn.Module, **settings: Any) -> Trajectory:
        """Let the policy answer new instances; the trainer's settings are those of `seqrl.token_rollout.token_rollout`."""
        self._asked = self._next()
        return token_rollout(policy, self._asked, share_right, forced=self._asked["answer"], **settings)

    def demonstrations(self, group: Tensor | None = None) -> Trajectory:
        """Give the answers to new instances, to be imitated, or to those of the last rollout that `group` numbers.

        Raises:
            ValueError: when there was no rollout yet.
        """
        if group is not None and not self._asked:
            raise ValueError("demonstrations: expected a rollout first, whose instances `group` numbers; give no group for new instances")
        context = self._next() if group is None else {name: leaf[group.cpu()] for name, leaf in self._asked.items()}
        rows = [row[:count] for row, count in zip(context["answer"].tolist(), context["num_answered"].tolist(), strict=True)]
        return imitated_rows(rows, context, torch.arange(len(rows)) if group is None else group.cpu(), begin=BEGIN, pad=PAD)

    def evaluate(self, policy: nn.Module, *, split: str = "dev") -> dict[str, float]:
        """Write greedy answers to instances of the test length.

        Returns:
            symbol_error, the mean share of symbols after the first mistake, it included; solved, the share of answers right as a whole;
            and where the policy thinks as often as it wants, thoughts, the mean number of them for a symbol read or written.

        Raises:
            ValueError: when there is no such split.
        """
        config, random = self.config, np.random.default_rng(evaluation_seed(split, EVALUATION_SEEDS))
        context = self._instances(config.num_evaluated, config.test_length or config.max_length, random)
        rows = token_rollout(policy, context, share_right, greedy=True)
        score = rows.score.double()
        found = {"symbol_error": float(1 - score.mean()), "solved": float((score == 1).double().mean())}
        return found | ({"thoughts": policy.thoughts(rows)} if isinstance(policy, MemoryPolicy) and config.policy.type == "act" else {})

    def sample(self, policy: nn.Module, directory: Path, *, count: int = 8) -> list[Path]:
        """Write greedy answers to dev instances as a text, and, where the policy has heads, where they were as pictures."""
        config, random = self.config, np.random.default_rng(EVALUATION_SEEDS["dev"])
        context = self._instances(count, config.test_length or config.max_length, random)
        rows = token_rollout(policy, context, share_right, greedy=True)
        lines = [
            f"given  {signs(context['given'][row])}\nanswer {signs(context['answer'][row] - FIRST)}\nwrote  "
            f"{signs(rows.action[row][rows.mask[row]] - FIRST)}\n"
            for row in range(count)
        ]
        directory.mkdir(parents=True, exist_ok=True)
        text = directory / "answers.txt"
        text.write_text("\n".join(lines), encoding="utf-8")
        if config.policy.type != "ntm":
            return [text]
        assert isinstance(policy, MemoryPolicy)
        return [text, *draw_heads(policy.heads(rows), directory, reading=context["given"].shape[2])]

    def state_dict(self) -> dict[str, Any]:
        """Give what the next instances depend on."""
        return {"random": json.dumps(self._random.bit_generator.state)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to it."""
        self._random.bit_generator.state = parse_json(state["random"])

    def _next(self) -> dict[str, Tensor]:
        length = int(self._random.integers(self.config.min_length, self.config.max_length + 1))
        # As wide as the longest ones, so that rows of several batches can stand in one trajectory.
        return self._instances(self.config.batch_size, length, self._random, self.config.max_length)

    def _instances(self, count: int, length: int, random: np.random.Generator, longest: int = 0) -> dict[str, Tensor]:
        drawn = self._problem.draw(np.full(count, length), longest or length, random)
        answer = np.where(drawn.answer == self._problem.alphabet, END, drawn.answer + FIRST)
        arrays = {"given": drawn.given, "answer": answer, "num_answered": drawn.num_answered}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


def signs(symbols: Tensor) -> str:
    """Write symbols, rows of them below each other, with a dot for what is none, in one line."""
    return " / ".join(" ".join("." if symbol < 0 else str(symbol) for symbol in row) for row in torch.atleast_2d(symbols).tolist())


def share_right(rows: Trajectory, context: Any) -> Tensor:
    """Score rows by the share of their answers that stands before the first mistake, [B].

    Args:
        rows: written, [B, T].
        context: {"answer": [B, T'] tokens, "num_answered": [B]}.
    """
    answer, count = context["answer"], context["num_answered"]
    steps = min(rows.num_steps, answer.shape[1])
    right = (rows.action[:, :steps] == answer[:, :steps]) & (torch.arange(steps, device=answer.device) < count.unsqueeze(1))
    return right.long().cumprod(dim=1).sum(dim=1) / count
