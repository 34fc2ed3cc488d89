from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from small import small_config, small_task

from seqrl.requirements import demonstrations_of
from seqrl.run.cli import main
from seqrl.run.reports import EXIT_BAD_INPUT
from seqrl.tasks.attention.evaluation import EvaluationConfig, look_at, metrics_of

DIGITS = {"type": "attention", "images_per_batch": 8, "num_glimpses": 3, "data": {"image_size": 16}}
SIZES = {"num_features": 8, "glimpse_units": 8, "hidden_units": 8}


def write(tmp_path: Path, **task: Any) -> str:
    settings = {
        "name": "run",
        "num_updates": 3,
        "num_threads": 1,
        "runs_folder": str(tmp_path),
        "task": DIGITS | {"policy": SIZES} | task,
        "trainer": {"type": "reinforce", "baseline": "critic", "num_samples": 1},
    }
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(settings))  # JSON is YAML
    return str(path)


def test_metrics_of_an_evaluation_by_hand() -> None:
    label = torch.tensor([[0], [1], [1], [0]])
    means = torch.tensor([0.9, 0.2, 0.6, 0.6])  # probability of class 0: right, right, wrong, right
    paths = torch.tensor([[0.4, 0.1, 0.9, 0.7], [0.9, 0.1, 0.3, 0.1], [0.9, 0.9, 0.2, 0.3]])
    calls: list[int] = []

    def look(items: torch.Tensor, greedy: bool, generator: torch.Generator) -> torch.Tensor:
        if not greedy:
            calls.append(1)
        first = means[items] if greedy else paths[(len(calls) - 1) % 3][items]
        return torch.stack([first, 1 - first], dim=1).log().unsqueeze(1)

    metrics = metrics_of([look_at(look, label, EvaluationConfig(num_paths=3, images_per_batch=2))])
    # One path: 0.4 and 0.9 are wrong. All: (2.2, 1.1, 1.4, 1.1) of 3 for class 0: only the last is wrong.
    assert metrics["error_percent"] == 25.0
    assert metrics["error_percent_sampled"] == 50.0
    assert metrics["error_percent_averaged"] == 25.0
    expected = -(torch.tensor([0.9, 0.8, 0.4, 0.6]).log().mean())
    assert metrics["cross_entropy"] == pytest.approx(float(expected), abs=1e-6)
    assert set(metrics_of([look_at(look, label, EvaluationConfig(num_paths=0))])) == {"error_percent", "cross_entropy"}


def test_an_image_is_wrong_where_one_of_its_objects_is() -> None:
    label = torch.tensor([[0, 1], [1, 1]])
    logits = torch.tensor([[[1.0, 0], [0, 1]], [[1, 0], [0, 1]]])
    assert metrics_of([look_at(lambda *_: logits, label, EvaluationConfig(num_paths=0))])["error_percent"] == 50.0


def test_evaluations_repeat_and_leave_the_training_alone() -> None:
    task = small_task(data={"placement": "cluttered", "canvas_size": 20, "clutter_size": 4})
    policy: Any = task.build_policy()
    before = task.state_dict()
    first = task.evaluate(policy)
    assert first == task.evaluate(policy)
    assert first != task.evaluate(policy, split="test")
    after = task.state_dict()
    assert before["order"] == after["order"] and torch.equal(before["generator"], after["generator"])


def test_the_first_weights_depend_on_the_seed() -> None:
    one, same, other = (small_task(seed).build_policy().state_dict()["locate.weight"] for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)


@pytest.mark.parametrize("settings", [{}, {"data": {"placement": "pair", "canvas_size": 26}}, {"num_scales": 1}])
def test_samples_are_drawn(settings: dict[str, Any], tmp_path: Path) -> None:
    task = small_task(**settings)
    paths = task.sample(task.build_policy(), tmp_path, count=3)
    assert [path.name for path in paths] == ["glimpses.png", "glimpses.gif"]
    with Image.open(paths[1]) as picture:
        assert picture.n_frames == 4


def test_beliefs_of_two_objects() -> None:
    task = small_task(data={"placement": "pair", "canvas_size": 26})
    logits = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    beliefs, probabilities = task._beliefs(logits), logits.softmax(dim=2)
    third = torch.full((2, 3), 1 / 3)
    torch.testing.assert_close(beliefs[:, :, 0], torch.stack([probabilities[:, step] for step in (0, 1, 1, 1)], dim=1))
    torch.testing.assert_close(beliefs[:, :, 1], torch.stack([third, third, probabilities[:, 2], probabilities[:, 3]], dim=1))


