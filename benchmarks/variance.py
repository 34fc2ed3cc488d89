"""Bias and variance of every estimator of the policy gradient, on a corridor whose episodes can all be written down.

    python benchmarks/variance.py [--episodes 20000] [--seeds 0,1,2]

The bias is exact: the mean over all episodes, or groups of them, against the gradient that dynamic programming gives. The variance is
measured over sampled episodes, and beside it stands the exact one where rows are not compared. Fresh rows are looked at for two policies,
a new one and one that has learned; older rows were sampled by what that one was some updates ago. Writes
benchmarks/results/variance.json and docs/figures/variance.png.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from corridor import World, corridor, every_episode, exact_gradient, learning_curve, log_probabilities, quietest_constant, state_values
from enumeration import enumerate_estimator, sample_gradients
from estimators import Estimator, off_policy, on_policy
from provenance import RESULTS, ROOT, add_arguments, provenance, require_clean, write_results
from small_png import write_small_png
from torch import Tensor

from seqrl.run.interrupt import run_command

FIGURE = ROOT / "docs" / "figures" / "variance.png"
FIRST = [[0.3, -0.2], [0.5, -0.1], [-0.3, 0.4], [0.2, 0.1]]  # a new policy's logits: neither even nor far from it
UPDATES, STEP_SIZE, LAGS = 50, 0.5, (1, 5, 20, 50)  # of gradient ascent along the exact gradient
COLOURS = {"exact": "#0072B2", "clockless": "#009E73", "wrong": "#D55E00"}  # Okabe and Ito's
BY_EPISODES = {
    "no weights": "#444444",
    "weight of the whole row": "#56B4E9",
    "per decision": "#0072B2",
    "V-trace, no limits": "#E69F00",
    "V-trace, rho and c at most 1": "#D55E00",
    "PPO, clip 0.2": "#CC79A7",
}


def measure(
    estimators: Mapping[str, Estimator], world: World, logits: Tensor, behaviour: Tensor, episodes: int, seeds: Sequence[int]
) -> dict[str, Any]:
    """Describe each estimator: exact bias as a share of the gradient's length, cosine, length, and variances of one row's gradient."""
    wanted, found = exact_gradient(world, logits), {}
    for name, estimator in estimators.items():
        exact = enumerate_estimator(estimator, world, logits, behaviour)
        sampled = [sample_gradients(estimator, world, logits, behaviour, episodes, torch.Generator().manual_seed(seed)) for seed in seeds]
        errors = [float((each.mean(dim=0) - exact.mean).norm() / (each.var(dim=0).sum() / len(each)).sqrt()) for each in sampled]
        found[name] = {
            "bias": float((exact.mean - wanted).norm() / wanted.norm()),
            "cosine": float(torch.nn.functional.cosine_similarity(exact.mean, wanted, dim=0)),
            "length": float(exact.mean.norm() / wanted.norm()),
            "variance_exact": exact.variance,
            "variance": [estimator.rows * float(each.var(dim=0).sum()) for each in sampled],
            "sampled_mean_off_by_standard_errors": errors,
        }
    return found


def apart(world: World, logits: Tensor, behaviour: Tensor) -> dict[str, float]:
    """Say exactly how far two policies are apart: KL of the rows, effective share of the rows, largest weight that can occur."""
    rows, chance = every_episode(world)
    logp, older = (log_probabilities(rows, table).sum(dim=1) for table in (logits, behaviour))
    weight = (logp - older).exp()
    return {
        "row_kl": float(chance * logp.exp() @ (logp - older)),
        "effective_share": float(1 / (chance * older.exp() @ weight.square())),
        "largest_weight": float(weight.max()),
    }


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Draw bias against variance of GAE for each critic, and the error of old rows by the number of episodes."""
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    panels = figure.subplots(1, 2)
    fresh = results["fresh"]["learned"]
    unit = np.mean(fresh["estimators"]["REINFORCE: return of the whole episode"]["variance"])
    for critic, colour in COLOURS.items():
        names = {
            name.split()[2].strip(","): entry
            for name, entry in fresh["estimators"].items()
            if name.startswith("GAE") and name.endswith(critic)
        }
        points = [(max(entry["bias"], 0.0), np.mean(entry["variance"]) / unit) for entry in names.values()]
        panels[0].plot(*zip(*points, strict=True), marker="o", color=colour, label=f"V {critic}")
        for place, (value, point) in enumerate(zip(names, points, strict=True)):
            if critic != "exact" or place in (0, len(points) - 1):
                panels[0].annotate(value, point, textcoords="offset points", xytext=(5, 4), fontsize=7, color=colour)
    panels[0].set(xlabel="bias / length of the gradient", ylabel="variance / REINFORCE's", title="GAE by its lambda, three critics")
    episodes = np.logspace(0, 5, 60)
    older = results["older"][str(max(LAGS))]["estimators"]
    for name, colour in BY_EPISODES.items():
        entry = older[name]
        error = np.sqrt(entry["bias"] ** 2 + np.mean(entry["variance"]) / fresh["gradient_norm"] ** 2 / episodes)
        panels[1].plot(episodes, error, color=colour, label=name)
    title = f"rows from a policy {max(LAGS)} updates old"
    panels[1].set(xscale="log", yscale="log", xlabel="episodes of an update", ylabel="error / length of the gradient", title=title)
    for panel in panels:
        panel.grid(alpha=0.25)
        panel.legend(fontsize=8, frameon=False)
        panel.spines[["top", "right"]].set_visible(False)
    write_small_png(figure, path)


def main() -> None:
    """Measure, print, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=20_000, help="of each estimator and seed; a multiple of 4")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--output", type=Path, default=RESULTS / "variance.json")
    parser.add_argument("--figure", type=Path, default=FIGURE)
    add_arguments(parser)
    arguments = parser.parse_args()
    require_clean(allow_dirty=arguments.allow_dirty)
    torch.set_num_threads(1)
    seeds, world = [int(seed) for seed in arguments.seeds.split(",")], corridor()
    curve = learning_curve(world, torch.tensor(FIRST, dtype=torch.float64), STEP_SIZE, UPDATES)
    results: dict[str, Any] = {
        "provenance": provenance(seeds),
        "episodes": arguments.episodes,
        "different_episodes": every_episode(world)[0].batch_size,
        "fresh": {},
        "older": {},
    }
    for name, logits in {"new": curve[0], "learned": curve[-1]}.items():
        average, quietest = float(state_values(world, logits)[0, world.start]), quietest_constant(world, logits)
        results["fresh"][name] = {
            "return": average,
            "quietest_constant": quietest,
            "gradient_norm": float(exact_gradient(world, logits).norm()),
            "estimators": measure(on_policy(average, quietest), world, logits, logits, arguments.episodes, seeds),
        }
    for lag in LAGS:
        behaviour = curve[-1 - lag]
        found = measure(off_policy(), world, curve[-1], behaviour, arguments.episodes, seeds)
        results["older"][str(lag)] = apart(world, curve[-1], behaviour) | {"estimators": found}
    write_results(arguments.output, results)
    draw(results, arguments.figure)
    for group in (*results["fresh"].items(), *results["older"].items()):
        for name, entry in group[1]["estimators"].items():
            print(f"{group[0]:8} {name:45} bias {entry['bias']:.4f} cosine {entry['cosine']:.4f} variance {entry['variance'][0]:.4f}")


if __name__ == "__main__":
    sys.exit(run_command(main, name="variance.py"))
