"""What is installed works without the checkout."""

from __future__ import annotations

import fnmatch
import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", "runs", "shared", "build", "__pycache__", "*.egg-info", ".*cache*")


def packaged() -> set[str]:
    """Files of the package that are no code, by their path in a wheel."""
    found = set()
    for folder, folders, files in os.walk(ROOT / "seqrl", followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        found |= {(Path(folder) / name).relative_to(ROOT).as_posix() for name in files if not name.endswith(".py")}
    return found


def test_every_file_of_the_package_is_declared() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["*"]
    assert {"seqrl/py.typed", "seqrl/configs/control/cartpole_ppo.yaml"} <= packaged()
    assert [name for name in packaged() if not any(fnmatch.fnmatch(Path(name).name, pattern) for pattern in patterns)] == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built offline from a copy of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "source", symlinks=True, ignore=NOT_COPIED)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-build-isolation", "--no-deps"]
    subprocess.run([*build, "--wheel-dir", str(folder), str(folder / "source")], check=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel, which sees what is installed here but the checkout."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*install, str(wheel)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    # Folders named in a .pth file have their own .pth files ignored, by which an editable install would be found.
    here = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "installed_here.pth").write_text("\n".join(here) + "\n", encoding="utf-8")
    return folder


@pytest.mark.slow
def test_a_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert packaged() <= names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"seqrl"}
    assert not [name for name in names if "tests/" in name or "benchmarks/" in name or name.endswith(".pyc")]
    assert {"seqrl/tasks/control/task.py", "seqrl/metrics/cider.py", "seqrl/run/configs.py"} <= names


@pytest.mark.slow
def test_an_installed_wheel_trains_outside_of_the_checkout(installed: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"SEQRL_CACHE": str(tmp_path / "cache")}
    (tmp_path / "empty").mkdir()

    def run(*command: str) -> str:
        arguments = [str(installed / "bin" / command[0]), *command[1:]]
        done = subprocess.run(arguments, cwd=tmp_path / "empty", env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    for module in ("seqrl", "seqrl.tasks.captioning", "seqrl.metrics"):
        assert run("python", "-c", f"import {module}; print({module}.__file__)").startswith(str(installed))
    assert "control/cartpole_ppo" in run("seqrl", "list")
    run("seqrl", "train", "cartpole_ppo", "--num_updates=2", "--task.num_eval_episodes=2")
    assert "return_mean" in run("seqrl", "evaluate", "runs/cartpole_ppo", "--task.num_eval_episodes=2")
    small = [f"--task.data.scenes.num_{split}=12" for split in ("train", "dev", "test")]
    run("seqrl", "train", "captioning/scenes_xe", "--num_updates=2", *small)
    run("seqrl", "sample", "runs/scenes_xe")
    assert sorted(path.name for path in (tmp_path / "empty" / "runs").iterdir()) == ["cartpole_ppo", "scenes_xe"]
