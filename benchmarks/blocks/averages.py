"""What the policy gradient's losses are averaged over, and what rows are compared with."""

from __future__ import annotations

from typing import Any

from blocks.text import mean_and_span, table

# Which evaluation of a run's curve on dev tells how fast it learned, and with how many digits its figures are shown.
EARLY = {
    "cartpole_reinforce": ("dev/return_mean", "return_mean", 20, 0),
    **dict.fromkeys(("scenes_self_critical", "scenes_grpo", "scenes_dr_grpo"), ("dev/cider_d", "cider_d", 50, 2)),
}


def averages(files: Any) -> str:
    """Early figures on dev and last ones on test: by average, of GRPO, and of leave-one-out before and after it compares returns to go."""
    results = files.read("credit.json")
    rows = [line(key, entry) for key, entry in results["configs"].items() if "average_over" in key]
    head = ["configuration", "averaged over", "updates", "dev then: mean (lowest to highest)", "test at the end"]
    compared = [
        [title, *line(key, entry)[2:]]
        for title, part in (("whole scores, before", "before"), ("returns to go", "configs"))
        for key, entry in results[part].items()
        if "reward_to_go" in key
    ]
    grpo = [[line(key, entry)[0], *line(key, entry)[2:]] for key, entry in results["configs"].items() if "grpo" in key]
    return f"""{table(head, rows)}

{table([head[0], *head[2:]], grpo)}

REINFORCE on CartPole with leave-one-out and `reward_to_go: true`:

{table(["the others' rows give", *head[2:]], compared)}"""


def line(key: str, entry: dict[str, Any]) -> list[str]:
    """Put one configuration's seeds into a row of cells."""
    name, *changes = key.split(" ")
    curve, figure, update, digits = EARLY[name]
    settings = dict(change.lstrip("-").split("=") for change in changes)
    over, limit = settings.get("trainer.average_over", "steps"), settings.get("trainer.optimiser.max_grad_norm")
    seeds = list(entry["seeds"].values())
    early = [seed["curve"][curve][seed["curve"]["updates"].index(update)] for seed in seeds]
    last = [seed["test"][figure] for seed in seeds]
    shown = f"`{over}`" if limit is None else f"`{over}`, `max_grad_norm: {limit}`"
    return [f"`{name}`", shown, str(update), mean_and_span(early, digits), mean_and_span(last, digits)]


BLOCKS = (averages,)
