"""What safety costs, and which configurations a large change has left as they were."""

from __future__ import annotations

from typing import Any

from blocks.text import number


def safety(files: Any) -> str:
    """Shares of CPU time for locks and checksums."""
    runs = files.read("safety_cost.json")["runs"]
    lines = []
    for name, run in runs.items():
        low, high = (number(100 * share, 1) for share in run["paired_share_quartiles"])
        lines.append(
            f"{name}, {number(100 * run['inside_share'], 2)}% is spent inside of it, and the paired difference is "
            f"{number(100 * run['paired_share'], 1)}% (quartiles {low} to {high})"
        )
    what = "The lock of a run's folder, the checksums and the look whether it is still there, in `cartpole_ppo_fast`"
    return f"{what}: {'; with '.join(lines)}."


def same_weights(files: Any) -> str:
    """Configurations that end with the weights of an older commit, to the bit."""
    found = files.read("same_weights.json")
    verdicts = found["configs"]
    equal = [name for name, said in verdicts.items() if said == "equal"]
    both = [name for name, said in verdicts.items() if not said.startswith("only")]
    others = ", ".join(f"`{name}` {verdicts[name]}" for name in both if name not in equal)
    equals = f"After {found['updates']} updates {len(equal)} of {len(both)} configurations have the weights of commit {found['old'][:10]}"
    return f"{equals}, to the bit{f'; {others}' if others else ''}."


BLOCKS = (safety, same_weights)
