"""Texts as a task: what it takes, what it draws, and that a short training learns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from seqrl.beam_search import beam_search
from seqrl.decoding import sample
from seqrl.optimiser import OptimiserConfig
from seqrl.tasks.text import DataConfig, EvaluationConfig, Pairs, PolicyConfig, TextConfig, TextTask
from seqrl.tasks.writing.reward import RewardConfig
from seqrl.trainers.reinforce import Reinforce, ReinforceConfig
from seqrl.trainers.self_critical import SelfCritical, SelfCriticalConfig
from seqrl.trainers.supervised import Supervised, SupervisedConfig

PROMPTS = ["one two", "two three four", "three", "four one"]
REFERENCES = [["two one", "two then one"], ["four three two"], ["three"], ["one four"]]
SMALL = PolicyConfig(dim=16, num_layers=1, num_heads=2, dropout=0.0, max_tokens=6)


def make(reward: Any = None, policy: PolicyConfig = SMALL, **settings: Any) -> TextTask:
    config = TextConfig(policy=policy, prompts_per_batch=3, **settings)
    return TextTask(PROMPTS, REFERENCES, reward, config=config)


def scores_of(task: TextTask, replies: list[str], items: list[int]) -> list[float]:
    """What a task pays for replies that end."""
    rows = [[*task.vocabulary.encode(text.split()), task.vocabulary.end] for text in replies]
    width = max(map(len, rows))
    tokens = torch.tensor([row + [task.vocabulary.pad] * (width - len(row)) for row in rows])
    return task.reward.score(tokens, torch.tensor([len(row) for row in rows]), torch.tensor(items)).tolist()


def test_three_arguments_are_enough() -> None:
    task = TextTask(PROMPTS, REFERENCES, "bleu4_smoothed")
    rows = task.rollout(task.build_policy().eval(), num_samples=2, generator=torch.Generator().manual_seed(0))
    assert rows.batch_size == 2 * 4 and rows.group is not None and len(rows.group.unique()) == 4


def test_a_function_is_given_texts_and_pays_for_them() -> None:
    seen: list[tuple[str, tuple[str, ...]]] = []

    def reward(replies: Any, references: Any) -> list[float]:
        seen.extend(zip(replies, map(tuple, references), strict=True))
        return [float(len(reply.split())) for reply in replies]

    task = make(reward)
    rows = task.rollout(task.build_policy().eval(), num_samples=2, generator=torch.Generator().manual_seed(0))
    assert rows.score.tolist() == [len(reply.split()) for reply, _ in seen]
    assert {references for _, references in seen} <= {tuple(each) for each in REFERENCES}
    assert task.evaluate(task.build_policy())["reward"] >= 0


def test_prompts_are_drawn_as_often_as_they_have_references() -> None:
    drawn = TextTask(
        ["a", "b"], [["x"] * 3, ["y"]], "bleu4_smoothed", config=TextConfig(policy=SMALL, prompts_per_batch=4, draw_by_references=True)
    )
    assert sorted(drawn.demonstrations().group.tolist()) == [0] * 9 + [1]  # type: ignore[union-attr]
    rows = drawn.rollout(drawn.build_policy().eval(), num_samples=2, generator=torch.Generator().manual_seed(0))
    assert sorted(rows.group.tolist()) == [0] * 6 + [1] * 2  # type: ignore[union-attr]


def test_demonstrations_are_the_references_to_their_end() -> None:
    task = make()
    rows = task.demonstrations(torch.tensor([0, 1]))
    words = [task.vocabulary.decode(row) for row in rows.action.tolist()]
    assert [" ".join(each) for each in words] == ["two one", "two then one", "four three two"]
    assert rows.group is not None and rows.group.tolist() == [0, 0, 1]
    assert rows.terminated.sum(dim=1).tolist() == [1, 1, 1] and not rows.mask.any()


@pytest.mark.parametrize("kind", ["transformer", "recurrent"])
def test_padding_changes_nothing(kind: str) -> None:
    task = make(policy=replace(SMALL, type=kind))
    policy: Any = task.build_policy().eval()
    both = task.train.rows(torch.tensor([1, 2]))
    alone = task.train.rows(torch.tensor([2]))
    together, single = (policy.encode(rows) for rows in (both, alone))
    length = int(alone["mask"].sum())
    assert single["regions"].shape[1] == length == 2
    torch.testing.assert_close(together["regions"][1, :length], single["regions"][0])
    torch.testing.assert_close(together["pooled"][1], single["pooled"][0])
    rows = [sample(policy, {"image": prompts}, greedy=True) for prompts in (both, alone)]
    assert rows[0].action[1, : rows[1].num_steps].tolist() == rows[1].action[0].tolist()


@pytest.mark.parametrize("kind", ["transformer", "recurrent"])
def test_what_was_sampled_is_evaluated_alike(kind: str) -> None:
    task = make(policy=replace(SMALL, type=kind))
    policy = task.build_policy().eval()
    rows = task.rollout(policy, num_samples=3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(policy(rows).logp[rows.mask], rows.logp[rows.mask], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_beam_of_everything_finds_the_most_probable_reply() -> None:
    task = TextTask(["a b", "b"], [["a"], ["b"]], config=TextConfig(policy=replace(SMALL, max_tokens=2)))
    policy: Any = task.build_policy().eval()
    context = {"image": task.train.rows(torch.tensor([0, 1]))}
    best, scores = beam_search(policy, context, beam_size=len(task.vocabulary))
    state = policy.initial_state(context)
    first = policy.next_logits(torch.full((2,), policy.begin), state)[0].log_softmax(dim=1)
    for item in range(2):
        one = {"image": task.train.rows(torch.tensor([item]))}
        found = {(): float(first[item, policy.end])}
        for word in (token for token in range(len(task.vocabulary)) if token != policy.end):
            state = policy.next_logits(torch.tensor([policy.begin]), policy.initial_state(one))[1]
            second = policy.next_logits(torch.tensor([word]), state)[0].log_softmax(dim=1)[0]
            after = {
                (word,) if token == policy.end else (word, token): float(first[item, word] + second[token]) for token in range(len(second))
            }
            found |= after
        assert scores[item] == pytest.approx(max(found.values()), abs=1e-5)
        assert tuple(best[item]) == max(found, key=lambda row: found[row])


@pytest.mark.parametrize("kind", ["transformer", "recurrent"])
def test_learns_to_write_backwards_and_then_for_a_reward(kind: str) -> None:
    torch.manual_seed(0)
    task = make({"bleu4_smoothed": 1.0}, policy=replace(SMALL, type=kind, dim=32), evaluation=EvaluationConfig(metrics=["exact_match"]))
    policy = task.build_policy()
    optimiser = OptimiserConfig(learning_rate=1e-2, precision="fp32")
    taught = Supervised(policy, SupervisedConfig(optimiser=optimiser), seed=0, num_updates=80)
    for _ in range(80):
        taught.update(taught.collect(task))
    assert task.evaluate(policy, split="train")["exact_match"] == 1
    following = SelfCritical(policy, SelfCriticalConfig(num_samples=3, optimiser=optimiser), seed=0, num_updates=2)
    stats = [following.update(following.collect(task)) for _ in range(2)]
    assert all(torch.isfinite(torch.tensor(each["reward/mean"])) for each in stats)


def test_evaluation_by_hand() -> None:
    task = make(evaluation=EvaluationConfig(beam_size=2, metrics=["rouge_l"]), reward="bleu4_smoothed")
    values = task.evaluate(task.build_policy())
    names = ["sacrebleu", "bleu4", "rouge_l", "bleu4_smoothed", "length", "length_ratio", "distinct1", "distinct2", "unfinished"]
    assert list(values) == [*names, *(f"beam/{name}" for name in names)]
    assert "tok:13a" in task.evaluation_signatures("dev", version="1")["sacrebleu"]
    assert "beam:2" in task.evaluation_signatures("dev", version="1")["beam/bleu4"]


def test_pieces_write_any_text() -> None:
    data = DataConfig(source="files", pieces=300)
    task = TextTask(PROMPTS, REFERENCES, "bleu4_smoothed", config=TextConfig(data=data, policy=SMALL))
    words = "Straße <end> 猫".split()
    assert task.vocabulary.decode([*task.vocabulary.encode(words), task.vocabulary.end, 5]) == words
    assert len(task.vocabulary) <= 300 and task.vocabulary.decode([0, 1, 2]) == []
    rows = task.rollout(task.build_policy().eval(), generator=torch.Generator().manual_seed(0))
    assert rows.score.isfinite().all()


def test_a_task_goes_on_where_it_was() -> None:
    task, other = make(), make()
    task.demonstrations()
    other.load_state_dict(task.state_dict())
    assert task.demonstrations().action.tolist() == other.demonstrations().action.tolist()
    assert task.fingerprint() == other.fingerprint()


def test_rewards_ahead_lag_by_one_update() -> None:
    task = make(reward="bleu4_smoothed", **{})
    late = TextTask(
        PROMPTS,
        REFERENCES,
        config=TextConfig(policy=SMALL, prompts_per_batch=3, reward=RewardConfig(metrics={"bleu4_smoothed": 1.0}, ahead=1)),
    )
    torch.manual_seed(0)
    policy = task.build_policy().eval()
    now = [task.rollout(policy, generator=torch.Generator().manual_seed(k)) for k in range(2)]
    then = [late.rollout(policy, generator=torch.Generator().manual_seed(k)) for k in range(2)]
    assert now[0].action.tolist() == then[0].action.tolist() and late.reward_ahead == 1


@pytest.mark.parametrize("kind", ["transformer", "recurrent"])
def test_risk_over_a_beam_moves_the_weights_along_its_gradient(kind: str) -> None:
    def reward(replies: Any, references: Any) -> list[float]:
        return [float(len(reply.split())) for reply in replies]

    task = make(reward, replace(SMALL, type=kind))
    torch.manual_seed(0)
    policy = task.build_policy().eval()
    config = ReinforceConfig(
        baseline="minimum_risk",
        candidates="beam",
        num_samples=4,
        sharpness=0.5,
        average_over="rows",
        optimiser=OptimiserConfig(learning_rate=1e6, epsilon=1e8, max_grad_norm=0.0, precision="fp32"),  # AdamW as plain descent
    )
    trainer = Reinforce(policy, config)
    rows = trainer.collect(task)
    logp = torch.where(rows.mask, policy(rows).logp, 0.0).sum(dim=1).view(3, 4)
    expected = ((0.5 * logp).softmax(dim=1) * rows.score.view(3, 4)).sum(dim=1).mean()
    weights = [weight for weight in policy.parameters() if weight.requires_grad]
    wanted = torch.autograd.grad(expected, weights, allow_unused=True)
    before = [weight.detach().clone() for weight in weights]
    trainer.update(rows)
    for old, new, gradient in zip(before, weights, wanted, strict=True):
        if gradient is not None:
            torch.testing.assert_close((new - old) * 1e2, gradient, rtol=1e-3, atol=1e-4)


def test_a_beam_needs_minimum_risk_and_a_task_that_searches() -> None:
    with pytest.raises(ValueError, match="candidates: expected samples with baseline leave_one_out"):
        ReinforceConfig(candidates="beam")
    config = ReinforceConfig(baseline="minimum_risk", candidates="beam")
    settings = TextConfig(policy=SMALL, reward=RewardConfig(metrics={"bleu4_smoothed": 1.0}, ahead=1))
    task = TextTask(PROMPTS, REFERENCES, config=settings)
    with pytest.raises(ValueError, match="rewards of a beam search cannot be computed ahead"):
        Reinforce(task.build_policy(), config).check_task(task)


def test_slots_are_words_with_a_prefix() -> None:
    reward = RewardConfig(metrics={"slot_error": -1.0}, settings={"slot_error": {"prefix": "SLOT_"}})
    task = TextTask(
        ["inform name"], [["SLOT_NAME is nice"]], config=TextConfig(policy=SMALL, reward=reward), dev=Pairs(["a"], [["SLOT_NAME"]])
    )
    rows = task.vocabulary.encode("is nice".split()), task.vocabulary.encode("SLOT_NAME SLOT_NAME".split())
    scores = task.reward.score(torch.tensor(rows), torch.tensor([2, 2]), torch.tensor([0, 0]))
    assert scores.tolist() == [-1.0, -1.0]
    with pytest.raises(ValueError, match="settings.slot_error: .*prefx"):
        RewardConfig(settings={"slot_error": {"prefx": "SLOT_"}})
