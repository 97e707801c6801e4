"""Texts as a tokenizer gives them back: compared without what decoding may change."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MARKUP = re.compile(
    r"<\|[^|<>]{1,40}\|>|<\uff5c[^\uff5c<>]{1,40}\uff5c>|</?s>|\[/?INST\]|<</?SYS>>|<(?:bos|eos|pad|unk|start_of_turn|end_of_turn)>"
)
_PRIVATE = 0xF0000  # the first of a range of characters that no standard gives a meaning to
_BROKEN = "\ufffd"  # what a part of a character decodes to


def decoded(tokenizer: Any, ids: Sequence[int]) -> str | None:
    """Return the text of ids as the tokenizer has it; None where one is no id of its, such as -1."""
    try:
        return str(tokenizer.decode(list(ids)))
    except Exception:  # tokenizers raise what they like: OverflowError, IndexError, TypeError, their own
        return None


def with_offsets(tokenizer: Any, text: str) -> tuple[list[int], list[tuple[int, int]]] | None:
    """Return the ids of a text, and for each the (start, end) of its characters; None where they are not to be had.

    transformers raises NotImplementedError for tokenizers that are no fast ones; one of the user's own may not
    know the option (TypeError), or pass over it (KeyError).
    """
    try:
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return [int(i) for i in encoded["input_ids"]], list(encoded["offset_mapping"])
    except (NotImplementedError, TypeError, KeyError):
        return None


@dataclass(frozen=True)
class Normal:
    """A text without special tokens, whitespace, case and Unicode forms.

    Decoders put spaces in and take them out (clean-up of punctuation and contractions, word-initial marks),
    so that none is compared. `places[i]` is where character i of `text` stands in the original.
    """

    text: str
    places: tuple[int, ...]

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """Return the original span of the characters `start` to `end`; empty spans stand at their place."""
        if start >= len(self.places):
            last = self.places[-1] + 1 if self.places else 0
            return last, last
        return self.places[start], self.places[end - 1] + 1 if end > start else self.places[start]


def normal(text: str, specials: Iterable[str] = ()) -> Normal:
    """Return what of a text is compared. `specials` are texts of special tokens, beside the common ones."""
    hidden = [match.span() for match in _MARKUP.finditer(text)]
    for special in specials:
        if special and special in text:
            hidden.extend(match.span() for match in re.finditer(re.escape(special), text))
    blank = bytearray(len(text))
    for begin, end in hidden:
        blank[begin:end] = b"\1" * (end - begin)
    characters: list[str] = []
    places: list[int] = []
    for i, character in enumerate(text):
        if blank[i] or character == _BROKEN:
            continue
        for piece in unicodedata.normalize("NFKC", character).casefold():
            if not piece.isspace():
                characters.append(piece)
                places.append(i)
    return Normal("".join(characters), tuple(places))


@dataclass(frozen=True)
class Codec:
    """A tokenizer as the comparisons use it. Without a tokenizer, `tokenizer` is None and nothing is known.

    Attributes:
        tokenizer: Anything with `decode`.
        special_ids: Ids that stand for no text: BOS, EOS, padding, ends of turns.
        special_texts: The texts of these.
        kept: Texts of special tokens that count as text.
    """

    tokenizer: Any = None
    special_ids: frozenset[int] = frozenset()
    special_texts: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    @classmethod
    def of(cls, tokenizer: Any, kept: Sequence[str] = ()) -> Codec:
        """Ask a tokenizer; also for tokens that are declared special without a role, such as ends of turns."""
        if tokenizer is None:
            return cls()
        ids = {i for i in getattr(tokenizer, "all_special_ids", None) or () if isinstance(i, int)}
        texts = set(map(str, getattr(tokenizer, "all_special_tokens", None) or ()))
        added = getattr(tokenizer, "added_tokens_decoder", None)
        for i, token in added.items() if isinstance(added, dict) else ():
            if getattr(token, "special", False):
                ids.add(int(i))
                texts.add(str(token))
        if kept:
            ids -= {tokenizer.convert_tokens_to_ids(text) for text in kept}
            texts -= set(kept)
        return cls(
            tokenizer,
            frozenset(ids),
            tuple(sorted(filter(None, texts), key=len, reverse=True)),
            tuple(sorted(kept, key=len, reverse=True)),
        )

    def decode(self, ids: Sequence[int], *, skip: bool = True) -> str:
        """Return the text of ids, without special tokens unless `skip` is False."""
        if skip and self.kept:
            ids, skip = [token for token in ids if token not in self.special_ids], False
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=skip))

    @property
    def kept_signs(self) -> tuple[str, ...]:
        """What stands for each of the kept tokens in a normal text."""
        return tuple(chr(_PRIVATE + i) for i in range(len(self.kept)))

    def normal(self, text: str) -> Normal:
        """Return what of a text is compared."""
        if not any(token in text for token in self.kept):
            return normal(text, self.special_texts)
        # What looks like markup is hidden: kept tokens are compared as signs that no text has.
        parts = re.split("(" + "|".join(map(re.escape, self.kept)) + ")", text)
        characters, places, start = "", [], 0
        for part in parts:
            if part in self.kept:
                characters += self.kept_signs[self.kept.index(part)]
                places.append(start)
            else:
                found = normal(part, self.special_texts)
                characters += found.text
                places += [start + place for place in found.places]
            start += len(part)
        return Normal(characters, tuple(places))
