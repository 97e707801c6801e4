"""Which words make code worth an analysis: every finding needs some of them together. No parser is needed to see them.

A finding needs token ids, which only a tokenizer makes (`TOKENIZES`), and something that is done with them: a model generates
from them (`GENERATES`) or learns or is scored (`USES`: labels, losses). Of a model that is loaded where it can be seen
(`LOADS`), generating is enough (`ASKS`: not what a class only hands on to the one that it derives from), and of such a
tokenizer, padding (`PADS`); pipelines, trainers and completion services do it all (`SERVES`). `READS` is what generated ids
are read with. A set of these is an int, since whole projects are put through here.
"""

from __future__ import annotations

import keyword
import re
from typing import Final, Protocol

from decoderonly_checker.late import late_pattern
from decoderonly_checker.source.makers import Uses

SERVES: Final = 1
GENERATES: Final = 2
TOKENIZES: Final = 4
LOADS: Final = 8
USES: Final = 16
PADS: Final = 32
READS: Final = 64
ASKS: Final = 128
ALL: Final = SERVES | GENERATES | TOKENIZES | LOADS | USES | PADS | ASKS
# What makes a function worth running by itself.
LEADS: Final = SERVES | GENERATES | USES | PADS | READS | LOADS


def suffice(words: int) -> bool:
    """Whether a finding can be made of code with these words."""
    if words & SERVES:
        return True
    if words & TOKENIZES and (words & (USES | GENERATES) or words & _LOADED_AND_PADS == _LOADED_AND_PADS):
        return True
    return words & _LOADED_AND_ASKED == _LOADED_AND_ASKED


_LOADED_AND_PADS: Final = LOADS | PADS
_LOADED_AND_ASKED: Final = LOADS | ASKS


# A literal that is quick to look for, and what tells whether it counts; None where the literal alone does. That is asked of
# much code, and so begins with the literal where it can.
class _Search(Protocol):
    def search(self, code: bytes, /) -> object: ...


_Test = tuple[bytes, "_Search | None"]
Tests = tuple[tuple[int, tuple[_Test, ...]], ...]


class _Asked:
    """Looks for `generate` as a method or by its name; of what a class derives from, only if that counts."""

    def __init__(self, *, inherited: bool) -> None:
        self._not_of = () if inherited else (b"super().",)

    def search(self, code: bytes, /) -> bool:
        for match in _GENERATE.finditer(code):
            before = code[max(0, match.start() - 80) : match.start()].rstrip()
            if before.endswith((b".", b'"', b"'")) and not before.endswith(self._not_of):
                return True
        return False


_GENERATE = late_pattern(rb"generate\b")
_GENERATES: tuple[_Test, ...] = ((b"generate", _Asked(inherited=True)),)
_OWN_MODEL = late_pattern(rb"^class[ \t]+\w+\([^)]*(?:CausalLM|LMHead\w*|Generation)\b", re.MULTILINE)
_ASKS: tuple[_Test, ...] = (
    (b"generate", _Asked(inherited=False)),
    (b"super().generate", _OWN_MODEL),  # of a model whose class is known
)
_OWN_HEAD = late_pattern(rb"\bclass[ \t]+\w*\Z")


class _NotItsOwn:
    """Looks for a model's class elsewhere than where it is defined: `class AModelForCausalLM(…):` loads none."""

    def __init__(self, name: bytes) -> None:
        self._name = late_pattern(name)

    def search(self, code: bytes, /) -> bool:
        return any(
            _OWN_HEAD.search(code, max(0, match.start() - 80), match.start()) is None
            for match in self._name.finditer(code)
        )


_LOADS: tuple[_Test, ...] = (
    (
        b"from_",
        late_pattern(
            rb"from_(?:pretrained|config)\b(?<!_from_config)(?<!def from_pretrained)(?<!def from_config)"
        ),
    ),
    (b"CausalLM", _NotItsOwn(rb"CausalLM\b")),
    (b"LMHead", _NotItsOwn(rb"LMHead(?:Model)?\b")),
    (b"AutoModel", None),
    (b"Generation(", _NotItsOwn(rb"Generation\(")),
)


class _PipelineCalled:
    """Looks for calls of pipelines: `def chat_pipeline(…)` is none, nor are calls of what is defined so beside them."""

    def search(self, code: bytes, /) -> bool:
        for match in _PIPELINE_CALLED.finditer(code):
            before = code[max(0, match.start() - 80) : match.start()]
            first = before[len(before.rstrip(_WORD)) :]
            if first:
                if b"def " + first + b"pipeline(" not in code:
                    return True
            elif not before.endswith(b"def "):
                return True
        return False


_PIPELINE_CALLED = late_pattern(rb"pipeline\s*\(")
_WORD: Final = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
_SERVES: tuple[_Test, ...] = (
    (
        b"ipeline",
        late_pattern(
            rb"[Pp]ipeline\b[^\n]*[\"']text|TextGenerationPipeline|HuggingFacePipeline|import[^\n]*\bpipeline\b|\bpipeline\s*[,)]"
        ),
    ),
    (b"pipeline", _PipelineCalled()),
    (b"text-generation", None),
    (b"generated_text", late_pattern(rb"[\"'.]\s*generated_text\b")),
    (b"Streamer", late_pattern(rb"(?<!Base)Streamer")),
    (b"echo", late_pattern(rb"""\becho\s*=(?!\s*(?:False|None)\b)|["']echo["']""")),
    # Not an annotation: what a trainer does is seen where it is made.
    (b"Trainer", late_pattern(rb"(?<!: )\bTrainer\s*[(\])]|\wTrainer\s*[(\])]|=\s*[\w.]*Trainer\b")),
)
_TOKENIZES: tuple[_Test, ...] = (
    (b"okenizer", Uses(rb"okenizer\w*")),
    (b"okeniser", Uses(rb"okeniser\w*")),
    (
        b"Processor",
        Uses(rb"Processor\b(?<!ogitsProcessor)(?<!mageProcessor)(?<!ideoProcessor)(?<!eatureProcessor)"),
    ),
    (b"rocessor", late_pattern(rb"\b_?processor\b(?=\s*(?:[(\[,)=:\]\"']|\.\w))")),
    # Not a token: `for tok in tokens`.
    (b"tok", late_pattern(rb"tok\b(?:(?<=\btok)|(?<=\b_tok))(?=\s*(?:[(.,)]|=(?!=)))")),
)
# `padding_side == "left"`, `padding_strategy != PaddingStrategy.DO_NOT_PAD`, `length % pad_to_multiple_of != 0`
_NOT_ID: Final = rb"(?!ded|_to_|ding_?(?:side|strategy|mode))"
_PAD: Final = rb"(?!paddingstrategy)[\w.\[\]\"']*pad" + _NOT_ID


