from __future__ import annotations

from pathlib import Path

import pytest

from seqrl.tasks.writing.vocabulary import TokenizerVocabulary, Vocabulary

CAPTIONS = [["a", "dog", "runs"], ["a", "cat"], ["a", "dog"]]


def test_words_are_ordered_by_count_then_alphabet() -> None:
    vocabulary = Vocabulary.build(CAPTIONS)
    assert vocabulary.words == ("<pad>", "<begin>", "<end>", "<unknown>", "a", "dog", "cat", "runs")
    assert len(vocabulary) == 8
    assert vocabulary.encode(["a", "dog", "flies"]) == [4, 5, 3]


def test_rare_words_become_unknown() -> None:
    vocabulary = Vocabulary.build(CAPTIONS, min_count=2)
    assert vocabulary.encode(["a", "cat", "runs", "dog"]) == [4, 3, 3, 5]
    assert "cat" not in vocabulary


def test_decode_stops_at_the_end_and_keeps_all_that_is_scored() -> None:
    vocabulary = Vocabulary.build(CAPTIONS)
    assert vocabulary.decode([1, 4, 3, 5, 0, 2, 6]) == ["<begin>", "a", "<unknown>", "dog", "<pad>"]
    assert vocabulary.encode(["<end>", "<pad>", "a"]) == [3, 3, 4]
    with pytest.raises(IndexError):
        vocabulary.decode([99])


def test_fingerprint_tells_order_and_words_apart() -> None:
    prints = {Vocabulary(words).fingerprint() for words in (["a", "b"], ["b", "a"], ["ab"], ["a", "c"])}
    assert len(prints) == 4
    assert Vocabulary(["a", "b"]).fingerprint() == Vocabulary(["a", "b"]).fingerprint()


@pytest.mark.parametrize("captions, min_count", [([], 1), ([["a"]], 2), ([[]], 1)])
def test_an_empty_vocabulary_is_refused(captions: list[list[str]], min_count: int) -> None:
    with pytest.raises(ValueError, match="empty vocabulary"):
        Vocabulary.build(captions, min_count)


def test_words_must_be_distinct() -> None:
    with pytest.raises(ValueError, match="'dog' twice: in place 4, and again in place 6"):
        Vocabulary(["dog", "cat", "dog"])
    with pytest.raises(ValueError, match="'<pad>' twice: in place 0, and again in place 5"):
        Vocabulary(["dog", "<pad>"])
    with pytest.raises(ValueError, match="none at place 5"):
        Vocabulary(["dog", ""])


@pytest.fixture
def tokenizer_folder(tmp_path: Path) -> str:
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    ids = {word: index for index, word in enumerate(["<unk>", "<s>", "</s>", "a", "dog", "runs"])}
    core = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    fast.save_pretrained(tmp_path / "tokenizer")
    return str(tmp_path / "tokenizer")


def test_a_tokenizer_serves_as_vocabulary(tokenizer_folder: str) -> None:
    vocabulary = TokenizerVocabulary(tokenizer_folder)
    assert (vocabulary.begin, vocabulary.end, vocabulary.pad, vocabulary.unknown) == (1, 2, 2, 0)
    assert len(vocabulary) == 6
    assert vocabulary.encode(["a", "dog"]) == [3, 4]
    assert vocabulary.decode([1, 3, 4, 2, 5]) == ["a", "dog"]
