from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from seqrl.run import registry


@pytest.fixture
def other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Someone else's installed package with a task of its own."""
    info = tmp_path / "somebody_else-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebody-else\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[seqrl.tasks]\npoetry = somebodys_poetry:PoetryConfig\nbroken = somebodys_poetry:Nothing\n")
    (tmp_path / "somebodys_poetry.py").write_text("class PoetryConfig:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_task_of_another_package_is_found_by_name(other_package: Path) -> None:
    found = registry.find(registry.TASKS, "poetry")
    assert found.__name__ == "PoetryConfig"
    assert registry.name_of(registry.TASKS, found) == "poetry"
    assert "poetry" in registry.registered(registry.TASKS)


def test_a_name_that_two_packages_give_is_refused_with_both(other_package: Path) -> None:
    info = other_package / "third_party-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text("[seqrl.tasks]\npoetry = third_partys_poetry:Config\n")
    said = "'poetry' .* is the name of somebodys_poetry:PoetryConfig of somebody-else and third_partys_poetry:Config of third-party"
    with pytest.raises(ValueError, match=said):
        registry.find(registry.TASKS, "poetry")
    assert registry.find(registry.TASKS, "somebodys_poetry:PoetryConfig").__name__ == "PoetryConfig"
    (info / "entry_points.txt").write_text("[seqrl.tasks]\npoetry = somebodys_poetry:PoetryConfig\n")
    assert registry.find(registry.TASKS, "poetry").__name__ == "PoetryConfig"


def test_unknown_names_get_the_nearest(other_package: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'poetry'"):
        registry.find(registry.TASKS, "poetri")
    with pytest.raises(ValueError, match="valid names: .*poetry"):
        registry.find(registry.TASKS, "zzzzzzzz")
    with pytest.raises(ValueError, match="has no 'Nothing'"):
        registry.find(registry.TASKS, "broken")


def test_class_that_is_not_registered_is_named_by_its_module() -> None:
    import toy_for_runs

    assert registry.name_of(registry.TASKS, toy_for_runs.ToyTaskConfig) == "toy_for_runs:ToyTaskConfig"


def test_function_of_other_arguments_is_refused_before_it_is_called() -> None:
    assert registry.call("task.policy.type", "posixpath:basename", "a/b") == "b"
    with pytest.raises(ValueError, match=r"type: expected posixpath:basename to take \(str, int\), but: too many positional"):
        registry.call("task.policy.type", "posixpath:basename", "1", 2)
    with pytest.raises(ValueError, match=r"take \(str, generator=\), but: got an unexpected keyword argument 'generator'"):
        registry.call("task.policy.type", "textwrap:dedent", "1", generator=2)


@pytest.mark.slow
def test_a_users_own_metrics_and_tasks_stay_theirs(tmp_path: Path) -> None:
    """Whoever has folders or files of these names in their project can import ours beside them."""
    (tmp_path / "metrics.py").write_text("THEIRS = True\n")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "__init__.py").write_text("THEIRS = True\n")
    (tmp_path / "mine.py").write_text(
        "import metrics, tasks, seqrl.metrics, seqrl.tasks.control\n"
        "from seqrl.run import registry\n"
        "assert metrics.THEIRS and tasks.THEIRS and seqrl.metrics.CiderD\n"
        "assert registry.find(registry.TASKS, 'control').__module__ == 'seqrl.tasks.control.task'\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(registry.__file__).parents[2])}
    subprocess.run([sys.executable, "mine.py"], cwd=tmp_path, env=environment, check=True)
