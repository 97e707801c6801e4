"""Tiny tokenizers, built in code: nothing is downloaded, any text makes a round trip.

All have the vocabulary size and the special ids of `tiny_decoder`'s models, so that any of them goes with any of
those. They differ in what real tokenizers differ in: special tokens put around a text, a space put in front of
it, the chat template and the token that ends a turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from pytest_decoderonly.extras import need
from pytest_decoderonly.tiny.sizes import BOS_ID, EOS_ID

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerFast

Kind = Literal["byte-level", "metaspace"]
Template = Literal["chatml", "chatml-generation", "llama-2", "gemma"]

_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] "
    "}}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CHATML_GENERATION = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ message['content'] }}<|im_end|>{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As in Meta's model card: BOS is a part of every exchange, turns must alternate, contents are stripped.
_LLAMA_2 = (
    "{% if messages and messages[0]['role'] == 'system' %}"
    "{% set system = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}{% set turns = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}"
    "{% for message in turns %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + ((system + message['content']) if loop.first else message['content']).strip()"
    " + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
# As Gemma's: no system role, "model" speaks, and a turn ends in a token that is not EOS.
_GEMMA = (
    "{{ bos_token }}{% if messages and messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{{ message['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
CHAT_TEMPLATES: dict[Template, str] = {
    "chatml": _CHATML,
    "chatml-generation": _CHATML_GENERATION,
    "llama-2": _LLAMA_2,
    "gemma": _GEMMA,
}

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
# SentencePiece has letters where the other has bytes, and bytes (256 of them) behind these: fewer words fit.
_LETTERS = "\u2581abcdefghijklmnopqrstuvwxyz.,?:'"
_PIECES = (" the", " and", " is", " yes", " no", "ing", " sky", " blue", ": ", "swer", "no")


def tiny_tokenizer(
    *,
    pad: bool = True,
    bos: bool = False,
    eos: bool = False,
    chat_template: bool | Template = True,
    padding_side: Literal["left", "right"] = "left",
    kind: Kind = "byte-level",
) -> PreTrainedTokenizerFast:
    """Build a small BPE tokenizer in code: any text makes a round trip.

    A few words are single tokens, so that text on both sides of a border may merge, as with real
    vocabularies. The special ids are those of `tiny_decoder`: padding 0, BOS 1, EOS 2.

    Args:
        pad: Declare the padding token. Without it the tokenizer refuses to pad, as those of GPT-2 and LLaMA
            do.
        bos: Put BOS in front of every encoding, as LLaMA's and Gemma's tokenizers do.
        eos: Put EOS behind every encoding, as tokenizers with `add_eos_token` do.
        chat_template: `"chatml"` (or True); `"chatml-generation"`, which marks the assistant's tokens for
            `return_assistant_tokens_mask`; `"llama-2"`, which writes BOS itself and strips contents;
            `"gemma"`, which knows no system role and ends turns in `<end_of_turn>`, not EOS; False for none.
        padding_side: `"left"` or `"right"`.
        kind: `"byte-level"` as GPT-2's and Qwen's, or `"metaspace"` as SentencePiece's: a space is put in
            front of the text and taken off again by `decode`, and rare letters fall back to bytes. There `▁`
            (U+2581) stands for a space, also in a text that holds it.

    Raises:
        ValueError: `padding_side`, `chat_template` or `kind` is none of these.
        ModuleNotFoundError: transformers is not installed.
    """
    if padding_side not in ("left", "right"):
        raise ValueError(f"padding_side: must be 'left' or 'right', got {padding_side!r}")
    if kind not in get_args(Kind):
        raise ValueError(f"kind: must be one of {', '.join(get_args(Kind))}, got {kind!r}")
    template = "chatml" if chat_template is True else chat_template
    if template is not False and template not in CHAT_TEMPLATES:
        raise ValueError(
            f"chat_template: must be True, False or one of {', '.join(CHAT_TEMPLATES)}, got {chat_template!r}"
        )
    need("a tiny tokenizer", "transformers")
    from transformers import PreTrainedTokenizerFast

    turns = ["<start_of_turn>", "<end_of_turn>"] if template == "gemma" else ["<|im_start|>", "<|im_end|>"]
    specials = ["<pad>", "<bos>", "<eos>", *turns]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_backend(kind, specials, bos=bos, eos=eos),
        bos_token="<bos>",  # noqa: S106 - a token of text
        eos_token="<eos>",  # noqa: S106 - a token of text
        pad_token="<pad>" if pad else None,
        padding_side=padding_side,
        model_max_length=512,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.chat_template = None if template is False else CHAT_TEMPLATES[template]
    return tokenizer


def _backend(kind: Kind, specials: Sequence[str], *, bos: bool, eos: bool) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    if kind == "byte-level":
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        words = [word.replace(" ", "Ġ") for word in _WORDS]
    else:
        alphabet = [*(f"<0x{byte:02X}>" for byte in range(256)), *_LETTERS]
        words = [word.replace(" ", "\u2581") for word in _PIECES]
    vocabulary = {token: i for i, token in enumerate([*specials, *alphabet])}
    merges: list[tuple[str, str]] = []
    for word in words:
        for end in range(2, len(word) + 1):
            if word[:end] not in vocabulary:
                merges.append((word[: end - 1], word[end - 1]))
                vocabulary[word[:end]] = len(vocabulary)
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=kind == "metaspace"))
    if kind == "byte-level":
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
    else:
        # As in LLaMA's tokenizer.json. (The pre-tokenizer Metaspace would lose a leading space of the text.)
        backend.normalizer = normalizers.Sequence(
            [
                normalizers.Prepend("\u2581"),
                normalizers.Replace(" ", "\u2581"),
            ]
        )
        backend.decoder = decoders.Sequence(
            [
                decoders.Replace("\u2581", " "),
                decoders.ByteFallback(),
                decoders.Fuse(),
                decoders.Strip(" ", 1, 0),
            ]
        )
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    if bos or eos:
        single, pair = (
            " ".join((["<bos>"] if bos else []) + [part] + (["<eos>"] if eos else []))
            for part in ("$A", "$B")
        )
        backend.post_processor = processors.TemplateProcessing(
            single=single, pair=f"{single} {pair}", special_tokens=[("<bos>", BOS_ID), ("<eos>", EOS_ID)]
        )
    elif kind == "byte-level":
        backend.post_processor = processors.ByteLevel(trim_offsets=False)
    return backend
