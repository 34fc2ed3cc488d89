"""Whole runs of pretrained text models: trained, resumed, evaluated, and loaded by plain transformers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

transformers = pytest.importorskip("transformers")

from tiny_text_models import LENGTH, PROMPTS, REFERENCES, context_of, generated, make_model, make_tokenizer, policy_of  # noqa: E402

from seqrl.decoding import sample  # noqa: E402
from seqrl.optimiser import OptimiserConfig  # noqa: E402
from seqrl.run import checkpoint  # noqa: E402
from seqrl.run.cli import main  # noqa: E402
from seqrl.run.config import EarlyStop, RunConfig  # noqa: E402
from seqrl.run.log import read_metrics  # noqa: E402
from seqrl.run.loop import fit  # noqa: E402
from seqrl.run.train import load, resume, train  # noqa: E402
from seqrl.tasks.text import DataConfig, PolicyConfig, TextConfig, TextTask  # noqa: E402
from seqrl.tasks.writing.pretrained.loading import load_text_policy  # noqa: E402
from seqrl.tasks.writing.pretrained.lora import LoraConfig  # noqa: E402
from seqrl.trainers.ppo import PPO, PPOConfig  # noqa: E402
from seqrl.trainers.reference import Reference  # noqa: E402
from seqrl.trainers.self_critical import SelfCritical, SelfCriticalConfig  # noqa: E402

FAST = OptimiserConfig(learning_rate=0.03, precision="fp32")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pairs as files, and a T5."""
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS * 2))
    (tmp_path / "references.txt").write_text("\n".join(REFERENCES * 2))
    make_model("t5").save_pretrained(tmp_path / "t5")
    make_tokenizer(closes=True).save_pretrained(tmp_path / "t5")
    return tmp_path


def run_of(folder: Path, name: str, *, num_updates: int, trainer: Any, **policy: Any) -> RunConfig:
    data = DataConfig(source="files", path=str(folder), prompts="prompts.txt", references="references.txt", num_dev=4)
    chosen = PolicyConfig(type="pretrained", path=str(folder / "t5"), max_tokens=LENGTH, **policy)
    task = TextConfig(data=data, policy=chosen, prompts_per_batch=4)
    stop = EarlyStop("bleu4", patience=None)
    settings: dict[str, Any] = {"num_threads": 1, "runs_folder": folder, "early_stop": stop, "eval_every": 2, "save_every": 2}
    return RunConfig(name, task=task, trainer=trainer, num_updates=num_updates, **settings)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoint.find(run, prefer_best=False) / checkpoint.WEIGHTS)


@pytest.mark.parametrize(
    "lora", [pytest.param(None, marks=pytest.mark.slow, id="all"), pytest.param(LoraConfig(rank=2, targets=["q", "v"]), id="lora")]
)
def test_a_run_goes_on_to_the_bit_and_its_result_loads_in_plain_transformers(
    lora: LoraConfig | None, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    trainer = SelfCriticalConfig(num_samples=3, optimiser=FAST)
    settings: Any = {"trainer": trainer, "lora": lora}
    train(run_of(folder, "whole", num_updates=4, **settings), display=False)
    train(run_of(folder, "parts", num_updates=2, **settings), display=False)
    assert not any(bar in capfd.readouterr().err for bar in ("Loading weights", "Writing model shards"))
    resume(folder / "parts", ["--num_updates=4"], display=False)
    whole, parts = weights(folder / "whole"), weights(folder / "parts")
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)
    first = load_file(folder / "t5" / "model.safetensors")
    for name, weight in whole.items():
        own = name.removeprefix("model.").replace(".base_layer", "")
        if own in first:
            assert torch.equal(weight, first[own]) == (lora is not None), name
    assert main(["evaluate", str(folder / "parts"), "--split=dev"]) == 0
    _, _, policy, where = load(folder / "parts", prefer_best=False)
    loaded = transformers.AutoModelForSeq2SeqLM.from_pretrained(where / checkpoint.PRETRAINED).eval()
    ours = [action[mask].tolist() for action, mask in zip(*written(policy), strict=True)]
    policy.model = loaded
    assert ours == generated(policy, num_beams=1)
    assert transformers.AutoTokenizer.from_pretrained(where / checkpoint.PRETRAINED).decode([5, 10]) == "red dog"


def written(policy: Any) -> tuple[Any, Any]:
    rows = sample(policy, context_of(policy), greedy=True)
    return rows.action, rows.mask


