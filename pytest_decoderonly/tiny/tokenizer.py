"""A tiny byte-level BPE tokenizer, built in code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pytest_decoderonly.tiny.sizes import BOS_ID

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] "
    "}}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# Whole words become single tokens, each with its prefixes: enough merges that a prompt and a response may
# merge at their border.
_WORDS = (
    " the",
    " and",
    " of",
    " to",
    " is",
    " a",
    " in",
    " yes",
    " no",
    "ing",
    "er",
    "Qu",
    "An",
    "swer",
    "question",
    ": ",
    " you",
    " are",
    " wh",
    " that",
    " for",
    " it",
    " with",
    " sky",
    " blue",
    "def ",
    "no",
)


def tiny_tokenizer(
    *,
    pad: bool = True,
    bos: bool = False,
    chat_template: bool = True,
    padding_side: Literal["left", "right"] = "left",
) -> PreTrainedTokenizerFast:
    """Build a byte-level BPE tokenizer in code: any text makes a round trip.

    A few words are single tokens, so that text on both sides of a border may merge, as with real
    vocabularies. The special ids are those of `tiny_decoder`: padding 0, BOS 1, EOS 2.

    Args:
        pad: Declare the padding token. Without it the tokenizer refuses to pad, as those of GPT-2 and LLaMA
            do.
        bos: Put BOS in front of every encoding, as LLaMA's and Gemma's tokenizers do.
        chat_template: Set a ChatML template that knows `add_generation_prompt`.
        padding_side: `"left"` or `"right"`.

    Raises:
        ValueError: `padding_side` is neither.
    """
    if padding_side not in ("left", "right"):
        raise ValueError(f"padding_side: must be 'left' or 'right', got {padding_side!r}")
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    specials = ["<pad>", "<bos>", "<eos>", "<|im_start|>", "<|im_end|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*specials, *alphabet])}
    merges: list[tuple[str, str]] = []
    for word in _WORDS:
        letters = word.replace(" ", "Ġ")
        for end in range(2, len(letters) + 1):
            if letters[:end] not in vocabulary:
                merges.append((letters[: end - 1], letters[end - 1]))
                vocabulary[letters[:end]] = len(vocabulary)
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    if bos:
        backend.post_processor = processors.TemplateProcessing(
            single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", BOS_ID)]
        )
    else:
        backend.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<bos>",  # noqa: S106 - a token of text
        eos_token="<eos>",  # noqa: S106 - a token of text
        pad_token="<pad>" if pad else None,
        padding_side=padding_side,
        model_max_length=512,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.chat_template = CHAT_TEMPLATE if chat_template else None
    return tokenizer
