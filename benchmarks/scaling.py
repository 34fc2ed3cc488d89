"""What an update costs in time and memory: against batch, samples, length, size of the model, and one process or two.

python benchmarks/scaling.py

A captioner of the built-in scenes with random weights, which writes to its longest length, takes self-critical steps. Each point is a
process of its own (or two at a time), on one thread each, in fp32. Times are medians over updates: CPU time where one process is
asked about its work, wall-clock where two wait for each other. Writes benchmarks/results/scaling.json, with a formula fitted to the points.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from provenance import RESULTS, ROOT, add_arguments, provenance, require_clean, write_results

from seqrl.run.interrupt import run_command

BASE = {"images": 16, "samples": 5, "tokens": 20, "dim": 128, "layers": 2}
AXES: dict[str, list[int]] = {"images": [8, 32], "samples": [2, 10], "tokens": [10, 40], "dim": [64, 256], "layers": [4]}
# Few rows, so that weights are most of the memory.
LARGE = {"images": 2, "samples": 2, "tokens": 10, "dim": 640, "layers": 4}
WARM_UP = 2
MEGABYTE = 2**20


def resident_mb(field: str) -> float:
    """Read the memory of this process in MiB: "VmRSS" now, "VmHWM" at its highest."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def cell(settings: dict[str, Any]) -> dict[str, Any] | None:
    """Measure one point in this process; None in all processes but the first."""
    import torch

    torch.set_num_threads(1)
    from seqrl import SelfCriticalConfig
    from seqrl.distributed import gather, mean
    from seqrl.optimiser import OptimiserConfig
    from seqrl.sharding import shard, whole
    from seqrl.tasks.captioning import CaptioningConfig
    from seqrl.tasks.captioning.data_config import DataConfig
    from seqrl.tasks.captioning.policies import PolicyConfig
    from seqrl.tasks.captioning.scenes import ScenesConfig

    rank = int(os.environ.get("RANK", 0))
    policy_config = PolicyConfig(
        type="transformer", encoder="scenes", dim=settings["dim"], num_layers=settings["layers"], max_tokens=settings["tokens"], dropout=0.0
    )
    data = DataConfig(source="scenes", image_size=64, scenes=ScenesConfig(num_train=96, num_dev=4, num_test=4))
    task = CaptioningConfig(data=data, policy=policy_config, images_per_batch=settings["images"]).build(rank)
    torch.manual_seed(0)
    import torch.distributed.fsdp  # which takes memory that has nothing to do with weights

    before_mb = resident_mb("VmRSS")
    policy = task.build_policy()
    optimiser = OptimiserConfig(precision="fp32", sharding=settings.get("sharding", "none"))
    trainer = SelfCriticalConfig(num_samples=settings["samples"], optimiser=optimiser).build(policy, seed=0, num_updates=100)
    shard(trainer)
    parameters = sum(parameter.numel() for parameter in policy.parameters())
    here = sum(getattr(parameter, "_local_tensor", parameter).numel() for parameter in policy.parameters())
    wall, processor, lengths = [], [], []
    for update in range(WARM_UP + settings["updates"]):
        start = time.perf_counter(), time.process_time()
        rows = trainer.collect(task)
        trainer.update(rows)
        if update >= WARM_UP:
            wall.append(time.perf_counter() - start[0])
            processor.append(time.process_time() - start[1])
            lengths.append(float(rows.mask.sum(dim=1).float().mean()))
    numbers = torch.tensor([resident_mb("VmHWM") - before_mb, resident_mb("VmRSS") - before_mb], dtype=torch.float64)
    peak, at_rest = torch.stack(gather(numbers)).max(dim=0).values.tolist()
    exchange = []
    if settings.get("processes", 1) > 1:  # what two processes tell each other in an update, by itself
        with whole(policy):
            for _ in range(5):
                start = time.perf_counter(), 0.0
                for parameter in policy.parameters():
                    mean(torch.zeros_like(parameter))
                exchange.append(time.perf_counter() - start[0])
        torch.distributed.destroy_process_group()
    if rank:
        return None
    return {
        "parameters": parameters,
        "parameters_here": here,
        "tensors": sum(1 for _ in policy.parameters()),
        "wall_ms": 1000 * float(np.median(wall)),
        "processor_ms": 1000 * float(np.median(processor)),
        "exchange_ms": 1000 * float(np.median(exchange)) if exchange else 0.0,
        "length": float(np.mean(lengths)),
        "peak_mb": peak,
        "at_rest_mb": at_rest,
    }


