"""Bias and variance of the policy gradient's estimators, and V-trace's correction by lag."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from blocks.text import mean_and_span, number, span, table

PLAIN = "REINFORCE: return of the whole episode"
NOTHING = 1e-10  # what rounding leaves of a bias of 0


def variance_fresh(files: Any) -> str:
    """Rows that the policy itself has just sampled, for a new policy and one that has learned."""
    results = files.read("variance.json")
    policies = results["fresh"]
    rows = []
    for name in policies["new"]["estimators"]:
        cells = [_share_of(policy["estimators"][name], _unit(results, key)) for key, policy in policies.items()]
        rows.append([name, *(cell for columns in cells for cell in columns)])
    head = ["estimator", *(f"{key}: {what}" for key in policies for what in ("bias", "cosine", "variance", "at equal length"))]
    entries = [entry for policy in policies.values() for entry in policy["estimators"].values()]
    entries += [entry for older in results["older"].values() for entry in older["estimators"].values()]
    spread = max((max(entry["variance"]) - min(entry["variance"])) / statistics.fmean(entry["variance"]) for entry in entries)
    summed = [entry for entry in entries if entry["variance_exact"] is not None]
    off = max(abs(statistics.fmean(entry["variance"]) / entry["variance_exact"] - 1) for entry in summed)
    errors = [error for entry in entries for error in entry["sampled_mean_off_by_standard_errors"]]
    returns = ", ".join(f"{key} {number(policy['return'], 2)}" for key, policy in policies.items())
    constants = ", ".join(f"{key} {number(policy['quietest_constant'], 2)}" for key, policy in policies.items())
    count, sampled = number(results["different_episodes"]), number(results["episodes"])
    return f"""{table(head, rows)}

Of {count} different episodes {sampled} were sampled for each estimator and seed. Expected return of the policies: {returns}; constant
baseline of least variance: {constants}. Here and in the next table variances are means over the seeds, which span {number(100 * spread)}%
of it at most; where an exact variance can be summed up, the mean is off by {number(100 * off, 1)}% at most. Sampled means of the
gradient are within {number(max(errors), 1)} standard errors of the exact ones."""


def variance_older(files: Any) -> str:
    """Rows that an older policy has sampled, by its age in updates."""
    results = files.read("variance.json")
    ages, unit = results["older"], _unit(results, "learned")
    names = next(iter(ages.values()))["estimators"]
    rows = []
    for name in names:
        cells = [name]
        for age in ages.values():
            bias, cosine, variance, _ = _share_of(age["estimators"][name], unit)
            cells += [bias if bias == "0" else f"{bias} ({cosine})", variance]
        rows.append(cells)
    distance = [[f"{number(age['row_kl'], 3)}", f"{number(100 * age['effective_share'], 1)}%"] for age in ages.values()]
    rows.append(["KL of whole rows, nats; effective share of the rows", *(cell for pair in distance for cell in pair)])
    old = [f"{age} update{'s' if int(age) > 1 else ''} old" for age in ages]
    head = ["estimator", *(f"{age}: {what}" for age in old for what in ("bias (cosine)", "variance"))]
    return table(head, rows)


def _unit(results: Mapping[str, Any], policy: str) -> float:
    return statistics.fmean(results["fresh"][policy]["estimators"][PLAIN]["variance"])


def _share_of(entry: Mapping[str, Any], unit: float) -> list[str]:
    """Write bias, cosine, variance as a multiple of REINFORCE's, and the same after the gradient was brought to its right length."""
    variance = statistics.fmean(entry["variance"]) / unit
    bias = "0" if entry["bias"] < NOTHING else number(entry["bias"], 3 if entry["bias"] >= 0.01 else 4)
    cosine = "1" if entry["bias"] < NOTHING else number(entry["cosine"], 4)
    return [bias, cosine, number(variance, 2), number(variance / entry["length"] ** 2, 2)]


def vtrace_lags(files: Any) -> str:
    """Returns by learning rate, lag and correction."""
    rows = []
    names = {"room": ("the robot's room", 2), "cartpole": ("CartPole-v1", 0)}
    for task, (title, digits) in names.items():
        if task not in files.peek("vtrace_lags.json"):
            continue
        cells: dict[tuple[float, int], dict[str, list[dict[str, Any]]]] = {}
        for row in files.read("vtrace_lags.json", task)["rows"]:
            cells.setdefault((row["learning_rate"], row["lag"]), {})[row["correction"]] = row["runs"]
        for (rate, lag), found in cells.items():
            shares = [100 * run["effective_share"] for run in found.get("V-trace, rho at most 1", [])]
            columns = [_returns(found.get(name, []), digits) for name in CORRECTIONS]
            rows.append([title, f"{rate:g}", str(lag), f"{span(shares)}%" if shares else "", *(cell for pair in columns for cell in pair)])
    head = ["task", "learning rate", "lag (updates)", "effective share"]
    return table([*head, *(f"{title}: {what}" for title in CORRECTIONS.values() for what in ("curve", "end"))], rows)


CORRECTIONS = {"none": "no correction", "V-trace, rho at most 1": "ρ̄ = 1", "V-trace, rho without limit": "ρ̄ = ∞"}


def _returns(runs: list[dict[str, Any]], digits: int) -> list[str]:
    """Write the mean over the evaluations and the last one, mean and span over the seeds."""
    return [mean_and_span([run[key] for run in runs], digits) if runs else "" for key in ("mean_of_curve", "final")]


BLOCKS = (variance_fresh, variance_older, vtrace_lags)
