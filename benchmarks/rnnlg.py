"""RNNLG's BLEU-4 and slot error rate of a run, as its toolkit counts them: 20 candidates a line by a beam of 10, the best 5 pooled.

python benchmarks/rnnlg.py runs/restaurant_xe                # beside the toolkit's own table
python benchmarks/rnnlg.py --domain restaurant               # the hand-crafted responses of the data alone
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import torch

from seqrl.n_best import n_best
from seqrl.run.interrupt import run_command
from seqrl.run.train import load
from seqrl.tasks.text.rnnlg import Rnnlg
from seqrl.tasks.text.rnnlg_scores import best_responses, score_responses

DATA = Path(os.environ.get("SEQRL_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / "rnnlg"
# The toolkit's table: BLEU, slot errors in percent.
PUBLISHED = {
    "restaurant": {"SC-LSTM": (0.7525, 0.38), "encoder-decoder": (0.7398, 2.78), "n-gram": (0.6422, 8.73)},
    "hotel": {"SC-LSTM": (0.8482, 3.07), "encoder-decoder": (0.8549, 4.69)},
}
BEAM, CANDIDATES, POOLED = 10, 20, 5


def responses(policy: Any, task: Any, data: Rnnlg, split: str) -> list[list[str]]:
    """Write the best responses to every line; lines with the same delexicalised act share their candidates."""
    part, found = task.splits[split], dict[str, list[tuple[str, float]]]()
    for start in range(0, len(part), 32):
        rows = part.rows(slice(start, start + 32))
        for index, best in enumerate(n_best(policy, {"image": rows}, beam_size=BEAM, num_rows=CANDIDATES), start):
            texts = [(" ".join(task.vocabulary.decode(row)), logp) for row, logp in best]
            found[part.pairs.prompts[index]] = texts
    return [best_responses(data, line.act, found[data.prompt(line.act)], POOLED) for line in data.lines[split]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--domain", choices=sorted(PUBLISHED), help="without a run: whose hand-crafted responses are scored")
    parser.add_argument("--split", choices=("dev", "test"), default="test")
    given = parser.parse_args()
    if (given.run is None) == (given.domain is None):
        parser.error("expected a run or --domain")
    rows: dict[str, tuple[float, float]] = {}
    if given.run is None:
        data = Rnnlg(DATA, given.domain)
        figures = score_responses(data, data.lines[given.split], [[line.baseline] for line in data.lines[given.split]])
        rows["hand-crafted"] = (figures.bleu, 100 * figures.error)
    else:
        _, task, policy, _ = load(given.run)
        data = Rnnlg(DATA, task.config.data.domain)
        with torch.no_grad():
            figures = score_responses(data, data.lines[given.split], responses(policy, task, data, given.split))
        rows[given.run.name] = (figures.bleu, 100 * figures.error)
    for name, (bleu, error) in {**rows, **PUBLISHED[data.domain]}.items():
        print(f"{name:24} BLEU {bleu:.4f}  ERR {error:5.2f}%")
    print(f"delexicalised slots alone: ERR {100 * figures.delexicalised_error:.2f}%")


if __name__ == "__main__":
    sys.exit(run_command(main, name="rnnlg.py"))
