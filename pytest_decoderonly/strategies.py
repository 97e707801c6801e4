"""Hypothesis strategies of what language models are given: prompts, padded batches, conversations, pairs.

What fails is made small in a useful way: fewest rows, shortest rows, least padding, simplest tokens, fewest turns.
Nothing is drawn from a fixed list of known traps: which texts merge at a border is asked of the tokenizer itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

try:
    from hypothesis import strategies as st
except ImportError:
    raise ImportError(
        "pytest_decoderonly.strategies needs hypothesis: pip install 'pytest-decoderonly[hypothesis]'"
    ) from None

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    Message = dict[str, str]

__all__ = [
    "Pair",
    "RaggedBatch",
    "conversations",
    "merges",
    "paddings",
    "prompt_completion_pairs",
    "prompts",
    "ragged_batches",
    "token_ids",
]

Side = Literal["left", "right"]
Form = Literal["list", "torch", "numpy"]

# What vocabularies treat in their own ways: spaces, line ends, apostrophes, digits, scripts without spaces, marks
# that combine with the letter before, signs of several code points, writing from the right.
_PIECES = (
    "a", "b", " ", " a", "the", " the", "ing", ".", ",", "?", ":", "\n", "\n\n", "\t", "'s", "'", '"', "0", "12", "2026",
    "A", "Qu", "\u00e4", "na\u00efve", "e\u0301", "\u0301", "\u6771", "\u6771\u4eac", "\uff0c", "\u0627\u0644", "\u0928\u093f",
    "\U0001f642", "\U0001f469\u200d\U0001f4bb", "\u00a0", "\u200b", "def ", "    ", "{", "}", "==",
)  # fmt: skip
_BLANK = ("", " ", "\n", "\t \n", "\u00a0", "\u200b")
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
_MAX_PIECES = 2000


class Pair(NamedTuple):
    """A prompt and the completion that follows it without anything between."""

    prompt: str
    completion: str


@dataclass(frozen=True)
class RaggedBatch:
    """Rows of unequal lengths, padded to a rectangle.

    `rows` are the real tokens. `input_ids` and `attention_mask` have shape (rows, width), as lists, tensors or
    arrays of 64-bit integers.
    """

    rows: tuple[tuple[int, ...], ...]
    input_ids: Any
    attention_mask: Any
    padding_side: Side
    pad_token_id: int

    @property
    def inputs(self) -> dict[str, Any]:
        """What a tokenizer returns and a model takes: `input_ids` and `attention_mask`."""
        return {"input_ids": self.input_ids, "attention_mask": self.attention_mask}

    @property
    def lengths(self) -> tuple[int, ...]:
        """Real tokens of each row."""
        return tuple(map(len, self.rows))

    @property
    def width(self) -> int:
        """Columns, padding included."""
        return len(self.input_ids[0])

    @property
    def pads(self) -> int:
        """How many positions are padding."""
        return self.width * len(self.rows) - sum(self.lengths)

    def __repr__(self) -> str:
        extra = self.width - max(self.lengths)
        more = f", {extra} more columns" if extra else ""
        rows = [list(row) for row in self.rows]
        return f"RaggedBatch(rows={rows}, padding_side={self.padding_side!r}, pad_token_id={self.pad_token_id}{more})"


def token_ids(
    vocab: Any, *, min_tokens: int = 1, max_tokens: int = 16, avoid: Iterable[int] = ()
) -> SearchStrategy[list[int]]:
    """Rows of ids; they shrink to few tokens, and to the first of the vocabulary.

    Args:
        vocab: A tokenizer (its ordinary ids, no special ones), a vocabulary's size, or the ids to draw from.
        min_tokens: Least number of tokens.
        max_tokens: Greatest number of tokens.
        avoid: Ids that must not occur.

    Raises:
        TypeError: `vocab` is none of these.
        ValueError: No id is left, or the bounds contradict each other.
    """
    _bounds(min_tokens, max_tokens, "tokens")
    without = set(avoid)
    ids = [token for token in _vocabulary(vocab) if token not in without]
    if not ids:
        raise ValueError("vocab: holds no ids to draw from")
    return st.lists(st.sampled_from(ids), min_size=min_tokens, max_size=max_tokens)


def prompts(tokenizer: Any, *, min_tokens: int = 1, max_tokens: int = 16) -> SearchStrategy[str]:
    """Texts of some tokens, special ones not counted and not contained; letters of many scripts, spaces at the ends.

    Args:
        tokenizer: A tokenizer of transformers.
        min_tokens: Least number of tokens.
        max_tokens: Greatest number of tokens.

    Raises:
        TypeError: `tokenizer` is none.
        ValueError: The bounds contradict each other.
    """
    _bounds(min_tokens, max_tokens, "tokens")
    _is_tokenizer(tokenizer)
    specials = _special_texts(tokenizer)
    parts = st.lists(st.sampled_from(_PIECES) | _TEXT, min_size=1, max_size=max(1, max_tokens))

    def fits(text: str) -> bool:
        return min_tokens <= len(_encode(tokenizer, text)) <= max_tokens and not any(
            s in text for s in specials
        )

    def cut(text: str) -> str:
        # Take the end away until it fits: most texts would have to be drawn again otherwise.
        while text and len(_encode(tokenizer, text)) > max_tokens:
            text = text[:-1]
        return text

    return parts.map("".join).map(cut).filter(fits)


def ragged_batches(
    vocab: Any = 320,
    *,
    min_rows: int = 1,
    max_rows: int = 4,
    min_tokens: int = 1,
    max_tokens: int = 12,
    side: Side | None = "left",
    pad_token_id: int | None = None,
    max_extra: int = 3,
    padded: bool = False,
    pad_inside: bool = False,
    form: Form = "list",
) -> SearchStrategy[RaggedBatch]:
    """Batches of rows of unequal lengths, padded, with their mask.

    They shrink to the fewest rows, the shortest rows, the least padding, the first ids, padding on the left.

    Args:
        vocab: A tokenizer (ordinary ids), a vocabulary's size, or the ids to draw from.
        min_rows: Least number of rows.
        max_rows: Greatest number of rows.
        min_tokens: Least number of real tokens of a row.
        max_tokens: Greatest number of real tokens of a row.
        side: Where the padding is; None for either.
        pad_token_id: The padding id. By default the tokenizer's, else 0.
        max_extra: So many columns more than the longest row needs, at most.
        padded: Whether at least one row has padding.
        pad_inside: Whether the padding id may also be a real token, as where padding and EOS share an id. It is
            drawn often then.
        form: `"list"`, `"torch"` or `"numpy"`.

    Raises:
        TypeError: `vocab` is none of these.
        ValueError: No id is left, bounds contradict each other, an unknown `side` or `form`, or padding is asked
            for where none is possible.
    """
    _bounds(min_rows, max_rows, "rows", least=1)
    _bounds(min_tokens, max_tokens, "tokens", least=1)
    if max_extra < 0:
        raise ValueError(f"max_extra: must not be negative, got {max_extra}")
    _one_of(side, ("left", "right", None), "side")
    if padded and max_extra == 0 and (max_rows == 1 or min_tokens == max_tokens):
        raise ValueError("padded: no row can have padding with these rows, tokens and max_extra")
    found = pad_token_id if pad_token_id is not None else getattr(vocab, "pad_token_id", None)
    pad = 0 if found is None else found
    others = [i for i in _vocabulary(vocab) if i != pad]
    if not (others or pad_inside):
        raise ValueError("vocab: holds no ids to draw from besides the padding id")
    # By itself too: one id of a vocabulary would hardly ever come up.
    drawn = st.sampled_from([*others, pad]) | st.just(pad) if pad_inside else st.sampled_from(others)
    rows = st.lists(
        st.lists(drawn, min_size=min_tokens, max_size=max_tokens), min_size=min_rows, max_size=max_rows
    )
    if padded and max_extra == 0:
        rows = rows.filter(lambda found: len({len(row) for row in found}) > 1)

    _one_of(form, ("list", "torch", "numpy"), "form")
    extras, sides = st.integers(0, max_extra), st.sampled_from(_sides(side))

    @st.composite
    def build(draw: Callable[[SearchStrategy[Any]], Any]) -> RaggedBatch:
        # More columns are drawn first: then a row can go and the others keep their padding.
        extra = draw(extras)
        where = draw(sides)
        found = draw(rows)
        if padded and len({len(row) for row in found}) == 1:
            extra = max(extra, 1)
        width = max(map(len, found)) + extra
        return _padded(found, [[pad] * (width - len(row)) for row in found], where, pad, form)

    return build()


def paddings(
    rows: Sequence[Sequence[int]],
    *,
    side: Side | None = None,
    pad_token_id: int = 0,
    min_extra: int = 0,
    max_extra: int = 8,
    fill: SearchStrategy[int] | None = None,
    form: Form = "list",
) -> SearchStrategy[RaggedBatch]:
    """The same rows, padded in different ways: what is computed of them must not depend on which.

    Args:
        rows: Token ids of each row.
        side: Where the padding is; None for either (shrinks to the left).
        pad_token_id: The padding id.
        min_extra: Columns more than the longest row needs, at least.
        max_extra: The same, at most.
        fill: Ids that stand under the padding instead of `pad_token_id`; the mask still hides them.
        form: `"list"`, `"torch"` or `"numpy"`.

    Raises:
        ValueError: No rows, bounds that contradict each other, an unknown `side` or `form`.
    """
    plain = tuple(tuple(map(int, row)) for row in rows)
    if not plain:
        raise ValueError("rows: there are none")
    _bounds(min_extra, max_extra, "extra")
    _one_of(side, ("left", "right", None), "side")
    _one_of(form, ("list", "torch", "numpy"), "form")
    longest = max(map(len, plain))

    @st.composite
    def build(draw: Callable[[SearchStrategy[Any]], Any]) -> RaggedBatch:
        width = longest + draw(st.integers(min_extra, max_extra))
        where = draw(st.sampled_from(_sides(side)))
        counts = [width - len(row) for row in plain]
        under = [[pad_token_id if fill is None else draw(fill) for _ in range(count)] for count in counts]
        return _padded(plain, under, where, pad_token_id, form)

    return build()


def _sides(side: Side | None) -> tuple[Side, ...]:
    return ("left", "right") if side is None else (side,)


def _padded(
    rows: Sequence[Sequence[int]], under: Sequence[list[int]], side: Side, pad: int, form: Form
) -> RaggedBatch:
    """Put each row beside what stands under its padding."""
    left = side == "left"
    ids = [[*pads, *row] if left else [*row, *pads] for row, pads in zip(rows, under, strict=True)]
    mask = [
        [0] * len(pads) + [1] * len(row) if left else [1] * len(row) + [0] * len(pads)
        for row, pads in zip(rows, under, strict=True)
    ]
    return RaggedBatch(tuple(map(tuple, rows)), _in_form(ids, form), _in_form(mask, form), side, pad)


def conversations(
    *,
    min_turns: int = 1,
    max_turns: int = 3,
    system: bool | None = None,
    last: Literal["assistant", "user"] | None = "assistant",
    contents: SearchStrategy[str] | None = None,
    blank: bool = True,
    markers: Any = (),
) -> SearchStrategy[list[Message]]:
    """Chats in a legal order: perhaps a system message, then user and assistant in turn.

    They shrink to one turn without a system message and contents of one letter.

    Args:
        min_turns: Least number of questions.
        max_turns: Greatest number of questions.
        system: Whether a system message stands in front; None for either.
        last: Who speaks last; None for either. After `"user"`, the last question has no answer.
        contents: Draws contents; by default words of many scripts.
        blank: Whether contents may be empty, or hold nothing but spaces.
        markers: Words like the template's own, to be put into about half of the contents: a tokenizer (its special
            tokens and the names of roles), or such words. None by default.

    Raises:
        ValueError: Bounds that contradict each other, or an unknown `last`.
        TypeError: `markers` is neither a tokenizer nor words.
    """
    _bounds(min_turns, max_turns, "turns", least=1)
    _one_of(last, ("assistant", "user", None), "last")
    words = _markers(markers)
    several = st.lists(st.sampled_from(_PIECES) | _TEXT, min_size=1, max_size=5).map("".join)
    # One letter takes no more choices than a blank: it is what contents shrink to.
    content = contents if contents is not None else st.sampled_from(_PIECES) | several
    if words:
        # Three branches of about six, so that about half of the contents hold some.
        content = st.one_of(content, *(_marked(content, words) for _ in range(3)))
    if blank and contents is None:
        content = content | st.sampled_from(_BLANK)
    elif not blank:
        content = content.filter(lambda text: bool(text.strip(" \t\n\r\u00a0\u200b")))

    @st.composite
    def build(draw: Callable[[SearchStrategy[Any]], Any]) -> list[Message]:
        chat = []
        if system or (system is None and draw(st.booleans())):
            chat.append({"role": "system", "content": draw(content)})
        turns = draw(st.lists(st.tuples(content, content), min_size=min_turns, max_size=max_turns))
        for question, answer in turns:
            chat += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        if last == "user" or (last is None and draw(st.booleans())):
            chat.pop()
        return chat

    return build()


def merges(tokenizer: Any, prompt: str, completion: str) -> bool:
    """Whether the tokens of a prompt alone are not the first tokens of prompt and completion together."""
    alone, whole = _encode(tokenizer, prompt), _encode(tokenizer, prompt + completion)
    return whole[: len(alone)] != alone


def prompt_completion_pairs(
    tokenizer: Any, *, merging: bool | None = True, max_pieces: int = 4
) -> SearchStrategy[Pair]:
    """Prompts and completions whose border the tokenizer merges over (or does not).

    Texts are put together from the tokenizer's own vocabulary and from what vocabularies treat in their own ways
    (leading spaces, apostrophes, digits, scripts without spaces, combining marks). The tokenizer is then asked at
    which places a cut changes the tokens in front of it; the pair is cut at one of those.

    They shrink to the shortest text that merges.

    Args:
        tokenizer: A tokenizer of transformers.
        merging: True for pairs that merge, False for pairs that do not, None for either.
        max_pieces: Pieces of the vocabulary that a text is made of, at most.

    Raises:
        TypeError: `tokenizer` is none.
        ValueError: `max_pieces` is not positive, or the tokenizer merges over no border at all.
    """
    _is_tokenizer(tokenizer)
    _bounds(1, max_pieces, "pieces")
    pieces, apt = _pieces(tokenizer)
    if merging and not apt:
        raise ValueError("tokenizer: merges over no border: each character is a token of its own")
    specials = _special_texts(tokenizer)
    around = st.lists(st.sampled_from(pieces), max_size=max_pieces - 1).map("".join)
    core = st.sampled_from(apt if merging else pieces)
    texts = st.tuples(around, core, around).map("".join)
    texts = texts.filter(lambda text: len(text) > 1 and not any(special in text for special in specials))

    @lru_cache(maxsize=4096)
    def encode(text: str) -> tuple[int, ...]:
        return tuple(_encode(tokenizer, text))

    def cuts(text: str) -> list[int]:
        whole = encode(text)
        heads = [(k, encode(text[:k])) for k in range(1, len(text))]
        return [k for k, head in heads if merging is None or (whole[: len(head)] != head) is merging]

    def pair(found: tuple[str, list[int]]) -> SearchStrategy[Pair]:
        text, places = found
        return st.sampled_from(places).map(lambda k: Pair(text[:k], text[k:]))

    return texts.map(lambda text: (text, cuts(text))).filter(lambda found: bool(found[1])).flatmap(pair)


def _pieces(tokenizer: Any) -> tuple[list[str], list[str]]:
    """The texts of the vocabulary and of `_PIECES`, shortest first; and those of them that merge when cut."""
    ids = _vocabulary(tokenizer)
    ids = ids[:: -(-len(ids) // _MAX_PIECES)]  # of a large vocabulary a part does, evenly spread
    texts = {_decode(tokenizer, token) for token in ids} | set(_PIECES)
    # A token that is a part of a letter has no text of its own.
    ordered = sorted((text for text in texts if text and "\ufffd" not in text), key=_simplicity)
    apt = [
        text
        for text in ordered
        if any(merges(tokenizer, text[:k], text[k:]) for k in range(1, min(len(text), 12)))
    ]
    return ordered, apt


def _simplicity(text: str) -> tuple[int, bool, str]:
    return len(text), not (text.isascii() and text.isprintable()), text


def _encode(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _decode(tokenizer: Any, token: int) -> str:
    return str(tokenizer.decode([token], clean_up_tokenization_spaces=False))


def _vocabulary(vocab: Any) -> Sequence[int]:
    if isinstance(vocab, bool):
        raise TypeError("vocab: must be a tokenizer, a size or ids, got bool")
    if isinstance(vocab, int):
        if vocab < 1:
            raise ValueError(f"vocab: a vocabulary has at least one token, got {vocab}")
        return range(vocab)
    if hasattr(vocab, "all_special_ids"):
        special = set(vocab.all_special_ids) | set(_special_added(vocab))
        return [token for token in range(len(vocab)) if token not in special]
    if isinstance(vocab, Sequence) and not isinstance(vocab, (str, bytes)):
        return [int(token) for token in vocab]
    raise TypeError(f"vocab: must be a tokenizer, a size or ids, got {type(vocab).__name__}")


def _special_added(tokenizer: Any) -> dict[int, str]:
    """Special tokens that have no role of their own, such as those of chat templates."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return {int(token): str(entry) for token, entry in added.items() if getattr(entry, "special", False)}


