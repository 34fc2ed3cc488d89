"""Recorded episodes in Minari's form, read and written without Minari: a folder with `metadata.json` and `main_data.hdf5`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from seqrl.metrics.limits import brief
from seqrl.run.exchange import hidden, replace_folder
from seqrl.run.json_text import read_json
from seqrl.tasks.control.environments import without_module
from seqrl.tasks.hdf5_files import Rows, open_hdf5

METADATA, ARRAYS = "metadata.json", "main_data.hdf5"
# Minari's names of what an episode of T steps holds; one observation more than steps.
PER_STEP = ("actions", "rewards", "terminations", "truncations")
MINARI_VERSION = "0.5.4"  # whose form this is
HOW = "`seqrl record RUN --data=FOLDER` writes one"


@dataclass(frozen=True)
class RecordedEpisode:
    """One episode of T steps.

    Attributes:
        observations: [T+1, ...], the last one after the end.
        actions: [T, ...], as the environment was given them.
        rewards: [T].
        terminations: [T] bool.
        truncations: [T] bool.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminations: np.ndarray
    truncations: np.ndarray


def check_new(folder: Path) -> None:
    """Refuse to write where something is, before any episode is played.

    Raises:
        FileExistsError: when there is something.
        ValueError: when h5py is not installed.
    """
    if folder.exists():
        raise FileExistsError(f"{folder}: expected a new folder for the recorded episodes, but it is there; name another one, or delete it")
    try:
        import h5py  # noqa: F401
    except ModuleNotFoundError as error:
        raise ValueError(f"{folder}: HDF5 is written by h5py, which is not installed: pip install 'seqrl[demonstrations]'") from error


