"""Compare the words and the speed of `ptb_tokenize` with the Java program's, called as pycocoevalcap calls it.

    python benchmarks/tokeniser.py [--data ../shared/data] [--seeds 0,1,2]

The captions of COCO are those in pycocoevalcap's own files (616,767); the other texts stand in the data folder. The random lines are made
of words, punctuation and characters of all scripts, each read by itself; everything else is read as one file. Speed is captions per
second of CPU time: ours on one thread, Java's with all of its threads, once for COCO's whole file and once for a batch of 80.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import unicodedata
import zipfile
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from provenance import RESULTS, add_arguments, provenance, require_clean, write_results

from seqrl.metrics.tokenize import ptb_tokenize
from seqrl.run.interrupt import run_command

ROOT = Path(__file__).resolve().parent.parent
NUM_RANDOM, BATCH = 20_000, 80
COMMAND = ["edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
# What coco-caption takes out of the Java program's words.
PUNCTUATION = frozenset("'' ' `` ` -LRB- -RRB- -LCB- -RCB- . ? ! , : - -- ... ;".split(" "))
PIECES = """a the dog It's don't o'clock U.S. p.m. Mr. K. St. 5 3.5 1,000 $5 50% 1/2 2-year-old well-known and/or 12th '90s x.com a@b.com
    http://x.com/y #1 @home AT&T C++ 10:30 ma'am dogs' naïve it’s “x” &amp; &lt;b&gt; <br> :) … — - -- ; : , . ! ? ( ) [ ] { } ' " / \\ * _
    مُعَلِّم שָׁלוֹם हिन्दी ภาษา 日本 мир été ½ €""".split()


def package() -> Path:
    spec = importlib.util.find_spec("pycocoevalcap")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("pycocoevalcap is not installed: pip install pycocoevalcap")
    return Path(spec.submodule_search_locations[0])


def texts(data: Path) -> Iterator[tuple[str, list[str]]]:
    with zipfile.ZipFile(package() / "spice" / "spice-1.0.jar") as jar:
        parts = [json.loads(jar.read(f"coco/annotations/captions_{split}2014.json")) for split in ("train", "val")]
    yield "coco", [row["caption"] for part in parts for row in part["annotations"]]
    lines = (data / "flickr8k" / "captions.token.txt").read_text(encoding="utf-8").splitlines()
    yield "flickr8k", [line.split("\t", 1)[1] for line in lines]
    for language in ("en", "de"):
        packed = [data / "multi30k" / f"{split}.{language}.gz" for split in ("train", "val")]
        yield f"multi30k_{language}", [line for path in packed for line in gzip.decompress(path.read_bytes()).decode().split("\n") if line]
    rows = []
    for path in sorted((data / "rnnlg").glob("*/*.json")):
        content = path.read_text(encoding="utf-8")
        rows += [text for row in json.loads(content[content.index("[\n") :]) for text in row]
    yield "rnnlg", rows


def random_lines(seed: int) -> list[str]:
    draw = random.Random(seed)
    letters = [chr(code) for code in range(0x21, 0x3000) if unicodedata.category(chr(code)) not in ("Cc", "Cn", "Zl", "Zp", "Co", "Cs")]
    lines = []
    for _ in range(NUM_RANDOM):
        parts = [draw.choice(PIECES) if draw.random() < 0.9 else draw.choice(letters) for _ in range(draw.randint(2, 8))]
        lines.append("".join(part + ("" if draw.random() < 0.15 else " ") for part in parts).strip() or "a")
    return lines


def java(lines: list[str]) -> tuple[list[list[str]], float]:
    """Give the words of each line and the CPU time of the process, in seconds."""
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        file.write("\n".join(line.replace("\n", " ") for line in lines).encode())
        file.flush()
        command = ["java", "-Dfile.encoding=UTF-8", "-cp", str(package() / "tokenizer" / "stanford-corenlp-3.4.1.jar"), *COMMAND, file.name]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        out = subprocess.run(command, capture_output=True, check=True).stdout.decode()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [" ".join(word for word in line.rstrip().split(" ") if word not in PUNCTUATION).split() for line in out.split("\n")]
    return words[: len(lines)], after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def differing(ours: list[str], theirs: list[str]) -> int:
    changes = SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes()
    return sum(max(b - a, d - c) for kind, a, b, c, d in changes if kind != "equal")


def compare(lines: list[str], theirs: list[list[str]]) -> dict[str, Any]:
    pairs = [(line, words, own) for line, words in zip(lines, theirs, strict=True) if (own := ptb_tokenize(line)) != words]
    total = sum(map(len, theirs))
    wrong = sum(differing(own, words) for _, words, own in pairs)
    return {
        "lines": len(lines),
        "words": total,
        "lines_that_differ": len(pairs),
        "words_that_differ": wrong,
        "agreement": 1 - wrong / total,
    }


def own_time(lines: list[str]) -> float:
    start = time.process_time()
    for line in lines:
        ptb_tokenize(line)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEQRL_DATA", ROOT.parent / "shared" / "data")))
    parser.add_argument("--seeds", default="0,1,2", help="of the random lines; as many timings are taken in turn")
    parser.add_argument("--output", type=Path, default=RESULTS / "tokeniser.json")
    add_arguments(parser)
    args = parser.parse_args()
    if shutil.which("java") is None:
        raise SystemExit("java was not found: this benchmark compares with the Java program; install a Java runtime")
    require_clean(allow_dirty=args.allow_dirty)
    seeds = [int(seed) for seed in args.seeds.split(",")]
    report: dict[str, Any] = {"provenance": provenance(seeds, threads=1), "texts": {}, "random": {}}
    coco: list[str] = []
    for name, lines in texts(args.data):
        coco = coco or lines
        report["texts"][name] = compare(lines, java(lines)[0])
        print(name, report["texts"][name], flush=True)
    for seed in seeds:
        lines = random_lines(seed)
        # a plain line after each, so that none is read together with the next
        report["random"][seed] = compare(lines, java([part for line in lines for part in (line, "x")])[0][::2])
        print("random", seed, report["random"][seed], flush=True)
    ours, whole, batches = [], [], []
    for _ in seeds:
        ours.append(len(coco) / own_time(coco))
        whole.append(len(coco) / java(coco)[1])
        batches.append(BATCH / java(coco[:BATCH])[1])
    report["captions_per_s"] = {
        "ours": statistics.median(ours),
        "java_whole_file": statistics.median(whole),
        f"java_batch_of_{BATCH}": statistics.median(batches),
    }
    print(report["captions_per_s"])
    write_results(args.output, report)
    print(f"written to {args.output}")


if __name__ == "__main__":
    sys.exit(run_command(main, name="tokeniser.py"))
