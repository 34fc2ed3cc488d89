"""What decoding of token policies costs, and what a learning pass over real tokens saves: 16 images, greedy and 5 samples each.

python benchmarks/decoding.py

The transformer of the drawn scenes with its encoder, and one of 3 million parameters on features [16, 49, 256], both with random weights
and an end token that leaves captions of about 11 tokens. In turn and in one process, by CPU time, the least of some rounds:

- unroll: the generic loop, every row with a memory of its own until the last row has ended; samples, then greedy rows
- apart: `sample`, twice
- beside: `sample_beside_greedy`
- padded, packed: forward and backward of the sampled rows, with and without what follows their ends; the latter is what the policy does

Nothing is written.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from seqrl.decoding import repeated, sample, sample_beside_greedy
from seqrl.rollout import unroll
from seqrl.run.interrupt import run_command
from seqrl.sources import TokenSource
from seqrl.tasks.captioning.policies.captioner import CaptionPolicy
from seqrl.tasks.captioning.policies.encoder import ConvolutionalEncoder
from seqrl.tasks.captioning.policies.transformer import TransformerDecoder
from seqrl.trajectory import Trajectory

NUM_IMAGES, NUM_SAMPLES, NUM_WORDS, LENGTH = 16, 5, 97, 11


class Features(nn.Module):
    """Features [N, R, 256] of images, as an encoder would give them."""

    feature_dim = 256

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Give them back, with their mean."""
        return {"regions": features, "pooled": features.mean(dim=1)}


class EndsInTime(nn.Module):
    """Makes words likely that are few, and the end token by as much as it takes for captions of some mean length."""

    def __init__(self, output: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(output.out_features))
        self.shift: Tensor
        self.shift[3 + NUM_WORDS :] = -30
        self.shift[:2] = -30
        self.weight = output.weight

    def forward(self, features: Tensor) -> Tensor:
        """Give logits."""
        return nn.functional.linear(features, self.weight, self.shift)


def make(name: str) -> tuple[Any, dict[str, Tensor]]:
    """Make a policy and what it is shown."""
    torch.manual_seed(0)
    scenes = name == "scenes"
    encoder: Any = ConvolutionalEncoder(64, widths=(32, 64, 128), blocks=(0, 1, 1)) if scenes else Features()
    dim, num_layers, size = (128, 2, 300) if scenes else (256, 2, 3000)
    decoder = TransformerDecoder(
        size, memory_dim=encoder.feature_dim, dim=dim, num_layers=num_layers, num_heads=dim // 32, dropout=0.0, max_tokens=20
    )
    policy: Any = CaptionPolicy(encoder, decoder, max_tokens=20, tie_embeddings=False).eval()
    nn.init.normal_(policy.output.weight, std=0.15)
    policy.output = EndsInTime(policy.output)
    image = torch.randint(0, 256, (NUM_IMAGES, 3, 64, 64), dtype=torch.uint8) if scenes else torch.randn(NUM_IMAGES, 49, 256)
    while float(sample(policy, {"image": image}, num_samples=NUM_SAMPLES).mask.sum(dim=1).float().mean()) > LENGTH:
        policy.output.shift[2] += 0.25
    return policy, {"image": image}


def unrolled(policy: Any, context: Any, *, greedy: bool, generator: torch.Generator) -> Trajectory:
    """Write rows by the generic loop."""
    count = 1 if greedy else NUM_SAMPLES
    source = TokenSource(NUM_IMAGES * count, begin=policy.begin, end=policy.end, max_tokens=policy.max_tokens)
    return unroll(policy, source, max_steps=policy.max_tokens, context=repeated(context, count), greedy=greedy, generator=generator)[0]


def learned(policy: Any, rows: Trajectory, *, packed: bool) -> None:
    """Differentiate what the policy says about rows."""
    policy.zero_grad()
    policy.packs = packed
    policy(rows).logp.sum().backward()
    policy.packs = True


def ways(policy: Any, context: Any, seed: int) -> dict[str, Callable[[], Any]]:
    """Name what is compared."""

    def draw() -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    rows = sample(policy, context, num_samples=NUM_SAMPLES, generator=draw())
    return {
        "unroll": lambda: [unrolled(policy, context, greedy=greedy, generator=draw()) for greedy in (False, True)],
        "apart": lambda: [
            sample(policy, context, num_samples=NUM_SAMPLES, generator=draw()),
            sample(policy, context, greedy=True),
        ],
        "beside": lambda: sample_beside_greedy(policy, context, num_samples=NUM_SAMPLES, generator=draw()),
        "padded": lambda: learned(policy, rows, packed=False),
        "packed": lambda: learned(policy, rows, packed=True),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="of each way, in turn")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in ("scenes", "features"):
        policy, context = make(name)
        seconds: dict[str, list[float]] = {}
        for seed in range(arguments.rounds):
            for way, call in ways(policy, context, seed).items():
                start = time.process_time()
                call()
                seconds.setdefault(way, []).append(time.process_time() - start)
        least = {way: 1000 * min(taken) for way, taken in seconds.items()}
        size = sum(parameter.numel() for parameter in policy.parameters()) / 1e6
        print(f"{name}, {size:.1f} million parameters: " + ", ".join(f"{way} {taken:.1f} ms" for way, taken in least.items()))
        print(f"  unroll : beside {least['unroll'] / least['beside']:.2f}, apart : beside {least['apart'] / least['beside']:.2f}, ", end="")
        print(f"padded : packed {least['padded'] / least['packed']:.2f}")


if __name__ == "__main__":
    sys.exit(run_command(main, name="decoding.py"))
