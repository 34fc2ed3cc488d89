"""Score hypotheses against references: seqrl score HYPOTHESES REFERENCES."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from seqrl.metrics.by_name import HOMES, METRICS, metric_by_name, needs_model, scores_words
from seqrl.metrics.resampling import SAMPLES, SEED
from seqrl.metrics.score_files import MISSING, UNDERSTOOD, Pairs, read_pairs
from seqrl.metrics.score_table import Scored, print_comparison, print_table, resample
from seqrl.metrics.signature import number_of_references, package_version, signature_of
from seqrl.metrics.slots import prefix_of_slots
from seqrl.metrics.tokenisations import TOKENISATIONS, Tokenisation, tokenisation_by_name, unspaced_example

SHOWN = ("cider_d", "bleu1", "bleu2", "bleu3", "bleu4", "rouge_l")
# What sacrebleu calls the same.
_SACREBLEU_NAMES = {"ptb": "13a", "characters": "char", "spaces": "none"}
_LONGEST_REASON = 160  # characters


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("hypotheses", type=Path, help=f"{UNDERSTOOD}: one a line, list, {{id: text}}, or COCO results")
    parser.add_argument(
        "references", type=Path, help="the same: one item a line with tabs between, lists of lists, {id: [text]}, or COCO captions"
    )
    parser.add_argument("--metrics", default=",".join(SHOWN), help=f"names with commas between, or all: {', '.join(METRICS)}")
    parser.add_argument("--compare", type=Path, help="hypotheses of another system about the same items, to be compared with the first")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="METRIC.SETTING=VALUE",
        help="a setting of a metric, for instance embedding.model=folder",
    )
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
        help="what a word is: coco-caption's (ptb), what stands between spaces, or each character, for Chinese, Japanese or Thai",
    )
    parser.add_argument("--resamples", type=int, default=SAMPLES, help="of the bootstrap, for 95%% intervals and p; 0 for none")
    parser.add_argument("--seed", type=int, default=SEED, help="of the bootstrap")
    parser.add_argument(
        "--signature",
        action=argparse.BooleanOptionalAction,
        help="print how each score was computed; by default for metrics that are named, not for all",
    )
    parser.add_argument("--json", type=Path, help="also write scores, intervals and each hypothesis's scores to this file")


def run(args: argparse.Namespace) -> int:
    """Print a table of corpus scores."""
    if args.resamples < 0 or args.resamples == 1:
        raise ValueError(f"--resamples: expected 0 (none) or at least 2, got {args.resamples}")
    names = names_of(args.metrics)
    every = names == METRICS
    metrics, left_out = _metrics(names, args.tokens, settings_of(args.set), every=every)
    pairs = read_pairs(args.hypotheses, args.references, missing=args.missing)
    tokenisation = tokenisation_by_name(args.tokens)
    systems = [pairs] if args.compare is None else [pairs, _same_items(pairs, args)]
    if args.tokens == "ptb":
        _warn_of_unspaced(pairs)
    needs_words = any(map(scores_words, metrics))
    split = [split_pairs(each, tokenisation, args.references) if needs_words else None for each in systems]
    if every and split[0] is not None:
        _settle_slots(metrics, left_out, split[0][1])
    scored = [Scored(each, words, sentences=args.json is not None) for each, words in zip(systems, split, strict=True)]
    for name, metric in metrics.items():
        with _leaving_out(name, left_out, every=every):
            for system in scored:
                system.add(name, metric, words=scores_words(name), statistics=args.resamples > 0)
    metrics = {name: metric for name, metric in metrics.items() if name not in left_out}
    if not metrics:
        raise ValueError(f"no metric can score these files: {'; '.join(f'{name}: {_brief(why)}' for name, why in left_out.items())}")
    for system in scored:
        system.keep(metrics)
    resample(scored, args.resamples, args.seed)
    _print_counts(pairs, args.missing)
    if args.compare is None:
        print_table(scored[0], metrics)
    else:
        print_comparison(scored[0], scored[1], metrics, names=(str(args.hypotheses), str(args.compare)))
    for name, why in left_out.items():
        print(f"left out: {name} ({_brief(why)})")
    signatures = _signatures(metrics, pairs, args.tokens)
    if args.signature or (args.signature is None and not every):
        print("\n".join(signatures.values()))
    if args.json:
        args.json.write_text(json.dumps(_content(pairs, scored, signatures), indent=1) + "\n", encoding="utf-8")
    return 0


def names_of(given: str) -> tuple[str, ...]:
    """Read names with commas between, and perhaps spaces; `METRICS` where one of them is "all".

    Raises:
        ValueError: for no name at all.
    """
    names = tuple(name.strip() for name in given.split(",") if name.strip())
    if not names:
        raise ValueError(f"--metrics: expected names with commas between, or all, got {given!r}; known are {', '.join(METRICS)}")
    return METRICS if "all" in names else names


def settings_of(given: list[str]) -> dict[str, dict[str, Any]]:
    """Read METRIC.SETTING=VALUE: settings by metric; a value that is no JSON is text.

    Raises:
        ValueError: for another form or an unknown metric.
    """
    settings: dict[str, dict[str, Any]] = {}
    for each in given:
        name, equals, value = each.partition("=")
        metric, dot, field = name.partition(".")
        if not (equals and dot and field) or metric not in HOMES:
            raise ValueError(f"--set: expected METRIC.SETTING=VALUE, for instance rouge_l.beta=1.0, got {each!r}")
        try:
            settings.setdefault(metric, {})[field] = json.loads(value)
        except ValueError:
            settings.setdefault(metric, {})[field] = value
    return settings


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


def _metrics(
    names: Any, tokens: str, settings: Mapping[str, dict[str, Any]], *, every: bool
) -> tuple[dict[str, Any], dict[str, Exception]]:
    """Make the metrics; of all of them those that cannot be made are left out, each with the reason."""
    metrics: dict[str, Any] = {}
    left_out: dict[str, Exception] = {}
    for name in names:
        with _leaving_out(name, left_out, every=every):
            if every and needs_model(name) and "model" not in settings.get(name, {}):
                raise ValueError(f"no model is named: --set {name}.model=FOLDER")
            metrics[name] = _metric(name, tokens, settings.get(name, {}))
    return metrics, left_out


@contextmanager
def _leaving_out(name: str, left_out: dict[str, Exception], *, every: bool) -> Iterator[None]:
    """Go on without a metric that cannot be used, and keep the reason, where all are asked for."""
    try:
        yield
    except (ImportError, OSError, ValueError) as error:
        if not every:
            raise
        left_out[name] = error


def _metric(name: str, tokens: str, settings: dict[str, Any]) -> Any:
    # sacrebleu takes text as it was written, and splits it itself.
    own = {"tokenize": _SACREBLEU_NAMES[tokens]} if name == "sacrebleu" else {}
    if name == "slot_error" and tokens != "spaces" and "prefix" in settings:
        settings = {**settings, "prefix": str(settings["prefix"]).lower()}  # as the words are that it is given
    try:
        return metric_by_name(name, **{**own, **settings})
    except TypeError as error:
        raise ValueError(f"--set: {name} does not take {', '.join(settings)} ({error})") from error


def _settle_slots(metrics: dict[str, Any], left_out: dict[str, Exception], references: list[list[list[str]]]) -> None:
    """Of all metrics take slot_error only where it is known which words are slots: every word would count as one."""
    if "slot_error" not in metrics or metrics["slot_error"].prefix:
        return
    prefix = prefix_of_slots(references)
    if prefix is None:
        left_out["slot_error"] = ValueError("nothing says which words are slots: --set slot_error.prefix=SLOT_")
        del metrics["slot_error"]
    else:
        metrics["slot_error"] = metric_by_name("slot_error", prefix=prefix)


def _same_items(pairs: Pairs, args: argparse.Namespace) -> Pairs:
    """Read the other system's hypotheses, in the order of the first's."""
    other = read_pairs(args.compare, args.references, missing=args.missing)
    if set(other.keys) != set(pairs.keys):
        strange = sorted(set(other.keys) ^ set(pairs.keys))
        raise ValueError(
            f"{args.compare}: expected hypotheses about the items of {args.hypotheses}, but only one of them has {', '.join(strange[:3])}"
            f"{', ...' if len(strange) > 3 else ''}; give both the same, or count what is missing as empty with --missing empty"
        )
    place = {key: number for number, key in enumerate(other.keys)}
    order = [place[key] for key in pairs.keys]
    hypotheses, references = [other.hypotheses[n] for n in order], [other.references[n] for n in order]
    return replace(other, keys=pairs.keys, hypotheses=hypotheses, references=references)


def _warn_of_unspaced(pairs: Pairs) -> None:
    example = unspaced_example(pairs.hypotheses) or unspaced_example(text for texts in pairs.references for text in texts)
    if example:
        print(
            f"seqrl: most texts have no spaces between words, as in {example[:40]!r}; a whole sentence counts as one word, and "
            "scores are near 0. Score characters instead: --tokens characters",
            file=sys.stderr,
        )


def _print_counts(pairs: Pairs, missing: str) -> None:
    print(f"{len(pairs.hypotheses)} hypotheses, {sum(map(len, pairs.references))} references")
    if pairs.num_missing:
        treated = "count as empty" if missing == "empty" else "are left out"
        print(f"{pairs.num_missing} of {pairs.num_in_references} items have no hypothesis and {treated}")


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."


def _signatures(metrics: Mapping[str, Any], pairs: Pairs, tokens: str) -> dict[str, str]:
    counts: dict[str, Any] = {"docs": len(pairs.references), "nrefs": number_of_references(pairs.references)}
    return {name: str(signature_of(metric, tok=tokens, version=package_version(), **counts)) for name, metric in metrics.items()}


def _content(pairs: Pairs, scored: list[Scored], signatures: dict[str, str]) -> dict[str, Any]:
    first = scored[0]
    content = {
        "corpus": first.corpus_scores,
        "intervals": first.intervals,
        "ids": pairs.keys,
        "scores": first.scores,
        "signatures": signatures,
    }
    if len(scored) > 1:
        other = scored[1]
        content["compared"] = {
            "corpus": other.corpus_scores,
            "intervals": other.intervals,
            "scores": other.scores,
            "p": first.p_values(other),
        }
    return content
