"""Recurrent attention as a task: images in, glimpses and a class out, a reward for being right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.policies.tokens import evaluation_mode
from seqrl.rollout import refuse_forced_steps
from seqrl.run.registry import call
from seqrl.settings import Count, NotNegative, check_settings
from seqrl.tasks.attention.classification import object_of_step, read_steps
from seqrl.tasks.attention.data import AttentionData, DataConfig, load_data
from seqrl.tasks.attention.dram import shrink
from seqrl.tasks.attention.drawing import draw_looks
from seqrl.tasks.attention.evaluation import EvaluationConfig, Share, look_at, metrics_of
from seqrl.tasks.attention.looking import FirstLocation, Looking, given_locations, grid, look
from seqrl.tasks.attention.looks import Look
from seqrl.tasks.attention.policy import GlimpsePolicy, GlimpsePolicyConfig
from seqrl.tasks.attention.retina import PreparedImages, Retina
from seqrl.tasks.item_order import ItemOrder
from seqrl.trajectory import Trajectory

Start = Literal["centre", "grid"]
Reward = Literal["correct", "log_probability", "information_gain"]


@dataclass
class AttentionConfig:
    """Settings of the recurrent-attention task.

    Attributes:
        data: where the images come from and how they are placed.
        policy: see `GlimpsePolicyConfig`.
        evaluation: see `EvaluationConfig`.
        glimpse_size: pixels of the finest glimpse's side.
        num_scales: glimpses of twice, four times ... that side are seen at the same resolution.
        num_glimpses: glimpses of an image, the first included; with several objects, of all of them together.
        first_location: where the first glimpse is taken, "centre", "random" or "grid", the first cell; with `looking: learned` alone.
        start: where the means of the learned locations are before training: "centre", or each in a cell of the "grid".
        grid_spacing: from one cell of the grid to the next, in halves of the image's side; 0 spreads the cells over the whole image.
        looking: "learned", the policy chooses where to look; for comparison "random", "centre" (always there) and "grid" (the
            middles of a grid's cells): then no location counts for the trainer, and the classifier alone learns.
        reward: "correct", 1 for the right class in the end; "log_probability" of the right class in the end, nats; "information_gain",
            after each glimpse, how much that has risen, which sums up to the former: each location is paid for what it brought. It needs
            `policy.early_classification`. With several objects the first two are divided by their number.
        images_per_batch: distinct images of an update; a trainer takes `num_samples` paths over each.
    """

    data: DataConfig = field(default_factory=DataConfig)
    policy: GlimpsePolicyConfig = field(default_factory=GlimpsePolicyConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    glimpse_size: int = 8
    num_scales: int = 1
    num_glimpses: int = 6
    first_location: FirstLocation = "centre"
    start: Start = "centre"
    grid_spacing: NotNegative[float] = 0.0
    looking: Looking = "learned"
    reward: Reward = "correct"
    images_per_batch: Count = 128

    def __post_init__(self) -> None:
        check_settings(self)
        least = 2 * self.data.num_objects
        if self.num_glimpses < least:
            raise ValueError(f"num_glimpses: expected at least {least}, two an object, got {self.num_glimpses}")
        if self.reward == "information_gain" and not self.policy.early_classification:
            raise ValueError(
                "reward: information_gain needs a classifier that has learned from the earlier glimpses; set policy.early_classification, "
                "for instance to 0.5, or another reward"
            )
        if self.policy.type == "dram" and self.start != "centre":
            raise ValueError(f"start: type dram begins with what the context says, got {self.start!r}; leave it out or change policy.type")
        self.retina()

    def retina(self) -> Retina:
        """Make the retina."""
        return Retina(self.glimpse_size, self.num_scales)

    def shortened(self, share: float) -> AttentionConfig:
        """Give the same task with a share of the images, to measure how long an update takes."""
        return replace(self, images_per_batch=max(2, round(share * self.images_per_batch)))

    def build(self, seed: int) -> AttentionTask:
        """Load the data and make the task."""
        return AttentionTask(self, load_data(self.data), seed=seed)


class AttentionTask:
    """Shows images through a retina, and rewards being right about them; see `seqrl.protocols.Task`.

    Args:
        config: see `AttentionConfig`.
        data: images with classes.
        seed: of the order of the images, of their places and of the policy's initial weights.

    Raises:
        ValueError: when a glimpse is larger than the images.
    """

    def __init__(self, config: AttentionConfig, data: AttentionData, *, seed: int = 0) -> None:
        self.config, self.data, self.retina = config, data, config.retina()
        self.retina.check(data.placement.canvas_size, data.placement.canvas_size)
        self._seed = seed
        self._cells = grid(config.num_glimpses, config.grid_spacing)
        self._read_steps = read_steps(config.num_glimpses, config.data.num_objects)
        self._order = ItemOrder(len(data.train), seed=seed)
        self._generator = torch.Generator().manual_seed(seed)

    def build_policy(self) -> nn.Module:
        """Make a policy of the configured kind; its initial weights depend on the task's seed."""
        config = self.config
        sizes = self.retina.num_outputs, len(self.data.class_names)
        generator = torch.Generator().manual_seed(self._seed)
        start = self._cells if config.start == "grid" else torch.zeros_like(self._cells)
        if ":" in config.policy.type:
            return call("task.policy.type", config.policy.type, config.policy, *sizes, start=start, generator=generator)
        return GlimpsePolicy(*sizes, config.policy, start=start, generator=generator)

    def rollout(
        self,
        policy: Any,
        *,
        num_samples: int = 1,
        greedy: bool = False,
        greedy_baseline: bool = False,
        num_forced_steps: int = 0,
        generator: torch.Generator | None = None,
    ) -> Trajectory:
        """Look at the next images, along `num_samples` paths each; see `seqrl.protocols.Task`.

        Raises:
            ValueError: when forced steps are asked for, or the policy is another's that changes its actions.
        """
        refuse_forced_steps(num_forced_steps)
        if not hasattr(policy, "raw_location"):
            raise ValueError(
                f"attention: expected a policy that chooses locations itself, as GlimpsePolicy does, got a {type(policy).__name__}; "
                "chance actions (epsilon) need numbered actions: set trainer.epsilon=0"
            )
        device = policy.critic.weight.device
        items = self._order.next(self.config.images_per_batch)
        images, label = (part.to(device) for part in self.data.batch(items, self._generator))
        prepared = self._prepare(images)
        with evaluation_mode(policy):
            baseline = None
            if greedy_baseline:
                hidden = self._look(policy, prepared, label, greedy=True, generator=generator)[1]
                baseline = self._reward(policy, hidden, label).sum(dim=1).repeat_interleave(num_samples)
            settings: dict[str, Any] = {"num_samples": num_samples, "greedy": greedy, "generator": generator}
            trajectory, hidden = self._look(policy, prepared, label, **settings)
            reward = self._reward(policy, hidden, label.repeat_interleave(num_samples, dim=0))
        return trajectory.replace(group=items.to(device).repeat_interleave(num_samples), reward=reward, baseline=baseline)

    def evaluate(self, policy: Any, *, split: str = "dev") -> dict[str, float]:
        """Count the errors on a split; see `metrics_of`.

        Raises:
            ValueError: when there is no such split, or nothing in it.
        """
        return metrics_of([self.evaluation_share(policy, split=split)])

    def evaluation_share(self, policy: Any, *, split: str, part: int = 0, parts: int = 1) -> Share:
        """Look at one process's share of the images."""
        device = policy.critic.weight.device
        images, label = (part.to(device) for part in self.data.placed(split))

        def logits(items: Tensor, greedy: bool, generator: torch.Generator) -> Tensor:
            prepared = self._prepare(images[items])
            return self._read(policy, self._look(policy, prepared, label[items], greedy=greedy, generator=generator)[1])

        with evaluation_mode(policy):
            return look_at(logits, label, self.config.evaluation, part, parts)

    def evaluation_metrics(self, shares: Sequence[Share], *, split: str) -> dict[str, float]:
        """Count the errors of all processes."""
        return metrics_of(shares)

    def sample(self, policy: Any, directory: Path, *, count: int = 8, split: str = "dev") -> list[Path]:
        """Draw the mean paths over the first images of a split, as a PNG and as an animated GIF."""
        device = policy.critic.weight.device
        images, label = (part[:count].to(device) for part in self.data.placed(split))
        with evaluation_mode(policy):
            generator = torch.Generator(device).manual_seed(self._seed)
            trajectory, hidden = self._look(policy, self._prepare(images), label, greedy=True, generator=generator)
            logits = policy.classify(hidden).detach().transpose(0, 1)
        assert isinstance(trajectory.obs, dict)
        # Half precision may lie a rounding above 1.
        glimpses = trajectory.obs["glimpse"].float().clamp(0, 1).unflatten(2, (self.retina.num_scales, self.retina.size, self.retina.size))
        locations, beliefs = trajectory.obs["location"].float(), self._beliefs(logits)
        parts = (part.cpu().numpy() for part in (images, locations, glimpses, beliefs, label))
        looks = [Look(*of_image) for of_image in zip(*parts, strict=True)]
        return draw_looks(looks, self.data.class_names, directory)

    def fingerprint(self) -> dict[str, str]:
        """Name what the weights depend on beside the configuration: the classes and their order."""
        return {"classes": ", ".join(self.data.class_names)}

    def state_dict(self) -> dict[str, Any]:
        """Give the position in the data and the state of the places."""
        return {"order": self._order.state_dict(), "generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self._order.load_state_dict(state["order"])
        self._generator.set_state(state["generator"])

    def _prepare(self, images: Tensor) -> tuple[PreparedImages, Tensor | None]:
        """Do what is done once for all glimpses; also shrink the images for a policy that first sees them coarsely."""
        policy = self.config.policy
        coarse = shrink(images, policy.context_size) if policy.type == "dram" and policy.context_size else None
        return self.retina.prepare(images), coarse

    def _look(
        self,
        policy: Any,
        images: tuple[PreparedImages, Tensor | None],
        label: Tensor,
        *,
        num_samples: int = 1,
        greedy: bool,
        generator: torch.Generator | None,
    ) -> tuple[Trajectory, Tensor]:
        """Look at each image along some paths, without rewards; also give the core's states after each glimpse [N, B, H]."""
        config, (prepared, coarse) = self.config, images
        rows = torch.arange(len(label), device=label.device).repeat_interleave(num_samples)
        context: dict[str, Any] = {"label": label[rows]} | ({} if coarse is None else {"coarse": coarse[rows]})
        given = given_locations(config.looking, config.first_location, self._cells, len(rows), generator, label.device)
        settings: dict[str, Any] = {"image": rows, "greedy": greedy, "generator": generator}
        return look(policy, self.retina, prepared, given, context, num_glimpses=config.num_glimpses, **settings)

    def _read(self, policy: Any, hidden: Tensor) -> Tensor:
        """Give the logits [B, K, C] from the states at which a class is read."""
        return policy.classify(hidden[self._read_steps]).transpose(0, 1)  # type: ignore[no-any-return]

    def _beliefs(self, logits: Tensor) -> Tensor:
        """Give each object's probabilities after each glimpse, [B, N, K, C], from the logits [B, N, C].

        Nothing is known of an object before its own glimpses, and nothing changes once it has been read.
        """
        probabilities = logits.softmax(dim=-1)
        unknown = torch.full_like(probabilities[:, 0], 1.0 / probabilities.shape[2])
        columns, begin = [], 0
        for read in self._read_steps:
            steps = [unknown if step < begin else probabilities[:, min(step, read)] for step in range(self.config.num_glimpses)]
            columns.append(torch.stack(steps, dim=1))
            begin = read + 1
        return torch.stack(columns, dim=2)

    @torch.no_grad()
    def _reward(self, policy: Any, hidden: Tensor, label: Tensor) -> Tensor:
        """Reward the locations, [B, N-1], for the classes read from the states [N, B, H]."""
        num_glimpses = hidden.shape[0]
        if self.config.reward == "information_gain":
            objects = object_of_step(num_glimpses, label.shape[1])
            logits = policy.classify(hidden)
            logp = logits.log_softmax(dim=2).gather(2, label[:, objects].t().unsqueeze(2)).squeeze(2)
            # Nothing is known of the next object before its first glimpse.
            first = [step for step in range(1, num_glimpses) if objects[step] != objects[step - 1]]
            before = logp.roll(1, dims=0)
            before[first] = -math.log(logits.shape[2])
            return (logp - before)[1:].t()
        logits = self._read(policy, hidden)
        if self.config.reward == "correct":
            earned = (logits.argmax(dim=-1) == label).float()
        else:
            earned = -F.cross_entropy(logits.flatten(0, 1), label.flatten(), reduction="none").view_as(label)
        reward = hidden.new_zeros(label.shape[0], num_glimpses - 1)
        reward[:, [step - 1 for step in self._read_steps]] = earned / label.shape[1]
        return reward
