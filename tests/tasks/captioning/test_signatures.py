"""What is printed and kept beside the metrics of a captioner says how they were computed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seqrl import Supervised
from seqrl.metrics.document_frequency import DocumentFrequency
from seqrl.metrics.signature import joined, parse
from seqrl.run.cli import main
from seqrl.run.signatures import kept_signatures, reward_signature
from seqrl.tasks.captioning.data_config import DataConfig
from seqrl.tasks.captioning.policies import PolicyConfig
from seqrl.tasks.captioning.scenes import ScenesConfig
from seqrl.tasks.captioning.task import CaptioningConfig, CaptioningTask
from seqrl.tasks.writing.reward import RewardConfig
from seqrl.trainers.self_critical import SelfCritical, SelfCriticalConfig

POLICY = PolicyConfig(dim=16, num_layers=1, num_heads=2, max_tokens=6)
CONFIG = """
name: run
num_updates: 1
num_threads: 1
runs_folder: {root}/runs
task:
  type: captioning
  images_per_batch: 2
  data: {{image_size: 16, scenes: {{num_train: 8, num_dev: 4, num_test: 2}}}}
  policy: {{dim: 16, num_layers: 1, num_heads: 2, max_tokens: 6}}
  evaluation: {{max_images: 3}}
trainer: {{type: self_critical, num_samples: 3, optimiser: {{precision: fp32}}}}
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("seqrl.run.signatures._version", lambda: "0.1.0")


def task_of(tokens: str = "ptb", **reward: object) -> CaptioningTask:
    data = DataConfig(image_size=16, tokens=tokens, scenes=ScenesConfig(num_train=8, num_dev=4, num_test=0))
    return CaptioningConfig(data=data, policy=POLICY, images_per_batch=2, reward=RewardConfig(**reward)).build(0)  # type: ignore[arg-type]


def signature(task: CaptioningTask, **trainer: object) -> str:
    return reward_signature(task, SelfCritical(task.build_policy(), SelfCriticalConfig(**trainer)))  # type: ignore[arg-type]


def test_a_reward_by_hand() -> None:
    task = task_of()
    counts = task.fingerprint()["document_frequency"][:8]
    assert signature(task) == (
        f"CIDEr-D|weight:1.0|tok:ptb|end:yes|df:train+end|docs:8|counts:{counts}|nrefs:5|n:4|sigma:6.0|clip:yes|"
        "base:leave_one_out|samples:5|version:0.1.0"
    )
    mix = task_of(metrics={"bleu4": 0.5, "cider": 0.0, "rouge_l": 2.0}, score_end=False, variety=0.25)
    assert signature(mix, baseline="greedy", num_samples=1) == (
        "BLEU-4|weight:0.5|tok:ptb|end:no|nrefs:5|n:4|smooth:none|base:greedy|samples:1|version:0.1.0 + "
        "ROUGE-L|weight:2.0|tok:ptb|end:no|nrefs:5|beta:1.2|base:greedy|samples:1|version:0.1.0 + "
        "variety|weight:0.25|base:greedy|samples:1|version:0.1.0"
    )
    own = task_of(function="os.path:commonprefix")
    assert signature(own) == "function|function:os.path:commonprefix|tok:ptb|nrefs:5|base:leave_one_out|samples:5|version:0.1.0"


def test_every_cider_tells_its_document_frequencies() -> None:
    for name in ("cider", "cider_r"):
        task = task_of(metrics={"cider_d": 0.0, name: 1.0})
        assert task.fingerprint()["document_frequency"] == task_of().fingerprint()["document_frequency"]
        (fields,) = (each.fields for each in parse(signature(task)))
        assert fields["df"] == "train+end" and fields["docs"] == "8" and fields["counts"] == task.fingerprint()["document_frequency"][:8]


def test_each_metric_of_a_mix_says_what_it_was_counted_over_and_given() -> None:
    cider, spider, chrf = parse(signature(task_of(metrics={"cider_d": 1.0, "spider": 1.0, "chrf": 0.01})))
    assert cider.fields["df"] == "train+end" and "counts" in cider.fields and "text" not in cider.fields
    # SPIDEr counts the words of the same captions by itself, without their ends.
    assert spider.fields["df"] == "train" and spider.fields["docs"] == "8" and "counts" not in spider.fields
    assert chrf.fields["text"] == "ptb"
    task = task_of()
    task.watch("chrf")
    assert parse(task.evaluation_signatures("dev", version="1")["chrf"])[0].fields["text"] == "ptb"


def test_every_setting_changes_the_signature(tmp_path: Path) -> None:
    task = task_of()
    rows = [[task.vocabulary.encode(words) for words in captions] for captions in task.data.train.words[:5]]
    made_of = f"vocabulary {task.vocabulary.fingerprint()}"
    file = tmp_path / "df.npz"
    DocumentFrequency.from_references(rows, tokenisation=made_of, score_end=True, end=task.vocabulary.end).save(file)
    found = [signature(task), signature(task, baseline="greedy"), signature(task, num_samples=4)]
    found += [signature(task_of(score_end=False)), signature(task_of(document_frequency=str(file)))]
    found += [signature(task_of(tokens="characters")), signature(task_of(metrics={"cider_d": 2.0}))]
    found += [signature(task_of(metrics={"cider_d": 1.0, "bleu4": 1.0})), signature(task_of(variety=1.0))]
    assert len(set(found)) == len(found)
    assert all(joined(parse(each)) == each for each in found)
    assert reward_signature(task, Supervised(task.build_policy())) == ""


def test_commands_print_and_keep_them(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqrl.run.plots.run_curves", lambda folder: folder)
    (tmp_path / "run.yaml").write_text(CONFIG.format(root=tmp_path))
    assert main(["train", str(tmp_path / "run.yaml")]) == 0
    told = capsys.readouterr().out
    run = tmp_path / "runs" / "run"
    kept = kept_signatures(run)
    assert json.loads((run / "env.json").read_text())[0]["signatures"] == kept
    assert f"run: reward {kept['reward']}\n" in told and "|base:leave_one_out|samples:3|" in kept["reward"]
    assert main(["evaluate", str(run), "--split=test", "--task.evaluation.max_images=0", "--task.evaluation.beam_size=3"]) == 0
    cider_d = "CIDEr-D|tok:ptb|end:no|df:test|docs:2|nrefs:5|n:4|sigma:6.0|clip:yes|version:0.1.0"
    bleu4 = "BLEU-4|tok:ptb|end:no|nrefs:5|n:4|smooth:none|version:0.1.0"
    beam = cider_d.replace("|version", "|beam:3|alpha:0.0|version")
    assert {cider_d, bleu4, beam} <= set(capsys.readouterr().out.splitlines()) and joined(parse(beam)) == beam
    values = json.loads((run / "evaluation_test.json").read_text())
    assert values["signatures"]["cider_d"] == cider_d and values["signatures"]["bleu4"] == bleu4
    assert values["signatures"]["beam/cider_d"] == beam and "beam/cider_d" in values["figures"] and "beam/cider_d" not in kept["dev"]
    assert main(["evaluate", str(run), "--split=test", "--task.evaluation.beam_size=3", "--task.evaluation.temperature=0.5"]) == 0
    assert beam.replace("|version", "|temperature:0.5|version") in capsys.readouterr().out.splitlines()
    assert kept["dev"]["cider_d"] == cider_d.replace("test|docs:2", "dev|docs:3")
