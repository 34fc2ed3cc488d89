"""What an accelerator computes is what the CPU computes, in each dtype, compiled and resumed (`make test-gpu`)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from matrix_cells import VARIANTS, missing
from matrix_kinds import KINDS
from matrix_updates import learn, make_policy, rows_of
from torch import Tensor

from seqrl.run.config import read_config
from seqrl.run.train import load, resume, train

pytestmark = pytest.mark.skipif(not torch.accelerator.is_available(), reason="needs an accelerator, such as a GPU")

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FEW = ("captions", "captions_lstm", "glimpses", "cartpole_steps")
LEARNERS = {kind: next(name for name, v in VARIANTS.items() if v.trainer == "reinforce" and not missing(v, KINDS[kind])) for kind in FEW}


@pytest.mark.parametrize("kind", FEW)
def test_log_probabilities_and_values_are_those_of_the_cpu(kind: str) -> None:
    policy, rows = make_policy(LEARNERS[kind], kind), rows_of(LEARNERS[kind], kind)
    accelerator = torch.accelerator.current_accelerator()
    assert accelerator is not None and rows.action.device.type == accelerator.type
    policy.eval()
    found: list[list[Tensor]] = []
    for device in (rows.action.device, torch.device("cpu")):
        there, evaluation = rows.to(device), policy.to(device)(rows.to(device))
        found.append([torch.where(there.counted, leaf, 0).cpu() for leaf in (evaluation.logp, evaluation.entropy)])
    for on_gpu, on_cpu in zip(*found, strict=True):
        torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("kind", FEW)
def test_an_update_in_half_precision_goes_where_the_full_one_goes(kind: str, precision: str) -> None:
    full, half = (learn(LEARNERS[kind], kind, optimiser={"precision": name}) for name in ("fp32", precision))
    names = [name for name in full.gradients[0] if full.gradients[0][name].abs().max() > 0]
    one, other = (torch.cat([each.gradients[0][name].flatten().double() for name in names]) for each in (full, half))
    assert torch.nn.functional.cosine_similarity(one, other, dim=0) > 0.98


def test_a_compiled_update_is_the_plain_one() -> None:
    plain, compiled = (learn(LEARNERS["captions"], "captions", optimiser={"compile": choice}) for choice in (False, True))
    for name, gradient in plain.gradients[0].items():
        torch.testing.assert_close(compiled.gradients[0][name], gradient, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_goes_on_from_its_checkpoint_and_loads_on_the_cpu(tmp_path: Path, precision: str) -> None:
    given = [f"--runs_folder={tmp_path}", "--eval_every=2", "--save_every=2", "--num_threads=1", "--init_from="]
    given += [f"--trainer.optimiser.precision={precision}", "--trainer.optimiser.schedule=constant", "--task.evaluation.max_prompts=4"]
    config = CONFIGS / "dialog" / "builtin_self_critical.yaml"
    train(read_config(config, [*given, "--num_updates=4", "--name=whole"]), display=False)
    train(read_config(config, [*given, "--num_updates=2", "--name=parts"]), display=False)
    resume(tmp_path / "parts", ["--num_updates=4"], display=False)
    whole, parts = (load(tmp_path / name)[2] for name in ("whole", "parts"))
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert one.device.type == "cpu"
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3)  # sums come in another order each time
