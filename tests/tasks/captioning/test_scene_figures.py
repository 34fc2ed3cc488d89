from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from seqrl.tasks.captioning.data import DataConfig, load_data
from seqrl.tasks.captioning.policies import PolicyConfig
from seqrl.tasks.captioning.policies.captioner import FigureDetector
from seqrl.tasks.captioning.scene_drawing import MAX_FIGURES, describe_figures, draw_figures
from seqrl.tasks.captioning.scene_layout import COLOURS, LOOKS, SHAPES, TEXTURES, Draws, Placed, Thing, draw_scene
from seqrl.tasks.captioning.scenes import ScenesConfig
from seqrl.tasks.captioning.task import CaptioningConfig, CaptioningTask


def placed(shape: str, colour: str, x: float, y: float, radius: float, texture: str = "plain") -> Placed:
    return Placed(Thing(shape, colour, "medium", texture, 1, "middle", False), x, y, radius, 0)


def test_figures_by_hand() -> None:
    hidden, beside, behind, outside = (
        placed("ball", "red", 0.5, 0.5, 0.1),
        placed("star", "blue", 0.9, 0.25, 0.1),
        placed("moon", "red", 0.4, 0.5, 0.1, "dotted"),
        placed("ring", "black", 0.5, 1.01, 0.1),
    )
    in_front = placed("heart", "pink", 0.55, 0.5, 0.125)
    rows = describe_figures([hidden, beside, behind, outside, in_front])
    expected = [[0.9, 0.25, 3, 1, 0], [0.4, 0.5, 8, 0, 2], [0.55, 0.5, 4, 6, 0]]
    np.testing.assert_allclose(rows[:3], expected, rtol=1e-6)
    assert rows.shape == (MAX_FIGURES, 5) and (rows[3:] == -1).all()
    assert (SHAPES[3], COLOURS[1], SHAPES[8], COLOURS[6], TEXTURES[2]) == ("star", "blue", "moon", "pink", "dotted")


def test_the_pictures_show_the_colours_where_the_figures_are() -> None:
    draws = Draws(np.random.default_rng(3))
    palette = np.array([LOOKS["colours"][colour] for colour in COLOURS])
    right = []
    for _ in range(150):
        scene = draw_scene(draws)
        picture, figures = draw_figures(scene, 64, draws)
        assert len(figures) <= MAX_FIGURES
        # The middle of a plain square or heart has its colour; a ring or a moon has a hole there.
        plain = {(SHAPES.index(thing.shape), COLOURS.index(thing.colour)) for thing in scene.things if thing.texture == "plain"}
        for x, y, shape, colour, _ in describe_figures(figures):
            if (shape, colour) in plain and SHAPES[int(shape)] in ("square", "heart", "star", "cross", "diamond"):
                nearest = np.abs(palette - picture[:, int(y * 64), int(x * 64)]).sum(axis=1).argmin()
                right.append(nearest == colour)
    assert len(right) > 150 and np.mean(right) > 0.97


def test_the_loss_is_taken_at_the_figures_regions() -> None:
    detector = FigureDetector(5)
    for weight in detector.parameters():
        torch.nn.init.zeros_(weight)
    torch.nn.init.eye_(detector.looks[0].weight)  # type: ignore[arg-type]
    regions = torch.zeros(2, 16, 5, requires_grad=True)  # 4x4
    figures = torch.full((3, MAX_FIGURES, 5), -1.0)
    figures[0, 0] = torch.tensor([0.3, 0.9, 2, 7, 3])  # column 1, row 3: region 13
    figures[1, 0] = figures[2, 0] = torch.tensor([0.99, 0.0, 0, 0, 0])  # region 3, seen from two rows of image 1
    loss = detector(regions, figures, torch.tensor([0, 1, 1]))
    assert loss.item() == pytest.approx(math.log(9) + math.log(9) + math.log(4))
    loss.backward()
    assert regions.grad is not None
    assert regions.grad.abs().sum(dim=2).nonzero().tolist() == [[0, 13], [1, 3]]
    assert regions.grad[0, 13].tolist() == pytest.approx([1 / 27, 1 / 27, (1 / 9 - 1) / 3, 1 / 27, 1 / 27])
    assert detector(regions, torch.full((3, MAX_FIGURES, 5), -1.0), torch.tensor([0, 1, 1])).item() == 0.0


def test_supervised_updates_detect_figures_and_mixed_ones_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path))
    drawn = DataConfig(image_size=16, scenes=ScenesConfig(num_train=6, num_dev=2, num_test=0))
    data = load_data(drawn)
    sizes = PolicyConfig(dim=16, num_layers=1, num_heads=2, figure_detection=0.5)
    task = CaptioningTask(CaptioningConfig(data=drawn, policy=sizes, images_per_batch=2, captions_per_image=2), data)
    policy = task.build_policy().train()
    shown = task.demonstrations()
    assert data.train.figures is not None and shown.group is not None
    assert np.array_equal(shown.context["figures"], data.train.figures[shown.group])
    assert policy(shown).aux_loss.item() == pytest.approx(0.5 * (2 * math.log(9) + math.log(4)), rel=0.5)
    # Reinforcement trainers update without dropout, and learn all the same; only a pass that nobody learns from leaves it out.
    assert policy.eval()(shown).aux_loss.item() == policy.train()(shown).aux_loss.item()
    with torch.no_grad():
        assert policy(shown).aux_loss is None
    assert policy.aux_count(shown).tolist() == [float((shown.context["figures"][:, :, 2] >= 0).sum())]
    beside_samples = task.demonstrations(torch.tensor([1, 3]))
    assert set(beside_samples.context) == {"image"} and policy.train()(beside_samples).aux_loss is None


def test_photographs_have_no_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path))
    data = load_data(DataConfig(image_size=16, scenes=ScenesConfig(num_train=6, num_dev=2, num_test=0)))
    without = dataclasses.replace(data, train=dataclasses.replace(data.train, figures=None))
    with pytest.raises(ValueError, match="figure_detection: expected drawn scenes"):
        CaptioningTask(CaptioningConfig(policy=PolicyConfig(figure_detection=0.5)), without)
