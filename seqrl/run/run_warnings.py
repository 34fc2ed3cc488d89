"""The warnings of a run: of one update, of nearly every update, of the whole run so far, and of its evaluations."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from seqrl.diagnostics import AT_ONCE, said_of, warnings_for
from seqrl.protocols import ask

# What counts as never having moved, and when it is time to say so.
MIN_UPDATES, MIN_SHARE_OF_RUN = 50, 0.1
LARGEST_IDLE_EXPLAINED_VARIANCE = 0.05
SMALLEST_RANDOM_ENTROPY_SHARE = 0.98
SMALLEST_MEAN_SPREAD = 0.03
MIN_EQUAL_EPISODES = 50
LARGEST_LATE_EPSILON = 0.5
SMALLEST_JUMP_NATS, SMALLEST_JUMP_FACTOR, KL_DECAY = 0.1, 10.0, 0.9


class RunWarnings:
    """Collects what is likely to be wrong with a run, and lets each kind through only once in a while.

    Args:
        stagnation: follows the run.
    """

    def __init__(self, stagnation: StagnationMonitor) -> None:
        self._stagnation = stagnation
        self._at_once, self._in_run, self._in_evaluations = (WarningFilter(window=1, least=1) for _ in range(3))
        self._in_updates = WarningFilter(window=10, least=8)

    def of_update(self, step: int, stats: Mapping[str, float]) -> dict[str, str]:
        """Give what the stats of an update tell, by themselves and after those of the updates before: kind -> text."""
        troubles = warnings_for(stats)
        at_once = self._at_once.pick({kind: troubles.pop(kind) for kind in AT_ONCE if kind in troubles})
        return at_once | self._in_updates.pick(troubles) | self._in_run.pick(self._stagnation.update(step, stats))

    def of_line(self, stats: Mapping[str, float]) -> dict[str, str]:
        """Give what the episodes of a line of the log tell."""
        return self._in_run.pick(self._stagnation.episodes(stats))

    def of_evaluations(self, task: Any, evaluations: Sequence[Mapping[str, float]]) -> dict[str, str]:
        """Give what a task finds wrong in the metrics of all evaluations so far."""
        return self._in_evaluations.pick(ask(task, "warnings_for", evaluations, otherwise={}))


class WarningFilter:
    """Lets a trouble through when it has been found often enough lately, and was not let through lately.

    Args:
        window: how many of the last findings are looked at.
        least: in how many of them a trouble must be.
        period_s: least seconds before it is let through again.
        clock: gives seconds.
    """

    def __init__(self, window: int, least: int, period_s: float = 300.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._least, self._period_s, self._clock = least, period_s, clock
        self._found: deque[frozenset[str]] = deque(maxlen=window)
        self._shown: dict[str, float] = {}

    def pick(self, found: Mapping[str, str]) -> dict[str, str]:
        """Give those of the troubles found now that are to be said: kind -> text.

        Args:
            found: kind -> text; the kind stays the same where the numbers in the text differ.
        """
        self._found.append(frozenset(found))
        now = self._clock()
        often = [kind for kind in found if sum(kind in kinds for kinds in self._found) >= self._least]
        due = [kind for kind in often if now - self._shown.get(kind, -math.inf) >= self._period_s]
        self._shown |= dict.fromkeys(due, now)
        return {kind: found[kind] for kind in due}


class StagnationMonitor:
    """Follows a run and says in plain words what has not changed since it began.

    A run that has learned something and then rests, since the task is solved, gives no cause: every trouble here but the jump and
    the same action everywhere, which a policy may fall back to, is about stats that have never been better.

    Args:
        num_updates: updates in all.
        max_entropy: the largest entropy that the policy could have, nats a step; None where there is no such limit.
        state: what `state_dict` gave, to go on from.
    """

    def __init__(self, num_updates: int, max_entropy: float | None = None, state: Mapping[str, float] | None = None) -> None:
        self._num_updates, self._max_entropy = num_updates, max_entropy
        self._state: dict[str, float] = dict(state or {})

    def update(self, step: int, stats: Mapping[str, float]) -> dict[str, str]:
        """Take the stats of one update; give the troubles found, kind -> text."""
        state = self._state
        explained, entropy = stats.get("critic/explained_variance"), stats.get("policy/entropy")
        if explained is not None:
            state["best_explained"] = max(state.get("best_explained", -math.inf), explained)
        if entropy is not None:
            state["lowest_entropy"] = min(state.get("lowest_entropy", math.inf), entropy)
        troubles = self._jump(stats)
        if step < max(MIN_UPDATES, MIN_SHARE_OF_RUN * self._num_updates):
            return troubles
        if step > self._num_updates / 2 and stats.get("explore/epsilon", 0.0) > LARGEST_LATE_EPSILON:
            troubles["much_chance"] = said_of("much_chance", epsilon=stats["explore/epsilon"])
        if (spread := stats.get("policy/mean_spread", math.inf)) < SMALLEST_MEAN_SPREAD:
            troubles["same_action"] = said_of("same_action", spread=spread)
        return troubles | self._idle(explained, entropy)

    def episodes(self, stats: Mapping[str, float]) -> dict[str, str]:
        """Take a line's stats of episodes; give the troubles found."""
        state, number = self._state, stats.get("episode/count", 0.0)
        mean, largest = stats.get("episode/return_mean", math.nan), stats.get("episode/return_max", math.nan)
        if not number:
            return {}
        first = state.setdefault("first_return", largest)
        same = abs(largest - mean) <= 1e-6 * max(1.0, abs(mean)) and largest == first
        # Once two returns have differed there is something to learn from.
        state["num_equal"] = state.get("num_equal", 0.0) + number if same and state.get("num_equal", 0.0) >= 0 else -1.0
        if state["num_equal"] < MIN_EQUAL_EPISODES:
            return {}
        return {"equal_returns": said_of("equal_returns", number=state["num_equal"], first=first)}

    def _idle(self, explained: float | None, entropy: float | None) -> dict[str, str]:
        """Find what is still as it was at the start."""
        troubles = {}
        if explained is not None and -0.1 <= explained and self._state["best_explained"] < LARGEST_IDLE_EXPLAINED_VARIANCE:
            troubles["idle_critic"] = said_of("idle_critic", explained=explained)
        limit = self._max_entropy
        if entropy is not None and limit and self._state["lowest_entropy"] > SMALLEST_RANDOM_ENTROPY_SHARE * limit:
            troubles["random_policy"] = said_of("random_policy", entropy=entropy, limit=limit)
        return troubles

    def _jump(self, stats: Mapping[str, float]) -> dict[str, str]:
        """Find an update that moved the policy many times farther than those before it."""
        divergence = stats.get("policy/kl_sampling")
        if divergence is None or not math.isfinite(divergence):
            return {}
        usual = self._state.get("usual_kl")
        self._state["usual_kl"] = divergence if usual is None else KL_DECAY * usual + (1 - KL_DECAY) * divergence
        if usual is None or divergence < SMALLEST_JUMP_NATS or divergence < SMALLEST_JUMP_FACTOR * usual:
            return {}
        return {"jump": said_of("jump", divergence=divergence, times=min(divergence / max(usual, 1e-9), 1e6))}

    def state_dict(self) -> dict[str, float]:
        """Give what is remembered as plain data."""
        return dict(self._state)
