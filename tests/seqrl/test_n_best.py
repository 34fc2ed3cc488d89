"""Several rows by beam search, against all rows that there are."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from seqrl.n_best import best_rows, n_best
from seqrl.policies.tokens import TokenPolicy

V, T = 4, 3


class Table(nn.Module):
    """Logits by place and token before, the same for all contexts but for a shift."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(T, V, V, generator=torch.Generator().manual_seed(0)))

    def forward(self, shift: Tensor, tokens: Tensor) -> Tensor:
        return torch.stack([self.table[t, tokens[:, t]] for t in range(tokens.shape[1])], dim=1) + shift[:, None, :]


@torch.no_grad()
def test_a_wide_beam_finds_all_rows_that_end() -> None:
    policy = TokenPolicy(Table(), max_tokens=T)
    shift = torch.randn(2, V, generator=torch.Generator().manual_seed(1))
    found = n_best(policy, shift, beam_size=V**T, num_rows=50)
    for item in range(2):
        wanted = {}
        for words in [row for n in range(T) for row in product([0, 1, 3], repeat=n)]:
            row = [*words, 2]
            logp = policy.module(shift[item : item + 1], torch.tensor([[1, *row[:-1]]])).log_softmax(dim=2)[0]
            wanted[tuple(words)] = float(logp[range(len(row)), row].mean())
        assert {tuple(row): score for row, score in found[item]} == pytest.approx(wanted, abs=1e-5)


def test_numbers_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="num_rows: expected at least 1, got 0"):
        n_best(TokenPolicy(Table(), max_tokens=T), torch.zeros(1, V), beam_size=2, num_rows=0)


@torch.no_grad()
def test_best_rows_are_the_n_best_with_the_policys_own_log_probabilities() -> None:
    policy = TokenPolicy(Table(), max_tokens=T)
    shift = torch.randn(2, V, generator=torch.Generator().manual_seed(1))
    rows = best_rows(policy, shift, num_rows=5, group=torch.tensor([7, 3]))
    found = n_best(policy, shift, beam_size=5, num_rows=5)
    assert rows.group is not None and rows.group.tolist() == [7] * 5 + [3] * 5
    for index in range(10):
        each = found[index // 5]
        words, mean = each[min(index % 5, len(each) - 1)]
        length = int(rows.mask[index].sum())
        assert rows.action[index, :length].tolist() == [*words, 2] and rows.terminated[index].nonzero().flatten().tolist() == [length - 1]
        assert float(rows.logp[index].sum()) == pytest.approx(length * mean, abs=1e-5)
    torch.testing.assert_close(policy(rows).logp[rows.mask], rows.logp[rows.mask])


@torch.no_grad()
def test_missing_rows_are_the_last_one_again() -> None:
    policy = TokenPolicy(Table(), max_tokens=1)  # only the row without words can end
    rows = best_rows(policy, torch.zeros(1, V), num_rows=3)
    assert rows.action.tolist() == [[2]] * 3 and bool(rows.mask.all())
