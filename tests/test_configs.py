"""Every configuration that we ship loads and trains for two steps."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
import yaml

from seqrl.run.config import read_config
from seqrl.run.log import read_metrics
from seqrl.run.train import train
from seqrl.tasks.atari.task import AtariConfig
from seqrl.tasks.control.task import ControlConfig

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("SEQRL_DATA", ROOT.parent / "shared" / "data"))
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
WORDS = "<pad> <begin> <end> <unknown> a an the man woman dog in on of with and sitting standing street".split()

SMALL_SCENES = [f"--task.data.scenes.{name}={count}" for name, count in {"num_train": 24, "num_dev": 6, "num_test": 6}.items()]
SMALL_CAPTIONING = ["--task.images_per_batch=4", "--task.data.max_images=12"]
SMALL_CONTROL = ["--task.num_eval_episodes=2", "--task.max_episode_steps=20", "--task.num_envs=4", "--task.num_steps=16"]
SMALL_ATARI = ["--task.num_eval_episodes=2", "--task.max_frames=80", "--task.num_envs=2", "--task.num_steps=8"]
SMALL_ATTENTION = ["--task.images_per_batch=4", "--task.evaluation.num_paths=1"]
SMALL_BOARDS = ["--task.num_games=2", "--task.num_eval_games=2", "--task.policy.search.num_simulations=4", "--trainer.gradient_steps=2"]
SMALL_TEXT = ["--task.prompts_per_batch=4", "--task.data.max_pairs=12"]
SMALL = {
    "captioning": SMALL_CAPTIONING,
    "control": SMALL_CONTROL,
    "atari": SMALL_ATARI,
    "attention": SMALL_ATTENTION,
    "boards": SMALL_BOARDS,
}  # by the task's type
SMALL |= dict.fromkeys(("text", "seqrl.tasks.text.task:TextConfig"), SMALL_TEXT)
# Others of the same settings are tried in the fast tier: restaurant_minimum_risk, breakout_ppo, halfcheetah_ppo, scenes_self_critical.
ALIKE = (
    "hotel_xe",
    "restaurant_self_critical",
    "hotel_self_critical",
    "hotel_minimum_risk",
    "hotel_sc_lstm",
    "multi30k_self_critical",
    "breakout_ppo_short",
    "hopper_ppo",
    "walker2d_ppo",
    "pong_ppo",
    "pong_ppo_end",
    "flickr8k_features_xe",
    "flickr8k_features_self_critical",
    "builtin_per_token",
    "builtin_gpt2_ppo",
    "coco_self_critical_blip",
    "coco_self_critical_smolvlm",
)
# The kind of the tiny model that stands in for a pretrained one, where it is no vision encoder-decoder.
KINDS = {"coco_self_critical_blip": "blip", "coco_self_critical_smolvlm": "idefics3"}
# Metrics of an update, of which each trainer gives one: tables have no gradient.
UPDATED = ("optimiser/grad_norm", "action_value/error", "elite/num_rows")


@pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in ALIKE else []) for path in CONFIGS]
)
def test_config_trains_for_two_steps(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = [f"--runs_folder={tmp_path}", "--num_updates=2", "--eval_every=2", "--init_from=null", "--num_threads=1"]
    text = path.read_text(encoding="utf-8")
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SEQRL_DATA", str(DATA))
    if "$SEQRL_DATA" in text and not DATA.is_dir():
        pytest.skip(f"needs the folder {DATA}; set SEQRL_DATA to another one")
    if "environment: ap_gym:" in text:
        pytest.importorskip("ap_gym")
    overrides += SMALL.get(yaml.safe_load(text)["task"]["type"], [])
    if "source: scenes" in text:
        overrides += SMALL_SCENES
    if "source: mnist" in text:
        overrides += ["--task.data.num_dev=50"]
    if "demonstrations: {" in text:
        short = read_config(path, [*overrides, "--task.demonstrations.path="]).task
        assert isinstance(short, ControlConfig | AtariConfig)
        task = short.build(0)
        task.record_data(task.build_policy(), tmp_path / "shown", episodes=2)
        overrides += [f"--task.demonstrations.path={tmp_path / 'shown'}"]
    if "expert: runs/" in text:
        small = [*overrides, *SMALL_CONTROL, "--name=expert"]
        train(read_config(ROOT / "configs" / "control" / "cartpole_ppo.yaml", small), display=False)
        overrides += [f"--task.expert={tmp_path / 'expert'}"]
    if "type: dqn" in text:
        overrides += ["--trainer.learning_starts=10", "--trainer.buffer_size=200", "--trainer.gradient_steps=2"]
    if "type: sac" in text:
        overrides += ["--trainer.learning_starts=2", "--trainer.batch_size=8"]
    if "type: pretrained" in text:
        overrides += [f"--task.policy.path={tmp_path / 'model'}"]
    if "type: pretrained" in text and "type: text" in text:
        save_tiny_text_model(tmp_path / "model")
    elif "type: pretrained" in text:
        save_tiny_model(tmp_path / "model", KINDS.get(path.stem, ""))
        overrides += [f"--task.data.tokenizer={tmp_path / 'model'}"]
        overrides += [f"--task.data.path={DATA / 'coco_mini'}", "--task.data.num_test=0", "--task.data.image_size=32"]
        overrides += ["--task.data.max_images=0", "--task.data.skip_broken_images=true"]
    result = train(read_config(path, overrides), display=False)
    assert result.step == 2
    lines = read_metrics(tmp_path / read_config(path).name)
    assert {line["step"] for line in lines} >= {0, 2}
    assert any(key in line for line in lines for key in UPDATED)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_is_short_and_says_how_to_run_it(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 40
    header = "\n".join(line for line in lines if line.startswith("#"))
    assert f"configs/{path.parent.name}/{path.name}" in header
    assert "Expected:" in header and "Hardware:" in header
    assert read_config(path).name == path.stem


def save_tiny_model(folder: Path, kind: str = "") -> None:
    transformers = pytest.importorskip("transformers")
    if kind:
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(ROOT / "tests" / "tasks" / "captioning"))
            import tiny_models
        tiny_models.save(folder, kind)
        return

    torch.manual_seed(0)
    specials = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    encoder = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8
    )
    decoder = transformers.GPT2Config(vocab_size=len(WORDS), n_positions=32, n_embd=16, n_layer=1, n_head=2, **specials)
    decoder.is_decoder = decoder.add_cross_attention = True
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 1, 0, 2
    transformers.VisionEncoderDecoderModel(config).save_pretrained(folder)
    save_tokenizer(folder)
    settings = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")


def save_tiny_text_model(folder: Path) -> None:
    """A model that goes on with prompts, which every configuration of texts takes; the kinds are tried in tests/tasks/text."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    specials = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = transformers.GPT2Config(vocab_size=len(WORDS), n_positions=512, n_embd=16, n_layer=1, n_head=2, **specials)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    save_tokenizer(folder)


def save_tokenizer(folder: Path) -> None:
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    named = {"pad_token": "<pad>", "bos_token": "<begin>", "eos_token": "<end>", "unk_token": "<unknown>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named).save_pretrained(folder)
