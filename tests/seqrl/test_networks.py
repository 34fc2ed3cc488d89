"""Networks and heads against known sizes, numerical integration, PyTorch's distributions and runs step by step."""

from __future__ import annotations

import math

import pytest
import torch

from seqrl import networks


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
    output, _ = torso(x, torso.initial_state(1), torch.tensor([[False, False, True, False]]))
    (gradient,) = torch.autograd.grad(output[:, 3].sum(), x)
    assert not gradient[:, :2].any() and gradient[:, 2:].all()


def test_restarts_follow_inactive_steps() -> None:
    mask = torch.tensor([[True, False, True, True], [False, True, True, False]])
    assert networks.restarts(mask).tolist() == [[False, False, True, False], [False, True, False, False]]


def test_recurrent_misfits_are_named() -> None:
    with pytest.raises(ValueError, match="kind: expected lstm or gru"):
        networks.RecurrentTorso("rnn", 3, 6)  # type: ignore[arg-type]
    torso = networks.RecurrentTorso("gru", 3, 6)
    with pytest.raises(ValueError, match="restart: expected shape"):
        torso(torch.zeros(2, 4, 3), torso.initial_state(2), torch.zeros(2, 3, dtype=torch.bool))


LOGITS = torch.tensor([[[0.0, math.log(3.0), -math.inf], [50.0, -50.0, 0.0]]], dtype=torch.float64)


def test_categorical_by_hand() -> None:
    # The first row is (1/4, 3/4, forbidden).
    assert networks.categorical_logp(LOGITS, torch.tensor([[1, 0]])).tolist() == [pytest.approx([math.log(0.75), 0.0])]
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert networks.categorical_entropy(LOGITS).tolist() == [pytest.approx([entropy, 0.0], abs=1e-12)]


def test_categorical_gradient_survives_forbidden_actions() -> None:
    logits = LOGITS.clone().requires_grad_()
    total = networks.categorical_entropy(logits).sum() + networks.categorical_logp(logits, torch.tensor([[1, 0]])).sum()
    (gradient,) = torch.autograd.grad(total, logits)
    assert gradient.isfinite().all() and gradient[0, 0, 2] == 0.0


def test_categorical_agrees_with_pytorch() -> None:
    logits = torch.randn(4, 5, 9, generator=seeded(), dtype=torch.float64).requires_grad_()
    action = torch.randint(0, 9, (4, 5), generator=seeded())
    peer = torch.distributions.Categorical(logits=logits)
    assert torch.allclose(networks.categorical_logp(logits, action), peer.log_prob(action))
    assert torch.allclose(networks.categorical_entropy(logits), peer.entropy())
    assert torch.autograd.gradcheck(networks.categorical_entropy, (logits[0, :2],))


def test_categorical_samples_have_the_right_frequencies() -> None:
    probability = torch.tensor([0.1, 0.0, 0.6, 0.3])
    logits = probability.log().expand(100, 200, 4)
    action = networks.categorical_sample(logits, seeded())
    assert action.shape == (100, 200) and action.dtype == torch.long
    frequency = action.flatten().bincount(minlength=4) / 20000
    assert frequency[1] == 0.0
    assert (frequency - probability).abs().max() < 4 * math.sqrt(0.25 / 20000)  # four standard deviations
    assert torch.equal(action, networks.categorical_sample(logits, seeded()))
    assert networks.categorical_sample(logits[0, 0], seeded()).shape == ()


def test_gaussian_agrees_with_pytorch_and_its_samples_with_it() -> None:
    mean, log_std = torch.tensor([[0.5, -1.0, 2.0]]), torch.tensor([-0.7, 0.3, 0.0])
    peer = torch.distributions.Normal(mean, log_std.exp())
    action = torch.randn(1, 3, generator=seeded())
    assert torch.allclose(networks.gaussian_logp(mean, log_std, action), peer.log_prob(action).sum(-1))
    assert torch.allclose(networks.gaussian_entropy(log_std), peer.entropy().sum())
    drawn = networks.gaussian_sample(mean.expand(20000, 3), log_std, seeded())
    assert torch.allclose(drawn.mean(dim=0), mean[0], atol=0.05)
    assert torch.allclose(drawn.std(dim=0), log_std.exp(), rtol=0.03)


def test_squashed_gaussian_density_integrates_to_one() -> None:
    mean, log_std = torch.tensor([0.4], dtype=torch.float64), torch.tensor([-0.5], dtype=torch.float64)
    action = torch.linspace(-1 + 1e-7, 1 - 1e-7, 400_001, dtype=torch.float64)
    logp = networks.tanh_gaussian_logp(mean, log_std, action.atanh()[:, None])
    assert torch.trapezoid(logp.exp(), action).item() == pytest.approx(1.0, abs=1e-6)
    # The entropy by the same integration, against the mean of its one-sample estimates.
    exact = -torch.trapezoid(logp.exp() * logp, action).item()
    drawn = networks.gaussian_sample(mean.expand(50_000, 1), log_std, seeded())
    assert networks.tanh_gaussian_entropy(log_std, drawn).mean().item() == pytest.approx(exact, abs=0.01)
    assert -networks.tanh_gaussian_logp(mean, log_std, drawn).mean().item() == pytest.approx(exact, abs=0.01)


def test_squashed_gaussian_far_out() -> None:
    u = torch.tensor([[-30.0], [0.0], [30.0]], requires_grad=True)
    slope = networks.tanh_log_slope(u)
    # 1 - tanh(u)^2 = 1 / cosh(u)^2, about 4 e^(-2|u|); single precision cannot tell tanh(30) from 1.
    assert slope.tolist() == pytest.approx([math.log(4) - 60, 0.0, math.log(4) - 60], abs=1e-5)
    (gradient,) = torch.autograd.grad(slope.sum(), u)
    assert gradient.flatten().tolist() == pytest.approx([2.0, 0.0, -2.0])
