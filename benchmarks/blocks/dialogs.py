"""Figures of dialogue policies: restaurants under misunderstandings, movie booking beside the published curve, turns a second."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from blocks.text import each, mean, number, rounded, span, table

NAMES = {"hand-crafted": "hand-crafted", "ppo": "PPO", "a2c": "A2C", "dqn": "DQN", "reinforce": "REINFORCE"}
# Environment 1 of PyDial's benchmarks (Casanueva et al. 2017), DQN after 4,000 dialogs: another simulator, and so for orientation alone.
PYDIAL = ["PyDial's environment 1", "DQN, 4,000 dialogs", "98.4 ± 1.1", "", "13.7 ± 0.3", "", ""]
GOAL = 0.95  # share of the bound that the policies are to reach
EPOCH, WARM_START, AROUND = 100, 120, 5  # dialogs of a published epoch and before the first one; epochs on either side that are averaged


def dialogue_restaurants(files: Any) -> str:
    """Each policy at each error rate, on the same unseen goals."""
    found = files.read("dialogue_policy_restaurants.json")
    rows = [*found["rows"], *files.read("dialogue_policy_rates.json")["rows"]]  # the second one has more error rates
    lines = []
    for rate in sorted({row["error_rate"] for row in rows}):
        here = [row for row in rows if row["error_rate"] == rate]
        crafted = next(row for row in here if row["policy"] == "hand-crafted")
        for policy in dict.fromkeys(row["policy"] for row in here):
            of = [row for row in here if row["policy"] == policy]
            lines.append([f"{100 * rate:.0f}% errors", NAMES[policy], *_judged(of), *_compared(of, crafted)])
    head = ["", "policy", "success, %", "turns of the system", "reward", "reward above the hand-crafted", "dialogs trained on"]
    return (
        f"{table(head, [*lines, PYDIAL])}\n\nMean over seeds ± the mean half width of the 95% intervals over {number(found['dialogs'])} "
        "dialogs of a seed; in brackets each seed's mean. The last line is another simulator's (Casanueva et al. 2017), for orientation."
    )


def _judged(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Write success, turns and reward, each with its interval, and the seeds' rewards."""

    def interval(name: str, scale: float, digits: int) -> str:
        middle, half = (statistics.fmean(scale * row[name][place] for row in rows) for place in (0, 1))
        return f"{number(middle, digits)} ± {number(half, digits)}"

    seeds = f" ({each([row['reward'][0] for row in rows], 2)})" if len(rows) > 1 else ""
    return [interval("success", 100, 1), interval("turns", 1, 2), interval("reward", 1, 2) + seeds]


def _compared(rows: Sequence[dict[str, Any]], crafted: dict[str, Any]) -> list[str]:
    if rows[0] is crafted:
        return ["", ""]
    gains = [row["reward"][0] - crafted["reward"][0] for row in rows]
    return [span(gains, 2), rounded(statistics.fmean(row["curve"][-1][0] for row in rows), 2)]


def dialogue_movies(files: Any) -> str:
    """Success after as many dialogs as the published agent had, and on test."""
    found = files.read("dialogue_policy_movies.json")
    published, rows = found["published"]["success_rate"], found["rows"]
    bound = found["goals"][0] / found["goals"][1]
    lines = []
    for trainer in dict.fromkeys(row["trainer"] for row in rows):
        of = [row for row in rows if row["trainer"] == trainer]
        for place in _chosen(len(of[0]["curve"])):
            dialogs = statistics.fmean(row["curve"][place][0] for row in of)
            success = [row["curve"][place][1] for row in of]
            lines.append([NAMES[trainer], rounded(dialogs, 2), each(success, 3), number(_around(published, dialogs), 3), "", ""])
        tested = [row["success"][0] for row in of]
        lines[-1][4:] = [each(tested, 3), number(min(tested) / bound, 3)]
    head = ["trainer", "dialogs", "success on dev, each seed", "published DQN", "success on test", "least share of the bound"]
    reached = [row["success"][0] >= GOAL * bound for row in rows]
    turns, reward = ([row[name] for row in rows] for name in ("turns", "reward"))
    last = {name: statistics.fmean(values[-50:]) for name, values in found["published"].items()}
    ours = f"ours {mean([row['success'][0] for row in rows], 3)}, {mean(turns, 1)} and {mean(reward, 1)}"
    return (
        f"{table(head, lines)}\n\nThe published curve is the mean over {2 * AROUND + 1} epochs of {EPOCH} dialogs around as many dialogs; "
        f"over its last 50 epochs its success is {number(last['success_rate'], 3)} with {number(last['ave_turns'], 1)} turns of both sides "
        f"and a reward of {number(last['ave_reward'], 1)}, {ours} on test. The goals bound success by {number(bound, 4)}; "
        f"{sum(reached)} of {len(reached)} runs are at or above {GOAL} of it on test."
    )


def _chosen(count: int) -> list[int]:
    """Give some places of a curve, the last one among them."""
    return sorted({max(1, round(share * (count - 1))) for share in (0.1, 0.2, 0.5, 1.0)})


def _around(published: Sequence[float], dialogs: float) -> float:
    """Average the published curve around a number of dialogs."""
    epoch = min(len(published) - 1, max(0, round((dialogs - WARM_START) / EPOCH)))
    return statistics.fmean(published[max(0, epoch - AROUND) : epoch + AROUND + 1])


def dialogue_speed(files: Any) -> str:
    """Turns a second."""
    rows = files.read("dialogue_policy_speed.json")["rows"]
    lines = [
        [f"`{row['environment']}`", number(row["options"].get("error_rate", 0.0), 2), rounded(row["turns_per_s"], 2)]
        for row in sorted(rows, key=lambda row: -row["turns_per_s"])
    ]
    return table(["environment", "error rate", "turns of the system a second of CPU time"], lines)


BLOCKS = (dialogue_restaurants, dialogue_movies, dialogue_speed)
