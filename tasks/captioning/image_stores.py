"""Where the encoded images of a data set are: a folder, a zip file, or pictures that were drawn here."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from seqrl.tasks.captioning.cache import content_key
from seqrl.tasks.image_bytes import MOST_BYTES, read_encoded


class ImageStore(Protocol):
    """Encoded images by name."""

    def missing(self, names: Iterable[str]) -> list[str]:
        """Give those names that the store does not hold."""

    def read(self, name: str) -> bytes:
        """Give the encoded image."""

    def identity(self, names: Sequence[str]) -> str:
        """Give a text that changes when the named images do."""

    def describe(self, name: str) -> str:
        """Say where an image is, for messages."""


class FolderStore:
    """Images as files under a folder.

    Args:
        root: names are relative to it; absolute names stand for themselves.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def missing(self, names: Iterable[str]) -> list[str]:
        """Give those names that are no files."""
        return [name for name in names if not (self._root / name).is_file()]

    def read(self, name: str) -> bytes:
        """Give the file's bytes."""
        return read_encoded(self._root / name)

    def identity(self, names: Sequence[str]) -> str:
        """Hash the place, size and time of every file."""
        files = ((self._root / name).stat() for name in names)
        return content_key(str(self._root.resolve()), [(file.st_size, file.st_mtime_ns) for file in files])

    def describe(self, name: str) -> str:
        """Give the path."""
        return str(self._root / name)


class ZipStore:
    """Images as members of a zip file, with or without a folder inside it.

    Args:
        path: the zip file.

    Raises:
        ValueError: when it is no zip file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except zipfile.BadZipFile as error:
            raise ValueError(f"{path}: expected a zip file of images, got something else ({error})") from error
        members = [name for name in self._zip.namelist() if not name.endswith("/")]
        # By its whole name, and by that of its file alone, where members in several folders may have the same.
        self._members: dict[str, list[str]] = {}
        for name in members:
            self._members.setdefault(Path(name).name, []).append(name)
        self._members |= {name: [name] for name in members}

    def missing(self, names: Iterable[str]) -> list[str]:
        """Give those names that are no members.

        Raises:
            ValueError: when a name without its folder stands for two members.
        """
        names = list(names)
        for name in names:
            alike = self._members.get(name, [])
            if len(alike) > 1:
                raise ValueError(f"{self._path}: {name} could be {' or '.join(alike[:2])}; name images with their folder")
        return [name for name in names if name not in self._members]

    def read(self, name: str) -> bytes:
        """Give the member's bytes.

        Raises:
            ValueError: when it would unpack to more than any image has, or is damaged.
        """
        member = self._zip.getinfo(self._members[name][0])
        if member.file_size > MOST_BYTES:
            raise ValueError(f"it unpacks to {member.file_size} bytes, at most {MOST_BYTES} are read")
        try:
            with self._zip.open(member) as file:
                # Asked for a number of bytes, it unpacks no more, whatever the sizes in the file say.
                return file.read(member.file_size + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise ValueError(f"it does not unpack ({error})") from error

    def identity(self, names: Sequence[str]) -> str:
        """Hash the zip file's place and the checksum of every member."""
        return content_key(str(self._path.resolve()), [self._zip.getinfo(self._members[name][0]).CRC for name in names])

    def describe(self, name: str) -> str:
        """Give the zip file and the member."""
        return f"{self._path}: {self._members.get(name, [name])[0]}"


def open_images(path: Path) -> ImageStore:
    """Open a folder or a zip file of images.

    Raises:
        FileNotFoundError: when there is neither.
    """
    if path.is_dir():
        return FolderStore(path)
    if path.is_file():
        return ZipStore(path)
    raise FileNotFoundError(f"{path}: expected a folder or a zip file of images, found neither; set `images`")


class DrawnStore:
    """Pictures in memory, which are given as files of the simplest format (PPM), so that whoever reads photographs reads these.

    Args:
        names: N names.
        pictures: uint8 [N, 3, S, S].
    """

    def __init__(self, names: Sequence[str], pictures: np.ndarray) -> None:
        self._rows = {name: row for row, name in enumerate(names)}
        self.pictures = pictures

    def missing(self, names: Iterable[str]) -> list[str]:
        """Give those names that no picture has."""
        return [name for name in names if name not in self._rows]

    def read(self, name: str) -> bytes:
        """Give header and pixels."""
        pixels = self.pictures[self._rows[name]].transpose(1, 2, 0)
        return b"P6 %d %d 255\n" % (pixels.shape[1], pixels.shape[0]) + pixels.tobytes()

    def identity(self, names: Sequence[str]) -> str:
        """Hash the pixels of the named pictures."""
        return hashlib.sha256(self.pictures[[self._rows[name] for name in names]].tobytes()).hexdigest()

    def describe(self, name: str) -> str:
        """Give the name."""
        return name
