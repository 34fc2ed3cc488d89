"""The demonstration: small in the fast tier, as users see it in the slow one."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqrl.run.log import read_metrics
from seqrl.tasks.captioning.demo import STAGES, run_demo

SMALL = ["--steps=4", "--eval_every=2", "--task.images_per_batch=4"]
SMALL += [f"--task.data.scenes.{name}={count}" for name, count in {"num_train": 24, "num_dev": 14, "num_test": 14}.items()]


def test_small_demo_writes_table_and_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path / "cache"))
    figures = run_demo(tmp_path / "demo", overrides=SMALL)
    assert set(figures) == set(STAGES)
    assert "CIDEr-D" in capsys.readouterr().out
    for name in ("gallery.png", "gallery.html", "learning_curves.png"):
        assert (tmp_path / "demo" / "figures" / name).stat().st_size > 5_000
    page = (tmp_path / "demo" / "figures" / "gallery.html").read_text(encoding="utf-8")
    assert page.count("<figure>") == 12 and "http" not in page.replace("http://www.w3.org", "")
    # Self-critical training starts from the weights that cross-entropy ended with.
    first, last = read_metrics(tmp_path / "demo" / "self_critical")[0], read_metrics(tmp_path / "demo" / "cross_entropy")
    best = max(line["dev/cider_d"] for line in last if "dev/cider_d" in line)
    assert first["dev/cider_d"] == pytest.approx(best, rel=1e-6)


@pytest.mark.slow
def test_self_critical_training_raises_cider_d_and_beats_more_cross_entropy(tmp_path: Path) -> None:
    figures = run_demo(tmp_path / "demo", overrides=["--num_threads=1", "--trainer.optimiser.precision=fp32"])
    before, control, after = (figures[name]["cider_d"] for name in ("cross_entropy", "more_cross_entropy", "self_critical"))
    assert after >= 1.15 * before
    assert after > control
    assert figures["self_critical"]["bad_endings"] <= 0.02
