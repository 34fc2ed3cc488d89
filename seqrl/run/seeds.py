"""The runs of one configuration that differ in their seed: all places are looked at first, and one that fails does not stop the others."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from seqrl.distributed import connect, is_main, num_processes
from seqrl.meetings import told_to_others
from seqrl.run.config import RunConfig, read_tree
from seqrl.run.lock import hold
from seqrl.run.measured_settings import chosen_before
from seqrl.run.recovery import identity
from seqrl.run.reports import hint, report, say_failed
from seqrl.run.run_folder import check_folder
from seqrl.run.train import train


def read_seeds(text: str) -> list[int]:
    """Read numbers such as 0,1,2.

    Raises:
        ValueError: when something else came, or one number twice.
    """
    try:
        seeds = [int(seed) for seed in text.split(",")]
    except ValueError as error:
        raise ValueError(f"--seeds: expected numbers such as 0,1,2, got {text!r}") from error
    twice = [seed for index, seed in enumerate(seeds) if seed in seeds[:index]]
    if twice:
        raise ValueError(f"--seeds: expected each number once, got {twice[0]} twice")
    return seeds


@told_to_others
def train_seeds(configs: Sequence[RunConfig], *, overwrite: bool, display: bool) -> int:
    """Do one run after the other; give the exit code, that of the first which failed, if any did.

    Args:
        configs: of the runs, each in a folder of its own.
        overwrite: delete earlier runs of these names first.
        display: show progress.

    Raises:
        OSError, ValueError: when one of the folders cannot be used, naming each, or the disk has no room for all runs; before any begins.
    """
    connect(configs[0].process_timeout_s)  # so that an error of one is heard by the others
    check_all_folders(configs, overwrite=overwrite)
    chose: Path | None = None
    failed: dict[Path, tuple[int, Exception]] = {}
    for number, config in enumerate(configs, start=1):
        # All seeds go as the first one chose.
        config = config if chose is None else chosen_before(config, read_tree(chose / "config.yaml"))
        seeds = [other.seed for other in configs]
        left = f"then `--seeds {_listed(seeds[number:])}` is left to do" if seeds[number:] else ""
        begun = "" if number == 1 else f" with `--seeds {_listed(seeds[number - 1 :])}`"
        hint(f"nothing was kept of {config.run_folder}; the same command{begun} starts it anew")
        before = identity(config.run_folder / "config.yaml")
        try:
            result = train(config, overwrite=overwrite, display=display, space_for=len(seeds) - number + 1)
        except Exception as error:
            # What is wrong before the first one begins, data or disk for instance, is wrong for all; and of one run's processes
            # the others would wait for this one.
            if num_processes() > 1 or len(configs) == 1 or (number == 1 and identity(config.run_folder / "config.yaml") == before):
                raise
            failed[config.run_folder] = say_failed(error), error
            continue
        chose = chose or config.run_folder
        code = report(result, left)
        if code:
            return code
    if failed and is_main():
        shown = "; ".join(f"{folder} ({(str(error) or type(error).__name__).splitlines()[0]})" for folder, (_, error) in failed.items())
        print(f"seqrl: {len(failed)} of {len(configs)} seeds failed: {shown}; the others are finished", file=sys.stderr)
    return next((code for code, _ in failed.values()), 0)


def check_all_folders(configs: Sequence[RunConfig], *, overwrite: bool) -> None:
    """Refuse runs of which one could not begin, before the first one does; see `train_seeds`. The main process does it for all."""
    # It makes the folders and removes them again: another process that looked at the same time would miss one.
    if not is_main():
        return
    errors: list[OSError | ValueError] = []
    for config in configs:
        try:
            with hold(config.run_folder):
                check_folder(config.run_folder, overwrite=overwrite, resume=False)
        except (OSError, ValueError) as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise type(errors[0])("\n  ".join([f"{len(errors)} of {len(configs)} seeds could not begin:", *map(str, errors)]))


def _listed(seeds: Sequence[int]) -> str:
    return ",".join(map(str, seeds))
