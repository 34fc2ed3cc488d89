"""Where data lies: the paths that configurations name, and the names of splits."""

from __future__ import annotations

import os
import re
from pathlib import Path

# What sources call their splits, and what we do. Karpathy's "restval" images are the part of COCO's validation set that
# everyone trains on.
_NAMES = {"train": ("train", "training", "restval"), "dev": ("dev", "val", "valid", "validation"), "test": ("test",)}
SPLIT_NAMES = {theirs: ours for ours, names in _NAMES.items() for theirs in names}


def expanded(path: str) -> Path:
    """Give a path with `~` and `$NAME` replaced.

    Raises:
        FileNotFoundError: when an environment variable in it is not set, and there is nothing of that very name.
    """
    found = Path(os.path.expandvars(path)).expanduser()
    unset = re.findall(r"\$\{?(\w+)", str(found))
    if unset and not found.exists():
        raise FileNotFoundError(
            f"{found}: the environment variable {', '.join(unset)} is not set; set it, or set `path` to the data's folder"
        )
    return found
