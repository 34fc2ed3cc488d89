"""A tiny ViT + GPT-2 through load, sample, one step, save and plain transformers again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

transformers = pytest.importorskip("transformers")

from seqrl.beam_search import beam_search  # noqa: E402
from seqrl.decoding import sample  # noqa: E402
from seqrl.optimiser import OptimiserConfig  # noqa: E402
from seqrl.protocols import Policy  # noqa: E402
from seqrl.rollout import unroll  # noqa: E402
from seqrl.run import checkpoint  # noqa: E402
from seqrl.run.config import RunConfig  # noqa: E402
from seqrl.run.train import train  # noqa: E402
from seqrl.sources import TokenSource  # noqa: E402
from seqrl.tasks.captioning.policies import PolicyConfig, build_policy  # noqa: E402
from seqrl.tasks.captioning.policies.pretrained import load_captioner, load_model  # noqa: E402
from seqrl.tasks.writing.pretrained.policy import TransformersPolicy  # noqa: E402
from seqrl.tasks.writing.vocabulary import TokenizerVocabulary, Vocabulary  # noqa: E402
from seqrl.trainers.self_critical import SelfCriticalConfig  # noqa: E402

WORDS = ["<pad>", "<begin>", "<end>", "<unknown>", "a", "red", "blue", "square", "circle", "left", "of"]


def save_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "<pad>", "bos_token": "<begin>", "eos_token": "<end>", "unk_token": "<unknown>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)


def save_model(folder: Path, *, decoder: str = "gpt2", decoder_dim: int = 24) -> None:
    torch.manual_seed(0)
    encoder = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
    )
    specials = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    text: Any
    if decoder == "gpt2":
        text = transformers.GPT2Config(vocab_size=len(WORDS), n_positions=16, n_embd=decoder_dim, n_layer=2, n_head=2, **specials)
    else:
        text = transformers.BertConfig(
            vocab_size=len(WORDS), hidden_size=decoder_dim, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, **specials
        )
    text.is_decoder = text.add_cross_attention = True
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, text)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 1, 0, 2
    model = transformers.VisionEncoderDecoderModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_processor_type": "ViTImageProcessor",
                "do_resize": True,
                "size": {"height": 32, "width": 32},
                "resample": 2,
                "do_rescale": True,
                "rescale_factor": 1 / 255,
                "do_normalize": True,
                "image_mean": [0.5, 0.4, 0.3],
                "image_std": [0.5, 0.25, 0.2],
            }
        )
    )
    save_tokenizer(folder)


def pictures(count: int, size: int = 48) -> Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=[("gpt2", 24), ("gpt2", 16), ("bert", 24)], ids=["projected", "same_size", "bert"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    save_model(path, decoder=request.param[0], decoder_dim=request.param[1])
    return path


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gpt2")
    save_model(path)
    return path


def test_samples_equal_the_generic_loop_and_forward(folder: Path) -> None:
    policy = load_captioner(folder, max_tokens=7).eval()
    assert isinstance(policy, Policy)
    images = pictures(3)
    ours = sample(policy, {"image": images}, num_samples=4, generator=torch.Generator().manual_seed(1))
    assert len(set(ours.mask.sum(dim=1).tolist())) > 1
    evaluation = policy(ours)
    assert torch.allclose(evaluation.logp[ours.mask], ours.logp[ours.mask], atol=1e-4)
    repeated = {"image": images.repeat_interleave(4, dim=0)}
    source = TokenSource(12, begin=1, end=2, max_tokens=7)
    loop, _ = unroll(policy, source, max_steps=7, context=repeated, generator=torch.Generator().manual_seed(1))
    assert torch.equal(ours.mask, loop.mask)
    assert torch.equal(ours.action[ours.mask], loop.action[loop.mask])


def test_greedy_and_beam_search_equal_those_of_transformers(folder: Path) -> None:
    policy = load_captioner(folder, max_tokens=7).eval()
    images = pictures(4, size=32)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    pixels = processor(list(images), return_tensors="pt")["pixel_values"]
    model = transformers.VisionEncoderDecoderModel.from_pretrained(folder).eval()

    def written(**settings: Any) -> list[list[int]]:
        rows = model.generate(pixel_values=pixels, max_new_tokens=7, do_sample=False, **settings)[:, 1:].tolist()
        return [row[: row.index(2)] if 2 in row else row for row in rows]

    greedy = sample(policy, {"image": images}, greedy=True)
    ours = [[token for token in action[mask].tolist() if token != 2] for action, mask in zip(greedy.action, greedy.mask, strict=True)]
    assert ours == written(num_beams=1)
    found, scores = beam_search(policy, {"image": images}, beam_size=3)
    theirs = written(num_beams=3, length_penalty=0.0, early_stopping="never")
    for image, (row, other, score) in enumerate(zip(found, theirs, scores, strict=True)):
        assert row == other or score >= forced_score(policy, images, image, other) - 1e-4


def forced_score(policy: TransformersPolicy, images: Tensor, image: int, row: list[int]) -> float:
    forced = torch.tensor([[*row, 2][: policy.max_tokens]])
    trajectory = sample(policy, {"image": images[image : image + 1]}, forced=forced, greedy=True)
    return float(trajectory.logp[trajectory.imitate].sum()) if trajectory.imitate is not None else 0.0


def test_what_was_trained_loads_in_plain_transformers_with_the_same_logits(folder: Path, tmp_path: Path) -> None:
    policy = load_captioner(folder, max_tokens=6).train()
    images = pictures(2, size=32)
    trajectory = sample(policy, {"image": images}, num_samples=2, generator=torch.Generator().manual_seed(0))
    before = [parameter.detach().clone() for parameter in policy.parameters()]
    optimiser = torch.optim.SGD(policy.parameters(), lr=0.01)
    (-policy(trajectory).logp.sum()).backward()
    optimiser.step()
    changed = [not torch.equal(old, new) for old, new in zip(before, policy.parameters(), strict=True)]
    assert sum(changed) > 0.8 * len(changed)
    policy.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    checkpoint.save(tmp_path / "best", policy, {}, {})
    tmp_path = tmp_path / "best" / checkpoint.PRETRAINED

    model = transformers.VisionEncoderDecoderModel.from_pretrained(tmp_path).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.decode([5, 7]) == "red square"
    tokens = torch.tensor([[1, 4, 5, 7]])
    pixels = processor(images[0], return_tensors="pt")["pixel_values"]
    theirs = model(pixel_values=pixels, decoder_input_ids=tokens).logits[0]
    policy.eval()
    state = policy.initial_state({"image": images[:1]})
    ours = []
    for token in tokens[0]:
        logits, state = policy.next_logits(token.view(1), state)
        ours.append(logits[0])
    assert torch.allclose(torch.stack(ours), theirs, atol=1e-4)


def test_a_frozen_encoder_gets_no_gradient_but_the_projection_does(gpt2: Path) -> None:
    policy = load_captioner(gpt2, max_tokens=5, freeze_encoder=True)
    trajectory = sample(policy, {"image": pictures(2)}, num_samples=2, generator=torch.Generator().manual_seed(0))
    assert isinstance(trajectory.context, dict) and set(trajectory.context) == {"memory"}
    policy(trajectory).logp.sum().backward()
    assert all(parameter.grad is None for parameter in policy.model.encoder.parameters())
    assert policy.model.enc_to_dec_proj.weight.grad is not None


def test_the_policy_is_built_from_its_configuration_with_the_model_s_tokenizer(gpt2: Path, tmp_path: Path) -> None:
    config = PolicyConfig(type="pretrained", path=str(gpt2), max_tokens=5, temperature=0.5)
    policy: Any = build_policy(config, TokenizerVocabulary(str(gpt2)), 48)
    assert (policy.begin, policy.end, policy.pad, policy.max_tokens, policy.temperature) == (1, 2, 0, 5, 0.5)
    policy.save_pretrained(tmp_path / "saved")
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "saved").decode([5, 7]) == "red square"
    with pytest.raises(ValueError, match="tokenizer"):
        build_policy(config, Vocabulary([str(index) for index in range(50)]), 48)
    with pytest.raises(ValueError, match="writes 11 tokens, of which the word list of the captions has 9; set task.data.tokenizer"):
        build_policy(config, Vocabulary([str(index) for index in range(5)]), 48)
    with pytest.raises(ValueError, match="critic"):
        build_policy(PolicyConfig(type="pretrained", path=str(gpt2), critic=True), TokenizerVocabulary(str(gpt2)), 48)


def test_missing_and_foreign_models_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_captioner(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"policy\.path"):
        load_captioner("")
    transformers.GPT2Config(n_layer=1).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="gpt2"):
        load_captioner(tmp_path)

    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no connection to the hub")

    monkeypatch.setattr("seqrl.tasks.writing.pretrained.hub.AutoConfig.from_pretrained", offline)
    with pytest.raises(FileNotFoundError, match="give the folder .no connection"):
        load_captioner("someone/captioner")


def test_a_tokenizer_that_is_damaged_or_missing_is_named(gpt2: Path, tmp_path: Path) -> None:
    shutil.copytree(gpt2, tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").write_text('{"version": "1.0"')
    with pytest.raises(ValueError, match="data.tokenizer: the tokenizer of .* cannot be used"):
        TokenizerVocabulary(str(tmp_path / "model"))
    with pytest.raises((FileNotFoundError, ValueError), match="data.tokenizer: "):
        TokenizerVocabulary(str(tmp_path / "nothing"))


def test_weights_that_do_not_load_are_named(gpt2: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(gpt2, folder)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"hidden_size": 16', '"hidden_size": 12'))
    with pytest.raises(ValueError, match="path: .* does not load as a saved VisionEncoderDecoderModel"):
        load_model(folder)
    (folder / "config.json").write_text(config)
    (folder / "model.safetensors").unlink()
    torch.save({"a": torch.nn.Linear}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="path: .* never unpacked; take a copy with .safetensors"):
        load_model(folder)
    for junk in (b"junk", b""):
        (folder / "pytorch_model.bin").write_bytes(junk)
        with pytest.raises(ValueError, match="path: .* does not load as a saved VisionEncoderDecoderModel"):
            load_model(folder)


@pytest.fixture
def photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Four photographs of different sizes with captions beside them."""
    from PIL import Image

    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path / "cache"))
    draws = np.random.default_rng(0)
    made = [Image.fromarray(draws.integers(0, 256, (40 + 7 * number, 70, 3), dtype=np.uint8)) for number in range(4)]
    lines = []
    for number, photograph in enumerate(made):
        photograph.save(tmp_path / f"{number}.png")
        lines.append(
            json.dumps({"image": f"{number}.png", "captions": ["red square", "a circle"], "split": "train" if number < 2 else "dev"})
        )
    (tmp_path / "captions.jsonl").write_text("\n".join(lines))
    return made


