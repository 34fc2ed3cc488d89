"""Split captions into words as coco-caption does, without Java."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"[a-z]+(?=n't\b)|n't\b|'(?:s|re|ve|ll|d|m)\b|[^\W_]+(?:[-'.&][^\W_]+)*|[^\s\w]", re.IGNORECASE)
_REMOVED = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";", '"'])


def ptb_tokenize(caption: str) -> list[str]:
    """Split a caption into lower-case words without punctuation."""
    return [word for word in _TOKEN.findall(caption.lower()) if word not in _REMOVED]
