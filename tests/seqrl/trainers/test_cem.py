"""The cross-entropy method: elites chosen by hand, imitation against the gradient by hand."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_tokens import AuxPolicy, TokenPolicy, TokenTask, by_hand, flat_weights, gradient_of

from seqrl.optimiser import OptimiserConfig
from seqrl.policies.tables import ProbabilityTable
from seqrl.trainers.cem import CrossEntropyConfig, choose_elites


def scored(scores: list[float], **fields: Any) -> Any:
    return by_hand([[2, 1]] * len(scores), [[0.0, score] for score in scores], **fields)


def test_elites_are_at_or_above_the_percentile() -> None:
    # The 50th percentile of 0, 1, 2, 4 is 1.5; the 75th 2.5.
    elite, stats = choose_elites(scored([1.0, 4.0, 0.0, 2.0]), 50.0)
    assert elite.tolist() == [False, True, False, True]
    assert stats == pytest.approx({"elite/threshold": 1.5, "elite/share": 0.5, "elite/score": 3.0})
    assert choose_elites(scored([1.0, 4.0, 0.0, 2.0]), 75.0)[0].tolist() == [False, True, False, False]
    # At the percentile itself counts, but the worst never does.
    assert choose_elites(scored([1.0, 4.0, 0.0, 2.0]), 100.0)[0].tolist() == [False, True, False, False]
    assert choose_elites(scored([1.0, 4.0, 0.0, 2.0]), 0.0)[0].tolist() == [True, True, False, True]


def test_a_group_is_compared_with_itself() -> None:
    rows = scored([1.0, 2.0, 10.0, 9.0, 5.0, 5.0], group=torch.tensor([0, 0, 1, 1, 2, 2]))
    assert choose_elites(rows, 80.0, by_group=True)[0].tolist() == [False, True, True, False, False, False]
    assert choose_elites(rows, 80.0)[0].tolist() == [False, False, True, True, False, False]


def test_rows_that_do_not_count_and_ties() -> None:
    rows = by_hand([[2, 1]] * 3, [[0.0, 1.0], [0.0, 3.0], [0.0, 50.0]], lengths=[2, 2, 0])
    assert choose_elites(rows, 50.0)[0].tolist() == [False, True, False]
    assert choose_elites(scored([3.0, 3.0]), 50.0)[0].tolist() == [False, False]
    # Frozen lake: one success in five.
    assert choose_elites(scored([0.0, 0.0, 1.0, 0.0, 0.0]), 50.0)[0].tolist() == [False, False, True, False, False]


def exact_elites(score: list[float], percentile: float) -> list[bool]:
    """Definition 7 of a percentile in rational numbers."""
    ranked, position = sorted(map(Fraction, score)), Fraction(percentile) * (len(score) - 1) / 100
    low = math.floor(position)
    threshold = ranked[low] + (position - low) * (ranked[min(low + 1, len(score) - 1)] - ranked[low])
    return [Fraction(number) >= threshold and number > min(score) for number in score]


def test_ranks_are_exact_for_every_number_of_rows_and_with_ties() -> None:
    draws = np.random.default_rng(0)
    for number in (1, 2, 3, *range(5, 30, 3), 41, 101):
        for percentile in (0.0, 33.3, 55.0, 60.0, 100.0):
            for score in (draws.normal(size=number), draws.integers(0, 4, size=number) / 10.0):
                rounded = score.astype(np.float32)
                elite, stats = choose_elites(scored(rounded.tolist()), percentile)
                assert elite.tolist() == exact_elites(rounded.tolist(), percentile), (number, percentile)
                assert stats["elite/threshold"] == pytest.approx(
                    np.percentile(rounded.astype(np.float64), percentile), rel=1e-12, abs=1e-12
                )


def test_sixty_percent_of_26_rows_leave_eleven() -> None:
    # The 15th of 25 steps up is a score itself, which belongs to the elites; in float32 it came out above.
    rows = scored([float(score) / 10 for score in range(26)])
    assert int(choose_elites(rows.replace(reward=rows.reward.float()), 60.0)[0].sum()) == 11


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="elites: expected finite scores"):
        choose_elites(scored([1.0, math.nan, 2.0]), 50.0)


def test_an_auxiliary_loss_that_is_not_announced_is_refused() -> None:
    class Silent(AuxPolicy):
        aux_count = property()  # type: ignore[assignment]  # hasattr says no

    trainer = CrossEntropyConfig(num_samples=6, percentile=50).build(Silent(), seed=1, num_updates=2)
    with pytest.raises(ValueError, match="trainer cem: expected a policy that counts.*got a Silent.*aux_count"):
        trainer.update(trainer.collect(TokenTask(num_contexts=4)))


def test_discount_prefers_what_comes_sooner() -> None:
    rows = by_hand([[2, 2, 1]] * 2, [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    elite, stats = choose_elites(rows, 100.0, gamma=0.5)
    assert elite.tolist() == [False, True] and stats["elite/score"] == 0.5


def trainer_of(**settings: Any) -> Any:
    optimiser = OptimiserConfig(learning_rate=0.05)
    return CrossEntropyConfig(optimiser=optimiser, **settings).build(TokenPolicy(), seed=1, num_updates=10)


def test_gradient_is_that_of_the_elites_cross_entropy() -> None:
    trainer = trainer_of(percentile=100.0, gradient_steps=1, ent_coef=0.2)
    rows = trainer.collect(TokenTask(num_contexts=6))
    elite = int(rows.score.argmax())
    evaluation = trainer.policy(rows)
    counted = rows.mask[elite]
    loss = (-evaluation.logp[elite] - 0.2 * evaluation.entropy[elite])[counted].sum() / counted.sum()
    best = rows.score == rows.score.max()
    assert int(best.sum()) == 1
    expected = torch.autograd.grad(loss, list(trainer.policy.parameters()), allow_unused=True, materialize_grads=True)
    torch.testing.assert_close(gradient_of(trainer, rows), torch.cat([g.flatten() for g in expected]), rtol=0, atol=1e-6)


def test_elites_of_earlier_updates_are_kept_for_a_while() -> None:
    trainer, sizes, shares = trainer_of(percentile=50.0, elite_iterations=3, gradient_steps=1), [], []
    for _ in range(5):
        rows = trainer.collect(TokenTask(num_contexts=6))
        shares.append(int(choose_elites(rows, 50.0)[0].sum()))
        sizes.append(trainer.update(rows)["elite/num_rows"])
    assert sizes == [sum(shares[max(0, i - 2) : i + 1]) for i in range(5)]


def test_nothing_is_learned_where_all_score_the_same() -> None:
    trainer = trainer_of(percentile=50.0)
    before = flat_weights(trainer.policy)
    rows = trainer.collect(TokenTask(num_contexts=6))
    stats = trainer.update(rows.replace(reward=torch.zeros_like(rows.reward)))
    assert torch.equal(flat_weights(trainer.policy), before)
    assert stats["elite/num_rows"] == 0 and "loss/cross_entropy" not in stats


@pytest.mark.parametrize("threshold", ["batch", "group"])
def test_learns_the_liked_token(threshold: str) -> None:
    trainer = trainer_of(num_samples=8, percentile=80.0, threshold=threshold, gradient_steps=3, elite_iterations=2)
    for _ in range(30):
        trainer.update(trainer.collect(TokenTask(num_contexts=4)))
    assert float(TokenTask(num_contexts=4).rollout(trainer.policy, greedy=True).score[0]) == 1.0


@pytest.mark.parametrize("minibatch_rows", [0, 3])
def test_resumed_run_ends_with_the_same_bits(minibatch_rows: int, tmp_path: Path) -> None:
    def build(seed: int) -> Any:
        config = CrossEntropyConfig(num_samples=4, elite_iterations=3, gradient_steps=2, minibatch_rows=minibatch_rows)
        return config.build(TokenPolicy(seed=seed), seed=seed, num_updates=6)

    def run(trainer: Any, count: int) -> None:
        for _ in range(count):
            trainer.update(trainer.collect(TokenTask(num_contexts=4)))

    whole, first, second = build(1), build(1), build(2)
    run(whole, 6)
    run(first, 3)
    torch.save({"trainer": first.state_dict(), "policy": first.policy.state_dict()}, tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    second.policy.load_state_dict(state["policy"])
    second.load_state_dict(state["trainer"])
    run(second, 3)
    assert torch.equal(flat_weights(second.policy), flat_weights(whole.policy))


def test_bad_settings_are_refused() -> None:
    for settings in ({"percentile": 101.0}, {"threshold": "row"}, {"fit": "sums"}, {"mixing": 2.0}, {"elite_iterations": 0}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            CrossEntropyConfig(**settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_samples"):
        CrossEntropyConfig(threshold="group")
    with pytest.raises(ValueError, match="counts needs a table of probabilities, got a TokenPolicy"):
        CrossEntropyConfig(fit="counts").build(TokenPolicy(), seed=0, num_updates=1)
    CrossEntropyConfig(fit="counts").build(ProbabilityTable(2, 2), seed=0, num_updates=1)


def test_counting_is_refused_where_it_would_be_without_effect_or_part_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="ent_coef: expected 0 with fit counts.*got 0.1"):
        CrossEntropyConfig(fit="counts", ent_coef=0.1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="counts.*trainer.fit=gradient"):
        CrossEntropyConfig(fit="counts").build(ProbabilityTable(2, 2), seed=0, num_updates=1)
