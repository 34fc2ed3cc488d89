"""AlphaZero on tic-tac-toe and Connect-4, beside exact solutions and beside tree search without a network.

    python benchmarks/boards.py --seeds 0,1,2
    python benchmarks/boards.py --only connect4_alpha_zero --seeds 0,1,2

Trains the configurations, one thread, with no evaluation on the way. Tic-tac-toe is then played against every reply there is, from all nine
openings and with both colours, and asked for a move in each of its 4,520 positions in which somebody is to move. Connect-4 plays 100 games
of test, with both colours from each of 50 openings of two moves, against a tree search by random games that has four times the
simulations; and is asked for a move in 1,000 positions that a solver knows, drawn from games at random with 20 to 30 stones in which some
moves keep what best play comes to and others do not. Results go to benchmarks/results/boards.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from competitors import run_benchmark, whole
from provenance import RESULTS, ROOT, add_arguments, provenance, require_clean, write_results

from seqrl.policies.search_policy import SearchPolicy
from seqrl.run.config import read_config
from seqrl.run.log import read_metrics
from seqrl.run.train import load, train
from seqrl.tasks.boards.games import make_game
from seqrl.tasks.boards.players import plain_search
from seqrl.tasks.boards.rules import BoardGame, Boards, Flags
from seqrl.tasks.boards.solving import Enumeration, FourSolver, hard_positions, keeping_moves
from seqrl.tasks.boards.task import BoardsConfig, BoardTask

CONFIGS = ("tic_tac_toe_alpha_zero", "connect4_alpha_zero")
NUM_POSITIONS, STONES, POSITIONS_SEED = 1000, range(20, 31), 2017


def positions(game: BoardGame) -> tuple[Boards, Flags]:
    """Give positions, and which moves keep what best play comes to."""
    if game.name == "tic_tac_toe":
        solver = Enumeration(game)
        state = solver.positions.rows(~solver.positions.ended)
        return state, keeping_moves(game, solver, state)
    four = FourSolver()
    state = hard_positions(game, four, NUM_POSITIONS, STONES, np.random.default_rng(POSITIONS_SEED))
    return state, keeping_moves(game, four, state)


def share_kept(policy: SearchPolicy, state: Boards, keeps: Flags) -> float:
    """Give the share of positions in which a policy's greedy move keeps the value."""
    action = policy.choose(state, greedy=True).action
    return float(keeps[np.arange(len(action)), action].mean())


def measured(task: BoardTask, policy: SearchPolicy, state: Boards, keeps: Flags) -> dict[str, Any]:
    """Play and ask, with the search and by the network alone."""
    search = policy.config
    found: dict[str, Any] = {}
    for name, used in (("search", search), ("network", replace(search, num_simulations=0))):
        policy.config = used
        found[name] = task.evaluate(policy, split="test") | {"kept": share_kept(policy, state, keeps)}
    policy.config = search
    return found


def run_seed(name: str, seed: int, folder: Path, state: Boards, keeps: Flags) -> dict[str, Any]:
    """Train a configuration, and measure what it has learned."""
    settings = [f"--seed={seed}", f"--name={name}_seed{seed}", f"--runs_folder={folder}", "--save_every=0", "--eval_every=0"]
    config = read_config(name, settings)
    start = time.process_time()
    whole(train(config, overwrite=True, display=False))
    spent = time.process_time() - start
    _, task, policy, _ = load(config.run_folder)
    assert isinstance(task, BoardTask) and isinstance(policy, SearchPolicy)
    moves = read_metrics(config.run_folder)[-1]["progress/num_env_steps"]
    assert isinstance(config.task, BoardsConfig)
    games = config.num_updates * config.task.num_games
    return measured(task, policy, state, keeps) | {"moves": moves, "games": games, "processor_s": spent, "provenance": provenance([seed])}


def untrained(game: BoardGame, state: Boards, keeps: Flags, num_simulations: int) -> dict[str, Any]:
    """Say how often chance, and a tree search by random games, keep the value."""
    chance = (keeps.sum(axis=1) / game.legal(state).sum(axis=1)).mean()
    random = np.random.default_rng(POSITIONS_SEED)
    move = plain_search(game, state, random, num_simulations=num_simulations)
    plain = {"kept": float(keeps[np.arange(len(move)), move].mean()), "simulations": num_simulations}
    return {"positions": len(keeps), "kept": float(chance), "plain_search": plain, "provenance": provenance([])}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and evaluate, writing after each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2", help="empty: only what needs no training")
    parser.add_argument("--only", choices=CONFIGS, action="append", help="this configuration alone")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "configs")
    parser.add_argument("--output", type=Path, default=RESULTS / "boards.json")
    add_arguments(parser)
    known = parser.parse_args(arguments)
    require_clean(allow_dirty=known.allow_dirty)
    results: dict[str, Any] = json.loads(known.output.read_text(encoding="utf-8")) if known.output.is_file() else {}
    folder = known.runs / (provenance([])["commit"] or "no_commit")[:10]
    for name in known.only or CONFIGS:
        config = read_config(name).task
        assert isinstance(config, BoardsConfig)
        game = make_game(config.game)
        state, keeps = positions(game)
        of_game = results.setdefault(name, {"runs": {}})
        of_game["chance"] = untrained(game, state, keeps, config.opponent_simulations)
        write_results(known.output, results)
        for seed in filter(None, known.seeds.split(",")):
            of_game["runs"][seed] = record = run_seed(name, int(seed), folder, state, keeps)
            write_results(known.output, results)
            print(f"{name}, seed {seed}: {record['search']}  {record['processor_s']:.0f} CPU seconds", flush=True)


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
