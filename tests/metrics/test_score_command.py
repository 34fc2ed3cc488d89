from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sacrebleu
from corpora import as_text, random_corpus
from sacrebleu.significance import PairedTest

from seqrl.metrics import by_name, score_command
from seqrl.metrics.score_command import add_arguments, read_pairs, run

DATA = Path(os.environ.get("SEQRL_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))
HYPOTHESES = ["A dog runs.", "two cats sleep"]
LINES = [{"image_id": index, "caption": text} for index, text in enumerate(HYPOTHESES)]
REFERENCES = [["a dog runs fast", "The dog is running."], ["two cats", "cats sleep"]]


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def command(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args(list(map(str, arguments))))


def corpus_scores(text: str) -> dict[str, float]:
    return {row[1]: float(row[2]) for row in re.finditer(r"^  (\w+) +(-?\d+\.\d{4})", text, re.MULTILINE)}


def test_all_forms_read_the_same(tmp_path: Path) -> None:
    forms = [
        ("h.txt", "\n".join(HYPOTHESES) + "\n", "r.txt", "\n".join("\t".join(row) for row in REFERENCES)),
        ("h.json", HYPOTHESES, "r.json", REFERENCES),
        ("h.json", dict(zip("ab", HYPOTHESES, strict=True)), "r.json", {"b": REFERENCES[1], "a": REFERENCES[0]}),
        (
            "h.json",
            [{"image_id": index, "caption": text} for index, text in enumerate(HYPOTHESES)],
            "r.json",
            {"images": [], "annotations": [{"image_id": index, "caption": text} for index in (1, 0) for text in REFERENCES[index]]},
        ),
        ("h.jsonl", lines(LINES), "r.jsonl", lines([{"image_id": i, "captions": REFERENCES[i]} for i in (1, 0)])),
        ("h.txt", lines(LINES), "r.json", lines([{"id": str(i), "caption": text} for i in (0, 1) for text in REFERENCES[i]])),
        ("h.jsonl", lines(HYPOTHESES), "r.jsonl", lines(REFERENCES)),
        ("h.txt", json.dumps(HYPOTHESES, indent=1), "r.txt", lines(REFERENCES)),
        (
            "h.csv",
            "image,caption\na,A dog runs.\nb,two cats sleep\n",
            "r.txt",
            "b#0\ttwo cats\na#0\ta dog runs fast\nb#1\tcats sleep\na#1\tThe dog is running.",
        ),
        (
            "h.txt",
            "a\tA dog runs.\nb\ttwo cats sleep\n",
            "captions.txt",
            'image,caption\na,a dog runs fast\nb,two cats\na,"The dog is running."\nb,cats sleep\n',
        ),
        ("h.en", "\n".join(HYPOTHESES), "r0", "\n".join("\t".join(row) for row in REFERENCES)),
    ]
    for hypothesis_name, hypotheses, reference_name, references in forms:
        read = read_pairs(write(tmp_path / hypothesis_name, hypotheses), write(tmp_path / reference_name, references))
        assert (read.hypotheses, read.references) == (HYPOTHESES, REFERENCES)


@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        (["a"], [["a"], ["b"]], "h.json has 1 items, .*r.json 2"),
        ({"a": "x"}, {"b": ["x"]}, "no references for 'a'"),
        (["a", "b"], [["a"], []], "item 2 has no reference, or an empty one"),
        (["a"], ["a"], "item 1: expected a list of texts, got str"),
        ([1], [["a"]], "item 1: expected text, got int 1"),
        ([], [], "holds no hypothesis"),
        ("{", [["a"]], "h.json, line 1, character 2: expected JSON"),
        (3, [["a"]], "expected a list or a mapping, got int"),
        ([{"image_id": 1, "caption": "a"}] * 2, [["a"]], "got '1' twice: in .*h.json, entry 1, and again in .*h.json, entry 2"),
        ([{"image_id": 1}], [["a"]], "entry 1: lacks image_id or caption"),
        ({"a": ["x", "y"]}, {"a": ["x"]}, "item 'a' has 2 hypotheses"),
        ('{"a": "x",\n"b": "y",\n"a": "z"}', {"a": ["x"]}, "h.json: the key 'a' stands in line 1 and again in line 3"),
        (["a"], {"a": ["x"]}, "h.json: has no ids, the other file has"),
    ],
)
def test_bad_input_is_named(tmp_path: Path, hypotheses: Any, references: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_pairs(write(tmp_path / "h.json", hypotheses), write(tmp_path / "r.json", references))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_pairs(tmp_path / "absent.txt", tmp_path / "absent.txt")


def test_published_corpus_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = DATA / "coco_metrics" / "captions_1000.json"
    if not source.is_file():
        pytest.skip(f"needs {source}")
    items = json.loads(source.read_text(encoding="utf-8"))
    files = [write(tmp_path / "h.json", [item["test"] for item in items]), write(tmp_path / "r.json", [item["refs"] for item in items])]
    assert command(*files, "--json", tmp_path / "out.json") == 0
    shown = corpus_scores(capsys.readouterr().out)
    published = {"cider_d": 0.600, "bleu1": 0.579, "bleu2": 0.404, "bleu3": 0.279, "bleu4": 0.191}
    assert {name: round(shown[name], 3) for name in published} == published
    written = json.loads((tmp_path / "out.json").read_text())
    assert len(written["scores"]["cider_d"]) == 1000
    assert sum(written["scores"]["cider_d"]) / 1000 == pytest.approx(written["corpus"]["cider_d"])


def test_sacrebleu_gets_the_text_as_it_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hypotheses = write(tmp_path / "h.txt", "The Dog's owner isn't here, is he?\nTwo men ride a bike.\n")
    references = write(tmp_path / "r.txt", "The dog's owner is not here.\nTwo Men ride a red bike!\n")
    assert command(hypotheses, references, "--metrics", "sacrebleu,bleu1", "--json", tmp_path / "out.json") == 0
    # sacrebleu's own command gives 8.48; of coco-caption's 14 words 11 are right, counted by hand
    assert corpus_scores(capsys.readouterr().out) == {"sacrebleu": 8.4836, "bleu1": pytest.approx(11 / 14, abs=1e-4)}
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["ids"] == ["1", "2"] and len(written["scores"]["sacrebleu"]) == 2


def test_items_without_a_hypothesis(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    references = write(tmp_path / "r.json", {"annotations": [{"image_id": n, "caption": "a dog runs"} for n in range(4)]})
    hypotheses = write(tmp_path / "h.json", [{"image_id": n, "caption": "a dog runs"} for n in range(2)])
    with pytest.raises(ValueError, match=r"2 of 4 items in .*r\.json have no hypothesis: '2', '3'; .*--missing empty"):
        command(hypotheses, references)
    assert command(hypotheses, references, "--metrics", "rouge_l,bleu1", "--missing", "empty") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("4 hypotheses, 4 references\n2 of 4 items have no hypothesis and count as empty\n")
    # half of the scores are 0; the corpus score of BLEU is shortened by exp(1 - 12 / 6)
    assert corpus_scores(shown) == {"rouge_l": 0.5, "bleu1": pytest.approx(2.718281828**-1, abs=1e-4)}
    assert command(hypotheses, references, "--metrics", "rouge_l", "--missing", "leave_out") == 0
    shown = capsys.readouterr().out
    assert "2 of 4 items have no hypothesis and are left out" in shown and corpus_scores(shown) == {"rouge_l": 1.0}


def test_json_lines_are_not_scored_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for ending in ("jsonl", "txt", "json"):
        hypotheses = write(tmp_path / f"h.{ending}", '{"image_id": 1, "caption": "dog"}\n')
        references = write(tmp_path / f"r.{ending}", '{"image_id": 1, "caption": "boat"}\n')
        assert command(hypotheses, references, "--metrics", "bleu1") == 0
        assert corpus_scores(capsys.readouterr().out) == {"bleu1": 0.0}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("h.yaml", "a: dog", r"h\.yaml: expected text .*JSON lines .*got a file ending in '\.yaml'"),
        ("h.xml", "<a/>", "h.xml: expected text"),
        ("h.txt", "<?xml version='1.0'?><a/>", "h.txt: expected text"),
        ("h.jsonl", '{"id": 1, "caption": "a"}\n{"id": 2,', "h.jsonl, line 2: expected a JSON object"),
        ("h.jsonl", '{"id": 1, "caption": "a"}\n\n{"id": "1", "caption": "b"}\n', "got '1' twice: in .*line 1, and again in .*line 3"),
        ("h.txt", '[{"image_id": 1,\n "caption": "a"},', "h.txt, line 2, character 18: expected JSON"),
        ("h", '{"id": 1, "caption": "a"}\n{"id": 2,\n', "h, line 2: expected a JSON object"),
        ("h.csv", "image,caption\na,x\na,y\n", "got 'a' twice: in .*h.csv, line 2, and again in .*h.csv, line 3"),
        ("h.csv", "image,caption\na,x, y\n", "h.csv, line 2: expected 2 cells .*got 3; put quotes"),
        ("h.csv", "picture,caption\na,x\n", "h.csv: expected a column among image_id"),
        ("h.txt", "a\tx\na\ty\n", "got 'a' twice: in .*h.txt, line 1, and again in .*h.txt, line 2"),
        ("h.txt", "a dog\na\tcat\n", "h.txt, line 1: expected one text a line"),
        ("h.txt", "a#0\tx\na#1\ty\n", "got 'a' twice"),
        ("h.jsonl", '{"id": 7, "caption": "x"}\n', "r.json: no references for '7'.*1 of 1"),
    ],
)
def test_hypotheses_that_are_not_understood(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_pairs(write(tmp_path / name, content), write(tmp_path / "r.json", {"1": ["a"], "a": ["a"]}))


def test_references_are_given_once(tmp_path: Path) -> None:
    twice = lines([{"id": 1, "captions": ["a"]}, {"id": 1, "captions": ["b"]}])
    with pytest.raises(ValueError, match="got '1' twice: in .*line 1, and again in .*line 2"):
        read_pairs(write(tmp_path / "h.json", {"1": "a"}), write(tmp_path / "r.jsonl", twice))


def test_a_reference_without_words_is_named(tmp_path: Path) -> None:
    files = write(tmp_path / "h.json", ["a", "b"]), write(tmp_path / "r.json", [["a"], ["."]])
    with pytest.raises(ValueError, match=r"r\.json: item 2 has no reference, or an empty one"):
        command(*files)
    assert command(*files, "--metrics", "sacrebleu") == 0  # which scores punctuation


def test_text_without_spaces_is_told_and_scored_by_characters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = write(tmp_path / "h.txt", "一只狗在跑。\n两只猫\n"), write(tmp_path / "r.txt", "一只黑狗在跑。\n两只猫睡\n")
    assert command(*files, "--metrics", "bleu1,rouge_l") == 0
    captured = capsys.readouterr()
    assert "no spaces between words, as in '一只狗在跑。'" in captured.err and "--tokens characters" in captured.err
    assert corpus_scores(captured.out)["rouge_l"] < 0.3  # all that matches is the full stop
    assert command(*files, "--metrics", "bleu1,bleu2,sacrebleu", "--tokens", "characters") == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    # By hand: 8 characters of 8 are right, 5 of 6 pairs; the references have 10 characters, so the penalty is exp(1 - 10 / 8).
    penalty = 2.718281828 ** (1 - 10 / 8)
    expected = {"bleu1": penalty, "bleu2": penalty * (5 / 6) ** 0.5}
    own = sacrebleu.corpus_bleu(["一只狗在跑。", "两只猫"], [["一只黑狗在跑。", "两只猫睡"]], tokenize="char").score
    assert corpus_scores(captured.out) == {name: pytest.approx(value, abs=1e-4) for name, value in (expected | {"sacrebleu": own}).items()}


def test_characters_agree_with_sacrebleu_where_there_is_no_punctuation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hypotheses, references = ["一只棕色的狗在草地上奔跑", "两个男人骑着自行车"], ["一只狗在绿色的草地上奔跑", "两个男人正骑着红色的自行车"]
    files = write(tmp_path / "h.txt", "\n".join(hypotheses)), write(tmp_path / "r.txt", "\n".join(references))
    assert command(*files, "--metrics", "bleu4", "--tokens", "characters") == 0
    own = {sacrebleu.corpus_bleu(hypotheses, [references], tokenize=name).score for name in ("char", "zh")}
    assert len(own) == 1
    assert corpus_scores(capsys.readouterr().out)["bleu4"] == pytest.approx(own.pop() / 100, abs=1e-4)


def some_files(tmp_path: Path) -> tuple[Path, Path, Path]:
    hypotheses, references = random_corpus(0, num_items=30)
    other = [row[:-1] + [3] for row in hypotheses]
    return (
        write(tmp_path / "h.json", dict(zip(map(str, range(30)), as_text(hypotheses), strict=True))),
        write(tmp_path / "r.json", dict(zip(map(str, range(30)), [as_text(rows) for rows in references], strict=True))),
        write(tmp_path / "other.json", dict(zip(map(str, range(29, -1, -1)), as_text(other)[::-1], strict=True))),
    )


def test_names_of_metrics() -> None:
    assert score_command.names_of(" bleu4, rouge_l,") == ("bleu4", "rouge_l")
    assert score_command.names_of("all") == score_command.names_of("bleu4,all") == score_command.METRICS
    with pytest.raises(ValueError, match="--metrics: expected names with commas between, or all, got ' , '"):
        score_command.names_of(" , ")


def test_all_metrics_with_intervals(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: by_name.HOMES[name] for name in ("cider_d", "bleu4", "rouge_l", "sacrebleu")}
    absent = {
        "absent": ("seqrl.metrics.nowhere", "Absent", {}),
        "shared": ("text_metric", "SharedWords", {}),
        "seen": ("text_metric", "Seen", {}),
    }
    monkeypatch.setattr(by_name, "HOMES", few | absent)
    monkeypatch.setattr(score_command, "METRICS", (*few, *absent))
    hypotheses, references, _ = some_files(tmp_path)
    assert command(hypotheses, references, "--metrics", "all", "--json", tmp_path / "out.json") == 0
    out = capsys.readouterr().out
    assert set(corpus_scores(out)) == {*few, "shared"} and "left out: absent (No module named 'seqrl.metrics.nowhere')" in out
    assert "left out: seen (no model is named: --set seen.model=FOLDER)" in out
    assert "|" not in out  # no signatures of all
    written = json.loads((tmp_path / "out.json").read_text())
    for name, corpus_score in written["corpus"].items():
        low, high = written["intervals"][name]
        assert low <= corpus_score <= high and f"{low:.4f} to {high:.4f}" in out
    assert command(hypotheses, references, "--metrics", "all", "--signature", "--resamples", "0") == 0
    out = capsys.readouterr().out
    assert "CIDEr-D|" in out and "interval" not in out


def test_nothing_that_can_score_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_command, "METRICS", ("cider_d",))
    files = write(tmp_path / "h.txt", "a dog\n"), write(tmp_path / "r.txt", "a dog\n")
    with pytest.raises(ValueError, match="no metric can score these files: cider_d: document frequencies need at least 2 images"):
        command(*files, "--metrics", "all")
    with pytest.raises(ValueError, match="document frequencies need at least 2 images"):
        command(*files)
    assert command(*files, "--metrics", "bleu1,rouge_l") == 0  # one item, one reference


