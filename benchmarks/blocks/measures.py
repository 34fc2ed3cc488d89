"""What a reader of the code meets, and how fast it is, beside an older commit."""

from __future__ import annotations

from typing import Any

from blocks.text import number, table

READER = {
    "ppo_step_files": "files that one PPO step enters (collecting and update)",
    "ppo_step_functions": "functions that it enters",
    "caption_hops": "calls within each other from a sampled caption's update to the step of the weights",
    "task_concepts": "names of the project that a first task needs",
    "largest_file": "largest file, lines",
    "fields": "fields of configurations",
    "fields_not_shown": "fields that no configuration, benchmark or page shows",
    "code_lines": "lines of code in the packages",
}
PIECES = {
    "agents": "PPO on CartPole, collecting and update",
    "rewards_in_training": "CIDEr-D of sampled captions",
    "self_critical": "a whole self-critical update",
    "attention": "recurrent attention, batches of 128",
}


def code_measures(files: Any) -> str:
    """Measures of the code at two commits."""
    found = files.read("code_measures.json")
    rows = []
    for key, what in READER.items():
        values = [found[side][key] for side in ("before", "after")]
        rows.append([what, *(value if isinstance(value, str) else number(value) for value in values)])
    before = f"before ({found['old'][:7]})"
    lines = number(100 * (found["after"]["code_lines"] / found["before"]["code_lines"] - 1), 1)
    return f"{table(['', before, 'after'], rows)}\n\nLines of code changed by {lines}%."


def old_and_new(files: Any) -> str:
    """Speed at two commits, in turns."""
    pieces = files.read("old_and_new.json")["pieces"]
    rows = []
    for key, found in pieces.items():
        low, high = (number(end, 3) for end in found["interval"])
        rows.append([PIECES[key], f"{number(found['median_ratio'], 3)} ({low} to {high})", len(found["ratios"])])
    return table(["CPU time before / after, above 1 where the code became faster", "median (95% interval)", "turns"], rows)


BLOCKS = (code_measures, old_and_new)