def _compares(function: bytes) -> bytes:
    return function + rb"(?<=\b" + function + rb")\s*\((?:[^\n]*,)?\s*" + _PAD


class _AnyCase:
    """Looks for patterns in upper and lower case: in small letters, as `re` is quick to look for literals as they are."""

    def __init__(self, *patterns: bytes) -> None:
        self._patterns = tuple(map(late_pattern, patterns))

    def search(self, code: bytes, /) -> bool:
        small = code.lower()
        return any(pattern.search(small) for pattern in self._patterns)


class _MinusHundred:
    """Looks for the number -100: `score - 100` is another one."""

    def search(self, code: bytes, /) -> bool:
        for match in _MINUS_HUNDRED.finditer(code):
            before = code[max(0, match.start() - 20) : match.start()].rstrip()
            last = before[len(before.rstrip(_WORD)) :]
            if last in _BEFORE_NUMBER if last else not before.endswith((b")", b"]")):
                return True
        return False


_MINUS_HUNDRED = late_pattern(rb"-\s*100\b(?!\.\d)")
_BEFORE_NUMBER: Final = frozenset(
    name.encode() for name in keyword.kwlist if name not in {"None", "True", "False"}
)
_USES: tuple[_Test, ...] = (
    (b"logits", late_pattern(rb"logits\b(?<=\blogits)")),
    (b"hidden_state", late_pattern(rb"last_hidden_state|\.\s*hidden_states|[\"']hidden_states[\"']\s*[\]),]")),
    *((word, None) for word in (b"loss", b"label_ids", b"erplexity", b"softmax")),
    (b"ollat", late_pattern(rb"ollat(?!e_word|ion|eral)")),
    *((word, None) for word in (b"log_prob", b"logprob", b"ross_entropy", b"rossEntropy")),
    (b"nll", late_pattern(rb"(?<!co)nll(?!b)")),  # NLLB is a model, CoNLL a data set
    (b"IGNORE", late_pattern(rb"IGNORE(?!CASE)")),
    (b"labels", late_pattern(rb"""labels(?<![\w.]labels)(?:["']\s*[:\],)]|\s*=(?!=)(?!\s*(?:labels|None)\b))""")),
    (b"100", _MinusHundred()),
    (b"gnore", _AnyCase(rb"ignore_?(?:index|idx|id|token|label|value)")),
    (b"label", _AnyCase(rb"label_pad", rb"labelpad")),
    # A mask made by comparing ids with the pad token.
    (b"pad", _AnyCase(rb"==\s*" + _PAD, rb"!=\s*" + _PAD, *(_compares(name) for name in (b"ne", b"eq", b"not_equal")),
                      rb"pad" + _NOT_ID + rb"[\w.\]\"']*\s*[!=]=(?!\s*paddingstrategy)")),
)  # fmt: skip
_PADS: tuple[_Test, ...] = (
    # Not an annotation, nor what is handed on.
    (b"padding", late_pattern(rb"""padding["']?\s*[:=](?!=)(?!\s*(?:padding|False|None|bool|str|PaddingStrategy|Union)\b)"""
            )),
    (b".pad", late_pattern(rb"\.pad\s*\(")),
)  # fmt: skip
_READS: tuple[_Test, ...] = (
    # Not bytes.decode: tokens are decoded from something, and never from a literal string.
    (b"decode", late_pattern(rb"""decode\b(?!\s*\(\s*(?:\)|["']|encoding\s*=|errors\s*=))""")),
    (b"enerated", None),
    (b"skip_special_tokens", None),
)


def words_in(code: bytes, wanted: int = ALL, among: Tests | None = None) -> int:
    """Return what a piece of code speaks of, among what is `wanted`.

    Args:
        code: Bytes in an encoding that writes ASCII as ASCII does; comments and documentation taken out.
        wanted: What to look for.
        among: What can be found in it; anything if None.
    """
    found = 0
    for words, tests in _TESTS if among is None else among:
        if words & wanted:
            for literal, counts in tests:
                if literal in code and (counts is None or counts.search(code)):
                    found |= words
                    break
    return found


def tests_for_parts(code: bytes, wanted: int) -> Tests:
    """Return what can be found in the parts of some code, for `words_in`: so that not all is looked for in each of them."""
    among = (
        (words, tuple(test for test in tests if test[0] in code)) for words, tests in _TESTS if words & wanted
    )
    return tuple(one for one in among if one[1])


_TESTS: Tests = (
    (SERVES, _SERVES),
    (GENERATES, _GENERATES),
    (ASKS, _ASKS),
    (TOKENIZES, _TOKENIZES),
    (LOADS, _LOADS),
    (USES, _USES),
    (PADS, _PADS),
    (READS, _READS),
)