def test_slots_are_counted_where_it_is_known_which_words_are_slots(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_command, "METRICS", ("bleu1", "slot_error"))
    plain = write(tmp_path / "h.txt", "a dog runs\n"), write(tmp_path / "r.txt", "a dog\n")
    assert command(*plain, "--metrics", "all") == 0
    out = capsys.readouterr().out
    assert (
        set(corpus_scores(out)) == {"bleu1"} and "left out: slot_error (nothing says which words are slots: --set slot_error.prefix=" in out
    )
    assert command(*plain, "--metrics", "slot_error", "--tokens", "spaces") == 0  # who asks for it by name has lists of slots
    assert corpus_scores(capsys.readouterr().out) == {"slot_error": 0.5}
    slots = write(tmp_path / "s.txt", "SLOT_NAME serves SLOT_FOOD.\n"), write(tmp_path / "q.txt", "SLOT_NAME is in SLOT_AREA, SLOT_NAME.\n")
    named = ("--metrics", "slot_error", "--set", "slot_error.prefix=SLOT_")
    for arguments in (("--metrics", "all"), ("--metrics", "all", *named[2:]), named, ("--metrics", "all", "--compare", slots[0])):
        assert command(*slots, *arguments) == 0
        out = capsys.readouterr().out
        assert corpus_scores(out)["slot_error"] == pytest.approx(1.0), out  # name and area are missing, food is too much, of three; by hand
        assert "left out" not in out
    with pytest.raises(ValueError, match="which words are slots says the prefix.*slot_error.prefix"):
        command(*plain, *named)


