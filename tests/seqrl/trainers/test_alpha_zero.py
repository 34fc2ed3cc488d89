"""AlphaZero's loss by hand, what it keeps of games, and that it learns not to lose."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from seqrl import AlphaZero, AlphaZeroConfig, OptimiserConfig
from seqrl.policies.tree_search import TreeSearchConfig
from seqrl.run.config import read_config
from seqrl.run.loop import fit
from seqrl.tasks.boards.task import BoardPolicyConfig, BoardsConfig, BoardTask
from seqrl.tasks.control.task import EnvTask

SEARCH = TreeSearchConfig(num_simulations=8)


def task(game: str = "tic_tac_toe", **settings: Any) -> BoardTask:
    return BoardsConfig(game, num_games=4, policy=BoardPolicyConfig(8, 1, SEARCH), **settings).build(0)


def trained(game: str = "tic_tac_toe", **settings: Any) -> tuple[AlphaZero, BoardTask]:
    made = task(game)
    config = AlphaZeroConfig(batch_size=16, gradient_steps=2, optimiser=OptimiserConfig(precision="fp32"), **settings)
    return AlphaZero(made.build_policy(), config, seed=1, num_updates=4), made


def test_the_loss_by_hand() -> None:
    trainer, made = trained(l2_coef=0.5, symmetries=False)
    trainer.update(trainer.collect(made))
    rows, visits, outcome = trainer._draw()
    with torch.no_grad():
        evaluation = trainer.policy(rows)
        terms = trainer.loss(rows, evaluation, visits, outcome)
    for row in range(16):
        state = {name: leaf[row, :1] for name, leaf in rows.obs.items()}  # type: ignore[union-attr]
        with torch.no_grad():
            logits, value = trainer.policy.network(state["observation"])
        legal = state["action_mask"][0]
        p = [math.exp(x) if ok else 0.0 for x, ok in zip(logits[0].tolist(), legal.tolist(), strict=True)]
        cross = -sum(share * math.log(x / sum(p)) for share, x in zip(visits[row, 0].tolist(), p, strict=True) if share > 0)
        assert float(terms["loss/policy"][row, 0]) == pytest.approx(cross, rel=1e-4)  # type: ignore[index]
        assert float(terms["loss/value"][row, 0]) == pytest.approx((float(outcome[row, 0]) - float(value[0])) ** 2, abs=1e-5)  # type: ignore[index]
    squares = sum(float((parameter.double() ** 2).sum()) for parameter in trainer.policy.parameters())
    assert float(terms["loss/l2"].loss[0, 0]) == pytest.approx(squares, rel=1e-5) and terms["loss/l2"].weight == 0.5  # type: ignore[union-attr]


def test_positions_have_the_outcome_of_who_is_to_move() -> None:
    trainer, made = trained()
    rows = trainer.collect(made)
    trainer.update(rows)
    planes, _, visits, outcome = trainer.steps
    first = planes.sum(dim=(1, 2, 3)) % 2 == 0  # as many stones of each
    games = rows.score[:4]
    assert rows.score[4:].tolist() == (-games).tolist()
    counts = rows.mask.sum(dim=1)
    assert float(outcome[first].sum()) == float((games * counts[:4]).sum())
    assert float(outcome[~first].sum()) == -float((games * counts[4:]).sum())
    torch.testing.assert_close(visits.sum(dim=1), torch.ones(len(visits)))


@pytest.mark.parametrize("game", ["tic_tac_toe", "connect4"])
def test_symmetries_turn_positions_moves_and_visits_alike(game: str) -> None:
    trainer, made = trained(game)
    trainer.update(trainer.collect(made))

    def marked(planes: Tensor) -> Tensor:
        """Give the columns, or the cells, of the own stones: a share of visits that can be told from the position."""
        own = planes[..., 0, :, :]
        found = own.sum(dim=-2) if game == "connect4" else own.flatten(-2)
        return found / found.sum(dim=-1, keepdim=True).clamp(min=1)

    trainer.steps[2] = marked(trainer.steps[0])
    rows, visits, _ = trainer._draw()
    planes, legal = rows.obs["observation"][:, :1], rows.obs["action_mask"][:, :1]  # type: ignore[index,call-overload]
    torch.testing.assert_close(visits, marked(planes))  # type: ignore[arg-type]
    free = planes.sum(dim=2) == 0
    assert torch.equal(legal, free[:, :, 0] if game == "connect4" else free.flatten(2))
    shown = {tuple(position.flatten().tolist()) for position in planes[:, 0]}
    kept = {tuple(position.flatten().tolist()) for position in trainer.steps[0]}
    assert shown - kept, "every position was shown as it was met"


def test_the_buffer_keeps_the_newest_positions() -> None:
    trainer, made = trained(buffer_size=30)
    trainer.update(trainer.collect(made))
    rows = trainer.collect(made)
    stats = trainer.update(rows)
    assert stats["replay/num_steps"] == 30 == len(trainer.steps[3])
    newest = rows.obs["observation"][:, :-1][rows.mask]  # type: ignore[index,call-overload]
    count = min(30, len(newest))
    assert torch.equal(trainer.steps[0][-count:], newest[-count:])


def test_other_policies_and_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match="alpha_zero teaches a policy that searches a game's tree, got a ActorCritic.*choose"):
        AlphaZero(EnvTask("CartPole-v1").build_policy())
    alone = BoardsConfig(policy=BoardPolicyConfig(search=TreeSearchConfig(num_simulations=0))).build(0)
    with pytest.raises(ValueError, match="one without simulations; set task.policy.search.num_simulations above 0"):
        AlphaZero(alone.build_policy())


@pytest.mark.slow
def test_tic_tac_toe_is_learned_until_no_reply_beats_it() -> None:
    config = read_config("tic_tac_toe_alpha_zero", ["--num_updates=20"])
    made = config.task.build(0)
    trainer = config.trainer.build(made.build_policy(), seed=0, num_updates=config.num_updates)
    before = made.evaluate(trainer.policy)
    fit(trainer, made, num_updates=config.num_updates)
    after = made.evaluate(trainer.policy)
    assert before["lost"] > 0.05 and after["lost"] < 0.005
