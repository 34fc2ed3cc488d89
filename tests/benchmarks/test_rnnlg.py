"""The benchmark of responses: its figures on a small domain by hand, a small training from start to file, and its table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("SEQRL_DATA", ROOT.parent / "shared" / "data"))


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "rnnlg").is_dir(), reason=f"needs the folder {DATA / 'rnnlg'}; SEQRL_DATA names another one")
def test_trains_scores_and_writes_and_goes_on(tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    command = [
        sys.executable,
        "benchmarks/rnnlg.py",
        "--train=hotel",
        "--seeds=3",
        "--stages=xe",
        "--num_updates=2",
        f"--folder={tmp_path}",
    ]
    command += [f"--output={output}", "--allow-dirty"]
    settings = {**os.environ, "SEQRL_DATA": str(DATA), "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=settings)
    first = json.loads(output.read_text())
    assert [(row["stage"], row["seed"], row["updates"]) for row in first["rows"]] == [("xe", 3, 2)]
    assert all(0 <= row[split]["bleu"] <= 1 and row[split]["err"] >= 0 for row in first["rows"] for split in ("dev", "test"))
    assert 0.4 < first["hand_crafted"]["hotel"]["bleu"] < 0.7 and first["published"]["hotel"]["SC-LSTM"] == [0.8482, 3.07]
    again = subprocess.run([*command, "--finished"], cwd=ROOT, capture_output=True, text=True, check=True, env=settings)
    assert json.loads(output.read_text())["rows"] == first["rows"] and "hotel_xe_3" in again.stdout


def test_the_table_compares_seed_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from blocks.rnnlg import rnnlg  # type: ignore[import-not-found]

    def scores(bleu: float, err: float) -> dict[str, float]:
        return {"bleu": bleu, "err": err, "delexicalised_err": err / 2, "one_best_sacrebleu": 100 * bleu}

    rows = [("xe", 0, 0.75, 0.4), ("xe", 1, 0.76, 0.2), ("sc", 0, 0.78, 0.1), ("sc", 1, 0.775, 0.1)]
    found = {
        "rows": [{"domain": "hotel", "stage": stage, "seed": seed, "test": scores(bleu, err)} for stage, seed, bleu, err in rows],
        "published": {"restaurant": {"n-gram": [0.6, 8.0]}, "hotel": {"SC-LSTM": [0.8482, 3.07]}},
        "hand_crafted": {"hotel": scores(0.5, 4.0)},
    }

    class Files:
        def read(self, name: str) -> object:
            return found

    text = rnnlg(Files())
    assert "restaurant" not in text and "| SC-LSTM, published | 0.8482 | 3.07 |" in text
    assert "| transformer, cross-entropy | 0.7550 (0.7500 to 0.7600) | 0.30 (0.20 to 0.40) |" in text
    assert "| 75.5 (75.0 to 76.0) | 0, 1 |" in text
    assert "self-critical on BLEU - slot errors, seed by seed: BLEU +0.0300, +0.0150; slot errors times 0.25, 0.50." in text
