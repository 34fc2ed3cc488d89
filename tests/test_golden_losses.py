"""Short runs of every trainer give the losses that stand in `golden_losses.json`, update by update.

A change that is meant to leave the updates alone leaves the file alone. One that is meant to change them says so, and writes it anew:

    python tests/test_golden_losses.py

`benchmarks/same_weights.py` compares two commits to the bit, on one machine; bits differ between kinds of CPU, and these losses
hold on all of them: fp32, one thread, a few updates on small data, so that no sampled action depends on a rounding. Without vector
instructions (`ATEN_CPU_CAPABILITY=default`) they move by 4e-5 of their value at most, with those of AVX2 by 2e-6.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from test_configs import CONFIGS, SMALL_ATTENTION, SMALL_CAPTIONING, SMALL_CONTROL, SMALL_SCENES, SMALL_TEXT

from seqrl.run.config import read_config
from seqrl.run.train import build

GOLDEN = Path(__file__).with_name("golden_losses.json")
NUM_UPDATES = 4
TOLERANCE = 1e-4
ALSO = ("optimiser/grad_norm", "action_value/error")  # tables have no loss; a norm tells of what a loss near 0 does not
FP32 = ["--trainer.optimiser.precision=fp32"]
CONTROL = [*SMALL_CONTROL, *FP32]
CAPTIONING = [*SMALL_CAPTIONING, *SMALL_SCENES, *FP32]
RUNS = {  # configuration -> what is changed of it
    "cartpole_ppo": CONTROL,
    "cartpole_a2c": CONTROL,
    "cartpole_dqn": [*CONTROL, "--trainer.learning_starts=10", "--trainer.gradient_steps=2"],
    "cartpole_trpo": CONTROL,
    "cartpole_reinforce": CONTROL,
    "cartpole_vtrace": CONTROL,
    "cartpole_off_policy": CONTROL,
    "cartpole_cem": CONTROL,
    "cliff_walking_sarsa": SMALL_CONTROL,
    "scenes_xe": CAPTIONING,
    "scenes_self_critical": CAPTIONING,
    "scenes_ppo": CAPTIONING,
    "builtin_xe": [*SMALL_TEXT, *FP32],
    "builtin_self_critical": [*SMALL_TEXT, *FP32],
    "digits_translated": [*SMALL_ATTENTION, *FP32, "--task.policy.precision=fp32"],
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", RUNS)
def test_losses_are_those_of_the_file(name: str) -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))[name]
    found = losses_of(name)
    assert len(found) == len(golden) == NUM_UPDATES
    for update, (now, kept) in enumerate(zip(found, golden, strict=True), 1):
        assert now == pytest.approx(kept, rel=TOLERANCE, abs=TOLERANCE), f"{name} from update {update}; see {GOLDEN.name}"


def losses_of(name: str) -> list[dict[str, float]]:
    """Train a configuration for a few updates from its initial weights; give the losses of each."""
    path = next(path for path in CONFIGS if path.stem == name)
    config = read_config(path, RUNS[name])
    task, policy = build(config)
    trainer = config.trainer.build(policy, seed=config.seed, num_updates=10 * NUM_UPDATES)
    updates = (trainer.update(trainer.collect(task)) for _ in range(NUM_UPDATES))
    return [{key: value for key, value in stats.items() if key.startswith("loss/") or key in ALSO} for stats in updates]


if __name__ == "__main__":
    torch.set_num_threads(1)
    GOLDEN.write_text(json.dumps({name: losses_of(name) for name in RUNS}, indent=1) + "\n", encoding="utf-8")
