"""Compare metrics of words and text with the packages that people use for them: agreement and captions a second.

    python benchmarks/text_metrics.py [--data ../shared/data] [--only rouge1,chrf] [--no-models]

Each row is about COCO's 1,000 captions with about five references each. Ours counted, numbered or encoded the references once, as a reward
does, and met no caption before; the peer is called as its users call it. One thread, CPU time (what else the machine does does not
count), three passes of both in turn, of which the medians are kept. Figures of a corpus are timed as a whole.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np
from provenance import RESULTS, add_arguments, provenance, require_clean, write_results

from seqrl.metrics.by_name import metric_by_name
from seqrl.metrics.embedding import PreparedEmbeddings
from seqrl.metrics.packaged_models import packaged_model
from seqrl.metrics.sentence_encoder import SentenceEncoder
from seqrl.run.interrupt import run_command

ROOT = Path(__file__).resolve().parent.parent
PASSES = 3


@dataclass(frozen=True)
class Contest:
    """What is timed: ours and, where there is one, the peer; each gives its scores."""

    peer_name: str
    ours: Callable[[], Any]
    peer: Callable[[], Any] | None = None


def read_captions(data: Path) -> tuple[list[str], list[list[str]]]:
    rows = json.loads((data / "coco_metrics" / "captions_1000.json").read_text())
    return [row["test"] for row in rows], [row["refs"] for row in rows]


def prepared_scores(name: str, texts: list[str], references: list[list[str]]) -> Callable[[], Any]:
    prepared = metric_by_name(name).prepare_words([[text.split() for text in rows] for rows in references])
    words, items = [text.split() for text in texts], list(range(len(texts)))
    return lambda: prepared.score(words, items)


def rouge(name: str, texts: list[str], references: list[list[str]]) -> Contest:
    from rouge_score.rouge_scorer import RougeScorer

    kind = {"rouge1": "rouge1", "rouge2": "rouge2", "rouge_lsum": "rougeLsum"}[name]
    scorer = RougeScorer([kind])
    pairs = list(zip(texts, references, strict=True))
    return Contest(
        "rouge-score", prepared_scores(name, texts, references), lambda: [scorer.score_multi(rs, h)[kind].fmeasure for h, rs in pairs]
    )


def sacrebleu(name: str, texts: list[str], references: list[list[str]]) -> Contest:
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.metrics.ter import TER

    metric = {"chrf": CHRF, "ter": TER}[name]()
    pairs = list(zip(texts, references, strict=True))
    return Contest("sacrebleu", prepared_scores(name, texts, references), lambda: [metric.sentence_score(h, rs).score for h, rs in pairs])


def edits(name: str, texts: list[str], references: list[list[str]]) -> Contest:
    from nltk.metrics.distance import edit_distance

    words = [(text.split(), [row.split() for row in rows]) for text, rows in zip(texts, references, strict=True)]
    by_length = name == "wer"
    return Contest(
        "nltk",
        prepared_scores(name, texts, references),
        lambda: [min(edit_distance(h, r) / (len(r) if by_length else 1) for r in rs) for h, rs in words],
    )


def alone(name: str, texts: list[str], references: list[list[str]]) -> Contest:
    return Contest("", prepared_scores(name, texts, references))


def of_a_corpus(name: str, texts: list[str], references: list[list[str]]) -> Contest:
    metric = metric_by_name(name)
    if name == "self_cider":  # the five references of an image are its captions
        return Contest("", lambda: [metric.corpus(references, references)] * len(texts))
    return Contest("", lambda: [metric.corpus(texts)] * len(texts))


def embedding(name: str, texts: list[str], references: list[list[str]]) -> Contest:
    from sentence_transformers import SentenceTransformer

    peer = SentenceTransformer(str(packaged_model("all-minilm-l6-v2")), device="cpu")
    flat = peer.encode([text for rows in references for text in rows], batch_size=64, normalize_embeddings=True)
    encoded = np.split(flat, np.cumsum([len(rows) for rows in references])[:-1])
    prepared = PreparedEmbeddings(SentenceEncoder("all-minilm-l6-v2"), references)  # which keeps nothing

    def peer_scores() -> Any:
        vectors = peer.encode(texts, batch_size=64, normalize_embeddings=True)
        return [float((rows @ vector).max()) for rows, vector in zip(encoded, vectors, strict=True)]

    return Contest("sentence-transformers", lambda: prepared.score(texts, range(len(texts))), peer_scores)


CONTESTS: dict[str, Callable[[str, list[str], list[list[str]]], Contest]] = {
    **dict.fromkeys(("rouge1", "rouge2", "rouge_lsum"), rouge),
    **dict.fromkeys(("chrf", "ter"), sacrebleu),
    **dict.fromkeys(("edit_distance", "wer"), edits),
    **dict.fromkeys(("exact_match", "slot_error"), alone),
    **dict.fromkeys(("distinct1", "distinct2", "vocabulary", "self_cider"), of_a_corpus),
    "embedding": embedding,
}
NEED_MODELS = ("embedding",)


def seconds(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def measure(name: str, texts: list[str], references: list[list[str]]) -> dict[str, Any]:
    contest = CONTESTS[name](name, texts, references)
    scores = np.asarray(contest.ours(), np.float64)  # compiles what is compiled
    times: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(PASSES):
        times["ours"].append(seconds(contest.ours))
        if contest.peer is not None:
            times["peer"].append(seconds(contest.peer))
    row: dict[str, Any] = {"ours_per_s": len(texts) / statistics.median(times["ours"])}
    if contest.peer is not None:
        row |= {
            "peer": contest.peer_name,
            "peer_per_s": len(texts) / statistics.median(times["peer"]),
            "ratio": statistics.median(times["peer"]) / statistics.median(times["ours"]),
            "largest_difference": float(np.abs(scores - np.asarray(contest.peer(), np.float64)).max()),
        }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEQRL_DATA", ROOT.parent / "shared" / "data")))
    parser.add_argument("--only", default=",".join(CONTESTS), help="names with commas between")
    parser.add_argument("--no-models", action="store_true", help="leave out what needs a model")
    parser.add_argument("--output", type=Path, default=RESULTS / "text_metrics.json")
    add_arguments(parser)
    args = parser.parse_args()
    require_clean(allow_dirty=args.allow_dirty)
    texts, references = read_captions(args.data)
    names = [name for name in args.only.split(",") if not (args.no_models and name in NEED_MODELS)]
    report: dict[str, Any] = {
        "provenance": provenance([], threads=1),
        "captions": len(texts),
        "references": sum(map(len, references)),
        "passes": PASSES,
        "metrics": {},
    }
    for name in names:
        row = report["metrics"][name] = measure(name, texts, references)
        compared = (
            f"  {row['peer']} {row['peer_per_s']:9,.0f}/s  ratio {row['ratio']:6.1f}  largest difference {row['largest_difference']:.1e}"
            if "peer" in row
            else ""
        )
        print(f"{name:14s} ours {row['ours_per_s']:11,.0f}/s{compared}", flush=True)
    write_results(args.output, report)
    print(f"written to {args.output}")


if __name__ == "__main__":
    sys.exit(run_command(main, name="text_metrics.py"))
