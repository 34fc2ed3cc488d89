"""Multi30k, English to German: cross-entropy to its end, then sentence BLEU by self-critical training, beside more cross-entropy.

    SEQRL_DATA=folder python benchmarks/multi30k.py [--seeds 0,1,2] [--folder runs/multi30k] [--without-control]

Trains configs/text/multi30k_xe.yaml, from its best checkpoint configs/text/multi30k_self_critical.yaml, and a control that goes on with
cross-entropy for the CPU time of the self-critical run. Each translates the test half of val with a beam of 5; sacrebleu's corpus
BLEU with its signature, and the paired bootstrap of self-critical training against where it began. The length penalty of the beam is the
one of 0, 0.5, 1 and 1.5 that gives the cross-entropy model of the seed most BLEU on dev. Runs that are finished under --folder are not done
again. Writes benchmarks/results/multi30k.json after each seed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import torch
from competitors import run_benchmark, train_once, updates_in_the_same_time
from provenance import RESULTS, ROOT, add_arguments, provenance, require_clean, write_results

from seqrl.metrics.by_name import metric_by_name
from seqrl.metrics.corpus import Corpus
from seqrl.metrics.resampling import bootstrap, interval, p_value
from seqrl.metrics.signature import signature_of
from seqrl.run.config import read_config
from seqrl.run.train import load
from seqrl.tasks.writing.decoded import in_order, share_of

CONFIGS = ROOT / "configs" / "text"
BEAM, PENALTIES = 5, (0.0, 0.5, 1.0, 1.5)
CONTROL_RATE = 3.0e-4


class Translator:
    """A run's best policy, with its task."""

    def __init__(self, run: Path) -> None:
        _, self.task, self.policy, _ = load(run)

    def translate(self, split: str, length_penalty: float, *, greedy: bool = False) -> tuple[list[str], list[list[str]]]:
        """Give translations and references of a split."""
        part, vocabulary = self.task.splits[split], self.task.vocabulary
        beam: Any = {"beam_size": 0 if greedy else BEAM, "length_penalty": length_penalty}
        with torch.no_grad():
            config = dataclasses.replace(self.task.config.evaluation, **beam)
            share = share_of(self.policy, part, vocabulary, config.beam, most=config.max_prompts, size=config.prompts_per_batch)
        replies = in_order([share["" if greedy else "beam/"]])
        return [vocabulary.tokenisation.join(reply.words) for reply in replies], part.pairs.references

    def bleu(self, split: str, length_penalty: float = 0.0, *, greedy: bool = False) -> float:
        """Give sacrebleu's corpus BLEU."""
        return float(metric_by_name("sacrebleu").corpus(*self.translate(split, length_penalty, greedy=greedy)))


def runs_of(folder: Path, seed: int, *, control: bool) -> dict[str, Path]:
    """Train the models of a seed, unless they stand."""
    own = [f"--runs_folder={folder}", f"--seed={seed}"]
    start = train_once(read_config(CONFIGS / "multi30k_xe.yaml", [*own, f"--name=xe_{seed}"]))
    warm = [*own, f"--init_from={start}"]
    rewarded = read_config(CONFIGS / "multi30k_self_critical.yaml", [*warm, f"--name=sc_{seed}"])
    if not control:
        return {"xe": start, "sc": train_once(rewarded)}
    more = [*warm, f"--seed={seed + 100}", f"--name=control_{seed}", f"--trainer.optimiser.learning_rate={CONTROL_RATE}"]
    begun = folder / f"control_{seed}" / "config.yaml"
    unsized = read_config(CONFIGS / "multi30k_xe.yaml", more)
    steps = read_config(begun).num_updates if begun.is_file() else updates_in_the_same_time(rewarded, unsized, rounds=6)
    longer = read_config(CONFIGS / "multi30k_xe.yaml", [*more, f"--num_updates={steps}", f"--eval_every={max(1, steps // 4)}"])
    return {"xe": start, "sc": train_once(rewarded), "control": train_once(longer)}


def trained_on(run: Path) -> str:
    """Name the device that a run was trained on, and the version of PyTorch."""
    facts = json.loads((run / "env.json").read_text(encoding="utf-8"))[-1]
    return f"{', '.join(facts.get('devices') or [facts['cpu']])}, torch {facts['packages']['torch']}"


def judge(runs: dict[str, Path]) -> dict[str, Any]:
    """Translate test with each model, and compare."""
    translators = {stage: Translator(run) for stage, run in runs.items()}
    tried = {each: translators["xe"].bleu("dev", each) for each in PENALTIES}
    penalty = max(tried, key=lambda each: tried[each])
    metric, rows, statistics = metric_by_name("sacrebleu"), {}, {}
    for stage, translator in translators.items():
        texts, references = translator.translate("test", penalty)
        words, shown = (sum(len(text.split()) for text in each) for each in (texts, [lines[0] for lines in references]))
        statistics[stage] = Corpus(texts, references).statistics(metric)
        rows[stage] = {
            "dev_bleu": tried[penalty] if stage == "xe" else translator.bleu("dev", penalty),
            "bleu": float(metric.corpus(texts, references)),
            "greedy_dev_bleu": translator.bleu("dev", greedy=True),
            "greedy_bleu": translator.bleu("test", greedy=True),
            "trained_on": trained_on(runs[stage]),
            "length_ratio": words / shown,
            "updates": read_config(runs[stage] / "config.yaml").num_updates,
        }
    drawn = dict(zip(statistics, bootstrap(list(statistics.values())), strict=True))
    for stage in runs.keys() - {"xe"}:
        gain = rows[stage]["bleu"] - rows["xe"]["bleu"]
        rows[stage] |= {"gain": gain, "interval": interval(drawn[stage] - drawn["xe"]), "p": p_value(drawn["xe"], drawn[stage], gain)}
    return {"length_penalty": penalty, "stages": rows}


def main() -> None:
    """Train and compare the seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "multi30k")
    parser.add_argument("--without-control", action="store_true", help="leave out the model that goes on with cross-entropy")
    parser.add_argument("--output", type=Path, default=RESULTS / "multi30k.json")
    add_arguments(parser)
    args = parser.parse_args()
    require_clean(allow_dirty=args.allow_dirty)
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for seed in [int(seed) for seed in args.seeds.split(",")]:
        found[str(seed)] = judge(runs_of(args.folder, seed, control=not args.without_control))
        print(seed, found[str(seed)], flush=True)
        facts = {"signature": str(signature_of("sacrebleu", version="1")), "provenance": provenance(list(map(int, found)), threads=1)}
        write_results(args.output, {"beam": BEAM, "seeds": found, **facts})


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
