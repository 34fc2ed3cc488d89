"""What a text is rewarded with: settings, and what of them can be refused before there are data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from seqrl.metrics import by_name
from seqrl.run.registry import nearest
from seqrl.run.trust import NAMES_CODE
from seqrl.settings import Limit, NotNegative, check_settings
from seqrl.tasks.writing.own_rewards import RewardLike, named_functions
from seqrl.tasks.writing.reward_function import Named, import_function
from seqrl.token_rollout import SCORE_TIMEOUT_S

Ahead = Annotated[int, Limit("0 (the reward is waited for) or 1 (one batch ahead)", (0, 1).__contains__)]


@dataclass
class RewardConfig:
    """What to reward.

    Attributes:
        metrics: weight of each metric, by its name.
        settings: of metrics by their names, such as {slot_error: {prefix: SLOT_}}: which words of a text are slots.
        function: a function of one's own instead, as `module:name`; it takes captions and the lists of their references and
            gives one number a caption; one of three arguments gets the prompts first, where there are any. Captions are the words that
            all metrics score (lower case, without punctuation); references are as they were written, so split them in the same way
            (`seqrl.metrics.ptb_tokenize`) before you compare words. One in TRL's form, see `seqrl.tasks.writing.trl_form`, is told all by
            keyword, the data's columns among it, and may give None for a caption, which then does not count.
        functions: several of them instead, weights by `module:name`; a caption is paid their weighted sum, over those that do not give
            None for it.
        variety: weight of 1 - the share of the batch's captions that begin with the same word, added to the score. A metric that
            compares with references pays one opening best for all images; this pays for the others.
        score_end: score the end token as a word, which costs captions that break off. The published scores do not, and
            evaluation never does.
        per_token: pay each token what it adds to the score of the text so far (`shaping.score_differences`), in place of the whole
            score at the end; a row's sum is the same. Only trainers that give credit by step make use of it: `reinforce` with
            `reward_to_go`, `ppo` with `gae`, `a2c`, `vtrace`. Each text is scored once a token.
        document_frequency: file of saved document frequencies for CIDEr; those of the training split when empty.
        workers: processes that call a function of one's own, each with a part of the captions; 0 calls it in this one. The function
            has to score each caption by itself.
        ahead: 1 computes the reward of a batch while the next one is sampled, so that each is learned from one update after it was
            sampled, weighed with importance ratios; only by trainers that have these. 0 computes it at once.
        timeout_s: seconds after which a function of one's own that does not answer is given up; 0 for never. See `seqrl.time_limit`.
    """

    metrics: dict[str, float] = field(default_factory=lambda: {"cider_d": 1.0})
    settings: dict[str, dict[str, int | float | str]] = field(default_factory=dict)
    function: str = field(default="", metadata={NAMES_CODE: ()})
    functions: dict[str, float] = field(default_factory=dict, metadata={NAMES_CODE: ()})
    variety: NotNegative[float] = 0.0
    score_end: bool = True
    per_token: bool = False
    document_frequency: str = ""
    ahead: Ahead = 0
    workers: NotNegative[int] = field(default=0, metadata={"decisive": False})
    timeout_s: NotNegative[float] = field(default=SCORE_TIMEOUT_S, metadata={"decisive": False})

    def __post_init__(self) -> None:
        check_settings(self)
        for name, weight in self.metrics.items():
            _check_metric(name, weight)
        for name, settings in self.settings.items():
            _check_settings(name, settings)
        _check_functions(self.function, self.functions)
        if self.workers and not self.named:
            raise ValueError(
                f"workers: expected 0 without reward.function, got {self.workers}; metrics take microseconds and need no processes"
            )
        together = [] if self.named else [name for name, weight in self.metrics.items() if weight and by_name.scores_together(name)]
        if self.per_token and (self.variety or together):
            what = together[0] if together else "variety"
            raise ValueError(
                f"per_token: expected false with {what}, which compares the texts of a batch, of which the beginnings are no part"
            )
        if not self.named and not any(self.metrics.values()):
            raise ValueError("metrics: expected at least one metric with a weight other than 0, for instance {cider_d: 1.0}")

    @property
    def named(self) -> dict[str, float]:
        """Weights of functions of one's own by `module:name`; empty where metrics are rewarded."""
        return {self.function: 1.0} if self.function else self.functions

    def check(self) -> None:
        """Import the functions and look for the file, before data that may take long are loaded.

        Raises:
            ValueError: when there is no such function.
            FileNotFoundError: when there is no such file.
        """
        if self.named:
            imported(self)
        elif self.document_frequency and not Path(self.document_frequency).is_file():
            raise FileNotFoundError(
                f"reward.document_frequency: no file {self.document_frequency}; leave it empty to count over the training split"
            )


def imported(config: RewardConfig) -> list[Named]:
    """Import the functions of one's own that a configuration names.

    Raises:
        ValueError: when there is no such function.
    """
    field = "reward.function" if config.function else "reward.functions"
    return [(name, import_function(name, field=field)) for name in config.named]


def rewarding(config: RewardConfig, reward: RewardLike) -> RewardConfig:
    """Put a reward that is given as a name, or as weights by name, into a configuration; functions, or None, change nothing.

    Raises:
        ValueError: when it is something else, or no such metric can be rewarded.
    """
    if reward is None or named_functions(reward):
        return config
    weights = {reward: 1.0} if isinstance(reward, str) else reward
    if not isinstance(weights, Mapping) or not all(isinstance(name, str) for name in weights):
        raise ValueError(
            f"reward: expected the name of a metric, weights by name such as {{'sentence_bleu': 1.0}}, a function, a list of functions or "
            f"weights by function, got {reward!r}; to mix a function with metrics, add "
            "`seqrl.metrics.by_name.metric_by_name(name).score(replies, references)` in it"
        )
    return replace(config, metrics={str(name): weight for name, weight in weights.items()})


def _check_functions(function: str, functions: Mapping[str, float]) -> None:
    if function and functions:
        raise ValueError(f"functions: expected none beside function={function!r}; name that among them, with its weight")
    for name, weight in functions.items():
        if ":" not in name:
            remedy = f"; metrics are weighed in reward.metrics, {{{name}: {weight}}}" if name in by_name.METRICS else ""
            raise ValueError(f"functions: expected module:name, got {name!r}{remedy}")
        if not math.isfinite(weight):
            raise ValueError(f"functions.{name}: expected a finite weight, got {weight}")


def require_metric(field: str, name: str) -> None:
    """Refuse the name of a metric that there is not; `field` is the setting that names it."""
    if name not in by_name.METRICS:
        raise ValueError(f"{field}: there is no metric {name!r}; {nearest(name, by_name.METRICS)}")


def _check_metric(name: str, weight: float) -> None:
    require_metric("metrics", name)
    try:
        by_name.require_rewardable(name)
    except ValueError as error:
        raise ValueError(f"metrics: {error}") from None
    by_name.require_weight(name, weight)


def _check_settings(name: str, settings: dict[str, int | float | str]) -> None:
    require_metric("settings", name)
    try:
        by_name.metric_by_name(name, **settings)
    except (TypeError, ValueError) as error:
        raise ValueError(f"settings.{name}: {error}") from None
