"""Captions whose reward is computed while the next ones are sampled: one update old, the same to the bit however long it takes."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from seqrl.metrics.meteor.paraphrases import english_paraphrases
from seqrl.run import checkpoint
from seqrl.run.cli import main
from seqrl.run.config import read_config
from seqrl.run.log import read_metrics
from seqrl.run.train import resume, train
from seqrl.tasks.captioning.data_config import DataConfig
from seqrl.tasks.captioning.policies import PolicyConfig
from seqrl.tasks.captioning.scenes import ScenesConfig
from seqrl.tasks.captioning.task import CaptioningConfig, CaptioningTask
from seqrl.tasks.writing.reward import RewardConfig
from seqrl.trainers.self_critical import SelfCritical, SelfCriticalConfig

CONFIG = """
name: run
num_updates: 6
eval_every: 0
save_every: 2
log_every: 1
num_threads: 1
runs_folder: {root}/runs
task:
  type: captioning
  images_per_batch: 2
  data: {{image_size: 16, scenes: {{num_train: 8, num_dev: 4, num_test: 2}}}}
  policy: {{dim: 16, num_layers: 1, num_heads: 2, max_tokens: 6}}
  reward: {{ahead: 1, function: "{module}:words"}}
trainer: {{type: self_critical, num_samples: 2, optimiser: {{precision: fp32, learning_rate: 0.01}}}}
"""
REWARDS = """
import os, pathlib, signal, time
HERE = pathlib.Path(__file__).parent
calls = 0

def words(captions, references):
    global calls
    calls += 1
    if (HERE / "slow").exists():
        time.sleep(0.03)
    if (HERE / "broken").exists() and calls == 4:
        raise OSError("the judge is not there")
    if (HERE / "hangs").exists() and calls == 4:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(30)
    return [len(set(caption.split())) + 0.1 * len(caption) for caption in captions]
"""
CHANGES = {
    "greedy, mixed, accumulated": ["--trainer.baseline=greedy", "--trainer.imitation.weight=0.3", "--trainer.optimiser.accumulation=2"],
    "leave_one_out": [],
    "forced": ["--trainer.imitation.weight=0.5", "--trainer.imitation.forced_steps=3", "--trainer.imitation.forced_updates=2"],
    "reinforce": ["--trainer.type=reinforce", "--trainer.baseline=moving_average"],
    "ppo, workers": [
        "--trainer.type=ppo",
        "--trainer.advantage=group_norm",
        "--trainer.epochs=1",
        "--trainer.minibatches=1",
        "--task.reward.workers=2",
    ],
    "words": ["--task.reward.function=", "--task.reward.metrics={cider_d: 1.0, meteor: 1.0, spice: 1.0, chrf: 0.01, wer: -0.1}"],
}


@pytest.fixture
def paraphrases_read(request: pytest.FixtureRequest) -> None:
    """Read METEOR's index before `root` gives each test an empty cache, where it would be made anew."""
    if "meteor" in str(CHANGES[request.getfixturevalue("kind")]):
        english_paraphrases()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path / "cache"))
    module = f"ahead_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(REWARDS)
    (tmp_path / "run.yaml").write_text(CONFIG.format(root=tmp_path, module=module))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("seqrl.run.plots.run_curves", lambda folder: folder)
    threads = torch.get_num_threads()
    yield tmp_path
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def run(root: Path, name: str, *changes: str) -> Path:
    return train(read_config(root / "run.yaml", [f"--name={name}", *changes], allow_code=True), display=False).run_folder or root


def weights(folder: Path) -> bytes:
    return (checkpoint.find(folder) / checkpoint.WEIGHTS).read_bytes()


def told(folder: Path) -> list[dict[str, float]]:
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in read_metrics(folder)]


def task_of(ahead: int) -> CaptioningTask:
    data = DataConfig(image_size=16, scenes=ScenesConfig(num_train=8, num_dev=4, num_test=0))
    policy = PolicyConfig(dim=16, num_layers=1, num_heads=2, max_tokens=6)
    return CaptioningConfig(data=data, policy=policy, images_per_batch=2, reward=RewardConfig(ahead=ahead)).build(0)


