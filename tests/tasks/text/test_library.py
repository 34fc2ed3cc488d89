"""What somebody types who has prompts, references and a reward; and the page that shows it."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from seqrl.policies.tokens import TokenPolicy
from seqrl.tasks.text import DataConfig, Pairs, PolicyConfig, TextConfig, TextTask
from seqrl.tasks.text.evaluation import EvaluationConfig
from seqrl.tasks.writing.vocabulary import TokenizerVocabulary, Vocabulary

PAGE = Path(__file__).resolve().parents[3] / "docs" / "text.md"
PROMPTS = ["one two", "two three four", "three", "four one"]
REFERENCES = [["two one", "two then one"], ["four three two"], ["three"], ["one four"]]
CONFIG = TextConfig(policy=PolicyConfig(dim=16, num_layers=1, num_heads=2, dropout=0.0, max_tokens=6), prompts_per_batch=3)


def longest(replies: Any, references: Any) -> list[float]:
    return [float(len(reply.split())) for reply in replies]


def says_prompt(prompts: Any, replies: Any, references: Any) -> list[float]:
    return [float(prompt.split()[0] in reply.split()) for prompt, reply in zip(prompts, replies, strict=True)]


@pytest.mark.parametrize(
    "reward",
    ["sentence_bleu", {"sentence_bleu": 1.0, "length_error": -0.5}, longest, says_prompt, lambda replies, references: [1.0] * len(replies)],
    ids=["name", "weights", "function", "function_of_prompts", "lambda"],
)
def test_rewards_that_people_type(reward: Any) -> None:
    task = TextTask(PROMPTS, REFERENCES, reward, config=CONFIG)
    policy = task.build_policy().eval()
    rows = task.rollout(policy, num_samples=2, generator=torch.Generator().manual_seed(0))
    assert rows.score.isfinite().all() and all(torch.isfinite(torch.tensor(list(task.evaluate(policy).values()))))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"reward": "blue4"}, "there is no metric 'blue4'; did you mean 'bleu4'"),
        ({"reward": {"sentence_bleu": 1.0, longest: 0.5}}, r"reward: expected the name of a metric.*to mix a function with metrics"),
        ({"reward": ["sentence_bleu"]}, "reward: expected the name of a metric"),
        ({"reward": {"wer": 1.0}}, "metrics.wer: expected a weight below 0"),
        ({"reward": {"distinct1": 1.0}}, "distinct1 has one score for all sentences together"),
        ({"prompts": "one two"}, "prompts: expected a list of texts, got the text 'one two'"),
        ({"prompts": [["hi", "you"], "b", "c", "d"]}, "prompt 0: expected a text, got a list"),
        ({"prompts": PROMPTS[:3]}, "3 prompts and 4 lists of references"),
    ],
)
def test_what_people_mistype_is_told(given: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        TextTask(**{"prompts": PROMPTS, "references": REFERENCES, "reward": "sentence_bleu", "config": CONFIG, **given})


def test_a_function_of_a_single_reply_is_told_that_it_gets_lists() -> None:
    task = TextTask(PROMPTS, REFERENCES, lambda reply, references: 1.0, config=CONFIG)
    with pytest.raises(ValueError, match=r"scores of shape \[\] .* the function gets lists and gives a list"):
        task.rollout(task.build_policy().eval())


def test_a_function_of_three_arguments_sees_the_prompts() -> None:
    seen: list[tuple[str, str, tuple[str, ...]]] = []

    def reward(prompts: Any, replies: Any, references: Any) -> list[float]:
        seen.extend(zip(prompts, replies, map(tuple, references), strict=True))
        return [float(prompt.startswith("two")) for prompt in prompts]

    task = TextTask(PROMPTS, REFERENCES, reward, config=CONFIG)
    rows = task.rollout(task.build_policy().eval(), num_samples=2, generator=torch.Generator().manual_seed(0))
    assert {(prompt, references) for prompt, _, references in seen} <= set(zip(PROMPTS, map(tuple, REFERENCES), strict=True))
    assert rows.group is not None and rows.score.tolist() == [float(PROMPTS[item].startswith("two")) for item in rows.group.tolist()]
    assert task.evaluate(task.build_policy())["reward"] == 1 / 4


def test_a_function_of_prompts_has_none_to_read_about_images() -> None:
    from seqrl.tasks.writing.reward_function import columns_for

    with pytest.raises(ValueError, match="three arguments, prompts first, and here are none"):
        columns_for(says_prompt, ["a"], [["a"]], None)


def test_functions_of_ones_own_are_reported_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    config = TextConfig(policy=CONFIG.policy, evaluation=EvaluationConfig(metrics=["test_library:longest", "test_library:says_prompt"]))
    values = TextTask(PROMPTS, REFERENCES, "sentence_bleu", config=config).evaluate(
        TextTask(PROMPTS, REFERENCES, config=config).build_policy()
    )
    assert values["longest"] == values["length"] and 0 <= values["says_prompt"] <= 1
    with pytest.raises(ValueError, match="'length' names two metrics"):
        EvaluationConfig(metrics=["mine:length"])


def test_one_reference_each_needs_no_lists() -> None:
    plain = TextTask(PROMPTS, [texts[0] for texts in REFERENCES], "sentence_bleu", config=CONFIG)
    assert [list(texts) for texts in plain.train.references] == [[texts[0]] for texts in REFERENCES]
    with pytest.raises(ValueError, match="got the text 'two one'"):
        TextTask(["one two"], "two one", "sentence_bleu", config=CONFIG)


def test_a_word_list_of_ones_own() -> None:
    words = ["one", "two", "three", "four", "then", "five"]
    task = TextTask(PROMPTS, REFERENCES, "sentence_bleu", vocabulary=words, config=CONFIG)
    assert isinstance(task.vocabulary, Vocabulary) and task.vocabulary.words[4:] == tuple(words)
    again = TextTask(PROMPTS, REFERENCES, "sentence_bleu", vocabulary=task.vocabulary, config=CONFIG)
    assert again.fingerprint() == task.fingerprint()
    with pytest.raises(ValueError, match="at least one word in the vocabulary, got none"):
        TextTask(PROMPTS, REFERENCES, vocabulary=[], config=CONFIG)
    with pytest.raises(ValueError, match="vocabulary: expected a list of words, or a tokenizer .*, got a int"):
        TextTask(PROMPTS, REFERENCES, vocabulary=7, config=CONFIG)


class Tokenizer:
    """Stands for a tokenizer of transformers: pieces are letters."""

    name_or_path = "letters"
    eos_token_id, pad_token_id, bos_token_id, unk_token_id = 0, 1, 2, 3
    letters = "efhnoruwt "

    def __len__(self) -> int:
        return 4 + len(self.letters)

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": [4 + self.letters.index(letter) for letter in text]}

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        return "".join(self.letters[index - 4] for index in ids if index >= 4)

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return ["<end>", "<pad>", "<begin>", "<unknown>", *self.letters]


def test_a_tokenizer_of_ones_own() -> None:
    task = TextTask(PROMPTS, REFERENCES, "sentence_bleu", vocabulary=Tokenizer(), config=CONFIG)
    assert len(task.vocabulary) == 14 and task.vocabulary.decode(task.vocabulary.encode(["two", "one"])) == ["two", "one"]
    rows = task.rollout(task.build_policy().eval(), generator=torch.Generator().manual_seed(0))
    assert rows.score.isfinite().all()


def test_a_configuration_names_a_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = SimpleNamespace(load_tokenizer=lambda name, field: Tokenizer())  # the real one takes seconds to load
    monkeypatch.setitem(sys.modules, "seqrl.tasks.writing.pretrained.hub", hub)  # type: ignore[arg-type]
    config = replace(CONFIG, data=DataConfig(source="files", tokenizer="letters"))
    task = TextTask(PROMPTS, REFERENCES, "sentence_bleu", config=config)
    assert isinstance(task.vocabulary, TokenizerVocabulary) and task.vocabulary.name == "letters"
    with pytest.raises(ValueError, match="pieces: expected 0 with a tokenizer"):
        DataConfig(source="files", tokenizer="letters", pieces=300)


class Reader(torch.nn.Module):
    """Logits by the prompt's words and the token before."""

    def __init__(self, num_tokens: int) -> None:
        super().__init__()
        self.read, self.write = torch.nn.EmbeddingBag(num_tokens, 16), torch.nn.Embedding(num_tokens, 16)
        self.logits = torch.nn.Linear(16, num_tokens)

    def forward(self, context: Any, tokens: torch.Tensor) -> torch.Tensor:
        prompts = context["image"]
        seen = self.read(prompts["tokens"])
        return self.logits(self.write(tokens) + seen.unsqueeze(1))


