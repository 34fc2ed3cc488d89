"""Optimise the captioner that ships for CIDEr-D, beside a control of more cross-entropy for the same time, and count what is true.

    python benchmarks/scenes.py [--seeds 0,1,2] [--methods self_critical,mixed,control] [-- --field.field=value ...]

Each method starts from the same weights and is evaluated, greedily, on the 500 test scenes, with the facts that its captions get
right. The control gets as many updates of cross-entropy as take the CPU time of the self-critical ones, and 5% more, by the pace
of a few updates of both. One thread. Writes benchmarks/results/scenes.json: for each method each seed's figures, for the start
also which shapes it takes for which, and captions of the first scenes.
A finished run of this commit is not done again; Ctrl-C ends all of it.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

from competitors import run_benchmark, whole
from provenance import RESULTS, ROOT, add_arguments, provenance, require_clean, write_results
from torch import nn

from seqrl.run.config import RunConfig, read_config
from seqrl.run.train import build, load, start_from, task_fingerprints, train
from seqrl.tasks.captioning.data import CaptionSplit
from seqrl.tasks.captioning.evaluation import greedy_captions, score_captions
from seqrl.tasks.captioning.facts import check_caption
from seqrl.tasks.captioning.scene_reading import read_caption
from seqrl.tasks.captioning.task import CaptioningTask
from seqrl.tasks.writing.decoded import Decoded

METHODS = {"self_critical": "scenes_self_critical", "mixed": "scenes_self_critical_mixed", "control": "scenes_more_xe"}
MORE_FOR_THE_CONTROL = 1.05
NUM_EXAMPLES = 16


def config_of(method: str, seed: int, runs: Path, extra: Sequence[str]) -> RunConfig:
    path = ROOT / "configs" / "captioning" / f"{METHODS[method]}.yaml"
    own = [f"--name={method}_seed{seed}", f"--runs_folder={runs}", f"--seed={seed}", "--num_threads=1", "--task.evaluation.max_images=200"]
    return read_config(path, [*own, *extra])


def started(config: RunConfig) -> tuple[CaptioningTask, nn.Module]:
    """Build the task and the policy that a run begins with."""
    task, policy = build(config)
    assert isinstance(task, CaptioningTask) and config.init_from is not None
    start_from(config.init_from, policy, task_fingerprints(task))
    return task, policy


def pace(config: RunConfig, *, count: int = 8) -> float:
    """Measure the CPU time of an update, s: the median of a few, after two that warm up."""
    task, policy = started(config)
    trainer, seconds = config.trainer.build(copy.deepcopy(policy), seed=0, num_updates=1000), []
    for _ in range(count + 2):
        begin = time.process_time()
        trainer.update(trainer.collect(task))
        seconds.append(time.process_time() - begin)
    return statistics.median(seconds[2:])


def caption(task: CaptioningTask, policy: nn.Module) -> list[Decoded]:
    return greedy_captions(policy, task.data.test, task.vocabulary, task.config.evaluation, len(task.data.test))


def run(method: str, seed: int, runs: Path, extra: Sequence[str]) -> dict[str, Any]:
    """Do a run, or read what it gave before.

    Raises:
        Interrupted: when a signal ended it; nothing is counted then.
    """
    config = config_of(method, seed, runs, extra)
    path = config.run_folder / "record.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    begin = time.process_time()
    result = whole(train(config, overwrite=True, display=False))
    seconds = time.process_time() - begin
    _, task, policy, _ = load(config.run_folder, ["--task.evaluation.max_images=0"])
    assert isinstance(task, CaptioningTask)
    captions = caption(task, policy)
    record = {"seed": seed, "updates": result.step, "processor_s": round(seconds, 1), "test": score_captions(captions, task.data.test)}
    record["captions"] = [" ".join(words) for words, _ in captions[:NUM_EXAMPLES]]
    write_results(path, record)
    return record


def confusions(captions: Sequence[Decoded], split: CaptionSplit) -> dict[str, int]:
    """Count "true shape -> shape said" where a wrongly named thing can be told by its colour."""
    counts: Counter[str] = Counter()
    for (words, _), scene in zip(captions, split.scenes or [], strict=True):
        wrong = check_caption(words, scene).wrong_words
        claims = read_caption(words).claims
        colours = {claim.nouns: claim.value for claim in claims if claim.kind == "colours"}
        for claim in claims:
            if claim.kind == "shapes" and set(claim.words) & wrong and claim.nouns in colours:
                same = [thing.shape for thing in scene.things if thing.colour == colours[claim.nouns]]
                counts[f"{same[0]} -> {claim.value}" if len(same) == 1 else f"? -> {claim.value}"] += 1
    return dict(counts.most_common())


def summarise(start: dict[str, float], records: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Give each figure's mean over the seeds, and CIDEr-D's gain over the start."""
    means = {
        method: {key: statistics.fmean(record["test"][key] for record in rows) for key in start} for method, rows in records.items() if rows
    }
    gains = {method: {"gain": figures["cider_d"] / start["cider_d"] - 1} for method, figures in means.items()}
    if "control" in means:
        for method in gains:
            gains[method]["gain_over_control"] = means[method]["cider_d"] / means["control"]["cider_d"] - 1
    return {method: figures | gains[method] for method, figures in means.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    own, extra = (arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]) if "--" in arguments else (arguments, [])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2", help="of the images' order, the sampling and the dropout")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "scenes")
    parser.add_argument("--output", type=Path, default=RESULTS / "scenes.json")
    add_arguments(parser)
    known = parser.parse_args(own)
    require_clean(allow_dirty=known.allow_dirty)
    seeds, methods = [int(seed) for seed in known.seeds.split(",")], known.methods.split(",")
    about = provenance(seeds)
    runs = known.runs / (about["commit"] or "no_commit")[:10]
    seconds = {method: pace(config_of(method, 0, runs, extra)) for method in ("self_critical", "control")}
    updates = config_of("self_critical", 0, runs, extra).num_updates
    longer = [f"--num_updates={round(MORE_FOR_THE_CONTROL * updates * seconds['self_critical'] / seconds['control'])}"]
    task, policy = started(config_of("self_critical", 0, runs, ["--task.evaluation.max_images=0", *extra]))
    captions = caption(task, policy)
    start = score_captions(captions, task.data.test)
    references = [Decoded(references[0], True) for references in task.data.test.words]
    records: dict[str, list[dict[str, Any]]] = {method: [] for method in methods}
    # Seeds outside, so that a change in the machine's load meets all methods alike.
    for seed in seeds:
        for method in methods:
            records[method].append(run(method, seed, runs, [*extra, *(longer if method == "control" else [])]))
            figures = records[method][-1]["test"]
            print(f"{method:14s} seed {seed}: " + "  ".join(f"{key} {figures[key]:.3f}" for key in ("cider_d", "facts_right")), flush=True)
            results = {
                **{key: about[key] for key in ("command", "seeds", "versions", "commit", "clean")},
                "provenance": about,
                "settings": {name: {"config": f"configs/captioning/{METHODS[name]}.yaml", "changes": list(extra)} for name in methods},
                "update_processor_s": seconds,
                "start": {"test": start, "confusions": confusions(captions, task.data.test)},
                "references": {"test": score_captions(references, task.data.test)},
                "summary": summarise(start, records),
                "examples": {
                    "references": [" / ".join(rows[:2]) for rows in task.data.test.references[:NUM_EXAMPLES]],
                    "start": [" ".join(words) for words, _ in captions[:NUM_EXAMPLES]],
                },
                "runs": records,
            }
            write_results(known.output, results)


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
