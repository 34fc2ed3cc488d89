"""The demonstration: small and in one process in the fast tier, with its processes and as users see it in the slow one."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rich.console import Console

from seqrl.run import checkpoint
from seqrl.run.config import read_config
from seqrl.run.lock import hold
from seqrl.run.log import read_metrics
from seqrl.run.train import train
from seqrl.tasks.captioning.demo import demonstration
from seqrl.tasks.captioning.demo.__main__ import main
from seqrl.tasks.captioning.demo.demonstration import Demonstration
from seqrl.tasks.captioning.demo.plan import CONTROL, END_S, FIRST, LIVE, Pace, Plan
from seqrl.tasks.captioning.demo.processes import Stage
from seqrl.tasks.captioning.demo.report import Outcome, opening, rows, template_line
from seqrl.tasks.captioning.demo.screen import Track, picture

SMALL = ["--task.images_per_batch=4", "--task.policy.dim=16", "--task.policy.num_layers=1"]
SMALL += [f"--task.data.scenes.{name}={count}" for name, count in {"num_train": 24, "num_dev": 14, "num_test": 14}.items()]
SMALL_FROM_SCRATCH = ["--from-scratch", "--updates=3", "--cross-entropy-updates=4", *SMALL]


def in_this_process(stages: list[Stage], show: Callable[[], None]) -> None:
    for stage in stages:
        path, *overrides = [argument for argument in stage.command[4:] if argument not in ("--quiet", "--overwrite")]
        train(read_config(path, overrides), overwrite=True, display=False)


def test_two_in_one_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second one must not delete the first one's plan."""
    with ThreadPoolExecutor(1) as other, hold(tmp_path / "demo"):
        (tmp_path / "demo" / "plan.json").write_text("{}")
        assert other.submit(main, ["--folder", str(tmp_path / "demo")]).result() == 2
        assert (tmp_path / "demo" / "plan.json").exists()
    assert "demo: is in use by process" in capsys.readouterr().err


@pytest.mark.slow
def test_small_demo_writes_table_and_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(demonstration, "run_side_by_side", in_this_process)
    small = tmp_path / "demo"
    assert main(["--folder", str(small), *SMALL_FROM_SCRATCH]) == 0
    table = capsys.readouterr().out
    assert (
        "CIDEr-D" in table
        and ["before", "control", "after"] in [line.split() for line in table.splitlines()]
        and "Most frequent opening" in table
    )
    for name in ("gallery.png", "gallery.html", "learning_curves.png"):
        assert (small / "figures" / name).stat().st_size > 5_000
    page = (small / "figures" / "gallery.html").read_text(encoding="utf-8")
    assert page.count("<figure>") == 12 and "http" not in page.replace("http://www.w3.org", "")
    # Both stages start from the weights that cross-entropy ended with.
    best = checkpoint.read_meta(checkpoint.find(small / FIRST, prefer_best=True))["evaluation"]["cider_d"]
    for name in (LIVE, CONTROL):
        assert read_metrics(small / name)[0]["dev/cider_d"] == pytest.approx(best, rel=1e-6)
    # Finished stages are not trained again.
    assert main(["--folder", str(small), "--resume"]) == 0
    again = capsys.readouterr().out
    assert (
        table[table.index("Greedy captions") : table.index(" in all")].splitlines()[:-1]
        == (again[again.index("Greedy captions") : again.index(" in all")].splitlines()[:-1])
    )


def outcome(label: str, cider_d: float, captions: Sequence[str] = ("a red ball", "a blue star")) -> Outcome:
    metrics = {"cider_d": cider_d, "bleu4": 0.25, "length": 3.0, "bad_endings": 0.0, "distinct": 1.0}
    return Outcome(label, metrics, [caption.split() for caption in captions], [1.0, 2.0], 10.0)


