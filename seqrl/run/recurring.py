"""Tells troubles that come back from those of a single update, and says each only once in a while."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping


class Recurring:
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
        return {kind: text for kind, text in found.items() if self._often(kind) and self._due(kind)}

    def _often(self, kind: str) -> bool:
        return _count(kind, self._found) >= self._least

    def _due(self, kind: str) -> bool:
        now = self._clock()
        if now - self._shown.get(kind, float("-inf")) < self._period_s:
            return False
        self._shown[kind] = now
        return True


def _count(kind: str, found: Iterable[frozenset[str]]) -> int:
    return sum(kind in kinds for kinds in found)
