"""Replies sampled, scored and learned from per second, beside a plain loop: `generate` of transformers, sentence BLEU of nltk or sacrebleu.

    python benchmarks/replies.py [--seeds 0,1,2] [--updates 3]

16 dialogue acts of the built-in data with 6 references each, 5 replies to each act of at most 40 tokens, one thread, fp32. Policies of the
same sizes and the same vocabulary learn for some updates by cross-entropy first, so that replies end as they do in training. The peer is
mBART, whose layers are those of our transformer (normalisation first, learned positions, shared and tied embeddings), from random
weights. It samples with `generate(do_sample=True)` and its cache, scores each reply with nltk's (method 1) or sacrebleu's sentence BLEU,
and learns from each reply's score minus the mean of the other four, by autograd through one forward pass and AdamW. The plain loop takes
one prompt after the other and steps once for all; the batched one takes all of them at once. Ours rewards `sentence_bleu` (sacrebleu's
floor, which is nltk's method 1). Sides take turns in one process, update by update; times are CPU time.
Writes benchmarks/results/replies.json.
"""

from __future__ import annotations

import argparse
import sys
import time
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from competitors import run_benchmark
from provenance import RESULTS, add_arguments, provenance, require_clean, write_results
from torch import Tensor

from seqrl.tasks.writing import reward

PROMPTS, SAMPLES, MAX_TOKENS = 16, 5, 40
# Words, size of the features, layers of encoder and decoder, heads, updates by cross-entropy.
SIZES = {"builtin": (0, 64, 2, 4, 80), "multi30k": (6000, 192, 3, 4, 15)}
PARTS = ("sample", "reward", "learn")


class Ours:
    """A text task with the self-critical trainer."""

    def __init__(self, size: str, seed: int, updates: int) -> None:
        from seqrl import SelfCriticalConfig, SupervisedConfig
        from seqrl.optimiser import OptimiserConfig
        from seqrl.tasks.text import DataConfig, EvaluationConfig, PolicyConfig, RewardConfig, TextConfig, TextTask, load_pairs

        num_words, dim, layers, heads, taught = SIZES[size]
        parts = load_pairs(DataConfig())
        train = parts["train"]
        words = list(
            dict.fromkeys(word for text in [*train.prompts, *(t for texts in train.references for t in texts)] for word in text.split())
        )
        words += [f"word{number}" for number in range(num_words - len(words) - 4)]
        config = TextConfig(
            policy=PolicyConfig(dim=dim, num_layers=layers, num_heads=heads, dropout=0.0, max_tokens=MAX_TOKENS),
            reward=RewardConfig(metrics={"sentence_bleu": 1.0}, settings={"sentence_bleu": {"smoothing": "floor"}}),
            evaluation=EvaluationConfig(),
            prompts_per_batch=PROMPTS,
            references_per_prompt=2,
        )
        torch.manual_seed(seed)
        self.task = TextTask(train.prompts, train.references, dev=parts["dev"], vocabulary=words, config=config, seed=seed)
        self.policy = self.task.build_policy()
        first = SupervisedConfig(optimiser=OptimiserConfig(learning_rate=2e-3, precision="fp32"))
        teacher = first.build(self.policy, seed=seed, num_updates=taught)
        for _ in range(taught):
            teacher.update(teacher.collect(self.task))
        optimiser = OptimiserConfig(learning_rate=1e-5, precision="fp32")
        trainer = SelfCriticalConfig(num_samples=SAMPLES, optimiser=optimiser)
        self.trainer = trainer.build(self.policy, seed=seed, num_updates=updates)

    def update(self) -> dict[str, float]:
        """Take an update; give seconds of each part and tokens written."""
        before, start = self.task.reward.seconds, time.process_time()
        rows = self.trainer.collect(self.task)
        sampled = time.process_time()
        self.trainer.update(rows)
        end = time.process_time()
        reward = self.task.reward.seconds - before
        return {"sample": sampled - start - reward, "reward": reward, "learn": end - sampled, "tokens": float(rows.mask.sum())}


