"""The kinds of task that every trainer meets in the matrix: real tasks, as small as they come.

A kind says what it can give (`gives`); a trainer's variant in `matrix_cells.py` says what it needs. What is missing is refused by name.
"""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from seqrl.policies.actor_critic import ActorCriticConfig
from seqrl.policies.tokens import TokenPolicy
from seqrl.policies.tree_search import TreeSearchConfig
from seqrl.tasks.attention.data import load_data as load_digits
from seqrl.tasks.attention.data_config import DataConfig as AttentionDataConfig
from seqrl.tasks.attention.policy import GlimpsePolicyConfig
from seqrl.tasks.attention.task import AttentionConfig, AttentionTask
from seqrl.tasks.boards.task import BoardPolicyConfig, BoardsConfig
from seqrl.tasks.captioning.data import load_data
from seqrl.tasks.captioning.data_config import DataConfig
from seqrl.tasks.captioning.policies import PolicyConfig
from seqrl.tasks.captioning.scenes import ScenesConfig
from seqrl.tasks.captioning.task import CaptioningConfig, CaptioningTask
from seqrl.tasks.control.demonstrations import DemonstrationsConfig
from seqrl.tasks.control.policy import ControlPolicyConfig
from seqrl.tasks.control.task import ControlConfig, EnvTask
from seqrl.tasks.dialog.names import RESTAURANT
from seqrl.tasks.matrix_games.task import MatrixGameConfig
from seqrl.tasks.memory.policy import MemoryPolicyConfig
from seqrl.tasks.memory.task import MemoryConfig
from seqrl.tasks.text.policy import PolicyConfig as TextPolicyConfig
from seqrl.tasks.text.task import TextConfig, TextTask
from seqrl.tasks.writing.reward import RewardConfig
from seqrl.token_rollout import token_rollout
from seqrl.trajectory import Trajectory

Family = Literal["texts", "glimpses", "environments", "tables"]
NUM_CONTEXTS, MAX_TOKENS = 3, 6
# What there is to be had; a variant that needs something else is refused for it.
SAMPLES, DEMONSTRATIONS, EPISODES, EXPERT, NUMBERS = "samples", "demonstrations", "episodes", "expert", "numbers"
CRITIC, DISTRIBUTION, VALUES, VALUE_TABLE, PROBABILITY_TABLE = "critic", "distribution", "values", "value_table", "probability_table"
PLANNED, SEARCHED, DUELS, SEEN, SOFT = "planned", "searched", "duels", "seen", "soft"
TEXTS = frozenset({SAMPLES, EPISODES})
GLIMPSES = frozenset({SAMPLES, EPISODES, CRITIC, DISTRIBUTION})
STEPS = frozenset({CRITIC, DISTRIBUTION, SEEN})
PLAYED = frozenset({SAMPLES, EPISODES, CRITIC, DISTRIBUTION, SEEN})


@dataclass(frozen=True)
class Kind:
    """A kind of task.

    Attributes:
        title: what the page calls it.
        family: which table of the page it stands in.
        gives: what a trainer can find there.
        make: builds the task; takes what the policy has to be, see `ControlPolicyConfig.kind`.
        slow: whether its cells are too slow for the fast tests.
    """

    title: str
    family: Family
    gives: frozenset[str]
    make: Callable[[str], Any]
    slow: bool = False


def _captions(**policy: Any) -> Callable[[str], Any]:
    return lambda _: CaptioningTask(
        CaptioningConfig(
            _scenes(),
            PolicyConfig(**{"dim": 12, "num_layers": 1, "num_heads": 2, "max_tokens": MAX_TOKENS, "dropout": 0.0, **policy}),  # type: ignore[arg-type]
            images_per_batch=NUM_CONTEXTS,
            captions_per_image=2,
        ),
        _drawn(),
    )


@cache
def _scenes() -> DataConfig:
    return DataConfig(image_size=32, scenes=ScenesConfig(num_train=8, num_dev=2, num_test=0))


