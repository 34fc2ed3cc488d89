"""pycocoevalcap's classes with its names, arguments and results, and without Java: a code base that uses it changes one import.

    from seqrl.metrics.coco import Bleu, Cider, COCOEvalCap, Meteor, PTBTokenizer, Rouge, Spice

    score, scores = Cider().compute_score({1: ["a dog runs"], 2: ["a cat"]}, {1: ["a dog runs fast"], 2: ["the cat"]})

`docs/metrics.md` says how closely each agrees with the program. SPICE is read by a parser of our own: the score is not the official one.
Nothing else is imported before the first score.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from seqrl.metrics.document_frequency import DocumentFrequency

__all__ = ["Bleu", "COCOEvalCap", "Cider", "Meteor", "PTBTokenizer", "Rouge", "Spice"]

Captions = Mapping[Hashable, list[str]]

# Stands where a reference or a word is the empty string, which nobody writes: it matches itself alone.
_EMPTY = "\0"
# Of SPICE, in the order of ours.
_CATEGORIES = ("All", "Object", "Relation", "Attribute", "Color", "Cardinality", "Size")


class PTBTokenizer:
    """Splits captions as Stanford's PTBTokenizer does, in lower case and without punctuation."""

    def tokenize(self, captions_for_image: Mapping[Hashable, Sequence[Mapping[str, Any]]]) -> dict[Hashable, list[str]]:
        """Turn {id: [{"caption": text}, ...]} into {id: [words with spaces between, ...]}; an id without captions is left out."""
        from seqrl.metrics.tokenize import ptb_tokenize

        return {
            image: [" ".join(ptb_tokenize(caption["caption"])) for caption in captions]
            for image, captions in captions_for_image.items()
            if len(captions)
        }


class Bleu:
    """BLEU of 1 to n words."""

    def __init__(self, n: int = 4) -> None:
        self._n = n

    def compute_score(self, gts: Captions, res: Captions, verbose: int = 1) -> tuple[list[float], list[list[float]]]:
        """Give for 1 to n words the corpus scores and the lists of the captions' scores; `verbose` prints the counts behind them."""
        import numpy as np

        from seqrl.metrics import bleu
        from seqrl.metrics.token_scores import index_sentences

        hypotheses, references = _pairs(gts, res)
        counts = bleu.count_matches(*index_sentences(bleu.Bleu(self._n), hypotheses, _filled(references)), self._n)
        for item, sentences in enumerate(references):
            if not all(sentence.split() for sentence in sentences):  # a reference without words has the length 0, not that of its stand-in
                length = int(counts.lengths[item])
                counts.closest[item] = min((abs(len(s.split()) - length), len(s.split())) for s in sentences)[1]
        totals = bleu.BleuCounts(*(np.sum(values, axis=0, keepdims=True) for values in counts))
        if verbose > 0:
            correct, guess, length, closest = (values[0].tolist() for values in totals)
            print({"testlen": length, "reflen": closest, "guess": guess, "correct": correct})
            print("ratio:", (length + bleu.TINY) / (closest + bleu.SMALL))
        return bleu.bleu_of_counts(totals)[0].tolist(), bleu.bleu_of_counts(counts).T.tolist()

    def method(self) -> str:
        """Name the metric."""
        return "Bleu"


