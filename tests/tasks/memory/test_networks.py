"""Networks with differentiable memory: what they are shown and asked for, what they learn, pictures, resume and bad settings."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from seqrl import EvolutionStrategies, EvolutionStrategiesConfig, SelfCritical, SelfCriticalConfig, Supervised
from seqrl.run import checkpoint
from seqrl.run.config import read_config
from seqrl.run.train import resume, train
from seqrl.tasks.memory.policy import END, FIRST, MemoryPolicy, MemoryPolicyConfig
from seqrl.tasks.memory.task import MemoryConfig, MemoryTask
from seqrl.trainers.imitation import ImitationConfig

ROOT = Path(__file__).resolve().parents[3]


def small(kind: Any = "ntm", **settings: Any) -> MemoryTask:
    own: dict[str, dict[str, Any]] = {"ntm": {"memory_length": 8, "memory_width": 4}, "act": {"most_thoughts": 3}, "lstm": {}}
    policy = MemoryPolicyConfig(type=kind, num_units=12, **own[kind])
    return MemoryConfig(**{"max_length": 4, "batch_size": 6, "num_evaluated": 8, "policy": policy, **settings}).build(0)


@pytest.mark.parametrize(("problem", "right"), [("copy", lambda x: x), ("reverse", lambda x: x[::-1])])
def test_demonstrations_are_the_answers(problem: Any, right: Any) -> None:
    shown = small(problem=problem).demonstrations()
    assert isinstance(shown.context, dict) and shown.imitate is not None
    for row in range(shown.batch_size):
        given = [symbol for symbol in shown.context["given"][row, 0].tolist() if symbol < 5]
        written = shown.action[row][shown.imitate[row]].tolist()
        assert written == [FIRST + symbol for symbol in right(given)] + [END]


def test_demonstrations_of_groups_are_those_of_the_last_rollout() -> None:
    task = small()
    rows = task.rollout(task.build_policy(), num_samples=2)
    shown = task.demonstrations(torch.tensor([4, 1]))
    assert isinstance(shown.context, dict) and isinstance(rows.context, dict) and rows.group is not None and shown.group is not None
    for row, group in enumerate(shown.group.tolist()):
        of = int((rows.group == group).nonzero()[0])
        assert torch.equal(shown.context["given"][row], rows.context["given"][of])


@pytest.mark.parametrize("kind", ["ntm", "act", "lstm"])
def test_logits_of_reading_at_once_are_those_of_writing_step_by_step(kind: Any) -> None:
    task = small(kind)
    policy = task.build_policy()
    rows = task.rollout(policy, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = policy(rows).logp
    torch.testing.assert_close(found[rows.mask], rows.logp[rows.mask], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["ntm", "act", "lstm"])
def test_blanks_after_an_instance_are_not_read(kind: Any) -> None:
    """So instances of different lengths can stand side by side, and each has the logits that it has alone."""
    task = small(kind)
    policy = task.build_policy()
    given = torch.tensor([[[1, 2, 5, 5]], [[3, 0, 4, 1]]])
    both = policy.initial_state({"given": given})
    for row, count in enumerate((2, 4)):
        alone = policy.initial_state({"given": given[row : row + 1, :, :count]})
        for name in alone:
            torch.testing.assert_close(both[name][row : row + 1], alone[name], msg=name)


def test_thinking_costs_what_the_setting_says() -> None:
    task = small("act")
    policy = task.build_policy()
    rows = task.demonstrations()
    assert isinstance(policy, MemoryPolicy)
    thoughts = policy.thoughts(rows)  # of reading each column, the end of the input among them, and of each token
    assert isinstance(rows.context, dict)
    steps = int((rows.context["given"][0, 0] < 5).sum()) + rows.num_steps
    with torch.no_grad():
        found = policy(rows).aux_loss
    assert 1 < thoughts <= 4 and found is not None
    assert float(found) == pytest.approx(policy.config.ponder_weight * thoughts * steps, rel=1e-5)
    assert task.evaluate(policy)["thoughts"] > 1 and "thoughts" not in small().evaluate(small().build_policy())


def test_heads_are_drawn(tmp_path: Path) -> None:
    task = small()
    text, *pictures = task.sample(task.build_policy(), tmp_path / "new", count=2)
    assert len(text.read_text().split("\n\n")) == 2 and len(pictures) == 2
    assert np.asarray(Image.open(pictures[0])).std() > 0
    assert [path.suffix for path in small("lstm").sample(small("lstm").build_policy(), tmp_path, count=1)] == [".txt"]


def test_rewards_and_demonstrations_teach_together() -> None:
    task = small()
    policy = task.build_policy()
    before = {name: weight.clone() for name, weight in policy.named_parameters()}
    trainer = SelfCritical(policy, SelfCriticalConfig(imitation=ImitationConfig(weight=0.5)), num_updates=2)
    stats = trainer.update(trainer.collect(task))
    assert all(np.isfinite(value) for value in stats.values())
    assert all(not torch.equal(weight, before[name]) for name, weight in policy.named_parameters() if "heads" in name)


def test_too_small_a_memory_and_turned_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"policy.memory_length: expected at least 40 locations for copy of 40 symbols, got 32"):
        MemoryConfig(test_length=40)
    with pytest.raises(ValueError, match=r"min_length: expected at most max_length, 3, got 5"):
        MemoryConfig(min_length=5, max_length=3)
    with pytest.raises(ValueError, match=r"split: expected one of dev, test, got 'tests'"):
        small().evaluate(small().build_policy(), split="tests")


def test_a_resumed_run_has_the_same_weights(tmp_path: Path) -> None:
    settings = [f"--runs_folder={tmp_path}", "--num_updates=4", "--save_every=2", "--task.batch_size=4", "--eval_every=0"]
    whole = train(read_config("ntm_copy", [*settings, "--name=whole"]), display=False).run_folder
    train(read_config("ntm_copy", [*settings, "--name=half"]), display=False)
    half = tmp_path / "half"
    shutil.rmtree(half / "checkpoints" / "step_00000004")
    assert resume(half, display=False).step == 4
    ours, theirs = (load_file(checkpoint.find(run) / checkpoint.WEIGHTS) for run in (half, whole))
    assert all((ours[name] == theirs[name]).all() for name in theirs)


@pytest.mark.slow
def test_a_neural_turing_machine_copies_what_is_twice_as_long() -> None:
    task = read_config("ntm_copy").task.build(0)
    trainer: Supervised = read_config("ntm_copy").trainer.build(task.build_policy(), seed=0, num_updates=500)
    for _ in range(500):
        trainer.update(trainer.collect(task))
    assert task.evaluate(trainer.policy)["symbol_error"] <= 0.05  # guessing: 0.99


def test_each_row_of_a_population_is_read_by_itself() -> None:
    """Rows of a member have a group in common, but not what they are about."""
    task = small("act", policy=MemoryPolicyConfig(type="act", num_units=8, most_thoughts=3, ponder_weight=1.0))
    trainer = EvolutionStrategies(task.build_policy(), EvolutionStrategiesConfig(population_size=4), num_updates=2)
    rows = trainer.collect(task)
    assert isinstance(trainer.policy, MemoryPolicy)
    with torch.no_grad():
        each = [float(trainer.policy(rows.select_rows(slice(row, row + 1))).aux_loss) for row in range(rows.batch_size)]  # type: ignore[arg-type]
    assert trainer.update(rows)["loss/auxiliary"] == pytest.approx(np.mean(each), rel=1e-5)
