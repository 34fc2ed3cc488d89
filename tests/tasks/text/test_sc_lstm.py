"""The semantically conditioned LSTM against one step and one row written out, number by number."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from seqrl.decoding import sample
from seqrl.optimiser import OptimiserConfig
from seqrl.tasks.text.policy import PolicyConfig
from seqrl.tasks.text.sc_lstm import SemanticLSTM
from seqrl.tasks.text.task import TextConfig, TextTask
from seqrl.trainers.supervised import Supervised, SupervisedConfig

PROMPTS = ["say A", "say B A", "ask C", "say C B A"]
REFERENCES = [["it is A"], ["it is A and B", "B and A"], ["which C"], ["A B and C"]]


def make(**settings: Any) -> tuple[TextTask, Any]:
    torch.manual_seed(0)
    config = PolicyConfig(**{"type": "sc_lstm", "dim": 16, "dropout": 0.0, "max_tokens": 7, **settings})
    task = TextTask(PROMPTS, REFERENCES, "bleu4_smoothed", config=TextConfig(policy=config, prompts_per_batch=4))
    return task, task.build_policy().eval()


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_a_step_is_the_papers() -> None:
    torch.manual_seed(1)
    D, A = 2, 3
    cell = SemanticLSTM(A, D, alpha=0.5).double()
    word, hidden, state, left = (torch.randn(1, size, dtype=torch.float64) for size in (D, D, D, A))
    got = [each[0].tolist() for each in cell(cell.word(word), hidden, state, left.abs())]
    W, b, U, L = (each.tolist() for each in (cell.word.weight, cell.word.bias, cell.hidden.weight, cell.slots.weight))
    w, h, c, d = (each[0].tolist() for each in (word, hidden, state, left.abs()))

    def read(row: int, share: float = 1.0) -> float:
        return b[row] + sum(W[row][k] * w[k] for k in range(D)) + share * sum(U[row][k] * h[k] for k in range(D))

    wanted_d = [sigmoid(read(4 * D + k, share=0.5)) * d[k] for k in range(A)]
    wanted_c, wanted_h = [], []
    for k in range(D):
        enter, forget, leave = (sigmoid(read(gate * D + k)) for gate in range(3))
        said = math.tanh(sum(L[k][j] * wanted_d[j] for j in range(A)))
        wanted_c.append(forget * c[k] + enter * math.tanh(read(3 * D + k)) + said)
        wanted_h.append(leave * math.tanh(wanted_c[k]))
    for found, wanted in zip(got, (wanted_h, wanted_c, wanted_d), strict=True):
        assert found == pytest.approx(wanted)


def test_the_cost_is_what_is_left_and_what_is_taken_at_once() -> None:
    task, policy = make()
    rows = task.demonstrations(torch.tensor([0, 1]))
    tokens, masks = rows.obs, rows.imitate
    policy.requires_grad_(False)
    assert isinstance(tokens, torch.Tensor) and masks is not None
    total, steps = 0.0, 0
    for row in range(3):
        state: Any = policy.initial_state({"image": {name: leaf[row : row + 1] for name, leaf in rows.context["image"].items()}})
        assert state["left"].sum() == (2 if row == 0 else 3)
        for step in range(int(masks[row].sum())):
            before = state["left"]
            state = policy.next_logits(tokens[row, step : step + 1], state)[1]
            total += 1e-4 * 100 ** float((before - state["left"]).square().sum().sqrt())
            steps += 1
        total += float(state["left"].square().sum().sqrt())
    assert float(policy.aux_count(rows)) == steps == 4 + 6 + 4
    assert float(policy(rows).aux_loss) == pytest.approx(total / steps, rel=1e-5)


def test_rows_that_it_sampled_have_no_cost() -> None:
    task, policy = make()
    rows = task.rollout(policy, num_samples=2, generator=torch.Generator().manual_seed(0))
    assert policy(rows).aux_loss is None and float(policy.aux_count(rows)) == 0
    forced = task.rollout(policy, num_samples=2, num_forced_steps=1, generator=torch.Generator().manual_seed(0))
    assert float(policy.aux_count(forced)) == 0 and float(policy(forced).aux_loss.detach()) == 0


def test_what_was_sampled_is_evaluated_alike_and_padding_changes_nothing() -> None:
    task, policy = make(critic=True)
    rows = task.rollout(policy, num_samples=3, generator=torch.Generator().manual_seed(1))
    found = policy(rows)
    torch.testing.assert_close(found.logp[rows.mask], rows.logp[rows.mask], rtol=1e-4, atol=1e-5)
    both, alone = (sample(policy, {"image": task.train.rows(torch.tensor(which))}, greedy=True) for which in ([3, 0], [0]))
    assert both.action[1, : alone.num_steps].tolist() == alone.action[0].tolist()


def test_parts_of_a_batch_teach_what_the_whole_does() -> None:
    weights = []
    for parts in (1, 3):
        task, policy = make()
        optimiser = OptimiserConfig(learning_rate=1e-2, epsilon=1e-2, precision="fp32", accumulation=parts)
        trainer = Supervised(policy, SupervisedConfig(optimiser=optimiser), seed=0, num_updates=1)
        trainer.update(trainer.collect(task))
        weights.append(policy.lstm.word.weight.detach().clone())
    torch.testing.assert_close(*weights)


@pytest.mark.slow
def test_learns_to_say_what_is_asked_and_takes_it_away() -> None:
    task, policy = make(dim=32)
    trainer = Supervised(policy, SupervisedConfig(optimiser=OptimiserConfig(learning_rate=2e-2, precision="fp32")), seed=0, num_updates=80)
    losses = [trainer.update(trainer.collect(task)) for _ in range(80)]
    assert losses[-1]["loss/auxiliary"] < 0.5 * losses[0]["loss/auxiliary"]
    assert task.evaluate(policy, split="dev")["bleu4"] > 0.9
