"""Responses to dialogue acts on RNNLG, scored as its toolkit does: 20 candidates a line by a beam of 10, the best 5 pooled.

python benchmarks/rnnlg.py runs/restaurant_xe                # a run, beside the toolkit's own table
python benchmarks/rnnlg.py --domain restaurant               # the hand-crafted responses of the data alone
python benchmarks/rnnlg.py --train restaurant,hotel --seeds 0,1,2 --folder runs/rnnlg

--train trains the stages of every domain and seed: cross-entropy (xe), from its best checkpoint self-critical training (sc), minimum-risk
training (mrt) and a control that goes on with cross-entropy for the CPU time of the self-critical run (control); the semantically
conditioned LSTM by cross-entropy (sc_lstm). Runs that are finished under --folder are scored as they are, and what was scored is not scored
again; --finished trains nothing. Writes benchmarks/results/rnnlg.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from competitors import train_once, updates_in_the_same_time
from provenance import RESULTS, ROOT, add_arguments, provenance, require_clean, write_results
from rnnlg_scores import best_responses, references_of, score_responses

from seqrl.metrics.by_name import metric_by_name
from seqrl.n_best import n_best
from seqrl.run import checkpoint
from seqrl.run.config import read_config
from seqrl.run.interrupt import run_command
from seqrl.run.train import load
from seqrl.tasks.text.rnnlg import Rnnlg

DATA = Path(os.environ.get("SEQRL_DATA", ROOT.parent / "shared" / "data")) / "rnnlg"
# The toolkit's table: BLEU, slot errors in percent.
PUBLISHED = {
    "restaurant": {"SC-LSTM": (0.7525, 0.38), "encoder-decoder": (0.7398, 2.78), "n-gram": (0.6422, 8.73)},
    "hotel": {"SC-LSTM": (0.8482, 3.07), "encoder-decoder": (0.8549, 4.69)},
}
BEAM, CANDIDATES, POOLED = 10, 20, 5
# Each stage's configuration, without the domain.
STAGES = {"xe": "xe", "sc": "self_critical", "mrt": "minimum_risk", "control": "xe", "sc_lstm": "sc_lstm"}


def responses(policy: Any, task: Any, data: Rnnlg, split: str) -> list[list[str]]:
    """Write the best responses to every line; lines with the same delexicalised act share their candidates."""
    part, found = task.splits[split], dict[str, list[tuple[str, float]]]()
    for start in range(0, len(part), 32):
        rows = part.rows(slice(start, start + 32))
        for index, best in enumerate(n_best(policy, {"image": rows}, beam_size=BEAM, num_rows=CANDIDATES), start):
            texts = [(" ".join(task.vocabulary.decode(row)), logp) for row, logp in best]
            found[part.pairs.prompts[index]] = texts
    return [best_responses(data, line.act, found[data.prompt(line.act)], POOLED) for line in data.lines[split]]


def figures_of(data: Rnnlg, split: str, written: Sequence[Sequence[str]]) -> dict[str, float]:
    """Score responses to every line of a split: the toolkit's figures over all of them, sacrebleu's corpus BLEU of the first ones."""
    lines = data.lines[split]
    figures = score_responses(data, lines, written)
    first = [data.lexicalise(texts[0], line.act) for texts, line in zip(written, lines, strict=True)]
    one_best = score_responses(data, lines, [texts[:1] for texts in written])
    return {
        "bleu": figures.bleu,
        "err": 100 * figures.error,
        "delexicalised_err": 100 * figures.delexicalised_error,
        "one_best_sacrebleu": metric_by_name("sacrebleu").corpus(first, references_of(data, lines)),
        "one_best_err": 100 * one_best.error,
    }


def score_run(run: Path, split: str) -> tuple[Rnnlg, dict[str, float]]:
    """Let a run's best policy respond to every line of a split."""
    _, task, policy, _ = load(run)
    data = Rnnlg(DATA, task.config.data.domain)
    with torch.no_grad():
        return data, figures_of(data, split, responses(policy, task, data, split))


def scored_once(run: Path) -> dict[str, dict[str, float]]:
    """Score a finished run on dev and test, unless its folder holds the figures already."""
    beside = run / "rnnlg.json"
    if not beside.is_file():
        write_results(beside, {split: score_run(run, split)[1] for split in ("dev", "test")})
    found: dict[str, dict[str, float]] = json.loads(beside.read_text(encoding="utf-8"))
    return found


