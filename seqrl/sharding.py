"""A policy whose weights are shared out over the processes: each keeps its part, and all have the whole while they work with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from seqrl.adamw import MOMENTS, AdamW
from seqrl.meetings import meeting

_ATTRIBUTE = "_seqrl_shards"
# Gradients are exchanged so many numbers at a time: one exchange costs the same whatever its size, and takes room for a copy.
BUCKET_NUMBERS = 2**22


class Shards:
    """The parts of a policy's weights that this process keeps, by torch's `fully_shard`.

    The policy is one unit: while something computes with it (see `whole`) every process has all weights as plain tensors, so that
    whatever reads a weight directly works as it is; in between its parameters are DTensors, cut along their first dimension.

    Differs from: FSDP's own hooks, in averaging the gradients after the last part of a batch, once a step. Processes may thereby have
    different numbers of parts, losses that are not finite, and parameters without a gradient.

    Args:
        policy: on its device, with the same weights in every process.
    """

    def __init__(self, policy: nn.Module) -> None:
        from torch.distributed.fsdp import fully_shard

        with meeting("to share out the weights"):
            fully_shard(policy, reshard_after_forward=False)
            unit: Any = policy
            self._unit, self._depth = unit, 0
            # Where it keeps its part for good is settled when it is first put together.
            self._unit.unshard()
        self._unit.reshard()
        self.names = [name for name, parameter in policy.named_parameters() if parameter.requires_grad]
        self._resting: dict[str, Any] = dict(policy.named_parameters())
        # Views: what the optimiser writes into them is in the policy.
        self.own = [nn.Parameter(self._resting[name].detach().to_local()) for name in self.names]
        self._name_of = {id(parameter): name for name, parameter in zip(self.names, self.own, strict=True)}
        setattr(policy, _ATTRIBUTE, self)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Let the policy have all weights for a while; every process must enter it."""
        self._depth += 1
        try:
            if self._depth == 1:
                self._put_together()
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                self._unit.reshard()

    def _put_together(self) -> None:
        with meeting("for the weights of all"):
            self._unit.unshard()
        # These are the same tensors each time, whose versions torch leaves as they were; whoever keeps what was computed goes by those.
        torch.autograd.graph.increment_version(list(self._unit.parameters()))

    def changed(self) -> None:
        """Note that the parts have changed, so that who has the whole gets it anew."""
        torch.autograd.graph.increment_version([self._resting[name] for name in self.names])
        if self._depth:
            self._unit.reshard()
        if self._depth > 1:
            self._put_together()

    def whole_of(self, own: Sequence[Tensor]) -> list[nn.Parameter]:
        """Give the whole parameters that some of `own` are parts of, inside of `whole`."""
        found = dict(self._unit.named_parameters())
        return [found[self._name_of[id(part)]] for part in own]

    def average(self, own: Sequence[nn.Parameter], whole: Sequence[nn.Parameter]) -> None:
        """Average whole gradients over the processes and set this one's parts of them; every process must call it.

        Args:
            own: some of `own`, whose `grad` is set.
            whole: what they are parts of; their `grad`, None for zeros, is taken away.
        """
        bucket: list[tuple[nn.Parameter, nn.Parameter]] = []
        for pair in zip(own, whole, strict=True):
            full = sum(parameter.numel() for _, parameter in bucket) >= BUCKET_NUMBERS
            if bucket and (full or bucket[0][1].dtype != pair[1].dtype):
                self._average(bucket)
                bucket = []
            bucket.append(pair)
        if bucket:
            self._average(bucket)

    def _average(self, pairs: Sequence[tuple[nn.Parameter, nn.Parameter]]) -> None:
        """Average some gradients in one exchange, in which the parts of a process lie together, each with the room of the first one's."""
        number = torch.distributed.get_world_size()
        places, size = [], 0
        for _, parameter in pairs:
            room = -(-len(parameter) // number) * parameter[:1].numel()
            places.append(slice(size, size + room))
            size += room
        kind, device = pairs[0][1].dtype, pairs[0][1].device
        sent, received = torch.zeros(number, size, dtype=kind, device=device), torch.empty(size, dtype=kind, device=device)
        for (_, parameter), place in zip(pairs, places, strict=True):
            gradient, parameter.grad = parameter.grad, None
            for process, part in enumerate(() if gradient is None else gradient.chunk(number)):
                sent[process, place][: part.numel()] = part.flatten()
        with meeting("in an update of the weights"):
            exchange = getattr(torch.distributed, "reduce_scatter_single", None) or torch.distributed.reduce_scatter_tensor  # its old name
            exchange(received, sent.flatten())
        received /= number
        for (part, _), place in zip(pairs, places, strict=True):
            part.grad = received[place][: part.numel()].view_as(part).clone()

    def gather(self, like: Tensor, part: Tensor) -> Tensor:
        """Put the parts of all processes together; every process must call it.

        Args:
            like: one of `own`, of the shape of `part`.
            part: of this process.
        """
        from torch.distributed.tensor import DTensor

        resting = self._at_rest(like)
        shape, stride = resting.shape, resting.stride()
        with meeting("for the weights of all"):
            parts = DTensor.from_local(part, resting.device_mesh, resting.placements, run_check=False, shape=shape, stride=stride)
            return parts.full_tensor().cpu().clone()  # an accelerator has no room for the whole of all

    def part(self, like: Tensor, whole: Tensor) -> Tensor:
        """Cut out of a tensor what of it goes with one of `own`."""
        mesh = self._at_rest(like).device_mesh
        parts = whole.chunk(mesh.size(), dim=0)
        rank = mesh.get_local_rank()
        return parts[rank] if rank < len(parts) else whole[:0]

    def changed_state(self, state: dict[str, Any], change: Callable[[Tensor, Tensor], Tensor], adamw: AdamW) -> dict[str, Any]:
        """Give an optimiser's state with each tensor that is like a parameter changed, by `gather` or `part`.

        Args:
            state: see `seqrl.optimiser.Optimiser.state_dict`.
            change: takes one of `own` and the tensor.
            adamw: of the parameters in `own`, in an order of its own.
        """

        def moments(index: int, saved: dict[str, Any]) -> dict[str, Any]:
            return {name: change(adamw.parameters[index], value) if name in MOMENTS else value for name, value in saved.items()}

        changed: dict[str, Any] = {"adamw": {"state": {index: moments(index, saved) for index, saved in state["adamw"]["state"].items()}}}
        average = state.get("average")
        if average is not None:
            lists = {name: [change(*pair) for pair in zip(self.own, average[name], strict=True)] for name in ("average", "learning")}
            changed["average"] = average | lists
        return state | changed

    def _at_rest(self, like: Tensor) -> Any:
        return self._resting[self._name_of[id(like)]]

    @contextmanager
    def written_out(self) -> Iterator[None]:
        """Let the policy have all weights in its `state_dict` for a while, to be saved; every process must enter it."""
        there = [(module, list(module._parameters.items())) for module in self._unit.modules()]
        places = [(module, name, parameter) for module, found in there for name, parameter in found if parameter is not None]
        with meeting("for the weights of all"):
            # Tied weights stay one. What is put together of uneven parts has room behind it, which nobody would save.
            full = {id(each): nn.Parameter(each.full_tensor().clone(), each.requires_grad) for each in self._resting.values()}
        try:
            for module, name, parameter in places:
                setattr(module, name, full[id(parameter)])
            yield
        finally:
            for module, name, parameter in places:
                setattr(module, name, parameter)


def shards_of(policy: nn.Module) -> Shards | None:
    """Give the shards of a policy; None where every process has all of it."""
    return vars(policy).get(_ATTRIBUTE)


def whole(policy: nn.Module) -> AbstractContextManager[None]:
    """Let a policy have all of its weights for a while where they are shared out; every process must enter it."""
    shards = shards_of(policy)
    return nullcontext() if shards is None else shards.whole()


def written_out(policy: nn.Module) -> AbstractContextManager[None]:
    """Let a policy that is shared out be saved as a whole; every process must enter it."""
    shards = shards_of(policy)
    return nullcontext() if shards is None else shards.written_out()


def shard(trainer: Any) -> None:
    """Share out the weights of a trainer's policy where the settings of its optimiser say so.

    Args:
        trainer: has `can_be_sharded` where it reads and changes weights through its optimiser alone.

    Raises:
        ValueError: when it cannot go on with parts of the weights, saying what can be done.
    """
    optimiser: Any = getattr(trainer, "optimiser", None)
    settings: Any = getattr(optimiser, "config", None)
    if getattr(settings, "sharding", "none") == "none":
        return
    if not getattr(trainer, "can_be_sharded", False):
        raise ValueError(
            f"optimiser.sharding: {type(trainer).__name__} keeps or changes whole weights beside its optimiser; set sharding=none, or "
            "choose supervised, self_critical, reinforce, ppo or a2c"
        )
    if settings.compile:
        raise ValueError("optimiser.sharding: expected compile=false, since a compiled policy keeps whole weights; switch one of them off")
    if settings.precision == "fp16":
        raise ValueError(
            "optimiser.sharding: expected precision fp32 or bf16, since the loss scale of fp16 looks at one process's gradients alone; set "
            "precision=bf16"
        )
    scalars = [name for name, parameter in trainer.policy.named_parameters() if not parameter.ndim]
    if scalars:
        raise ValueError(
            f"optimiser.sharding: expected parameters with a first dimension to cut, got a single number ({', '.join(scalars)}); give it "
            "the shape [1], or set sharding=none"
        )
    optimiser.shard()
