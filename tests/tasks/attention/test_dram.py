from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from small import small_task
from test_looking import GlimpseSource, seen
from torch import Tensor

from seqrl import PPOConfig, ReinforceConfig
from seqrl.rollout import unroll
from seqrl.tasks.attention.cores import CoreSize
from seqrl.tasks.attention.dram import DramCore, shrink
from seqrl.tasks.attention.looking import look
from seqrl.tasks.attention.policy import GlimpsePolicyConfig

PAIR: dict[str, Any] = {"data": {"placement": "pair", "canvas_size": 30}, "num_glimpses": 6}


def dram_task(**settings: Any) -> Any:
    policy = {"type": "dram", "context_size": 6, **settings.pop("policy", {})}
    return small_task(policy=policy, **{**PAIR, **settings})


def rolled(task: Any, policy: Any, **settings: Any) -> Any:
    return task.rollout(policy, generator=torch.Generator().manual_seed(0), **settings)


def moved(policy: Any) -> Any:
    """Biases that are 0 at first would hide an error."""
    with torch.no_grad():
        for index, parameter in enumerate(policy.parameters()):
            parameter.add_(0.2 * torch.rand(parameter.shape, generator=torch.Generator().manual_seed(index)))
    return policy


def gates(layer: Any, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """An LSTM's step, gate by gate, in the order that PyTorch keeps them."""
    parts = (layer.weight_ih_l0 @ x + layer.bias_ih_l0 + layer.weight_hh_l0 @ hidden + layer.bias_hh_l0).chunk(4)
    enter, keep, leave = (torch.sigmoid(parts[index]) for index in (0, 1, 3))
    cell = keep * cell + enter * torch.tanh(parts[2])
    return leave * torch.tanh(cell), cell


def plainly(core: DramCore, glimpse: Tensor, location: Tensor, coarse: Tensor) -> Tensor:
    """The equations for one image, one glimpse after the other: [N, H]."""
    see, context, states = core.glimpse_features, core.context, []
    assert context is not None
    first = first_cell = torch.zeros(core.layer_units, dtype=glimpse.dtype)
    second_cell = context[3](torch.relu(context[1](coarse.flatten())))  # type: ignore[index]
    second = torch.tanh(second_cell)
    for p, x in zip(glimpse, location, strict=True):
        what, where = torch.relu(see[2](torch.relu(see[0](p)))), torch.relu(core.location_features(x))
        first, first_cell = gates(core.lower, what * where, first, first_cell)
        second, second_cell = gates(core.upper, first, second, second_cell)
        states.append(torch.cat([first, second]))
    return torch.stack(states)


def test_the_core_follows_its_equations_and_so_do_its_gradients() -> None:
    core: Any = DramCore(CoreSize(7, 5, 6, 8), 3, separate=False, generator=torch.Generator().manual_seed(1))
    core = moved(core).double()
    generator = torch.Generator().manual_seed(2)
    glimpse, location, coarse, grad = (
        torch.rand(*shape, dtype=torch.float64, generator=generator) for shape in ((4, 2, 7), (4, 2, 2), (2, 3, 3), (4, 2, 8))
    )
    start = core.start({"label": torch.zeros(2, 1), "coarse": coarse})
    hidden, last = core.run(glimpse, location, start)
    expected = torch.stack([plainly(core, glimpse[:, row], location[:, row], coarse[row]) for row in range(2)], dim=1)
    torch.testing.assert_close(hidden, expected)
    torch.testing.assert_close(last, expected[-1])
    weights = list(core.parameters())
    found, wanted = (torch.autograd.grad((states * grad).sum(), weights) for states in (hidden, expected))
    torch.testing.assert_close(found, wanted)


def test_whose_loss_reaches_what() -> None:
    for location_gradient in (False, True):
        task = dram_task(policy={"location_gradient": location_gradient})
        policy = task.build_policy()
        evaluation = policy(rolled(task, policy))
        lower = [*policy.core.glimpse_features.parameters(), *policy.core.location_features.parameters(), *policy.core.lower.parameters()]
        upper = [*policy.core.upper.parameters(), *policy.core.context.parameters(), policy.locate.weight, policy.critic.weight]
        evaluation.aux_loss.backward(retain_graph=True)
        assert not any(part.grad is not None and part.grad.any() for part in upper)
        assert all(part.grad.any() for part in [*lower, policy.classify.weight])
        policy.zero_grad()
        (evaluation.logp.sum() + evaluation.value.sum()).backward()
        assert all(part.grad.any() for part in upper) and policy.classify.weight.grad is None
        assert all((part.grad is not None and bool(part.grad.any())) == location_gradient for part in lower)


def test_the_coarse_image_decides_where_to_look_and_not_what_is_seen() -> None:
    task = dram_task()
    policy = moved(task.build_policy())
    trajectory = rolled(task, policy)
    context = dict(trajectory.context)
    other = trajectory.replace(context={**context, "coarse": 1 - context["coarse"]})
    with torch.no_grad():
        first, second = policy(trajectory), policy(other)
    assert (first.distribution.mean - second.distribution.mean).abs().amin(dim=(0, 2)).min() > 1e-6
    assert torch.equal(first.aux_loss, second.aux_loss)


@pytest.mark.parametrize("context_size", [0, 6])
def test_looking_is_what_the_cores_sampling_loop_does(context_size: int) -> None:
    task = dram_task(policy={"context_size": context_size})
    policy = moved(task.build_policy())
    images, label = task.data.batch(torch.arange(6), torch.Generator().manual_seed(1))
    context = {"label": label, "coarse": shrink(images, 6)} if context_size else {"label": label}
    place = torch.zeros(6, 1, 2)
    trajectory, hidden = look(policy, task.retina, task.retina.prepare(images), place, context, num_glimpses=6, greedy=True)
    source = GlimpseSource(task.retina, images, num_actions=5)
    expected, state = unroll(policy, source, max_steps=5, context=context, greedy=True)
    for name in ("action", "logp", "value", "terminated", "mask"):
        torch.testing.assert_close(getattr(trajectory, name), getattr(expected, name), msg=name)
    torch.testing.assert_close(trajectory.state0, expected.state0)
    last = {name: seen(expected, name)[:, -1] for name in ("glimpse", "location")}
    expected_hidden, _ = policy.core.run(last["glimpse"].unsqueeze(0), last["location"].unsqueeze(0), state)
    torch.testing.assert_close(hidden[-1], expected_hidden[0])


def test_an_update_sees_the_probabilities_that_were_sampled_from() -> None:
    task = dram_task()
    policy = moved(task.build_policy())
    trajectory = rolled(task, policy, num_samples=3)
    assert tuple(trajectory.context["coarse"].shape) == (18, 6, 6)
    with torch.no_grad():
        evaluation = policy(trajectory)
    torch.testing.assert_close(evaluation.logp, trajectory.logp)
    torch.testing.assert_close(evaluation.value, trajectory.value[:, :-1])
    chosen = trajectory.select_rows(torch.tensor([5, 0, 11]))
    torch.testing.assert_close(policy(chosen).logp, evaluation.logp[[5, 0, 11]])


def test_paths_over_one_image_share_its_coarse_form() -> None:
    images = torch.zeros(2, 4, 6, dtype=torch.uint8)
    images[0, :2, :3], images[1, 3, 5] = 255, 51
    torch.testing.assert_close(shrink(images, 2), torch.tensor([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.2 / 6]]]))
    task = dram_task()
    coarse = rolled(task, task.build_policy(), num_samples=3).context["coarse"].view(6, 3, 6, 6)
    assert torch.equal(coarse, coarse[:, :1].expand_as(coarse)) and not torch.equal(coarse[0, 0], coarse[1, 0])


