"""The documents say what the code does: every logged key, and every method that has a source."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from seqrl import (
    A2CConfig,
    AlphaZeroConfig,
    DAggerConfig,
    GAILConfig,
    LeagueConfig,
    OffPolicyConfig,
    PPOConfig,
    ReinforceConfig,
    SACConfig,
    SelfCriticalConfig,
    SupervisedConfig,
    TRPOConfig,
    VTraceConfig,
)
from seqrl.metrics.by_name import METRICS
from seqrl.run.config import EarlyStop
from seqrl.run.loop import fit
from seqrl.tasks.attention.data_config import DataConfig as AttentionDataConfig
from seqrl.tasks.attention.policy import GlimpsePolicyConfig
from seqrl.tasks.attention.task import AttentionConfig
from seqrl.tasks.boards.duels import BoardDuelConfig
from seqrl.tasks.boards.task import BoardsConfig
from seqrl.tasks.captioning.data_config import DataConfig
from seqrl.tasks.captioning.evaluation import EvaluationConfig
from seqrl.tasks.captioning.policies import PolicyConfig
from seqrl.tasks.captioning.scenes import ScenesConfig
from seqrl.tasks.captioning.task import CaptioningConfig
from seqrl.tasks.control.demonstrations import DemonstrationsConfig
from seqrl.tasks.control.policy import ControlPolicyConfig
from seqrl.tasks.control.task import ControlConfig
from seqrl.tasks.matrix_games.task import MatrixGameConfig
from seqrl.tasks.text.evaluation import EvaluationConfig as TextEvaluationConfig
from seqrl.tasks.text.policy import PolicyConfig as TextPolicyConfig
from seqrl.tasks.text.task import TextConfig
from seqrl.tasks.writing.reward import RewardConfig
from seqrl.trainers.bonus import BonusConfig
from seqrl.trainers.cem import CrossEntropyConfig
from seqrl.trainers.dqn import DQNConfig
from seqrl.trainers.evolution_strategies import EvolutionStrategiesConfig
from seqrl.trainers.model_based import ModelBasedConfig
from seqrl.trainers.q_table import QTableConfig

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("seqrl", "metrics", "tasks")
TABLES = {"metrics.md": ("key", 5), "papers.md": ("method", 4)}
FIGURE = "<metric>"

# Documented, but produced by no short run; with the reason. Empty is best.
_DIALOGS = "configs/dialog trains for a while; tests/tasks/dialog sees it"
_TAPES = "configs/memory trains for a while; tests/tasks/memory sees it"
_PERCEPTION = "needs ap-gym or an environment of one's own; tests/tasks/control/test_perception.py sees it"
_OWN_REWARDS = "needs functions of one's own; tests/tasks/text/test_trl_form.py sees it"
NOT_PRODUCED_HERE: dict[str, str] = {
    "dev/human_normalised_score": "tasks/atari needs an extra; tests/tasks/atari/test_task.py sees it",
    "dev/success": _DIALOGS,
    "dev/solved": _TAPES,
    "dev/symbol_error": _TAPES,
    "dev/turns": _DIALOGS,
    "dev/prediction_loss": _PERCEPTION,
    "dev/last_prediction_loss": _PERCEPTION,
    "dev/accuracy": _PERCEPTION,
    "reward/mean_<metric>": _OWN_REWARDS,
    "reward/std_<metric>": _OWN_REWARDS,
    "reward/left_out": _OWN_REWARDS,
    "logged/<metric>": _OWN_REWARDS,
}


class Keys:
    """Collects the names of all metrics."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self.seen |= set(values)

    def close(self) -> None:
        pass


