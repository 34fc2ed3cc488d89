"""What every policy over tokens shares, and a wrapper that makes one of a researcher's own module."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from seqrl.batch_share import SharedGenerator
from seqrl.policies.token_evaluation import evaluate_tokens as evaluate_tokens
from seqrl.sharding import whole
from seqrl.trajectory import Evaluation, Step, Trajectory, Tree, map_tree, tree_leaves


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Switch dropout and the like off for a while; every submodule gets its own mode back, also after an exception.

    Weights that are shared out over the processes are put together for as long, for which every process has to enter it.
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with whole(module):
            yield
    finally:
        for part, training in modes:
            part.training = training


def draw_uniform(shape: Sequence[int], generator: torch.Generator | None, device: torch.device | str) -> Tensor:
    """Draw float32 numbers from [0, 1) on the generator's own device and move them to `device`."""
    if isinstance(generator, SharedGenerator):
        return generator.uniform(shape).to(device)
    source = device if generator is None else generator.device
    return torch.rand(tuple(shape), generator=generator, device=source).to(device)


def choose_token(logits: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
    """Choose one token a row: a = min{k : sum_{j<=k} p_j > u}, the inverse of the cumulated probabilities.

    One number a row decides, so that a row's draw depends neither on the other rows nor on how many are left.

    Args:
        logits: [B, V] float; -inf forbids a token.
        noise: [B] numbers u from [0, 1), or below 0 for a row's most probable token; the most probable token of every row when None.

    Returns:
        [B] token, long, and [B] its log-probability, nats; not finite where a row's logits are not, so that its update is skipped.
    """
    B, V = logits.shape
    rows = max(1, _NUMBERS_AT_ONCE // V)
    if logits.device.type != "cpu" or rows >= B:
        return _choose(logits, noise)
    noises = [None] * -(-B // rows) if noise is None else noise.split(rows)
    tokens, logp = zip(*(_choose(part, part_noise) for part, part_noise in zip(logits.split(rows), noises, strict=True)), strict=True)
    return torch.cat(tokens), torch.cat(logp)


# Probabilities of this many tokens stay in a core's cache until they are cumulated and searched, which takes half to a third of the time.
_NUMBERS_AT_ONCE = 2**17


def _choose(logits: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
    probability = logits.softmax(dim=-1, dtype=torch.float32)
    if noise is None:
        token = logits.argmax(dim=-1, keepdim=True)
    else:
        cumulated = probability.cumsum(dim=-1)
        total = cumulated[:, -1:]
        # Rounding may lift u * total to total itself, which would choose a token behind the last possible one.
        threshold = torch.minimum(noise.unsqueeze(1) * total, torch.nextafter(total, torch.zeros_like(total)))
        # Behind the last token comes what is searched in cumulated NaN.
        token = torch.searchsorted(cumulated, threshold, right=True).clamp_(max=logits.shape[-1] - 1)
        greedy = noise < 0
        if logits.device.type != "cpu":  # to ask which rows these are would wait for the device
            token = torch.where(greedy.unsqueeze(1), logits.argmax(dim=-1, keepdim=True), token)
        elif bool(greedy.any()):
            token[greedy] = logits[greedy].argmax(dim=-1, keepdim=True)
    return token.squeeze(1), probability.gather(1, token).squeeze(1).log()


def end_tokens(policy: Any) -> tuple[int, ...]:
    """Give all tokens that end a row of a token policy: its `ends`, or its one `end`; pretrained models may have several."""
    return tuple(getattr(policy, "ends", ())) or (int(policy.end),)


def is_end(tokens: Tensor, ends: Sequence[int]) -> Tensor:
    """Say which tokens end a row; the shape of `tokens`, bool."""
    found = tokens == ends[0]
    for end in ends[1:]:
        found = found | (tokens == end)
    return found


def act_on_tokens(policy: Any, obs: Tree, state: Tree, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
    """Choose the next token of each row; the `act` of a policy that has `next_logits`.

    Args:
        policy: has `next_logits(tokens, state) -> (logits [B, V], state)`. A policy with a critic leaves the value of
            the observation, [B], in `state["value"]`.
        obs: [B] long, the token before.
        state: the policy's own.
        greedy: take the most probable token.
        generator: draws one number a row.
    """
    tokens = first_leaf(obs)
    logits, state = policy.next_logits(tokens, state)
    noise = None if greedy else draw_uniform(tokens.shape, generator, tokens.device)
    action, logp = choose_token(logits, noise)
    return Step(action, logp, value_of(state, logp), state)


def value_of(state: Tree, like: Tensor) -> Tensor:
    """Read the critic's value [B] from a state; zeros like `like` where there is no critic."""
    if isinstance(state, dict) and isinstance(state.get("value"), Tensor):
        return state["value"]  # type: ignore[return-value]
    return torch.zeros_like(like)


def input_tokens(trajectory: Trajectory, begin: int) -> Tensor:
    """Give the tokens [B, T] that a policy sees before each action.

    Args:
        trajectory: `obs` is [B, T+1] long.
        begin: the token that every row starts with.

    Raises:
        ValueError: when `obs` is no tensor of tokens, or a row does not start at its beginning.
    """
    obs = trajectory.obs
    if not isinstance(obs, Tensor) or obs.ndim != 2:
        raise ValueError(
            f"obs: expected a [B, T+1] tensor of tokens, got {type(obs).__name__}; sample it with seqrl.rollout.unroll and TokenSource"
        )
    if not bool((obs[:, 0] == begin).all()):
        raise ValueError(
            f"obs: expected every row to start with the begin token {begin}; a text cannot be cut into steps, use minibatches over rows"
        )
    return obs[:, :-1]


def distinct_rows(group: Tensor) -> tuple[Tensor, Tensor]:
    """Find the distinct groups: group[first][inverse] == group.

    Args:
        group: [B] integer; rows with a negative number share with no other row.

    Returns:
        [N] long, the first row of each distinct group in ascending order of that row, and [B] long, each row's place
        among these.
    """
    positions = torch.arange(group.shape[0], device=group.device)
    distinct, inverse = torch.where(group < 0, -1 - positions, group).unique(return_inverse=True)
    first = torch.full_like(distinct, group.shape[0]).scatter_reduce(0, inverse, positions.to(distinct.dtype), "amin").long()
    first, order = first.sort()
    return first, order.argsort()[inverse]


def encode_distinct(encode: Callable[[Tree], Tree], context: Tree, group: Tensor | None) -> Tree:
    """Encode the context of each distinct group once and give every row its result.

    Args:
        encode: takes a context with leaves [N, ...], gives a tree with leaves [N, ...].
        context: leaves [B, ...].
        group: [B] as for `distinct_rows`. None: every row has a context of its own.
    """
    if group is None:
        return encode(context)
    first, inverse = distinct_rows(group)
    if first.shape[0] == group.shape[0]:
        return encode(context)
    return map_tree(lambda leaf: leaf[inverse], encode(map_tree(lambda leaf: leaf[first], context)))


def never_right(ends: Sequence[int], *others: int | None) -> tuple[int, ...]:
    """Give the tokens that no text should hold, in ascending order: the others that there are, unless they end a text, too."""
    return tuple(sorted({token for token in others if token is not None} - set(ends)))


class TokenPolicy(nn.Module):
    """A policy made of one's own module, whose `forward(context, tokens [B, T])` gives logits [B, T, V].

    logits[:, t] is read as the distribution of the token that follows tokens[:, :t+1]; the module must not look ahead.
    To act, the module runs again on the whole row so far, which costs O(T) passes a row but asks for no cache. Nothing keeps it from
    sampling `begin`, `pad` or `unknown`: a module that should not gives them the logit -inf. Label smoothing leaves them out.

    Args:
        module: takes (context, tokens) and gives logits [B, T, V].
        begin: token before the first action.
        end: token that ends a row, or several, of which the first one ends demonstrations.
        pad: token after the end.
        unknown: token of words that have none of their own, where there is one.
        max_tokens: longest row, end token included.
        temperature: divides the logits, in sampling and re-evaluation alike.
        encode: optional; takes the context once for each distinct group, and the module then gets what it gives.

    Raises:
        ValueError: when max_tokens or temperature is not positive.
    """

    has_distribution = False
    act = act_on_tokens

    def __init__(
        self,
        module: nn.Module,
        *,
        begin: int = 1,
        end: int | Sequence[int] = 2,
        pad: int = 0,
        unknown: int | None = None,
        max_tokens: int = 20,
        temperature: float = 1.0,
        encode: Callable[[Tree], Tree] | None = None,
    ) -> None:
        super().__init__()
        check_token_settings(max_tokens, temperature)
        self.module = module
        self.ends = (end,) if isinstance(end, int) else tuple(end)
        self.begin, self.end, self.pad = begin, self.ends[0], pad
        self.wrong = never_right(self.ends, begin, pad, unknown)
        self.max_tokens, self.temperature = max_tokens, temperature
        self.encode = encode if encode is not None else nn.Identity()

    def initial_state(self, context: Tree) -> Tree:
        """Give the encoded context and rows without tokens.

        Raises:
            ValueError: when there is no context, since its rows tell the batch size.
        """
        memory = self.encode(context)
        leaf = first_leaf(memory)
        return {"memory": memory, "tokens": torch.zeros(leaf.shape[0], 0, dtype=torch.long, device=leaf.device)}

    def next_logits(self, tokens: Tensor, state: Tree) -> tuple[Tensor, Tree]:
        """Append tokens [B] to the rows and give the logits [B, V] of what follows."""
        parts: Any = state
        row = torch.cat([parts["tokens"], tokens.unsqueeze(1)], dim=1)
        return self.module(parts["memory"], row)[:, -1] / self.temperature, {"memory": parts["memory"], "tokens": row}

    def forward(self, trajectory: Trajectory) -> Evaluation:
        """Evaluate the tokens of a trajectory in one pass of the module."""
        return evaluate_tokens(self._logits(trajectory), lambda logits: logits, trajectory, wrong=self.wrong)

    def resample(self, trajectory: Trajectory, generator: torch.Generator | None = None) -> Tensor:
        """Draw a token [B, T] for every step, given the trajectory's own tokens before it."""
        return resample_tokens(self._logits(trajectory), generator)

    def _logits(self, trajectory: Trajectory) -> Tensor:
        tokens = input_tokens(trajectory, self.begin)
        return self.module(encode_distinct(self.encode, trajectory.context, trajectory.group), tokens) / self.temperature


def resample_tokens(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw one token for every step from logits [B, T, V]; gives [B, T] long."""
    B, T, V = logits.shape
    noise = draw_uniform((B, T), generator, logits.device)
    return choose_token(logits.reshape(B * T, V), noise.reshape(B * T))[0].view(B, T)


def check_token_settings(max_tokens: int, temperature: float) -> None:
    """Refuse lengths and temperatures that no policy can have.

    Raises:
        ValueError: when one of them is not positive.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens: expected at least 1, got {max_tokens}")
    if not temperature > 0:
        raise ValueError(f"temperature: expected a positive number, got {temperature}; use greedy=True for the most probable token")


def first_leaf(tree: Tree) -> Tensor:
    """Give any tensor of a tree, to read batch size and device from.

    Raises:
        ValueError: when the tree has none.
    """
    leaves = tree_leaves(tree)
    if not leaves:
        raise ValueError("context: expected at least one tensor with a row for each text, got none")
    return leaves[0]
