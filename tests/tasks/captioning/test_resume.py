"""Self-critical training of a captioner that is killed, and in two processes: resumed, it ends with the same weights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from seqrl.run import checkpoint
from seqrl.run.config import read_config
from seqrl.run.log import read_metrics
from seqrl.run.train import resume, train

ROOT = Path(__file__).resolve().parents[3]
CONFIG = ROOT / "configs" / "captioning" / "scenes_self_critical.yaml"
SMALL = [f"--task.data.scenes.{name}" for name in ("num_train=24", "num_dev=6", "num_test=4")]
SMALL += [f"--task.policy.{setting}" for setting in ("dim=16", "num_layers=1", "num_heads=2", "max_tokens=8")]
SMALL += ["--task.data.image_size=16", "--task.images_per_batch=4", "--init_from=null", "--num_threads=1", "--log_every=1"]
SMALL += ["--trainer.optimiser.precision=fp32"]


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    threads = torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def settings(folder: Path, name: str, steps: int) -> list[str]:
    return [*SMALL, f"--runs_folder={folder}", f"--name={name}", f"--num_updates={steps}", "--eval_every=6", "--save_every=4"]


def weights(run_folder: Path) -> bytes:
    return (checkpoint.find(run_folder) / checkpoint.WEIGHTS).read_bytes()


def without_times(run_folder: Path) -> list[dict[str, float]]:
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in read_metrics(run_folder)]


@pytest.mark.slow
def test_killed_run_ends_with_the_same_weights_to_the_bit(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "seqrl", "train", str(CONFIG), "--quiet"]
    process = subprocess.Popen([*command, *settings(tmp_path, "parts", 40)], cwd=ROOT)
    metrics, deadline = tmp_path / "parts" / "metrics.jsonl", time.monotonic() + 240
    try:
        # Killed wherever it happens to be after its eleventh update.
        while not (metrics.is_file() and '{"step": 11,' in metrics.read_text()):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        process.kill()
    assert process.wait(timeout=60) == -signal.SIGKILL
    assert 8 <= int(checkpoint.find(tmp_path / "parts").name.removeprefix("step_")) < 40
    resume(tmp_path / "parts", display=False)
    train(read_config(CONFIG, settings(tmp_path, "whole", 40)), display=False)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    assert without_times(tmp_path / "parts") == without_times(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("reward", [[], ["--task.reward.ahead=1", "--task.reward.metrics={cider_d: 1.0, spice: 1.0, wer: -0.1}"]])
def test_two_processes_share_a_run_and_resume_it_exactly(tmp_path: Path, reward: list[str]) -> None:
    def launch(*arguments: str) -> int:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "seqrl"]
        return subprocess.run([*command, *arguments, "--quiet"], cwd=ROOT, timeout=280, env=os.environ).returncode

    assert launch("train", str(CONFIG), *settings(tmp_path, "whole", 8), *reward) == 0
    assert launch("train", str(CONFIG), *settings(tmp_path, "parts", 4), *reward) == 0
    assert launch("resume", str(tmp_path / "parts"), "--num_updates=8") == 0
    whole, parts = without_times(tmp_path / "whole"), without_times(tmp_path / "parts")
    # One process writes; the counts are those of both: 4 images x 5 samples x 2 processes, and some demonstrations.
    assert [row["step"] for row in whole if "optimiser/grad_norm" in row] == list(range(1, 9))
    assert [row["step"] for row in whole if "dev/cider_d" in row] == [0, 6, 8]
    assert whole[-1]["progress/num_samples"] >= 8 * 4 * 5 * 2
    assert not list((tmp_path / "whole" / "checkpoints").glob(".*"))
    folder = checkpoint.find(tmp_path / "whole")
    states = [checkpoint.load_state(folder, process) for process in (0, 1)]
    assert not torch.equal(states[0]["trainer"]["generator"], states[1]["trainer"]["generator"])
    assert not torch.equal(states[0]["task"]["generator"], states[1]["task"]["generator"])
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    # The parts' first half ended with an evaluation that the whole run had not.
    assert [row for row in parts if "optimiser/grad_norm" in row] == [row for row in whole if "optimiser/grad_norm" in row]
    resume(tmp_path / "parts", ["--num_updates=9"], display=False)
    assert "Saved by 2 processes, goes on with 1 process, no longer to the bit" in (tmp_path / "parts" / "warnings.jsonl").read_text()
