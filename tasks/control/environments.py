"""Makes gymnasium's vector environments, and keeps their state so that a run goes on exactly."""

from __future__ import annotations

import copy
import difflib
import json
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.util import find_spec as find_module
from typing import Any, Literal, Protocol

import gymnasium as gym
import numpy as np
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from torch.utils._pytree import tree_map_only

from seqrl.run.json_text import parse_json
from seqrl.tasks.control.parts import in_parts
from seqrl.tasks.control.perception import ActivePerception, perceives
from seqrl.tasks.control.replayable import Replayable
from seqrl.tasks.control.spaces import check_spaces

Vectorization = Literal["auto", "sync", "async"]
# What registers the environments seqrl/...
OUR_MODULES = (
    "seqrl.tasks.control.masked_cartpole",
    "seqrl.tasks.gridworld",
    "seqrl.tasks.attention.catch",
    "seqrl.tasks.dialog",
    "seqrl.tasks.memory",
    "seqrl.tasks.tracking",
    "seqrl.tasks.exploration",
)
# Modules that a configuration may name before an id without being asked: they come with this package or with its extras.
KNOWN_MODULES = ("ale_py", "ap_gym", *OUR_MODULES)
# The extra of this package that brings what gymnasium's packages of environments need.
EXTRAS = {"box2d": "box2d", "Box2D": "box2d", "mujoco": "mujoco", "ale_py": "atari", "pygame": "render", "ap_gym": "perception"}


class EnvironmentFactory(Protocol):
    """Makes the vector environments of a `EnvTask`.

    Attributes:
        name: what messages call the environment.
        max_episode_steps: after which an evaluation gives an episode up.
    """

    @property
    def name(self) -> str:
        """What messages call the environment."""

    @property
    def max_episode_steps(self) -> int:
        """After how many steps an evaluation gives an episode up."""

    def make(self, num_envs: int, *, training: bool, render_mode: str | None = None) -> Any:
        """Make a vector environment that resets itself in `NEXT_STEP` mode.

        One that has `state_dict()` and `load_state_dict(state)` is resumed exactly. A factory may also have
        `whole_game(info, ended)`, see `seqrl.sources.VectorEnvSource`; `describe(returns, lengths)`, which gives further metrics of an
        evaluation from its episodes' returns and numbers of steps, [N] each; `prepare(policy)`, called with a fresh policy; and
        `acting(policy)`, the context in which it acts, in the place of `seqrl.policies.tokens.evaluation_mode`.

        Args:
            num_envs: number of rows.
            training: whether it serves rollouts, not an evaluation.
            render_mode: how it draws, for instance "rgb_array".
        """


