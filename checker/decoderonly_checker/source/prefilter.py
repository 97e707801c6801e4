"""Which files are worth parsing, told from their bytes alone. A "no" is certain; a wrong "yes" costs time."""

from __future__ import annotations

import codecs
import re

# Every finding is made of at least one of these: a call, a cut, a comparison or labels that the analysis
# knows by name. A file without any can still matter through what it imports (`imports.py`); findings in a
# helper without any come to light when its caller is analysed.
_WORDS = (
    *(b"text-generation", b"generated", b"generation", b"GenerationConfig", b"GenerationMixin", b"pipeline"),
    *(b"batch_decode", b"decoder_", b"skip_special_tokens", b"skip_prompt", b"return_full_text", b"treamer"),
    *(b"okeniz", b"rocessor", b"from_pretrained", b"transformers", b"chat_template", b"special_tokens"),
    *(b"CausalLM", b"LMHead", b"LanguageModel", b"Seq2Seq", b"Trainer", b"ollat"),
    *(
        b"input_ids",
        b"attention_mask",
        b"position_ids",
        b"inputs_embeds",
        b"token_ids",
        b"label_ids",
        b"labels",
    ),
    *(b"pad_token", b"eos_token", b"bos_token", b"padding", b"truncat", b"logits", b"hidden_states"),
    *(b"ignore_index", b"cross_entropy", b"CrossEntropy", b"nll_loss", b"NLLLoss", b"log_softmax"),
    *(b"perplexity", b"completions"),
)
# Words too common to count wherever they stand: a quick test, then where they must stand to count.
_PLACED = (
    (b"generate", re.compile(rb"""[.\"'_]generate|\bgenerate_""")),
    # Not bytes.decode: tokens are decoded from something, and never from a literal string.
    (b"decode", re.compile(rb"""\.\s*decode\b(?!\s*\(\s*(?:\)|["']|encoding\s*=|errors\s*=))""")),
    (b"100", re.compile(rb"-\s*100\b")),
    (b"echo", re.compile(rb"""\becho\s*=|["']echo["']""")),
)
# What a module must hold for models, tokens or generated text to come out of it.
_SOURCES = (
    *(b"transformers", b"from_pretrained", b"CausalLM", b"LMHead", b"LanguageModel", b"okenizer", b"Trainer"),
    *(b"text-generation", b"completions", b"input_ids", b"attention_mask", b"logits", b"unsloth", b"ollator"),
)
_GENERATES = re.compile(rb"""[.\"']generate\b""")
_ESCAPED_LETTER = re.compile(rb"\\u00[2-7]")
_COOKIE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")


def may_matter(data: bytes, *, notebook: bool = False) -> bool:
    """Whether a file may hold a finding by itself. Only ever wrong in saying yes.

    Args:
        data: The file's bytes, in any encoding that Python accepts for source.
        notebook: The bytes are JSON, where letters may be written as escapes.
    """
    return (
        any(word in data for word in _WORDS)
        or any(word in data and pattern.search(data) is not None for word, pattern in _PLACED)
        or (notebook and _ESCAPED_LETTER.search(data) is not None)
        or not _words_are_ascii(data)
    )


def may_provide(data: bytes) -> bool:
    """Whether a module may hand models, tokens or generated text to those who import it."""
    return (
        any(word in data for word in _SOURCES)
        or (b"generate" in data and _GENERATES.search(data) is not None)
        or not _words_are_ascii(data)
    )


def _words_are_ascii(data: bytes) -> bool:
    """Whether the declared encoding writes the words above as ASCII does (UTF-7 need not, for one)."""
    for line in data[:1000].split(b"\n", 2)[:2]:
        match = _COOKIE.match(line) if b"coding" in line else None
        if match is not None:
            try:
                name = codecs.lookup(match.group(1).decode("ascii")).name
                return name != "utf-7" and "generate".encode(name) == b"generate"
            except (LookupError, UnicodeError):
                return False
    return True
