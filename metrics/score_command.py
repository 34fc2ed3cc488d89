"""Score hypotheses against references: seqrl score HYPOTHESES REFERENCES."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from seqrl.metrics.by_name import METRICS, metric_by_name, scores_words
from seqrl.metrics.score_files import MISSING, UNDERSTOOD, Pairs, read_pairs
from seqrl.metrics.signature import number_of_references, package_version, signature_of
from seqrl.metrics.tokenisations import TOKENISATIONS, Tokenisation, tokenisation_by_name, unspaced_example

SHOWN = ("cider_d", "bleu1", "bleu2", "bleu3", "bleu4", "rouge_l")
# What sacrebleu calls the same.
_SACREBLEU_NAMES = {"ptb": "13a", "characters": "char"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("hypotheses", type=Path, help=f"{UNDERSTOOD}: one a line, list, {{id: text}}, or COCO results")
    parser.add_argument(
        "references", type=Path, help="the same: one item a line with tabs between, lists of lists, {id: [text]}, or COCO captions"
    )
    parser.add_argument("--metrics", default=",".join(SHOWN), help=f"names with commas between: {', '.join(METRICS)}")
    parser.add_argument(
        "--missing",
        choices=MISSING,
        default="refuse",
        help="items with references and no hypothesis: refuse them, count them as empty hypotheses, or leave them out",
    )
    parser.add_argument(
        "--tokens",
        choices=sorted(TOKENISATIONS, reverse=True),
        default="ptb",
        help="what a word is: coco-caption's (ptb), or each character, for Chinese, Japanese or Thai; sacrebleu then uses char, not 13a",
    )
    parser.add_argument("--json", type=Path, help="also write the corpus figures and each hypothesis's scores to this file")


def run(args: argparse.Namespace) -> int:
    """Print a table of corpus figures."""
    metrics = {name: _metric(name, args.tokens) for name in args.metrics.split(",")}
    pairs = read_pairs(args.hypotheses, args.references, missing=args.missing)
    tokenisation = tokenisation_by_name(args.tokens)
    if args.tokens == "ptb":
        _warn_of_unspaced(pairs)
    split = None
    figures: dict[str, float] = {}
    scores: dict[str, list[float]] = {}
    for name, metric in metrics.items():
        texts: tuple[Any, Any] = pairs.hypotheses, pairs.references
        if scores_words(name):
            split = split or split_pairs(pairs, tokenisation, args.references)
            texts = split
        figures[name] = metric.corpus(*texts)
        if args.json:
            scores[name] = [float(score) for score in metric.score(*texts)]
    _print(figures, pairs, args.missing)
    settings: dict[str, Any] = {
        "docs": len(pairs.references),
        "nrefs": number_of_references(pairs.references),
        "version": package_version(),
    }
    signatures = {name: str(signature_of(metric, tok=args.tokens, **settings)) for name, metric in metrics.items()}
    print("\n".join(signatures.values()))
    if args.json:
        content = {"corpus": figures, "ids": pairs.keys, "scores": scores, "signatures": signatures}
        args.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


def split_pairs(pairs: Pairs, tokenisation: Tokenisation, path: Path) -> tuple[list[list[str]], list[list[list[str]]]]:
    """Split hypotheses and references into words.

    Raises:
        ValueError: when a reference holds no word, naming `path` and its item.
    """
    references = [[tokenisation.split(text) for text in texts] for texts in pairs.references]
    for key, rows in zip(pairs.keys, references, strict=True):
        if not all(rows):
            raise ValueError(f"{path}: item {key} has no reference, or an empty one (no word is left when it is split)")
    return [tokenisation.split(text) for text in pairs.hypotheses], references


def _metric(name: str, tokens: str) -> Any:
    # A metric that takes text as it was written splits it itself.
    return metric_by_name(name) if scores_words(name) else metric_by_name(name, tokenize=_SACREBLEU_NAMES[tokens])


def _warn_of_unspaced(pairs: Pairs) -> None:
    example = unspaced_example(pairs.hypotheses) or unspaced_example(text for texts in pairs.references for text in texts)
    if example:
        print(
            f"seqrl: most texts have no spaces between words, as in {example[:40]!r}; a whole sentence counts as one word, and "
            "scores are near 0. Score characters instead: --tokens characters",
            file=sys.stderr,
        )


def _print(figures: dict[str, float], pairs: Pairs, missing: str) -> None:
    print(f"{len(pairs.hypotheses)} hypotheses, {sum(map(len, pairs.references))} references")
    if pairs.num_missing:
        treated = "count as empty" if missing == "empty" else "are left out"
        print(f"{pairs.num_missing} of {pairs.num_in_references} items have no hypothesis and {treated}")
    width = max(map(len, figures))
    for name, figure in figures.items():
        print(f"  {name:<{width}}  {figure:.4f}")