def write_episodes(
    folder: Path, episodes: Sequence[RecordedEpisode], *, environment: str, spaces: tuple[gym.Space, gym.Space], spec: str | None
) -> None:
    """Write episodes as a folder that is there whole or not at all; `minari.MinariDataset(folder)` reads it, too.

    Args:
        folder: made; must not be there.
        episodes: at least one.
        environment: its name, with which reading compares.
        spaces: of observations and actions.
        spec: gymnasium's specification as JSON, from which Minari makes the environment again; None where there is none.
    """
    import h5py

    check_new(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = hidden(folder)
    partial.mkdir()
    try:
        with h5py.File(partial / ARRAYS, "w", track_order=True) as file:
            for number, episode in enumerate(episodes):
                group = file.create_group(f"episode_{number}")
                group.attrs.update({"id": number, "total_steps": len(episode.rewards)})
                for name in ("observations", *PER_STEP):
                    group.create_dataset(name, data=getattr(episode, name))
        metadata: dict[str, Any] = {
            "dataset_id": f"{environment.rpartition('/')[2].lower().rpartition('-v')[0] or 'episodes'}/seqrl-v0",
            "minari_version": MINARI_VERSION,
            "data_format": "hdf5",
            "jpeg_encoding": False,
            "environment": environment,
            "total_episodes": len(episodes),
            "total_steps": sum(len(episode.rewards) for episode in episodes),
            "observation_space": json.dumps(_described(spaces[0])),
            "action_space": json.dumps(_described(spaces[1])),
        }
        (partial / METADATA).write_text(json.dumps(metadata | ({} if spec is None else {"env_spec": spec})) + "\n", encoding="utf-8")
        replace_folder(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _described(space: gym.Space) -> dict[str, Any]:
    """Describe a space as Minari does."""
    found: dict[str, Any] = {"type": type(space).__name__}
    if isinstance(space, gym.spaces.Box):
        return found | {
            "type": "Box",
            "dtype": str(space.dtype),
            "shape": list(space.shape),
            "low": space.low.tolist(),
            "high": space.high.tolist(),
        }
    if isinstance(space, gym.spaces.Discrete):
        return found | {"dtype": "int64", "start": int(space.start), "n": int(space.n)}
    if isinstance(space, gym.spaces.MultiDiscrete):
        return found | {"dtype": str(space.dtype), "nvec": space.nvec.tolist(), "start": space.start.tolist()}
    if isinstance(space, gym.spaces.MultiBinary):
        return found | {"n": int(space.shape[0])}
    raise ValueError(f"recorded episodes: expected a Box, Discrete, MultiDiscrete or MultiBinary space, got {space}")


def read_episodes(folder: Path, *, environment: str, max_episodes: int = 0) -> list[RecordedEpisode]:
    """Read episodes that `seqrl record --data` or Minari wrote.

    Args:
        folder: with `metadata.json`; of a data set of Minari its folder `data`.
        environment: which one they have to be of.
        max_episodes: how many, the first ones; 0 for all.

    Raises:
        FileNotFoundError: when there is no such folder.
        ValueError: when they are of another environment, or the files are cut short, damaged or of another form.
    """
    metadata = read_json(_there(folder, METADATA))
    if not isinstance(metadata, dict):
        raise ValueError(f"{folder / METADATA}: expected an object of JSON, got {brief(metadata)}; {HOW}")
    found = _environment(metadata)
    if without_module(str(found)) != without_module(environment):
        raise ValueError(
            f"{folder}: expected episodes of {environment}, got those of {brief(found)}; name another folder with "
            f"task.demonstrations.path, or {HOW}"
        )
    if metadata.get("data_format", "hdf5") != "hdf5":
        raise ValueError(f"{folder}: expected data_format hdf5, got {brief(metadata['data_format'])}; let Minari write it as hdf5")
    number = metadata.get("total_episodes")
    if not isinstance(number, int) or number < 1:
        raise ValueError(f"{folder / METADATA}: expected total_episodes of at least 1, got {brief(number)}; {HOW}")
    with open_hdf5(_there(folder, ARRAYS), extra="demonstrations") as arrays:
        return list(_episodes(folder / ARRAYS, arrays, min(number, max_episodes or number)))


def _there(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file; expected a folder of recorded episodes with {METADATA} and {ARRAYS}; {HOW}. Where nothing is to be "
            "imitated, as in an evaluation, add --task.demonstrations.path="
        )
    return path


def _environment(metadata: Mapping[str, Any]) -> Any:
    """Give the name of the environment that a data set says it is of."""
    if "environment" in metadata:
        return metadata["environment"]
    try:
        return json.loads(metadata["env_spec"])["id"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return "an environment that its metadata does not name"


def _episodes(path: Path, arrays: Mapping[str, Rows], number: int) -> Iterator[RecordedEpisode]:
    for index in range(number):
        prefix = f"episode_{index}/"
        missing = [name for name in ("observations", *PER_STEP) if prefix + name not in arrays]
        if missing:
            raise ValueError(
                f"{path}, episode {index} of {number}: expected the arrays observations, {', '.join(PER_STEP)}, got none of the name "
                f"{', '.join(missing)}: it is cut short, or its observations or actions have several parts; copy it again, whole"
            )
        found = {name: arrays[prefix + name][()] for name in ("observations", *PER_STEP)}
        steps = len(found["rewards"]) if found["rewards"].ndim == 1 else 0
        lengths = {name: found[name].shape[0] if found[name].ndim else 0 for name in found}
        if not steps or lengths != {name: steps + (name == "observations") for name in found}:
            raise ValueError(
                f"{path}, episode {index}: expected as many {', '.join(PER_STEP)}, at least 1, and one observation more, got {lengths}; "
                "copy it again, whole"
            )
        broken = [name for name, array in found.items() if array.dtype.kind not in "fiub" or not np.isfinite(array).all()]
        if broken:
            raise ValueError(f"{path}, episode {index}: expected finite numbers, {', '.join(broken)} hold others; record it again")
        yield RecordedEpisode(
            **{**found, "terminations": found["terminations"].astype(bool), "truncations": found["truncations"].astype(bool)}
        )