class Rouge:
    """ROUGE-L."""

    def __init__(self) -> None:
        self.beta = 1.2

    def calc_score(self, candidate: Sequence[str], refs: Sequence[str]) -> float:
        """Score the one caption in `candidate` against its references."""
        if len(candidate) != 1:
            raise ValueError(f"expected one candidate in a list, got {len(candidate)}")
        return float(self._scores(candidate, [refs])[0])

    def compute_score(self, gts: Captions, res: Captions) -> tuple[np.float64, NDArray[np.float64]]:
        """Give the mean and the captions' scores."""
        scores = self._scores(*_pairs(gts, res))
        return scores.mean(), scores

    def _scores(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        from seqrl.metrics.rouge import RougeL

        # Words are what stands between single spaces here, so that two spaces hold an empty word.
        return RougeL(beta=self.beta).score(list(map(_spaced, hypotheses)), [list(map(_spaced, sentences)) for sentences in references])

    def method(self) -> str:
        """Name the metric."""
        return "Rouge"


class Cider:
    """CIDEr-D, which goes by the name of CIDEr there.

    Args:
        test: not used, as there.
        refs: not used, as there.
        n: longest n-gram, in words.
        sigma: deviation of the length penalty, in words.
        df: document frequencies of a corpus, which pycocoevalcap does not take; None counts them over the references of each call.
    """

    def __init__(self, test: Any = None, refs: Any = None, n: int = 4, sigma: float = 6.0, *, df: DocumentFrequency | None = None) -> None:
        self._n, self._sigma, self._df = n, sigma, df

    def compute_score(self, gts: Captions, res: Captions) -> tuple[np.float64, NDArray[np.float64]]:
        """Give the mean and the captions' scores."""
        import numpy as np

        from seqrl.metrics.cider import CiderD

        hypotheses, references = _pairs(gts, res)
        if len(references) == 1 and self._df is None:
            warnings.warn(
                "CIDEr of one image is 0 whatever the caption: every n-gram stands in all of its one document; pass df=..., or more images",
                RuntimeWarning,
                stacklevel=2,
            )
            return np.float64(0.0), np.zeros(1)
        scores = CiderD(max_n=self._n, sigma=self._sigma, document_frequency=self._df).score(hypotheses, _filled(references))
        return scores.mean(), scores

    def method(self) -> str:
        """Name the metric."""
        return "CIDEr"


class Meteor:
    """METEOR 1.5 as coco-caption calls it."""

    def compute_score(self, gts: Captions, res: Captions) -> tuple[float, list[float]]:
        """Give the corpus score and the captions' scores."""
        from seqrl.metrics.by_name import metric_by_name
        from seqrl.metrics.corpus import Corpus

        corpus, metric = Corpus(*_pairs(gts, res)), metric_by_name("meteor")
        found = corpus.statistics(metric)  # the sentences are aligned once for both
        return corpus.corpus_score(metric) if found.what else found.of_all(), corpus.scores(metric).tolist()

    def method(self) -> str:
        """Name the metric."""
        return "METEOR"


class Spice:
    """SPICE by our own parser, with the official program's form of results."""

    def compute_score(self, gts: Captions, res: Captions) -> tuple[np.float64, list[dict[str, dict[str, float]]]]:
        """Give the mean, and for each caption, in the order of the sorted ids, {category: {"pr": precision, "re": recall, "f": F, ...}}."""
        import numpy as np

        from seqrl.metrics.by_name import metric_by_name

        order = sorted(gts)  # type: ignore[type-var]
        hypotheses, references = _pairs({image: gts[image] for image in order}, res)
        counts = [rows.tolist() for rows in metric_by_name("spice").counts(hypotheses, references).values()]
        scores = [
            {name: _tuple_scores(*counted, none=0.0 if name == "All" else np.nan) for name, counted in zip(_CATEGORIES, item, strict=True)}
            for item in zip(*counts, strict=True)
        ]
        return np.mean(np.array([score["All"]["f"] for score in scores])), scores

    def method(self) -> str:
        """Name the metric."""
        return "SPICE"


class COCOEvalCap:
    """Evaluates captions of COCO's form with all of the above.

    Differs from: the program, which gives SPICE of the sorted ids to the ids as they come; here each image gets its own.

    Args:
        coco: references: `getImgIds()` gives the images' ids, `imgToAnns[id]` their captions, as pycocotools' COCO does.
        cocoRes: the captions to score, the same; `coco.loadRes` makes it.

    Attributes:
        params: {"image_id": ids to evaluate}, for the caller to shorten.
        eval: metric -> corpus score.
        imgToEval: image -> {"image_id": id, metric: score}.
        evalImgs: the values of `imgToEval`.
    """

    def __init__(self, coco: Any, cocoRes: Any) -> None:  # noqa: N803
        self.evalImgs: list[dict[str, Any]] = []
        self.eval: dict[str, Any] = {}
        self.imgToEval: dict[Hashable, dict[str, Any]] = {}
        self.coco, self.cocoRes = coco, cocoRes
        self.params: dict[str, Any] = {"image_id": coco.getImgIds()}

    def evaluate(self) -> None:
        """Split the captions into words, score them with every metric and print the scores."""
        images = self.params["image_id"]
        tokenizer = PTBTokenizer()
        gts = tokenizer.tokenize({image: self.coco.imgToAnns[image] for image in images})
        res = tokenizer.tokenize({image: self.cocoRes.imgToAnns[image] for image in images})
        scorers: list[tuple[Any, Any]] = [
            (Bleu(4), ["Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4"]),
            (Meteor(), "METEOR"),
            (Rouge(), "ROUGE_L"),
            (Cider(), "CIDEr"),
            (Spice(), "SPICE"),
        ]
        for scorer, method in scorers:
            score, scores = scorer.compute_score(gts, res, 0) if isinstance(scorer, Bleu) else scorer.compute_score(gts, res)
            several = isinstance(method, list)
            order = sorted(gts) if isinstance(scorer, Spice) else list(gts)  # type: ignore[type-var]
            for name, corpus_score, each in zip(method, score, scores, strict=True) if several else [(method, score, scores)]:
                self.setEval(corpus_score, name)
                self.setImgToEvalImgs(each, order, name)
                print(f"{name}: {corpus_score:.3f}")
        self.setEvalImgs()

    def setEval(self, score: Any, method: str) -> None:  # noqa: N802
        """Keep a corpus score."""
        self.eval[method] = score

    def setImgToEvalImgs(self, scores: Sequence[Any], imgIds: Sequence[Hashable], method: str) -> None:  # noqa: N802, N803
        """Keep the scores of the images."""
        for image, score in zip(imgIds, scores, strict=True):
            self.imgToEval.setdefault(image, {"image_id": image})[method] = score

    def setEvalImgs(self) -> None:  # noqa: N802
        """List what is kept of each image."""
        self.evalImgs = list(self.imgToEval.values())


def _pairs(gts: Captions, res: Captions) -> tuple[list[str], list[list[str]]]:
    """Give each image's one caption and its references, in the order of `gts`.

    Raises:
        ValueError: when the images differ, or one has no list of one caption or no list of references.
    """
    if gts.keys() != res.keys():
        strange = sorted(map(str, gts.keys() ^ res.keys()))[:3]
        raise ValueError(f"expected captions and references of the same images, got only one of them for {', '.join(strange)}")
    if not gts:
        raise ValueError("expected at least one image, got none")
    for image in gts:
        for name, texts in (("caption", res[image]), ("references", gts[image])):
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise ValueError(f"image {image!r}: expected a list of strings for its {name}, got {str(texts)[:80]!r}")
        if len(res[image]) != 1 or not gts[image]:
            raise ValueError(
                f"image {image!r}: expected one caption and at least one reference, got {len(res[image])} and {len(gts[image])}"
            )
    return [res[image][0] for image in gts], [gts[image] for image in gts]


def _filled(references: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[sentence if sentence.split() else _EMPTY for sentence in sentences] for sentences in references]


def _spaced(sentence: str) -> list[str]:
    return [word or _EMPTY for word in sentence.split(" ")]


def _tuple_scores(matched: int, candidate: int, reference: int, *, none: float) -> dict[str, float]:
    """Give precision, recall and F of tuples and the counts behind them; `none` where neither side has any."""
    nothing = 0.0 if candidate + reference else none
    return {
        "pr": matched / candidate if candidate else nothing,
        "re": matched / reference if reference else nothing,
        "f": 2 * matched / (candidate + reference) if candidate + reference else nothing,
        "fn": reference - matched,
        "numImages": 1,
        "fp": candidate - matched,
        "tp": matched,
    }
