"""Whether a checkpoint is as it was written: every byte of every file counts into a sum."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

from safetensors import SafetensorError, safe_open

from seqrl.run.json_text import read_json, require_regular

# In the form that `sha256sum --check SHA256SUMS` reads.
SUMS = "SHA256SUMS"
# First and last line of a text that is read again by its program; both, so that no flipped bit makes it look like one without.
SEALED = "# Written by seqrl. The last line is the SHA-256 of those above; after a change by hand delete this line and that one."
SEAL = "# SHA-256 "


def write_sums(folder: Path) -> None:
    """Write the SHA-256 of every file in a folder to its `SHA256SUMS`, down to the disk."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    with (folder / SUMS).open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{_sum(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
        file.flush()
        os.fsync(file.fileno())


def damage(folder: Path, required: tuple[str, ...], *, with_sums: bool) -> str | None:
    """Say what is wrong with a checkpoint's files, None when nothing is.

    Args:
        folder: of the checkpoint.
        required: names of files that every checkpoint has.
        with_sums: whether it was written with sums; older ones were not, of which only what can be read is known to be whole.
    """
    missing = [name for name in required if not (folder / name).is_file()]
    if missing:
        return f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
    if not (folder / SUMS).exists():
        return f"{SUMS} is missing" if with_sums else _unreadable(folder)
    try:
        text = (folder / SUMS).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        return f"{SUMS} cannot be read: {error}"
    listed: dict[str, str] = {}
    for line in text.splitlines():
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name:
            return f"{SUMS} has changed: {line!r} is no line of it"
        listed[name] = digest
    if not text.endswith("\n"):
        return f"{SUMS} is cut off"
    unlisted = [name for name in required if name not in listed]
    if unlisted:
        return f"{SUMS} has changed: it does not name {unlisted[0]}"
    for name, digest in listed.items():
        path = folder / name
        try:
            if not path.is_file():
                return f"{name} is missing, which {SUMS} names"
            if _sum(path) != digest:
                return f"{name} is not as it was written ({path.stat().st_size} bytes now; its SHA-256 is not the one in {SUMS})"
        except (OSError, ValueError) as error:
            return f"{name} cannot be read: {error}"
    return None


def sealed(text: str) -> str:
    """Give a text of comments and lines with its SHA-256, which `check_seal` looks at."""
    text = f"{SEALED}\n{text}"
    return f"{text}{SEAL}{hashlib.sha256(text.encode()).hexdigest()}\n"


def check_seal(path: Path) -> None:
    """Refuse a file that is not as it was written; one that was written without its SHA-256 is taken as it is.

    Raises:
        ValueError: saying how to go on.
    """
    content = path.read_bytes()
    end = content.rstrip(b"\n").rfind(b"\n") + 1
    if not content.startswith(SEALED.encode()) and not content[end:].startswith(SEAL.encode()):
        return
    if content[end:].decode(errors="replace") != f"{SEAL}{hashlib.sha256(content[:end]).hexdigest()}\n":
        raise ValueError(
            f"{path}: is not as it was written (its SHA-256 is not the one in its last line), so any setting may have changed; put a copy "
            "back, or, if you changed it yourself, delete its first line and its last; --field=value changes settings without that"
        )


def refuse_packed(path: Path) -> None:
    """Refuse a zip file that would grow: torch packs nothing, so that no file holds more than its own length.

    Raises:
        ValueError: saying so.
    """
    with zipfile.ZipFile(require_regular(path)) as archive:
        members = archive.infolist()
    held, length = sum(member.file_size for member in members), path.stat().st_size
    if held > length or any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError(f"it is packed: its {length} bytes stand for {held}, as no checkpoint's do")


def _sum(path: Path) -> str:
    with require_regular(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unreadable(folder: Path) -> str | None:
    """Look at what can be known without sums: forms, lengths, and the zip file's own sums."""
    for path in sorted(folder.iterdir()):
        try:
            if path.suffix == ".json":
                read_json(path)
            elif path.suffix == ".safetensors":
                with safe_open(str(path), framework="pt"):
                    pass
            elif path.suffix == ".pt":
                refuse_packed(path)
                with zipfile.ZipFile(path) as archive:
                    broken = archive.testzip()
                if broken is not None:
                    return f"{path.name} is damaged: {broken} in it has changed"
        except (OSError, ValueError, SafetensorError, zipfile.BadZipFile) as error:
            return f"{path.name} is damaged ({error})"
    return None
