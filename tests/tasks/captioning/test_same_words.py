"""What is rewarded, what is evaluated and what is shown are the same words, whatever tokens a policy writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.metrics.cider import CiderD
from seqrl.policies.tokens import TokenPolicy
from seqrl.tasks.captioning.data import CaptionSplit
from seqrl.tasks.captioning.evaluation import EvaluationConfig, evaluate_captions, greedy_captions, write_captions
from seqrl.tasks.writing.decoded import beam_texts
from seqrl.tasks.writing.reward import RewardConfig, TextReward
from seqrl.tasks.writing.vocabulary import TokenizerVocabulary, Vocabulary

WORDS = [["a dog runs".split()], ["two cats sleep here".split()], ["a boat".split()]]


class Plan(nn.Module):
    """Writes the row of token ids that belongs to the image, whose first pixel numbers it."""

    def __init__(self, rows: Sequence[Sequence[int]], size: int) -> None:
        super().__init__()
        self.rows, self.scale = rows, nn.Parameter(torch.tensor(50.0))
        self.size = size

    def forward(self, context: dict[str, Tensor], tokens: Tensor) -> Tensor:
        planned = torch.zeros(tokens.shape, dtype=torch.long)
        for row, image in enumerate(context["image"][:, 0, 0, 0].tolist()):
            ids = list(self.rows[image])[: tokens.shape[1]]
            planned[row, : len(ids)] = torch.tensor(ids)
        return F.one_hot(planned, self.size) * self.scale


def split_of(words: list[list[list[str]]]) -> CaptionSplit:
    images = np.zeros((len(words), 3, 2, 2), dtype=np.uint8)
    images[:, 0, 0, 0] = range(len(words))
    names = [str(index) for index in range(len(words))]
    return CaptionSplit("dev", names, images, [[" ".join(row) for row in rows] for rows in words], words)


def policy_of(vocabulary: Vocabulary | TokenizerVocabulary, rows: list[list[int]]) -> TokenPolicy:
    special = {"begin": vocabulary.begin, "end": vocabulary.end, "pad": vocabulary.pad}
    return TokenPolicy(Plan(rows, len(vocabulary)), max_tokens=8, **special)


def scored_as_reward(vocabulary: Vocabulary | TokenizerVocabulary, rows: list[list[int]]) -> np.ndarray:
    lengths = torch.tensor([min(len(row), 8) for row in rows])
    tokens = torch.tensor([(row + [0] * 8)[:8] for row in rows])
    reward = TextReward(RewardConfig(score_end=False), split_of(WORDS), vocabulary)
    return reward.score(tokens, lengths, torch.arange(len(rows))).numpy()


def test_unknown_words_cost_as_much_in_evaluation_as_in_training() -> None:
    vocabulary = Vocabulary.build(row for rows in WORDS for row in rows)
    plain = [[*vocabulary.encode(rows[0])] for rows in WORDS]
    spoiled = [[token for word in row for token in (word, vocabulary.unknown)][:7] for row in plain]
    for rows in (plain, spoiled):
        ended = [[*row, vocabulary.end] for row in rows]
        values = evaluate_captions(policy_of(vocabulary, ended), split_of(WORDS), vocabulary, EvaluationConfig())
        assert values["cider_d"] == pytest.approx(scored_as_reward(vocabulary, ended).mean(), abs=1e-6)
        # the strings, written out here
        written = [[vocabulary.words[index] for index in row] for row in rows]
        assert values["cider_d"] == pytest.approx(CiderD().corpus(written, WORDS), abs=1e-6)
        assert values["length"] == np.mean([len(row) for row in rows])
    assert values["cider_d"] < 2


def test_padding_and_begin_count_where_a_policy_writes_them() -> None:
    vocabulary = Vocabulary.build(row for rows in WORDS for row in rows)
    dog, runs = vocabulary.encode(["dog", "runs"])
    rows = [[vocabulary.begin, dog, runs, vocabulary.end], [dog, vocabulary.pad, runs, vocabulary.end], [vocabulary.end]]
    policy = policy_of(vocabulary, rows)
    greedy = greedy_captions(policy, split_of(WORDS), vocabulary, EvaluationConfig(), 3)
    assert [words for words, _ in greedy] == [["<begin>", "dog", "runs"], ["dog", "<pad>", "runs"], []]
    beam = beam_texts(policy, split_of(WORDS).rows, [slice(0, 3)], vocabulary, beam_size=2)
    assert [words for words, _ in beam] == [words for words, _ in greedy]
    shown, scores = write_captions(policy, split_of(WORDS), vocabulary, EvaluationConfig(), count=3)
    assert shown == ["<begin> dog runs", "dog <pad> runs", ""]
    np.testing.assert_allclose(scores, scored_as_reward(vocabulary, rows), rtol=1e-6)


def test_a_function_of_ones_own_sees_what_is_evaluated() -> None:
    vocabulary = Vocabulary.build(row for rows in WORDS for row in rows)
    seen: list[str] = []

    def reward(captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
        seen.extend(captions)
        return [0.0] * len(captions)

    scorer = TextReward(RewardConfig(), split_of(WORDS), vocabulary, function=reward)
    scorer.score(torch.tensor([[4, 3, 5, 2, 0]]), torch.tensor([4]), torch.tensor([0]))
    assert seen == [f"{vocabulary.words[4]} <unknown> {vocabulary.words[5]}"]


@pytest.mark.parametrize("with_begin", [True, False])
def test_a_tokenizer_is_scored_by_the_words_that_it_writes(tmp_path: Path, with_begin: bool) -> None:
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    pieces = ["[UNK]", "[PAD]", "[END]", "[BEGIN]", *sorted({word for rows in WORDS for word in rows[0]})]
    core = Tokenizer(models.WordLevel({piece: index for index, piece in enumerate(pieces)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "eos_token": "[END]"} | ({"bos_token": "[BEGIN]"} if with_begin else {})
    transformers.PreTrainedTokenizerFast(tokenizer_object=core, **special).save_pretrained(tmp_path)
    vocabulary = TokenizerVocabulary(str(tmp_path))
    dog, runs = vocabulary.encode(["dog", "runs"])
    rows = [[dog, vocabulary.unknown, runs, vocabulary.end], [vocabulary.pad, dog, runs, vocabulary.end], [dog] * 8]
    values = evaluate_captions(policy_of(vocabulary, rows), split_of(WORDS), vocabulary, EvaluationConfig())
    assert values["cider_d"] == pytest.approx(scored_as_reward(vocabulary, rows).mean(), abs=1e-6)
    assert values["cider_d"] == pytest.approx(CiderD().corpus(["dog runs", "dog runs", "dog " * 8], WORDS), abs=1e-6)


def test_characters_are_words_throughout() -> None:
    words = [[list("一只狗在跑")], [list("两只猫")]]
    vocabulary = Vocabulary.build((row for rows in words for row in rows), tokens="characters")
    rows = [[*vocabulary.encode(list("一只猫")), vocabulary.end], [*vocabulary.encode(list("两只猫")), vocabulary.end]]
    shown, scores = write_captions(policy_of(vocabulary, rows), split_of(words), vocabulary, EvaluationConfig(), count=2)
    assert shown == ["一只猫", "两只猫"]
    # CIDEr-D by hand. Of 2 images, 只 stands in both and weighs log 1 = 0, the other characters log 2, and all longer n-grams, too.
    # Image 2 is right: cosine 1 for the orders 1 to 3, nothing for 4, which it is too short for: 10 * 3 / 4.
    # Image 1: order 1 shares 一 of {一, 猫} and {一, 狗, 在, 跑}: 1 / (sqrt 2 sqrt 4); order 2 shares 一只 of {一只, 只猫}, of which 只猫
    # stands in image 2: 1 / (sqrt 2 sqrt 4), too; order 3 shares nothing. The lengths differ by 2: exp(-4 / 72).
    expected = [10 * np.exp(-4 / 72) * (2 / (2**0.5 * 4**0.5)) / 4, 7.5]
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
