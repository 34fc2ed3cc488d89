"""Figures of agents: returns, when a task is solved, steps a second."""

from __future__ import annotations

import statistics
from typing import Any

from blocks.text import each, mean_and_span, number, rounded, rounded_span, span, table

SOLVED = {"CartPole-v1": 475.0, "Acrobot-v1": -100.0, "LunarLander-v3": 200.0}
# Mean returns of training episodes; https://docs.cleanrl.dev/rl-algorithms/ppo/ for ppo.py and ppo_continuous_action.py.
CLEANRL = {"acrobot_ppo": -86.4, "halfcheetah_ppo": 1443, "hopper_ppo": 2383, "walker2d_ppo": 2288}
AGENTS = {
    "cartpole_ppo": ("CartPole-v1", "PPO"),
    "cartpole_reinforce": ("CartPole-v1", "REINFORCE over whole episodes"),
    "cartpole_cem": ("CartPole-v1", "cross-entropy method"),
    "cartpole_trpo": ("CartPole-v1", "TRPO"),
    "cartpole_a2c": ("CartPole-v1", "A2C"),
    "cartpole_vtrace": ("CartPole-v1", "V-trace, actors that lag behind"),
    "cartpole_off_policy": ("CartPole-v1", "off-policy gradient"),
    "cartpole_dqn": ("CartPole-v1", "DQN"),
    "cartpole_dqn_rainbow": ("CartPole-v1", "Rainbow-like DQN"),
    "cartpole_es": ("CartPole-v1", "evolution strategies"),
    "cartpole_masked_ppo_lstm": ("CartPole-v1, velocities hidden", "PPO with an LSTM"),
    "acrobot_ppo": ("Acrobot-v1", "PPO"),
    "lunar_lander_ppo": ("LunarLander-v3", "PPO"),
    "halfcheetah_ppo": ("HalfCheetah-v4", "PPO"),
    "hopper_ppo": ("Hopper-v4", "PPO"),
    "walker2d_ppo": ("Walker2d-v4", "PPO"),
}


def agents(files: Any) -> str:
    """Returns of every configuration that has been run."""
    rows = []
    for name, (environment, trainer) in AGENTS.items():
        if name not in files.peek("configs.json")["configs"]:
            continue
        records = list(files.read("configs.json", "configs", name)["seeds"].values())
        digits = 1 if max(abs(record["test"]["return_mean"]) for record in records) < 1000 else 0
        greedy = [record["test"]["return_mean"] for record in records]
        sampled, training = ([_figure(record, key) for record in records if key in record] for key in ("sampled", "training"))
        rows.append(
            [
                environment,
                trainer,
                f"`{name}`",
                _first_solved(records, environment),
                mean_and_span(greedy, digits),
                mean_and_span(sampled, digits) if sampled else "",
                mean_and_span(training, digits),
                str(CLEANRL.get(name, "")),
                span([record["processor_s"] for record in records]),
            ]
        )
    head = [
        "environment",
        "trainer",
        "config",
        "solved after steps",
        "greedy",
        "sampled",
        "in training",
        "CleanRL, in training",
        "CPU time (s)",
    ]
    return table(head, rows)


def _figure(record: dict[str, Any], key: str) -> float:
    return record[key]["return_mean"] if isinstance(record[key], dict) else record[key]


def _first_solved(records: list[dict[str, Any]], environment: str) -> str:
    """Give the steps at the first of three evaluations in a row that reach the published score, mean and span over seeds."""
    score = SOLVED.get(environment)
    if score is None:
        return ""
    found = []
    for record in records:
        curve = record["curve"]
        reached = [value >= score for value in curve["dev/return_mean"]]
        first = next((place for place in range(len(reached) - 2) if all(reached[place : place + 3])), None)
        if first is not None:
            found.append(curve["env_steps"][first])
    if not found:
        return "no three in a row"
    seeds = f", {len(found)} of {len(records)} seeds" if len(found) < len(records) else ""
    return f"{rounded(statistics.fmean(found), 3)} ({rounded_span(found, 3)}){seeds}"


def ppo_rates(files: Any) -> str:
    """CartPole beside Stable-Baselines3."""
    results = files.read("agents.json")
    seeds = results["seeds"]

    def solved(run: dict[str, Any]) -> str:
        if run["solved_steps"] is None:
            return "not"
        return f"{run['solved_steps']:,}; {number(run['solved_s'], 1)} s; {100 * run['stays']:.0f}%"

    limits = [seed["limit"] for seed in seeds.values()]
    rows = [
        ["environment alone, steps/s", *(number(limit["environment_alone_steps_per_s"]) for limit in limits)],
        ["actor forward alone, 8 rows, µs", *(number(limit["forward_alone_us"]) for limit in limits)],
        ["forward, backward and Adam alone, 256 rows, µs", *(number(limit["update_alone_us"]) for limit in limits)],
        ["limit, steps/s", *(number(limit["limit_steps_per_s"]) for limit in limits)],
    ]
    for key, title in (("ours", "this project"), ("stable_baselines3", "Stable-Baselines3")):
        runs = [seed[key] for seed in seeds.values()]
        rows.append(
            [f"{title}, steps/s (share of the limit)", *(f"{number(run['steps_per_s'])} ({100 * run['of_limit']:.0f}%)" for run in runs)]
        )
    rows.append(["ratio", *(number(seed["ratio"], 2) for seed in seeds.values())])
    for key, title in (("ours", "this project"), ("stable_baselines3", "Stable-Baselines3")):
        rows.append([f"{title}, solved after steps; CPU time; stays", *(solved(seed[key]) for seed in seeds.values())])
    return table(["", *(f"seed {seed}" for seed in seeds)], rows)