def own_policy(config: PolicyConfig, vocabulary: Any) -> TokenPolicy:
    return TokenPolicy(
        Reader(len(vocabulary)), begin=vocabulary.begin, end=vocabulary.end, pad=vocabulary.pad, max_tokens=config.max_tokens
    )


def test_a_policy_of_ones_own_reads_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    config = replace(CONFIG, policy=PolicyConfig(type="test_library:own_policy", max_tokens=5))
    task = TextTask(PROMPTS, REFERENCES, "sentence_bleu", config=config)
    policy = task.build_policy()
    rows = task.rollout(policy.eval(), num_samples=2, greedy_baseline=True, generator=torch.Generator().manual_seed(0))
    assert policy(rows).logp[rows.mask].shape == rows.logp[rows.mask].shape and len(task.reply(policy, ["one two"])) == 1
    assert torch.isfinite(torch.tensor(list(task.evaluate(policy).values()))).all()


def test_any_prompt_is_replied_to() -> None:
    task = TextTask(PROMPTS, REFERENCES, "sentence_bleu", config=CONFIG)
    policy = task.build_policy()
    alone = [task.reply(policy, [prompt])[0] for prompt in (*PROMPTS, "never seen", "")]
    assert task.reply(policy, [*PROMPTS, "never seen", ""]) == alone


def test_slots_are_compared_without_a_setting() -> None:
    dev = Pairs(["inform SLOT_NAME"], [["SLOT_NAME is nice"]])
    task = TextTask(["inform SLOT_NAME"], ["SLOT_NAME is nice"], {"slot_error": -1.0}, dev=dev, config=CONFIG)
    rows = torch.tensor([task.vocabulary.encode("SLOT_NAME nice".split()), task.vocabulary.encode("is nice".split())])
    assert task.reward.score(rows, torch.tensor([2, 2]), torch.tensor([0, 0])).tolist() == [0.0, -1.0]
    assert "slots:SLOT_*" in task.reward_signature({}, version="1")
    with pytest.raises(ValueError, match="slot_prefix: expected the beginning"):
        DataConfig(slot_prefix="")


@pytest.mark.slow
def test_the_page_runs_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    names: dict[str, Any] = {}
    torch.manual_seed(0)  # or the initial weights would depend on the tests before
    exec(compile(code, "docs/text.md", "exec"), names)  # noqa: S102
    assert names["task"].evaluate(names["policy"], split="train")["sentence_bleu"] > 0.9
    assert "a green dog and a large cat" in capsys.readouterr().out
