"""The configurations of tables, with the exact return of the greedy policy: gymnasium's text worlds tell their transitions.

python benchmarks/tables.py --seeds 0,1,2 [--configs taxi_q_learning,frozen_lake_cem] [--field.field=value ...]

Prints for each seed the expected return of the greedy policy in an episode of the environment's usual length, five times in a run,
beside the best one, which value iteration gives; seconds are CPU time. Results are put into
benchmarks/results/tables.json, in the place of earlier ones of the same configuration and seed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from provenance import RESULTS, add_arguments, provenance, require_clean, write_results

from seqrl.policies.tables import ProbabilityTable
from seqrl.run.config import read_config
from seqrl.run.interrupt import run_command
from seqrl.tasks.gridworld.planning import Model, value_iteration

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ("taxi_q_learning", "frozen_lake_q_learning", "cliff_walking_q_learning", "cliff_walking_sarsa", "frozen_lake_cem", "taxi_cem")
# CliffWalking has no limit of its own; 100 steps are more than any way takes.
HORIZONS = {"FrozenLake-v1": 100, "Taxi-v4": 200, "CliffWalking-v1": 100}


def read_model(table: Mapping[int, Mapping[int, Sequence[tuple[float, int, float, bool]]]]) -> Model:
    """Read the transitions that gymnasium's text environments give as `env.unwrapped.P`.

    Args:
        table: state -> action -> [(probability, next state, reward, whether it ends)].
    """
    S, A = len(table), len(table[0])
    transition, reward = torch.zeros(S, A, S, dtype=torch.float64), torch.zeros(S, A, dtype=torch.float64)
    for state, actions in table.items():
        for action, outcomes in actions.items():
            for probability, following, earned, ends in outcomes:
                reward[state, action] += probability * earned
                if not ends:
                    transition[state, action, following] += probability
    return Model(transition, reward)


def greedy_return(policy: torch.nn.Module, model: Model, first: torch.Tensor, horizon: int) -> float:
    """Expected return of the greedy policy in at most `horizon` steps from the first states' distribution [S]."""
    table: Any = policy.logits if isinstance(policy, ProbabilityTable) else policy.values
    actions, utility = table.argmax(dim=1, keepdim=True), torch.zeros(len(first), dtype=torch.float64)
    for _ in range(horizon):
        utility = model.action_values(utility).gather(1, actions).squeeze(1)
    return float(utility @ first)


def run_seed(name: str, seed: int, overrides: list[str]) -> dict[str, Any]:
    """Train once; give the exact returns on the way, the best possible one and the seconds."""
    config = read_config(ROOT / "configs" / "control" / f"{name}.yaml", overrides)
    inner: Any = gym.make(config.task.environment).unwrapped
    model, first = read_model(inner.P), torch.tensor(inner.initial_state_distrib)
    horizon = HORIZONS[config.task.environment]
    task = config.task.build(seed)
    trainer = config.trainer.build(task.build_policy(), seed=seed, num_updates=config.num_updates)
    start, returns = time.process_time(), []
    for update in range(1, config.num_updates + 1):
        trainer.update(trainer.collect(task))
        if update % max(1, config.num_updates // 5) == 0:
            returns.append(round(greedy_return(trainer.policy, model, first, horizon), 4))
    best = float(value_iteration(model, tolerance=0, max_sweeps=horizon) @ first)
    return {
        "config": name,
        "seed": seed,
        "overrides": overrides,
        "returns": returns,
        "best": round(best, 4),
        "seconds": round(time.process_time() - start, 1),
    }


def main() -> None:
    """Print a line for each configuration and seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--configs", default=",".join(CONFIGS))
    add_arguments(parser)
    args, overrides = parser.parse_known_args()
    require_clean(allow_dirty=args.allow_dirty)
    torch.set_num_threads(1)
    results = []
    for name in args.configs.split(","):
        for seed in map(int, args.seeds.split(",")):
            results.append(run_seed(name, seed, overrides) | {"provenance": provenance([seed])})
            print("{config:<26} seed {seed}  returns {returns}  best {best}  {seconds} s".format(**results[-1]), flush=True)
    path = RESULTS / "tables.json"
    earlier = json.loads(path.read_text(encoding="utf-8"))["results"] if path.is_file() else []
    done = {(result["config"], result["seed"]) for result in results}
    results = [result for result in earlier if (result["config"], result["seed"]) not in done] + results
    write_results(path, {"results": results})


if __name__ == "__main__":
    sys.exit(run_command(main, name="tables.py"))
