"""Whether an output still carries its prompt."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# What stands for a speaker in chat templates; such a word around the prompt shows that a rendered prompt
# remained.
_ROLES = ("system", "user", "human", "assistant", "model", "question", "instruction", "prompt", "inst")
_MARKUP = re.compile(
    r"<\|[^|<>]{1,40}\|>|<\uff5c[^\uff5c<>]{1,40}\uff5c>|</?s>|\[/?INST\]|<</?SYS>>|<(?:bos|eos|pad|unk|start_of_turn|end_of_turn)>"
)
MIN_TOKENS = 2
MIN_CHARACTERS = 4
MIN_TAIL_TOKENS = 4
MIN_TAIL_CHARACTERS = 16


@dataclass(frozen=True)
class Remainder:
    """What of a prompt remained in an output. `start` and `end` count tokens or characters of the output."""

    row: int
    unit: str
    start: int
    end: int
    total: int
    whole: bool
    shown: str

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


def find_prompt_ids(row: int, output: Sequence[int], prompt: Sequence[int]) -> Remainder | None:
    """Look for a prompt's ids at the start of an output's, after padding of any length.

    A prompt of one token cannot be told from a coincidence and is not reported; of a part of the prompt, its
    end counts from 4 tokens on.
    """
    ids, wanted = list(output), list(prompt)
    if len(wanted) < MIN_TOKENS:
        return None
    start = 0
    while start + len(wanted) <= len(ids):
        if ids[start : start + len(wanted)] == wanted:
            return Remainder(row, "tokens", start, start + len(wanted), len(wanted), whole=True, shown="")
        if ids[start] != ids[0]:
            break  # only a run of one id may precede: the padding
        start += 1
    for size in range(min(len(wanted) - 1, len(ids)), MIN_TAIL_TOKENS - 1, -1):
        tail = wanted[-size:]
        if ids[:size] == tail and len(set(tail)) > 1:
            return Remainder(row, "tokens", 0, size, len(wanted), whole=False, shown="")
    return None


def find_prompt_text(row: int, output: str, prompt: str, specials: Iterable[str] = ()) -> Remainder | None:
    """Look for a prompt in a text, whatever whitespace, special tokens, case and Unicode did to it.

    The whole prompt counts at the start of the text, or behind what a chat template puts before it; quoting
    the question later in an answer does not. Of a part, the prompt's end at the start of the text counts from
    16 characters on.
    """
    text, places = _normal(output, specials)
    wanted, _ = _normal(prompt, specials)
    if len(wanted) < MIN_CHARACTERS:
        return None
    at = text.find(wanted)
    while at >= 0:
        if at == 0 or _in_template(text, at, at + len(wanted)):
            start, end = places[at], places[at + len(wanted) - 1] + 1
            return Remainder(row, "characters", start, end, len(prompt), whole=True, shown=output[start:end])
        at = text.find(wanted, at + 1)
    for size in range(min(len(wanted) - 1, len(text)), MIN_TAIL_CHARACTERS - 1, -1):
        if text.startswith(wanted[-size:]):
            end = places[size - 1] + 1
            return Remainder(
                row, "characters", places[0], end, len(prompt), whole=False, shown=output[places[0] : end]
            )
    return None


def _in_template(text: str, start: int, end: int) -> bool:
    before = re.findall(r"\w+", text[max(0, start - 24) : start])
    after = re.match(r"\W*(\w+)", text[end:])
    follows = after is not None and after.group(1) in _ROLES
    if not re.search(r"\w", text[:start]):
        return True
    return bool(before) and before[-1] in _ROLES and (follows or text.startswith(_ROLES))


def _normal(text: str, specials: Iterable[str]) -> tuple[str, list[int]]:
    """Return the text without special tokens, extra whitespace and case, and each character's origin."""
    blank = list(text)
    hidden = [match.span() for match in _MARKUP.finditer(text)]
    for special in specials:
        if special:
            hidden.extend(match.span() for match in re.finditer(re.escape(special), text))
    for begin, end in hidden:
        for i in range(begin, end):
            blank[i] = " "
    characters: list[str] = []
    places: list[int] = []
    for i, character in enumerate(blank):
        for piece in unicodedata.normalize("NFKC", character).casefold():
            if piece.isspace():
                if characters and characters[-1] != " ":
                    characters.append(" ")
                    places.append(i)
            else:
                # Clean-up of decoders moves the space before punctuation.
                if characters and characters[-1] == " " and unicodedata.category(piece).startswith("P"):
                    characters.pop()
                    places.pop()
                characters.append(piece)
                places.append(i)
    while characters and characters[-1] == " ":
        characters.pop()
        places.pop()
    return "".join(characters), places
