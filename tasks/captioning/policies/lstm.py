"""Two recurrent decoders: Show and Tell, which sees the image once, and soft attention, which looks again for every word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from seqrl.policies.networks import run_recurrent
from seqrl.tasks.captioning.policies.live_rows import LiveRows
from seqrl.trajectory import Tree


class LSTMDecoder(nn.Module):
    """x_{-1} = W_i image, x_t = W_e S_t, h_t = LSTM(x_t).

    Source: Vinyals et al. 2015 (Show and tell), the sentence generator.
    Differs from: a layer normalisation before the output, so that the output matrix may be tied to the embeddings.

    Args:
        vocabulary_size: V.
        memory_dim: size of the pooled image feature.
        dim: size D of embeddings and hidden state.
        num_layers: stacked LSTM layers.
        dropout: of the embeddings and the features.
    """

    def __init__(self, vocabulary_size: int, *, memory_dim: int, dim: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary_size, dim)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        self.image_embedding = nn.Linear(memory_dim, dim)
        self.lstm = nn.LSTM(dim, dim, num_layers, batch_first=True)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def start(self, memory: Any) -> dict[str, Tree]:
        """Show the image; give hidden and cell state [B, layers, D]."""
        _, (hidden, cell) = run_recurrent(self.lstm, self.image_embedding(memory["pooled"]).unsqueeze(1))
        return {"hidden": hidden.transpose(0, 1), "cell": cell.transpose(0, 1)}

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, dict[str, Tree]]:
        """Read one token [B] a row; give features [B, D] and the next state."""
        before = tuple(state[name].transpose(0, 1).contiguous() for name in ("hidden", "cell"))
        output, (hidden, cell) = run_recurrent(self.lstm, self.dropout(self.token_embedding(tokens)).unsqueeze(1), before)
        return self._features(output).squeeze(1), {"hidden": hidden.transpose(0, 1), "cell": cell.transpose(0, 1)}

    def forward(self, tokens: Tensor, memory: Any, image: Tensor | None = None) -> Tensor:
        """Read whole rows [B, T]; give features [B, T, D]; arguments as for `TransformerDecoder.forward`."""
        start: Any = self.start(memory)
        chosen = (start[name] if image is None else start[name][image] for name in ("hidden", "cell"))
        before = tuple(leaf.transpose(0, 1).contiguous() for leaf in chosen)
        output, _ = run_recurrent(self.lstm, self.dropout(self.token_embedding(tokens)), before)
        return self._features(output)

    def _features(self, output: Tensor) -> Tensor:
        return self.dropout(self.norm(output))


class AttentionLSTMDecoder(nn.Module):
    """Soft attention on the regions before every word.

    e_ti = w tanh(W_a a_i + W_h h_{t-1}), alpha_t = softmax(e_t), z_t = beta_t sum_i alpha_ti a_i,
    h_t = LSTM([W_e S_t, z_t], h_{t-1}), features_t = norm(W_e S_t + L_h h_t + L_z z_t).

    Source: Xu et al. 2015 (Show, attend and tell), deterministic soft attention with the gate beta_t.
    Differs from: no doubly stochastic penalty on alpha, and a layer normalisation before the output, so that the output
    matrix may be tied to the embeddings.

    Args:
        vocabulary_size: V.
        memory_dim: size of a region's feature.
        dim: size D of embeddings, hidden state and attention.
        dropout: of the embeddings and the features.
    """

    packs = True

    def __init__(self, vocabulary_size: int, *, memory_dim: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary_size, dim)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        self.first_hidden, self.first_cell = nn.Linear(memory_dim, dim), nn.Linear(memory_dim, dim)
        self.region_key, self.query = nn.Linear(memory_dim, dim), nn.Linear(dim, dim, bias=False)
        self.energy = nn.Linear(dim, 1, bias=False)
        self.gate = nn.Linear(dim, 1)
        self.cell = nn.LSTMCell(dim + memory_dim, dim)
        self.from_hidden, self.from_regions = nn.Linear(dim, dim), nn.Linear(memory_dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def start(self, memory: Any) -> dict[str, Tree]:
        """Give regions with their keys and mask (`memory`), and the hidden and cell state [B, D] made from their mean."""
        regions, pooled = memory["regions"], memory["pooled"]
        return {
            "memory": (regions, self.region_key(regions), memory.get("mask")),
            "hidden": self.first_hidden(pooled).tanh(),
            "cell": self.first_cell(pooled).tanh(),
        }

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, dict[str, Tree]]:
        """Read one token [B] a row; give features [B, D] and the next state."""
        embedded = self.dropout(self.token_embedding(tokens))
        seen, hidden, cell = self._read(embedded, state["memory"], state["hidden"], state["cell"])
        return self._features(embedded, hidden, seen), {**state, "hidden": hidden, "cell": cell}

    def forward(self, tokens: Tensor, memory: Any, image: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Read whole rows [B, T]; arguments and features as for `UpDownDecoder.forward`."""
        rows = LiveRows(mask, tokens.shape, tokens.device)
        start: Any = self.start(memory)
        places = rows.order if image is None else image[rows.order]
        seen = tuple(None if leaf is None else leaf.index_select(0, places) for leaf in start["memory"])
        hidden, cell = (start[name].index_select(0, places) for name in ("hidden", "cell"))
        embedded = self.dropout(self.token_embedding(tokens[rows.order].t()))
        found = [(embedded[:0, 0], hidden[:0], start["memory"][0][:0, 0])]
        for step, live in rows:
            if live < hidden.shape[0]:
                seen, hidden, cell = tuple(None if leaf is None else leaf[:live] for leaf in seen), hidden[:live], cell[:live]
            word = embedded[step, :live]
            regions, hidden, cell = self._read(word, seen, hidden, cell)
            found.append((word, hidden, regions))
        # What does not feed back is computed for all steps at once.
        return self._features(*(rows.gather(steps) for steps in zip(*found, strict=True)))

    def _read(self, embedded: Tensor, memory: Any, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Look, and go one step on; give what was seen and the next hidden and cell state."""
        regions, keys, mask = memory
        seen = attend(self.energy, self.query(hidden), keys, regions, mask) * self.gate(hidden).sigmoid()
        hidden, cell = self.cell(torch.cat([embedded, seen], dim=1), (hidden, cell))
        return seen, hidden, cell

    def _features(self, embedded: Tensor, hidden: Tensor, seen: Tensor) -> Tensor:
        return self.dropout(self.norm(embedded + self.from_hidden(hidden) + self.from_regions(seen)))


def attend(energy: Callable[[Tensor], Tensor], query: Tensor, keys: Tensor, regions: Tensor, mask: Tensor | None) -> Tensor:
    """Give sum_i alpha_i v_i with alpha = softmax(e) over the regions that are there, e_i = w tanh(k_i + q).

    Args:
        energy: w, maps [B, R, D] to [B, R, 1].
        query: q [B, D].
        keys: k [B, R, D].
        regions: v [B, R, M].
        mask: [B, R] bool; None for all.

    Returns:
        [B, M] what is seen.

    Source: Bahdanau et al. 2015 (Neural machine translation by jointly learning to align and translate).
    """
    scores = energy((keys + query.unsqueeze(1)).tanh_()).squeeze(-1)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return torch.bmm(scores.softmax(dim=1).unsqueeze(1), regions).squeeze(1)