def test_the_table_says_the_scale_of_each_corpus_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hypotheses, references, other = some_files(tmp_path)
    names = "bleu4,sacrebleu,cider_d,wer,chrf"
    for more in ((), ("--resamples", "0"), ("--compare", other)):
        assert command(hypotheses, references, "--metrics", names, *more) == 0
        rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.startswith("  ") and line.strip()}
        ends = {"bleu4": "0 to 1", "sacrebleu": "0 to 100", "cider_d": "0 to 10", "wer": "0 and more, less is better", "chrf": "0 to 100"}
        assert {name: rows[name].endswith(f"  {end}") for name, end in ends.items()} == dict.fromkeys(ends, True), rows


def test_one_caption_an_image_is_told_in_brief(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_command, "METRICS", ("bleu1", "self_cider"))
    assert command(write(tmp_path / "h.txt", "a dog runs " * 20), write(tmp_path / "r.txt", "a dog\n"), "--metrics", "all") == 0
    told = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("left out"))
    call = "SelfCider().score(lists of captions, references)"
    assert told == f"left out: self_cider (expected several captions of each image, got one: call {call})"


def test_two_systems_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hypotheses, references, other = some_files(tmp_path)
    assert command(hypotheses, references, "--compare", other, "--metrics", "sacrebleu,cider_d", "--json", tmp_path / "out.json") == 0
    out = capsys.readouterr().out
    assert re.search(r"^  sacrebleu +\d+\.\d{4} +\d+\.\d{4} +\+\d+\.\d{4} +-?\d+\.\d{4} to \d+\.\d{4} +0\.\d{4}", out, re.MULTILINE), out
    written = json.loads((tmp_path / "out.json").read_text())
    # The other file is in another order; sacrebleu's own test of the same texts gives the same p.
    texts = [json.loads(path.read_text()) for path in (hypotheses, references, other)]
    first, second = [list(texts[0].values()), [texts[2][key] for key in texts[0]]]
    rows = list(texts[1].values())
    streams = [[row[k] if k < len(row) else None for row in rows] for k in range(4)]
    test = PairedTest([("a", first), ("b", second)], {"BLEU": sacrebleu.BLEU()}, streams, test_type="bs")  # type: ignore[arg-type]
    expected = test()[1]["BLEU"]
    assert written["compared"]["corpus"]["sacrebleu"] == pytest.approx(expected[1].score)
    assert written["compared"]["p"]["sacrebleu"] == pytest.approx(expected[1].p_value)
    assert command(hypotheses, references, "--compare", hypotheses, "--metrics", "cider_d,bleu4") == 0
    assert len(re.findall(r"\+0\.0000 +0\.0000 to 0\.0000 +1\.0000 +0 to 10?$", capsys.readouterr().out, re.MULTILINE)) == 2