@dataclass(frozen=True)
class GymnasiumFactory:
    """Makes any gymnasium environment by its id, all in gymnasium's `NEXT_STEP` mode.

    Copies can be resumed exactly, see `Replayable`; an observation of several parts is flattened into one row of numbers, and a mask of
    actions among them moved to the info.

    Static methods of an environment's class are asked, where it has them: `describe_episodes(returns, lengths)` gives further
    metrics of an evaluation, `evaluation_options(options)` the options under which a policy is evaluated, and
    `conversation(options, acting, seed=, mishear=, voice=)` a dialog with somebody, in which `acting` chooses what is said.

    Attributes:
        name: gymnasium's id, or `module:id` for an environment that `module` registers when imported.
        vectorization: "auto" takes the environment's own vectorised form where it has one, else copies that are stepped in turn, as "sync"
            does; "async" each in a process of its own, for rollouts alone.
        limit: cut episodes after so many steps; the environment's own limit when None.
        options: passed to the environment, for instance {"is_slippery": False}.
        mask_key: name of the mask of allowed actions in an observation of several parts; "" for none.
    """

    name: str
    vectorization: Vectorization = "auto"
    limit: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    mask_key: str = "action_mask"

    @property
    def max_episode_steps(self) -> int:
        """Give the number of steps after which an episode is cut.

        Raises:
            ValueError: when neither the environment nor the setting names one.
        """
        limit = self.limit or find_spec(self.name).max_episode_steps
        if limit is None:
            raise ValueError(f"environment {self.name} has no time limit of its own; set task.max_episode_steps")
        return int(limit)

    def make(self, num_envs: int, *, training: bool = True, render_mode: str | None = None) -> Any:
        """Make the environments.

        Raises:
            ValueError: when there is no such environment, what it needs is not installed, it does not know an option, or its
                spaces are not understood.
        """
        name, spec, apart = self.name, find_spec(self.name), self.vectorization == "async" and training
        adapted = None if training else self._class_method("evaluation_options")
        given = {"max_episode_steps": self.limit, "render_mode": render_mode, **(adapted(self.options) if adapted else self.options)}
        settings = {key: value for key, value in given.items() if value is not None}
        own = self.vectorization != "sync" and not apart and spec.vector_entry_point is not None and not spec.additional_wrappers
        own &= not getattr(spec.vector_entry_point, "__module__", "").startswith("ap_gym")  # predictions are taken copy by copy
        try:
            if own:
                envs = gym.make_vec(name, num_envs, vectorization_mode="vector_entry_point", **settings)
            else:
                rows = [partial(_make_one, name, row, settings, self.mask_key) for row in range(num_envs)]
                envs = AsyncVectorEnv([partial(_make_apart, os.getpid(), row) for row in rows]) if apart else SyncVectorEnv(rows)
        except (gym.error.DependencyNotInstalled, ImportError) as error:
            raise ValueError(f"environment {name} needs more than is installed: {error}{_extra(error)}") from error
        except (TypeError, gym.error.Error) as error:
            raise ValueError(f"environment {name} cannot be made with {settings}: {error}; see task.environment_options") from error
        check_spaces(name, envs.single_observation_space, envs.single_action_space)
        return envs

    def describe(self, returns: torch.Tensor, lengths: torch.Tensor) -> dict[str, float]:
        """Give the metrics that the environment's class makes of an evaluation's returns and lengths, [N] each."""
        metrics = self._class_method("describe_episodes")
        return dict(metrics(returns, lengths)) if metrics else {}

    def spec_text(self) -> str | None:
        """Give gymnasium's specification as JSON, with the options; None where it is made by something that JSON cannot name."""
        spec = copy.deepcopy(find_spec(self.name))
        spec.kwargs.update(self.options)
        spec.max_episode_steps = self.limit or spec.max_episode_steps
        try:
            return str(spec.to_json())
        except (TypeError, ValueError):
            return None

    @property
    def conversation(self) -> Callable[..., Any] | None:
        """What opens a dialog of somebody with a policy, where the environment is one."""
        found = self._class_method("conversation")
        return None if found is None else partial(found, self.options)

    def _class_method(self, name: str) -> Callable[..., Any] | None:
        """Find a static method of an environment that is given as module:class."""
        entry = find_spec(self.name).entry_point
        maker = gym.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry
        return getattr(maker, name, None)


def _make_apart(main_process: int, make: Callable[[], gym.Env]) -> gym.Env:
    """Make an environment in a process of its own, which Ctrl-C at the terminal does not reach: the main one still needs its answers.

    It ends when the main one does, whose end of the pipe is closed then.
    """
    if os.getpid() != main_process:  # the main one makes one, too, to see its spaces
        if hasattr(os, "setpgrp"):
            os.setpgrp()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return make()


def _make_one(name: str, row: int, settings: Mapping[str, Any], mask_key: str) -> gym.Env:
    """Make one copy; gymnasium's checks of every step, which cost more than many an environment, are left out."""
    env = gym.make(name, disable_env_checker=True, **settings)
    return Replayable(ActivePerception(env, name) if perceives(env) else in_parts(env, mask_key, name), name, row)


def without_module(name: str) -> str:
    """Give an environment's id without the module before it that registers it."""
    return name.rpartition(":")[2]