@pytest.mark.parametrize("core", ["relu_rnn", "dram"])
def test_a_glimpse_is_paid_for_what_it_tells_of_its_own_object(core: str) -> None:
    settings: dict[str, Any] = {"policy": {"type": core, "early_classification": 0.5}, "reward": "information_gain"}
    task = small_task(**settings, **PAIR)
    policy = task.build_policy()
    trajectory = rolled(task, policy)
    inputs = seen(trajectory, "glimpse").transpose(0, 1), seen(trajectory, "location").transpose(0, 1)
    with torch.no_grad():
        beliefs = policy.classify(policy.core.run(*inputs, policy.core.start(trajectory.context))[0]).softmax(dim=2)
    for row in range(6):
        left, right = trajectory.context["label"][row].tolist()
        first, second = beliefs[:3, row, left].log().tolist(), [-math.log(3), *beliefs[3:, row, right].log().tolist()]
        expected = [after - before for path in (first, second) for before, after in zip(path, path[1:], strict=False)]
        assert trajectory.reward[row].tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("trainer", [ReinforceConfig(num_samples=3), PPOConfig(epochs=2, minibatches=2)], ids=["reinforce", "ppo"])
def test_two_updates_and_two_more_are_four(trainer: Any) -> None:
    def begin() -> tuple[Any, Any, Any]:
        task = dram_task()
        policy = task.build_policy()
        return task, policy, trainer.build(policy, seed=0, num_updates=4)

    def advance(parts: tuple[Any, Any, Any], number: int) -> Any:
        for _ in range(number):
            parts[2].update(parts[2].collect(parts[0]))
        return parts[1].state_dict()

    whole = advance(begin(), 4)
    before, after = begin(), begin()
    advance(before, 2)
    for saved, resumed in zip(before, after, strict=True):
        resumed.load_state_dict(copy.deepcopy(saved.state_dict()))
    resumed = advance(after, 2)
    assert all(torch.equal(resumed[name], weight) for name, weight in whole.items())


def test_evaluation_and_pictures(tmp_path: Any) -> None:
    task = dram_task()
    policy = task.build_policy()
    assert 0 <= task.evaluate(policy)["error_percent"] <= 100
    assert all(path.exists() for path in task.sample(policy, tmp_path, count=2))


def test_bad_settings() -> None:
    for settings, message in (
        ({"type": "dram", "hidden_units": 7}, "hidden_units: expected an even number, half for each LSTM of type dram, got 7"),
        ({"type": "dram", "context_size": -1}, "context_size: expected 0 or more, got -1"),
        ({"type": "lstm", "context_size": 8}, "context_size: type lstm does not read it, it is for dram, got 8"),
        ({"type": "dram", "head_scale": 1.0}, "head_scale: type dram does not read it, it is for relu_rnn, lstm, got 1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            GlimpsePolicyConfig(**settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="start: type dram begins with what the context says, got 'grid'"):
        dram_task(start="grid")