def _special_texts(tokenizer: Any) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys([*map(str, tokenizer.all_special_tokens), *_special_added(tokenizer).values()])
    )


def _marked(content: SearchStrategy[str], words: Sequence[str]) -> SearchStrategy[str]:
    """Contents with one to three of the words between other text: a marker is dangerous wherever it stands."""
    more = st.lists(st.tuples(st.sampled_from(words), content), min_size=1, max_size=3)
    return st.tuples(content, more).map(lambda parts: parts[0] + "".join(map("".join, parts[1])))


def _markers(markers: Any) -> list[str]:
    if hasattr(markers, "all_special_tokens"):
        roles = ("system", "user", "assistant", "model", "[INST]", "[/INST]", "<<SYS>>", "### Response:")
        return list(dict.fromkeys([*_special_texts(markers), *roles]))
    if isinstance(markers, (str, bytes)) or not isinstance(markers, Iterable):
        raise TypeError(f"markers: must be a tokenizer or a list of words, got {type(markers).__name__}")
    return [str(word) for word in markers]


def _is_tokenizer(tokenizer: Any) -> None:
    if not (callable(tokenizer) and hasattr(tokenizer, "all_special_ids")):
        raise TypeError(f"tokenizer: must be a tokenizer of transformers, got {type(tokenizer).__name__}")


def _bounds(least_given: int, most_given: int, what: str, *, least: int = 0) -> None:
    if least_given < least:
        raise ValueError(f"min_{what}: must be at least {least}, got {least_given}")
    if most_given < least_given:
        raise ValueError(f"max_{what}: must be at least {least_given}, got {most_given}")


def _one_of(value: object, allowed: tuple[object, ...], name: str) -> None:
    if value not in allowed:
        raise ValueError(f"{name}: must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def _in_form(rows: list[list[int]], form: Form) -> Any:
    if form == "torch":
        import torch

        return torch.tensor(rows, dtype=torch.long)
    if form == "numpy":
        import numpy as np

        return np.array(rows, dtype=np.int64)
    return rows