def test_systems_about_other_items_are_not_compared(tmp_path: Path) -> None:
    references = write(tmp_path / "r.json", {"1": ["a"], "2": ["b"], "3": ["c"]})
    first, second = write(tmp_path / "a.json", {"1": "a", "2": "b"}), write(tmp_path / "b.json", {"2": "b", "3": "c"})
    with pytest.raises(
        ValueError, match=r"b.json: expected hypotheses about the items of .*a.json, but only one of them has 1, 3; give both"
    ):
        command(first, references, "--compare", second, "--missing", "leave_out", "--metrics", "bleu1")


def test_settings_of_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = write(tmp_path / "h.txt", "a dog runs\n"), write(tmp_path / "r.txt", "a dog\n")
    assert command(*files, "--metrics", "rouge_l", "--set", "rouge_l.beta=1.0") == 0
    out = capsys.readouterr().out
    assert corpus_scores(out) == {"rouge_l": 0.8} and "beta:1.0" in out  # 2 (2/3) 1 / (1 + 2/3)
    for wrong, message in (("rouge_l.beta", "METRIC.SETTING=VALUE"), ("rouge.beta=1", "METRIC.SETTING=VALUE"), ("rouge_l.bta=1", "bta")):
        with pytest.raises(ValueError, match=f"--set: .*{message}"):
            command(*files, "--metrics", "rouge_l", "--set", wrong)
    with pytest.raises(ValueError, match="--resamples: expected 0"):
        command(*files, "--resamples", "-1")


