"""Sutton and Barto's example 6.6: what SARSA and Q-learning earn while they learn to walk along a cliff.

python benchmarks/cliff_walking.py --runs 10

500 episodes of CliffWalking-v1 a run, ε = 0.1, α = 0.5, nothing discounted, one environment, learning after each step. Prints the mean
return of blocks of 50 episodes with the standard error over runs, and the return of the greedy policy at the end.
Writes benchmarks/results/cliff_walking.json.

Source: Sutton & Barto 2018 (Reinforcement learning, 2nd edition), example 6.6.
"""

from __future__ import annotations

import argparse
import sys

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from provenance import RESULTS, add_arguments, provenance, require_clean, write_results

from seqrl.run.interrupt import run_command
from seqrl.tasks.control.policy import ControlPolicyConfig
from seqrl.tasks.control.task import ControlConfig
from seqrl.trainers.q_table import QTableConfig, Rule

RULES: tuple[Rule, ...] = ("sarsa", "q_learning", "expected_sarsa")
BLOCK = 50


def run_once(rule: Rule, seed: int, episodes: int) -> tuple[list[float], float]:
    """Learn for a number of episodes; give their returns, and the greedy policy's in the end."""
    policy_config = ControlPolicyConfig(type="action_value_table")
    config = ControlConfig("CliffWalking-v1", num_envs=1, num_steps=1, max_episode_steps=10_000, num_eval_episodes=1, policy=policy_config)
    task = config.build(seed)
    policy = task.build_policy()
    trainer = QTableConfig(rule=rule, gamma=1.0, learning_rate=0.5, epsilon_start=0.1).build(policy, seed=seed, num_updates=1)
    returns, total = [], 0.0
    while len(returns) < episodes:
        trajectory = trainer.collect(task)
        trainer.update(trajectory)
        total += float(trajectory.reward)
        if bool(trajectory.terminated):
            returns.append(total)
            total = 0.0
    return returns, greedy_return(policy)


def greedy_return(policy: torch.nn.Module) -> float:
    """Follow the best actions from the start, at most 200 steps."""
    environment = gym.make("CliffWalking-v1").unwrapped
    state, _ = environment.reset(seed=0)
    total = 0.0
    for _ in range(200):
        state, reward, ended, _, _ = environment.step(int(policy.act(torch.tensor([state]), greedy=True).action))  # type: ignore[operator]
        total += float(reward)
        if ended:
            break
    return total


def block_means(returns: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Average blocks of episodes, [runs, episodes] to [blocks]; also the standard error over the runs."""
    blocks = returns.reshape(len(returns), -1, BLOCK).mean(axis=2)
    error = blocks.std(axis=0, ddof=1) / np.sqrt(len(returns)) if len(returns) > 1 else np.zeros(blocks.shape[1])
    return blocks.mean(axis=0), error


def main() -> None:
    """Print both side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="with seeds 0, 1, ...")
    parser.add_argument("--episodes", type=int, default=500, help=f"a run; a multiple of {BLOCK}")
    add_arguments(parser)
    args = parser.parse_args()
    require_clean(allow_dirty=args.allow_dirty)
    torch.set_num_threads(1)
    columns, greedy = {}, {}
    for rule in RULES:
        runs = [run_once(rule, seed, args.episodes) for seed in range(args.runs)]
        columns[rule] = block_means(np.array([returns for returns, _ in runs]))
        greedy[rule] = [last for _, last in runs]
    print(f"{'episodes':<12}" + "".join(f"{rule:>20}" for rule in RULES))
    for block in range(args.episodes // BLOCK):
        cells = "".join(f"{columns[rule][0][block]:>12.1f} ± {columns[rule][1][block]:<5.1f}" for rule in RULES)
        print(f"{block * BLOCK + 1:>4}-{(block + 1) * BLOCK:<7}{cells}")
    print(f"{'greedy':<12}" + "".join(f"{np.mean(greedy[rule]):>12.1f}{'':8}" for rule in RULES))
    results = {rule: {"mean": columns[rule][0].tolist(), "error": columns[rule][1].tolist(), "greedy": greedy[rule]} for rule in RULES}
    report = {"provenance": provenance(range(args.runs)), "runs": args.runs, "results": results}
    write_results(RESULTS / "cliff_walking.json", report)


if __name__ == "__main__":
    sys.exit(run_command(main, name="cliff_walking.py"))