def make_run(folder: Path, domain: str, stage: str, seed: int, steps: int | None) -> Path:
    """Train a stage unless it stands, to its end."""
    warm = [] if stage in ("xe", "sc_lstm") else [f"--init_from={folder / f'{domain}_xe_{seed}'}"]
    own = [f"--runs_folder={folder}", f"--name={domain}_{stage}_{seed}", "--num_threads=1", "--trainer.optimiser.precision=fp32"]
    own += [f"--seed={seed + 100 * (stage == 'control')}", *([f"--num_updates={steps}", f"--eval_every={steps}"] if steps else [])]
    if stage == "control":
        own += ["--trainer.optimiser.learning_rate=3.0e-4"]
        if not steps:
            pair = (read_config(config_of(domain, name), [*warm, *own[2:4]]) for name in ("sc", "xe"))
            begun = folder / f"{domain}_control_{seed}" / "config.yaml"
            own += [f"--num_updates={read_config(begun).num_updates if begun.is_file() else updates_in_the_same_time(*pair, rounds=6)}"]
    return train_once(read_config(config_of(domain, stage), [*own, *warm]))


def config_of(domain: str, stage: str) -> Path:
    """Name the file of a stage."""
    return ROOT / "configs" / "dialog" / f"{domain}_{STAGES[stage]}.yaml"


def is_finished(run: Path) -> bool:
    """Say whether a run stands to its end."""
    if not checkpoint.step_folders(run):
        return False
    return bool(checkpoint.read_meta(checkpoint.find(run))["step"] >= read_config(run / "config.yaml").num_updates)


def measure(args: argparse.Namespace) -> None:
    """Train and score what was asked for, and write the file."""
    require_clean(allow_dirty=args.allow_dirty)
    torch.set_num_threads(1)
    seeds, rows = [int(seed) for seed in args.seeds.split(",")], []
    for domain in args.train.split(","):
        for seed in seeds:
            for stage in args.stages.split(","):
                run = args.folder / f"{domain}_{stage}_{seed}"
                if args.finished and not is_finished(run):
                    print(f"{run.name}: not finished, left out", flush=True)
                    continue
                if not args.finished:
                    make_run(args.folder, domain, stage, seed, args.num_updates)
                scores = scored_once(run)
                rows.append(
                    {"domain": domain, "stage": stage, "seed": seed, "updates": read_config(run / "config.yaml").num_updates, **scores}
                )
                test = scores["test"]
                print(
                    f"{run.name:24} BLEU {test['bleu']:.4f}  ERR {test['err']:5.2f}%  one best {test['one_best_sacrebleu']:.2f}", flush=True
                )
    crafted = {}
    for domain in args.train.split(","):
        data = Rnnlg(DATA, domain)
        crafted[domain] = figures_of(data, "test", [[line.baseline] for line in data.lines["test"]])
    described = metric_by_name("sacrebleu").described
    more = {"hand_crafted": crafted, "published": PUBLISHED, "one_best": described, "provenance": provenance(seeds)}
    write_results(args.output, {"rows": rows, **more})


def main() -> None:
    """Score a run, the data's own responses, or whole trainings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--domain", choices=sorted(PUBLISHED), help="without a run: whose hand-crafted responses are scored")
    parser.add_argument("--split", choices=("dev", "test"), default="test")
    parser.add_argument("--train", help="domains with commas: train, score and write the file")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--stages", default=",".join(STAGES), help="with commas, xe before what starts from it")
    parser.add_argument("--num_updates", type=int, help="updates of each run; the configuration's by default")
    parser.add_argument("--finished", action="store_true", help="train nothing: score the runs that are finished")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "rnnlg")
    parser.add_argument("--output", type=Path, default=RESULTS / "rnnlg.json")
    add_arguments(parser)
    args = parser.parse_args()
    if sum(given is not None for given in (args.run, args.domain, args.train)) != 1:
        parser.error("expected a run, --domain or --train")
    if args.train:
        measure(args)
        return
    if args.run:
        data, figures = score_run(args.run, args.split)
    else:
        data = Rnnlg(DATA, args.domain)
        figures = figures_of(data, args.split, [[line.baseline] for line in data.lines[args.split]])
    rows = {args.run.name if args.run else "hand-crafted": (figures["bleu"], figures["err"]), **PUBLISHED[data.domain]}
    for name, (bleu, error) in rows.items():
        print(f"{name:24} BLEU {bleu:.4f}  ERR {error:5.2f}%")
    print(f"delexicalised slots alone: ERR {figures['delexicalised_err']:.2f}%")
    print(f"the first of each, by sacrebleu: BLEU {figures['one_best_sacrebleu']:.2f}, ERR {figures['one_best_err']:.2f}%")


if __name__ == "__main__":
    sys.exit(run_command(main, name="rnnlg.py"))
