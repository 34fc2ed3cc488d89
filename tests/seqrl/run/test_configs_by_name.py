"""Configurations are found by name from any folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqrl.run.cli import main
from seqrl.run.config import read_config
from seqrl.run.configs import find_config

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "configs" / "control" / "cartpole_ppo.yaml"


@pytest.mark.parametrize(
    "name",
    ["cartpole_ppo", "cartpole_ppo.yaml", "control/cartpole_ppo", "configs/control/cartpole_ppo.yaml", "./configs/control/cartpole_ppo"],
)
def test_shipped_configs_are_found_from_any_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config(name).samefile(FILE)
    assert read_config(name).name == "cartpole_ppo"


def test_a_file_of_ones_own_wins_by_its_path_and_its_name_alone_is_ambiguous(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = Path("configs/control/cartpole_ppo.yaml")
    own.parent.mkdir(parents=True)
    own.write_text("name: mine\n", encoding="utf-8")
    assert find_config("configs/control/cartpole_ppo.yaml") == own
    for name in ("cartpole_ppo", "control/cartpole_ppo"):
        with pytest.raises(ValueError, match=f"several .*{own}, .*{FILE}"):
            find_config(name)
    Path("configs/poem.yaml").write_text("name: poem\n", encoding="utf-8")
    assert find_config("poem") == Path("configs/poem.yaml")


def test_in_a_checkout_no_name_is_ambiguous_with_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert find_config("cartpole_ppo").samefile(FILE)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cartpole_pp", "did you mean control/cartpole_ppo"),
        ("captioning/scenes_ex", "did you mean captioning/scenes_xe"),
        ("configs/captioning/scenes_ex.yaml", "did you mean captioning/scenes_xe"),
        ("zzzzzzzz", "`seqrl list` names those at hand"),
    ],
)
def test_a_miss_names_the_nearest(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("train", "show"):
        assert main([command, name]) == 2
        assert message in capsys.readouterr().err


def test_show_and_list_know_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["show", "captioning/scenes_xe"]) == 0
    assert "scenes_xe" in capsys.readouterr().out
    assert main(["list"]) == 0
    assert "\n  control/cartpole_ppo " in capsys.readouterr().out
    (tmp_path / "cartpole_ppo").mkdir()  # a folder of this name that holds no run
    assert main(["show", "cartpole_ppo"]) == 0