def measure(settings: dict[str, Any]) -> dict[str, Any]:
    """Measure one point in processes of its own."""
    number = settings.get("processes", 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, __file__, "--cell", json.dumps(settings)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "MALLOC_ARENA_MAX": "1"}
    environment["MALLOC_MMAP_THRESHOLD_"] = str(MEGABYTE)  # else glibc keeps much of what was freed
    if number > 1:
        environment |= {"WORLD_SIZE": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} if number > 1 else {} for rank in range(number)]
    processes = [subprocess.Popen(command, env=environment | rank, stdout=subprocess.PIPE, text=True) for rank in ranks]
    said = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise RuntimeError(f"a point failed: {settings}")
    found = settings | json.loads(said[0].splitlines()[-1])
    rows = number * found["images"] * found["samples"]
    found["rows_per_s"] = 1000 * rows / found["wall_ms"]
    shown = " ".join(f"{name} {value}" for name, value in settings.items())
    print(f"{shown}: {found['wall_ms']:.1f} ms ({found['processor_ms']:.1f} of the processor), peak {found['peak_mb']:.0f} MiB", flush=True)
    return found


def features(point: dict[str, Any]) -> list[float]:
    """Give what the time of an update is a sum of: once, each image, each token, and each token and parameter."""
    tokens = point["images"] * point["samples"] * point["length"]
    return [1.0, point["images"], tokens, tokens * point["parameters"] / 1e6]


def fitted(points: list[dict[str, Any]]) -> dict[str, Any]:
    """Fit the milliseconds of an update on one process, by relative errors, with no negative part.

    t = once + image * images + rows * tokens * (token + million * parameters / 1e6)
    """
    names = ["once", "image", "token", "million"]
    measured = np.array([point["processor_ms"] for point in points])
    matrix = np.array([features(point) for point in points]) / measured[:, None]
    kept = list(range(len(names)))
    while True:
        found = np.linalg.lstsq(matrix[:, kept], np.ones(len(points)), rcond=None)[0]
        if (found >= 0).all():
            break
        kept.remove(kept[int(found.argmin())])
    values = dict.fromkeys(names, 0.0) | {names[index]: float(value) for index, value in zip(kept, found, strict=True)}
    errors = np.abs(matrix[:, kept] @ found - 1)
    return {"ms": values, "largest_error": float(errors.max()), "mean_error": float(errors.mean())}


def beyond(point: dict[str, Any], numbers: list[int]) -> list[dict[str, Any]]:
    """Model more processes, each with a batch of its own: an exchange takes 2 (n - 1) / n of its bytes over the connection.

    Args:
        point: measured with two processes.
        numbers: of processes.
    """
    alone_ms = point["wall_ms"] - point["exchange_ms"]
    rows = []
    for number in numbers:
        exchange_ms = point["exchange_ms"] * 2 * (number - 1) / number  # which is what two took, times 1
        rows.append(
            {
                "processes": number,
                "rows_per_s": 1000 * number * point["images"] * point["samples"] / (alone_ms + exchange_ms),
                "efficiency": alone_ms / (alone_ms + exchange_ms),
            }
        )
    return rows


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=12, help="that are timed at each point")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    add_arguments(parser)
    arguments = parser.parse_args()
    if arguments.cell:
        found = cell(json.loads(arguments.cell))
        if found is not None:
            print(json.dumps(found))
        return
    require_clean(allow_dirty=arguments.allow_dirty)
    updates = {"updates": arguments.updates}
    one = [measure({**BASE, **updates, "axis": "base"})]
    one += [measure({**BASE, axis: value, **updates, "axis": axis}) for axis, values in AXES.items() for value in values]
    several = []
    for name, size in (("base", BASE), ("large", LARGE)):
        for processes, sharding in ((1, "none"), (2, "none"), (2, "full")):
            several.append(measure({**size, **updates, "size": name, "processes": processes, "sharding": sharding}))
    pair = next(point for point in several if point["size"] == "base" and point["processes"] == 2 and point["sharding"] == "none")
    results = {"one": one, "several": several, "fit": fitted(one), "modelled": beyond(pair, [2, 4, 8, 16])}
    print(json.dumps(results["fit"], indent=1))
    write_results(RESULTS / "scaling.json", {"provenance": provenance([0], threads=1), **results})


if __name__ == "__main__":
    sys.exit(run_command(main, name="scaling.py"))
