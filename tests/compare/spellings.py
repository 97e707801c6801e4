"""Tokenizers that put texts together in different ways, built in code."""

from __future__ import annotations

from functools import cache

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from pytest_decoderonly import tiny_tokenizer

NAMES = ("bytes", "bytes-bos", "metaspace", "cleaned")
_WORDS = ("▁the", "▁sky", "▁is", "▁blue", "ing", "er", "▁Qu", "▁A", "swer", "▁wh", "▁no", "▁yes")


@cache
def spelling(name: str) -> PreTrainedTokenizerFast:
    """Return byte-level BPE without or with BOS, one whose words begin with a mark, or one that cleans up."""
    if name == "metaspace":
        return _metaspace()
    tokenizer = tiny_tokenizer(bos=name == "bytes-bos")
    if name == "cleaned":
        tokenizer.clean_up_tokenization_spaces = True
        tokenizer.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output = True
    return tokenizer


def _metaspace() -> PreTrainedTokenizerFast:
    """As SentencePiece does: a space in front of the text, BOS, words that begin with a mark."""
    specials = ["<pad>", "<s>", "</s>", "<unk>"]
    letters = ["▁", *map(chr, range(33, 127)), "\n", "é", "ü", "東", "京"]
    vocabulary = {token: i for i, token in enumerate([*specials, *letters])}
    merges = []
    for word in _WORDS:
        for end in range(2, len(word) + 1):
            if word[:end] not in vocabulary:
                merges.append((word[: end - 1], word[end - 1]))
                vocabulary[word[:end]] = len(vocabulary)
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>"))  # noqa: S106
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.decoder = decoders.Metaspace(prepend_scheme="first")
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",  # noqa: S106
        bos_token="<s>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
        unk_token="<unk>",  # noqa: S106
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
