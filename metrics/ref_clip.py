"""CLIPScore and RefCLIPScore: how well a caption fits its image, and its references, as a CLIP sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote_plus

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.item_texts import mean_of_scores, text_of
from seqrl.metrics.rows import require_list
from seqrl.metrics.text_scores import References, Sentence, check_items, checked_references

if TYPE_CHECKING:
    from seqrl.metrics.clip_encoder import ClipEncoder

_NEEDS_IMAGES = (
    "ref_clip_score looks at images, and words alone were given; call RefClipScore(model=...).score(captions, references, images=images) "
    "from Python, or reward with a function of your own on what its prepare(images, references) gives"
)


@dataclass(frozen=True)
class RefClipScore:
    """RefCLIPScore with any CLIP, or CLIPScore where there are no references.

    CLIPScore = w max(cos(c, v), 0)    RefCLIPScore = 2 / (1 / CLIPScore + 1 / max(max_j cos(c, s_j), 0)); 0 where either is 0

    with c, s_j and v the embeddings of caption, references and image. The published scores are those of OpenAI's ViT-B/32; another CLIP
    gives other scores, so name it with them. An empty caption scores 0.

    Args:
        model: folder or hub name of a CLIP of transformers with safetensors; no code that comes with it is run.
        weight: w.
        prompt: begins every text.
        batch_size: images or texts that the model sees at a time.
        device: of the model, for instance "cpu" or "cuda".

    Raises:
        ValueError: without a model or images, for lists of different lengths, an item without references or an empty reference.

    Source: Hessel et al. 2021 (CLIPScore: a reference-free evaluation metric for image captioning), CLIP-S and RefCLIP-S.
    """

    model: str = ""
    weight: float = 2.5
    prompt: str = "A photo depicts "
    batch_size: int = 32
    device: str = "cpu"
    bound: ClassVar[float] = 2.5
    reads_raw_text: ClassVar[bool] = True
    needs_images: ClassVar[bool] = True

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        model = self.model.rstrip("/").rsplit("/", 1)[-1] or None
        return "RefCLIPScore", {"model": model, "w": self.weight, "prompt": quote_plus(self.prompt) or None}

    def score(
        self, hypotheses: Sequence[Sentence], references: References | None = None, *, images: Sequence[Any] | None = None
    ) -> NDArray[np.float64]:
        """Score each caption about its image.

        Args:
            hypotheses: [N] captions; lists of words are put together with spaces.
            references: for each caption its references; None for CLIPScore.
            images: for each caption its image: a Pillow image, an array [H, W, 3] of uint8, or the name of a file.

        Returns:
            [N] float64.
        """
        return self.prepare(images, references).score(hypotheses, range(len(hypotheses)), every_item=True)

    corpus = mean_of_scores

    def prepare(self, images: Sequence[Any] | None, references: References | None = None) -> PreparedImages:
        """Encode images and references once; the result scores batches of captions."""
        if images is None:
            raise ValueError(_NEEDS_IMAGES)
        require_list(images, "the images", "images")
        if references is not None:
            checked_references(references, num_images=len(images))
        return PreparedImages(self, self.encoder, images, references)

    @cached_property
    def encoder(self) -> ClipEncoder:
        """The model, loaded when it is first used."""
        if not self.model:
            raise ValueError("ref_clip_score: expected the folder or hub name of a CLIP, got none; set model=, as RefClipScore(model=...)")
        from seqrl.metrics.clip_encoder import ClipEncoder  # loaded here: it needs torch and transformers

        return ClipEncoder(self.model, batch_size=self.batch_size, device=self.device)


class PreparedImages:
    """Encoded images and references of a `RefClipScore`."""

    def __init__(self, metric: RefClipScore, encoder: ClipEncoder, images: Sequence[Any], references: References | None) -> None:
        self.metric, self.encoder = metric, encoder
        self.images = encoder.encode_images(images)
        self.references: list[NDArray[np.float32]] | None = None
        if references is not None:
            texts = self._encode([text_of(sentence) for sentences in references for sentence in sentences])
            self.references = np.split(texts, np.cumsum([len(sentences) for sentences in references])[:-1])

    def score(self, hypotheses: Sequence[Sentence], items: Sequence[int], *, every_item: bool = False) -> NDArray[np.float64]:
        """Score each caption about the image of its item, [N] float64.

        Args:
            hypotheses: [N] captions.
            items: [N] numbers of images.
            every_item: refuse another number of captions than images.
        """
        require_list(hypotheses, "the captions")
        if every_item and len(hypotheses) != len(self.images):
            raise ValueError(f"expected a list with one caption an image, got {len(hypotheses)} captions and {len(self.images)} images")
        check_items(hypotheses, items, len(self.images))
        texts = [text_of(sentence) for sentence in hypotheses]
        captions = self._encode(texts).astype(np.float64)
        seen = self.metric.weight * np.maximum((captions * self.images[list(items)]).sum(axis=1), 0.0)
        if self.references is not None:
            near = [float((self.references[item] @ caption).max()) for item, caption in zip(items, captions, strict=True)]
            read = np.maximum(np.array(near, np.float64), 0.0)
            both = seen + read
            seen = np.divide(2.0 * seen * read, both, out=np.zeros_like(both), where=both > 0)
        return np.where([bool(text.strip()) for text in texts], seen, 0.0)

    def _encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.encoder.encode_texts([self.metric.prompt + text for text in texts])
