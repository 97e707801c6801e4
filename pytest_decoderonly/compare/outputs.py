"""Whether an output still carries its prompt, or rather repeats words of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_decoderonly.compare.texts import Codec, normal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# What stands for a speaker in chat templates; such a word around the prompt shows that a rendered prompt
# remained.
_ROLES = r"(?:system|user|human|assistant|model|question|instruction|prompt|inst|q)"
_REPLIES = r"(?:assistant|model|answer|response|output|gpt|bot|chatbot|ai|a)"
_MARKUP = r"(?:<\|[^|<>]{1,40}\|>|</?s>|\[/?INST\]|<start_of_turn>|<end_of_turn>|#{2,})"
_HEADER_BEFORE = re.compile(rf"\b{_ROLES}\b(?:\W*[:\n>\]])\W*$", re.IGNORECASE)
_HEADER_AT_START = re.compile(rf"^\W*{_ROLES}\b\W*?[:\n>\]]", re.IGNORECASE)
_REPLY_AFTER = re.compile(rf"^\W*?(?:{_MARKUP}|\b{_REPLIES}\b\s*[:\n>\]])", re.IGNORECASE)
_ASIAN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_QUOTES = "\"'`\u00ab\u201e\u201c\u201d\u2018\u300c>"
_CUES = ":=>]}|"  # what asks for a continuation: no answer ends its first sentence with it

MIN_TOKENS = 2
MIN_CHARACTERS = 4
MIN_TAIL_TOKENS = 4
MIN_TAIL_CHARACTERS = 12
_UNREAD_TAIL_TOKENS = 8
_TELLING_WORDS = 4


@dataclass(frozen=True)
class Remainder:
    """What of a prompt remained in an output. `start` and `end` count tokens or characters of the output.

    `sure` is False where an answer may say the same: a greeting that is returned, the end of the prompt that
    the model was asked to repeat. `preamble` is what a template may have put in front of the prompt.
    """

    row: int
    unit: str
    start: int
    end: int
    total: int
    whole: bool
    shown: str
    sure: bool = True
    preamble: str = ""

    @property
    def what(self) -> str:
        """The finding in words."""
        if self.whole:
            return (
                f"the whole prompt ({self.total} {self.unit}) stands at {self.unit} {self.start} "
                f"to {self.end}"
            )
        return (
            f"the last {self.end - self.start} of the prompt's {self.total} {self.unit} stand "
            "at the start: it was cut too early"
        )


def settled(found: Sequence[Remainder | None]) -> list[Remainder | None]:
    """Keep what is sure: by itself, because a row beside it is, or because rows share a template around it.

    All outputs came through the same code: where one carries its prompt, words of the prompt at the start of
    another are no coincidence.
    """
    preambles = [r.preamble for r in found if r is not None and r.preamble]
    known = [r is not None and (r.sure or preambles.count(r.preamble) > 1) for r in found]
    if not any(known):
        return [None] * len(found)
    return [
        r if r is not None and (flag or not r.preamble) else None
        for r, flag in zip(found, known, strict=True)
    ]


def find_prompt_ids(
    row: int, output: Sequence[int], prompt: Sequence[int], codec: Codec | None = None
) -> Remainder | None:
    """Look for a prompt's ids at the start of an output's, after padding of any length.

    A prompt of one token cannot be told from a coincidence and is not reported; of a part of the prompt, its
    end counts from 4 tokens on.

    Args:
        row: Which output it is.
        output: Ids of the output.
        prompt: Ids of the prompt, without padding.
        codec: The tokenizer, where there is one: an answer may begin with words of the prompt, and their text
            tells whether it does. Without one, an end of less than 8 tokens is not sure.
    """
    ids, wanted = list(output), list(prompt)
    codec = codec or Codec()
    if len(wanted) < MIN_TOKENS:
        return None
    start = 0
    while start + len(wanted) <= len(ids):
        if ids[start : start + len(wanted)] == wanted:
            sure = codec.tokenizer is None or start > 0 or bool(codec.special_ids & set(wanted))
            sure = sure or _tells(codec.decode(wanted))
            end = start + len(wanted)
            return Remainder(row, "tokens", start, end, len(wanted), whole=True, shown="", sure=sure)
        if ids[start] not in codec.special_ids and (codec.tokenizer is not None or ids[start] != ids[0]):
            break  # only padding and BOS may precede; without a tokenizer, a run of one id
        start += 1
    for size in range(min(len(wanted) - 1, len(ids)), MIN_TAIL_TOKENS - 1, -1):
        tail = wanted[-size:]
        if ids[:size] == tail and len(set(tail)) > 1:
            sure = size >= _UNREAD_TAIL_TOKENS or bool(codec.special_ids & set(tail))
            if codec.tokenizer is not None and not codec.special_ids & set(tail):
                before, text = codec.decode(wanted[:-size]), codec.decode(tail)
                sure = _cut_off(before, text, codec.decode(ids[size:]))
            return Remainder(row, "tokens", 0, size, len(wanted), whole=False, shown="", sure=sure)
    return None


def find_prompt_text(row: int, output: str, prompt: str, specials: Iterable[str] = ()) -> Remainder | None:
    """Look for a prompt in a text, whatever whitespace, special tokens, case and Unicode did to it.

    The whole prompt counts at the start of the text, or behind what a chat template puts before it; quoting
    the question in an answer does not. Of a part, the prompt's end at the start of the text counts from 12
    characters on, spaces not counted.
    """
    mine, theirs = normal(output, specials), normal(prompt, specials)
    text, wanted = mine.text, theirs.text
    if len(wanted) < MIN_CHARACTERS:
        return None
    at = text.find(wanted)
    while at >= 0:
        start, end = mine.origin(at, at + len(wanted))
        found = Remainder(row, "characters", start, end, len(prompt), whole=True, shown=output[start:end])
        before, after = output[:start], output[end:]
        if at == 0 or not re.search(r"\w", _unmarked(before, specials)):
            quoted = before.rstrip()[-1:] in set(_QUOTES) - {prompt.strip()[:1]} and bool(before.strip())
            if not (quoted and not _ends_in_markup(before, specials)):
                return replace(found, sure=_tells(prompt) or _REPLY_AFTER.match(after) is not None)
        elif _HEADER_BEFORE.search(_spoken(before)):
            if _HEADER_AT_START.search(_spoken(output)):
                return found
            if _REPLY_AFTER.match(after):
                return replace(found, sure=False, preamble=before)
        at = text.find(wanted, at + 1)
    for size in range(min(len(wanted) - 1, len(text)), MIN_TAIL_CHARACTERS - 1, -1):
        if text.startswith(wanted[-size:]):
            start, end = mine.origin(0, size)
            cut = theirs.places[len(wanted) - size]
            sure = _cut_off(prompt[:cut], prompt[cut:], output[end:])
            shown = output[start:end]
            return Remainder(row, "characters", start, end, len(prompt), whole=False, shown=shown, sure=sure)
    return None


def _spoken(text: str) -> str:
    """The text with the role that a special token names, as `<|user|>` does, written out; other ones are breaks."""

    def role(match: re.Match[str]) -> str:
        named = re.search(_ROLES, match.group(), re.IGNORECASE)
        return f"\n{named.group()}:" if named else "\n"

    return re.sub(_MARKUP, role, text)


def _unmarked(text: str, specials: Iterable[str]) -> str:
    return normal(text, specials).text


def _ends_in_markup(before: str, specials: Iterable[str]) -> bool:
    """Whether the sign in front of the prompt belongs to a special token, as the > of <s> does."""
    return bool(before.strip()) and not _unmarked(before.rstrip()[-40:], specials).endswith(
        before.strip()[-1]
    )


def _tells(prompt: str) -> bool:
    """Whether no answer would begin with all of this prompt: a greeting may be returned, a question is not."""
    text = prompt.strip()
    words = len(re.findall(r"\w+", text)) + len(_ASIAN.findall(text)) // 2
    return (
        words >= _TELLING_WORDS or normal(text).text[-1:] in {*_CUES, "?"} or bool(re.search(_MARKUP, text))
    )


def _cut_off(before: str, tail: str, after: str) -> bool:
    """Whether the end of a prompt at the start of an output was left there by a cut.

    A model that is asked to repeat something begins its answer with the prompt's end too: with whole words,
    from a colon or a quotation mark on. What asks for the answer it does not repeat.
    """
    if re.search(_MARKUP, tail) or _REPLY_AFTER.match(after):
        return True
    last = normal(tail).text[-1:]
    line = normal(tail.rstrip().rpartition("\n")[2]).text
    if line and normal(before).text.endswith(line):
        return False  # an example of a few-shot prompt began there: the model may go on with more of them
    inside = before[-1:].isalnum() and tail[:1].isalnum()
    clause = before.rstrip()[-1:] not in {*_QUOTES, ":", ",", ".", "?", "!", ""}
    return last in _CUES or inside or (last == "?" and clause)
