"""Measure what a reader meets, at two commits: files and functions of one PPO step, hops, concepts, sizes, unused fields, lines.

    python benchmarks/code_measures.py --old COMMIT

- PPO step: files and functions of the project that `update` enters for `cartpole_ppo`, after a first update; and with `collect`.
- hops: calls of the project's functions, one within the other, from `Trainer.update` of `scenes_self_critical` to the optimiser's `step`.
- concepts of a first task, in CONTRIBUTING's recipe: names imported from seqrl, keywords given to them, methods that the task has to
  have and their keyword arguments, fields of a trajectory.
- largest file, in lines.
- fields of configurations; those that no configuration, benchmark or page names.
- lines of code in seqrl/, tasks/ and metrics/: those with a token that belongs to no comment and no docstring.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import os
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from competitors import ROOT, checked_out, run_benchmark
from provenance import RESULTS, add_arguments, provenance, require_clean, write_results

# Runs in either tree, so it uses only what both have. Entry points are read from the tree, not from what is installed.
CHILD = """
import dataclasses, importlib, json, re, sys, threading, tomllib, typing
from pathlib import Path
import torch
from seqrl.run.config import RunConfig, read_config
from seqrl.run.train import build

torch.set_num_threads(1)
root = Path.cwd()

def start(name, changes):
    (path,) = Path("configs").rglob(name + ".yaml")
    config = read_config(path, ["--trainer.optimiser.precision=fp32", *changes])
    task, policy = build(config)
    return task, config.trainer.build(policy, seed=0, num_updates=100)

def watch(call):
    entered, stack, deepest = set(), [], [0]
    def profile(frame, event, argument):
        code = frame.f_code
        ours = code.co_filename.startswith(str(root))
        if event == "call" and ours and not code.co_name.startswith("<"):
            entered.add((code.co_filename, code.co_qualname, code.co_firstlineno))
        if event == "call" and code.co_name == "step" and ("adam" in code.co_filename or "optim" in code.co_filename):
            hops, each = 0, frame
            while each is not None:
                hops += each.f_code.co_filename.startswith(str(root)) and not each.f_code.co_name.startswith("<")
                each = each.f_back
            deepest[0] = max(deepest[0], hops)
    sys.setprofile(profile)
    try:
        result = call()
    finally:
        sys.setprofile(None)
    return result, entered, deepest[0]

task, trainer = start("cartpole_ppo", [])
trainer.update(trainer.collect(task))
rows, collected, _ = watch(lambda: trainer.collect(task))
_, updated, _ = watch(lambda: trainer.update(rows))
small = ["--task.images_per_batch=4", *(f"--task.data.scenes.{name}=24" for name in ("num_train", "num_dev", "num_test"))]
task, trainer = start("scenes_self_critical", small)
trainer.update(trainer.collect(task))
rows = trainer.collect(task)
_, _, hops = watch(lambda: trainer.update(rows))

found = set()
def walk(hint):
    if dataclasses.is_dataclass(hint) and hint not in found:
        found.add(hint)
        for each in typing.get_type_hints(hint).values():
            walk(each)
    for each in typing.get_args(hint):
        walk(each)

walk(RunConfig)
points = tomllib.loads(Path("pyproject.toml").read_text())["project"]["entry-points"]
for group in ("seqrl.tasks", "seqrl.trainers"):
    for value in points[group].values():
        module, _, name = value.partition(":")
        walk(getattr(importlib.import_module(module), name))
fields = {field.name for config in found for field in dataclasses.fields(config)}
patterns = ("configs/**/*.yaml", "benchmarks/*.py", "benchmarks/*.sh", "docs/**/*.md", "README.md", "CONTRIBUTING.md")
shown = {word for pattern in patterns for path in root.glob(pattern) for word in re.findall(r"\\w+", path.read_text())}
print("@" + json.dumps({
    "ppo_update_files": len({file for file, _, _ in updated}), "ppo_update_functions": len(updated),
    "ppo_step_files": len({file for file, _, _ in updated | collected}), "ppo_step_functions": len(updated | collected),
    "caption_hops": hops, "fields": len(fields), "fields_not_shown": len(fields - shown),
}))
"""


def run_in(tree: Path) -> dict[str, int]:
    """Train a little with the code of a tree and count what is entered.

    Raises:
        RuntimeError: with what the process said when it failed.
    """
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", CHILD], cwd=tree, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{tree.name} failed:\n{done.stderr[-2000:]}")
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1].removeprefix("@"))
    return found


def python_files(tree: Path) -> Iterator[Path]:
    """Give the files of the packages; the symbolic links in `seqrl/` are not followed."""
    for package in ("seqrl", "tasks", "metrics"):
        for folder, _, names in os.walk(tree / package):
            yield from (Path(folder) / name for name in names if name.endswith(".py"))


def code_lines(text: str) -> int:
    """Count the lines that hold code; a docstring is none."""
    documented = set[int]()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node) is not None:
            documented.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    tokens = (token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type not in skipped)
    return len({line for token in tokens for line in range(token.start[0], token.end[0] + 1)} - documented)


def concepts_of_a_task(tree: Path) -> set[str]:
    """Name what CONTRIBUTING's recipe of a task uses of the project."""
    recipe = (tree / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Recipe: a task")[1]
    module = ast.parse(recipe.split("```python", 1)[1].split("\n", 1)[1].split("```", 1)[0])
    (trajectory,) = (
        node
        for node in ast.parse((tree / "seqrl" / "trajectory.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name == "Trajectory"
    )
    fields = {node.target.id for node in trajectory.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}
    fields |= {node.name for node in trajectory.body if isinstance(node, ast.FunctionDef)}
    imported = {
        alias.name
        for node in ast.walk(module)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("seqrl")
        for alias in node.names
    }
    used = set(imported)
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in imported:
            used |= {keyword.arg for keyword in node.keywords if keyword.arg}
        elif isinstance(node, ast.Attribute) and node.attr in fields:
            used.add(node.attr)
        elif isinstance(node, ast.ClassDef) and not node.bases:  # a module is PyTorch's
            for method in (each for each in node.body if isinstance(each, ast.FunctionDef)):
                used |= {method.name, *(argument.arg for argument in method.args.kwonlyargs)}
    return used


def measure(tree: Path) -> dict[str, Any]:
    """Give all measures of a tree."""
    texts = {path.relative_to(tree).as_posix(): path.read_text(encoding="utf-8") for path in python_files(tree)}
    largest = max(texts, key=lambda name: texts[name].count("\n"))
    sizes = {"largest_file": f"{largest}, {texts[largest].count(chr(10))}", "code_lines": sum(map(code_lines, texts.values()))}
    return run_in(tree) | {"task_concepts": len(concepts_of_a_task(tree))} | sizes


def main() -> None:
    """Measure both commits, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", required=True, metavar="COMMIT")
    parser.add_argument("--output", type=Path, default=RESULTS / "code_measures.json")
    add_arguments(parser)
    args = parser.parse_args()
    require_clean(allow_dirty=args.allow_dirty)
    with checked_out(args.old) as (commit, tree):
        before = measure(tree)
    after = measure(ROOT)
    for name, value in before.items():
        print(f"{name:22s} {value!s:>40} {after[name]!s:>40}")
    lines = after["code_lines"] / before["code_lines"] - 1
    print(f"lines of code: {lines:+.1%}")
    write_results(args.output, {"old": commit, "before": before, "after": after, "provenance": provenance([0], threads=1)})


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