class Peer:
    """A plain loop over mBART, on the prompts, the words and the references of our task."""

    def __init__(self, ours: Ours, size: str, seed: int) -> None:
        from transformers import MBartConfig, MBartForConditionalGeneration

        self.task = ours.task
        _, dim, layers, heads, taught = SIZES[size]
        vocabulary = ours.task.vocabulary
        tokens = {"pad_token_id": vocabulary.pad, "bos_token_id": vocabulary.begin, "eos_token_id": vocabulary.end}
        torch.manual_seed(seed)
        self.model = MBartForConditionalGeneration(
            MBartConfig(
                vocab_size=len(vocabulary),
                d_model=dim,
                encoder_layers=layers,
                decoder_layers=layers,
                encoder_attention_heads=heads,
                decoder_attention_heads=heads,
                encoder_ffn_dim=4 * dim,
                decoder_ffn_dim=4 * dim,
                dropout=0.0,
                max_position_embeddings=64,
                decoder_start_token_id=vocabulary.begin,
                forced_eos_token_id=None,
                **tokens,
            )
        )
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=2e-3)
        self.draws = np.random.default_rng(seed)
        for _ in range(taught):
            self._imitate()
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=1e-5)

    def _imitate(self) -> None:
        rows: Any = self.task.demonstrations()
        prompts = rows.context["image"]
        output = self.model(input_ids=prompts["tokens"], attention_mask=prompts["mask"].long(), decoder_input_ids=rows.obs[:, :-1])
        logp = output.logits.log_softmax(dim=2).gather(2, rows.action.unsqueeze(2)).squeeze(2)
        self._step(-logp[rows.imitate].mean())

    def update(self, score: Callable[[str, list[str]], float], at_once: int) -> dict[str, float]:
        """Take an update, so many prompts at once; give seconds of each part and tokens written."""
        items = torch.from_numpy(self.draws.choice(len(self.task.train), PROMPTS, replace=False))
        parts = [self._part(some, score) for some in items.split(at_once)]
        start = time.process_time()
        self._end_step()
        found = {name: sum(part[name] for part in parts) for name in parts[0]}
        return found | {"learn": found["learn"] + time.process_time() - start}

    def _part(self, items: Tensor, score: Callable[[str, list[str]], float]) -> dict[str, float]:
        """Sample, score and derive for some of the prompts."""
        start = time.process_time()
        prompts = self.task.train.rows(items)
        self.model.eval()
        with torch.no_grad():
            written = self.model.generate(
                input_ids=prompts["tokens"],
                attention_mask=prompts["mask"].long(),
                do_sample=True,
                top_k=0,
                num_return_sequences=SAMPLES,
                max_new_tokens=MAX_TOKENS,
            )
        sampled = time.process_time()
        texts = [" ".join(self.task.vocabulary.decode(row)) for row in written[:, 1:].tolist()]
        references = [list(self.task.train.references[item]) for item in items.tolist()]
        scores = torch.tensor([score(text, references[number // SAMPLES]) for number, text in enumerate(texts)])
        scored = time.process_time()
        counted = self._learn(prompts, written, scores.view(len(items), SAMPLES))
        end = time.process_time()
        return {"sample": sampled - start, "reward": scored - sampled, "learn": end - scored, "tokens": counted}

    def _learn(self, prompts: dict[str, Tensor], written: Tensor, scores: Tensor) -> float:
        self.model.train()
        labels = written[:, 1:]
        ended = (labels == self.task.vocabulary.end).cumsum(dim=1)
        counts = ((ended == 0) | ((ended == 1) & (labels == self.task.vocabulary.end))).float()
        inputs = {"input_ids": prompts["tokens"], "attention_mask": prompts["mask"].long()}
        inputs = {name: leaf.repeat_interleave(SAMPLES, dim=0) for name, leaf in inputs.items()}
        logits = self.model(**inputs, decoder_input_ids=written[:, :-1]).logits
        logp = logits.log_softmax(dim=2).gather(2, labels.unsqueeze(2)).squeeze(2)
        advantage = (scores - (scores.sum(dim=1, keepdim=True) - scores) / (SAMPLES - 1)).flatten()
        loss = -(advantage.unsqueeze(1) * logp * counts).sum() / counts.sum()
        (loss * len(scores) / PROMPTS).backward()
        return float(counts.sum())

    def _step(self, loss: Tensor) -> None:
        loss.backward()
        self._end_step()

    def _end_step(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()


def with_nltk() -> Callable[[str, list[str]], float]:
    """Give nltk's sentence BLEU, smoothed by method 1."""
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    smoothing = SmoothingFunction().method1
    return lambda reply, references: float(
        sentence_bleu([text.split() for text in references], reply.split(), smoothing_function=smoothing)
    )


def with_sacrebleu() -> Callable[[str, list[str]], float]:
    """Give sacrebleu's sentence BLEU of words, smoothed by its floor."""
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU(smooth_method="floor", tokenize="none", effective_order=True)
    return lambda reply, references: float(metric.sentence_score(reply, references).score / 100)


def measure(size: str, seed: int, updates: int) -> dict[str, Any]:
    """Let all sides take turns, one update each that does not count first."""
    peer = Peer(ours := Ours(size, seed, updates + 1), size, seed)
    nltk, sacrebleu = with_nltk(), with_sacrebleu()
    sides: dict[str, Callable[[], dict[str, float]]] = {
        "ours": ours.update,
        "plain_nltk": lambda: peer.update(nltk, 1),
        "batched_nltk": lambda: peer.update(nltk, PROMPTS),
        "batched_sacrebleu": lambda: peer.update(sacrebleu, PROMPTS),
    }
    spent: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for number in range(updates + 1):
        for name, side in sides.items():
            found = side()
            if number:
                spent[name].append(found)
    results: dict[str, Any] = {}
    for name, rows in spent.items():
        seconds = {part: sum(row[part] for row in rows) for part in PARTS}
        total, replies = sum(seconds.values()), PROMPTS * SAMPLES * len(rows)
        parameters = sum(weight.numel() for weight in (ours.policy if name == "ours" else peer.model).parameters())
        results[name] = {
            "replies_per_second": replies / total,
            "shares": {part: spent_s / total for part, spent_s in seconds.items()},
            "ms_an_update": {part: 1000 * spent_s / len(rows) for part, spent_s in seconds.items()},
            "tokens_a_reply": sum(row["tokens"] for row in rows) / replies,
            "parameters": parameters,
        }
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--updates", type=int, default=3, help="of each side, of each size and seed")
    add_arguments(parser)
    given = parser.parse_args()
    require_clean(allow_dirty=given.allow_dirty)
    torch.set_num_threads(1)
    reward.time = types.SimpleNamespace(perf_counter=time.process_time)  # type: ignore[attr-defined]
    seeds = [int(seed) for seed in given.seeds.split(",")]
    sizes: dict[str, dict[str, Any]] = {size: {} for size in SIZES}
    for seed in seeds:
        for size, found in sizes.items():
            found[str(seed)] = measure(size, seed, given.updates)
            rates = {name: side["replies_per_second"] for name, side in found[str(seed)].items()}
            print(
                size,
                seed,
                {name: round(rate) for name, rate in rates.items()},
                f"{100 * found[str(seed)]['ours']['shares']['reward']:.1f}%",
            )
    results = {
        "prompts": PROMPTS,
        "samples": SAMPLES,
        "max_tokens": MAX_TOKENS,
        "updates": given.updates,
        "sizes": sizes,
        "provenance": provenance(seeds, threads=1),
    }
    write_results(RESULTS / "replies.json", results)


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
