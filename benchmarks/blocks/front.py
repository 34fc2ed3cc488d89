"""The figures of the README."""

from __future__ import annotations

import re
from typing import Any

from provenance import ROOT

from blocks import attention as glimpses
from blocks.agents import CLEANRL
from blocks.text import mean, number, rounded, span, table


def front_rewards(files: Any) -> str:
    """The rewards in a sentence."""
    alone = files.read("rewards.json")["seeds"].values()
    inside = files.read("rewards_in_training.json")["seeds"].values()
    microseconds = 1e6 / min(seed["ours"] for seed in inside)
    in_training, by_itself = min(seed["ratio"] for seed in inside), min(seed["cider_d"]["ratio"] for seed in alone)
    largest = max(row["largest_difference"] for seed in alone for row in seed.values())
    return (
        f"A CIDEr-D reward costs at most {number(microseconds)} microseconds a caption in training, {rounded(in_training)} times less "
        f"than pycocoevalcap's ({rounded(by_itself)} times when it is scored alone), and differs from it by {largest:.0e} at most."
    )


def front_flickr8k(files: Any) -> str:
    """Captions of photographs before and after self-critical training, and its control."""
    results = files.read("flickr8k_features.json")
    stages = [results["summary"]["test"][stage]["beam"] for stage in ("xe", "control", "sc")]
    rows = []
    for title, key, digits, scale in (
        ("CIDEr-D", "cider_d", 3, 1),
        ("BLEU-4", "bleu4", 3, 1),
        ("words a caption", "length", 1, 1),
        ("different captions, %", "distinct", 0, 100),
    ):
        cells = [number(scale * stage[key]["mean"], digits) for stage in stages]
        if key == "cider_d":
            cells[2] = f"**{cells[2]}** ({100 * (stages[2][key]['mean'] / stages[0][key]['mean'] - 1):+.1f}%)"
        rows.append([title, *cells])
    gains = results["compared"]["sc - xe, beam"]
    clear = sum(gain["low"] > 0 for gain in gains)
    head = ["Flickr8k, 500 test photographs, beam of 5, mean of three seeds", "cross-entropy", "more of it, same time", "self-critical"]
    return f"{table(head, rows)}\n\nThe gain, image by image, is above zero with 95% confidence in {clear} of {len(gains)} seeds."


def front_agents(files: Any) -> str:
    """Agents beside published figures and Stable-Baselines3."""
    configs = files.peek("configs.json")["configs"]
    rows = []
    rates = [seed["ratio"] for seed in files.read("agents.json")["seeds"].values()]
    rows.append(["CartPole, steps a second beside Stable-Baselines3 (one thread, same settings, fp32)", "1", f"**{span(rates, 1)}**"])
    if "acrobot_ppo" in configs:
        training = _column(files, "acrobot_ppo", "training")
        rows.append(
            [
                "Acrobot, return of sampled actions in training (CleanRL)",
                f"{CLEANRL['acrobot_ppo']}",
                _better(training, CLEANRL["acrobot_ppo"], 1),
            ]
        )
    if "lunar_lander_ppo" in configs:
        greedy = _column(files, "lunar_lander_ppo", "test")
        rows.append(["LunarLander-v3, return of greedy actions (solved at)", "200", _better(greedy, 200)])
    for name in ("halfcheetah_ppo", "hopper_ppo", "walker2d_ppo"):
        if name in configs:
            training = _column(files, name, "training")
            title = (
                name.removesuffix("_ppo").replace("halfcheetah", "HalfCheetah").replace("hopper", "Hopper").replace("walker2d", "Walker2d")
            )
            rows.append(
                [
                    f"{title}-v4, a million steps, return in training (CleanRL)",
                    f"{CLEANRL[name]:,}",
                    _better(training, CLEANRL[name]),
                ]
            )
    if files.peek("atari.json")["provenance"]["clean"] is True:
        atari = files.read("atari.json")
        ours, times = next(iter(atari["seeds"].values()))["ours"]["precision"], atari["ratios"]
        other = "" if ours == "fp32" else f"; {number(times['ours'], 1)} with ours in {ours}"
        title = "Atari Pong, steps a second beside Stable-Baselines3 (one thread, both in fp32)"
        rows.append([title, "1", f"**{number(times['ours_fp32'], 1)}**{other}"])
    return table(["PPO, three seeds", "published or peer", "seqrl"], rows)