def pong(files: Any) -> str:
    """What PPO has learned of Pong, in its first run and the one that goes on from it, and how its greedy score rose."""
    rows, curves = [], []
    for name in ("pong_ppo", "pong_ppo_end"):
        for seed, record in files.read("configs.json", "configs", name)["seeds"].items():
            greedy, curve = record["test"], record["curve"]
            returns = f"{number(greedy['return_mean'], 1)} ({number(greedy['return_min'])} to {number(greedy['return_max'])})"
            others = [number(_figure(record, key), 1) for key in ("sampled", "training")]
            rows.append([f"`{name}`", seed, number(curve["env_steps"][-1]), returns, *others, number(record["processor_s"] / 60)])
            points = zip(curve["env_steps"], curve["dev/return_mean"], strict=True)
            shown = ", ".join(f"{number(value, 1)} at {number(steps / 1e6, 1)}" for steps, value in points)
            curves.append(f"`{name}`, seed {seed}, greedy on dev, by millions of its own steps: {shown}.")
    columns = ["configuration", "seed", "its steps", "greedy, ten games of the test (least to most)", "sampled"]
    head = [*columns, "in training, last fifth", "CPU time (min)"]
    return "\n\n".join([table(head, rows), *curves])


def atari_rates(files: Any) -> str:
    """Pong beside Stable-Baselines3: the same dtype, and ours where the CPU is fast at bf16."""
    results = files.read("atari.json")
    rows, rates = [], {name: _rates(results, name) for name in ("ours", "ours_fp32", "stable_baselines3")}
    formats = next(iter(results["seeds"].values()))
    for name, title in (
        ("ours_fp32", "this project"),
        ("stable_baselines3", "Stable-Baselines3"),
        ("ours", "this project, format measured"),
    ):
        precision = formats[name]["precision"]
        shares = [
            100 * rate / seed["limits"][f"limit_steps_per_s_{precision}"]
            for rate, seed in zip(rates[name], results["seeds"].values(), strict=True)
        ]
        rows.append([f"{title}, {precision}", *(number(rate) for rate in rates[name]), f"{span(shares)}%"])
    ratios = results["ratios"]
    head = ["steps a second of CPU time", *(f"seed {seed}" for seed in results["seeds"]), "share of the limit in its format"]
    return (
        f"{table(head, rows)}\n\nMedians, {results['threads']} thread: "
        f"{number(ratios['ours_fp32'], 2)} times the peer's rate with both in fp32, "
        f"{number(ratios['ours'], 2)} times with ours in {formats['ours']['precision']}."
    )


def _rates(results: dict[str, Any], name: str) -> list[float]:
    steps = 8 * 128
    return [results["threads"] * steps / seed[name]["processor_s_per_update"] for seed in results["seeds"].values()]


def lags(files: Any) -> str:
    """V-trace's correction against none."""
    results = files.read("on_policy.json")["lags"]
    rows = []
    for lag, pair in results.items():
        columns = [[run[key] for run in pair[kind]] for kind in ("true", "false") for key in ("mean_of_curve", "final_return")]
        rows.append([lag, *(mean_and_span(column) for column in columns)])
    return table(["lag (updates)", "V-trace: mean of the curve", "final", "without correction: mean of the curve", "final"], rows)


def solved_agents(files: Any) -> str:
    """When agents of the earlier measurement had solved their task."""
    rows = []
    for name, runs in files.read("on_policy.json")["runs"].items():
        stays = [100 * (run["share_solved_after"] or 0) for run in runs]
        steps = [run["solved_steps"] for run in runs]
        rows.append(
            [
                runs[0]["environment"],
                f"`{name}`",
                f"{rounded(statistics.fmean(steps), 3)} ({rounded_span(steps, 3)})",
                mean_and_span([run["solved_seconds"] for run in runs], 1),
                f"{span(stays)}%",
                mean_and_span([run["final_return"] for run in runs], 1),
            ]
        )
    head = [
        "environment",
        "config",
        "solved after steps",
        "CPU time in training (s)",
        "evaluations solved from then on",
        "greedy test return",
    ]
    return table(head, rows)


def dqn_cells(files: Any) -> str:
    """Replay and target network: each cell at its best learning rate, and all rates."""
    results = files.read("dqn_ablation.json")
    rows = []
    for index, (cell, best) in enumerate(results["summary"].items()):
        tried = "; ".join(_at_rate(row) for row in sorted(best["all"], key=lambda row: -row["learning_rate"]))
        paper = [f"{scores[index]:,.1f}" for scores in results["paper"].values()]
        rows.append(
            [cell, f"{best['learning_rate']:g}", number(best["later"]), each(best["later_by_seed"]), number(best["best"]), tried, *paper]
        )
    head = [
        "cell",
        "best rate",
        "return, second half",
        "by seed",
        "best evaluation",
        "at each rate",
        *(f"{game} (paper)" for game in results["paper"]),
    ]
    single = len({row["learning_rate"] for best in results["summary"].values() for row in best["all"]}) == 1
    note = "\n\nOnly one learning rate was tried. Two cells do not learn at it, so that no order of the cells is shown." if single else ""
    return table(head, rows) + note


def _at_rate(row: dict[str, Any]) -> str:
    seeds = len(row["later_by_seed"])
    return f"{row['learning_rate']:g} ({seeds} seed{'s' if seeds > 1 else ''}): {number(row['later'])}"


BLOCKS = (agents, ppo_rates, pong, atari_rates, lags, solved_agents, dqn_cells)
