"""Compare the speed and the values of the rewards on token ids with pycocoevalcap's Python, and prepare references at COCO's size.

    python benchmarks/rewards.py [--data ../shared/data] [--seeds 0,1,2] [--no-coco-size]

Each timing is of 80 captions of 16 images with 5 references each. The peer gets the same captions as strings and does
what training code does with it: it counts the references anew in every batch. Ours counted them once; its document
frequencies come from all 5,000 images, so for the comparison of values both use those of the 16 images. One thread.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = "1"

import numpy as np
from provenance import RESULTS, add_arguments, provenance, require_clean, write_results
from pycocoevalcap.bleu.bleu_scorer import BleuScorer
from pycocoevalcap.cider.cider_scorer import CiderScorer
from pycocoevalcap.rouge.rouge import Rouge

from seqrl.metrics.bleu import Bleu
from seqrl.metrics.cider import CiderD
from seqrl.metrics.document_frequency import DocumentFrequency
from seqrl.metrics.reference_index import ReferenceIndex
from seqrl.metrics.rouge import RougeL
from seqrl.metrics.rows import WordNumbers, pad_rows
from seqrl.metrics.tokenize import ptb_tokenize
from seqrl.run.interrupt import run_command

ROOT = Path(__file__).resolve().parent.parent
NUM_IMAGES, SAMPLES_AN_IMAGE, NUM_BATCHES = 16, 5, 50
COCO_IMAGES, COCO_CAPTIONS = 123_287, 616_767


def read_captions(path: Path) -> list[list[list[str]]]:
    by_image: dict[int, list[list[str]]] = {}
    for annotation in json.loads(path.read_text())["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(ptb_tokenize(annotation["caption"]))
    return [captions[:5] for captions in by_image.values()]


def sampled_captions(captions: list[list[list[str]]], images: np.ndarray, rng: np.random.Generator) -> list[list[str]]:
    """Draw captions as a policy might: a reference of the image with some words exchanged for words of other captions."""
    vocabulary = [word for rows in captions[:200] for row in rows for word in row]
    rows = []
    for image in np.repeat(images, SAMPLES_AN_IMAGE):
        row = list(captions[image][rng.integers(len(captions[image]))])
        for place in np.flatnonzero(rng.random(len(row)) < 0.4):
            row[place] = vocabulary[rng.integers(len(vocabulary))]
        rows.append(row)
    return rows


def rate(score: Callable[[Any], Any], batches: list[Any], num_captions: int, seconds: float = 1.5) -> float:
    """Give captions per second of CPU time (other work on the machine does not count): the median of the calls."""
    score(batches[0])
    calls: list[float] = []
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop or len(calls) < len(batches):
        batch = batches[len(calls) % len(batches)]
        start = time.process_time()
        score(batch)
        calls.append(time.process_time() - start)
    return num_captions / statistics.median(calls)


def peer_scores(name: str, hypotheses: list[str], references: list[list[str]]) -> np.ndarray:
    if name == "rouge_l":
        return np.array([Rouge().calc_score([h], rs) for h, rs in zip(hypotheses, references, strict=True)])
    scorer = CiderScorer(n=4, sigma=6.0) if name == "cider_d" else BleuScorer(n=4)
    for hypothesis, rows in zip(hypotheses, references, strict=True):
        scorer += (hypothesis, rows)
    if name == "cider_d":
        return scorer.compute_score()[1]
    return np.array(scorer.compute_score(option="closest")[1][3])


def compare(captions: list[list[list[str]]], seed: int) -> dict[str, dict[str, float]]:
    rng = np.random.default_rng(seed)
    numbers = WordNumbers()
    ids = [[[numbers[word] for word in row] for row in rows] for rows in captions]
    index = ReferenceIndex(ids, document_frequency=DocumentFrequency.from_references(ids, tokenisation="numbers"))
    ours, peers = [], []
    for _ in range(NUM_BATCHES):
        images = rng.choice(len(captions), NUM_IMAGES, replace=False)
        items = np.repeat(images, SAMPLES_AN_IMAGE)
        hypotheses = sampled_captions(captions, images, rng)
        ours.append(pad_rows([[numbers[word] for word in row] for row in hypotheses], items))
        peers.append(([" ".join(row) for row in hypotheses], [[" ".join(row) for row in captions[image]] for image in items]))
    # each of the 80 captions enters the peer with its own references, so its frequencies count an image five times; so here
    here = replace(ours[0], items=np.arange(len(items)))
    at_hand = ReferenceIndex([ids[image] for image in ours[0].items])
    results = {}
    for name, metric in {"cider_d": CiderD(), "bleu4": Bleu(4), "rouge_l": RougeL()}.items():
        prepared = metric.prepare(index)
        own_rate = rate(lambda batch, prepared=prepared: prepared.score(batch.tokens, batch.lengths, batch.items), ours, len(items))
        peer_rate = rate(lambda batch, name=name: peer_scores(name, *batch), peers, len(items))
        mine = metric.prepare(at_hand).score(here.tokens, here.lengths, here.items)
        difference = float(np.abs(mine - peer_scores(name, *peers[0])).max())
        results[name] = {
            "ours_per_s": own_rate,
            "peer_per_s": peer_rate,
            "ratio": own_rate / peer_rate,
            "largest_difference": difference,
        }
    return results


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def prepare_coco_size(captions: list[list[list[str]]], seed: int) -> dict[str, float]:
    """Count references as many as COCO's; captions are drawn again with words exchanged, so that new n-grams keep coming."""
    rng = np.random.default_rng(seed)
    numbers = WordNumbers()
    ids = [[numbers[word] for word in row] for row in chain.from_iterable(captions)]
    words = np.array([word for row in ids for word in row])
    lengths = [COCO_CAPTIONS // COCO_IMAGES] * COCO_IMAGES
    for image in rng.choice(COCO_IMAGES, COCO_CAPTIONS - sum(lengths), replace=False):
        lengths[image] += 1
    drawn = iter(rng.integers(len(ids), size=COCO_CAPTIONS))
    references = [[_with_exchanged_words(ids[next(drawn)], words, rng) for _ in range(count)] for count in lengths]
    before = resident_bytes()
    start = time.perf_counter()
    index = ReferenceIndex(references)
    index.prepare_cider()
    seconds = time.perf_counter() - start
    held = resident_bytes() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    items = np.repeat(rng.choice(COCO_IMAGES, (200, NUM_IMAGES)), SAMPLES_AN_IMAGE, axis=1)
    batches = [pad_rows([_with_exchanged_words(references[i][0], words, rng, 0.4) for i in row], row) for row in items]
    prepared = CiderD().prepare(index)
    start = time.perf_counter()
    for batch in batches:
        prepared.score(batch.tokens, batch.lengths, batch.items)
    scored = items.size / (time.perf_counter() - start)
    return {
        "images": COCO_IMAGES,
        "captions": COCO_CAPTIONS,
        "distinct_ngrams": index.table.size,
        "prepare_s": seconds,
        "index_mb": _num_bytes(index) / 1e6,
        "resident_growth_mb": held / 1e6,
        "peak_growth_mb": peak / 1e6,
        "cider_d_per_s_on_new_batches": scored,
    }


def _num_bytes(index: ReferenceIndex) -> int:
    counted = index.counted
    arrays = [*index.rows, counted.entry_starts, counted.count_starts, *index.prepare_cider()]
    return sum(array.nbytes for array in arrays) + 4 * int(counted.entry_starts[-1]) + 2 * int(counted.count_starts[-1])


def _with_exchanged_words(row: list[int], words: np.ndarray, rng: np.random.Generator, share: float = 0.25) -> list[int]:
    row = list(row)
    for place in range(len(row)):
        if rng.random() < share:
            row[place] = int(words[rng.integers(len(words))])
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEQRL_DATA", ROOT.parent / "shared" / "data")))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--no-coco-size", action="store_true")
    parser.add_argument("--output", type=Path, default=RESULTS / "rewards.json")
    add_arguments(parser)
    args = parser.parse_args()
    require_clean(allow_dirty=args.allow_dirty)
    captions = read_captions(args.data / "coco_metrics" / "captions_val2017.json")
    seeds = [int(seed) for seed in args.seeds.split(",")]
    report: dict[str, Any] = {
        "provenance": provenance(seeds, threads=1),
        "captions": NUM_IMAGES * SAMPLES_AN_IMAGE,
        "images": NUM_IMAGES,
        "references_an_image": 5,
        "seeds": {},
    }
    for seed in seeds:
        report["seeds"][seed] = compare(captions, seed)
        for name, row in report["seeds"][seed].items():
            print(
                f"seed {seed}  {name:8s} ours {row['ours_per_s']:10,.0f}/s  pycocoevalcap {row['peer_per_s']:8,.0f}/s  "
                f"ratio {row['ratio']:6.0f}  largest difference {row['largest_difference']:.1e}",
                flush=True,
            )
    if not args.no_coco_size:
        report["coco_size"] = prepare_coco_size(captions, 0)
        for name, value in report["coco_size"].items():
            print(f"COCO size  {name:30s} {value:14,.1f}")
    write_results(args.output, report)
    print(f"written to {args.output}")


if __name__ == "__main__":
    sys.exit(run_command(main, name="rewards.py"))
