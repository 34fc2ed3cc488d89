"""What rewards, and credit for each token, do to replies to the built-in dialogue acts.

    python benchmarks/text_rewards.py [--seeds 0,1,2] [--updates 80] [--runs FOLDER]

The cross-entropy model of configs/dialog/builtin_xe.yaml learns on in five ways, as many updates each: by more cross-entropy, by
self-critical training of BLEU - slot errors (configs/dialog/builtin_self_critical.yaml), by REINFORCE of the same with a leave-one-out
baseline of the returns to go, by this with each token paid what it adds to the score (`task.reward.per_token`), and by self-critical
training of the gain in the batch's corpus BLEU - slot errors. Greedy replies to the 40 test acts of the checkpoint that was best on dev.
Writes benchmarks/results/text_rewards.json.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from competitors import run_benchmark, train_once
from provenance import RESULTS, ROOT, add_arguments, provenance, require_clean, write_results

FP32 = "--trainer.optimiser.precision=fp32"
SLOTS = "--task.reward.settings={slot_error: {prefix: SLOT_}}"
OPTIMISER = "optimiser: {learning_rate: 5.0e-4, schedule: linear, warmup_updates: 10, precision: fp32}"
REINFORCE = f"--trainer={{type: reinforce, baseline: leave_one_out, num_samples: 5, {OPTIMISER}}}"
MORE = f"--trainer={{type: supervised, {OPTIMISER}}}"
WAYS: dict[str, list[str]] = {
    "more_xe": [MORE, "--task.references_per_prompt=2"],
    "self_critical": [FP32],
    "reinforce": [REINFORCE],
    "per_token": [REINFORCE, "--task.reward.per_token=true"],
    "corpus_gain": ["--task.reward.metrics={corpus_bleu_gain: 1.0, slot_error: -1.0}", SLOTS, FP32],
}


def main() -> None:
    from seqrl.run.config import read_config
    from seqrl.run.inspect_run import evaluate
    from seqrl.run.train import Source

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--updates", type=int, default=80)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "text_rewards", help="folder of the runs")
    add_arguments(parser)
    given = parser.parse_args()
    require_clean(allow_dirty=given.allow_dirty)
    seeds = [int(seed) for seed in given.seeds.split(",")]
    folder, fixed = ROOT / "configs" / "dialog", [f"--runs_folder={given.runs}", "--num_threads=1"]
    ways: dict[str, dict[str, Any]] = {"xe": {}, **{way: {} for way in WAYS}}

    def run(way: str, seed: int, config: str, *overrides: str) -> Path:
        settings = [*fixed, f"--seed={seed}", f"--name={way}_seed{seed}", *overrides]
        run_folder = train_once(read_config(folder / config, settings))
        _, figures, signatures = evaluate(Source(run_folder, ["--task.evaluation.metrics=[slot_error]"]), split="test")
        ways[way][str(seed)] = {"test": figures, "signatures": signatures}
        print(way, seed, {name: round(figures[name], 4) for name in ("bleu4", "slot_error", "length_ratio")}, flush=True)
        return run_folder

    for number, seed in enumerate(seeds, 1):
        start = run("xe", seed, "builtin_xe.yaml", FP32)
        for way, overrides in WAYS.items():
            run(way, seed, "builtin_self_critical.yaml", *overrides, f"--init_from={start}", f"--num_updates={given.updates}")
        facts = provenance(seeds[:number], threads=1)
        write_results(RESULTS / "text_rewards.json", {"updates": given.updates, "ways": ways, "provenance": facts})


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
