"""V-trace's correction against none, from actors that lag behind, where the policy changes much and little in an update.

    python benchmarks/vtrace_lags.py [--seeds 0,1,2] [--only room|cartpole]

The robot's room with a table of probabilities: the return of the policy is exact, by going back from the limit of 100 steps. CartPole with
configs/control/cartpole_vtrace.yaml: mean return of greedy episodes. Each is trained at several learning rates and lags, without a
correction and with V-trace at the paper's limits of 1 and without a limit of rho. Adds to benchmarks/results/vtrace_lags.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from provenance import RESULTS, ROOT, add_arguments, provenance, require_clean, write_results

from seqrl.distributed import data_seed
from seqrl.run.config import read_config
from seqrl.run.interrupt import run_command
from seqrl.tasks.gridworld.room import START, STATE_OF, room_model

CONFIG = ROOT / "configs" / "control" / "cartpole_vtrace.yaml"
NO_LIMIT = 1e9
CORRECTIONS: dict[str, Sequence[str]] = {
    "none": ("--trainer.corrected=false",),
    "V-trace, rho at most 1": (),
    "V-trace, rho without limit": (f"--trainer.rho_bar={NO_LIMIT}",),
}
ROOM = (
    *("--task.environment=seqrl/RobotInARoom-v0", "--task.policy.type=probability_table", "--task.reward_scale=false"),
    *("--task.num_envs=16", "--task.num_steps=16", "--task.policy.actor_critic.normalise_observations=false"),
    "--trainer.optimiser.schedule=constant",
)
# Learning rates, lags in updates, updates, and how often it is evaluated.
GRIDS: dict[str, tuple[Sequence[float], Sequence[int], int, int]] = {
    "room": ((0.03, 0.1, 0.3, 1.0), (0, 10, 50), 200, 10),
    "cartpole": ((3e-3, 1e-2), (10, 50), 200, 20),
}


def run(task_name: str, rate: float, lag: int, correction: str, seed: int) -> dict[str, Any]:
    """Train once; give the returns on the way and how far acting and learning policy were apart."""
    _, _, updates, every = GRIDS[task_name]
    settings = [f"--trainer.optimiser.learning_rate={rate}", f"--trainer.actor_lag={lag}", f"--num_updates={updates}", f"--seed={seed}"]
    settings += ["--trainer.optimiser.precision=fp32", "--task.num_eval_episodes=20", *(ROOM if task_name == "room" else ())]
    config = read_config(CONFIG, [*settings, *CORRECTIONS[correction]])
    torch.manual_seed(seed)
    task = config.task.build(data_seed(seed))
    trainer = config.trainer.build(task.build_policy(), seed=seed, num_updates=updates)
    judge: Callable[[Any], float] = (
        room_return if task_name == "room" else lambda policy: task.evaluate(policy.eval(), split="dev")["return_mean"]
    )
    start, curve, shares = time.process_time(), [], []
    for update in range(1, updates + 1):
        stats = trainer.update(trainer.collect(task))
        shares.append(stats["importance/effective_share"])
        if update % every == 0:
            curve.append(round(judge(trainer.policy), 4))
    return {
        "seed": seed,
        "curve": curve,
        "mean_of_curve": statistics.fmean(curve),
        "final": curve[-1],
        "effective_share": statistics.fmean(shares),
        "processor_s": round(time.process_time() - start, 2),
    }


def room_return(policy: Any) -> float:
    """Exact undiscounted return of a table of probabilities in the room, from its start, in at most 100 steps."""
    model, share = room_model(-0.04), policy.logits.detach().double().softmax(dim=1)
    utility = torch.zeros(share.shape[0], dtype=torch.float64)
    for _ in range(100):
        utility = (share * model.action_values(utility)).sum(dim=1)
    return float(utility[STATE_OF[START]])


def main() -> None:
    """Train, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", choices=list(GRIDS))
    parser.add_argument("--output", type=Path, default=RESULTS / "vtrace_lags.json")
    add_arguments(parser)
    arguments = parser.parse_args()
    require_clean(allow_dirty=arguments.allow_dirty)
    torch.set_num_threads(1)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    results: dict[str, Any] = json.loads(arguments.output.read_text("utf-8")) if arguments.output.exists() else {}
    for task_name in [arguments.only] if arguments.only else list(GRIDS):
        rates, lags, updates, every = GRIDS[task_name]
        rows = []
        for rate in rates:
            for lag in lags:
                # Without a lag every ratio is 1 and the corrections are the same.
                for correction in CORRECTIONS if lag else ["none"]:
                    runs = [run(task_name, rate, lag, correction, seed) for seed in seeds]
                    rows.append({"learning_rate": rate, "lag": lag, "correction": correction, "runs": runs})
                    shown = ", ".join(f"{each['mean_of_curve']:.3g} then {each['final']:.3g}" for each in runs)
                    print(f"{task_name} rate {rate:g} lag {lag} {correction}: {shown}", flush=True)
        results[task_name] = {"provenance": provenance(seeds), "updates": updates, "every": every, "rows": rows}
        write_results(arguments.output, results)


if __name__ == "__main__":
    sys.exit(run_command(main, name="vtrace_lags.py"))
