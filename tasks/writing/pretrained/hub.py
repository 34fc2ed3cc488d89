"""Models of transformers by folder or hub name: configurations, image processors and tokenizers, and what to say where there are none."""

from __future__ import annotations

import hashlib
import pickle
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer
from transformers.utils import logging


def load_config(name: str, *, field: str, wanted: str) -> Any:
    """Load the configuration of a model; code that comes with a model is never run.

    Args:
        name: folder, or name on the hub.
        field: of ours that holds the name, for messages.
        wanted: what is expected there, for messages.

    Raises:
        FileNotFoundError: when there is no such folder, or the hub does not give it.
        ValueError: when it holds no model that transformers knows.
    """
    folder, looks_like_a_folder = Path(name).expanduser(), name.startswith((".", "/", "~")) or name.count("/") > 1
    if looks_like_a_folder and not folder.is_dir():
        raise FileNotFoundError(f"{field}: expected a folder with {wanted}, got {name}, which does not exist")
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{field}: expected {wanted}, got the folder {name}, which holds no config.json")
    with found(name, field=field):
        try:
            return opened(AutoConfig, name)
        except (ValueError, KeyError, TypeError, AttributeError, StrictDataclassError) as error:
            raise ValueError(f"{field}: expected {wanted}, got {name}, whose config.json is of none ({_first_line(error)})") from error


def load_image_processor(name: str, *, field: str) -> Any:
    """Load a model's image processor, the one that works with Pillow, which gives the same on every machine.

    Args:
        name: folder, or name on the hub.
        field: of ours that holds the name, for messages.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when transformers does not know it, or it works with torchvision only.
    """
    processor = _load_part(AutoImageProcessor, name, field, "image processor", backend="pil")
    if getattr(processor, "backend", "pil") == "torchvision":
        raise ValueError(
            f"{field}: expected an image processor that works with Pillow, got {type(processor).__name__} of {name}; choose another model"
        )
    return processor


def load_tokenizer(name: str, *, field: str) -> Any:
    """Load a tokenizer; code that comes with it is never run.

    Args:
        name: folder, or name on the hub.
        field: of ours that holds the name, for messages.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when it is damaged.
    """
    return _load_part(AutoTokenizer, name, field, "tokenizer")


def _load_part(kind: Any, name: str, field: str, what: str, **settings: Any) -> Any:
    with found(name, field=field, part=f"the {what} of "):
        try:
            return opened(kind, name, **settings)
        except (OSError, RecursionError, MemoryError):
            raise
        except Exception as error:  # the library in Rust raises nothing more special
            raise ValueError(f"{field}: the {what} of {name} cannot be used ({_first_line(error)})") from error


def opened(kind: Any, name: str, **settings: Any) -> Any:
    """Let a class of transformers load what a folder or the hub holds; code that comes with a model is never run.

    Args:
        kind: has `from_pretrained`.
        name: folder, or name on the hub.
        settings: more arguments.
    """
    folder = Path(name).expanduser()
    here = folder.is_dir()
    # Where there is no network, transformers would try for half a minute a file.
    where: Any = {"trust_remote_code": False, "local_files_only": here or _hub_is_out_of_reach()}
    return kind.from_pretrained(str(folder) if here else name, **where, **settings)


@cache
def _hub_is_out_of_reach() -> bool:
    try:
        # Where there are proxies, others resolve names.
        return not getproxies() and not socket.getaddrinfo(urlsplit(ENDPOINT).hostname, None)
    except OSError:
        return True


@contextmanager
def found(name: str, *, field: str, part: str = "") -> Iterator[None]:
    """Say what to do where transformers finds nothing, or something that is damaged.

    Args:
        name: folder, or name on the hub.
        field: of ours that holds the name.
        part: of the model, that is being loaded, with " of ".
    """
    try:
        yield
    except RecursionError as error:
        raise ValueError(f"{field}: a JSON file of {name} is nested too deeply to be read; it is no model") from error
    except SafetensorError as error:
        raise ValueError(f"{field}: the weights of {name} are damaged ({_first_line(error)}); copy or download them again") from error
    except OSError as error:
        raise FileNotFoundError(
            f"{field}: could not load {part}{name} as a folder or from the hub; check the name, or download it where there is a "
            f"network and give the folder ({_first_line(error)})"
        ) from error


@contextmanager
def weights_of(name: str, *, field: str, wanted: str) -> Iterator[None]:
    """Say what to do where a model's weights do not load; a pickle is read restricted to tensors.

    Args:
        name: folder, or name on the hub.
        field: of ours that holds the name.
        wanted: what is expected there.
    """
    with found(name, field=field), without_progress_bars():
        try:
            yield
        except pickle.UnpicklingError as error:  # torch's text advises to read it without restrictions
            raise ValueError(
                f"{field}: {name} does not load as {wanted}: its weights are a damaged pickle, or one that holds other things than "
                "tensors, which may be programs and are never unpacked; take a copy with .safetensors"
            ) from error
        except (ValueError, RuntimeError, ImportError, KeyError, TypeError, EOFError, struct.error, StrictDataclassError) as error:
            raise ValueError(f"{field}: {name} does not load as {wanted} ({_first_line(error)})") from error


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Let transformers load and save without a bar for each file, which would cut through a run's own lines."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def hash_of(weights: Mapping[str, Tensor]) -> str:
    """Give the SHA-256 of weights with their names, types and shapes."""
    state = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        state.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        state.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return state.hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