def test_each_batch_comes_one_call_later_with_its_own_rewards(root: Path) -> None:
    torch.manual_seed(0)
    now, ahead = task_of(0), task_of(1)
    trainer = SelfCritical(now.build_policy(), SelfCriticalConfig(baseline="greedy", num_samples=2), seed=3)
    later = SelfCritical(trainer.policy, trainer.config, seed=3)
    first, second = (trainer.collect(now) for _ in range(2))
    given = later.collect(ahead)  # sampled two
    torch.nn.init.normal_(next(parameter for parameter in trainer.policy.parameters() if parameter.ndim > 1))
    for one, other in ((first, given), (second, later.collect(ahead))):
        for name in ("action", "logp", "reward", "baseline", "group", "mask"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
        assert torch.equal(one.context["image"], other.context["image"])  # type: ignore[index, call-overload]
    changed = later.collect(ahead)
    assert torch.equal(changed.group, trainer.collect(now).group)  # type: ignore[arg-type, union-attr]
    again = task_of(1)
    again.load_state_dict(ahead.state_dict())
    repeated = SelfCritical(trainer.policy, trainer.config, seed=3)
    repeated.optimiser.generator.set_state(later.optimiser.generator.get_state())
    pair = later.collect(ahead), repeated.collect(again)
    assert torch.equal(pair[0].reward, pair[1].reward) and torch.equal(pair[0].action, pair[1].action)


@pytest.mark.parametrize("kind", [*list(CHANGES)[:1], *(pytest.param(kind, marks=pytest.mark.slow) for kind in list(CHANGES)[1:])])
def test_same_weights_to_the_bit_slow_or_fast_whole_or_resumed(kind: str, paraphrases_read: None, root: Path) -> None:
    changes = CHANGES[kind]
    whole = run(root, "whole", *changes)
    (root / "slow").touch()
    parts = run(root, "parts", "--num_updates=4", *changes)
    resume(parts, ["--num_updates=6"], display=False, allow_code=True)
    assert weights(parts) == weights(whole)
    rows = [row for row in told(whole) if "reward/mean" in row]
    assert rows == [row for row in told(parts) if "reward/mean" in row] and len(rows) == 6
    if "ppo" in kind:
        assert rows[0]["policy/kl_sampling"] < 1e-8 < rows[2]["policy/kl_sampling"]
    else:
        shares = [row["importance/effective_share"] for row in rows]
        assert shares[0] == pytest.approx(1.0) and 0 < min(shares) < 1 - 1e-6  # the first batch is that of the first policy
        assert rows[0]["importance/max"] == pytest.approx(1.0, abs=1e-4)
    assert weights(run(root, "at_once", "--task.reward.ahead=0", *changes)) != weights(whole)


def test_what_is_broken_keeps_what_was_done_and_goes_on(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = run(root, "whole")
    module = __import__(f"ahead_{root.name}")
    for name, code, said in (
        ("broken", 2, ["the judge is not there", "in the reward of batch 4", "while collecting for update 4", "step_"]),
        ("hangs", 130, ["interrupted after update 3"]),
    ):
        (root / name).touch()
        module.calls, start = 0, time.monotonic()
        assert main(["train", str(root / "run.yaml"), "--allow-code", "--quiet", f"--name={name}"]) == code
        error = capsys.readouterr().err
        assert all(each in error for each in said), error
        assert time.monotonic() - start < 20
        (root / name).unlink()
        folder = root / "runs" / name
        assert checkpoint.read_meta(checkpoint.find(folder))["step"] == 3
        resume(folder, display=False, allow_code=True)
        assert weights(folder) == weights(whole)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_others_are_refused_by_name(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "s.yaml").write_text((root / "run.yaml").read_text().replace("type: self_critical, num_samples: 2,", "type: supervised,"))
    assert main(["train", str(root / "s.yaml"), "--allow-code", "--quiet"]) == 2
    error = capsys.readouterr().err
    assert "trainer Supervised: expected rewards that are not computed ahead" in error and "; set task.reward.ahead=0, or choose" in error
    with pytest.raises(ValueError, match="ahead: expected 0 .* or 1 .*, got 2"):
        RewardConfig(ahead=2)
