"""The two-layer attention decoder of bottom-up and top-down attention."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seqrl.tasks.captioning.policies.live_rows import LiveRows
from seqrl.tasks.captioning.policies.lstm import attend
from seqrl.trajectory import Tree


class UpDownDecoder(nn.Module):
    """One LSTM decides where to look, the other one what to say.

    h1_t = LSTM([h2_{t-1}, mean_i v_i, W_e S_t], h1_{t-1}), e_ti = w tanh(W_v v_i + W_h h1_t), alpha_t = softmax(e_t),
    h2_t = LSTM([sum_i alpha_ti v_i, h1_t], h2_{t-1}), features_t = norm(h2_t).

    What words and mean add to the first LSTM's gates does not depend on the steps before, so it is computed for all steps at once, and the
    keys W_v v_i once an image. Rows that have ended are not read on.

    Source: Anderson et al. 2018 (Bottom-up and top-down attention for image captioning and visual question answering), the captioning
    model.
    Differs from: one size D for words, both LSTMs and attention; a layer normalisation before the output, so that the output matrix may be
    tied to the embeddings; both forget gates start open (Jozefowicz et al. 2015, An empirical exploration of recurrent network
    architectures).

    Args:
        vocabulary_size: V.
        memory_dim: size of a region's feature.
        dim: size D of embeddings, hidden states and attention.
        dropout: of the embeddings and the features.
    """

    packs = True

    def __init__(self, vocabulary_size: int, *, memory_dim: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary_size, dim)
        self.gates_of_word = nn.Linear(dim, 4 * dim)
        self.gates_of_mean = nn.Linear(memory_dim, 4 * dim, bias=False)
        self.look_gates = nn.Linear(2 * dim, 4 * dim, bias=False)
        self.region_key, self.query = nn.Linear(memory_dim, dim), nn.Linear(dim, dim, bias=False)
        self.energy = nn.Linear(dim, 1, bias=False)
        self.speak_gates = nn.Linear(memory_dim + 2 * dim, 4 * dim)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        for gates in (self.gates_of_word, self.gates_of_mean, self.look_gates, self.speak_gates):
            nn.init.uniform_(gates.weight, -(dim**-0.5), dim**-0.5)
        for gates in (self.gates_of_word, self.speak_gates):
            nn.init.zeros_(gates.bias)
            nn.init.ones_(gates.bias[dim : 2 * dim])
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def start(self, memory: Any) -> dict[str, Tree]:
        """Give what is the same for every token (`memory`), and both LSTMs' hidden and cell states [N, 4, D], zeros."""
        regions = memory["regions"]
        seen: dict[str, Tree] = {"mask": memory["mask"]} if "mask" in memory else {}
        seen |= {"regions": regions, "keys": self.region_key(regions), "gates": self.gates_of_mean(memory["pooled"])}
        return {"memory": seen, "hidden": regions.new_zeros(regions.shape[0], 4, self.query.in_features)}

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, dict[str, Tree]]:
        """Read one token [B] a row; give features [B, D] and the next state."""
        memory = state["memory"]
        gates = self.gates_of_word(self.dropout(self.token_embedding(tokens))) + memory["gates"]
        hidden = self._read(gates, memory["regions"], memory["keys"], memory.get("mask"), state["hidden"].unbind(dim=1))
        return self._features(hidden[2]), {**state, "hidden": torch.stack(hidden, dim=1)}

    def forward(self, tokens: Tensor, memory: Any, image: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Read whole rows [B, T].

        Args:
            tokens: [B, T] long.
            memory: encoded images, leaves [N, ...]: `regions` [N, R, M], `pooled` [N, M] and, where their number differs, `mask` [N, R].
            image: [B] long, the image of each row; None where row i has image i.
            mask: [B, T] bool, the steps whose features are wanted; None for all.

        Returns:
            Features [B, T, D], or those of the M wanted steps [M, D], row by row.
        """
        rows = LiveRows(mask, tokens.shape, tokens.device)
        places = rows.order if image is None else image[rows.order]
        start: Any = self.start(memory)
        seen = {name: leaf.index_select(0, places) for name, leaf in start["memory"].items()}
        gates = self.gates_of_word(self.dropout(self.token_embedding(tokens[rows.order].t())))
        hidden: tuple[Tensor, ...] = start["hidden"].new_zeros(4, tokens.shape[0], self.query.in_features).unbind()
        features = [hidden[0][:0]]
        for step, live in rows:
            if live < hidden[0].shape[0]:
                seen, hidden = {name: leaf[:live] for name, leaf in seen.items()}, tuple(part[:live] for part in hidden)
            hidden = self._read(gates[step, :live] + seen["gates"], seen["regions"], seen["keys"], seen.get("mask"), hidden)
            features.append(hidden[2])
        return self._features(rows.gather(features))

    def _read(
        self, gates: Tensor, regions: Tensor, keys: Tensor, mask: Tensor | None, before: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Go one step on from both LSTMs' hidden and cell state [B, D], given what word and mean add to the first one's gates."""
        look, look_cell, speak, speak_cell = before
        look, look_cell = lstm_cell(gates + self.look_gates(torch.cat([speak, look], dim=1)), look_cell)
        seen = attend(self.energy, self.query(look), keys, regions, mask)
        speak, speak_cell = lstm_cell(self.speak_gates(torch.cat([seen, look, speak], dim=1)), speak_cell)
        return look, look_cell, speak, speak_cell

    def _features(self, hidden: Tensor) -> Tensor:
        return self.dropout(self.norm(hidden))


def lstm_cell(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Go one step on: c' = sigmoid(f) c + sigmoid(i) tanh(g), h' = sigmoid(o) tanh(c').

    Args:
        gates: [B, 4D], i, f, g and o before their nonlinearities.
        cell: c [B, D].

    Returns:
        h' and c', [B, D] each.

    Source: Hochreiter & Schmidhuber 1997 (Long short-term memory), with the forget gate of Gers et al. 2000 (Learning to forget).
    """
    write, keep, new, read = gates.chunk(4, dim=1)
    cell = keep.sigmoid() * cell + write.sigmoid() * new.tanh()
    return read.sigmoid() * cell.tanh(), cell