def toy() -> ModuleType:
    path = ROOT / "tests" / "seqrl" / "trainers" / "toy_tokens.py"
    specification = importlib.util.spec_from_file_location("toy_tokens_of_docs", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def trainer_configs() -> list[Any]:
    from seqrl.trainers.imitation import ImitationConfig

    mix = ImitationConfig(weight=0.3)
    baselines = ("none", "moving_average", "critic", "leave_one_out", "group_norm", "greedy")
    return [
        SupervisedConfig(label_smoothing=0.1, scheduled_sampling=0.5, scheduled_sampling_updates=1),
        *(ReinforceConfig(baseline=baseline, ent_coef=0.1, whiten=True, imitation=mix) for baseline in baselines),  # type: ignore[arg-type]
        SelfCriticalConfig(baseline="greedy", ent_coef=0.1),
        SelfCriticalConfig(imitation=ImitationConfig(weight=0.3, forced_steps=2)),
        PPOConfig(num_samples=5, kl_coef=0.1, ent_coef=0.1, target_kl=0.01, imitation=mix),
        *(PPOConfig(advantage=advantage, num_samples=5) for advantage in ("leave_one_out", "group_norm", "greedy")),  # type: ignore[arg-type]
        PPOConfig(advantage="group_mean", num_samples=5, kl_coef=0.1, kl_in="loss", kl_estimator="k3"),
        A2CConfig(),
        VTraceConfig(),
        OffPolicyConfig(),
        CrossEntropyConfig(num_samples=5, threshold="group", ent_coef=0.1),
    ]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What short runs of every trainer, and of both tasks, log."""
    keys, tokens = Keys(), toy()
    for config in trainer_configs():
        trainer = config.build(tokens.TokenPolicy(), seed=0, num_updates=2)
        fit(trainer, tokens.TokenTask(num_contexts=4), num_updates=2, writers=[keys])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQRL_CACHE", str(tmp_path_factory.mktemp("cache")))
        captioning = CaptioningConfig(
            data=DataConfig(image_size=32, scenes=ScenesConfig(num_train=12, num_dev=4, num_test=0)),
            policy=PolicyConfig(dim=16, num_layers=1, max_tokens=6, word_detection=0.3),
            evaluation=EvaluationConfig(beam_size=2),
            images_per_batch=2,
        )
        replies = TextConfig(
            policy=TextPolicyConfig(dim=16, num_layers=1, max_tokens=6),
            reward=RewardConfig(metrics={"bleu4_smoothed": 1.0, "slot_error": -1.0}, settings={"slot_error": {"prefix": "SLOT_"}}),
            evaluation=TextEvaluationConfig(max_prompts=4),
            prompts_per_batch=2,
        )
        poles = ControlConfig(num_envs=2, num_steps=4, num_eval_episodes=2, max_episode_steps=10)
        shown_by, folder = poles.build(0).build_policy(), tmp_path_factory.mktemp("shown") / "episodes"
        poles.build(0).record_data(shown_by, folder)
        shown = replace(poles, demonstrations=DemonstrationsConfig(path=str(folder)))
        looking = {"glimpse_size": 4, "num_glimpses": 2, "images_per_batch": 4}
        attention = AttentionConfig(AttentionDataConfig(image_size=8), GlimpsePolicyConfig(hidden_units=8), **looking)  # type: ignore[arg-type]
        foretelling = PPOConfig(bonus=BonusConfig("random_distillation"))
        for task_config, config, metric in (
            (captioning, SupervisedConfig(), "cider_d"),
            (replies, SupervisedConfig(), "sacrebleu"),
            (attention, ReinforceConfig(), "error_percent"),
            (attention, TRPOConfig(critic_epochs=1), "error_percent"),
            (ControlConfig(num_envs=2, num_steps=12, num_eval_episodes=2, max_episode_steps=10), foretelling, "return_mean"),
            (ControlConfig(num_envs=2, num_steps=4, num_eval_episodes=2, max_episode_steps=10), TRPOConfig(), "return_mean"),
            (ControlConfig("seqrl/AxonTracking-v0", num_envs=2, num_eval_episodes=2, max_episode_steps=4), PPOConfig(), "coverage"),
            (
                ControlConfig(num_envs=2, num_steps=4, num_eval_episodes=2, policy=ControlPolicyConfig(type="action_values")),
                DQNConfig(learning_starts=0, replay="prioritised", gradient_steps=1),
                "return_mean",
            ),
            (BoardDuelConfig(num_games=2, num_eval_games=2), A2CConfig(), "chance_anything"),
            (MatrixGameConfig(), LeagueConfig(keep_min_updates=1, keep_max_updates=1), "strategy_entropy"),
            (shown, DAggerConfig(), "return_mean"),
            (shown, GAILConfig(gradient_penalty=0.1), "return_mean"),
            (
                ControlConfig("seqrl/RobotInARoom-v0", num_envs=2, num_steps=4, policy=ControlPolicyConfig(type="action_value_table")),
                QTableConfig(bonus=BonusConfig("counts")),
                "return_mean",
            ),
            (
                ControlConfig(
                    num_envs=2, num_steps=4, num_eval_episodes=2, max_episode_steps=10, policy=ControlPolicyConfig(type="planner")
                ),
                ModelBasedConfig(gradient_steps=1),
                "return_mean",
            ),
            (BoardsConfig(num_games=2, num_eval_games=2), AlphaZeroConfig(gradient_steps=1), "score"),
            (
                ControlConfig(num_envs=2, num_steps=4, num_eval_episodes=2, policy=ControlPolicyConfig(type="soft_actor_critic")),
                SACConfig(learning_starts=0, gradient_steps=1),
                "return_mean",
            ),
            (
                ControlConfig(mode="episodes", num_envs=2, num_eval_episodes=2, max_episode_steps=10),
                EvolutionStrategiesConfig(population_size=2),
                "return_mean",
            ),
        ):
            task = task_config.build(0)
            task.expert = shown_by if isinstance(config, DAggerConfig) else None
            trainer = config.build(task.build_policy(), seed=0, num_updates=1)
            fit(trainer, task, num_updates=1, eval_every=1, early_stop=EarlyStop(metric=metric), writers=[keys])
    return keys.seen


def rows(name: str) -> list[list[str]]:
    """The cells of the rows of a document's tables with the expected first heading, headings left out."""
    heading, width = TABLES[name]
    found: list[list[str]] = []
    wanted, inside = False, False
    for line in (ROOT / "docs" / name).read_text(encoding="utf-8").splitlines():
        was_inside, inside = inside, line.startswith("|")
        if not inside or set(line) <= set("|- "):
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not was_inside:
            wanted = cells[0].lower() == heading
        elif wanted:
            assert len(cells) == width, f"docs/{name}: expected {width} cells in {line!r}"
            found.append(cells)
    return found


def documented() -> set[str]:
    return {cells[0].strip("`") for cells in rows("metrics.md")}


def expands(pattern: str, key: str, values: set[str]) -> bool:
    """Whether a key is the pattern, with a dev metric in the place of `<metric>`."""
    return key == pattern or any(pattern.replace(FIGURE, metric) == key for metric in values)


def test_every_logged_key_is_documented(logged: set[str]) -> None:
    values = {key.removeprefix("dev/") for key in documented() if key.startswith("dev/") and FIGURE not in key}
    missing = sorted(key for key in logged if not any(expands(pattern, key, values) for pattern in documented()))
    assert not missing, f"docs/metrics.md: add a row for {', '.join(missing)}"


def test_every_documented_key_is_logged(logged: set[str]) -> None:
    values = {key.removeprefix("dev/") for key in logged if key.startswith("dev/")}
    missing = {pattern for pattern in documented() if not any(expands(pattern, key, values) for key in logged)}
    assert missing == set(NOT_PRODUCED_HERE), "docs/metrics.md: these are logged no more, or NOT_PRODUCED_HERE is out of date"


def test_keys_stand_in_code_style_with_meaning_and_unit() -> None:
    for key, meaning, unit, _, advice in rows("metrics.md"):
        assert re.fullmatch(r"`[a-z0-9_]+/[a-z0-9_]*(<metric>)?`", key), key
        assert meaning and unit and (advice or key in ("`dev/return_max`",)), key


def test_every_warning_says_what_to_try() -> None:
    table = re.search(r"\| kind \|.*?\n\n", (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8") + "\n\n", re.DOTALL)
    assert table is not None
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.group().strip().splitlines()[2:]]
    assert all(len(cells) == 4 and all(cells) for cells in lines)
    code = "\n".join((ROOT / "seqrl" / "run" / f"{name}.py").read_text(encoding="utf-8") for name in ("recorder", "elastic"))
    kinds = re.findall(r'^ +"([a-z_]+)",$|troubles\["([a-z_]+)"\]|return \{"([a-z_]+)": text|"([a-z_]+)": f?"[A-Z]', code, re.MULTILINE)
    said = set(yaml.safe_load((ROOT / "seqrl" / "diagnostics.yaml").read_text(encoding="utf-8")))
    said |= set(json.loads((ROOT / "tasks" / "captioning" / "diagnostics.json").read_text(encoding="utf-8")))
    assert {kind for found in kinds for kind in found if kind} | said == {cells[0].strip("`") for cells in lines}


def sources() -> dict[str, str]:
    """Text of each module with a `Source:` line."""
    modules = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for name in PACKAGES for path in (ROOT / name).rglob("*.py")
    }
    return {name: text for name, text in modules.items() if re.search(r"^\s*Source: ", text, re.MULTILINE)}


def test_every_module_with_a_source_has_a_row_and_every_file_exists() -> None:
    files = [set(re.findall(r"`([^`]+)`", cells[2])) for cells in rows("papers.md")]
    assert all(files)
    named = set().union(*files)
    assert sorted(name for name in named if not (ROOT / name).is_file()) == []
    assert len(sources()) > 15
    assert sorted(set(sources()) - named) == []


def test_every_cited_paper_has_a_row() -> None:
    table = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
    for name, text in sources().items():
        for paragraph in re.findall(r"^\s*Source: (.*?)(?=\n\s*\n|\n\s*\"\"\"|Differs from:)", text, re.MULTILINE | re.DOTALL):
            for authors, year in re.findall(r"([A-Z]\w+(?:,? (?:[A-Z]\w+|& [A-Z]\w+|et\s+al\.))*) ((?:19|20)\d\d)\b", paragraph):
                first = authors.split()[0].strip(",")
                assert re.search(rf"{first}\b[^|]*? {year}", table), f"docs/papers.md: no row names {authors} {year}, cited in {name}"


def test_every_metric_is_described() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`[^|]*) \|", text[text.index("### What each is") : text.index("# What is logged")], re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} | {"bleu2", "bleu3"}  # between bleu1 and bleu4
    assert named == set(METRICS)
