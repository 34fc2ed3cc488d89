"""GPT-2 on its own weights beside the same model as transformers runs it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

transformers = pytest.importorskip("transformers")

from seqrl.decoding import sample  # noqa: E402
from seqrl.tasks.captioning.policies.gpt2_decoder import GPT2Decoder, why_not  # noqa: E402
from seqrl.tasks.captioning.policies.pretrained import captioner_of  # noqa: E402
from seqrl.tasks.writing.pretrained.policy import TransformersPolicy  # noqa: E402
from seqrl.trajectory import Trajectory  # noqa: E402

LENGTH = 9
KINDS: dict[str, dict[str, Any]] = {
    "gelu_new": {},
    "gelu": {"activation_function": "gelu", "n_inner": 40},
    "relu": {"activation_function": "relu", "scale_attn_weights": False},
    "by_layer": {"scale_attn_by_inverse_layer_idx": True},
    "untied": {"tie_word_embeddings": False},
}


def pair(seed: int = 0, *, kind: str = "gelu_new", dropout: float = 0.0, **settings: Any) -> tuple[TransformersPolicy, TransformersPolicy]:
    """The fast and the plain way to run one model."""
    torch.manual_seed(seed)
    encoder = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=16, patch_size=8
    )
    drops = {f"{name}_pdrop": dropout for name in ("embd", "attn", "resid")}
    text = transformers.GPT2Config(vocab_size=24, n_positions=16, n_embd=24, n_layer=2, n_head=3, **drops, **KINDS[kind])
    text.is_decoder = text.add_cross_attention = True
    model = transformers.VisionEncoderDecoderModel(transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, text))
    model.eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5).add_(0.05 * torch.randn(parameter.shape))
    model.generation_config = transformers.GenerationConfig(bos_token_id=1, decoder_start_token_id=1, pad_token_id=0, eos_token_id=[2, 3])
    processor = transformers.ViTImageProcessorPil(size={"height": 16, "width": 16})
    fast, plain = (captioner_of(model, processor, max_tokens=LENGTH, fast=fast, **settings) for fast in (True, False))
    assert fast.shares_memory and not plain.shares_memory
    return fast, plain


def pictures(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def written(policy: TransformersPolicy, num_samples: int = 4) -> Trajectory:
    return sample(policy, {"image": pictures(3)}, num_samples=num_samples, generator=torch.Generator().manual_seed(1))


def trajectories(policy: TransformersPolicy) -> Iterator[Trajectory]:
    """Rows next to each other, in disorder, each with an image of its own, and with steps that do not count between others."""
    rows = written(policy)
    yield rows
    yield rows.select_rows(torch.tensor([7, 0, 11, 3, 4, 1]))
    yield rows.replace(group=None)
    gaps = rows.mask.clone()
    gaps[::2, 1] = False
    yield rows.replace(mask=gaps)


@pytest.mark.parametrize("kind", KINDS)
def test_every_gradient_is_that_of_transformers(kind: str) -> None:
    fast, plain = pair(kind=kind, temperature=0.7)
    weights = torch.randn(12, LENGTH, generator=torch.Generator().manual_seed(0))
    for rows in trajectories(plain):
        found = []
        for policy in (fast, plain):
            policy.zero_grad()
            evaluation = policy(rows)
            logp = evaluation.logp * weights[: rows.batch_size, : rows.num_steps]
            (logp[rows.mask].sum() + evaluation.entropy[rows.mask].sum()).backward()
            found.append((evaluation.logp.detach(), {name: weight.grad for name, weight in policy.named_parameters()}))
        (logp, ours), (expected, theirs) = found
        torch.testing.assert_close(logp[rows.mask], expected[rows.mask], atol=1e-5, rtol=1e-5)
        assert set(ours) == set(theirs)
        # Some gradients are zero but for rounding, such as those of the keys' biases.
        largest = max(float(gradient.abs().max()) for gradient in theirs.values() if gradient is not None)
        for name, gradient in theirs.items():
            if gradient is not None:
                torch.testing.assert_close(ours[name], gradient, atol=1e-5 * largest, rtol=1e-5)


@torch.no_grad()
def test_steps_give_the_logits_of_transformers() -> None:
    for kind in KINDS:
        fast, plain = (policy.eval() for policy in pair(1, kind=kind))
        states = [policy.initial_state({"image": pictures(3)}) for policy in (fast, plain)]
        for token in (1, 7, 20, 3, 5):
            (ours, theirs), states = zip(  # type: ignore[assignment]
                *(policy.next_logits(torch.full((3,), token), state) for policy, state in zip((fast, plain), states, strict=True)),
                strict=True,
            )
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_rows_about_one_item_share_what_they_look_at() -> None:
    fast, plain = (policy.eval() for policy in pair(2))
    item, tokens = torch.tensor([0, 0, 1, 2, 2, 2]), torch.tensor([4, 5, 6, 7, 8, 9])
    state: Any = fast.initial_state({"image": pictures(3)})
    rows = {"cache": tuple(tuple(part[item] for part in layer) for layer in state["cache"]), "position": state["position"][item]}
    theirs: Any = plain.initial_state({"image": pictures(3)[item]})
    ours = {**state, **rows, "item": item}
    for _ in range(3):
        logits, ours = fast.next_logits(tokens, ours)
        expected, theirs = plain.next_logits(tokens, theirs)
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
        assert torch.equal(ours["item"], item) and ours["memory"][0][0].shape[0] == 3


def test_dropout_has_the_model_s_own_probabilities() -> None:
    """Whole rows, each about an image of its own, draw the same numbers in the same order."""
    fast, plain = (policy.train() for policy in pair(dropout=0.3))
    rows = written(plain).replace(group=None)
    rows = rows.select_rows(rows.mask.all(dim=1).nonzero().squeeze(1))
    assert rows.batch_size > 1
    found = []
    for policy in (fast, plain):
        torch.manual_seed(3)
        found.append(policy(rows).logp)
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found[0], plain.eval()(rows).logp, atol=1e-2)


def test_what_was_changed_from_outside_runs_as_transformers_has_it() -> None:
    fast, plain = pair()
    decoder = fast.model.decoder
    assert why_not(decoder) == "" and "is a Linear, not a plain GPT2LMHeadModel" in why_not(torch.nn.Linear(1, 1))
    hook = decoder.transformer.h[0].mlp.register_forward_hook(lambda module, given, output: output * 2)
    assert "transformer.h.0.mlp has hooks" in why_not(decoder) and not fast.shares_memory
    rows = written(fast)
    torch.testing.assert_close(fast(rows).logp, plain(rows).logp)
    hook.remove()

    class Adapted(type(decoder.transformer.h[1].attn.c_proj)):  # type: ignore[misc]
        pass

    decoder.transformer.h[1].attn.c_proj.__class__ = Adapted
    assert "transformer.h.1.attn.c_proj is a Adapted" in why_not(decoder)
    decoder.transformer.h[1].attn.c_proj.__class__ = Adapted.__base__
    decoder.transformer.gradient_checkpointing = True
    assert "checkpoints" in why_not(decoder)


def test_no_weight_is_copied() -> None:
    fast, _ = pair()
    assert GPT2Decoder(fast.model.decoder).output_weight is fast.model.decoder.lm_head.weight
    assert {id(weight) for weight in fast.parameters()} == {id(weight) for weight in fast.model.parameters()}
