"""Where data lies: the paths that configurations name."""

from __future__ import annotations

import os
import re
from pathlib import Path


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