@pytest.mark.parametrize("split", [lambda text: text, str.lower], ids=["cased", "lower"])
def test_sacrebleu_is_that_of_its_own_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], split: Any) -> None:
    hypotheses = ["The Dog's owner isn't here, is he?", "Two men ride a bike.", "“Quoted” — text…", "  spaces   inside "]
    references = ["The dog's owner is not here.", "Two Men ride a red bike!", '"Quoted" text...', "spaces inside it"]
    files = [write(tmp_path / name, "\n".join(map(split, texts)) + "\n") for name, texts in (("h.txt", hypotheses), ("r.txt", references))]
    program = [sys.executable, "-m", "sacrebleu", str(files[1]), "-i", str(files[0]), "-b", "-w", "4"]
    own = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    assert command(*files, "--metrics", "sacrebleu", "--resamples", "0") == 0
    assert corpus_scores(capsys.readouterr().out)["sacrebleu"] == pytest.approx(float(own), abs=1e-4)


ODD = {
    "an empty hypothesis": (b"\na dog\n", b"a dog\na dog\n"),
    "a mark and carriage returns": (b"\xef\xbb\xbfa dog\r\na cat\r\n", b"a dog\r\na cat\r\n"),
    "utf-16": ("a dog\na cat\n".encode("utf-16"), b"a dog\ra cat\r"),
    "a nul in JSON": (rb'["a\u0000dog", "x"]', rb'[["a \u0000 dog"], ["x"]]'),
    "lone surrogates": (rb'["a \ud800 dog", "x \udfff"]', rb'[["a \ud83d dog"], ["x y"]]'),
    "a lone surrogate for an id": (rb'{"\ud800": "a dog", "2": "a"}', rb'{"\ud800": ["a dog"], "2": ["a"]}'),
    "emoji and marks": (json.dumps(["👍🏽 a dog 👨‍👩‍👧", "مُعَلِّم"]).encode(), json.dumps([["👍🏽 dog"], ["مُعَلِّم"]]).encode()),
    "long words and texts": (json.dumps(["a" * 10_000, "b " * 3000]).encode(), json.dumps([["a" * 10_000], ["b " * 3000]]).encode()),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_text_is_scored(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = tmp_path / "h.txt", tmp_path / "r.txt"
    for path, content in zip(files, ODD[name], strict=True):
        path.write_bytes(content)
    metrics = (*score_command.SHOWN, "sacrebleu")
    assert command(*files, "--metrics", ",".join(metrics), "--resamples", "20", "--json", tmp_path / "out.json") == 0
    shown = corpus_scores(capsys.readouterr().out)
    assert set(shown) == set(metrics)
    for metric, value in shown.items():
        assert 0 <= value <= {"sacrebleu": 100, "cider_d": 10}.get(metric, 1)
    assert "NaN" not in (tmp_path / "out.json").read_text()


@pytest.mark.parametrize(
    ("hypotheses", "references", "said"),
    [
        (b"", b"", "h.txt: holds no hypothesis"),
        (b"\n", b"\n", "r.txt: item 1 has no reference, or an empty one"),
        (b"a\nb\nc\n", b"a\nb\n", "h.txt has 3 items, .*r.txt 2; expected as many"),
        (b"a\0dog\nx\n", b"a dog\na cat\n", "h.txt, line 1, character 2: expected text, got a NUL"),
        (b"a\xffdog\nx\n", b"a dog\na cat\n", "h.txt, line 1, character 2: expected UTF-8 text, got the byte 0xff"),
        (rb'{"\ud800": "a"}', b'{"2": ["a"]}', r"no references for '\\ud800'"),
    ],
)
def test_files_that_cannot_be_scored_are_named(hypotheses: bytes, references: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "h.txt").write_bytes(hypotheses)
    (tmp_path / "r.txt").write_bytes(references)
    with pytest.raises(ValueError, match=said):
        command(tmp_path / "h.txt", tmp_path / "r.txt")
