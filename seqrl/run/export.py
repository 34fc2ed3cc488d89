"""Writes a trained policy as a folder that plain transformers loads, with what it has to know to write the same texts, and a model card."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from seqrl.run import checkpoint
from seqrl.run.exchange import flush, hidden
from seqrl.run.inspect_run import kept_evaluations
from seqrl.run.model_card import model_card
from seqrl.run.train import Source

# What rules sampling or beam search alone, which `generate` would warn of, or refuse, where it does neither.
_NOT_GREEDY = (
    *("temperature", "top_k", "top_p", "min_p", "typical_p", "top_h", "epsilon_cutoff", "eta_cutoff", "penalty_alpha"),
    *("early_stopping", "length_penalty", "num_beam_groups", "diversity_penalty", "num_return_sequences", "max_length"),
    "_from_model_config",  # or the model's own configuration could take the place of this file
)
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.\-]*")


def export(source: Source, output: Path, *, license: str = "unknown", push: str | None = None) -> Path:
    """Write the folder beside its place, and rename it when it is whole.

    Args:
        source: of the policy.
        output: the new folder.
        license: for the model card.
        push: name on the hub to upload it as.

    Returns:
        the checkpoint's folder.

    Raises:
        FileExistsError: when there is something in the folder's place.
        ValueError: when the policy is none of transformers, or the license or the name on the hub is none.
        OSError: when it cannot be written, or the hub is not reached; what was written then stays.
    """
    _refuse_full(output)
    if not _LICENSE.fullmatch(license):
        raise ValueError(f"--license: expected an identifier such as apache-2.0, cc-by-4.0 or unknown, got {license!r}")
    if push is not None:
        _check_hub(push)
    _refuse_ours(source.find())  # before its data are read
    config, _, policy, folder, meta = source.load()
    _refuse_ours(folder)
    partial = hidden(output)
    try:
        partial.mkdir(parents=True)
        policy.save_pretrained(partial)  # type: ignore[operator]
        _set_generation(partial, policy)
        prompt = getattr(getattr(policy, "adapter", None), "prompt", ())
        evaluations, name = kept_evaluations(folder, meta), push or output.resolve().name
        card = model_card(partial, config, meta, evaluations, license=license, name=name, prompt=prompt)
        (partial / "README.md").write_text(card, encoding="utf-8")
        for path in partial.rglob("*"):
            flush(path)
        _refuse_full(output)
        if output.exists():
            output.rmdir()
        os.rename(partial, output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    if push is not None:
        _push(output, push)
    return folder


def _refuse_full(output: Path) -> None:
    if output.is_dir() and not any(output.iterdir()):
        return
    if output.exists() or output.is_symlink():
        raise FileExistsError(
            f"{output}: is there already; an export replaces nothing, so name a folder that is not there, or an empty one"
        )


def _refuse_ours(folder: Path) -> None:
    """Refuse the checkpoint of a policy that is none of transformers."""
    if not (folder / checkpoint.PRETRAINED).is_dir():
        raise ValueError(
            f"{folder}: its policy is no model of transformers, so that `from_pretrained` could not load it; expected one that began as "
            "such a model (a policy of type pretrained, of captions or of texts). What others need of this one is the run's config.yaml "
            f"and {folder.parent.name}/{folder.name}: `seqrl evaluate` and --init_from read them"
        )


def _set_generation(folder: Path, policy: Any) -> None:
    """Have `generate` write what the policy writes greedily: as many tokens at most, with the same special ones."""
    path = folder / "generation_config.json"
    settings = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for name in _NOT_GREEDY:
        settings.pop(name, None)
    ends = list(policy.ends)
    settings |= {"do_sample": False, "num_beams": 1, "max_new_tokens": policy.max_tokens}
    settings |= {"eos_token_id": ends if len(ends) > 1 else ends[0], "pad_token_id": policy.pad}
    if json.loads((folder / "config.json").read_text(encoding="utf-8")).get("is_encoder_decoder"):
        settings["decoder_start_token_id"] = policy.begin
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _check_hub(name: str) -> None:
    """Refuse what is no name on the hub, and a hub that is switched off, before any work."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ValueError(f"--push: expected a name on the hub such as somebody/captioner, got {name!r} ({error})") from error
    if constants.HF_HUB_OFFLINE:
        raise ValueError(
            "--push: HF_HUB_OFFLINE is set, so the hub is not reached; unset it, or leave --push out and upload the folder later"
        )


def _push(folder: Path, name: str) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        api = HfApi()
        api.create_repo(repo_id=name, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=str(folder), commit_message="Export of seqrl")
    except (OSError, HfHubHTTPError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise OSError(
            f"--push: {name} could not be uploaded ({reason}); {folder} is whole: log in with `hf auth login` or mend the connection, then "
            f"`hf upload {name} {folder}`"
        ) from error
