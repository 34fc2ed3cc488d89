from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from seqrl.run import threads
from seqrl.run.config import read_config
from seqrl.run.train import resume, train


@pytest.fixture(autouse=True)
def four_free_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "available_cores", lambda: 4)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)


def seconds(monkeypatch: pytest.MonkeyPatch, by_number: dict[int, float]) -> None:
    """Let a batch take this long with so many threads."""
    monkeypatch.setattr(threads, "_mean_seconds", lambda load: by_number[torch.get_num_threads()])


@pytest.mark.parametrize(
    ("by_number", "number"),
    [
        ({1: 10.0, 2: 5.0, 4: 2.5}, 4),
        ({1: 10.0, 2: 5.0, 4: 4.5}, 2),  # four are a tenth faster than two: not worth it
        ({1: 10.0, 2: 8.5, 4: 4.0}, 4),
        ({1: 10.0, 2: 1500.0}, 1),  # another program wants the cores; four are not tried
        ({1: 10.0, 2: 9.0, 4: 8.5}, 1),
    ],
)
def test_more_threads_only_when_clearly_faster(by_number: dict[int, float], number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    seconds(monkeypatch, by_number)
    assert threads.fastest(lambda: None, 4).number == number
    assert torch.get_num_threads() == before


def test_what_was_asked_for_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds(monkeypatch, {})
    large = nn.Linear(1000, 1000)
    assert threads.choose_threads(large, 3).number == 3 == torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert threads.choose_threads(large).number == 2 == torch.get_num_threads()
    assert threads.choose_threads(large, 1).number == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    assert threads.choose_threads(nn.Linear(64, 64)) == threads.Threads(1, "a policy of 4,160 parameters has no work for more")
    assert threads.choose_threads(nn.Identity()).number == 1


def test_measuring_is_short_and_draws_no_random_numbers() -> None:
    policy = nn.Sequential(nn.Conv2d(4, 32, 8, 4), nn.Conv2d(32, 64, 4, 2, groups=2), nn.Flatten(), nn.Linear(3136, 512))
    weights, state, start = [weight.clone() for weight in policy.parameters()], torch.get_rng_state(), time.process_time()
    chosen = threads.choose_threads(policy)
    assert 1 <= chosen.number <= 4 and "1: " in chosen.reason and time.process_time() - start < 5.0  # a loaded machine may be slow
    assert torch.equal(torch.get_rng_state(), state)
    assert all(weight.equal(before) and weight.grad is None for weight, before in zip(policy.parameters(), weights, strict=True))


def test_a_run_keeps_the_number_it_began_with(toy_yaml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(threads, "SMALLEST_MEASURED_POLICY", 0)
    seconds(monkeypatch, {1: 9.0, 2: 3.0, 4: 3.0})
    config = read_config(toy_yaml, ["--steps=2", "--eval_every=0"])
    train(config)
    assert "toy: 2 threads (measured on a small batch, 1: 9e+03 ms, 2: 3e+03 ms, 4: 3e+03 ms)" in capsys.readouterr().out
    seconds(monkeypatch, {1: 1.0, 2: 9.0})
    torch.set_num_threads(1)
    resume(config.run_folder, ["--steps=4"], display=False, allow_code=True)
    assert torch.get_num_threads() == 2
    assert yaml.safe_load((config.run_folder / "config.yaml").read_text())["num_threads"] == 2
    assert [start["num_threads"] for start in json.loads((config.run_folder / "env.json").read_text())] == [2, 2]
