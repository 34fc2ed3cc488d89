"""Finds configurations by name: those that ship with the package, and those in the user's own folder `configs`."""

from __future__ import annotations

import difflib
from pathlib import Path

SHIPPED = (Path(__file__).resolve().parents[1] / "configs").resolve()
OWN = Path("configs")


def find_config(name: Path | str) -> Path:
    """Find the file of a configuration.

    A path to a file is that file. Everything else is a name, with or without its folder, `configs/` before it and `.yaml` behind
    it: cartpole_ppo, control/cartpole_ppo. It is looked for in `configs` in the current folder and among those that ship.

    Args:
        name: path or name.

    Raises:
        FileNotFoundError: when there is none, with the nearest names.
        ValueError: when several have the name, or it is a folder's.
    """
    path = Path(name)
    if path.exists() and not path.is_dir():
        return path
    wanted = path.as_posix().removesuffix(".yaml").removeprefix("./").removeprefix("configs/")
    files = [file for known, file in named_configs() if wanted in (known, Path(known).name)]
    if len(files) > 1:
        raise ValueError(f"{name}: several configurations have this name: {', '.join(map(str, files))}; write the path of the one you mean")
    if files:
        return files[0]
    if path.is_dir():
        raise ValueError(f"{path}: expected a YAML file, got a folder")
    raise FileNotFoundError(f"{name}: there is no such file, and no configuration of this name; {_nearest(wanted)}")


def named_configs() -> list[tuple[str, Path]]:
    """List names such as control/cartpole_ppo with their files: the current folder's own first, then those that ship."""
    found: dict[Path, tuple[str, Path]] = {}
    for root in (OWN, SHIPPED):
        for file in sorted(root.rglob("*.yaml")):
            # In a checkout both are the same files.
            found.setdefault(file.resolve(), (file.relative_to(root).with_suffix("").as_posix(), file))
    return list(found.values())


def _nearest(wanted: str) -> str:
    known = {Path(name).name: name for name, _ in named_configs()} | {name: name for name, _ in named_configs()}
    close = list(dict.fromkeys(known[match] for match in difflib.get_close_matches(wanted, known, n=3, cutoff=0.6)))
    return f"did you mean {' or '.join(close)}?" if close else "`seqrl list` names those at hand"