@cache
def _drawn() -> Any:
    return load_data(_scenes())


def _regions() -> Any:
    """Captions of features of one's own, three regions an image at most, of which some do not count; rewarded by metrics of words."""

    def seen(split: Any) -> Any:
        draws = np.random.default_rng(len(split))
        mask = np.arange(3) < draws.integers(1, 4, len(split))[:, None]
        return replace(split, images={"regions": draws.normal(size=(len(split), 3, 5)).astype(np.float16), "mask": mask}, figures=None)

    policy = PolicyConfig(encoder="features", dim=12, num_layers=1, num_heads=2, max_tokens=MAX_TOKENS, dropout=0.0, critic=True)
    reward = RewardConfig(metrics={"cider_d": 1.0, "spice": 2.0, "wer": -0.1})
    config = CaptioningConfig(_scenes(), policy, reward, images_per_batch=NUM_CONTEXTS, captions_per_image=2)
    drawn = _drawn()
    return CaptioningTask(config, replace(drawn, train=seen(drawn.train), dev=seen(drawn.dev)))


def _replies(kind: str) -> Any:
    """Replies to prompts of different lengths."""
    policy = TextPolicyConfig(type=kind, dim=12, num_layers=1, num_heads=2, max_tokens=MAX_TOKENS, dropout=0.0, critic=True)
    prompts, references = ["a b", "b", "c a b d", "d a"], [["b a", "b then a"], ["b"], ["d b a c"], ["a d"]]
    return TextTask(prompts, references, "bleu4_smoothed", config=TextConfig(policy=policy, prompts_per_batch=NUM_CONTEXTS))


class Writer(nn.Module):
    """Maps digits shown [B, N] and tokens [B, T] to logits [B, T, 13], as somebody's own module does."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(10, 8), nn.Tanh(), nn.Linear(8, 13))

    def forward(self, shown: Tensor, tokens: Tensor) -> Tensor:
        return self.layers((one_hot(shown, 10).sum(dim=1, keepdim=True) - one_hot(tokens, 13)[:, :, 3:].cumsum(dim=1)).float())


class OwnTask:
    """Somebody's own task: write the digits that are shown."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)

    def build_policy(self) -> nn.Module:
        return TokenPolicy(Writer(), max_tokens=MAX_TOKENS)

    def rollout(self, policy: nn.Module, **settings: Any) -> Trajectory:
        shown = torch.randint(10, (NUM_CONTEXTS, 4), generator=self.generator)
        return token_rollout(policy, shown, lambda rows, seen: (rows.action[:, 0] == seen[:, 0] + 3).float(), **settings)

    def evaluate(self, policy: nn.Module, *, split: str = "dev") -> dict[str, float]:
        rows = token_rollout(policy, torch.arange(12).view(3, 4) % 10, lambda rows, seen: rows.mask.float().mean(dim=1), greedy=True)
        return {"length": float(rows.score.mean())}

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["generator"])


def _glimpses(policy: dict[str, Any] | None = None, data: dict[str, Any] | None = None, **settings: Any) -> Callable[[str], Any]:
    sizes = {"num_features": 6, "glimpse_units": 8, "hidden_units": 8, "precision": "fp32", **(policy or {})}
    fields = {"glimpse_size": 4, "num_glimpses": 4, "images_per_batch": NUM_CONTEXTS, **settings}
    config = AttentionConfig(AttentionDataConfig(**{"image_size": 8, **(data or {})}), GlimpsePolicyConfig(**sizes), **fields)
    return lambda _: AttentionTask(config, config.build(0).data if data else _digits(), seed=0)


@cache
def _digits() -> Any:
    return load_digits(AttentionDataConfig(image_size=8))