def _better(values: list[float], published: float, digits: int = 0) -> str:
    """Give mean and span, stressed where every seed is at least as good as published."""
    stress = "**" if min(values) >= published else ""
    return f"{stress}{mean(values, digits)}{stress} ({span(values, digits)})"


def _column(files: Any, name: str, key: str) -> list[float]:
    records = files.read("configs.json", "configs", name)["seeds"].values()
    return [record[key]["return_mean"] if isinstance(record[key], dict) else record[key] for record in records]


def front_attention(files: Any) -> str:
    """Attention's error beside the paper's and the fixed grid's, and its speed."""
    rows = _errors(files)
    head = ["recurrent attention", "paper (NIPS 2014, arXiv v1)", "fixed grid, same network and updates", "learned looking"]
    text = table(head, rows) + "\n\n" if rows else ""
    return text + _speed(files.read("attention.json"))


def _speed(results: dict[str, Any]) -> str:
    """Say how much faster than the peer it trains, first with both in fp32."""
    seconds, threads = results["seconds_an_epoch"], results["provenance"]["threads"]
    alike = [
        f"{number(seconds[peer] / seconds[name], 2)} times as fast in batches of {batch}"
        for batch, name, peer in ((128, "ours_fp32", "peer"), (512, "ours_512_fp32", "peer_512"))
        if name in seconds
    ]
    each = "one thread" if threads == 1 else f"{threads} threads"
    text = f"Beside the best-known PyTorch implementation recurrent attention trains {' and '.join(alike)} ({each} each, both in fp32)"
    if "bfloat16" in [run["dtype"] for run in next(iter(results["seeds"].values())).values()]:
        ratios = [number(seconds[peer] / seconds[name], 2) for name, peer in (("ours", "peer"), ("ours_512", "peer_512"))]
        text += f"; with ours in bf16 {ratios[0]} times in batches of 128, {ratios[1]} in batches of 512"
    return text + "."


def _errors(files: Any) -> list[list[str]]:
    """Give a row for each kind of images: learned looking after the most updates that were run, and the grid after as many."""
    found = {}
    for key in files.peek("configs.json")["configs"]:
        name, looking = glimpses.name_of(key)
        if name in glimpses.TITLES:
            seeds = files.read("configs.json", "configs", key)["seeds"]
            updates = next(iter(seeds.values()))["updates"]
            found[name, looking, updates] = ([record["test"]["error_percent"] for record in seeds.values()], ", ".join(seeds))
    rows = []
    for name, title in glimpses.TITLES.items():
        updates = max((key[2] for key in found if key[:2] == (name, "learned")), default=None)
        if updates is not None:
            learned, seeds = found[name, "learned", updates]
            grid = found.get((name, "grid", updates))
            which = f"test error in % ({updates:,} updates, seed{'s' if len(learned) > 1 else ''} {seeds})"
            paper = glimpses.PAPER[name].replace(" / ", ", ")
            stress = "**" if grid and max(learned) < min(grid[0]) else ""
            shown = f"{stress}{mean(learned, 2)}{stress}"
            rows.append([f"{title}, {which}", paper, mean(grid[0], 2) if grid else "not run", shown])
    return rows


def recipes(files: Any) -> str:
    """How long the files of CONTRIBUTING's recipes are."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    lines = {
        path: len(code.splitlines()) for path, code in re.findall(r"^```python (\S+)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    }
    metric = next(count for path, count in lines.items() if path.startswith("metrics/"))
    task = next(count for path, count in lines.items() if path.startswith("tasks/"))
    return (
        "[CONTRIBUTING.md](CONTRIBUTING.md) has recipes, which a test follows to the letter: "
        f"a metric of your own takes {metric} lines, a task {task}."
    )


BLOCKS = (front_rewards, front_flickr8k, front_agents, front_attention, recipes)
