"""Networks against known sizes, finite differences and runs step by step."""

from __future__ import annotations

import math

import pytest
import torch

from seqrl.policies import networks


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_mlp_sizes_and_orthogonal_weights() -> None:
    mlp = networks.MLP(4, [64, 8], 3, output_gain=0.01, generator=seeded())
    assert mlp(torch.zeros(2, 5, 4)).shape == (2, 5, 3)
    for layer, gain in zip(mlp.layers, (math.sqrt(2), math.sqrt(2), 0.01), strict=True):
        weight = layer.weight if layer.weight.shape[0] <= layer.weight.shape[1] else layer.weight.T  # type: ignore[union-attr, index, operator]
        assert torch.allclose(weight @ weight.T, gain**2 * torch.eye(len(weight)), atol=1e-5)  # type: ignore[operator, arg-type]
        assert not layer.bias.any()  # type: ignore[union-attr, operator]


def test_mlp_is_linear_at_its_end_and_only_there() -> None:
    x = torch.randn(6, 4, generator=seeded())
    line = networks.MLP(4, [], 3, generator=seeded())
    assert torch.allclose(line(2 * x), 2 * line(x), atol=1e-6)
    bent = networks.MLP(4, [8], 3, generator=seeded())
    assert torch.allclose(bent(x), torch.tanh(x @ bent.layers[0].weight.T) @ bent.layers[1].weight.T, atol=1e-6)  # type: ignore[union-attr, operator]


def test_the_same_generator_gives_the_same_weights() -> None:
    one, two = (networks.MLP(4, [8], 3, generator=seeded(5)) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(one.parameters(), two.parameters(), strict=True))


def test_nature_cnn() -> None:
    network = networks.NatureCNN(4, generator=seeded())
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_684_128  # as published for the Nature DQN's torso
    frames = torch.randint(0, 256, (2, 3, 4, 84, 84), dtype=torch.uint8, generator=seeded())
    code = network(frames)
    assert code.shape == (2, 3, 512) and (code >= 0).all()
    assert torch.allclose(network(frames[1, 2]), code[1, 2], atol=1e-5)
    assert torch.equal(network(torch.zeros(1, 4, 84, 84, dtype=torch.uint8)), torch.zeros(1, 512))
    for wrong in (frames.float(), frames[..., :80]):
        with pytest.raises(ValueError, match="frames: expected uint8"):
            network(wrong)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_recurrent_torso_step_by_step(kind: str) -> None:
    torso = networks.RecurrentTorso(kind, 3, 6, generator=seeded())  # type: ignore[arg-type]
    x = torch.randn(2, 7, 3, generator=seeded(1))
    restart = torch.zeros(2, 7, dtype=torch.bool)
    restart[0, 3] = restart[1, 5] = restart[1, 0] = True
    start = {name: torch.randn(2, 6, generator=seeded(2)) for name in torso.initial_state(2)}
    whole, last = torso(x, start, restart)
    torch.testing.assert_close(torso.replay(x, start, restart), whole)
    torch.testing.assert_close(torso.replay(x, start, torch.zeros_like(restart)), torso(x, start)[0])
    for row in range(2):
        state = {name: leaf[row : row + 1] for name, leaf in start.items()}
        for t in range(7):
            if restart[row, t]:
                state = torso.initial_state(1)
            output, state = torso(x[row : row + 1, t : t + 1], state)
            assert torch.allclose(output[0, 0], whole[row, t], atol=1e-6)
        assert all(torch.allclose(state[name][0], last[name][row], atol=1e-6) for name in last)
    assert torch.allclose(torso(x, start)[0], torso(x, start, torch.zeros_like(restart))[0], atol=1e-6)
    assert set(start) == ({"hidden", "cell"} if kind == "lstm" else {"hidden"})


def test_no_gradient_crosses_a_restart() -> None:
    torso = networks.RecurrentTorso("lstm", 3, 6, generator=seeded())
    x = torch.randn(1, 4, 3, generator=seeded(1)).requires_grad_()
    restart = torch.tensor([[False, False, True, False]])
    for output in (torso(x, torso.initial_state(1), restart)[0], torso.replay(x, torso.initial_state(1), restart)):
        (gradient,) = torch.autograd.grad(output[:, 3].sum(), x)
        assert not gradient[:, :2].any() and gradient[:, 2:].all()


def test_restarts_follow_inactive_steps() -> None:
    mask = torch.tensor([[True, False, True, True], [False, True, True, False]])
    assert networks.restarts(mask).tolist() == [[False, False, True, False], [False, True, False, False]]
    assert networks.restarts(torch.tensor([[True, False, False, True, False]])).tolist() == [[False, False, False, True, False]]


def test_recurrent_misfits_are_named() -> None:
    with pytest.raises(ValueError, match="kind: expected lstm or gru"):
        networks.RecurrentTorso("rnn", 3, 6)  # type: ignore[arg-type]
    torso = networks.RecurrentTorso("gru", 3, 6)
    with pytest.raises(ValueError, match="restart: expected shape"):
        torso(torch.zeros(2, 4, 3), torso.initial_state(2), torch.zeros(2, 3, dtype=torch.bool))


def test_only_what_is_trained_gets_a_gradient() -> None:
    mlp = networks.MLP(4, [5, 3], 2, generator=seeded())
    mlp.layers[0].requires_grad_(False)
    x = torch.randn(2, 3, 4, generator=seeded(1), requires_grad=True)
    mlp(x).sum().backward()
    assert mlp.layers[0].weight.grad is None and mlp.layers[1].weight.grad is not None
    assert x.grad is not None and x.grad.shape == x.shape
    # By the chain rule, written with another activation of the same shape, which takes the path through autograd.
    peer = networks.MLP(4, [5, 3], 2, activation=lambda u: u.tanh())
    peer.load_state_dict(mlp.state_dict())
    peer(x).sum().backward()
    assert torch.allclose(mlp.layers[1].weight.grad, peer.layers[1].weight.grad, atol=1e-5)


def test_half_precision_passes_through() -> None:
    mlp = networks.MLP(4, [5], 2, generator=seeded())
    x = torch.randn(3, 4, generator=seeded(1))
    with torch.autocast("cpu", torch.bfloat16):
        half = mlp(x)
    assert half.dtype == torch.bfloat16 and torch.allclose(half.float(), mlp(x), atol=0.05)
