from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from seqrl.tasks.attention.cores import CoreSize, LSTMCore, ReluRNNCore, begin_to_look

SIZE = CoreSize(num_inputs=7, num_features=5, glimpse_units=6, hidden_units=4)


def inputs(dtype: torch.dtype = torch.float32, num_steps: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    glimpse, location = torch.rand(num_steps, 3, 7, generator=generator), torch.rand(num_steps, 3, 2, generator=generator) - 0.5
    return glimpse.to(dtype), location.to(dtype)


def plainly(core: ReluRNNCore, glimpse: Tensor, location: Tensor) -> Tensor:
    """The paper's equations, glimpse by glimpse, by autograd."""
    hidden, states = torch.zeros(glimpse.shape[1], 4, dtype=glimpse.dtype), []
    for p, x in zip(glimpse, location, strict=True):
        joined = torch.relu(
            core.join_glimpse(torch.relu(core.glimpse_features(p))) + core.join_location(torch.relu(core.location_features(x)))
        )
        hidden = torch.relu(core.enter(joined) + core.recur(hidden))
        states.append(hidden)
    return torch.stack(states)


def relu_rnn(dtype: torch.dtype = torch.float32) -> ReluRNNCore:
    core = ReluRNNCore(SIZE, dtype=dtype, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.add_(torch.rand(parameter.shape, generator=torch.Generator().manual_seed(2)) * 0.2)
    return core


def gradients(core: torch.nn.Module, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(core.parameters())))


@pytest.mark.parametrize("used", ["hidden", "last", "both"])
def test_the_written_derivative_is_autograds(used: str) -> None:
    core, (glimpse, location) = relu_rnn(torch.float64).double(), inputs(torch.float64)
    grad = torch.rand(4, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))

    def loss(hidden: Tensor, last: Tensor) -> Tensor:
        return {"hidden": (hidden * grad).sum(), "last": last.square().sum(), "both": (hidden * grad).sum() + last.square().sum()}[used]

    expected = plainly(core, glimpse, location)
    hidden, last = core.run(glimpse, location)
    torch.testing.assert_close(hidden, expected)
    torch.testing.assert_close(last, expected[-1])
    torch.testing.assert_close(gradients(core, loss(hidden, last)), gradients(core, loss(expected, expected[-1])))


def test_half_precision_is_near() -> None:
    core, (glimpse, location) = relu_rnn(torch.bfloat16), inputs()
    hidden, last = core.run(glimpse, location)
    expected = plainly(core, glimpse, location)
    assert hidden.dtype == last.dtype == torch.float32
    torch.testing.assert_close(hidden, expected, rtol=0.05, atol=0.05)
    for found, wanted in zip(gradients(core, last.sum()), gradients(core, expected[-1].sum()), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0.05, atol=0.05 * float(wanted.abs().max()))


@pytest.mark.parametrize("make", [relu_rnn, lambda: LSTMCore(SIZE, generator=torch.Generator().manual_seed(1))])
def test_looking_step_by_step_gives_the_states_of_a_whole_pass(make) -> None:  # type: ignore[no-untyped-def]
    core, (glimpse, location) = make(), inputs()
    start = core.start({"label": torch.zeros(3, 1)})
    expected = core.run(glimpse, location, start)[0].detach()
    states, take = begin_to_look(core, glimpse, location, start)
    for step in range(4):
        take(step)
    torch.testing.assert_close(states, expected)
    state = start
    for step in range(4):
        hidden, state = core.advance(glimpse[step], location[step], state)
        torch.testing.assert_close(hidden, expected[step])


def look(core: ReluRNNCore) -> tuple[Tensor, Tensor]:
    glimpse, location = inputs()
    _, take = core.begin(glimpse, location)
    for step in range(4):
        take(step)
    return glimpse, location


def test_a_pass_is_known_until_a_weight_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    from seqrl.tasks.attention import cores

    compute = cores.run_pass
    monkeypatch.setattr(cores, "run_pass", lambda *arguments: (passes.append(1), compute(*arguments))[1])
    core = relu_rnn()
    glimpse, location = look(core)
    core.run(glimpse.transpose(0, 1).transpose(0, 1), location)
    assert not passes
    core.run(glimpse.clone(), location)  # other glimpses, for all that it knows
    assert len(passes) == 1
    copied = copy.deepcopy(core)
    copied.run(glimpse, location)
    assert len(passes) == 2
    with torch.no_grad():
        core.recur.weight.mul_(0.5)
    torch.testing.assert_close(core.run(glimpse, location)[0], plainly(core, glimpse, location))
    assert len(passes) == 3


def test_an_optimiser_step_is_a_change() -> None:
    from seqrl.adamw import AdamW

    core = relu_rnn()
    glimpse, location = look(core)
    core.run(glimpse, location)[1].sum().backward()  # type: ignore[no-untyped-call]
    AdamW(list(core.parameters()), weight_decay=0.0, beta1=0.9, beta2=0.999, epsilon=1e-8).step(0.1)
    torch.testing.assert_close(core.run(glimpse, location)[0], plainly(core, glimpse, location))
    look(core)
    glimpse, location = look(core)
    core.load_state_dict(relu_rnn().state_dict())
    torch.testing.assert_close(core.run(glimpse, location)[0], plainly(core, glimpse, location))
