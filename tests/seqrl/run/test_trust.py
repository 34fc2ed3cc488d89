"""Somebody else's run folder runs no code, and overwrites nothing outside of itself, unless the user says so."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from seqrl.run import trust
from seqrl.run.cli import main

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = [["evaluate"], ["sample"], ["record"], ["resume", "--quiet"], ["show"], ["train", "--quiet"]]
EVIL = 'from pathlib import Path\nPath("{marker}").write_text("ran")\n'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An honest run."""
    folder = tmp_path_factory.mktemp("made")
    settings = [
        "--num_updates=1",
        "--task.num_steps=4",
        "--task.num_eval_episodes=2",
        "--num_threads=1",
        f"--runs_folder={folder}",
        "--quiet",
    ]
    assert main(["train", "control/cartpole_ppo", *settings]) == 0
    return folder / "cartpole_ppo"


@pytest.fixture
def stranger(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same run as it came from somebody else, who has put a module beside it; the user stands elsewhere."""
    folder = tmp_path / "downloads" / "cartpole_ppo"
    shutil.copytree(made, folder)
    code = EVIL.format(marker=tmp_path / "marker")
    for name in ("evil.py", "evil_package/__init__.py", "evil_package/part.py", "evilspace/part.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(code, encoding="utf-8")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield folder
    assert str(folder) not in sys.path or Path.cwd() == folder
    for name in set(sys.modules) - before:
        if name.startswith("evil") or name == "mine":
            del sys.modules[name]


def change(folder: Path, **values: Any) -> None:
    path = folder / "config.yaml"
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, value in values.items():
        node = tree
        *parents, last = name.split("__")
        for parent in parents:
            node = node[parent]
        node[last] = value
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")


def call(command: list[str], folder: Path, *more: str) -> int:
    name, *options = command
    return main([name, str(folder / "config.yaml" if name == "train" else folder), *options, *more])


NAMES = {
    "task": {"task": {"type": "evil:Config"}},
    "trainer": {"trainer": {"type": "evil:Config"}},
    "package": {"task": {"type": "evil_package.part:Config"}},
    "namespace": {"task": {"type": "evilspace.part:Config"}},
    "a list": {"task": {"type": ["evil:Config"]}},
    "within one of ours": {"task": {"type": "seqrl.run.config:RunConfig", "name": "x", "num_updates": 1, "task": {"type": "this:Zen"}}},
    "within one of a list": {"task__environment_options": {"rooms": [{"type": "evil:Config"}]}},
    "reward": {"task": {"type": "captioning", "reward": {"function": "evil:reward"}}},
    "metrics": {"task": {"type": "captioning", "evaluation": {"metrics": ["cider_d", "evil:metric"]}}},
    "policy": {"task": {"type": "captioning", "policy": {"type": "evil:build"}}},
    "encoder": {"task": {"type": "captioning", "policy": {"encoder": "evil:build"}}},
    "policy of environments": {"task__policy": {"type": "evil:build"}},
    "policy of glimpses": {"task": {"type": "attention", "policy": {"type": "evil:build"}}},
    "environment": {"task__environment": "evil:MyEnv-v0"},
    "environment behind a known module": {"task__environment": "ale_py:evil:MyEnv-v0"},
    "class of a library": {"task": {"type": "this:Zen"}},
    "reached through us": {"task": {"type": "seqrl.run.train:shutil.rmtree"}},
    "not a class": {"task": {"type": "seqrl.run.checkpoint:prune", "run_folder": "/nowhere", "keep": 0}},
    "without colon": {"task": {"type": "evil"}},
}


@pytest.mark.parametrize("where", ["elsewhere", "inside"])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("name", NAMES)
def test_what_a_run_names_is_not_imported(
    name: str,
    command: list[str],
    where: str,
    stranger: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(stranger, **NAMES[name])
    if where == "inside":
        monkeypatch.chdir(stranger)
    # `show` only prints a name of an environment.
    harmless = command == ["show"] and name == "environment behind a known module"
    assert call(command, stranger) == (0 if harmless else 2)
    err = capsys.readouterr().err
    assert harmless or (err.startswith("seqrl: ") and "Traceback" not in err)
    assert not (tmp_path / "marker").exists() and "this" not in sys.modules
    assert not any(module.startswith("evil") for module in sys.modules)
    named = ("task", "trainer", "package", "reward", "metrics", "policy", "encoder", "policy of environments", "environment")
    if name in named and where == "inside":
        file = stranger / ("evil_package/part.py" if name == "package" else "evil.py")
        assert "--allow-code" in err and str(file) in err


def test_who_reads_no_more_than_metrics_and_weights_imports_nothing(stranger: Path, tmp_path: Path) -> None:
    change(stranger, task={"type": "evil:Config"}, trainer={"type": "evil:Config"})
    weights = [f"--init_from={stranger}", "--num_updates=0", "--num_threads=1", "--quiet"]
    for command in (["list", "--runs", str(stranger.parent)], ["compare", str(stranger)], ["train", "control/cartpole_ppo", *weights]):
        assert main(command) == 0
    assert not (tmp_path / "marker").exists() and not any(module.startswith("evil") for module in sys.modules)


def test_with_permission_it_is_imported_from_where_the_users_code_is(
    stranger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    change(stranger, task__environment="evil:CartPole-v1")
    assert call(["evaluate"], stranger, "--allow-code") == 2  # the run's own folder is never searched
    assert "no module 'evil'" in capsys.readouterr().err and not (tmp_path / "marker").exists()
    monkeypatch.chdir(stranger)
    assert call(["evaluate"], stranger, "--allow-code") == 0
    assert (tmp_path / "marker").exists()


def test_what_the_user_types_needs_no_permission(stranger: Path, tmp_path: Path) -> None:
    shutil.move(stranger / "evil.py", "mine.py")
    assert call(["evaluate"], stranger, "--task.environment=mine:CartPole-v1") == 0
    assert (tmp_path / "marker").exists()


def test_a_config_of_ones_own_needs_no_permission(stranger: Path, tmp_path: Path) -> None:
    shutil.move(stranger / "evil.py", "mine.py")
    shutil.copy(stranger / "config.yaml", "mine.yaml")
    text = Path("mine.yaml").read_text(encoding="utf-8").replace("CartPole-v1", "mine:CartPole-v1")
    Path("mine.yaml").write_text(text.replace(str(yaml.safe_load(text)["runs_folder"]), "runs"), encoding="utf-8")
    assert main(["train", "mine.yaml", "--quiet"]) == 0
    assert (tmp_path / "marker").exists()


def test_components_of_installed_packages_need_no_permission(stranger: Path) -> None:
    change(stranger, task__environment="seqrl.tasks.control.masked_cartpole:CartPole-v1")
    tree = yaml.safe_load((stranger / "config.yaml").read_text(encoding="utf-8"))
    change(stranger, task={**tree["task"], "type": "seqrl.tasks.control.task:ControlConfig"})
    assert call(["evaluate"], stranger) == 0


@pytest.mark.slow
def test_folders_with_the_names_of_packages_stand_in_for_none(stranger: Path, tmp_path: Path) -> None:
    code = EVIL.format(marker=tmp_path / "marker")
    for name in ("seqrl", "numpy", "torch", "yaml", "gymnasium", "tensorboard", "ale_py"):
        (stranger / name).mkdir()
        (stranger / name / "__init__.py").write_text(code, encoding="utf-8")
    for name in ("sitecustomize.py", "usercustomize.py", "conftest.py"):
        (stranger / name).write_text(code, encoding="utf-8")
    info = stranger / "evil-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[seqrl.tasks]\nevil = evil:Config\n[seqrl.commands]\nlist = evil\n", encoding="utf-8")
    # As the command is started, from within the folder: the scripts' folder stands first on the path.
    script = tmp_path / "seqrl"
    script.write_text(f"import sys\nsys.path.append({str(ROOT)!r})\nfrom seqrl.run.cli import main\nsys.exit(main())\n", encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([sys.executable, str(script), "evaluate", "."], cwd=stranger, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "marker").exists()


@pytest.mark.slow
def test_as_a_module_the_current_folder_comes_off_the_path(stranger: Path, tmp_path: Path) -> None:
    for name in ("json", "rich", "yaml"):
        (stranger / f"{name}.py").write_text(EVIL.format(marker=tmp_path / "marker"), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "seqrl", "list", "--runs", "."]
    done = subprocess.run(command, cwd=stranger, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("command", [*COMMANDS, ["compare"]], ids=lambda command: command[0])
def test_yaml_makes_no_objects(command: list[str], stranger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tag = f"!!python/object/apply:os.system ['touch {tmp_path / 'marker'}']"
    (stranger / "config.yaml").write_text(f"name: {tag}\n", encoding="utf-8")
    assert call(command, stranger) == 2
    assert "not valid YAML" in capsys.readouterr().err
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("text", ["name: &a {b: *a}\n", "task: &a {type: control, x: [*a]}\n"])
def test_mappings_that_hold_themselves_are_refused(text: str, stranger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (stranger / "config.yaml").write_text(text, encoding="utf-8")
    assert call(["evaluate"], stranger) == 2
    assert "holds itself" in capsys.readouterr().err


def test_links_in_a_circle_do_no_harm(stranger: Path) -> None:
    (stranger / "samples").symlink_to(stranger / "figures")
    (stranger / "figures").symlink_to(stranger / "samples")
    assert call(["evaluate"], stranger) == 0
    assert call(["sample"], stranger) == 2


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("file", ["trainer.pt", "model.safetensors", "meta.json"])
@pytest.mark.parametrize("form", ["torch", "plain"])
def test_pickles_in_a_checkpoint_are_refused(
    file: str, form: str, stranger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in stranger.rglob(file):
        if form == "torch":
            torch.save({"progress": Evil(tmp_path / "marker")}, path)
        else:
            path.write_bytes(pickle.dumps(Evil(tmp_path / "marker")))
    assert call(["resume"], stranger, "--num_updates=2", "--quiet") == 2
    assert file in capsys.readouterr().err
    call(["evaluate"], stranger)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "../../elsewhere"}, "expected the name of a folder below"),
        ({"name": "/elsewhere"}, "expected the name of a folder below"),
        ({"name": "."}, "expected the name of a folder below"),
        ({"runs_folder": "../elsewhere"}, "outside the current folder; say so yourself with --runs_folder=../elsewhere"),
    ],
)
def test_a_new_run_from_its_configuration_stays_below(
    values: dict[str, str], message: str, stranger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(stranger, **values)
    assert call(["train"], stranger, "--quiet", "--overwrite") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "elsewhere").exists()


def test_a_new_run_below_the_current_folder_needs_no_word(stranger: Path) -> None:
    change(stranger, runs_folder="runs")
    assert call(["train"], stranger, "--quiet", "--name=fine") == 0
    assert Path("runs/fine/metrics.jsonl").is_file()


@pytest.mark.parametrize("line", ["[]", "{}", '{"step": "x"}', '{"step": 3, "dev/return_mean": "high"}', "\x1b"])
def test_metrics_that_are_none_are_not_listed(line: str, stranger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (stranger / "metrics.jsonl").write_text(f"{line}\n", encoding="utf-8")
    assert main(["list", "--runs", str(stranger.parent)]) == 0
    assert str(stranger) in capsys.readouterr().out


def test_evaluate_and_resume_write_where_the_run_is(stranger: Path, tmp_path: Path) -> None:
    change(stranger, runs_folder=str(tmp_path / "elsewhere"), name="a/b", init_from=str(tmp_path / "nothing"))
    for command in (["evaluate"], ["sample"], ["resume", "--quiet"]):
        assert call(command, stranger) == 0
    assert not (tmp_path / "elsewhere").exists() and (stranger / "samples").is_dir()


@pytest.mark.parametrize("name", ["metrics.jsonl", "env.json", "evaluation_dev.json", "checkpoints", "samples", "figures", "deep/down"])
@pytest.mark.parametrize("command", COMMANDS[:4], ids=lambda command: command[0])
def test_links_that_lead_out_are_refused(
    name: str, command: list[str], stranger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine"
    if (stranger / name).is_dir():
        shutil.move(stranger / name, mine)
    elif name in ("samples", "figures", "deep/down"):
        mine.mkdir()
    else:
        mine.write_text("mine", encoding="utf-8")
        (stranger / name).unlink(missing_ok=True)
    (stranger / name).parent.mkdir(exist_ok=True)
    (stranger / name).symlink_to(mine)
    before = sorted(mine.rglob("*")) if mine.is_dir() else mine.read_text(encoding="utf-8")
    assert call(command, stranger) == 2
    assert f"{name}: is a link to {mine}" in capsys.readouterr().err
    assert before == (sorted(mine.rglob("*")) if mine.is_dir() else mine.read_text(encoding="utf-8"))


def test_overwrite_deletes_links_and_not_what_they_lead_to(stranger: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine", encoding="utf-8")
    (stranger / "samples").symlink_to(mine)
    (stranger / "checkpoints" / "step_00000009").symlink_to(mine)
    settings = [f"--runs_folder={stranger.parent}", "--num_updates=1", "--task.num_steps=4", "--quiet", "--num_threads=1"]
    assert main(["train", "control/cartpole_ppo", *settings, "--overwrite"]) == 0
    assert (mine / "thesis.txt").read_text(encoding="utf-8") == "mine"


def test_overwrite_deletes_nothing_where_no_run_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "project" / "samples").mkdir(parents=True)
    (tmp_path / "project" / "config.yaml").write_text("mine: true\n", encoding="utf-8")
    assert main(["train", "control/cartpole_ppo", "--runs_folder=.", "--name=project", "--overwrite", "--num_updates=1"]) == 2
    assert "holds config.yaml, samples, but no run" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "project").iterdir()) == ["config.yaml", "samples"]


def test_compare_writes_through_no_link(stranger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.json").write_text("mine", encoding="utf-8")
    folder = stranger.parent / "compare"
    folder.mkdir()
    (folder / "compare.json").symlink_to(tmp_path / "mine.json")
    assert main(["compare", str(stranger)]) == 2
    assert "compare.json: is a link" in capsys.readouterr().err
    assert (tmp_path / "mine.json").read_text(encoding="utf-8") == "mine"


def test_files_are_found_without_running_parents(stranger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stranger)
    assert list(trust.files_of("evil_package.part")) == [str(stranger / "evil_package" / name) for name in ("__init__.py", "part.py")]
    assert list(trust.files_of("evilspace.part")) == [str(stranger / "evilspace" / "part.py")]
    assert list(trust.files_of("absent.part")) == []
    assert list(trust.files_of("json.decoder"))[-1] == json.decoder.__file__
    assert not (tmp_path / "marker").exists() and "evil_package" not in sys.modules


# Each place of ours that imports by a name, and who decides on that name.
IMPORTS = {
    "seqrl/run/registry.py": "task.type, trainer.type: `code_of_types`; task.policy.type, .encoder: NAMES_CODE; commands: entry points",
    "seqrl/public_names.py": "our own names",
    "seqrl/trainers/ppo_config.py": "our own names",
    "seqrl/trainers/dqn_config.py": "our own names",
    "seqrl/trainers/league_config.py": "our own names",
    "seqrl/metrics/__init__.py": "our own names",
    "seqrl/metrics/by_name.py": "our own names",
    "seqrl/tasks/writing/reward_function.py": "reward.function, evaluation.metrics: marked with NAMES_CODE; in worker processes, too",
    "seqrl/tasks/control/environments.py": "task.environment: marked with NAMES_CODE",
}


def test_every_import_by_name_is_known() -> None:
    found = set()
    for folder, _, files in os.walk(ROOT / "seqrl", followlinks=True):
        for path in (Path(folder) / name for name in files if name.endswith(".py")):
            if any(
                word in path.read_text(encoding="utf-8")
                for word in ("import_module(", "__import__(", "pickle.load", ".load_module(", "exec(")
            ):
                found.add(path.relative_to(ROOT).as_posix())
    assert found == set(IMPORTS)
