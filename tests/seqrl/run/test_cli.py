from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from seqrl.run.cli import _table, main


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_from_training_to_samples(toy_yaml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(["train", str(toy_yaml), "--seeds", "0,1", "--num_updates=4"], capsys)
    assert code == 0, err
    folder = tmp_path / "runs" / "toy_seed1"
    assert f"{folder}: 4 updates  score" in out and "toy_seed0 4/4" in out
    assert (folder / "figures" / "learning_curves.png").is_file()
    code, out, _ = run(["resume", str(folder), "--allow-code", "--num_updates=6", "--quiet"], capsys)
    assert code == 0 and f"{folder}: 6 updates" in out
    code, out, _ = run(["evaluate", str(folder), "--allow-code", "--split", "test"], capsys)
    assert code == 0 and "step_00000006 on test" in out and (folder / "evaluation_test.json").is_file()
    code, out, _ = run(["sample", str(folder), "--allow-code", "--count", "3", "--output", str(tmp_path / "s")], capsys)
    assert (
        code == 0 and out.endswith(f"{tmp_path / 's' / 'sample.txt'}\n") and (tmp_path / "s" / "sample.txt").read_text() == "sample\n" * 3
    )
    code, out, _ = run(["compare", str(folder), str(folder.with_name("toy_seed0")), "--metric", "dev/score"], capsys)
    assert code == 0 and "| toy  | 2 " in out
    code, out, _ = run(["show", str(folder), "--allow-code", "--task.width=9"], capsys)
    assert code == 0 and "  width: 9  # of the hidden layer." in out and "num_updates: 6" in out
    code, out, _ = run(["list", "--configs", str(tmp_path), "--runs", str(tmp_path / "runs")], capsys)
    out = " ".join(out.split())
    assert code == 0 and f"{toy_yaml} a toy" in out and f"{folder} step 6 dev/score" in out and "captioning (" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "absent.yaml"], "absent.yaml: there is no such file"),
        (["train", "TOY", "--num_updats=3"], "num_updats: there is no such field; did you mean 'num_updates'?"),
        (["train", "TOY", "--seed=x"], "seed: expected int, got str 'x'"),
        (["train", "TOY", "--seeds", "0,a"], "--seeds: expected numbers such as 0,1,2, got '0,a'"),
        (["train", "TOY", "--num_updates", "3"], "'--num_updates': expected --field=value; write --num_updates=VALUE"),
        (["train", "TOY", "--task.fail_at=1"], "reward: sample 3 is nan; expected finite numbers\n  while collecting for update 1"),
        (["train", "TOY", "--trackers=[wandv]"], "trackers: 'wandv' is not known; did you mean 'wandb'?"),
        (["resume", "absent"], "absent: expected the folder of a run"),
        (["evaluate", "absent"], "absent: there is no such folder"),
        (["sample", "absent", "--count", "0"], "--count: expected at least 1, got 0"),
        (["compare", "absent"], "absent"),
        (["list", "--foo"], "unknown argument '--foo'"),
    ],
)
def test_bad_input_has_a_message_and_exit_code_2(
    toy_yaml: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run([str(toy_yaml) if argument == "TOY" else argument for argument in arguments], capsys)
    assert code == 2
    assert message in err and err.startswith("seqrl: ") and "Traceback" not in err


def test_interruption_says_how_to_go_on(toy_yaml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TOY_SIGNAL", "2")
    monkeypatch.setenv("TOY_SIGNAL_AT", "3")
    code, _, err = run(["train", str(toy_yaml), "--quiet"], capsys)
    assert code == 130
    assert "interrupted after update 3; `seqrl resume " in err


def test_faults_of_ours_show_where(toy_yaml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import toy_for_runs

    monkeypatch.setattr(toy_for_runs.ToyTask, "build_policy", lambda self: 1 / 0)
    code, _, err = run(["train", str(toy_yaml)], capsys)
    assert code == 1 and "ZeroDivisionError" in err


def test_metrics_of_another_decoding_stand_beside_the_greedy_ones() -> None:
    assert _table({"bleu4": 0.25, "length": 9.0, "beam/bleu4": 0.5}).splitlines() == [
        "              greedy        beam",
        "  bleu4       0.2500      0.5000",
        "  length      9.0000",
    ]
    assert _table({"return_mean": 500.0}) == "  return_mean    500.0000"


def test_unknown_command_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["tran"])
    assert raised.value.code == 2


def test_command_of_another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    info = tmp_path / "somebody_else-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebody-else\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[seqrl.commands]\nshout = somebodys_shout\n")
    (tmp_path / "somebodys_shout.py").write_text(
        '"""Shout."""\ndef add_arguments(parser):\n    parser.add_argument("word")\ndef run(args):\n    print(args.word.upper())\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert run(["shout", "hello"], capsys)[:2] == (0, "HELLO\n")
    assert run(["shout", "hello", "--more"], capsys)[0] == 2
    assert "somebodys_shout" not in run_help(capsys)


def run_help(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as raised:
        main(["--help"])
    assert raised.value.code == 0
    return capsys.readouterr().out


def test_help_is_fast_because_torch_is_not_imported(toy_environment: Callable[..., dict[str, str]]) -> None:
    code = (
        "import sys; from seqrl.run import cli, config; cli.make_parser(['train']).format_help();"
        "print(*sorted({'torch', 'numpy', 'rich'} & set(sys.modules)))"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], env=toy_environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.strip() == "", done.stderr
    assert time.perf_counter() - start < 5  # generous: the machine may be busy
