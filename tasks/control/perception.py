"""Active perception: an environment that takes a prediction with every action, and pays for it by a loss that can be differentiated.

ap-gym's environments have this form: an action is {"action", "prediction"}, the reward is what the action earns minus the loss of the
prediction, and the right answer comes in the info of the step. Here all of it becomes rows of numbers, which trainers know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Discrete, Tuple, flatdim
from torch import Tensor

from seqrl.tasks.control.parts import InOneRow


class LossFn(Protocol):
    """The loss of an environment's predictions."""

    def torch(self, prediction: Tensor, target: Tensor, batch_shape: tuple[int, ...]) -> Tensor:
        """Give the losses [*batch_shape] of predictions [*batch_shape, P]."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What is to be predicted in an environment.

    Attributes:
        space: of a prediction, [P] real numbers: logits of classes, say.
        target_space: of what is right: a class, or [D] real numbers.
        action_space: of the action alone.
        loss_fn: ap-gym's loss of the environment.
    """

    space: Box
    target_space: Box | Discrete
    action_space: Box | Discrete
    loss_fn: LossFn

    @property
    def num_targets(self) -> int:
        """D, numbers that a target is told by: 1 for a class."""
        return 1 if isinstance(self.target_space, Discrete) else flatdim(self.target_space)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Give the losses [...] of predictions [..., P] for targets [..., D] as observations hold them."""
        right = target.squeeze(-1).round().long() if isinstance(self.target_space, Discrete) else target
        return self.loss_fn.torch(prediction, right, tuple(prediction.shape[:-1]))


class Perceived(Box):
    """The row [D + N] of an observation: the target of the prediction before it, D zeros at first, and what is seen.

    Trainers get targets this way, since observations are what a trajectory keeps of a step; a policy must not see them.

    Attributes:
        prediction: what is predicted.
        seen: space of the rest, [N].

    Args:
        prediction: see above.
        seen: see above.
    """

    def __init__(self, prediction: Prediction, seen: Box) -> None:
        low = np.concatenate([np.full(prediction.num_targets, -np.inf, np.float32), seen.low.astype(np.float32)])
        high = np.concatenate([np.full(prediction.num_targets, np.inf, np.float32), seen.high.astype(np.float32)])
        super().__init__(low, high, dtype=np.float32)
        self.prediction, self.seen = prediction, seen


class ActivePerception(gym.Wrapper):  # gymnasium's vector environments take nothing but its own classes
    """Shows a `Perceived`, and takes an action and a prediction in one row, or a numbered action and a prediction as a tuple.

    The info tells the mean loss of the episode's predictions so far and the last one, which evaluations report; of classes also
    whether the last prediction was right.

    Args:
        env: takes {"action", "prediction"}, and has a `loss_fn`.
        name: what errors call it.

    Raises:
        ValueError: when actions, predictions or targets are something else than rows of numbers or classes, or the loss is not one of
            PyTorch's.
    """

    def __init__(self, env: gym.Env, name: str) -> None:
        super().__init__(env if isinstance(env.observation_space, Box) and len(env.observation_space.shape) == 1 else InOneRow(env))
        spaces: Any = env.action_space
        action, prediction = spaces["action"], spaces["prediction"]
        target = env.get_wrapper_attr("prediction_target_space")
        is_row = isinstance(action, Box) and len(action.shape) == 1
        if not (is_row or isinstance(action, Discrete)) or not isinstance(prediction, Box) or len(prediction.shape) != 1:
            raise ValueError(
                f"environment {name}: expected actions that are Discrete or a row of real numbers, and predictions that are such a row, "
                f"got {action} and {prediction}; flatten them in a wrapper"
            )
        if not isinstance(target, Box | Discrete) or (isinstance(target, Box) and len(target.shape) != 1):
            raise ValueError(f"environment {name}: expected a class or a row of numbers to predict, got {target}; flatten it in a wrapper")
        seen: Any = self.env.observation_space
        self._prediction = Prediction(prediction, target, action, env.get_wrapper_attr("loss_fn"))
        self._try_loss(name)
        self.observation_space = Perceived(self._prediction, seen)
        self.action_space = Tuple((action, prediction)) if isinstance(action, Discrete) else _joined(action, prediction)
        self.metadata = {**env.metadata, "episode_metrics": ("prediction_loss", "last_prediction_loss", *self._about_class())}
        self._losses: list[float] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode."""
        seen, _ = self.env.reset(seed=seed, options=options)
        self._losses = []
        return self._shown(np.zeros(self._prediction.num_targets), seen), dict.fromkeys(self.metadata["episode_metrics"], 0.0)

    def step(self, action: Any) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        """Take an action and a prediction of what was to be predicted before it."""
        chosen, predicted = action if isinstance(action, tuple) else np.split(action, [len(action) - self._prediction.space.shape[0]])
        seen, reward, terminated, truncated, info = self.env.step({"action": chosen, "prediction": predicted})
        told = info["prediction"]
        self._losses.append(float(told["loss"]))
        numbers = {"prediction_loss": sum(self._losses) / len(self._losses), "last_prediction_loss": self._losses[-1]}
        numbers |= {name: float(np.argmax(predicted) == told["target"]) for name in self._about_class()}
        return self._shown(np.ravel(told["target"]), seen), reward, terminated, truncated, numbers

    def _about_class(self) -> tuple[str, ...]:
        return ("accuracy",) if isinstance(self._prediction.target_space, Discrete) else ()

    def _shown(self, target: np.ndarray, seen: Any) -> np.ndarray:
        return np.concatenate([target, seen]).astype(np.float32)

    def _try_loss(self, name: str) -> None:
        """Find out before any work whether PyTorch can differentiate the loss."""
        prediction = torch.zeros(2, self._prediction.space.shape[0], requires_grad=True)
        try:
            loss = self._prediction.loss(prediction, torch.zeros(2, self._prediction.num_targets))
        except NotImplementedError as error:
            raise ValueError(f"environment {name}: expected a loss_fn with a method `torch`, got {error}; give it one") from error
        if loss.shape != (2,) or not loss.requires_grad:
            raise ValueError(
                f"environment {name}: expected losses [2] with a gradient for two predictions, got {list(loss.shape)}, gradient: "
                f"{loss.requires_grad}; mend the environment's loss_fn.torch"
            )


def perceives(env: gym.Env) -> bool:
    """Say whether an environment takes a prediction with every action."""
    space = env.action_space
    return isinstance(space, Dict) and set(space.spaces) == {"action", "prediction"}


def _joined(first: Any, second: Any) -> Box:
    """Put two rows of real numbers side by side."""
    low, high = (np.concatenate([getattr(space, side) for space in (first, second)]).astype(np.float32) for side in ("low", "high"))
    return Box(low, high, dtype=np.float32)
