"""Texts as a task: prompts in, replies out, scored as wholes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqrl.ahead import RewardsAhead
from seqrl.metrics import by_name
from seqrl.policies import end_tokens
from seqrl.tasks.item_order import ItemOrder
from seqrl.tasks.text.data import TextSplit, make_split, make_vocabulary
from seqrl.tasks.text.data_config import DataConfig, load_pairs
from seqrl.tasks.text.evaluation import METRICS, EvaluationConfig, Reply, beam_replies, greedy_replies, score_replies
from seqrl.tasks.text.pairs import Pairs
from seqrl.tasks.text.policy import PolicyConfig, build_policy
from seqrl.tasks.text.shown import write_replies
from seqrl.tasks.text.signatures import evaluation_signatures
from seqrl.tasks.writing.imitated_references import ImitatedReferences
from seqrl.tasks.writing.imitated_rows import imitated_rows
from seqrl.tasks.writing.reward import RewardConfig, TextReward
from seqrl.tasks.writing.sampled import Sampled, sampled_rows
from seqrl.tasks.writing.signatures import reward_signature
from seqrl.trajectory import Trajectory

Reward = Callable[[Sequence[str], Sequence[Sequence[str]]], Sequence[float]]


def _smoothed_bleu() -> RewardConfig:
    return RewardConfig(metrics={"bleu4_smoothed": 1.0})


@dataclass
class TextConfig:
    """Settings of the task.

    Attributes:
        data: where pairs of texts come from.
        policy: what writes the replies.
        reward: what a reply earns.
        evaluation: how replies are written and scored in evaluations.
        prompts_per_batch: distinct prompts of an update; a trainer draws `num_samples` replies to each.
        references_per_prompt: references of a prompt that a supervised update imitates; 0 takes all.
        draw_by_references: draw a prompt as often as it has references, for data whose common prompts are to count more, instead of once an
            epoch; the updates of an epoch are then as many as there are references.
    """

    data: DataConfig = field(default_factory=DataConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    reward: RewardConfig = field(default_factory=_smoothed_bleu)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    prompts_per_batch: int = 16
    references_per_prompt: int = 0
    draw_by_references: bool = False

    def __post_init__(self) -> None:
        if self.prompts_per_batch < 1:
            raise ValueError(f"prompts_per_batch: expected at least 1, got {self.prompts_per_batch}")
        if self.references_per_prompt < 0:
            raise ValueError(f"references_per_prompt: expected 0 (all) or more, got {self.references_per_prompt}")

    def shortened(self, share: float) -> TextConfig:
        """Give the same task with a share of the prompts, to measure how long an update takes."""
        return replace(self, prompts_per_batch=max(2, round(share * self.prompts_per_batch)))

    def build(self, seed: int) -> TextTask:
        """Read the pairs and make the task."""
        self.reward.check()
        parts = load_pairs(self.data)
        train, dev, test = (parts[name] for name in ("train", "dev", "test"))
        return TextTask(train.prompts, train.references, dev=dev, test=test, places=train.places, config=self, seed=seed)


class TextTask:
    """Draws prompts, lets a policy reply, and scores the replies against the references.

    Args:
        prompts: [N] texts.
        references: [N] lists of texts to imitate and to be compared with.
        reward: a function of one's own, (replies, references) -> one number a reply; a metric's name, or weights by name. None for the
            configured reward.
        dev: pairs to choose by; the last tenth of the prompts is held out when None.
        test: pairs to report.
        config: see `TextConfig`; its `data` says what a word is and how long a prompt may be.
        places: where each prompt stands, for messages.
        seed: of the order of the prompts.

    Raises:
        ValueError: when prompts and references do not fit, a reference is empty or nothing is rewarded.
    """

    def __init__(
        self,
        prompts: Sequence[str],
        references: Sequence[Sequence[str]],
        reward: Reward | str | Mapping[str, float] | None = None,
        *,
        dev: Pairs | None = None,
        test: Pairs | None = None,
        config: TextConfig | None = None,
        places: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        self.config = config = _rewarding(config or TextConfig(), reward)
        train = Pairs(list(prompts), list(references), places)
        if dev is None:
            train, dev = _held_out(train)
        data = config.data
        self.vocabulary = make_vocabulary(train, tokens=data.tokens, min_count=data.min_count, pieces=data.pieces)
        make = partial(make_split, vocabulary=self.vocabulary, max_prompt_tokens=data.max_prompt_tokens)
        self.splits: dict[str, TextSplit] = {
            name: make(name, pairs) for name, pairs in (("train", train), ("dev", dev), ("test", test or Pairs([], [])))
        }
        self.train = self.splits["train"]
        self.reward = TextReward(config.reward, self.train, self.vocabulary, function=reward if callable(reward) else None)
        self._ahead = RewardsAhead(self.reward.score, Sampled.of_state, config.reward.timeout_s) if config.reward.ahead else None
        repeats = torch.tensor([len(texts) if config.draw_by_references else 1 for texts in train.references])
        self._drawn = torch.arange(len(self.train)).repeat_interleave(repeats)
        self._order = ItemOrder(len(self._drawn), seed=seed)
        self._generator = torch.Generator().manual_seed(seed)
        self._references = self._imitated((self.vocabulary.end,))
        rewarded = [] if self.reward.has_function else list(self.reward.weights)
        self._metrics = list(dict.fromkeys([*METRICS, *config.evaluation.metrics, *rewarded]))

    @property
    def seconds_in_reward(self) -> float:
        """Time spent scoring replies so far; with `reward.ahead` the time spent waiting for it."""
        return self.reward.seconds if self._ahead is None else self._ahead.waited_s

    @property
    def reward_ahead(self) -> int:
        """By how many updates rows are older than the policy that learns from them."""
        return self.config.reward.ahead

    def build_policy(self) -> nn.Module:
        """Make the configured policy for this vocabulary."""
        policy = build_policy(self.config.policy, self.vocabulary, self.train.tokens.shape[1])
        self._references = self._imitated(end_tokens(policy))
        return policy

    def rollout(
        self,
        policy: nn.Module,
        *,
        num_samples: int = 1,
        greedy: bool = False,
        greedy_baseline: bool = False,
        num_forced_steps: int = 0,
        generator: torch.Generator | None = None,
    ) -> Trajectory:
        """Reply to the next prompts; see `seqrl.protocols.Task`. With `reward.ahead` the replies are those that the last call sampled."""

        def draw() -> Sampled:
            items = self._next_items()
            context = {"image": {name: leaf.to(next(policy.parameters()).device) for name, leaf in self.train.rows(items).items()}}
            return sampled_rows(
                policy,
                context,
                items,
                end=self.vocabulary.end,
                num_samples=num_samples,
                greedy=greedy,
                greedy_baseline=greedy_baseline,
                forced=self._references.beginnings(items, num_forced_steps, self._generator) if num_forced_steps else None,
                generator=generator,
            )

        if self._ahead is None or greedy:
            return draw().rewarded(self.reward.score)
        return self._ahead.next(draw, (num_samples, greedy_baseline))

    def demonstrations(self, group: Tensor | None = None) -> Trajectory:
        """Give references of the next prompts, or of the training prompts that `group` numbers."""
        items = self._next_items() if group is None else group.cpu()
        chosen = [self._references.choose(item, self.config.references_per_prompt, self._generator) for item in items.tolist()]
        rows = items.repeat_interleave(torch.tensor([len(each) for each in chosen]))
        tokens = [row for each in chosen for row in each]
        return imitated_rows(tokens, {"image": self.train.rows(rows)}, rows, begin=self.vocabulary.begin, pad=self.vocabulary.pad)

    def evaluate(self, policy: nn.Module, *, split: str = "dev") -> dict[str, float]:
        """Reply to the prompts of a split and score the replies; see `score_replies`. What beam search writes is scored under `beam/`."""
        part, config = self._split(split), self.config.evaluation
        count = min(config.max_prompts or len(part), len(part))
        figures = self._figures(greedy_replies(policy, part, self.vocabulary, config, count), part)
        if config.beam_size > 1:
            beam = self._figures(beam_replies(policy, part, self.vocabulary, config, count), part)
            figures |= {f"beam/{name}": figure for name, figure in beam.items()}
        return figures

    def watch(self, figure: str) -> None:
        """Report a metric in evaluations from now on; names of other figures change nothing."""
        name = figure.removeprefix("beam/")
        if name in by_name.METRICS and name not in self._metrics:
            self._metrics.append(name)

    def sample(self, policy: nn.Module, directory: Path, *, count: int = 8, split: str = "dev") -> list[Path]:
        """Write inputs, references and outputs beside each other, with what the first metric of the reward says of each."""
        part = self._split(split)
        replies = greedy_replies(policy, part, self.vocabulary, self.config.evaluation, min(count, len(part)))
        texts, references = self._texts(replies), part.references[: len(replies)]
        if self.reward.has_function:
            scores = self.reward.score_texts(texts, references)
        else:
            name = next(iter(self.reward.weights))
            metric = by_name.metric_by_name(name, **self.config.reward.settings.get(name, {}))
            words = by_name.scores_words(name)
            scores = metric.score([r.words for r in replies] if words else texts, part.words[: len(replies)] if words else references)
        return write_replies(part.pairs, texts, [float(score) for score in scores], directory)

    def fingerprint(self) -> dict[str, str]:
        """Name what the weights depend on beside the configuration: the vocabulary, and document frequencies where they are rewarded."""
        known = {"vocabulary": self.vocabulary.fingerprint(), "document_frequency": self.reward.fingerprint()}
        return {name: key for name, key in known.items() if key}

    def reward_signature(self, trainer: Mapping[str, object], *, version: str) -> str:
        """Say how replies are rewarded, see `seqrl.metrics.signature`."""
        return reward_signature(self.reward, trainer, version)

    def evaluation_signatures(self, split: str, *, version: str) -> dict[str, str]:
        """Say how the metrics of an evaluation are computed."""
        config, tok = self.config, self.vocabulary.tokenisation.name
        return evaluation_signatures(self._metrics, config.reward.settings, self._split(split), config.evaluation, tok, version)

    def state_dict(self) -> dict[str, Any]:
        """Give the position in the data and the state of the draws."""
        ahead = {} if self._ahead is None else {"ahead": self._ahead.state_dict()}
        return {"order": self._order.state_dict(), "generator": self._generator.get_state(), **ahead}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self._order.load_state_dict(state["order"])
        self._generator.set_state(state["generator"])
        if self._ahead is not None and "ahead" in state:
            self._ahead.load_state_dict(state["ahead"])

    def _next_items(self) -> Tensor:
        return self._drawn[self._order.next(self.config.prompts_per_batch)]

    def _imitated(self, ends: Sequence[int]) -> ImitatedReferences:
        return ImitatedReferences(self.train.words, self.vocabulary, self.config.policy.max_tokens, ends)

    def _texts(self, replies: Sequence[Reply]) -> list[str]:
        return [self.vocabulary.tokenisation.join(reply.words) for reply in replies]

    def _figures(self, replies: Sequence[Reply], part: TextSplit) -> dict[str, float]:
        figures = score_replies(replies, part, self.vocabulary, self._metrics, self.config.reward.settings)
        if self.reward.has_function:
            scores = self.reward.score_texts(self._texts(replies), part.references[: len(replies)])
            figures["reward"] = float(scores.mean())
        return figures

    def _split(self, name: str) -> TextSplit:
        if name not in self.splits:
            raise ValueError(f"split: expected train, dev or test, got {name!r}")
        if not len(self.splits[name]):
            raise ValueError(f"split: {name} has no pairs in this data set; hold some out with task.data.num_dev or num_test")
        return self.splits[name]


def _rewarding(config: TextConfig, reward: Reward | str | Mapping[str, float] | None) -> TextConfig:
    """Put a reward that was given as names and weights into the configuration."""
    if reward is None or callable(reward):
        return config
    weights = {reward: 1.0} if isinstance(reward, str) else dict(reward)
    return replace(config, reward=replace(config.reward, metrics=weights))


def _held_out(pairs: Pairs) -> tuple[Pairs, Pairs]:
    """Hold the last tenth of pairs out; where there are fewer than ten, they are learned from and chosen by."""
    count = len(pairs) // 10
    return (pairs.part(slice(0, -count)), pairs.part(slice(-count, None))) if count else (pairs, pairs)
