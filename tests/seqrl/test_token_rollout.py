"""Token tasks in a few lines: their rollout, and what a task may leave out."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqrl import Reinforce, ReinforceConfig, Supervised
from seqrl.policies.tokens import TokenPolicy
from seqrl.protocols import Task
from seqrl.run import checkpoint
from seqrl.run.cli import main
from seqrl.run.config import EarlyStop
from seqrl.run.loop import fit
from seqrl.token_rollout import TokenTask, token_rollout
from seqrl.trainers.imitation import ImitationConfig
from seqrl.trajectory import Trajectory


class Bigram(nn.Module):
    """Logits [B, T, 6] from the last token and a number that is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)))

    def forward(self, shown: Tensor, tokens: Tensor) -> Tensor:
        return self.table[tokens] + nn.functional.one_hot(shown, 6).unsqueeze(1)


def count_shown(rows: Trajectory, shown: Tensor) -> Tensor:
    return ((rows.action == shown.unsqueeze(1)) & rows.mask).sum(dim=1)


def by_hand(rows: Trajectory) -> list[float]:
    """Count in plain Python: until the end token 2, how often a row writes its number."""
    scores = []
    for number, tokens in zip(rows.context.tolist(), rows.action.tolist(), strict=True):
        written = tokens[: tokens.index(2) + 1] if 2 in tokens else tokens
        scores.append(float(written.count(number)))
    return scores


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            torch.tensor([0.0, 1e39, 2.0], dtype=torch.float64),
            r"the score gave 1e\+39 for row 1; expected a finite number, at most 3.4e\+38",
        ),
        (torch.tensor([0.0, 1.0, math.nan]), "the score gave nan for row 2"),
        (torch.zeros(3, 1), r"the score gave numbers of shape \[3, 1\] for 3 rows; expected one number each"),
    ],
)
def test_scores_that_are_no_rewards_are_named(given: Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        token_rollout(TokenPolicy(Bigram(), max_tokens=5), torch.tensor([3, 4, 5]), lambda rows, shown: given)


def test_a_score_that_hangs_is_given_up() -> None:
    def hang(rows: Trajectory, shown: Tensor) -> Tensor:
        threading.Event().wait()
        raise AssertionError

    with pytest.raises(TimeoutError, match=r"the score \(score_timeout_s\) did not answer for 0.05 seconds"):
        token_rollout(TokenPolicy(Bigram(), max_tokens=5), torch.tensor([3]), hang, score_timeout_s=0.05)


def test_rows_are_scored_once_at_their_last_token() -> None:
    policy = TokenPolicy(Bigram(), max_tokens=5)
    shown = torch.tensor([3, 4, 5])
    rows = token_rollout(policy, shown, count_shown, num_samples=40, generator=torch.Generator().manual_seed(1))
    assert rows.score.tolist() == by_hand(rows) and len(set(by_hand(rows))) > 2
    assert rows.context.tolist() == [3] * 40 + [4] * 40 + [5] * 40
    assert rows.group is not None and rows.group.tolist() == [0] * 40 + [1] * 40 + [2] * 40
    last = rows.mask.sum(dim=1) - 1
    assert rows.reward.gather(1, last.unsqueeze(1)).squeeze(1).tolist() == by_hand(rows)
    assert 2 in rows.action and bool((last == 4).any())  # some end, others are cut


def test_the_baseline_is_the_greedy_rows_score() -> None:
    policy = TokenPolicy(Bigram(), max_tokens=5)
    shown, group = torch.tensor([3, 4]), torch.tensor([17, 8])
    greedy = token_rollout(policy, shown, count_shown, greedy=True)
    table = policy.module.table.detach()
    token, written = 1, []
    while len(written) < 5 and (not written or written[-1] != 2):
        token = int((table[token] + nn.functional.one_hot(shown[0], 6)).argmax())
        written.append(token)
    assert greedy.action[0, : len(written)].tolist() == written
    rows = token_rollout(
        policy, shown, count_shown, group=group, num_samples=3, greedy_baseline=True, generator=torch.Generator().manual_seed(1)
    )
    assert rows.baseline is not None and rows.baseline.tolist() == [by_hand(greedy)[0]] * 3 + [by_hand(greedy)[1]] * 3
    assert rows.group is not None and rows.group.tolist() == [17] * 3 + [8] * 3
    with pytest.raises(ValueError, match="forced steps: expected 0"):
        token_rollout(policy, shown, count_shown, num_forced_steps=1)


class OnlyActs(nn.Module):
    """A policy that does not show its logits."""

    def __init__(self, policy: TokenPolicy) -> None:
        super().__init__()
        self.policy, self.begin, self.end, self.pad, self.max_tokens = policy, policy.begin, policy.end, policy.pad, policy.max_tokens

    def initial_state(self, context: Any) -> Any:
        return self.policy.initial_state(context)

    def act(self, obs: Any, state: Any, **settings: Any) -> Any:
        return self.policy.act(obs, state, **settings)


@pytest.mark.parametrize("settings", [{"greedy": True}, {"num_samples": 3}, {"num_samples": 3, "greedy_baseline": True}])
def test_a_policy_that_only_acts_writes_the_same(settings: dict[str, Any]) -> None:
    policy = TokenPolicy(Bigram(), max_tokens=5)
    shown = torch.tensor([3, 4, 5, 4])
    ours, acted = (
        token_rollout(writer, shown, count_shown, generator=torch.Generator().manual_seed(4), **settings)
        for writer in (policy, OnlyActs(policy))
    )
    assert torch.equal(ours.mask, acted.mask) and torch.equal(ours.action[ours.mask], acted.action[ours.mask])
    assert torch.allclose(ours.logp[ours.mask], acted.logp[ours.mask], atol=1e-6)
    assert torch.equal(ours.score, acted.score)
    assert (ours.baseline is None) == (acted.baseline is None)
    assert ours.baseline is None or acted.baseline is None or torch.equal(ours.baseline, acted.baseline)


def test_a_policy_that_only_acts_is_not_forced() -> None:
    with pytest.raises(
        ValueError, match=r"forced steps: expected 0 for a policy that can only act, since OnlyActs has no `next_logits`, got 2"
    ):
        policy = OnlyActs(TokenPolicy(Bigram(), max_tokens=5))
        token_rollout(policy, torch.tensor([3, 4]), count_shown, forced=torch.full((2, 3), 4), num_forced_steps=2)


def test_each_of_several_end_tokens_ends_a_row() -> None:
    rows = token_rollout(
        TokenPolicy(Bigram(), end=(2, 0), pad=5, max_tokens=6),
        torch.tensor([3, 4]),
        count_shown,
        num_samples=30,
        generator=torch.Generator().manual_seed(0),
    )
    texts = [action[mask].tolist() for action, mask in zip(rows.action, rows.mask, strict=True)]
    assert {text[-1] for text in texts if len(text) < 6} == {0, 2}
    assert not any({0, 2} & set(text[:-1]) for text in texts)


@dataclass
class SmallConfig:
    """A task with nothing but what it must have."""

    def build(self, seed: int) -> Small:
        return Small(torch.Generator().manual_seed(seed))


@dataclass
class Small:
    generator: torch.Generator

    def build_policy(self) -> nn.Module:
        return TokenPolicy(Bigram(), max_tokens=4)

    def rollout(self, policy: nn.Module, **settings: Any) -> Trajectory:
        return token_rollout(policy, torch.randint(3, 6, (4,), generator=self.generator), count_shown, **settings)

    def evaluate(self, policy: nn.Module, *, split: str = "dev") -> dict[str, float]:
        return {"count": float(token_rollout(policy, torch.tensor([3, 4, 5]), count_shown, greedy=True).score.mean())}


def test_a_task_of_three_functions_is_one_written_by_hand() -> None:
    def draw(count: int, generator: torch.Generator) -> torch.Tensor:
        return torch.randint(3, 6, (count,), generator=generator)

    task = TokenTask(draw, count_shown, lambda: TokenPolicy(Bigram(), max_tokens=4), batch_size=4, num_evaluated=9, seed=7)
    assert isinstance(task, Task)
    policy, by_hand = task.build_policy(), Small(torch.Generator().manual_seed(7))
    drawn = [one.rollout(policy, num_samples=2, generator=torch.Generator().manual_seed(1)) for one in (task, by_hand)]
    assert torch.equal(drawn[0].action, drawn[1].action) and torch.equal(drawn[0].reward, drawn[1].reward)
    shown = draw(9, torch.Generator().manual_seed(2))
    greedy = token_rollout(policy, shown, count_shown, greedy=True).score
    assert task.evaluate(policy, split="test") == {"count_shown": pytest.approx(float(greedy.mean()))}
    state = task.state_dict()
    following = task.rollout(policy, greedy=True)
    task.load_state_dict(state)
    assert torch.equal(task.rollout(policy, greedy=True).context, following.context)
    with pytest.raises(ValueError, match="split: expected one of dev, test, got 'train'"):
        task.evaluate(policy, split="train")


class Said:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, step: int, metrics: Any) -> None:
        pass

    def say(self, step: int, text: str) -> None:
        self.lines.append(text)

    def close(self) -> None:
        pass


