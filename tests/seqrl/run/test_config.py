from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from seqrl.run.config import EarlyStop, apply_overrides, decisive, explain, fingerprint, flatten, read_config, write_config
from seqrl.run.decode import encode
from seqrl.run.yaml_text import parse_yaml


def test_defaults_file_and_overrides(toy_yaml: Path) -> None:
    config = read_config(toy_yaml, ["--task.width=7", "--trainer.optimiser.betas=[0.5, 0.6]", "--early_stop.metric=score", "--name=7"])
    assert (config.name, config.seed, config.num_updates) == ("7", 0, 12)
    assert config.task.width == 7
    assert config.trainer.optimiser.betas == (0.5, 0.6)
    assert config.trainer.optimiser.learning_rate == 0.01
    assert config.early_stop == EarlyStop("score", 3, "max")


def test_what_is_written_reads_the_same(toy_yaml: Path, tmp_path: Path) -> None:
    config = read_config(toy_yaml, ["--task.width=7", "--early_stop={metric: score, patience: null}"])
    write_config(config, tmp_path / "again.yaml")
    assert read_config(tmp_path / "again.yaml") == config
    assert yaml.safe_load("\n".join(explain(config))) == encode(config)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--num_updtes=3", "num_updtes: there is no such field; did you mean 'num_updates'?"),
        ("--num_updates=many", "num_updates: expected int, got str 'many'"),
        ("--num_updates=-1", "num_updates: expected 0 or more, got -1"),
        ("--trainer.optimiser.learning_rte=1", "trainer.optimiser.learning_rte: there is no such field; did you mean 'learning_rate'?"),
        ("--task.type=captoining", "task.type: 'captoining' is not registered under seqrl.tasks"),
        ("--task.type=toy_for_runs:ToyTaskConfg", "has no 'ToyTaskConfg'; did you mean 'ToyTaskConfig'?"),
        ("--task.type=no_such_module:X", "needs the module 'no_such_module', which is neither installed nor in this folder"),
        ("--task=3", "task: expected a mapping with a `type`, got int 3"),
        ("--num_updates", "'--num_updates': expected --field=value; write --num_updates=VALUE"),
        ("num_updates=3", "'num_updates=3': expected --field=value"),
        ("--num_updates.more=3", "--num_updates.more=3: num_updates is 12, not a mapping of fields"),
        ("--name=../up", "name: expected the name of a folder below runs_folder, got '../up'"),
        ("--name=a\nb", r"name: expected the name of a folder below runs_folder, got 'a\nb'"),
        ("--eval_every=0", "early_stop: needs evaluations"),
        ("--early_stop.mode=most", "early_stop.mode: expected one of 'max', 'min', got str 'most'"),
        ("--early_stop.patience=0", "early_stop: patience: expected at least 1 or null, got 0"),
    ],
)
def test_message_names_file_and_field(toy_yaml: Path, override: str, message: str) -> None:
    with pytest.raises(ValueError) as raised:
        read_config(toy_yaml, ["--early_stop.metric=score", override])
    assert str(raised.value).startswith(f"{toy_yaml}: ")
    assert message in str(raised.value)


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        read_config(tmp_path / "absent.yaml")
    with pytest.raises(ValueError, match="got a folder"):
        read_config(tmp_path)
    for text, message in {
        "a: [": "not valid YAML",
        "- a": "expected a mapping of fields, got list",
        "name: x\nnum_updates: 1\nname: y": "the key 'name' stands in line 1 and again in line 3",
        "name: x\ntask: {type: toy, width: 3,\n  'width': 4}": "the key 'width' stands in line 2 and again in line 3",
        "a: \udcff": "not valid YAML",
        "a: !!python/object:os.system {}": "not valid YAML",
    }.items():
        (tmp_path / "bad.yaml").write_text(text, errors="surrogateescape")
        with pytest.raises(ValueError, match=message):
            read_config(tmp_path / "bad.yaml")
    (tmp_path / "few.yaml").write_text("name: x\nnum_updates: 1\ntask: {width: 3}\n")
    with pytest.raises(ValueError, match="task.type: is missing"):
        read_config(tmp_path / "few.yaml")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_files_of_every_encoding_read_the_same(toy_yaml: Path, tmp_path: Path, encoding: str, end: str) -> None:
    text = toy_yaml.read_text().replace("\n", end)
    (tmp_path / "other.yaml").write_bytes(text.encode(encoding))
    assert read_config(tmp_path / "other.yaml") == read_config(toy_yaml)


def test_yaml_may_merge_keys(tmp_path: Path) -> None:
    assert parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}") == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}}
    with pytest.raises(yaml.YAMLError, match="'x' stands in line 1 and again in line 1"):
        parse_yaml("{x: 1, x: 2}")


def test_overrides_leave_the_file_s_tree_alone() -> None:
    tree = {"a": {"b": 1}, "c": None}
    changed = apply_overrides(tree, ["--a.b=2", "--c.d.e=x"])
    assert tree == {"a": {"b": 1}, "c": None}
    assert flatten(changed) == {"a.b": "2", "c.d.e": "x"}


def test_fingerprint_follows_what_decides_the_course(toy_yaml: Path) -> None:
    config = read_config(toy_yaml)
    same = [read_config(toy_yaml, [override]) for override in ("--num_updates=99", "--name=other", "--eval_every=2")]
    other = [read_config(toy_yaml, [override]) for override in ("--seed=1", "--task.width=5", "--trainer.optimiser.learning_rate=1")]
    assert {fingerprint(one) for one in same} == {fingerprint(config)}
    assert len({fingerprint(one) for one in [config, *other]}) == 4
    assert decisive(config)["trainer.optimiser.learning_rate"] == 0.01
