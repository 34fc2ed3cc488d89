"""The settings that say where pairs of texts come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from seqrl.metrics.tokenisations import tokenisation_by_name
from seqrl.settings import Count, NotNegative, ReadBy, check_settings
from seqrl.tasks.paths import expanded
from seqrl.tasks.text.pair_files import read_aligned, read_json_pairs
from seqrl.tasks.text.pairs import Pairs
from seqrl.tasks.text.restaurant import RestaurantConfig, builtin_pairs
from seqrl.tasks.text.rnnlg import Rnnlg

Source = Literal["builtin", "files", "jsonl", "rnnlg"]
Files = Annotated[str, ReadBy("source", "files")]
JsonLines = Annotated[str, ReadBy("source", "jsonl")]
HeldOut = Annotated[NotNegative[int], ReadBy("source", "files", "jsonl")]


@dataclass
class DataConfig:
    """Where pairs of texts come from.

    Attributes:
        source: "builtin" (dialogue acts about restaurants, made here), "files" (two aligned files), "jsonl" (`prompt` and `references`)
            or "rnnlg" (dialogue acts and responses of the RNNLG toolkit, without their values).
        path: folder that the names below are relative to; `~` and `$NAME` are expanded.
        prompts: "files": the training prompts, one a line; a name in .gz is unpacked.
        references: "files": line i answers line i of the prompts.
        dev_prompts: "files": the same to choose by; held out of training where empty.
        dev_references: of them.
        test_prompts: "files": the same to report; held out of dev where empty.
        test_references: of them.
        pairs: "jsonl": the training file.
        dev_pairs: "jsonl": the file to choose by; held out of training where empty.
        test_pairs: "jsonl": the file to report; held out of dev where empty.
        domain: "rnnlg": folder of the domain in `path`, where the toolkit's resource files lie.
        num_dev: training pairs, the last ones, held out as dev where there is no file of them.
        num_test: dev pairs, the last ones, held out as test where there is no file of them.
        max_pairs: keep only the first ones of each part, for a quick look; 0 keeps all.
        min_count: words that are rarer in training become the unknown word.
        tokens: what a word is, to a word list and to every metric of words: "spaces", "ptb" or "characters".
        pieces: number of byte pairs to learn from the training side and to write in, in the place of a word list; 0 for a word list.
        tokenizer: name or folder of a tokenizer of `transformers` to read and write with, in the place of both.
        max_prompt_tokens: longer prompts lose their beginning; 0 for no limit.
        slot_prefix: words that begin with it stand for values: evaluations count those that are wrong, `slot_error` compares them,
            `seqrl sample` marks them. Texts without such words have no slots.
        builtin: how many acts, for "builtin".
    """

    source: Source = "builtin"
    path: Annotated[str, ReadBy("source", "files", "jsonl", "rnnlg")] = ""
    prompts: Files = ""
    references: Files = ""
    dev_prompts: Files = ""
    dev_references: Files = ""
    test_prompts: Files = ""
    test_references: Files = ""
    pairs: JsonLines = ""
    dev_pairs: JsonLines = ""
    test_pairs: JsonLines = ""
    domain: Annotated[str, ReadBy("source", "rnnlg")] = "restaurant"
    num_dev: HeldOut = 0
    num_test: HeldOut = 0
    max_pairs: NotNegative[int] = 0
    min_count: Count = 1
    tokens: str = "spaces"
    pieces: NotNegative[int] = 0
    tokenizer: str = ""
    max_prompt_tokens: NotNegative[int] = 0
    slot_prefix: str = "SLOT_"
    builtin: RestaurantConfig = field(default_factory=RestaurantConfig)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.pieces and self.tokenizer:
            raise ValueError(f"pieces: expected 0 with a tokenizer, which has pieces of its own, got {self.pieces}")
        if not self.slot_prefix:
            raise ValueError("slot_prefix: expected the beginning of the words that are slots, such as SLOT_, got none")
        tokenisation_by_name(self.tokens)


def load_pairs(config: DataConfig) -> dict[str, Pairs]:
    """Read or make the pairs of each part.

    Raises:
        FileNotFoundError: when a file is not there.
        ValueError: when a file's content is wrong, or nothing is left to learn from or to choose by.
    """
    if config.source == "builtin":
        parts = builtin_pairs(config.builtin)
    elif config.source == "rnnlg":
        parts = Rnnlg(expanded(config.path), config.domain).pairs()
    else:
        parts = _read_parts(config)
    return {name: part.part(slice(0, config.max_pairs or None)) for name, part in parts.items()}


def _read_parts(config: DataConfig) -> dict[str, Pairs]:
    train, dev, test = (_read(config, part) for part in ("", "dev_", "test_"))
    if train is None:
        what = "prompts and references" if config.source == "files" else "pairs"
        raise ValueError(f"data: source {config.source} needs {what}; set their file names")
    if dev is None:
        train, dev = _hold_out(train, config.num_dev, "num_dev", "training")
    if test is None:
        dev, test = _hold_out(dev, config.num_test, "num_test", "dev") if config.num_test else (dev, Pairs([], []))
    return {"train": train, "dev": dev, "test": test}


def _hold_out(pairs: Pairs, count: int, name: str, part: str) -> tuple[Pairs, Pairs]:
    if not 0 < count < len(pairs):
        raise ValueError(
            f"{name}: expected 1 to {len(pairs) - 1} of the {len(pairs)} {part} pairs to hold out, got {count}; or name files of them"
        )
    return pairs.part(slice(0, -count)), pairs.part(slice(-count, None))


def _read(config: DataConfig, part: str) -> Pairs | None:
    folder = expanded(config.path) if config.path else Path()
    if config.source == "jsonl":
        name = getattr(config, f"{part}pairs")
        return read_json_pairs(folder / name) if name else None
    prompts, references = getattr(config, f"{part}prompts"), getattr(config, f"{part}references")
    if bool(prompts) != bool(references):
        raise ValueError(f"data: expected both {part}prompts and {part}references, got only one of them")
    return read_aligned(folder / prompts, folder / references) if prompts else None