def find_spec(name: str) -> Any:
    """Look an environment up in gymnasium's registry, after importing the module that stands before a colon.

    Raises:
        ValueError: when there is no such module, or none of this name, with the nearest ones.
    """
    module, colon, environment = name.rpartition(":")
    if colon:
        _import_registering(module, name)
    if environment.startswith("seqrl/"):
        _register_ours()
    try:
        return gym.spec(environment)
    except gym.error.NamespaceNotFound as error:
        advice = _atari_advice(name) if name.startswith("ALE/") else "write module:name, with the module that registers it"
        advice = f"{module} registers none of it; {_nearest(environment)}" if colon else advice
        raise ValueError(f"environment {name!r}: no installed package has registered this namespace; {advice}") from error
    except gym.error.Error as error:
        _register_ours()
        raise ValueError(f"environment {name!r} is not known ({error}); {_nearest(environment)}") from error


def _import_registering(module: str, name: str) -> None:
    """Import what registers an environment."""
    if not all(part.isidentifier() for part in module.split(".")):
        raise ValueError(f"environment {name!r}: expected module:id, got {module!r} for the module")
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise ValueError(
                f"environment {name!r}: {module} needs the module {error.name!r}, which is neither installed nor in this folder"
            ) from error
        extra = f'pip install "seqrl[{EXTRAS[module]}]"' if module in EXTRAS else "put it into the current folder or on PYTHONPATH"
        raise ValueError(f"environment {name!r}: there is no module {error.name!r}; {extra}, or check its name") from error


def _nearest(name: str) -> str:
    known = {full.rpartition("/")[2]: full for full in gym.registry} | {full: full for full in gym.registry}
    close = list(dict.fromkeys(known[match] for match in difflib.get_close_matches(name, known, n=3, cutoff=0.5)))
    return f"did you mean {' or '.join(close)}?" if close else "`gymnasium.pprint_registry()` lists them all"


def _atari_advice(name: str) -> str:
    missing = "" if find_module("ale_py") else '; both need more than is installed: pip install "seqrl[atari]"'
    return f"for a game of Atari set task.type: atari (see configs/atari/), or write ale_py:{name} for its plain form{missing}"


def _register_ours() -> None:
    for module in OUR_MODULES:
        import_module(module)


def _extra(error: Exception) -> str:
    """Name the extra of this package that installs what an error misses."""
    extra = next((extra for module, extra in EXTRAS.items() if module in str(error)), None)
    return f'; or: pip install "seqrl[{extra}]"' if extra else ""


def environment_state(envs: Any) -> dict[str, Any] | None:
    """Read the whole state of a vector environment; None for those that cannot tell it.

    CartPole's vectorised form keeps everything in four arrays and a generator; copies are `Replayable`; others may have a
    `state_dict`.
    """
    inner = envs.unwrapped
    if isinstance(inner, CartPoleVectorEnv):
        arrays = {name: torch.from_numpy(np.array(getattr(inner, name))) for name in ("state", "steps", "prev_done")}
        return {**arrays, "random": json.dumps(inner.np_random.bit_generator.state)}
    if hasattr(inner, "state_dict"):
        return dict(inner.state_dict())
    if isinstance(inner, SyncVectorEnv | AsyncVectorEnv):
        return {"rows": tree_map_only(np.ndarray, torch.from_numpy, list(envs.get_attr("history")))}
    return None


def set_environment_state(envs: Any, state: dict[str, Any]) -> bool:
    """Put a vector environment back into a state that `environment_state` gave; say whether it shows the same again."""
    inner = envs.unwrapped
    if isinstance(inner, CartPoleVectorEnv):
        for name in ("state", "steps", "prev_done"):
            setattr(inner, name, state[name].numpy().copy())
        inner.np_random.bit_generator.state = parse_json(state["random"])
        return True
    if hasattr(inner, "load_state_dict"):
        return inner.load_state_dict(state) is not False
    # The reset also makes the vector environment forget which rows had ended.
    envs.reset(seed=0)
    envs.set_attr("history", tree_map_only(torch.Tensor, torch.Tensor.numpy, state["rows"]))
    return all(envs.get_attr("reproduced"))
