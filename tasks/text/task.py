"""Texts as a task: prompts in, replies out, scored as wholes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqrl.batch_share import BatchShare
from seqrl.metrics import by_name
from seqrl.policies.tokens import end_tokens
from seqrl.settings import Count, NotNegative, check_settings
from seqrl.tasks.text.data import TextSplit, make_split, make_vocabulary, prompt_rows
from seqrl.tasks.text.data_config import DataConfig, load_pairs
from seqrl.tasks.text.evaluation import (
    FIGURES,
    METRICS,
    EvaluationConfig,
    Reply,
    Share,
    greedy_replies,
    replies_of,
    score_own_metrics,
    score_replies,
    scores_of,
)
from seqrl.tasks.text.pairs import Pairs, as_lists, as_prompts, held_out
from seqrl.tasks.text.policy import PolicyConfig, build_policy, load_pretrained, model_vocabulary
from seqrl.tasks.text.shown import Written, write_replies, write_rows
from seqrl.tasks.text.slots import Slots
from seqrl.tasks.writing.decoded import in_order
from seqrl.tasks.writing.imitated_references import ImitatedReferences
from seqrl.tasks.writing.imitated_rows import imitated_rows
from seqrl.tasks.writing.own_metrics import own_metrics
from seqrl.tasks.writing.own_rewards import OwnRewardLike, named_functions
from seqrl.tasks.writing.reward import RewardConfig, TextReward
from seqrl.tasks.writing.reward_config import rewarding
from seqrl.tasks.writing.reward_function import import_function
from seqrl.tasks.writing.rollouts import HINTS, Rollouts, split_named
from seqrl.tasks.writing.sampled import Sampled, sampled_rows
from seqrl.tasks.writing.signatures import evaluation_signatures, reward_signature
from seqrl.tasks.writing.trl_form import Notes
from seqrl.tasks.writing.vocabulary import AnyVocabulary, any_vocabulary
from seqrl.trajectory import Trajectory


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
    prompts_per_batch: Count = 16
    references_per_prompt: NotNegative[int] = 0
    draw_by_references: bool = False

    def __post_init__(self) -> None:
        check_settings(self)

    def shortened(self, share: float) -> TextConfig:
        """Give the same task with a share of the prompts, to measure how long an update takes."""
        return replace(self, prompts_per_batch=max(2, round(share * self.prompts_per_batch)))

    def build(self, seed: int) -> TextTask:
        """Read the pairs and make the task."""
        self.reward.check()
        for name in self.evaluation.functions:
            import_function(name, field="evaluation.metrics")
        parts = load_pairs(self.data)
        train, dev, test = (parts[name] for name in ("train", "dev", "test"))
        parts_of: Any = {"dev": dev, "test": test, "places": train.places, "columns": train.columns}
        return TextTask(train.messages or train.prompts, train.references, **parts_of, config=self, seed=seed)


class TextTask:
    """Draws prompts, lets a policy reply, and scores the replies against the references.

    Args:
        prompts: [N] texts, or lists of messages, `{"role": ..., "content": ...}`, whose contents are read as one text.
        references: [N] lists of texts to imitate and to be compared with, or [N] texts, one for each prompt.
        reward: a metric's name, weights of metrics by name, or a function of one's own that gives one number a reply, of (replies,
            references), of (prompts, replies, references), or in TRL's form (see `seqrl.tasks.writing.trl_form`); several functions in a
            list, or weights by function. None for the configured reward.
        vocabulary: a list of words, a tokenizer of `transformers` or the name of one, or what has the methods of
            `seqrl.tasks.writing.vocabulary.AnyVocabulary`; the words, or byte pairs, of the training side when None.
        dev: pairs to choose by; the last tenth of the prompts is held out when None.
        test: pairs to report.
        config: see `TextConfig`; its `data` says what a word is and how long a prompt may be.
        columns: [N] each, what else functions in TRL's form are told about a prompt, by name.
        places: where each prompt stands, for messages.
        policy: a policy that is ready, in the place of the configured one: `seqrl.tasks.writing.pretrained.loading.text_policy` makes one
            of a model of transformers and its tokenizer, which is the vocabulary then.
        seed: of the order of the prompts.

    Raises:
        ValueError: when prompts and references do not fit, a reference is empty or nothing is rewarded.
    """

    def __init__(
        self,
        prompts: Sequence[str] | Sequence[Sequence[Mapping[str, Any]]],
        references: Sequence[str] | Sequence[Sequence[str]],
        reward: OwnRewardLike | str | Mapping[str, float] | None = None,
        *,
        vocabulary: Any = None,
        dev: Pairs | None = None,
        test: Pairs | None = None,
        config: TextConfig | None = None,
        columns: Mapping[str, Sequence[Any]] | None = None,
        places: Sequence[str] = (),
        policy: Any = None,
        seed: int = 0,
    ) -> None:
        self.config = config = _rewarding(config or TextConfig(), reward)
        texts, messages = as_prompts(prompts)
        train, data = Pairs(texts, as_lists(references), places, messages, columns or {}), config.data
        if dev is None:
            train, dev = held_out(train)
        self._given = policy
        # Its tokenizer is needed first; the first `build_policy` gives it out.
        self._loaded = load_pretrained(config.policy) if policy is None and config.policy.type == "pretrained" else None
        self.vocabulary: AnyVocabulary = self._make_vocabulary(train, vocabulary)
        make = partial(make_split, vocabulary=self.vocabulary, max_prompt_tokens=data.max_prompt_tokens)
        self.splits: dict[str, TextSplit] = {
            name: make(name, pairs) for name, pairs in (("train", train), ("dev", dev), ("test", test or Pairs([], [])))
        }
        self.train = self.splits["train"]
        self.slots = Slots.of(data.slot_prefix, train)
        for split in self.splits.values():
            self.slots.warn_of_strange(split.name, split.pairs)
        self.reward = TextReward(config.reward, self.train, self.vocabulary, function=None if named_functions(reward) is None else reward)  # type: ignore[arg-type]
        repeats = torch.tensor([len(texts) if config.draw_by_references else 1 for texts in train.references])
        self._drawn = torch.arange(len(self.train)).repeat_interleave(repeats)
        self._rollouts = Rollouts(len(self._drawn), self.reward, seed=seed)
        self._references = self._imitated(self._given or self._loaded)
        self._own = own_metrics(config.evaluation.functions, self.reward, config.reward.timeout_s, taken=FIGURES)
        self._metrics = list(dict.fromkeys([*METRICS, *config.evaluation.registered, *self.reward.weights]))

    searches_rows = True

    @property
    def seconds_in_reward(self) -> float:
        """Time spent scoring replies so far; with `reward.ahead` the time spent waiting for it."""
        return self._rollouts.seconds_in_reward

    def pop_metrics(self) -> dict[str, float]:
        """Give what functions of one's own have logged since the last call."""
        return self._rollouts.pop_metrics()

    hints = HINTS | {"items": "raise task.prompts_per_batch"}

    @property
    def reward_ahead(self) -> int:
        """By how many updates rows are older than the policy that learns from them."""
        return self._rollouts.lag

    def build_policy(self) -> nn.Module:
        """Make the configured policy for this vocabulary."""
        policy = self._given or self._loaded or build_policy(self.config.policy, self.vocabulary, self.train.tokens.shape[1])
        vars(policy)["hints"] = self.hints
        self._loaded = None
        self._references = self._imitated(policy)
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
        beam: bool = False,
    ) -> Trajectory:
        """Reply to the next prompts; see `seqrl.protocols.Task`. With `reward.ahead` the replies are those that the last call sampled."""

        own: Any = self._rollouts.own

        def draw() -> Sampled:
            items = self._next_items()
            context = {"image": {name: leaf.to(next(policy.parameters()).device) for name, leaf in self.train.rows(items).items()}}
            forced = self._references.beginnings(items, num_forced_steps, self._rollouts.generator) if num_forced_steps else None
            return sampled_rows(
                policy,
                own(context),
                own(items),
                end=self.vocabulary.end,
                num_samples=num_samples,
                greedy=greedy,
                greedy_baseline=greedy_baseline,
                forced=own(forced),
                generator=generator,
                beam=beam,
            )

        return self._rollouts.rewarded(draw, num_samples=num_samples, greedy=greedy, greedy_baseline=greedy_baseline)

    def demonstrations(self, group: Tensor | None = None) -> Trajectory:
        """Give references of the next prompts, or of the training prompts that `group` numbers."""
        items = self._next_items() if group is None else self._rollouts.around(group.cpu())
        chosen = [self._references.choose(item, self.config.references_per_prompt, self._rollouts.generator) for item in items.tolist()]
        rows = items.repeat_interleave(torch.tensor([len(each) for each in chosen]))
        tokens = [row for each in chosen for row in each]
        shown = imitated_rows(tokens, {"image": self.train.rows(rows)}, rows, begin=self.vocabulary.begin, pad=self.vocabulary.pad)
        return self._rollouts.own_rows(shown, group)

    def share_batches(self, share: BatchShare) -> None:
        """Divide each batch with other processes from now on.

        Raises:
            ValueError: when a prompt may be drawn twice for one batch.
        """
        if self.config.draw_by_references:
            raise ValueError("split_batches: expected task.draw_by_references=false, with which a batch may hold a prompt twice")
        self._rollouts.divide(share)

    def evaluate(self, policy: nn.Module, *, split: str = "dev") -> dict[str, float]:
        """Reply to the prompts of a split and score the replies; see `score_replies`. What beam search writes is scored under `beam/`."""
        return self.evaluation_metrics([self.evaluation_share(policy, split=split)], split=split)

    def evaluation_share(self, policy: nn.Module, *, split: str, part: int = 0, parts: int = 1) -> Share:
        """Reply to one process's share of the prompts."""
        return replies_of(policy, self._split(split), self.vocabulary, self.config.evaluation, part, parts)

    def evaluation_metrics(self, shares: Sequence[Share], *, split: str) -> dict[str, float]:
        """Score the replies of all processes."""
        values: dict[str, float] = {}
        for kind in shares[0]:
            found = self._reported(in_order([share[kind] for share in shares]), self._split(split))
            values |= {f"{kind}{name}": metric for name, metric in found.items()}
        return values

    def watch(self, metric: str) -> None:
        """Report a metric in evaluations from now on; names of other metrics change nothing."""
        name = metric.removeprefix("beam/")
        if name in by_name.METRICS and name not in self._metrics:
            self._metrics.append(name)

    def less_is_better(self, metric: str) -> bool:
        """Tell whether the smallest value of a metric of evaluations is the best."""
        name = metric.removeprefix("beam/")
        return name in ("unfinished", "unknown_slots", "broken_slots") or (name in by_name.METRICS and not by_name.higher_is_better(name))

    def reply(self, policy: nn.Module, prompts: Sequence[str]) -> list[str]:
        """Write the most probable reply, token by token, to any prompts, [N].

        Raises:
            ValueError: when a prompt asks for a slot that no training pair has.
        """
        self.slots.require_known(prompts)
        pairs = Pairs(list(prompts), [[prompt or "-"] for prompt in prompts])  # nothing is compared
        tokens, mask = prompt_rows(pairs.prompts, self.vocabulary, self.config.data.max_prompt_tokens)
        part = TextSplit("given", pairs, [], tokens, mask)
        return self._texts(greedy_replies(policy, part, self.vocabulary, self.config.evaluation, len(part)))

    def sample(
        self, policy: nn.Module, directory: Path, *, count: int = 8, split: str = "dev", before: nn.Module | None = None
    ) -> list[Path]:
        """Write inputs, references and replies beside each other, slots marked, each reply with what it is paid.

        Args:
            policy: writes the replies.
            directory: for replies.txt, replies.html and replies.jsonl.
            count: of prompts.
            split: whose first prompts they are.
            before: the policy that training started from, whose replies are shown, too.
        """
        part = self._split(split)
        return write_replies(part.pairs, self._written(policy, before, part, min(count, len(part))), self.slots, directory)

    def keep_samples(self, policy: nn.Module, path: Path, *, split: str = "dev", before: nn.Module | None = None) -> Path:
        """Write the replies to all prompts that an evaluation looks at as JSON lines; arguments as in `sample`."""
        part = self._split(split)
        return write_rows(part.pairs, self._written(policy, before, part, self._count(part)), path.with_suffix(".jsonl"))

    def fingerprint(self) -> dict[str, str]:
        """Name what the weights depend on beside the configuration: the vocabulary, and document frequencies where they are rewarded."""
        known = {"vocabulary": self.vocabulary.fingerprint(), "document_frequency": self.reward.fingerprint()}
        return {name: key for name, key in known.items() if key}

    def reward_signature(self, trainer: Mapping[str, object], *, version: str) -> str:
        """Say how replies are rewarded, see `seqrl.metrics.signature`."""
        return reward_signature(self.reward, trainer, version)

    def evaluation_signatures(self, split: str, *, version: str) -> dict[str, str]:
        """Say how the metrics of an evaluation are computed."""
        config, part, settings = self.config.evaluation, self._split(split), self.config.reward.settings
        return evaluation_signatures(
            {name: by_name.metric_by_name(name, **settings[name]) if name in settings else name for name in self._metrics},
            part.references[: config.max_prompts or None],
            {"beam": config.beam_size, "alpha": config.length_penalty} if config.beam_size > 1 else {},
            tok=self.vocabulary.tokenisation.name,
            version=version,
            df=part.name,
        )

    def state_dict(self) -> dict[str, Any]:
        """Give the position in the data and the state of the draws."""
        return self._rollouts.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self._rollouts.load_state_dict(state)

    def _make_vocabulary(self, train: Pairs, given: Any) -> AnyVocabulary:
        data, policy = self.config.data, self._given or self._loaded
        if given is None and getattr(policy, "tokenizer", None) is not None:
            return model_vocabulary(policy, data, self.config.policy)
        if given is None and not data.tokenizer:
            return make_vocabulary(train, tokens=data.tokens, min_count=data.min_count, pieces=data.pieces)
        return any_vocabulary(data.tokenizer if given is None else given, tokens=data.tokens)

    def _next_items(self) -> Tensor:
        return self._drawn[self._rollouts.next_items(self.config.prompts_per_batch)]

    def _imitated(self, policy: Any) -> ImitatedReferences:
        ends = (self.vocabulary.end,) if policy is None else end_tokens(policy)
        return ImitatedReferences(self.train, self.vocabulary, getattr(policy, "max_tokens", self.config.policy.max_tokens), ends)

    def _texts(self, replies: Sequence[Reply]) -> list[str]:
        return [self.vocabulary.tokenisation.join(reply.words) for reply in replies]

    def _written(self, policy: nn.Module, before: nn.Module | None, part: TextSplit, count: int) -> dict[str, Written]:
        writers = {"output": policy} if before is None else {"before": before, "after": policy}
        written = {}
        for name, writer in writers.items():
            replies = greedy_replies(writer, part, self.vocabulary, self.config.evaluation, count)
            notes = Notes()
            scores = scores_of(replies, part, self.reward, notes)
            written[name] = Written(self._texts(replies), scores, notes.extra)
        return written

    def _reported(self, replies: Sequence[Reply], part: TextSplit) -> dict[str, float]:
        values = score_replies(replies, part, self.vocabulary, self._metrics, self.config.reward.settings)
        values |= self.slots.metrics([reply.words for reply in replies], part.pairs)
        return values | score_own_metrics(self._own, self._texts(replies), part, self.config.evaluation.prompts_per_batch)

    def _count(self, part: TextSplit) -> int:
        return min(self.config.evaluation.max_prompts or len(part), len(part))

    def _split(self, name: str) -> TextSplit:
        return split_named(name, self.splits, "pairs")


def _rewarding(config: TextConfig, reward: OwnRewardLike | str | Mapping[str, float] | None) -> TextConfig:
    """Put a reward that was given as names and weights into the configuration, and say which words slots are."""
    slots: dict[str, int | float | str] = {"prefix": config.data.slot_prefix}
    settings = {"slot_error": slots} | config.reward.settings
    return replace(config, reward=rewarding(replace(config.reward, settings=settings), reward))
