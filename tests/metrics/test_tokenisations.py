from __future__ import annotations

import pytest

from seqrl.metrics.tokenisations import character_tokenize, tokenisation_by_name, unspaced_example


@pytest.mark.parametrize(
    ("text", "characters"),
    [
        ("一只 Dog。", ["一", "只", "d", "o", "g"]),
        ("ที่นี่", ["ที่", "นี่"]),  # Thai: vowels and tones stay with their letter
        ("e\u0301 « … » 5$", ["e\u0301", "5", "$"]),
        ("，。！", []),
        ("𠀀😀", ["𠀀", "😀"]),
    ],
)
def test_characters(text: str, characters: list[str]) -> None:
    assert character_tokenize(text) == characters
    assert tokenisation_by_name("characters").join(characters) == "".join(characters)


@pytest.mark.parametrize(
    ("texts", "example"),
    [
        (["一只狗在草地上奔跑。", "a dog", "两个男人。"], "一只狗在草地上奔跑。"),
        (["一只狗在草地上奔跑。", "a dog"], None),  # half is not most
        (["一只 狗 在 草地 上 奔跑 。"] * 3, None),  # split already
        (["สุนัขวิ่งบนหญ้า"], "สุนัขวิ่งบนหญ้า"),
        (["犬が草の上を走る", ""], "犬が草の上を走る"),
        (["개가 잔디 위를 달린다", "a dog named 狗", "Собака бежит по траве"], None),
        ([], None),
    ],
)
def test_text_without_spaces_is_found(texts: list[str], example: str | None) -> None:
    assert unspaced_example(texts) == example


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="tokens: expected one of ptb, characters, spaces, got 'words'"):
        tokenisation_by_name("words")
