"""A run that an earlier version made gets this version's names, and goes on to the bit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file, save_file

from seqrl.run import checkpoint, integrity, recovery, renames
from seqrl.run.cli import main
from seqrl.run.config import read_config
from seqrl.run.migrate import migrate
from seqrl.run.renames import Field, Tensor
from seqrl.run.train import resume, train

# A made-up history: what is on the right is what the toy has.
FIELDS = [
    Field("task.hidden", "task.wide", since="0.1"),
    Field("task.wide", "task.width", since="0.2"),
    Field("trainer.adam", "trainer.optimiser", since="0.2", types=("toy_for_runs:ToyTrainerConfig",)),
    Field("trainer.*.lr", "trainer.*.learning_rate", since="0.2"),
    Field("task.vocabulary", "task.vocabulary", since="0.2", values={"ABC": "abc"}),
    Field("trainer.useless", None, since="0.2", values={False: "dropped"}),
    Field("trainer.optimiser", "trainer.never", since="0.2", types=("another",)),
]
TENSORS = [Tensor(r"(^|\.)body\.", r"\1layers.", since="0.2")]


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renames, "FIELDS", FIELDS)
    monkeypatch.setattr(renames, "TENSORS", TENSORS)


def make_old(run: Path, tensor: Callable[[str], str]) -> None:
    """Write a run the way that an earlier version with the made-up names would have."""

    def old(tree: dict) -> None:
        task, trainer = tree["task"], tree["trainer"]
        task["hidden"] = task.pop("width")
        trainer["adam"] = trainer.pop("optimiser")
        trainer["adam"]["lr"] = trainer["adam"].pop("learning_rate")
        task["vocabulary"] = "ABC"
        trainer["useless"] = False

    tree = yaml.safe_load((run / "config.yaml").read_text())
    old(tree)
    (run / "config.yaml").write_text(integrity.sealed(yaml.safe_dump(tree)))
    for folder in (run / "checkpoints").iterdir():
        meta = json.loads((folder / "meta.json").read_text())
        names = {"task.width": "task.hidden", "trainer.optimiser.learning_rate": "trainer.adam.lr"}
        config = {names.get(name, name.replace("trainer.optimiser.", "trainer.adam.")): value for name, value in meta["config"].items()}
        config |= {"task.vocabulary": "ABC", "trainer.useless": False}
        (folder / "meta.json").write_text(json.dumps({**meta, "config": config}))
        weights = {tensor(name): value for name, value in load_file(folder / checkpoint.WEIGHTS).items()}
        save_file(weights, folder / checkpoint.WEIGHTS)
        integrity.write_sums(folder)


@pytest.fixture
def runs(toy_yaml: Path) -> tuple[Path, Path]:
    """Give a run of twelve updates, and the first eight of the same as an earlier version would have left them."""
    whole = read_config(toy_yaml, ["--name=whole"])
    train(whole, display=False)
    half = read_config(toy_yaml, ["--name=half"])
    train(half, display=False)
    shutil.rmtree(half.run_folder / "checkpoints" / "step_00000012")
    return whole.run_folder, half.run_folder


def test_an_old_run_goes_on_as_if_nothing_had_been_renamed(
    runs: tuple[Path, Path], table: None, same_run: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    whole, half = runs
    names = set(checkpoint_names(half))
    make_old(half, lambda name: f"body.{name}")
    with pytest.raises(ValueError, match="task.hidden: there is no such field; hidden is now width; `seqrl migrate RUN` rewrites a run"):
        resume(half, display=False, allow_code=True)
    before = (half / "config.yaml").read_bytes()
    renames.TENSORS[:] = [Tensor(r"^body\.", "", since="0.2")]
    assert main(["migrate", str(half)]) == 0
    said = capsys.readouterr().out
    for line in ("config.yaml: task.hidden -> task.wide", "task.wide -> task.width", "task.vocabulary: 'ABC' -> 'abc'"):
        assert line in said
    assert "trainer.useless: False is dropped" in said and "step_00000008: body." in said
    assert (half / "config.yaml.before").read_bytes() == before
    assert set(checkpoint_names(half)) == names
    assert not list(half.rglob(".*partial"))
    assert all(recovery.damage(folder) is None for folder in (half / "checkpoints").iterdir())
    assert main(["migrate", str(half)]) == 0
    assert capsys.readouterr().out == f"{half}: is up to date\n"
    resume(half, display=False, allow_code=True)
    same_run(whole, half)


def checkpoint_names(run: Path) -> list[str]:
    return list(load_file(checkpoint.find(run) / checkpoint.WEIGHTS))


def test_what_cannot_be_migrated_changes_nothing(tmp_path: Path, table: None) -> None:
    (tmp_path / "config.yaml").write_text("trainer: {type: x, useless: true}\n")
    with pytest.raises(ValueError, match=r"trainer.useless: is True; since 0.2 there is no such field, and nothing does what it did"):
        migrate(tmp_path)
    (tmp_path / "config.yaml").write_text("task: {hidden: 3, wide: 4}\n")
    with pytest.raises(ValueError, match="task.hidden: is task.wide since 0.1, which is set as well; keep one of them"):
        migrate(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != ".lock") == ["config.yaml"]
    with pytest.raises(FileNotFoundError, match="expected the folder of a run"):
        migrate(tmp_path / "nothing")


def test_messages_about_old_names_follow_the_whole_history(table: None) -> None:
    now = "`seqrl migrate RUN` rewrites a run"
    assert renames.what_became_of("task.hidden", ["width"]) == f"hidden is now width; {now}"
    assert renames.what_became_of("trainer.adam", ["optimiser"]) == f"adam is now optimiser; {now}"
    assert renames.what_became_of("trainer.adam", ["something"]) is None  # it is another trainer
    assert "deleted in 0.2" in str(renames.what_became_of("trainer.useless", []))
    assert renames.what_became_of("trainer.other", ["optimiser"]) is None


def test_a_field_that_moves_elsewhere_is_named_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renames, "FIELDS", [Field("trainer.*.eps", "trainer.limits.*.eps", since="0.2")])
    assert str(renames.what_became_of("trainer.adam.eps", [])).startswith("trainer.adam.eps is now trainer.limits.adam.eps; ")


def test_a_checkpoint_by_itself_is_migrated_with_the_configuration_in_it(runs: tuple[Path, Path], table: None, tmp_path: Path) -> None:
    """As those are that ship with the package."""
    make_old(runs[1], str)
    alone = tmp_path / "alone"
    shutil.copytree(checkpoint.find(runs[1]), alone)
    shutil.copy(runs[1] / "config.yaml", alone)
    integrity.write_sums(alone)
    assert migrate(alone) and not migrate(alone)
    assert recovery.damage(alone) is None and "hidden" not in (alone / "config.yaml").read_text() + (alone / "meta.json").read_text()


def test_each_entry_of_the_table_is_whole() -> None:
    assert all(entry.since and (entry.new is None or entry.new.count("*") == entry.old.count("*")) for entry in renames.FIELDS)
    assert all(entry.since for entry in renames.TENSORS)
