"""Texts as a task: prompts in, replies out, scored as wholes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from seqrl.tasks.text.data import TextSplit, prompt_rows
from seqrl.tasks.text.data_config import DataConfig, load_pairs
from seqrl.tasks.text.evaluation import FIGURES, METRICS, SMALLER, EvaluationConfig, score_replies, scores_of
from seqrl.tasks.text.pairs import Pairs, as_lists, as_prompts, held_out
from seqrl.tasks.text.policy import PolicyConfig, build_policy, load_pretrained, vocabulary_of
from seqrl.tasks.text.shown import Written, write_replies, write_rows
from seqrl.tasks.text.slots import Slots
from seqrl.tasks.writing.decoded import Decoded, Share, batches_of, greedy_texts, share_of
from seqrl.tasks.writing.imitated_references import ImitatedReferences, imitated_rows
from seqrl.tasks.writing.own_metrics import Reported, imported_among
from seqrl.tasks.writing.own_rewards import RewardLike
from seqrl.tasks.writing.reward import RewardConfig, TextReward
from seqrl.tasks.writing.reward_config import rewarding
from seqrl.tasks.writing.rollouts import HINTS, Rollouts, split_named
from seqrl.tasks.writing.signatures import evaluation_signatures, reward_signature
from seqrl.tasks.writing.trl_form import Notes
from seqrl.trajectory import Trajectory, Tree


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
        imported_among(self.evaluation.metrics)
        parts: Any = load_pairs(self.data)
        train = parts.pop("train")
        columns: Any = {"places": train.places, "columns": train.columns}
        return TextTask(train.messages or train.prompts, train.references, **columns, **parts, config=self, seed=seed)


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
        reward: RewardLike = None,
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
        config = config or TextConfig()
        settings: Any = {"slot_error": {"prefix": config.data.slot_prefix}, **config.reward.settings}
        self.config = config = replace(config, reward=rewarding(replace(config.reward, settings=settings), reward))
        texts, messages = as_prompts(prompts)
        train, data = Pairs(texts, as_lists(references), places, messages, columns or {}), config.data
        if dev is None:
            train, dev = held_out(train)
        self._given = policy
        # Its tokenizer is needed first; the first `build_policy` gives it out.
        self._loaded = load_pretrained(config.policy) if policy is None and config.policy.type == "pretrained" else None
        self.vocabulary = vocabulary_of(train, vocabulary, policy or self._loaded, data, config.policy)
        given = {"train": train, "dev": dev, "test": test or Pairs([], [])}
        self.splits = {name: TextSplit(name, pairs, self.vocabulary, data.max_prompt_tokens) for name, pairs in given.items()}
        self.train = self.splits["train"]
        self.slots = Slots.of(data.slot_prefix, train)
        for split in self.splits.values():
            self.slots.warn_of_strange(split.name, split.pairs)
        self.reward = TextReward(config.reward, self.train, self.vocabulary, function=reward)
        repeats = torch.tensor([len(texts) if config.draw_by_references else 1 for texts in train.references])
        self._drawn = torch.arange(len(self.train)).repeat_interleave(repeats)
        self._rollouts = Rollouts(len(self._drawn), self.reward, seed=seed)
        self._references = self._imitated(self._given or self._loaded)
        self._reported = Reported(METRICS, config.evaluation.metrics, self.reward, FIGURES, smaller=SMALLER)
        self.watch, self.less_is_better = self._reported.watch, self._reported.less_is_better
        # What is the same for every task of written texts; see `seqrl.protocols.Task`.
        self.pop_metrics, self.reward_ahead = self._rollouts.pop_metrics, self._rollouts.lag
        self.reward_signature = partial(reward_signature, self.reward)
        self.state_dict, self.load_state_dict = self._rollouts.state_dict, self._rollouts.load_state_dict

    searches_rows = True
    hints = HINTS | {"items": "raise task.prompts_per_batch"}

    @property
    def seconds_in_reward(self) -> float:
        """Time spent scoring replies so far; with `reward.ahead` the time spent waiting for it."""
        return self._rollouts.seconds_in_reward

    def build_policy(self) -> nn.Module:
        """Make the configured policy for this vocabulary."""
        policy = self._given or self._loaded or build_policy(self.config.policy, self.vocabulary, self.train.tokens.shape[1])
        vars(policy)["hints"] = self.hints
        self._loaded = None
        self._references = self._imitated(policy)
        return policy

    def rollout(self, policy: nn.Module, **settings: Any) -> Trajectory:
        """Reply to the next prompts; the trainer's settings are those of `seqrl.tasks.writing.rollouts.Rollouts.write`."""
        return self._rollouts.write(policy, self._next_prompts, self._references, **settings)

    def demonstrations(self, group: Tensor | None = None) -> Trajectory:
        """Give references of the next prompts, or of the training prompts that `group` numbers."""
        items = self._next_items() if group is None else self._rollouts.around(group.cpu())
        tokens, place = self._references.chosen(items, self.config.references_per_prompt, self._rollouts.generator)
        rows, vocabulary = items[place], self.vocabulary
        shown = imitated_rows(tokens, {"image": self.train.rows(rows)}, rows, begin=vocabulary.begin, pad=vocabulary.pad)
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
        config = self.config.evaluation
        which: Any = {"most": config.max_prompts, "size": config.prompts_per_batch, "part": part, "parts": parts}
        return share_of(policy, self._split(split), self.vocabulary, config.beam, **which)

    def evaluation_metrics(self, shares: Sequence[Share], *, split: str) -> dict[str, float]:
        """Score the replies of all processes."""
        part, settings = self._split(split), self.config.reward.settings

        def score(replies: Sequence[Decoded]) -> dict[str, float]:
            found = score_replies(replies, part, self.vocabulary, self._reported.metrics, settings)
            return found | self.slots.metrics([reply.words for reply in replies], part.pairs)

        return self._reported.values(shares, part, self.config.evaluation.prompts_per_batch, score)

    def reply(self, policy: nn.Module, prompts: Sequence[str]) -> list[str]:
        """Write the most probable reply, token by token, to any prompts, [N].

        Raises:
            ValueError: when a prompt asks for a slot that no training pair has.
        """
        self.slots.require_known(prompts)
        tokens, mask = prompt_rows(prompts, self.vocabulary, self.config.data.max_prompt_tokens)
        return self._texts(self._replies(policy, lambda rows: {"tokens": tokens[rows], "mask": mask[rows]}, len(prompts)))

    def sample(
        self, policy: nn.Module, directory: Path, *, count: int = 8, split: str = "dev", before: nn.Module | None = None
    ) -> list[Path]:
        """Write inputs, references and replies beside each other, slots marked, each reply with what it is paid.

        Args:
            policy: writes the replies.
            directory: for replies.txt, replies.html and replies.jsonl.
            count: of prompts, the first ones of the split.
            split: name of it.
            before: the policy that training started from, whose replies are shown, too.
        """
        part = self._split(split)
        return write_replies(part.pairs, self._written(policy, before, part, min(count, len(part))), self.slots, directory)

    def keep_samples(self, policy: nn.Module, path: Path, *, split: str = "dev", before: nn.Module | None = None) -> Path:
        """Write the replies to all prompts that an evaluation looks at as JSON lines; arguments as in `sample`."""
        part = self._split(split)
        count = min(self.config.evaluation.max_prompts or len(part), len(part))
        return write_rows(part.pairs, self._written(policy, before, part, count), path.with_suffix(".jsonl"))

    def fingerprint(self) -> dict[str, str]:
        """Name what the weights depend on beside the configuration: the vocabulary, and document frequencies where they are rewarded."""
        known = {"vocabulary": self.vocabulary.fingerprint(), "document_frequency": self.reward.fingerprint()}
        return {name: key for name, key in known.items() if key}

    def evaluation_signatures(self, split: str, *, version: str) -> dict[str, str]:
        """Say how the metrics of an evaluation are computed."""
        config, part, settings = self.config.evaluation, self._split(split), self.config.reward.settings
        return evaluation_signatures(
            {name: by_name.metric_by_name(name, **settings[name]) if name in settings else name for name in self._reported.metrics},
            part.references[: config.max_prompts or None],
            config.beam,
            tok=self.vocabulary.tokenisation.name,
            version=version,
            df=part.name,
        )

    def _next_items(self) -> Tensor:
        return self._drawn[self._rollouts.next_items(self.config.prompts_per_batch)]

    def _next_prompts(self) -> tuple[Tensor, Tree]:
        items = self._next_items()
        return items, self.train.rows(items)

    def _imitated(self, policy: Any) -> ImitatedReferences:
        ends = (self.vocabulary.end,) if policy is None else end_tokens(policy)
        return ImitatedReferences(self.train, self.vocabulary, getattr(policy, "max_tokens", self.config.policy.max_tokens), ends)

    def _texts(self, replies: Sequence[Decoded]) -> list[str]:
        return [self.vocabulary.tokenisation.join(reply.words) for reply in replies]

    def _replies(self, policy: nn.Module, read: Callable[[slice], Tree], count: int) -> list[Decoded]:
        batches = batches_of(count, self.config.evaluation.prompts_per_batch)
        return greedy_texts(policy, read, batches, self.vocabulary)

    def _written(self, policy: nn.Module, before: nn.Module | None, part: TextSplit, count: int) -> dict[str, Written]:
        writers = {"output": policy} if before is None else {"before": before, "after": policy}
        written = {}
        for name, writer in writers.items():
            replies, notes = self._replies(writer, part.rows, count), Notes()
            scores = scores_of(replies, part, self.reward, notes)
            written[name] = Written(self._texts(replies), scores, notes.extra)
        return written

    def _split(self, name: str) -> TextSplit:
        return split_named(name, self.splits, "pairs")
