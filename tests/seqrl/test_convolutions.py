from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from seqrl.optimiser import Optimiser, OptimiserConfig
from seqrl.policies import convolutions
from seqrl.policies.networks import NatureCNN


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def frames(number: int = 80) -> Tensor:
    return torch.randint(0, 256, (number, 84, 84, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def network(precision: convolutions.EncoderPrecision = "fp32") -> NatureCNN:
    return NatureCNN(4, 16, precision=precision, generator=torch.Generator().manual_seed(0))


def learn(output: Tensor, module: nn.Module) -> list[Tensor]:
    """Give the gradients of a loss that weighs each output differently."""
    module.zero_grad()
    (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    return [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]


def distance(ours: list[Tensor], theirs: list[Tensor]) -> Tensor:
    return torch.stack([(one - two).norm() / two.norm() for one, two in zip(ours, theirs, strict=True)])


def test_agrees_with_the_layers_of_pytorch(threads: int) -> None:
    module, seen = network(), frames()
    expected = module.layers(seen.permute(0, 3, 1, 2).float() / 255.0)
    of_expected = learn(expected, module)
    output = module(seen)
    assert output.dtype == torch.float32 and distance([output], [expected]) < 1e-5
    gradients = learn(output, module)
    assert len(gradients) == 8 and distance(gradients, of_expected).max() < 1e-4


def test_bf16_is_as_near_to_fp32_as_autocast_is(threads: int) -> None:
    module, pictures = network("bf16"), frames().permute(0, 3, 1, 2).float() / 255.0
    exact = learn(module.layers(pictures), module)
    with torch.autocast("cpu", torch.bfloat16):
        output = module.layers(pictures)
    of_autocast = distance(learn(output.float(), module), exact)
    ours = distance(learn(module(frames()), module), exact)
    assert 1e-3 < ours.mean() < 1.1 * of_autocast.mean()


def test_switched_off_and_changed_layers_go_the_plain_way() -> None:
    seen, ways = frames(6), []
    for precision, tolerance in (("fp32", 1e-5), ("bf16", 0.02)):
        module = network(precision)  # type: ignore[arg-type]
        expected = module(seen)
        gradients = learn(expected, module)
        module.may_be_fused = False
        ways.append(module.how_it_runs)
        output = module(seen)
        assert output.dtype == torch.float32 and distance([output], [expected]) < tolerance
        assert distance(learn(output, module), gradients).max() < 10 * tolerance
    assert ways == ["the Nature CNN's frames go layer by layer: optimiser.fused is off"] * 2
    changed = network()
    changed.layers[1] = nn.GELU()
    assert "changed" in changed.how_it_runs
    assert torch.equal(changed(seen), changed.layers(seen.permute(0, 3, 1, 2).float() / 255.0))
    hooked = network()
    hooked.layers[8].register_forward_hook(lambda _, inputs, output: output + 1)
    assert distance([hooked(seen)], [network()(seen) + 1]) < 1e-5
    optimiser = Optimiser(module, OptimiserConfig(fused="off"), num_updates=1)
    assert (
        not module.may_be_fused
        and optimiser.config.fused == "off"
        and Optimiser(module, OptimiserConfig(), num_updates=1)
        and module.may_be_fused
    )


def test_channels_first_and_last_are_the_same() -> None:
    module, seen = network(), frames(6).view(2, 3, 84, 84, 4)
    assert torch.equal(module(seen), module(seen.movedim(-1, -3)))


def test_gradients_against_finite_differences() -> None:
    module, seen = network().double(), frames(2)
    direction = [torch.randn(p.shape, dtype=p.dtype, generator=torch.Generator().manual_seed(3)) for p in module.parameters()]
    gradients = learn(module(seen), module)
    grad = torch.stack([(g * d).sum() for g, d in zip(gradients, direction, strict=True)]).sum()
    weigh = torch.linspace(-1, 1, 32).view(2, 16)

    def loss(distance: float) -> Tensor:
        with torch.no_grad():
            moved = [p + distance * d for p, d in zip(module.parameters(), direction, strict=True)]
            return (convolutions.encode_frames(seen, moved, torch.float64) * weigh).sum()

    assert torch.allclose((loss(1e-7) - loss(-1e-7)) / 2e-7, grad, rtol=1e-6)


def test_gradients_can_be_differentiated() -> None:
    module, seen = network().double(), frames(2)
    weights = list(module.parameters())

    def curvature(output: Tensor) -> list[Tensor]:
        first = torch.autograd.grad(output.square().sum(), weights, create_graph=True)
        return list(torch.autograd.grad(torch.stack([g.square().sum() for g in first]).sum(), weights))

    ours, theirs = curvature(module(seen)), curvature(module.layers(seen.permute(0, 3, 1, 2).double() / 255.0))
    assert all(torch.allclose(one, two, rtol=1e-6, atol=1e-9 * float(two.abs().max())) for one, two in zip(ours, theirs, strict=True))


def test_weights_are_copied_once_while_they_are_constant() -> None:
    module, seen = network("bf16"), frames(2)
    with torch.no_grad():
        before = module(seen)
        with module.constant_weights():
            next(module.parameters()).mul_(2.0)
            assert torch.equal(module(seen), before)
        assert not torch.equal(module(seen), before)


def test_autocast_decides_where_it_is_on() -> None:
    module, seen = network(), frames(2)
    with torch.autocast("cpu", torch.bfloat16):
        half = module(seen)
    assert half.dtype == torch.float32 and not torch.equal(half, module(seen))
    assert torch.equal(half, network("bf16")(seen))
    assert len(learn(half, module)) == 8


def test_an_exception_in_a_thread_comes_out() -> None:
    with pytest.raises(ZeroDivisionError):
        convolutions.in_threads(lambda number: 1 / number, [1, 0])
    assert convolutions.in_threads(lambda number: (number, torch.get_num_threads()), [1, 2, 3]) == [(1, 1), (2, 1), (3, 1)]


def test_precisions_by_name() -> None:
    # Outside of a run nothing is measured.
    assert [convolutions.dtype_of(name) for name in ("auto", "fp32", "bf16")] == [torch.float32, torch.float32, torch.bfloat16]  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="precision: expected auto, fp32 or bf16, got 'fp8'"):
        convolutions.dtype_of("fp8")  # type: ignore[arg-type]
