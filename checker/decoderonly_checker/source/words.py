"""Which words make code worth an analysis: every finding needs some of them together. No parser is needed to see them.

A finding needs token ids, which only a tokenizer makes (`TOKENIZES`), and something that is done with them: a model generates
from them (`GENERATES`) or learns or is scored (`USES`: labels, losses). Of a model that is loaded where it can be seen
(`LOADS`), generating is enough, and of such a tokenizer, padding (`PADS`); pipelines, trainers and completion services do it
all (`SERVES`). `READS` is what generated ids are read with. A set of these is an int, since whole projects are put
through here.
"""

from __future__ import annotations

import re
from typing import Final

SERVES: Final = 1
GENERATES: Final = 2
TOKENIZES: Final = 4
LOADS: Final = 8
USES: Final = 16
PADS: Final = 32
READS: Final = 64
ALL: Final = SERVES | GENERATES | TOKENIZES | LOADS | USES | PADS
# What makes a function worth running by itself.
LEADS: Final = SERVES | GENERATES | USES | PADS | READS | LOADS


def suffice(words: int) -> bool:
    """Whether a finding can be made of code with these words."""
    if words & SERVES:
        return True
    if words & TOKENIZES and (words & (USES | GENERATES) or words & _LOADED_AND_PADS == _LOADED_AND_PADS):
        return True
    return words & _LOADED_AND_GENERATES == _LOADED_AND_GENERATES


_LOADED_AND_PADS: Final = LOADS | PADS
_LOADED_AND_GENERATES: Final = LOADS | GENERATES

# A literal that is quick to look for, and the pattern around it that counts; None where the literal alone does.
_Test = tuple[bytes, "re.Pattern[bytes] | None"]
_GENERATES: tuple[_Test, ...] = ((b"generate", re.compile(rb"""[.\"']\s*generate\b""")),)
_LOADS: tuple[_Test, ...] = (
    (b"from_", re.compile(rb"from_(?:pretrained|config)\b")),
    (b"CausalLM", re.compile(rb"CausalLM\b")),
    (b"LMHead", re.compile(rb"LMHead(?:Model)?\b")),
    (b"AutoModel", None),
    (b"Generation(", None),
)
_SERVES: tuple[_Test, ...] = (
    (
        b"ipeline",
        re.compile(
            rb"pipeline\s*\(|[Pp]ipeline\b[^\n]*[\"']text|TextGenerationPipeline|HuggingFacePipeline|import[^\n]*\bpipeline\b|\bpipeline\s*[,)]"
        ),
    ),
    (b"text-generation", None),
    (b"generated_text", re.compile(rb"[\"'.]\s*generated_text\b")),
    (b"Streamer", re.compile(rb"(?<!Base)Streamer")),
    (b"echo", re.compile(rb"""\becho\s*=|["']echo["']""")),
    (b"Trainer", re.compile(rb"Trainer\s*[(\])]|=\s*[\w.]*Trainer\b")),
)
# A class that derives from a tokenizer, or an import, makes no ids; but who imports one by another name uses that, and
# more may stand on the same line.
_TOKENIZER = re.compile(
    rb"^(?!class[ \t]|[ \t]*from[ \t]|[ \t]*import[ \t])[^\n]*okeni[sz]er"
    rb"|okeni[sz]er\w*[ \t]+as[ \t]|(?:;|^class[ \t][^\n:]*:)[^\n]*okeni[sz]er",
    re.MULTILINE,
)
_TOKENIZES: tuple[_Test, ...] = (
    (b"okeniz", _TOKENIZER),
    (b"okenis", _TOKENIZER),
    (
        b"rocessor",
        re.compile(
            rb"\b_?processor\b(?=\s*(?:[(\[,)=:\]\"']|\.\w))|(?<!ogits)(?<!mage)(?<!ideo)(?<!eature)Processor\b"
        ),
    ),
    (b"tok", re.compile(rb"\b_?tok\b")),
)
# `padding_side == "left"`, `padding_strategy != PaddingStrategy.DO_NOT_PAD`
_NOT_ID: Final = rb"(?!ding_?s(?:ide|trategy))"
_USES: tuple[_Test, ...] = (
    (b"logits", re.compile(rb"\blogits\b")),
    (b"hidden_state", re.compile(rb"last_hidden_state|\.\s*hidden_states|[\"']hidden_states[\"']\s*[\]),]")),
    *((word, None) for word in (b"loss", b"label_ids", b"ollat", b"erplexity", b"softmax")),
    *((word, None) for word in (b"log_prob", b"logprob", b"ross_entropy", b"rossEntropy")),
    (b"nll", re.compile(rb"nll(?!b)")),  # NLLB is a model
    (b"IGNORE", re.compile(rb"IGNORE(?!CASE)")),
    (b"labels", re.compile(rb"""(?<![\w.])labels(?:["']\s*[:\],)]|\s*=(?!=)(?!\s*(?:labels|None)\b))""")),
    (b"100", re.compile(rb"-\s*100\b")),
    (b"gnore", re.compile(rb"(?i)ignore_?(?:index|idx|id|token|label|value)")),
    (b"label", re.compile(rb"(?i)label_?pad")),
    # A mask made by comparing ids with the pad token.
    (b"pad", re.compile(rb"(?i)(?:[!=]=\s*|\b(?:ne|eq|not_equal)\s*\((?:[^\n]*,)?\s*)[\w.\[\]\"']*pad"
            + _NOT_ID + rb"|pad" + _NOT_ID + rb"[\w.\]\"']*\s*[!=]=")),
)  # fmt: skip
_PADS: tuple[_Test, ...] = (
    # Not an annotation, nor what is handed on.
    (b"padding", re.compile(rb"""padding["']?\s*[:=](?!=)(?!\s*(?:padding|False|None|bool|str|PaddingStrategy|Union)\b)""")),
    (b".pad", re.compile(rb"\.pad\s*\(")),
)  # fmt: skip
_READS: tuple[_Test, ...] = (
    # Not bytes.decode: tokens are decoded from something, and never from a literal string.
    (b"decode", re.compile(rb"""decode\b(?!\s*\(\s*(?:\)|["']|encoding\s*=|errors\s*=))""")),
    (b"enerated", None),
    (b"skip_special_tokens", None),
)


def words_in(code: bytes, wanted: int = ALL) -> int:
    """Return what a piece of code speaks of, among what is `wanted`.

    Args:
        code: Bytes in an encoding that writes ASCII as ASCII does; comments and documentation taken out.
        wanted: What to look for.
    """
    found = 0
    for words, tests in _TESTS:
        if words & wanted:
            for literal, pattern in tests:
                if literal in code and (pattern is None or pattern.search(code) is not None):
                    found |= words
                    break
    return found


_TESTS = (
    (SERVES, _SERVES),
    (GENERATES, _GENERATES),
    (TOKENIZES, _TOKENIZES),
    (LOADS, _LOADS),
    (USES, _USES),
    (PADS, _PADS),
    (READS, _READS),
)
