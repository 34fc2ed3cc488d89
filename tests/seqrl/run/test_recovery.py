"""Damaged checkpoints: every flipped byte is seen, a run goes on from the one before, and others are named."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from seqrl.run import checkpoint, integrity, recovery
from seqrl.run.cli import main
from seqrl.run.config import read_config
from seqrl.run.log import read_metrics
from seqrl.run.train import resume, train


class Portable(nn.Linear):
    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "checkpoints" / "step_00000003"
    checkpoint.save(folder, Portable(2, 2), {"number": 1.5}, {"step": 3, "evaluation": {"score": 0.1}})
    return folder


def test_any_flipped_byte_is_seen(small: Path) -> None:
    """Every byte of the small files, twelve of each large one: one bit of it, or the one between a and A."""
    assert recovery.damage(small) is None
    files = [path for path in small.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"model.safetensors", "trainer.pt", "meta.json", "SHA256SUMS", "config.json"}
    generator = np.random.default_rng(0)
    for path in files:
        whole = path.read_bytes()
        places = range(len(whole)) if len(whole) < 600 else generator.choice(len(whole), 12, replace=False).tolist()
        for place in places:
            for change in (1 << int(generator.integers(8)), 0x20):
                path.write_bytes(whole[:place] + bytes([whole[place] ^ change]) + whole[place + 1 :])
                assert recovery.damage(small) is not None, (path.name, place, change)
        path.write_bytes(whole)
    assert recovery.damage(small) is None


def test_the_sums_are_those_of_another_program(small: Path) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("needs sha256sum")
    assert subprocess.run(["sha256sum", "--check", "--strict", integrity.SUMS], cwd=small, capture_output=True).returncode == 0


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-7])


def flip(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 4
        (folder / name).write_bytes(bytes(content))

    return change


DAMAGES = {
    "truncated weights": (cut("model.safetensors"), "model.safetensors is not as it was written"),
    "flipped state": (flip("trainer.pt"), "trainer.pt is not as it was written"),
    "missing state": (lambda folder: (folder / "trainer.pt").unlink(), "trainer.pt is missing"),
    "bad JSON": (lambda folder: (folder / "meta.json").write_text('{"step": '), "meta.json is not as it was written"),
    "missing sums": (lambda folder: (folder / "SHA256SUMS").unlink(), "SHA256SUMS is missing"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_resume_goes_on_from_the_one_before(
    kind: str, toy_yaml: Path, same_run: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = train(read_config(toy_yaml, ["--name=whole", "--num_updates=14"]), display=False).run_folder
    parts = train(read_config(toy_yaml, ["--name=parts"]), display=False).run_folder
    assert whole and parts
    damage, message = DAMAGES[kind]
    damage(parts / "checkpoints" / "step_00000012")
    capsys.readouterr()
    assert resume(parts, ["--num_updates=14"], display=False, allow_code=True).step == 14
    said = capsys.readouterr().err
    assert f"step_00000012 is damaged: {message}" in said
    assert f"going on from {parts / 'checkpoints' / 'step_00000008'}" in said and "kept aside: aside_step_00000012" in said
    same_run(whole, parts)


def test_all_damaged(toy_yaml: Path) -> None:
    folder = train(read_config(toy_yaml), display=False).run_folder
    assert folder
    for path in (folder / "checkpoints").iterdir():
        flip("trainer.pt")(path)
    with pytest.raises(ValueError, match="no checkpoint is whole: .*step_00000012 is damaged: trainer.pt .*step_00000008 is damaged"):
        resume(folder, display=False, allow_code=True)


def test_a_checkpoint_is_named(toy_yaml: Path, same_run: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    folder = train(read_config(toy_yaml, ["--name=parts"]), display=False).run_folder
    whole = train(read_config(toy_yaml, ["--name=whole"]), display=False).run_folder
    assert folder and whole
    for which in ("8", "step_00000008", str(folder / "checkpoints" / "step_00000008")):
        assert main(["evaluate", str(folder), "--allow-code", f"--checkpoint={which}"]) == 0
        assert "step_00000008 on dev" in capsys.readouterr().out
    assert main(["sample", str(folder), "--allow-code", "--checkpoint=9"]) == 2
    assert "--checkpoint=9: " in (said := capsys.readouterr().err) and "there are: step_00000008, step_00000012" in said
    assert main(["resume", str(folder), "--allow-code", f"--checkpoint={whole / 'checkpoints' / 'step_00000008'}"]) == 2
    assert "is of another run" in capsys.readouterr().err
    assert main(["resume", str(folder), "--allow-code", "--checkpoint=8", "--quiet"]) == 0
    assert [row["step"] for row in read_metrics(folder) if "dev/score" in row] == [0, 4, 8, 12]
    same_run(whole, folder)


@pytest.mark.parametrize("kind", ["flipped state", "missing state"])
def test_a_damaged_best_one_is_refused(kind: str, toy_yaml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage, message = DAMAGES[kind]
    folder = train(read_config(toy_yaml, ["--early_stop.metric=score", "--early_stop.patience=99"]), display=False).run_folder
    assert folder
    damage(folder / "checkpoints" / "best")
    for command in ("evaluate", "sample"):
        assert main([command, str(folder), "--allow-code"]) == 2
        said = capsys.readouterr().err
        assert f"best: damaged: {message}" in said and "--checkpoint=12 (whole are: 8, 12)" in said
        assert main([command, str(folder), "--allow-code", "--checkpoint=12"]) == 0
    with pytest.raises(ValueError, match="best: damaged"):
        train(read_config(toy_yaml, ["--name=other", f"--init_from={folder}"]), display=False)


def test_an_old_one_without_sums_is_read(toy_yaml: Path) -> None:
    folder = train(read_config(toy_yaml), display=False).run_folder
    assert folder
    for path in (folder / "checkpoints").iterdir():
        (path / integrity.SUMS).unlink()
        meta = json.loads((path / "meta.json").read_text())
        assert meta.pop("sums") == integrity.SUMS
        (path / "meta.json").write_text(json.dumps(meta))
        assert recovery.damage(path) is None
    newest = checkpoint.find(folder)
    flip("trainer.pt")(newest)  # the zip file's own sums
    assert "trainer.pt is damaged" in str(recovery.damage(newest))
    assert resume(folder, ["--num_updates=13"], display=False, allow_code=True).step == 13
