from __future__ import annotations

import pytest

from seqrl.tasks.captioning.diagnostics import warnings_for

START = {"cider_d": 0.8, "bleu1": 0.6, "bad_endings": 0.02, "length": 9.0, "distinct": 0.8}


def test_nothing_is_said_of_a_run_that_goes_well() -> None:
    assert warnings_for([]) == {}
    assert warnings_for([START]) == {}
    better = {"cider_d": 1.0, "bleu1": 0.6, "bad_endings": 0.0, "length": 8.0, "distinct": 0.5}
    assert warnings_for([START, START | {"cider_d": 0.79}, better]) == {}


@pytest.mark.parametrize(
    ("now", "kind", "words"),
    [
        ({"cider_d": 0.5}, "cider_fell", ["0.800 to 0.500", "learning rate", "document frequencies"]),
        ({"bad_endings": 0.2}, "bad_endings", ["20%", "2%", "score_end"]),
        ({"length": 4.0}, "length_drift", ["9.0 to 4.0 words"]),
        ({"length": 15.0}, "length_drift", ["9.0 to 15.0 words"]),
        ({"distinct": 0.1}, "few_distinct", ["10%", "80%"]),
        ({"cider_d": 0.0}, "cider_zero", ["BLEU-1 0.60", "document frequencies over one image"]),
    ],
)
def test_each_known_trouble_is_named_with_what_to_try(now: dict[str, float], kind: str, words: list[str]) -> None:
    # What happened in between does not matter.
    found = warnings_for([START, START | {"cider_d": 2.0, "length": 1.0}, START | now])
    assert list(found) == [kind]
    for word in words:
        assert word in found[kind]


def test_a_captioner_that_starts_untrained_has_nothing_to_drift_from() -> None:
    untrained = {"cider_d": 0.0, "bleu1": 0.05, "bad_endings": 0.0, "length": 20.0, "distinct": 1.0}
    assert warnings_for([untrained, START | {"bad_endings": 0.3}]) == {}
    assert warnings_for([untrained]) == {}
