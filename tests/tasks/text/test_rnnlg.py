"""RNNLG's data and metrics, by hand on a small domain, and on the real data where they are."""

from __future__ import annotations

import json
import math
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from seqrl.tasks.text.rnnlg import Act, Rnnlg, parse_act

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
REAL = Path(os.environ.get("SEQRL_DATA", Path(__file__).resolve().parents[4] / "shared" / "data")) / "rnnlg"
ROWS = [
    ["inform(name='chow';food='thai and sushi';kidsallowed=dont_care)", "chow serves sushi or thai , kids are fine .", "chow is nice"],
    ["inform(name='piperade';food=basque;kidsallowed=dont_care)", "piperade , a basque place where kid -s may come", "piperade is nice"],
    ["?request(food)", "what food", "which food"],
]


@pytest.fixture
def small(tmp_path: Path) -> Rnnlg:
    (tmp_path / "special_values.txt").write_text('{"none": ["none"], "yes": ["true", "yes"], "dontcare": ["dontcare", "dont_care"]}')
    (tmp_path / "detect.pair").write_text(
        '{"general": {"name": "SLOT_NAME", "food": "SLOT_FOOD"}, "binary": {"kidsallowed": ["kid", "kids"]}}'
    )
    (tmp_path / "feat_template.txt").write_text("a.inform\nsv.name._1\nsv.food._1\nsv.food._2\nsv.kidsallowed.dontcare\n")
    (tmp_path / "mapping.pair").write_text("kids\tkid -s\n")
    (tmp_path / "diner").mkdir()
    for name in ("train", "valid", "test"):
        (tmp_path / "diner" / f"{name}.json").write_text("# from\n# somebody\n" + json.dumps(ROWS, indent=1))
    return Rnnlg(tmp_path, "diner")


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the benchmark scores with."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module("rnnlg_scores")


def test_acts_are_read() -> None:
    assert parse_act("goodbye()", "x") == Act("goodbye", ())
    assert parse_act("?request(price_range)", "x") == Act("?request", (("pricerange", None),))
    act = parse_act("inform(name='o'reilly's (north)';kidsallowed=no;area='a or b')", "x")
    assert act.slots == (("name", "o'reilly's (north)"), ("kidsallowed", "no"), ("area", "a or b"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("inform", "x, line 3, column 7: expected an opening bracket, got the end"),
        ("inform(name='chow'", "column 13: expected a value whose quote is closed"),
        ("inform(name=)", "column 13: expected a value"),
        ("inform(name=a,b", "column 16: expected a semicolon or a closing bracket, got the end"),
        ("inform(=chow)", "column 8: expected the name of a slot or a closing bracket, got '=chow"),
        ("inform(name=a;)", "column 15: expected the name of a slot, got"),
        ("inform(name=a) b", "column 15: expected nothing behind"),
        ("(name=a)", "column 1: expected the kind of an act"),
    ],
)
def test_malformed_acts_are_refused_by_column(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem.replace("(", r"\(").replace(")", r"\)")):
        parse_act(text, "x, line 3")


def test_values_leave_and_come_back(small: Rnnlg) -> None:
    first, second, third = small.lines["test"]
    assert first.response == "SLOT_NAME serves SLOT_FOOD , kid -s are fine"
    assert small.prompt(first.act) == small.prompt(second.act) == "inform SLOT_FOOD kidsallowed kidsallowed=dontcare SLOT_NAME"
    assert small.prompt(third.act) == "?request food food=?"
    assert small.lexicalise(first.response, second.act) == "piperade serves basque , kid -s are fine"
    assert [len(texts) for texts in small.pairs()["train"].references] == [2, 1]


def test_errors_by_hand(small: Rnnlg) -> None:
    act = small.lines["test"][0].act
    assert small.errors("SLOT_NAME serves SLOT_FOOD , kid -s are fine", act) == (3, 0, 0)
    assert small.errors("SLOT_NAME SLOT_NAME", act) == (3, 3, 2)
    assert small.errors("SLOT_NAME", Act("?select", act.slots)) == (0, 0, 0)


def test_bleu_by_hand(scores: Any) -> None:
    found = scores.corpus_bleu4([(["a b c d", "a b"], ["a b c d e", "a b c x"]), (["x"], ["x"])])
    # matches: 4 + 2 + 1 of 7, 3 + 1 of 4, 2 of 2, 1 of 1; lengths 4 + 2 + 1 against 4 + 4 + 1
    wanted = math.exp(1 - 9 / 7) * (7 / 7 * 4 / 4 * 2 / 2 * 1 / 1) ** 0.25
    assert found == pytest.approx(wanted, abs=1e-6)
    assert scores.corpus_bleu4([(["q"], ["x"])]) < 1e-6 and scores.corpus_bleu4([([], ["x"])]) == 0


def test_responses_are_scored_with_each_lines_values(small: Rnnlg, scores: Any) -> None:
    lines = small.lines["test"]
    metrics = scores.score_responses(small, lines, [[line.response] for line in lines])
    assert metrics.bleu == pytest.approx(1, abs=1e-6) and metrics.error == 0
    # the other line's words are a reference, too, with the values of this one
    swapped = [[lines[1].response], [lines[0].response], ["what food"]]
    assert scores.score_responses(small, lines, swapped).bleu == pytest.approx(1, abs=1e-6)
    assert scores.best_responses(small, lines[0].act, [("SLOT_NAME", -0.1), ("SLOT_NAME SLOT_FOOD", -0.9)], 1) == ["SLOT_NAME SLOT_FOOD"]


def test_a_malformed_act_is_named_with_its_line(small: Rnnlg) -> None:
    path = small.folder / "diner" / "test.json"
    path.write_text(path.read_text().replace("?request(food)", "?request(food"))
    with pytest.raises(ValueError, match=r"test.json, line 15, column 14: expected a semicolon or a closing bracket, got the end"):
        _ = small.lines


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the folder {REAL}; SEQRL_DATA names another one")
@pytest.mark.parametrize(("domain", "sizes"), [("restaurant", (3114, 1039, 1039)), ("hotel", (3223, 1075, 1075))])
def test_the_real_data_are_read_whole_and_people_make_few_errors(domain: str, sizes: tuple[int, int, int], scores: Any) -> None:
    data = Rnnlg(REAL, domain)
    assert tuple(map(len, data.lines.values())) == sizes
    metrics = scores.score_responses(data, data.lines["test"], [[line.response] for line in data.lines["test"]])
    assert metrics.bleu == pytest.approx(1, abs=1e-6) and metrics.error < 0.02
