"""Every kind of pretrained model that writes about images with LoRA and gradient checkpointing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

transformers = pytest.importorskip("transformers")

import tiny_models  # noqa: E402
from tiny_models import KINDS  # noqa: E402

from seqrl.decoding import sample  # noqa: E402
from seqrl.tasks.captioning.policies import PolicyConfig, build_policy  # noqa: E402
from seqrl.tasks.captioning.policies.pretrained import load_captioner  # noqa: E402
from seqrl.tasks.writing.pretrained.lora import LoraConfig  # noqa: E402
from seqrl.tasks.writing.vocabulary import TokenizerVocabulary  # noqa: E402
from seqrl.trainers.reference import Reference  # noqa: E402

PROMPTS = {"blip": "a photo of", "git": "a photo of", "idefics3": "describe the image", "llava": "describe the image"}
QUICK = [pytest.param(kind, marks=() if kind == "blip" else pytest.mark.slow) for kind in KINDS]


def pictures(count: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8))


def policy_of(folder: Path, kind: str, **settings: Any) -> Any:
    """Build a policy as a run does."""
    config = PolicyConfig(type="pretrained", path=str(folder), max_tokens=7, prompt=PROMPTS.get(kind, ""), **settings)
    return build_policy(config, TokenizerVocabulary(str(folder)), 32).eval()


@pytest.mark.parametrize("kind", QUICK)
def test_gradients_of_layers_that_run_again_are_the_same(kind: str, tmp_path: Path) -> None:
    tiny_models.save(tmp_path, kind)
    found = []
    for again in (False, True):
        policy = policy_of(tmp_path, kind, gradient_checkpointing=again)
        rows = sample(policy, {"image": pictures(3)}, num_samples=2, generator=torch.Generator().manual_seed(0))
        (policy(rows).logp * rows.mask).sum().backward()
        found.append((rows, {name: weight.grad for name, weight in policy.named_parameters()}))
    (rows, plain), (same, checkpointed) = found
    assert torch.equal(rows.action, same.action)
    for name, gradient in plain.items():
        assert (gradient is None) == (checkpointed[name] is None), name
        assert gradient is None or torch.allclose(gradient, checkpointed[name], atol=1e-4 * max(1.0, float(gradient.abs().max()))), name


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_lora_learns_alone_and_is_merged_into_what_plain_transformers_loads(kind: str, tmp_path: Path) -> None:
    tiny_models.save(tmp_path / "model", kind)
    policy = policy_of(tmp_path / "model", kind, lora=LoraConfig(rank=2))
    plain = policy_of(tmp_path / "model", kind)
    reference, before = Reference(policy, "loss", "k3", 0.1), {name: weight.clone() for name, weight in policy.named_parameters()}
    rows = sample(policy, {"image": pictures(3)}, num_samples=2, generator=torch.Generator().manual_seed(0))
    optimiser = torch.optim.Adam([weight for weight in policy.parameters() if weight.requires_grad], 1e-2)
    for _ in range(2):
        (policy(rows).logp * rows.mask).sum().neg().backward()
        optimiser.step()
        optimiser.zero_grad()
    changed = {name for name, weight in policy.named_parameters() if not torch.equal(weight, before[name])}
    assert changed and all("lora_" in name for name in changed)
    policy.save_pretrained(tmp_path / "saved")
    loaded = load_captioner(tmp_path / "saved", tokenizer=policy.tokenizer, prompt=PROMPTS.get(kind, ""), max_tokens=7).eval()
    with torch.no_grad():
        ours, theirs = policy(rows).logp, loaded(rows).logp
        assert torch.allclose(ours, theirs, atol=1e-4) and not torch.allclose(ours, plain(rows).logp, atol=1e-2)
        assert torch.allclose(reference.policy(rows).logp, plain(rows).logp, atol=1e-5)
