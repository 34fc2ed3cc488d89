"""The runner of configurations keeps what it measured, skips it, and never counts half a run."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from seqrl.run.interrupt import Interrupted
from seqrl.trainers.ppo import PPO

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--", "--task.num_envs=2", "--task.num_steps=16", "--task.num_eval_episodes=2", "--task.max_episode_steps=20"]


@pytest.fixture
def configs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location("configs_of_test", ROOT / "benchmarks" / "configs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    facts = {"command": "", "seeds": [], "versions": {}, "cpu": {}, "threads": 1, "commit": "1234567890abc", "clean": True, "date": ""}
    monkeypatch.setattr(module, "provenance", lambda seeds: facts | {"seeds": seeds})
    monkeypatch.setattr(module, "require_clean", lambda **_: None)
    return module


def run(configs: ModuleType, folder: Path, *changes: str, seeds: str = "0") -> dict[str, Any]:
    configs.main(["cartpole_ppo", f"--seeds={seeds}", f"--runs={folder / 'runs'}", f"--output={folder / 'out.json'}", *SMALL, *changes])
    (entry,) = json.loads((folder / "out.json").read_text())["configs"].values()
    return entry


def test_figures_are_kept_and_not_measured_again(
    configs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = run(configs, tmp_path, "--num_updates=2", "--eval_every=1")["seeds"]["0"]
    # An episode is cut at 20 steps, each of which pays 1.
    assert 1 <= record["test"]["return_mean"] <= 20 and 1 <= record["sampled"]["return_mean"] <= 20
    assert record["curve"]["updates"] == [0, 1, 2] and record["updates"] == record["checkpoint"] == 2
    assert record["provenance"]["seeds"] == [0] and record["processor_s"] > 0
    capsys.readouterr()
    monkeypatch.setattr(configs, "run_seed", lambda *_: pytest.fail("it was measured again"))
    assert run(configs, tmp_path, "--num_updates=2", "--eval_every=1")["seeds"]["0"] == record
    assert "stands already" in capsys.readouterr().out


def test_figures_of_another_commit_or_of_changed_code_do_not_stand(configs: ModuleType) -> None:
    kept = {"provenance": {"commit": "a", "clean": True}}
    assert configs.stands(kept, "a") and not configs.stands(kept, "b") and not configs.stands(None, "a")
    assert not configs.stands({"provenance": {"commit": "a", "clean": False}}, "a")


def test_an_interrupt_ends_everything_and_the_same_command_goes_on(
    configs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update, count = PPO.update, itertools.count(1)

    def update_and_stop(self: PPO, *arguments: Any) -> Any:
        if next(count) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return update(self, *arguments)

    monkeypatch.setattr(PPO, "update", update_and_stop)
    with pytest.raises(Interrupted):
        run(configs, tmp_path, "--num_updates=3", "--eval_every=0", seeds="0,1")
    assert not (tmp_path / "out.json").exists()
    assert len(list(tmp_path.glob("runs/*/*/checkpoints/step_00000002"))) == 1  # of seed 0 alone
    seeds = run(configs, tmp_path, "--num_updates=3", "--eval_every=0", seeds="0,1")["seeds"]
    assert {seed: record["updates"] for seed, record in seeds.items()} == {"0": 3, "1": 3}
    assert next(count) == 7  # 2 and 1 updates of seed 0, 3 of seed 1


def test_a_changed_tree_is_refused(configs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["provenance"], "changed_files", lambda: ["seqrl/x.py"])
    monkeypatch.setattr(configs, "require_clean", sys.modules["provenance"].require_clean)
    with pytest.raises(SystemExit, match="seqrl/x.py"):
        run(configs, tmp_path)
