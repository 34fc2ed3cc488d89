"""Train every configuration for a few updates at two commits, and say which ones no longer end with the same weights, to the bit.

    python benchmarks/same_weights.py --old COMMIT [NAME ...] [--updates 20]

A change that is meant to leave a configuration alone leaves its weights alone: a checksum of all of them after each update tells.
Both commits train on this machine, one after the other, each in a process of its own, on one thread and in fp32; nothing is
evaluated. The older one is checked out beside this tree and removed again. A configuration that only one of them has is named.
What a commit gave is kept in `runs/same_weights`, so that a second comparison with it costs half.

The photographs of Flickr8k are the first 600, replays start early, and `coco_self_critical_hf` trains the small model that the tests make.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from competitors import checked_out, run_benchmark
from provenance import RESULTS, ROOT, add_arguments, provenance, require_clean, write_results

KEPT = ROOT / "runs" / "same_weights"
SMALLER = {
    "flickr8k_xe": ["--task.data.max_images=600"],
    "flickr8k_self_critical": ["--task.data.max_images=600"],
    "pong_dqn": ["--trainer.learning_starts=100", "--trainer.buffer_size=2000"],
}
EARLY = ["--trainer.learning_starts=256"]  # a replay that starts late would learn nothing in a few updates

# Runs in either tree, so it uses only what both have: reading a configuration, building, collecting and updating.
CHILD = """
import hashlib, json, sys, time
from pathlib import Path
import torch
from seqrl.run.config import read_config
from seqrl.run.train import build, start_from

def sums_of(path, overrides, updates):
    config = read_config(path, overrides)
    task, policy = build(config)
    if config.init_from is not None:
        start_from(config.init_from, policy, {})
    length = config.num_updates if hasattr(config, "num_updates") else config.steps  # as it was called before
    trainer = config.trainer.build(policy, seed=config.seed, num_updates=length)
    sums = []
    for _ in range(updates):
        trainer.update(trainer.collect(task))
        digest = hashlib.sha256()
        for name, tensor in sorted(policy.state_dict().items()):
            digest.update(name.encode() + tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        values = getattr(policy, "values", None)
        if isinstance(values, torch.Tensor):
            digest.update(values.numpy().tobytes())
        sums.append(digest.hexdigest()[:16])
    return sums

job = json.loads(sys.stdin.read())
for name, (path, overrides) in job["configs"].items():
    start = time.process_time()
    try:
        answer = {"sums": sums_of(Path(path), overrides, job["updates"])}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"[:300]}
    print("\\n@" + json.dumps({"name": name, "seconds": round(time.process_time() - start, 1), **answer}), flush=True)
"""


def overrides_of(path: Path, model: Path) -> list[str]:
    """Give what is changed of a configuration, so that it can be trained here."""
    text = path.read_text(encoding="utf-8")
    given = ["--num_threads=1", *SMALLER.get(path.stem, [])]
    if "type: dqn" in text and path.stem not in SMALLER:
        given += EARLY
    if "init_from: runs/" in text:
        given += ["--init_from=null"]  # a run that is not here
    if "type: pretrained" in text:
        data = Path(os.environ.get("SEQRL_DATA", ROOT.parent / "shared" / "data"))
        given += [f"--task.policy.path={model}", f"--task.data.tokenizer={model}", f"--task.data.path={data / 'coco_mini'}"]
        given += ["--task.data.num_test=0", "--task.data.image_size=32", "--task.data.max_images=0", "--task.data.skip_broken_images=true"]
    return given


def sums_at(tree: Path, commit: str, names: Sequence[str], updates: int, model: Path, *, keep: bool) -> dict[str, Any]:
    """Train each configuration of a tree; give its sums after each update, or the error that ended it."""
    kept = KEPT / f"{commit}_{updates}.json"
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if keep and kept.is_file() else {}
    paths = {path.stem: path for path in sorted((tree / "configs").rglob("*.yaml")) if not names or path.stem in names}
    missing = {name: (str(path), overrides_of(path, model)) for name, path in paths.items() if "sums" not in found.get(name, {})}
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", CHILD]
    with subprocess.Popen(command, cwd=tree, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(json.dumps({"configs": missing, "updates": updates}))
        child.stdin.close()
        for line in child.stdout:
            if line.startswith("@"):
                answer = json.loads(line[1:])
                found[answer.pop("name")] = answer
                if keep:
                    write_results(kept, found)
    return {name: found[name] for name in paths if name in found}


def verdict(old: dict[str, Any] | None, new: dict[str, Any] | None) -> str:
    """Say in a few words how two trainings of one configuration compare."""
    if old is None or new is None:
        return "only new" if old is None else "only old"
    if "error" in old or "error" in new:
        return f"error: {old.get('error', 'none before')} / {new.get('error', 'none now')}"
    differing = [update for update, pair in enumerate(zip(old["sums"], new["sums"], strict=True), 1) if pair[0] != pair[1]]
    return f"differs from update {differing[0]}" if differing else "equal"


def main() -> None:
    """Compare two commits.

    Raises:
        SystemExit: with code 1 when a configuration could not be compared.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of configurations; all by default")
    parser.add_argument("--old", required=True, metavar="COMMIT")
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--output", type=Path, default=RESULTS / "same_weights.json")
    add_arguments(parser)
    known = parser.parse_args()
    require_clean(allow_dirty=known.allow_dirty)
    here = provenance([0])
    with tempfile.TemporaryDirectory() as temporary, checked_out(known.old) as (old, tree):
        model = Path(temporary) / "model"
        sys.path.insert(0, str(ROOT / "tests"))
        from test_configs import save_tiny_model

        save_tiny_model(model)
        before = sums_at(tree, old, known.names, known.updates, model, keep=True)
        after = sums_at(ROOT, here["commit"], known.names, known.updates, model, keep=bool(here["clean"]))
    verdicts = {name: verdict(before.get(name), after.get(name)) for name in sorted({*before, *after})}
    for name, said in verdicts.items():
        print(f"{name:32} {said}")
    if not known.names:
        write_results(known.output, {"old": old, "updates": known.updates, "configs": verdicts, "provenance": here})
    if any(said.startswith("error") for said in verdicts.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
