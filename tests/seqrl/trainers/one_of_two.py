"""One of two processes: trains with its own rows and writes its weights down; `test_invariants` starts it."""

from __future__ import annotations

import dataclasses
import math
import os
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

from test_invariants import FAST, WITH_TRPO, policy_for  # noqa: E402
from toy_tokens import TokenPolicy, TokenTask, flat_weights  # noqa: E402

from seqrl import PPOConfig  # noqa: E402
from seqrl.trajectory import Trajectory  # noqa: E402


def main(folder: Path) -> None:
    rank = int(os.environ["RANK"])
    given = torch.load(folder / "rows.pt", weights_only=True)
    weights, skipped = {}, {}
    for name in given["configs"]:
        # Other initial weights in the second process: those of the first are to be taken. Cut in other parts as well.
        config = dataclasses.replace(WITH_TRPO[name], optimiser=dataclasses.replace(FAST, accumulation=1 + 2 * rank))
        trainer = config.build(policy_for(config, seed=7 * rank), seed=0, num_updates=10)
        for _ in range(3):
            trainer.update(Trajectory(**given["parts"][rank][name]))
        weights[name] = flat_weights(trainer.policy)
        # One process with numbers that are not finite is enough for both to skip the step.
        rows, trainer.policy.scale = Trajectory(**given["parts"][rank][name]), math.nan if rank else 1.0
        if name == "trpo" and rank:  # its policy has no scale
            rows = rows.replace(reward=rows.reward * math.nan)
        share = trainer.update(rows)["optimiser/skipped_share"]
        skipped[name] = (share, torch.equal(flat_weights(trainer.policy), weights[name]))
    trainer = PPOConfig(optimiser=FAST, num_samples=2, target_kl=2e-3).build(TokenPolicy(), seed=5, num_updates=9)
    num_steps = [trainer.update(trainer.collect(TokenTask()))["policy/optimiser_steps"] for _ in range(6)]
    found = {"weights": weights, "skipped": skipped, "seed": trainer.optimiser.generator.initial_seed(), "num_steps": num_steps}
    torch.save(found, folder / f"weights_{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
