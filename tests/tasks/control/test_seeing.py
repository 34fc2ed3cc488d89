"""Pictures of any size and form, alone or beside numbers, and masks in observations: what reaches the layers, and that it is learned."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, Tuple, flatten
from torch import Tensor, nn

from seqrl.failures import EnvironmentFailed
from seqrl.policies.actor_critic import ActorCriticConfig
from seqrl.policies.pictures import Picture, PictureEncoder
from seqrl.run.config import read_config
from seqrl.run.train import load, resume, train
from seqrl.tasks.control.parts import FlatBox, StackedBox, observation_size
from seqrl.tasks.control.policy import ControlPolicyConfig, build_policy
from seqrl.tasks.control.task import ControlConfig, EnvTask

_SPEC = importlib.util.spec_from_file_location("showing_environments", Path(__file__).with_name("showing.py"))
assert _SPEC is not None and _SPEC.loader is not None
showing = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(showing)

SMALL = "hidden_sizes: [8], actor_critic: {code_size: 8}"
TRAINERS = {
    "ppo": "{type: ppo, advantage: gae, epochs: 1, minibatches: 2, minibatch_unit: steps}",
    "a2c": "{type: a2c}",
    "trpo": "{type: trpo}",
    "vtrace": "{type: vtrace}",
    "off_policy": "{type: off_policy}",
    "cem": "{type: cem, gradient_steps: 1}",
    "reinforce": "{type: reinforce, baseline: none}",
    "dqn": "{type: dqn, learning_starts: 8, gradient_steps: 1, batch_size: 4}",
}


def picture_box(*shape: int, brightest: float = 255, dtype: Any = np.uint8) -> Box:
    return Box(0, brightest, shape, dtype)


def task_of(environment: str, **settings: Any) -> EnvTask:
    options = {"policy": ControlPolicyConfig(hidden_sizes=(4,)), "num_envs": 2, "num_steps": 5, **settings}
    return ControlConfig(environment, **options).build(0)


def run_of(folder: Path, trainer: str, task: str, *, policy: str = SMALL, mode: str = "steps", num_updates: int = 2, seed: int = 0) -> Any:
    kind = policy if trainer != "dqn" else "type: action_values, hidden_sizes: [8]"
    if trainer == "dqn" and "lstm" in policy:
        kind += ", action_values: {memory: lstm, memory_size: 8}"
    text = (
        f"name: {trainer}\nseed: {seed}\nnum_updates: {num_updates}\neval_every: 0\nsave_every: 1\nnum_threads: 1\nruns_folder: {folder}\n"
    )
    text += f"task: {{type: control, {task}, mode: {mode}, policy: {{{kind}}}}}\ntrainer: {TRAINERS.get(trainer, trainer)}\n"
    (folder / f"{trainer}.yaml").write_text(text, encoding="utf-8")
    train(read_config(folder / f"{trainer}.yaml", ["--trainer.optimiser.precision=fp32"]), display=False)
    return load(folder / trainer)


def test_which_boxes_are_pictures() -> None:
    for space, expected in (
        (picture_box(96, 96, 3), ((96, 96), 3)),
        (picture_box(3, 16, 20), ((16, 20), 3)),
        (picture_box(16, 20), ((16, 20), 1)),
        (picture_box(4, 16, 20), ((16, 20), 4)),
        (picture_box(4, 16, 20, 3), ((16, 20), 12)),
        (picture_box(4, 3, 16, 20), ((16, 20), 12)),
        (picture_box(16, 20, 3, dtype=np.float32), ((16, 20), 3)),
        (picture_box(16, 20, 3, brightest=1, dtype=np.float32), ((16, 20), 3)),
    ):
        (picture,) = observation_size(space).pictures
        assert (picture.height_width, picture.num_channels) == expected and picture.scale == space.high.max()
    frames = observation_size(picture_box(4, 84, 84))
    assert frames.frames and not frames.pictures
    # Rows of numbers: memory of a console, its stack, symbols on a small grid, planes of a board, features.
    rows = (
        picture_box(128),
        StackedBox(picture_box(128), 9),
        picture_box(7, 7, 3),
        picture_box(8, 8, 111, brightest=1, dtype=np.float32),
        picture_box(8, 8, brightest=1, dtype=np.float32),
        Box(-1, 1, (16, 16, 3)),
    )
    assert not any(observation_size(space).pictures for space in rows)
    assert observation_size(picture_box(7, 7, 3), smallest_picture=7).pictures and not observation_size(picture_box(9, 9), 10).pictures


@pytest.mark.parametrize("num_stacked", [1, 3])
def test_pictures_are_cut_out_of_the_row_that_gymnasium_flattens(num_stacked: int) -> None:
    space = Dict(
        a=picture_box(9, 11, 3), b=Discrete(3), c=Tuple((Box(-1, 1, (2,)), picture_box(8, 10))), d=picture_box(3, 8, 9, dtype=np.float32)
    )
    space.seed(0)
    samples = [space.sample() for _ in range(num_stacked)]
    flat = FlatBox(space)
    size = observation_size(flat if num_stacked == 1 else StackedBox(flat, num_stacked))
    assert flat.dtype == np.float32 and size.num_stacked == num_stacked
    row = torch.from_numpy(np.stack([flatten(space, sample) for sample in samples])).float()
    cut = [picture.cut(row[None])[0] for picture in size.pictures]
    expected = (
        [sample["a"].transpose(2, 0, 1) for sample in samples],
        [sample["c"][1][None] for sample in samples],
        [sample["d"] for sample in samples],
    )
    for ours, theirs in zip(cut, expected, strict=True):
        np.testing.assert_array_equal(ours.numpy(), np.concatenate(theirs))
    assert size.num_inputs == num_stacked * (297 + 3 + 2 + 80 + 216)


@pytest.mark.parametrize("shape", [(8, 8), (3, 9, 31), (64, 65, 3), (96, 96, 3), (210, 160, 3), (8, 200)])
def test_every_size_is_encoded_and_scaled(shape: tuple[int, ...]) -> None:
    encoder = PictureEncoder(shape, [Picture(shape)], int(np.prod(shape)), 16, (), generator=torch.Generator().manual_seed(0))
    bright = torch.full((2, 3, *shape), 255, dtype=torch.uint8)
    seen: list[Tensor] = []
    encoder.convolutions[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    codes = encoder(bright)
    assert codes.shape == (2, 3, 16) and bool((seen[0] == 1).all()) and codes.isfinite().all()
    assert sum(parameter.numel() for parameter in encoder.parameters()) < 3e5  # as large a picture as it may be


def test_numbers_are_normalised_beside_pictures_which_are_not() -> None:
    space = FlatBox(Dict(a=picture_box(8, 8), b=Box(-1000, 1000, (2,))))
    config = ControlPolicyConfig((4,), actor_critic=ActorCriticConfig(code_size=4))
    config.actor_critic.normalise_observations = True
    policy: Any = build_policy(config, StackedBox(space, 2), Discrete(2))
    obs = torch.randn(6, 6, 2, 66, generator=torch.Generator().manual_seed(0)) * 100
    policy.observe(obs, torch.ones(6, 5, dtype=torch.bool))
    policy.initial_state(None)
    scaled = policy.inputs(obs)
    assert torch.equal(scaled[..., :64], obs[..., :64])
    numbers = obs[..., 64:].double()
    expected = (numbers - numbers[:, :-1].mean(dim=(0, 1))) / numbers[:, :-1].std(dim=(0, 1), correction=0)
    torch.testing.assert_close(scaled[..., 64:].double(), expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="normalise_observations: .*got categories or pictures"):
        build_policy(config, picture_box(8, 8), Discrete(2))


@pytest.mark.parametrize("form", showing.FORMS)
def test_forms_of_a_picture_look_the_same_to_the_convolutions(form: str) -> None:
    task = task_of("Spot-v0", environment_options={"form": form})
    policy: Any = task.build_policy()
    seen: list[Tensor] = []
    (convolutions,) = policy.actor.trunk.encoder.convolutions
    convolutions.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    obs = task.rollout(policy, generator=torch.Generator().manual_seed(0)).obs
    assert obs.dtype == (torch.float32 if form in ("float", "unit") else torch.uint8)
    policy(task.rollout(policy, generator=torch.Generator().manual_seed(0)))
    for picture in seen:
        # A bright square of 4x4 pixels.
        assert picture.shape[-2:] == (16, 16) and bool((picture.sum(dim=(2, 3)) == 16).all()) and picture.max() == 1


@pytest.mark.parametrize(("trainer", "memory"), [*((name, "none") for name in TRAINERS), ("a2c", "lstm"), ("dqn", "lstm")])
def test_every_trainer_takes_pictures_beside_numbers(trainer: str, memory: str, tmp_path: Path) -> None:
    mode = "episodes" if trainer in ("cem", "reinforce") else "steps"
    policy = f"hidden_sizes: [8], actor_critic: {{code_size: 8, memory: {memory}}}"
    environment = "environment: Spot-v0, environment_options: {parts: true}, num_envs: 2, num_steps: 8, num_eval_episodes: 1"
    _, task, trained, _ = run_of(tmp_path, trainer, f"{environment}, frame_stack: 2", policy=policy, mode=mode)
    assert any(isinstance(module, PictureEncoder) for module in trained.modules())
    assert task.rollout(trained).obs.shape[-2:] == (2, 16 * 16 * 3 + 3)


def test_a_run_on_pictures_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    environment = "environment: Told-v0, num_envs: 2, num_steps: 4, num_eval_episodes: 1"
    (tmp_path / "whole").mkdir()
    _, _, whole, _ = run_of(tmp_path / "whole", "a2c", environment, num_updates=2)
    run_of(tmp_path, "a2c", environment, num_updates=1)
    resume(tmp_path / "a2c", ["--num_updates=2"], display=False)
    _, _, halves, _ = load(tmp_path / "a2c")
    assert all(torch.equal(one, two) for one, two in zip(whole.parameters(), halves.parameters(), strict=True))


class TakesTheFirst(nn.Module):
    """Takes the first action that the mask allows."""

    def initial_state(self, context: Any) -> None:
        return None

    def act(self, obs: Any, state: Any, **_: Any) -> Any:
        from seqrl.trajectory import Step

        action = obs["action_mask"].int().argmax(dim=1)
        return Step(action, torch.zeros(len(action)), torch.zeros(len(action)))


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_a_mask_in_the_observation_is_a_mask_and_no_feature(vectorization: str) -> None:
    options: dict[str, Any] = {"num_steps": 12, "vectorization": vectorization}
    trajectory = task_of("Board-v0", **options).rollout(TakesTheFirst())
    seen, mask = trajectory.obs["observation"], trajectory.obs["action_mask"]
    assert seen.shape == (2, 13, 3, 3) and mask.shape == (2, 13, 9) and mask.dtype == torch.bool
    over = seen.flatten(2).all(dim=2)
    assert torch.equal(mask, (seen.flatten(2) == 0) | over.unsqueeze(2)) and trajectory.reward.sum() == pytest.approx(2 * (9 + 2) / 9)
    named = task_of("Board-v0", environment_options={"key": "legal"}, action_mask_key="legal", **options).rollout(TakesTheFirst())
    assert torch.equal(named.obs["observation"], seen) and torch.equal(named.obs["action_mask"], mask)
    picture = task_of("Board-v0", environment_options={"picture": True})
    assert isinstance(picture.build_policy().actor.trunk.encoder, PictureEncoder)  # type: ignore[union-attr]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_every_trainer_keeps_to_a_mask_in_the_observation(trainer: str, tmp_path: Path) -> None:
    mode = "episodes" if trainer in ("cem", "reinforce") else "steps"
    environment = "environment: Board-v0, num_envs: 2, num_steps: 8, num_eval_episodes: 2"
    _, task, policy, _ = run_of(tmp_path, trainer, environment, mode=mode)  # Board asserts that the mask is kept to
    assert task.evaluate(policy)["return_min"] == pytest.approx(1.0)


def test_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(
        EnvironmentFailed, match=r"action_mask: expected at least one allowed action of 9, row 0 of environment Board-v0 .* step 4"
    ):
        task_of("Board-v0", environment_options={"wrong": "nothing"}).rollout(TakesTheFirst())
    with pytest.raises(ValueError, match="task.action_masks: expected false with task.policy.type: action_value_table"):
        task_of("Board-v0", policy=ControlPolicyConfig(type="action_value_table")).build_policy()
    with pytest.raises(ValueError, match="Told-v0: expected a mask of 4 actions under 'number'.*set task.action_mask_key"):
        task_of("Told-v0", action_mask_key="number")
    # Told not to look for one, it takes the mask for numbers, and told not to use it, it leaves it out.
    assert task_of("Board-v0", action_mask_key="").rollout(nn_of_first()).obs.shape == (2, 6, 18)
    assert task_of("Board-v0", action_masks=False).rollout(nn_of_first()).obs.shape == (2, 6, 3, 3)


def nn_of_first() -> nn.Module:
    class Untaken(nn.Module):
        """Takes the first field that is free."""

        def initial_state(self, context: Any) -> None:
            return None

        def act(self, obs: Tensor, state: Any, **_: Any) -> Any:
            from seqrl.trajectory import Step

            taken = obs.flatten(1)[:, -9:] if obs.ndim == 3 else 1 - obs[:, :9]
            action = (taken == 0).int().argmax(dim=1)
            return Step(action, torch.zeros(len(action)), torch.zeros(len(action)))

    return Untaken()


def test_a_mask_of_another_form_is_understood() -> None:
    space = Dict({"observation": Box(-1, 1, (3,)), "action_mask": MultiBinary(4)})
    assert observation_size(space).shape == (3,)


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["ppo", "dqn"])
@pytest.mark.parametrize(
    "environment", ["Told-v0", "Spot-v0", "Spot-v0, environment_options: {form: stack, parts: true}"], ids=["told", "spot", "parts"]
)
def test_what_pictures_and_numbers_say_is_learned(environment: str, trainer: str, tmp_path: Path) -> None:
    settings = {
        "ppo": "{type: ppo, advantage: gae, gamma: 0.5, epochs: 4, minibatches: 4, minibatch_unit: steps, ent_coef: 0.02, "
        "optimiser: {learning_rate: 1.0e-3, schedule: linear, max_grad_norm: 0.5}}",
        "dqn": "{type: dqn, learning_starts: 200, gradient_steps: 16, batch_size: 64, target_every: 4, epsilon_steps: 2000, "
        "gamma: 0.5, optimiser: {learning_rate: 1.0e-3}}",
    }
    for seed in range(3 if environment == "Told-v0" else 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        TRAINERS["learns"] = settings[trainer]
        policy = "type: action_values, hidden_sizes: [64]" if trainer == "dqn" else "hidden_sizes: [64, 64]"
        task = f"environment: {environment}, num_envs: 16, num_steps: 16"
        _, built, trained, _ = run_of(folder, "learns", task, policy=policy, num_updates=60, seed=seed)
        score = built.evaluate(trained, split="test")["return_mean"]
        assert score > 0.95, f"seed {seed}: {score}"
