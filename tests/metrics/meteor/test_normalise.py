"""Tests of METEOR's tokenisation against what METEOR 1.5 prints for the same lines."""

from __future__ import annotations

import pytest

from seqrl.metrics.meteor.normalise import normalise

JAVA = [
    ("a man's dog isn't here, is it?", "a man 's dog isn 't here , is it ?"),
    ("the cat's-eye well-known co-op t-shirt", "the cat 's eye well known co op t shirt"),
    (
        "u.s. e.g. 3.5 3,500 $5.00 5% 10:30 1/2 mr. smith no. 5 etc. end.",
        "us eg 3.5 3,500 $ 5.00 5 % 10 : 30 1 / 2 mr. smith no . 5 etc. end .",
    ),
    ("hello... wait -- no - -lrb- a -RRB- [ c ]", "hello ... wait - no - -lrb- a -rrb- [ c ]"),
    ("\"quoted\" ``ptb'' 'single' `tick`", "\" quoted \" \" ptb \" ' single ' ' tick '"),
    ("a&b a@b.com http://x.com/a_b #tag ~x^y", "a & b a @ b.com http : / / x.com / a _ b # tag ~ x ^ y"),
    ("naïve über “curly” ‘x’ it’s – — …", "naïve über \" curly \" ' x ' it 's - — …"),
    ("o'clock 'em 90's '90s dogs'", "o 'clock ' em 90 's ' 90s dogs '"),
    ("dog😀cat مُعَ 日本 well‑known", "dog 😀 cat م ُ ع َ 日 本 well ‑ known"),
    ("x.y.z ph.d. p.m. b. c d.", "x.y.z phd pm b. c d ."),
    ("abc,def 1,2 a,1 ,x x, x;y", "abc , def 1,2 a , 1 , x x , x ; y"),
]


@pytest.mark.parametrize(("text", "words"), JAVA)
def test_what_java_prints(text: str, words: str) -> None:
    assert normalise(text) == words.split(" ")