class Board(gym.Env[Any, int]):
    """Each of six fields may be taken once; what is shown is a grid with the mask of the fields that are free."""

    action_space = Discrete(6)
    observation_space = Dict({"observation": Box(0, 1, (2, 3), np.float32), "action_mask": MultiBinary(6)})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.taken = np.zeros(6, np.int8)
        return self._shown(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert not self.taken[action], "a field that is taken"
        self.taken[action] = 1
        return self._shown(), float(action) / 6, bool(self.taken.sum() == 4 and action > 2) or bool(self.taken.all()), False, {}

    def _shown(self) -> dict[str, Any]:
        return {"observation": self.taken.reshape(2, 3).astype(np.float32), "action_mask": 1 - self.taken}


class Parts(gym.Env[Any, int]):
    """Shows a picture and a number; episodes of chance length."""

    action_space = Discrete(3)
    observation_space = Dict({"picture": Box(0, 255, (12, 12, 3), np.uint8), "number": Box(-1, 1, (1,), np.float32)})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self._shown(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self._shown(), float(action == 1), bool(self.np_random.random() < 0.3), False, {}

    def _shown(self) -> dict[str, Any]:
        picture = self.np_random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        return {"picture": picture, "number": self.np_random.uniform(-1, 1, 1).astype(np.float32)}


class TwoBitsLoss:
    """In ap-gym's form, by NumPy and by PyTorch: cross-entropy of two classes."""

    def numpy(self, prediction: NDArray[np.float32], target: int) -> float:
        return float(np.log(np.exp(prediction).sum()) - prediction[target])

    def torch(self, prediction: Tensor, target: Tensor, batch_shape: tuple[int, ...] = (), rng: Any = None) -> Tensor:
        return cross_entropy(prediction.flatten(0, -2), target.flatten(), reduction="none").view(batch_shape)


class Perceived(gym.Env[Any, Any]):
    """A bit that the action 1 shows for a step; it is predicted with every action, and the loss is taken off the reward."""

    observation_space = Box(-1, 1, (2,), np.float32)
    action_space = Dict({"action": Discrete(2), "prediction": Box(-np.inf, np.inf, (2,), np.float32)})
    prediction_target_space: Any = Discrete(2)

    def __init__(self) -> None:
        self.loss_fn = TwoBitsLoss()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.bit = int(self.np_random.integers(2))
        return self._shown(0), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        loss = self.loss_fn.numpy(action["prediction"], self.bit)
        told = {"prediction": {"target": self.bit, "loss": loss}, "base_reward": 0.0}
        return self._shown(int(action["action"])), -loss, bool(self.np_random.random() < 0.2), False, told

    def _shown(self, looks: int) -> NDArray[np.float32]:
        return np.array([looks * (2 * self.bit - 1), self.np_random.random()], np.float32)


for _world in (Board, Parts, Perceived):
    gym.register(f"matrix/{_world.__name__}-v0", entry_point=_world, max_episode_steps=7)


def _control(environment: str, mode: Literal["steps", "episodes"], actor_critic: dict[str, Any] | None = None, **fields: Any) -> Any:
    config = ControlConfig(
        environment,
        mode=mode,
        num_envs=3,
        num_steps=9,
        max_episode_steps=7,
        num_eval_episodes=2,
        policy=ControlPolicyConfig(hidden_sizes=(8,), actor_critic=ActorCriticConfig(**(actor_critic or {}))),
        **fields,
    )
    return lambda kind: replace(config, policy=replace(config.policy, type=kind)).build(0)


@cache
def _recorded() -> str:
    """Record a few episodes of CartPole, for as long as the tests last."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    task = EnvTask("CartPole-v1", max_episode_steps=7)
    task.record_data(task.build_policy(), Path(folder.name) / "shown", episodes=3)
    return str(Path(folder.name) / "shown")


def _shown(kind: str) -> EnvTask:
    """CartPole with recorded episodes, and an expert to be asked."""
    make = _control("CartPole-v1", "steps", demonstrations=DemonstrationsConfig(_recorded(), batch_size=11, num_steps=3))
    task: EnvTask = make(kind)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        task.expert = EnvTask("CartPole-v1", seed=1).build_policy().eval().requires_grad_(False)
    return task


def _atari() -> Callable[[str], Any]:
    def make(kind: str) -> Any:
        from seqrl.tasks.atari.task import AtariConfig

        config = AtariConfig(num_envs=2, num_steps=6, num_eval_episodes=1, max_frames=80, precision="fp32", num_threads=1)
        return replace(config, policy=replace(config.policy, type=kind)).build(0)

    return make


def _remembered(**policy: Any) -> Callable[[str], Any]:
    """Copy what was read by a network with a memory, or with as many thoughts as it wants."""
    fields = {"alphabet": 3, "min_length": 2, "max_length": 4, "batch_size": NUM_CONTEXTS, "num_evaluated": 4}
    return lambda _: MemoryConfig(policy=MemoryPolicyConfig(num_units=8, **policy), **fields).build(0)  # type: ignore[arg-type]


def _boards(kind: str) -> Any:
    """Tic-tac-toe against itself, by the network alone but where a search is asked for."""
    search = TreeSearchConfig(num_simulations=3 if kind == "tree_search" else 0)
    return BoardsConfig(num_games=2, num_eval_games=2, policy=BoardPolicyConfig(4, 1, search)).build(0)


_MEMORY = {"memory": "lstm", "memory_size": 6}
_MISHEARD = {"environment_options": {"error_rate": 0.3, "goals": "train"}}
KINDS: dict[str, Kind] = {
    "captions": Kind("captions", "texts", TEXTS | {DEMONSTRATIONS}, _captions()),
    "captions_critic": Kind("captions, with a critic", "texts", TEXTS | {DEMONSTRATIONS, CRITIC}, _captions(critic=True)),
    "captions_lstm": Kind(
        "captions, LSTM, frozen encoder",
        "texts",
        TEXTS | {DEMONSTRATIONS, CRITIC},
        _captions(type="lstm", critic=True, freeze_encoder=True),
    ),
    "captions_detecting": Kind(
        "captions, detecting words and figures",
        "texts",
        TEXTS | {DEMONSTRATIONS, CRITIC},
        _captions(critic=True, word_detection=0.3, figure_detection=0.2),
    ),
    "captions_regions": Kind(
        "captions, own regions, metrics of words", "texts", TEXTS | {DEMONSTRATIONS, CRITIC}, lambda _: _regions(), slow=True
    ),
    "replies": Kind("replies to texts", "texts", TEXTS | {DEMONSTRATIONS, CRITIC}, lambda _: _replies("transformer"), slow=True),
    "replies_recurrent": Kind("replies, recurrent", "texts", TEXTS | {DEMONSTRATIONS, CRITIC}, lambda _: _replies("recurrent"), slow=True),
    "own_texts": Kind("one's own `TokenPolicy`", "texts", TEXTS, lambda _: OwnTask()),
    "copies": Kind(
        "copies by a Turing machine", "texts", TEXTS | {DEMONSTRATIONS}, _remembered(memory_length=8, memory_width=4), slow=True
    ),
    "copies_thinking": Kind(
        "copies, thinking as often as it wants",
        "texts",
        TEXTS | {DEMONSTRATIONS},
        _remembered(type="act", most_thoughts=3, ponder_weight=0.1),
        slow=True,
    ),
    "glimpses": Kind("digits", "glimpses", GLIMPSES, _glimpses()),
    "glimpses_early": Kind(
        "digits, LSTM, information gain",
        "glimpses",
        GLIMPSES,
        _glimpses({"type": "lstm", "early_classification": 0.5, "location_gradient": True}, reward="information_gain"),
    ),
    "glimpses_fixed": Kind("digits, a fixed grid", "glimpses", GLIMPSES, _glimpses(looking="grid")),
    "glimpses_dram": Kind(
        "pairs of digits, DRAM",
        "glimpses",
        GLIMPSES,
        _glimpses({"type": "dram", "context_size": 4}, {"placement": "pair", "canvas_size": 24}),
        slow=True,
    ),
    "cartpole_steps": Kind("CartPole, steps", "environments", STEPS | {VALUES, PLANNED, SOFT}, _control("CartPole-v1", "steps")),
    "cartpole_episodes": Kind("CartPole, episodes", "environments", PLAYED | {VALUES, SOFT}, _control("CartPole-v1", "episodes")),
    "cartpole_shown": Kind(
        "CartPole, steps, with an expert and its episodes", "environments", STEPS | {VALUES, DEMONSTRATIONS, EXPERT, NUMBERS, SOFT}, _shown
    ),
    "pendulum_steps": Kind("Pendulum, steps", "environments", STEPS | {PLANNED, SOFT}, _control("Pendulum-v1", "steps", {"squash": True})),
    "pendulum_episodes": Kind(
        "Pendulum, episodes", "environments", PLAYED | {SOFT}, _control("Pendulum-v1", "episodes", {"state_dependent_std": True})
    ),
    "memory_steps": Kind(
        "CartPole from memory, steps",
        "environments",
        STEPS | {VALUES},
        _control("seqrl/CartPoleMasked-v1", "steps", {**_MEMORY, "normalise_observations": True}),
    ),
    "masks_steps": Kind("masked actions, steps", "environments", STEPS | {VALUES}, _control("matrix/Board-v0", "steps")),
    "masks_episodes": Kind("masked actions, episodes", "environments", PLAYED | {VALUES}, _control("matrix/Board-v0", "episodes", _MEMORY)),
    "pictures_steps": Kind(
        "pictures and numbers, steps",
        "environments",
        STEPS | {VALUES},
        _control("matrix/Parts-v0", "steps", {"shared_trunk": True, "code_size": 8}),
    ),
    "predicting_steps": Kind(
        "predictions beside actions, steps", "environments", STEPS, _control("matrix/Perceived-v0", "steps"), slow=True
    ),
    "predicting_episodes": Kind(
        "predictions beside actions, episodes", "environments", PLAYED, _control("matrix/Perceived-v0", "episodes", _MEMORY), slow=True
    ),
    "catch_episodes": Kind(
        "catch through glimpses, episodes",
        "environments",
        PLAYED,
        _control("seqrl/GlimpseCatch-v0", "episodes", {**_MEMORY, "shared_trunk": True}),
    ),
    "self_play": Kind("a board game against itself", "environments", (PLAYED | {SEARCHED}) - {SEEN}, _boards),
    "dialog_steps": Kind("dialogs, steps", "environments", STEPS | {VALUES}, _control(RESTAURANT, "steps", **_MISHEARD), slow=True),
    "dialog_episodes": Kind(
        "dialogs, episodes", "environments", PLAYED | {VALUES}, _control(RESTAURANT, "episodes", _MEMORY, **_MISHEARD), slow=True
    ),
    "atari_steps": Kind("Atari, steps", "environments", STEPS | {VALUES}, _atari(), slow=True),
    "matrix_game": Kind(
        "rock-paper-scissors, a policy against itself",
        "environments",
        PLAYED | {DEMONSTRATIONS, NUMBERS, DUELS},
        lambda _: MatrixGameConfig(stakes=(1.0, 2.0, 3.0), noise=0.5, num_games=7, hidden_sizes=(8,)).build(0),
    ),
    "numbers_steps": Kind("FrozenLake one-hot, steps", "tables", STEPS | {VALUES, VALUE_TABLE, SOFT}, _control("FrozenLake-v1", "steps")),
    "numbers_episodes": Kind(
        "FrozenLake one-hot, episodes", "tables", PLAYED | {VALUES, VALUE_TABLE, SOFT}, _control("FrozenLake-v1", "episodes")
    ),
    "table_steps": Kind("FrozenLake table, steps", "tables", STEPS | {PROBABILITY_TABLE, VALUE_TABLE}, _control("FrozenLake-v1", "steps")),
    "table_episodes": Kind(
        "FrozenLake table, episodes", "tables", PLAYED | {PROBABILITY_TABLE, VALUE_TABLE}, _control("FrozenLake-v1", "episodes")
    ),
}
