from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from seqrl.tasks.captioning.data import DataConfig, load_data
from seqrl.tasks.captioning.scenes import ScenesConfig
from seqrl.tasks.writing.reward import RewardConfig, TextReward, opening_shares


def test_shares_by_hand() -> None:
    shares = opening_shares(np.array([[7, 1], [5, 1], [7, 2], [7, 3]]))
    assert shares.tolist() == [0.75, 0.25, 0.75, 0.75]


def test_variety_is_added_to_the_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path))
    data = load_data(DataConfig(image_size=16, scenes=ScenesConfig(num_train=4, num_dev=2, num_test=0)))
    rows = [data.vocabulary.encode(data.train.words[image][0])[:8] for image in (0, 1, 2)]
    rows[1][0], rows[2][0], rows[0][0] = 9, 9, 8
    given = torch.tensor(rows), torch.tensor([8, 8, 8]), torch.tensor([0, 1, 2])
    plain, varied = (
        TextReward(config, data.train, data.vocabulary).score(*given) for config in (RewardConfig(), RewardConfig(variety=3.0))
    )
    assert (varied - plain).tolist() == pytest.approx([3 * 2 / 3, 3 / 3, 3 / 3], abs=1e-5)
    with pytest.raises(ValueError, match="variety: expected 0 or more, got -1"):
        RewardConfig(variety=-1)