def test_no_demonstrations() -> None:
    task = small_task()
    with pytest.raises(ValueError, match="AttentionTask has no demonstrations to imitate; choose a trainer"):
        demonstrations_of(task)(None)
    with pytest.raises(ValueError, match="a task has no demonstrations"):
        task.rollout(task.build_policy(), num_forced_steps=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images_per_batch": 0}, "images_per_batch: expected at least 1, got 0"),
        ({"num_glimpses": 1}, "num_glimpses: expected at least 2, two an object, got 1"),
        ({"num_glimpses": 3, "data": {"placement": "pair", "canvas_size": 30}}, "num_glimpses: expected at least 4, two an object, got 3"),
        ({"looking": "away"}, "looking: expected one of learned, random, centre, grid, got 'away'"),
        ({"reward": "bleu"}, "reward: expected one of correct, log_probability, information_gain, got 'bleu'"),
        ({"first_location": "left"}, "first_location: expected one of centre, random, grid, got 'left'"),
        ({"start": "edge"}, "start: expected one of centre, grid, got 'edge'"),
        ({"grid_spacing": -1.0}, "grid_spacing: expected 0 or more, got -1.0"),
        ({"reward": "information_gain"}, "reward: information_gain needs a classifier that has learned from the earlier glimpses"),
        ({"glimpse_size": 0}, "glimpse size and scales: expected at least 1 each, got 0 and 2"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_config(**settings)


def test_a_glimpse_larger_than_the_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", write(tmp_path, glimpse_size=17)]) == EXIT_BAD_INPUT
    assert "glimpse_size: expected at most the image's 16 pixels, got 17 for images of 16x16" in capsys.readouterr().err


def idx(path: Path, shape: tuple[int, ...], content: bytes) -> None:
    path.write_bytes(gzip.compress(struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape) + content))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "train-images-idx3-ubyte.gz").write_bytes(b"\x89PNG"), "train-images-idx3-ubyte.gz"),
        (lambda folder: idx(folder / "train-images-idx3-ubyte.gz", (40, 16, 16), bytes(100)), "train-images-idx3-ubyte.gz"),
        (lambda folder: idx(folder / "train-labels-idx1-ubyte.gz", (40,), bytes([11] * 40)), "got 11"),
        (lambda folder: idx(folder / "train-labels-idx1-ubyte.gz", (39,), bytes(39)), "39"),
        (lambda folder: idx(folder / "train-images-idx3-ubyte.gz", (40, 12, 16), bytes(40 * 12 * 16)), "expected images of 16x16 pixels"),
        (lambda folder: (folder / "t10k-images-idx3-ubyte.gz").unlink(), "t10k-images"),
    ],
    ids=["not IDX", "truncated", "label out of range", "too few labels", "other size", "missing"],
)
def test_bad_files(break_it: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("train", "t10k"):
        idx(tmp_path / f"{name}-images-idx3-ubyte.gz", (40, 16, 16), bytes(40 * 256))
        idx(tmp_path / f"{name}-labels-idx1-ubyte.gz", (40,), bytes(40))
    config = write(tmp_path, data={"source": "mnist", "path": str(tmp_path), "image_size": 16, "num_dev": 10})
    assert main(["train", config, "--quiet", "--name=whole"]) == 0
    capsys.readouterr()
    break_it(tmp_path)
    assert main(["train", config, "--quiet"]) == EXIT_BAD_INPUT
    said = capsys.readouterr().err
    assert said.startswith("seqrl: ") and message in said and not (tmp_path / "run").exists()


def test_a_run_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", write(tmp_path), "--quiet", "--eval_every=3"]) == 0
    assert main(["evaluate", str(tmp_path / "run"), "--split=test"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("error_percent ", "error_percent_sampled", "error_percent_averaged"))
    assert main(["sample", str(tmp_path / "run"), "--count=2"]) == 0
    assert (tmp_path / "run" / "samples" / "glimpses.png").is_file() and (tmp_path / "run" / "samples" / "glimpses.gif").is_file()
