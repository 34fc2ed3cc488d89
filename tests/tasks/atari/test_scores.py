from __future__ import annotations

import pytest

from seqrl.tasks.atari.scores import PUBLISHED_SCORES, human_normalised


def test_every_game_exists() -> None:
    roms = pytest.importorskip("ale_py.roms")
    assert len(PUBLISHED_SCORES) == 57 and set(PUBLISHED_SCORES) <= set(roms.get_all_rom_ids())


def test_the_scale() -> None:
    assert human_normalised("pong", -20.7) == 0.0 and human_normalised("pong", 14.6) == 1.0
    assert human_normalised("breakout", 16.1) == pytest.approx(0.5)  # half way from 1.7 to 30.5
    assert human_normalised("skiing", -17098.1 - 12761.2) == pytest.approx(-1.0)
    assert human_normalised("tetris", 10.0) is None
    assert all(random < human for random, human in PUBLISHED_SCORES.values())