@pytest.mark.parametrize(
    ("kind", "num_updates"), [("gpt2", 2), *(pytest.param(kind, 12, marks=pytest.mark.slow) for kind in ("gpt2", "bart", "llama"))]
)
def test_lora_learns_by_ppo_beside_one_copy_of_the_model(kind: str, num_updates: int, tmp_path: Path) -> None:
    policy = policy_of(kind, lora=LoraConfig(rank=2), gradient_checkpointing=True)
    assert re.fullmatch(r"LoRA learns [\d,]+ numbers beside [\d,]+", policy.how_it_runs)
    before = {name: weight.clone() for name, weight in policy.named_parameters()}
    task = TextTask(PROMPTS, REFERENCES, lambda replies, references: [float("dog" in reply.split()) for reply in replies], policy=policy)
    settings: Any = {"advantage": "leave_one_out", "num_samples": 8, "epochs": 2, "minibatches": 2}
    settings |= {"kl_coef": 0.01, "kl_in": "loss", "kl_estimator": "k3"}
    trainer = PPOConfig(**settings, optimiser=FAST).build(policy, seed=0, num_updates=num_updates)
    assert isinstance(trainer, PPO) and trainer.reference is not None
    shared = {weight.data_ptr() for weight in policy.parameters() if not weight.requires_grad}
    copied = [weight for weight in trainer.reference.policy.parameters() if weight.data_ptr() not in shared]
    assert sum(map(torch.Tensor.numel, copied)) == sum(weight.numel() for weight in policy.parameters() if weight.requires_grad)
    scores = [trainer.update(trainer.collect(task))["reward/mean"] for _ in range(num_updates)]
    assert num_updates < 12 or sum(scores[-3:]) / 3 > scores[0] + 0.15
    for name, weight in policy.named_parameters():
        assert torch.equal(weight, before[name]) != ("lora_" in name), name
    rows = sample(policy.eval(), context_of(policy), num_samples=2, generator=torch.Generator().manual_seed(0))
    plain = policy_of(kind)
    with torch.no_grad():
        assert torch.allclose(trainer.reference.policy(rows).logp, plain(rows).logp, atol=1e-5)
        assert not torch.allclose(policy(rows).logp, plain(rows).logp, atol=1e-3)
        policy.save_pretrained(tmp_path)
        assert torch.allclose(load_text_policy(tmp_path, max_tokens=LENGTH).eval()(rows).logp, policy(rows).logp, atol=1e-5)


def test_a_reference_keeps_what_is_its_own_and_reads_older_checkpoints() -> None:
    policy = policy_of("t5", freeze_encoder=True)
    reference = Reference(policy, "loss", "k3", 0.1)
    whole = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    assert 0 < len(reference.state_dict()) < len(whole) and not any(".encoder." in name for name in reference.state_dict())
    for state in (reference.state_dict(), whole):
        other = Reference(policy, "loss", "k3", 0.1)
        changed = [weight for name, weight in other.policy.named_parameters() if name in other.state_dict()]
        with torch.no_grad():
            for weight in changed:
                weight.zero_()
        other.load_state_dict(state)
        assert changed and all(torch.equal(tensor, whole[name]) for name, tensor in other.policy.state_dict().items())


@pytest.mark.slow
def test_weights_of_16_bits_learn(folder: Path) -> None:
    for name, settings in {"bf16": {}, "lora": {"lora": LoraConfig(rank=2)}}.items():
        run = run_of(folder, name, num_updates=3, trainer=SelfCriticalConfig(num_samples=3, optimiser=FAST), dtype="bf16", **settings)
        train(run, display=False)
        found = weights(folder / name)
        kinds = {weight.dtype for weight in found.values()}
        assert kinds == ({torch.bfloat16, torch.float32} if settings else {torch.bfloat16})
        assert read_metrics(folder / name)[-1]["step"] == 3


@pytest.mark.slow
def test_the_page_s_script_of_a_pretrained_model_runs(folder: Path) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "text.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[1]
    for shown, there in (
        ("/folder/of/t5", folder / "t5"),
        ("/folder/for/plain/transformers", folder / "plain"),
        ("num_updates=1000", "num_updates=1"),
    ):
        assert shown in code
        code = code.replace(shown, str(there))
    known = {"model": make_model("t5"), "tokenizer": make_tokenizer(closes=True), "prompts": PROMPTS, "references": REFERENCES}
    exec(code, known | {"TextTask": TextTask, "fit": fit, "SelfCritical": SelfCritical})
    assert transformers.AutoModelForSeq2SeqLM.from_pretrained(folder / "plain").config.model_type == "t5"
