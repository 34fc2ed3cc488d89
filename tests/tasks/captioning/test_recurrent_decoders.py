"""UpDown and soft attention against readings word by word and region by region, masks against regions that are not there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqrl.tasks.captioning.policies.captioner import CaptionPolicy
from seqrl.tasks.captioning.policies.live_rows import LiveRows
from seqrl.tasks.captioning.policies.lstm import AttentionLSTMDecoder
from seqrl.tasks.captioning.policies.updown import UpDownDecoder
from seqrl.trajectory import Trajectory

WANTED = torch.tensor(
    [[True, False, False, False], [True, True, True, False], [False] * 4, [True, False, True, True], [True, True, False, False]]
)
IMAGE = torch.tensor([1, 0, 1, 0, 1])
THERE = torch.tensor([[True, False, True], [True, True, False]])
KINDS = [UpDownDecoder, AttentionLSTMDecoder]


def made(kind: Any) -> Any:
    torch.manual_seed(0)
    return kind(7, memory_dim=3, dim=4, dropout=0.5).double().eval()


def memory_of(seed: int = 1) -> dict[str, Tensor]:
    regions = torch.randn(2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return {"regions": regions, "pooled": regions.mean(dim=1)}


def tokens_of(rows: int = 5, steps: int = 4) -> Tensor:
    return torch.randint(7, (rows, steps), generator=torch.Generator().manual_seed(2))


def cell_of(dim: int, weight: Tensor, bias: Tensor) -> nn.LSTMCell:
    """PyTorch's own cell with weights over [input, hidden]."""
    cell = nn.LSTMCell(weight.shape[1] - dim, dim).double()
    cell.weight_ih.data, cell.weight_hh.data = weight[:, :-dim].clone(), weight[:, -dim:].clone()
    cell.bias_ih.data, cell.bias_hh.data = bias.clone(), torch.zeros_like(bias)
    return cell


def test_updown_reads_as_its_equations_say() -> None:
    decoder, memory, tokens = made(UpDownDecoder), memory_of(), tokens_of()
    h2_and_h1, mean, word = decoder.look_gates.weight, decoder.gates_of_mean.weight, decoder.gates_of_word
    first = cell_of(4, torch.cat([h2_and_h1[:, :4], mean, word.weight, h2_and_h1[:, 4:]], dim=1), word.bias)
    second = cell_of(4, decoder.speak_gates.weight, decoder.speak_gates.bias)
    found = decoder(tokens, memory, IMAGE)
    for row in range(5):
        h1, c1, h2, c2 = (torch.zeros(1, 4, dtype=torch.float64) for _ in range(4))
        v = memory["regions"][IMAGE[row]]
        for step in range(4):
            embedded = decoder.token_embedding(tokens[row, step])
            h1, c1 = first(torch.cat([h2[0], v.mean(dim=0), embedded])[None], (h1, c1))
            energies = [decoder.energy(torch.tanh(decoder.region_key(v[i]) + decoder.query(h1[0]))) for i in range(3)]
            weights = torch.cat(energies).exp() / torch.cat(energies).exp().sum()
            seen = sum(weights[i] * v[i] for i in range(3))
            h2, c2 = second(torch.cat([seen, h1[0]])[None], (h2, c2))
            torch.testing.assert_close(found[row, step], decoder.norm(h2)[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masked", [False, True])
def test_steps_whole_rows_and_wanted_steps_agree(kind: Any, masked: bool) -> None:
    decoder, memory, tokens = made(kind), memory_of(), tokens_of()
    if masked:
        memory["mask"] = THERE
    whole = decoder(tokens, memory, IMAGE)
    state = decoder.start({name: leaf[IMAGE] for name, leaf in memory.items()})
    for step in range(4):
        features, state = decoder.step(tokens[:, step], state)
        torch.testing.assert_close(features, whole[:, step])
    torch.testing.assert_close(decoder(tokens, memory, IMAGE, mask=WANTED), whole[WANTED])
    torch.testing.assert_close(decoder(tokens[:2], memory), decoder(tokens[:2], memory, torch.tensor([0, 1])))
    assert decoder(tokens, memory, IMAGE, mask=torch.zeros_like(WANTED)).shape == (0, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_region_that_is_not_there_is_not_seen(kind: Any) -> None:
    decoder, memory, tokens = made(kind), memory_of(), tokens_of(2)
    memory["mask"] = THERE
    memory["pooled"] = torch.stack([memory["regions"][i][THERE[i]].mean(dim=0) for i in range(2)])
    found = decoder(tokens, memory)
    for i in range(2):
        left = {"regions": memory["regions"][i : i + 1, THERE[i]], "pooled": memory["pooled"][i : i + 1]}
        torch.testing.assert_close(found[i : i + 1], decoder(tokens[i : i + 1], left))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_wanted_steps_are_those_of_whole_rows(kind: Any) -> None:
    decoder, memory, tokens = made(kind), memory_of(), tokens_of()
    upstream = torch.randn(int(WANTED.sum()), 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    gradients = []
    for features in (decoder(tokens, memory, IMAGE, mask=WANTED), decoder(tokens, memory, IMAGE)[WANTED]):
        decoder.zero_grad()
        (features * upstream).sum().backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in decoder.named_parameters()})
    torch.testing.assert_close(gradients[0], gradients[1])


def test_live_rows_are_read_to_their_last_wanted_step() -> None:
    rows = LiveRows(WANTED, WANTED.shape, WANTED.device)
    assert rows.order.tolist() == [3, 1, 4, 0, 2]
    assert list(rows) == [(0, 5), (1, 3), (2, 2), (3, 1)]  # four of five live, which is no reason to cut
    labels = [torch.tensor([[row, step] for row in rows.order[:live].tolist()]) for step, live in rows]
    assert rows.gather(labels).tolist() == WANTED.nonzero().tolist()


def test_a_critic_beside_packed_features_has_a_value_for_every_step() -> None:
    policy = CaptionPolicy(Regions(), UpDownDecoder(7, memory_dim=3, dim=4, dropout=0.0), critic=True)
    assert policy.critic is not None
    nn.init.normal_(policy.critic[-1].weight, generator=torch.Generator().manual_seed(0))  # type: ignore[index]
    action, zeros, never = tokens_of(), torch.zeros(5, 4), torch.zeros_like(WANTED)
    seen = torch.cat([torch.ones(5, 1, dtype=torch.long), action], dim=1)
    context = {"image": memory_of()["regions"].float()[IMAGE]}
    rows = Trajectory(action, zeros, torch.zeros(5, 5), zeros, never, never, WANTED, obs=seen, context=context, group=IMAGE)
    packed, policy.packs = policy(rows), False
    whole = policy(rows)
    assert packed.value.shape == (5, 4) and not bool(packed.value[~WANTED].any()) and bool(packed.value[WANTED].all())
    for name in ("value", "logp", "entropy", "mean_logp"):
        torch.testing.assert_close(getattr(packed, name)[WANTED], getattr(whole, name)[WANTED])


class Regions(nn.Module):
    """Takes regions in place of images."""

    feature_dim = 3

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"regions": images, "pooled": images.mean(dim=1)}