def task_on(folder: Path, model: Path, **settings: Any) -> Any:
    from seqrl.tasks.captioning.data import DataConfig
    from seqrl.tasks.captioning.task import CaptioningConfig

    data = DataConfig(source="jsonl", path=str(folder), captions="captions.jsonl", tokenizer=str(model), image_size=32)
    flip = settings.pop("flip", False)
    policy = PolicyConfig(type="pretrained", path=str(model), max_tokens=5, **settings)
    return CaptioningConfig(data=data, policy=policy, images_per_batch=2, flip=flip).build(0)


def test_photographs_are_stored_as_the_model_s_processor_makes_them(gpt2: Path, tmp_path: Path, photographs: list[Any]) -> None:
    """Not squares of task.data.image_size, which would lose their sides and be resized twice."""
    task = task_on(tmp_path, gpt2)
    policy: Any = task.build_policy().eval()
    ours = policy.encode(torch.from_numpy(np.array(task.data.train.images)))["hidden"]
    pixels = transformers.AutoImageProcessor.from_pretrained(gpt2)(photographs[:2], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(ours, policy.model.encoder(pixel_values=pixels).last_hidden_state, atol=1e-5, rtol=1e-5)
    assert task.rollout(policy, num_samples=2).mask.any()


def test_a_frozen_encoder_looks_once(gpt2: Path, tmp_path: Path, photographs: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_on(tmp_path, gpt2, freeze_encoder=True, flip=True)
    policy: Any = task.build_policy().eval()
    processor = transformers.AutoImageProcessor.from_pretrained(gpt2)
    for mirrored, found in ((False, task.data.train.images), (True, task.data.train.mirrored)):
        shown = [photograph.transpose(0) if mirrored else photograph for photograph in photographs[:2]]  # 0 is left to right
        hidden = policy.model.encoder(pixel_values=processor(shown, return_tensors="pt")["pixel_values"]).last_hidden_state
        assert found.dtype == np.float16
        torch.testing.assert_close(torch.from_numpy(np.array(found)).float(), hidden, atol=2e-3, rtol=2e-3)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(policy.model.encoder, "forward", refuse)
    rows = task.rollout(policy, num_samples=2, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(policy(rows).logp[rows.mask], rows.logp[rows.mask], atol=1e-4)
    policy(task.demonstrations()).logp.sum().backward()
    assert "cider_d" in task.evaluate(policy) and task.sample(policy, tmp_path / "gallery", count=1)


@pytest.mark.parametrize("fast", [True, False])
def test_a_run_says_which_way_the_decoder_runs(
    fast: bool, gpt2: Path, tmp_path: Path, photographs: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    task = task_on(tmp_path, gpt2, freeze_encoder=True, fast=fast).config
    trainer = SelfCriticalConfig(num_samples=2, optimiser=OptimiserConfig(precision="fp32"))
    train(RunConfig("run", task=task, trainer=trainer, num_updates=0, num_threads=1, runs_folder=tmp_path))
    said = f"the decoder runs {'by seqrl' if fast else 'as transformers has it'}"
    assert f"run: {said}" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "env.json").read_text())[0]["policy"].startswith(said)


def test_an_encoder_that_a_run_before_has_trained_looks_for_itself(
    gpt2: Path, tmp_path: Path, photographs: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    plain, frozen = task_on(tmp_path, gpt2), task_on(tmp_path, gpt2, freeze_encoder=True)
    policies: list[Any] = [task.build_policy().eval() for task in (plain, frozen)]
    with torch.no_grad():
        for policy in policies:
            policy.model.encoder.layernorm.weight.mul_(1.5)
    rows = [
        task.rollout(policy, num_samples=2, generator=torch.Generator().manual_seed(0))
        for task, policy in zip((plain, frozen), policies, strict=True)
    ]
    assert torch.equal(rows[0].action, rows[1].action) and torch.equal(rows[0].logp, rows[1].logp)
    assert frozen.evaluate(policies[1]) == plain.evaluate(policies[0])
    assert "images are encoded anew each time" in caplog.text


def test_label_smoothing_leaves_out_special_tokens_but_the_end(folder: Path, tmp_path: Path) -> None:
    vocabulary = TokenizerVocabulary(str(folder))
    policy = build_policy(PolicyConfig(type="pretrained", path=str(folder), max_tokens=7), vocabulary, 32)
    assert policy.wrong == (0, 1, 3)
    assert load_captioner(folder, pad=2, unknown=2, begin=2).wrong == ()  # as GPT-2, which has one token for all of it
    rows = sample(policy, {"image": pictures(2)}, num_samples=2, generator=torch.Generator().manual_seed(1))
    mean = policy(rows).mean_logp
    right = [2, *range(4, len(WORDS))]
    chosen = [policy(rows.replace(action=torch.full_like(rows.action, token))).logp for token in right]
    assert torch.allclose(mean, torch.stack(chosen).mean(dim=0), atol=1e-5)
