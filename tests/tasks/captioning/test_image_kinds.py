"""Every kind of pretrained model that writes about images, against the model's own passes and its own `generate`."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

transformers = pytest.importorskip("transformers")

import tiny_models  # noqa: E402
from PIL import Image  # noqa: E402
from tiny_models import KINDS, NUMBER, WORDS  # noqa: E402

from seqrl.beam_search import beam_search  # noqa: E402
from seqrl.decoding import sample  # noqa: E402
from seqrl.tasks.captioning.adapters.kinds import followed  # noqa: E402
from seqrl.tasks.captioning.policies.pretrained import captioner_of, load_processor  # noqa: E402
from seqrl.tasks.writing.pretrained.lora import LoraConfig  # noqa: E402
from seqrl.tasks.writing.pretrained.policy import TransformersPolicy  # noqa: E402
from seqrl.tasks.writing.vocabulary import TokenizerVocabulary  # noqa: E402

LENGTH = 7
CHAT = ("idefics3", "smolvlm", "llava")
PROMPTS = {"vision-encoder-decoder": "a photo", "blip": "a photo of", "git": "a photo of"}
CASES = [*((kind, "") for kind in KINDS), *PROMPTS.items(), *((kind, "describe the image") for kind in CHAT)]
# One case of each way to run a model is enough between changes to them.
FAST = {("blip", "a photo of"), ("git", "a photo of"), ("idefics3", "describe the image")}
QUICK = [pytest.param(*case, marks=() if case in FAST else pytest.mark.slow) for case in CASES]
RULES: dict[str, dict[str, Any]] = {
    "none": {},
    "several_ends": {"eos_token_id": [2, 4, 10, 13]},
    "bad_words": {"bad_words_ids": [[9], [11, 12], [16, 10, 12]]},
    "together": {
        "min_new_tokens": 4,
        "no_repeat_ngram_size": 2,
        "suppress_tokens": [11],
        "forced_eos_token_id": 4,
        "repetition_penalty": 1.3,
    },
}


def policy_of(kind: str, prompt: str = "", *, seed: int = 0, rules: dict[str, Any] | None = None, **settings: Any) -> TransformersPolicy:
    model = tiny_models.model(kind, seed=seed)
    writer = model.text_decoder if kind == "blip" else model
    for name, value in (rules or {}).items():
        setattr(writer.generation_config, name, value)
    whole = tiny_models.whole_processor(kind) if kind in CHAT else None
    pictures = whole.image_processor if whole is not None else tiny_models.pictures_reader(kind)
    parts = {"tokenizer": tiny_models.tokenizer(), "prompt": prompt, "whole": whole}
    return captioner_of(model, pictures, **parts, max_tokens=LENGTH, **settings).eval()


def pictures(count: int, size: int = 32) -> Tensor:
    """Give pictures that differ in colour and brightness, so that what is written of them does."""
    draws = np.random.default_rng(0)
    made = draws.integers(0, 256, (count, 3, 1, 1)) + draws.integers(-60, 60, (count, 3, size, size))
    return torch.from_numpy(made.clip(0, 255).astype(np.uint8))


def inputs_of(kind: str, prompt: str, images: Tensor) -> dict[str, Tensor]:
    """Give what plain transformers gives its model for images and a prompt, as its documentation says."""
    shown = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    if kind in CHAT:
        said = [{"type": "text", "text": prompt}] if prompt else []
        turns = [[{"role": "user", "content": [{"type": "image", "image": image}, *said]}] for image in shown]
        return dict(
            tiny_models.whole_processor(kind).apply_chat_template(
                turns, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
            )
        )
    found = {"pixel_values": tiny_models.pictures_reader(kind)(shown, return_tensors="pt")["pixel_values"]}
    words = tiny_models.tokenizer()
    if prompt and kind == "blip":
        found["input_ids"] = words([prompt] * len(shown), return_tensors="pt")["input_ids"]
    elif prompt:
        name = "input_ids" if kind == "git" else "decoder_input_ids"
        found[name] = torch.tensor([[1, *words(prompt, add_special_tokens=False)["input_ids"]]] * len(shown))
    return found


def generated(policy: TransformersPolicy, kind: str, prompt: str, images: Tensor, **settings: Any) -> list[list[int]]:
    """What `generate` writes after the prompt, up to the first end token."""
    rows = policy.model.generate(**inputs_of(kind, prompt, images), max_new_tokens=LENGTH, do_sample=False, **settings)
    return [cut(row, policy.ends) for row in rows[:, len(policy.adapter.prompt) :].tolist()]


def cut(row: list[int], ends: tuple[int, ...]) -> list[int]:
    length = next((place for place, token in enumerate(row) if token in ends), len(row) - 1)
    return row[: length + 1]


def written(policy: TransformersPolicy, images: Tensor, **settings: Any) -> list[list[int]]:
    rows = sample(policy, {"image": images}, **settings)
    return [action[mask].tolist() for action, mask in zip(rows.action, rows.mask, strict=True)]


@pytest.mark.parametrize(("kind", "prompt"), QUICK)
def test_greedy_captions_and_beams_are_those_of_generate(kind: str, prompt: str) -> None:
    images = pictures(4, 40)
    policy = policy_of(kind, prompt)
    greedy = written(policy, images, greedy=True)
    assert greedy == generated(policy, kind, prompt, images, num_beams=1)
    assert len({tuple(row) for row in greedy}) > 1
    found, _ = beam_search(policy, {"image": images}, beam_size=3)
    theirs = generated(policy, kind, prompt, images, num_beams=3, length_penalty=0.0, early_stopping="never")
    assert found == [[token for token in row if token not in policy.ends] for row in theirs]


@pytest.mark.parametrize(
    "rules", [pytest.param(name, marks=() if name == "bad_words" else pytest.mark.slow) for name in RULES if name != "none"]
)
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=() if kind == "git" else pytest.mark.slow) for kind in KINDS])
def test_rules_of_generation_are_those_of_generate(kind: str, rules: str) -> None:
    if kind == "blip" and "eos_token_id" in RULES[rules]:
        pytest.skip("BLIP's generate knows one end token, which it takes from its configuration")
    images, prompt = pictures(4), PROMPTS.get(kind, "describe the image")
    for seed in range(1):
        policy = policy_of(kind, prompt, seed=seed, rules=RULES[rules])
        assert written(policy, images, greedy=True) == generated(policy, kind, prompt, images, num_beams=1)
        found, _ = beam_search(policy, {"image": images}, beam_size=3)
        theirs = generated(policy, kind, prompt, images, num_beams=3, length_penalty=0.0, early_stopping="never")
        assert found == [[token for token in row if token not in policy.ends] for row in theirs]


@pytest.mark.parametrize("ruled", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("kind", "prompt"), QUICK)
def test_what_is_sampled_has_the_model_s_own_probabilities(kind: str, prompt: str, ruled: bool) -> None:
    """Those of one pass of the whole model over prompt and caption, and those that `forward` says."""
    given = RULES["together"] | (RULES["several_ends"] if kind != "blip" else {}) if ruled else {}
    policy, images = policy_of(kind, prompt, rules=given, temperature=0.8), pictures(3)
    rows = sample(policy, {"image": images}, num_samples=4, generator=torch.Generator().manual_seed(1))
    assert rows.mask.sum(dim=1).unique().shape[0] > 1 or kind == "blip" or not ruled
    torch.testing.assert_close(policy(rows).logp[rows.mask], rows.logp[rows.mask], atol=1e-5, rtol=1e-5)
    if given:
        return
    inputs = inputs_of(kind, prompt, images)
    name = "decoder_input_ids" if kind == "vision-encoder-decoder" else "input_ids"
    for row in range(rows.batch_size):
        one = {key: leaf[row // 4 : row // 4 + 1] for key, leaf in inputs.items() if key not in ("input_ids", name, "attention_mask")}
        caption = rows.action[row][rows.mask[row]]
        if kind in CHAT and bool((caption == NUMBER["<image>"]).any()):
            continue  # the model itself would look for a second image
        whole = torch.cat([torch.tensor(policy.adapter.prompt), caption]).unsqueeze(0)
        logits = policy.model(**one, **{name: whole}).logits[0, -len(caption) - 1 : -1] / 0.8
        expected = logits.log_softmax(dim=1).gather(1, caption.unsqueeze(1)).squeeze(1)
        torch.testing.assert_close(rows.logp[row][rows.mask[row]], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_a_decoder_that_counts_from_behind_its_padding_token() -> None:
    """RoBERTa, which over a whole row does not count padding tokens, though it did when it wrote them."""
    model, words, images = tiny_models.model("vision-encoder-decoder", decoder="roberta"), tiny_models.tokenizer(), pictures(4)
    policy = captioner_of(model, tiny_models.pictures_reader("vision-encoder-decoder"), tokenizer=words, max_tokens=LENGTH).eval()
    assert written(policy, images, greedy=True) == generated(policy, "vision-encoder-decoder", "", images, num_beams=1)
    rows = sample(policy, {"image": images}, num_samples=6, generator=torch.Generator().manual_seed(0))
    assert bool(((rows.action == 0) & rows.mask).any())
    torch.testing.assert_close(policy(rows).logp[rows.mask], rows.logp[rows.mask], atol=1e-5, rtol=1e-5)
    whole = policy(rows.replace(group=None)).logp
    torch.testing.assert_close(whole[rows.mask], rows.logp[rows.mask], atol=1e-5, rtol=1e-5)
    with pytest.raises(
        ValueError, match="max_tokens: expected at most 511, since the Vision.* has 511 places and the prompt 1 tokens, got 512"
    ):
        captioner_of(model, tiny_models.pictures_reader("vision-encoder-decoder"), max_tokens=512)


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=() if kind == "idefics3" else pytest.mark.slow) for kind in KINDS])
def test_a_frozen_encoder_gets_no_gradient_but_what_follows_it_does(kind: str) -> None:
    policy = policy_of(kind, PROMPTS.get(kind, ""), freeze_encoder=True)
    rows = sample(policy, {"image": pictures(2)}, num_samples=2, generator=torch.Generator().manual_seed(0))
    assert isinstance(rows.context, dict) and set(rows.context) == {"memory"}
    policy(rows).logp.sum().backward()
    frozen = set(policy.adapter.encoder.parameters())
    assert frozen and not any(parameter.requires_grad or parameter.grad is not None for parameter in frozen)
    learned = [parameter.grad is not None for parameter in policy.parameters() if parameter not in frozen]
    assert sum(learned) >= len(learned) - 2  # a pooler, a norm after the last layer: what no caption depends on
    bridge = {"vision-encoder-decoder": "enc_to_dec_proj", "git": "visual_projection", "idefics3": "connector", "llava": "projector"}
    assert any(parameter.grad is not None for name, parameter in policy.named_parameters() if bridge.get(kind, "crossattention") in name)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_rows_share_is_computed_once_with_the_same_gradient(kind: str) -> None:
    policy, images = policy_of(kind, PROMPTS.get(kind, "describe the image")), pictures(2)
    rows = sample(policy, {"image": images}, num_samples=3, generator=torch.Generator().manual_seed(0))
    gradients, seen = [], []
    policy.adapter.encoder.register_forward_pre_hook(lambda *given: seen.append(1))
    for group in (rows.group, None):
        policy.zero_grad()
        logp = policy(rows.replace(group=group)).logp
        (logp * torch.arange(1, rows.batch_size + 1).unsqueeze(1)).sum().backward()
        gradients.append({name: parameter.grad for name, parameter in policy.named_parameters() if parameter.grad is not None})
    assert len(seen) == 2 and len(gradients[0]) == len(gradients[1])
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_lora_leaves_a_frozen_encoder_alone(kind: str) -> None:
    plain, policy = policy_of(kind, freeze_encoder=True), policy_of(kind, lora=LoraConfig(rank=2), freeze_encoder=True)
    before, after = plain.adapter.encoder.state_dict(), policy.adapter.encoder.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(weight, after[name]) for name, weight in before.items())
    learned = {name for name, parameter in policy.named_parameters() if parameter.requires_grad}
    assert learned and all("lora_" in name for name in learned)


def test_what_does_not_fit_together_is_named() -> None:
    """Models of other kinds, processors and tokenizers of other models, and rules that `generate` would not read."""
    blip, words = tiny_models.model("blip"), tiny_models.tokenizer()
    big = transformers.BlipImageProcessorPil(size={"height": 48, "width": 48})
    with pytest.raises(
        ValueError, match=r"BlipImageProcessorPil: its pictures of 48 x 48 pixels do not fit the Blip.* task.policy.processor"
    ):
        captioner_of(blip, big)
    fitting = tiny_models.pictures_reader("blip")
    with pytest.raises(ValueError, match="prompt: it is read by the model's tokenizer, which was not given; set task.data.tokenizer"):
        captioner_of(blip, fitting, prompt="a photo")
    with pytest.raises(ValueError, match="max_tokens: expected at most 37, since the Blip.* has 40 places and the prompt 4 tokens, got 38"):
        captioner_of(blip, fitting, tokenizer=words, prompt="a photo of", max_tokens=38)
    assert captioner_of(blip, fitting, tokenizer=words, prompt="a photo of", max_tokens=37).max_tokens == 37
    blip.generation_config.bad_words_ids = [[9]]
    with pytest.raises(ValueError, match="BLIP's own generate does not read bad_words_ids; take it out of generation_config.json"):
        captioner_of(blip, fitting)
    config = transformers.GPT2Config(n_layer=1, n_head=1, n_embd=8, vocab_size=9, n_positions=4)
    with pytest.raises(
        ValueError, match=r"expected a model of one of the kinds .*blip \(BlipFor.*git \(GitFor.*idefics3.*, which is a gpt2"
    ):
        captioner_of(transformers.GPT2LMHeadModel(config), fitting)


SMOLVLM = (
    "<begin>{% for m in messages %}{{ m['role'] | capitalize }}{{ ':' if m['content'][0]['type'] == 'image' else ': ' }}"
    "{% for part in m['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}<image>{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)


@pytest.mark.parametrize(("before", "kind"), [("each", "Ġ"), ("first", "▁")])
def test_references_are_written_as_what_follows_the_prompt(before: str, kind: str) -> None:
    """GPT-2 writes a space into the word that it stands before; Llama, too, and puts one before a text of its own."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    pieces = ["<end>", "<unknown>", "Assistant", ":", "a", f"{kind}a", f"{kind}dog", f"{kind}Assistant", kind]
    made = Tokenizer(
        models.BPE(vocab={word: number for number, word in enumerate(pieces)}, merges=[], unk_token="<unknown>", ignore_merges=True)
    )
    space = pre_tokenizers.ByteLevel(add_prefix_space=False) if before == "each" else pre_tokenizers.Metaspace(prepend_scheme="first")
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(":", "isolated"), space])
    vocabulary = TokenizerVocabulary(transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>", unk_token="<unknown>"))
    after, gap = followed(tiny_models.whole_processor("idefics3", chat_template=SMOLVLM), "describe the image")
    assert (after, gap) == ("Assistant:", " ")
    assert [pieces[number] for number in vocabulary.encode(["a", "dog"], after=after, gap=gap)] == [f"{kind}a", f"{kind}dog"]
    assert [pieces[number] for number in vocabulary.encode(["a", "dog"])] == ["a" if before == "each" else f"{kind}a", f"{kind}dog"]
    assert followed(None, "a photo of") == ("a photo of", " ") and followed(None, "") == ("", "")


def test_label_smoothing_takes_the_last_word_of_a_prompt_for_a_word() -> None:
    prompted, plain = policy_of("git", "a photo of"), policy_of("git")
    assert WORDS[prompted.begin] == "of" and NUMBER["of"] not in prompted.wrong
    assert plain.begin == 1 and 1 in plain.wrong and set(prompted.wrong) == set(plain.wrong)


def test_image_tokens_that_do_not_fit_are_named() -> None:
    model, pictures = tiny_models.model("idefics3"), tiny_models.pictures_reader("idefics3")
    with pytest.raises(
        ValueError, match="it puts 9 image tokens into the prompt, but the model sees an image as 4; take the processor that"
    ):
        captioner_of(model, pictures, whole=tiny_models.whole_processor("idefics3", image_seq_len=9))
    lacking = tiny_models.whole_processor("idefics3", tiny_models.tokenizer(leave_out="<image>"))
    with pytest.raises(ValueError, match="tokenizer: expected the image token <image> as number 7, which the model looks for, got "):
        captioner_of(model, pictures, whole=lacking)
    plain = tiny_models.whole_processor("idefics3", chat_template=None)
    with pytest.raises(ValueError, match="prompt: expected <image> in it, where the image belongs, since the model has no chat template"):
        captioner_of(model, pictures, whole=plain, prompt="describe the image")
    texts = tiny_models.whole_processor("idefics3", chat_template="{% for m in messages %}{{ 'user ' + m['content'] }}{% endfor %}")
    with pytest.raises(ValueError, match="prompt: the model's chat template does not take an image and a text .* with <image> where"):
        captioner_of(model, pictures, whole=texts, prompt="describe the image")
    assert captioner_of(model, pictures, whole=plain, prompt="user <image> assistant").adapter.prompt.count(NUMBER["<image>"]) == 4
    with pytest.raises(ValueError, match="a Idefics3ForConditionalGeneration needs its processor"):
        captioner_of(model, pictures)
    pictures.do_image_splitting = True
    with pytest.raises(
        ValueError, match="do_image_splitting cuts an image into tiles.*set task.policy.processor: {do_image_splitting: false}"
    ):
        captioner_of(model, pictures, whole=plain)


def test_settings_of_the_processor_are_changed_by_name(tmp_path: Any) -> None:
    tiny_models.save(tmp_path, "idefics3")
    changed = load_processor(tmp_path, {"image_mean": [0.1, 0.2, 0.3], "do_pad": False})
    assert list(changed.image_mean) == [0.1, 0.2, 0.3] and not changed.do_pad and not changed.do_image_splitting
    with pytest.raises(ValueError, match="policy.processor: Idefics3ImageProcessorPil has no setting image_meen.* did you mean"):
        load_processor(tmp_path, {"image_meen": [0.1, 0.2, 0.3]})
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"architectures": ["Idefics3Model"]}))
    with pytest.raises(
        ValueError, match="expected a Idefics3ForConditionalGeneration, got .*, which is a Idefics3Model and would lack weights"
    ):
        load_processor(tmp_path)
