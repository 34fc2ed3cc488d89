"""Leagues and naive self-play on games with cycles: how exploitable the newest agent is over time, and all that were kept in the end.

    python benchmarks/league.py [--seeds 0,1,2] [--runs FOLDER]

Does what `seqrl train NAME` does for configs/league, one thread. Games are equal: in an update of the league each of four learners plays
as many games as naive self-play, which takes four times as many updates. Supervised starts imitate first; what they imitate is not counted.
Writes docs/figures/league.png, and benchmarks/results/league.json: for each game, method, entropy bonus and seed the curve of the newest
main agent, and of all main agents and of all players that were kept how exploitable their even mix is, and the equilibrium between them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from competitors import run_benchmark, whole
from numpy.typing import NDArray
from provenance import RESULTS, ROOT, add_arguments, provenance, require_clean, write_results
from small_png import write_small_png

from seqrl.run.config import read_config
from seqrl.run.log import read_metrics
from seqrl.run.train import load, train

GAMES = {"rps": "rock-paper-scissors, unequal stakes, noise", "blotto": "Colonel Blotto, 10 soldiers on 3 fields"}
BONUSES = (0.05, 0.1)
NAIVE = ("main_exploiters=0", "league_exploiters=0", "self_play=1", "verification=0", "matches=1", "games=128", "keep_min_updates=20")
LEARNERS = 4
METHODS = {"league": "league", "naive": "naive self-play", "league_supervised": "league, supervised start"}
COLOURS = {"league": "#0072B2", "naive": "#D55E00", "league_supervised": "#009E73"}


def main() -> None:
    """Train, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "league")
    add_arguments(parser)
    args = parser.parse_args()
    require_clean(allow_dirty=args.allow_dirty)
    seeds = [int(seed) for seed in args.seeds.split(",")]
    report: dict[str, Any] = {"provenance": provenance(seeds, threads=1), "games": {}}
    folder = args.runs / str(report["provenance"]["commit"])[:10]
    for game in GAMES:
        entry = report["games"][game] = {"supervised": {}, "methods": {}}
        for seed in seeds:
            run = trained(f"{game}_supervised", f"{game}_supervised_{seed}", seed, [], folder)
            entry["supervised"][seed] = read_metrics(run)[-1]["dev/exploitability"]
            for bonus in BONUSES:
                for method in METHODS:
                    changes = [f"--trainer.ppo.ent_coef={bonus}"]
                    if method == "naive":
                        config = read_config(f"{game}_league", [])
                        changes += [f"--num_updates={LEARNERS * config.num_updates}", f"--eval_every={LEARNERS * config.eval_every}"]
                        changes += [f"--trainer.{change}" for change in NAIVE]
                    if method == "league_supervised":
                        changes.append(f"--init_from={run}")
                    start = time.process_time()
                    record = measured(trained(f"{game}_league", f"{game}_{method}_{bonus}_{seed}", seed, changes, folder))
                    record["processor_s"] = time.process_time() - start
                    entry["methods"].setdefault(method, {}).setdefault(str(bonus), {})[seed] = record
                    curve = record["exploitability"]
                    late = float(np.mean(curve[len(curve) // 2 :]))
                    print(f"{game}, {method}, {bonus}, seed {seed}: {late:.3f} late, {record['kept']}", flush=True)
            write_results(RESULTS / "league.json", report)
    draw(report["games"])


def trained(config_name: str, name: str, seed: int, changes: Sequence[str], folder: Path) -> Path:
    """Train a configuration; give the run's folder."""
    settings = [*changes, f"--seed={seed}", f"--name={name}", f"--runs_folder={folder}"]
    config = read_config(config_name, settings)
    whole(train(config, overwrite=True, display=False))
    return config.run_folder


def measured(run: Path) -> dict[str, Any]:
    """Give the curve of a run's main agent, and how exploitable those are together that it kept."""
    rows = [row for row in read_metrics(run) if "dev/exploitability" in row]
    return {
        "games": [int(row["progress/num_samples"]) for row in rows],
        "exploitability": [row["dev/exploitability"] for row in rows],
        "kept": {"main": together(run, "main_0:"), "all": together(run, "")},
    }


def together(run: Path, beginning: str) -> dict[str, float]:
    """Give the number of a run's kept players of these names, and the exploitability of their even mix and of their equilibrium."""
    from seqrl.run import checkpoint

    _, task, policy, folder = load(run, prefer_best=False)
    strategies = []
    for name, weights in checkpoint.load_tables(folder, ["league_weights"])["league_weights"].items():
        if ":" in name and name.startswith(beginning):
            policy.load_state_dict(weights)
            strategies.append(task.strategy(policy).numpy())  # type: ignore[attr-defined]
    players, game = np.array(strategies), task.game  # type: ignore[attr-defined]
    mixed = equilibrium(players @ game.payoff @ players.T)
    return {
        "number": len(players),
        "even_mix": game.exploitability(players.mean(axis=0)),
        "equilibrium": game.exploitability(mixed @ players),
    }


def equilibrium(payoff: NDArray[np.float64]) -> NDArray[np.float64]:
    """Solve a symmetric game of two by its linear programme: the mixture p that maximises v with p A >= v."""
    from scipy.optimize import linprog  # which scikit-learn brings

    count = len(payoff)
    bounds: Any = [(0, None)] * count + [(None, None)]
    conditions = {"A_ub": np.c_[-payoff.T, np.ones(count)], "b_ub": np.zeros(count), "A_eq": [[1.0] * count + [0.0]], "b_eq": [1.0]}
    return np.asarray(linprog([0.0] * count + [-1.0], bounds=bounds, **conditions).x[:count])


def draw(games: dict[str, Any]) -> None:
    """Draw the newest main agent's exploitability against the games played, a panel a game and entropy bonus, a line a seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.6), layout="constrained")
    axes = figure.subplots(len(GAMES), len(BONUSES), sharex=True, sharey="row")
    for line, (game, title) in zip(axes, GAMES.items(), strict=True):
        for panel, bonus in zip(line, BONUSES, strict=True):
            for method, label in METHODS.items():
                for number, record in enumerate(games[game]["methods"][method][str(bonus)].values()):
                    x = np.array(record["games"]) / 1000
                    panel.plot(x, record["exploitability"], color=COLOURS[method], label="_" * (number > 0) + label, alpha=0.75, lw=1)
            panel.set_title(f"{title}; entropy bonus {bonus}", fontsize=9)
            panel.grid(alpha=0.25)
            panel.set_ylim(bottom=0)
        line[0].set_ylabel("exploitability of the newest main agent")
    for panel in axes[-1]:
        panel.set_xlabel("games played by all learners (thousands), a line a seed")
    axes[0][0].legend(fontsize=8)
    path = ROOT / "docs" / "figures" / "league.png"
    write_small_png(figure, path, dpi=100)
    print(path)


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