def test_table_compares_with_before() -> None:
    table = dict(rows([outcome("before", 1.6), outcome("control", 1.52), outcome("after", 2.4)]))
    assert table["CIDEr-D"] == ["1.600", "1.520", "2.400"]
    assert table["  gain"] == ["", "-5%", "+50%"]
    assert table["different captions"] == ["100%"] * 3


def test_a_template_is_named() -> None:
    same = ["we see a ball", "we see a star", "we see two moons", "a moon is here"]
    assert opening([caption.split() for caption in same]) == ("we see", 0.75)
    assert "one template" in template_line([outcome("before", 1.0), outcome("after", 2.0, same)])
    assert "one template" not in template_line([outcome("before", 1.0), outcome("after", 2.0, ("a b", "b c", "c d"))])


def test_updates_follow_the_pace() -> None:
    # One second for each evaluation of 500 images: 21 of 200 and 2 of 500.
    pace = Pace(start_s=5.0, evaluate_s=1.0, update_s={LIVE: 0.4, CONTROL: 0.1})
    assert pace.fixed_s() == pytest.approx(5 + 21 * 0.4 + 2 * 1.0 + END_S)
    left = 240.0
    assert pace.fitting_updates(left) == 200
    slow = Pace(5.0, 1.0, {LIVE: 1.0, CONTROL: 0.25})
    assert slow.fitting_updates(left) == int((left - slow.fixed_s()) / 1.25) // 25 * 25 < 200
    assert slow.total_s(slow.fitting_updates(left)) <= left < slow.total_s(slow.fitting_updates(left) + 25)
    assert slow.fitting_updates(10.0) == 50  # fewer would show nothing
    assert pace.control_updates(100) == 420  # 100 x 0.4 s and 5% more, at 0.1 s


def test_a_plan_comes_back(tmp_path: Path) -> None:
    plan = Plan(3, ["--task.images_per_batch=4"], True, None, 2.5, {LIVE: 7}, {FIRST: 5})
    plan.write(tmp_path / "demo")
    assert Plan.read(tmp_path / "demo") == plan


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume"], "no demonstration to go on with"),
        (["--resume", "--seed=1", "--from-scratch"], "expected --folder at most"),
        (["--from-scratch", "--checkpoint=runs/other"], "expected one of them"),
        (["--checkpoint=runs/none"], "there is no such folder"),
        (["--from-scratch", "--num_updates=5"], "use --updates"),
    ],
)
def test_bad_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main(["--folder", str(tmp_path / "demo"), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_curves_stand_below_the_bars_on_one_scale() -> None:
    scores = {LIVE: [1.0, 8.0], CONTROL: [2.0, 2.0]}
    tracks = [Track(name, Path(), num_updates=4, step=2, scores=scores[name]) for name in scores]
    console = Console(file=io.StringIO(), width=120)
    console.print(picture(tracks, ascii_only=False))
    lines = [line.split() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert [line[-1] for line in lines[:2]] == ["(+700%)", "(+0%)"] and lines[0][0] == "self-critical" and "2/4" in lines[1]
    assert lines[2:] == [["self-critical", "▁█"], ["control", "▂▂"]]


@pytest.mark.slow
def test_self_critical_training_says_more_that_is_true_and_beats_more_cross_entropy(tmp_path: Path) -> None:
    outcomes = Demonstration(tmp_path / "demo", Plan(seed=0, overrides=[])).run()
    before, control, after = (outcomes[label].metrics for label in ("before", "control", "after"))
    assert after["cider_d"] >= 1.3 * max(before["cider_d"], control["cider_d"])
    assert after["facts_right"] >= 1.1 * before["facts_right"]
    assert after["facts_right_share"] >= before["facts_right_share"] - 0.02
    assert after["facts_left_out"] < min(before["facts_left_out"], control["facts_left_out"])
    assert after["bad_endings"] <= 0.02
    # The control had its time.
    assert outcomes["control"].seconds >= 0.8 * outcomes["after"].seconds