def test_a_task_without_more_trains_and_resumes_and_says_what_is_lost(tmp_path: Path) -> None:
    task = SmallConfig().build(0)
    assert isinstance(task, Task)
    policy, said = task.build_policy(), Said()
    fit(Reinforce(policy), task, num_updates=2, eval_every=1, early_stop=EarlyStop("count"), run_folder=tmp_path, writers=[said])
    assert not [line for line in said.lines if "keeps no state" in line]
    fit(Reinforce(policy), task, num_updates=3, run_folder=tmp_path, writers=[said], resume_from=checkpoint.find(tmp_path))
    assert [line for line in said.lines if "Small keeps no state" in line]


@pytest.mark.parametrize("mix", [None, ImitationConfig(weight=0.5), ImitationConfig(weight=0.5, forced_steps=1)])
def test_demonstrations_are_missed_when_they_are_asked_for(mix: ImitationConfig | None) -> None:
    task = SmallConfig().build(0)
    policy = task.build_policy()
    trainer = Supervised(policy) if mix is None else Reinforce(policy, ReinforceConfig(imitation=mix))
    with pytest.raises(ValueError, match="has no demonstrations"):
        fit(trainer, task, num_updates=1)


def test_sample_says_that_there_is_nothing_to_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "small_task", sys.modules[__name__])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(
        'name: small\nnum_updates: 1\ntask: {type: "small_task:SmallConfig"}\ntrainer: {type: reinforce}\n'
    )
    assert main(["train", "small.yaml", "--quiet", "--num_threads=1"]) == 0
    assert main(["evaluate", "runs/small", "--allow-code"]) == 0
    assert main(["sample", "runs/small", "--allow-code"]) == 2
    assert "has nothing to show; give it a method `sample`" in capsys.readouterr().err
