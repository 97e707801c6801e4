"""Whether one text is the beginning of another, told from their literal parts and holes.

A text is a pattern: literal characters, and holes that stand for strings that are not known. The same hole stands for the
same string in both texts. Pure: no interpreter, no tokenizer.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from decoderonly_checker.flow.values import (
    Choice,
    Hole,
    Opaque,
    Rendered,
    Scattered,
    Str,
    Unknown,
    literal,
)
from decoderonly_checker.immutable import immutable
from decoderonly_checker.late import late_pattern

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

Part = str | Hole
_FIRST_HOLE = 0xF0000  # a private plane: no text holds these characters
# Names that different things share: a hole by this name is itself only where it comes from the same place.
_COMMON = frozenset(
    {"", "piece", "text", "answer", "character", "key", "index", "absent", "condition", "chunk"}
)
_BOS = late_pattern(r"\s*(?:<s>|<bos>|<\|begin_of_text\|>|<[|｜]begin▁of▁sentence[|｜]>)?\s*")  # noqa: RUF001
_TELLING = 12  # so many literal characters are found in another text by no accident
_DEPTH = 6


class Front(enum.Enum):
    """How a text stands to a longer one."""

    PREFIX = "prefix"  # the longer text surely begins with it
    OTHER = "other"  # it surely does not
    LATER = "later"  # it stands in the longer text, behind something else
    UNKNOWN = "unknown"


@immutable
class Fit:
    """How a text stands to a longer one, and what is left of both behind what they share at the front."""

    front: Front
    rest: tuple[Part, ...] = ()
    longer_rest: tuple[Part, ...] = ()


def fit(text: Iterable[Part], longer: Iterable[Part]) -> Fit:
    """Compare a text with a longer one, from the front.

    Holes are told apart by where their values come from; where that decides nothing, the same name stands for the same.

    Args:
        text: Literal parts and holes of the text.
        longer: Those of the text that may begin with it.

    Returns:
        `PREFIX` and `OTHER` hold whatever the holes stand for; so does `LATER` in that the text is found behind other
        parts, which may be empty where they are holes.
    """
    one, two = tuple(flat(text)), tuple(flat(longer))
    exact = _fit(one, two, strict=True)
    holes = any(isinstance(part, Hole) for part in one)
    if exact.front is Front.PREFIX or (exact.front is Front.LATER and holes):
        return exact
    return _fit(one, two, strict=False)


def _fit(text: Iterable[Part], longer: Iterable[Part], *, strict: bool) -> Fit:
    table: dict[Hashable, int] = {}
    held: dict[str, Hole] = {}
    one, two = _symbols(text, table, held, strict), _symbols(longer, table, held, strict)
    if one is None or two is None:
        return Fit(Front.UNKNOWN)
    shared = 0
    for mine, other in zip(one, two, strict=False):
        if mine != other:
            break
        shared += 1
    rest, longer_rest = one[shared:], two[shared:]
    return Fit(_front(one, two, shared, held), _parts(rest, held), _parts(longer_rest, held))


def _front(one: str, two: str, shared: int, held: dict[str, Hole]) -> Front:
    rest, longer_rest = one[shared:], two[shared:]
    if not rest:
        return Front.PREFIX
    if _tells(one, held):
        place = two.find(one, 1)
        if place > 0 and any(c in held or not c.isspace() for c in _without_bos(two[:place], held)):
            return Front.LATER
    plain = not any(c in held for c in rest[:1] + longer_rest[:1])
    if not rest.strip() or not plain:
        # White space at an end is often stripped, and what a hole begins with is not known.
        return Front.UNKNOWN
    if not longer_rest:
        return Front.OTHER if any(c not in held and not c.isspace() for c in rest) else Front.UNKNOWN
    return Front.OTHER


def _tells(text: str, held: dict[str, Hole]) -> bool:
    """Whether a text is enough of its own to be found again in another."""
    return any(c in held for c in text) or len(text.strip()) >= _TELLING


def _without_bos(text: str, held: dict[str, Hole]) -> str:
    while text and text[0] in held and "bos" in getattr(held[text[0]].value, "hint", ""):
        text = text[1:]
    found = _BOS.match(text)
    return text[found.end() :] if found is not None else text


def _symbols(
    parts: Iterable[Part], table: dict[Hashable, int], held: dict[str, Hole], strict: bool
) -> str | None:
    """Write a text with one character for each hole; None where the place of a part is not known."""
    written: list[str] = []
    for part in parts:
        if isinstance(part, str):
            written.append(part)
            continue
        if isinstance(part, Scattered):
            return None
        number = table.setdefault(_identity(part, len(table), strict), len(table))
        symbol = chr(_FIRST_HOLE + number)
        held.setdefault(symbol, part)
        written.append(symbol)
    return "".join(written)


def _identity(hole: Hole, fresh: int, strict: bool) -> Hashable:
    """Return what two holes share that stand for the same string; `strict`, where that also comes from one place."""
    value = hole.value
    if isinstance(hole, Rendered) and hole.encoding is not None:
        how = hole.encoding
        return (Rendered, value, how.turns, literal(how.generation_prompt), hole.bare)
    nameless = value.hint in _COMMON if isinstance(value, Unknown) else isinstance(value, Opaque)
    if nameless and value.origin is None:
        return (fresh, "new")
    if (strict or nameless) and value.origin is not None:
        return (value, value.origin.key)
    return value


def flat(parts: Iterable[Part], depth: int = 0) -> Iterator[Part]:
    """Yield the parts of a text, with the texts in its holes taken apart."""
    for part in parts:
        if isinstance(part, str | Scattered | Rendered):
            yield part
            continue
        inner = part.value
        while isinstance(inner, Hole) and not isinstance(inner, Scattered | Rendered):
            inner = inner.value
        text = literal(inner)
        if isinstance(text, str):
            yield text
        elif isinstance(inner, Str) and depth < _DEPTH:
            yield from flat(inner.parts, depth + 1)
        elif isinstance(inner, Scattered | Rendered):
            yield inner
        elif isinstance(inner, Choice) and len(inner.alts) == 1:
            yield from flat((Hole(inner.alts[0].value, part.name),), depth + 1)
        else:
            yield part


def _parts(text: str, held: dict[str, Hole]) -> tuple[Part, ...]:
    """Turn symbols back into literal parts and holes."""
    parts: list[Part] = []
    for symbol in text:
        hole = held.get(symbol)
        if hole is not None:
            parts.append(hole)
        elif parts and isinstance(parts[-1], str):
            parts[-1] += symbol
        else:
            parts.append(symbol)
    return tuple(parts)


__all__ = ["Fit", "Front", "fit", "flat"]
