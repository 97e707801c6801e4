"""The calls that the checks judge, as the guard saw them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.runtime import ids, usage
from pytest_decoderonly.runtime.provenance import Padding

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_decoderonly.runtime.frames import Caller, CallPlace
    from pytest_decoderonly.runtime.labels import LabelProblem, LabelRow
    from pytest_decoderonly.runtime.provenance import Cut, Log, Match, Tokenized
    from pytest_decoderonly.runtime.usage import Use


_NONE = Padding()


@dataclass
class GenerateCall:
    """A call of a decoder-only `generate` that got token ids.

    `padding` is what is known of each row's padding, and `known_by` how: the mask of the call, the
    tokenizer call that made the rows, or the pad ids at the rows' ends; None where nothing tells.
    `guessable` says that `generate` makes a mask of its own from the pad id, because the pad id is set, is
    no end-of-text id and occurs. `origins` are the tokenizer calls that made the rows from their text. `mask` holds the
    rows of the mask where it has the shape of the ids. `cut_short` are the rows that the limit ended, `new` the tokens
    that the call generated. `special` are the ids of padding, beginning and end. `echo` is what a streamer prints of the prompt.
    """

    caller: Caller
    model: str
    rows: list[bytes]
    has_mask: bool
    takes_mask: bool
    padding: tuple[Padding, ...] | None
    known_by: str
    guessable: bool
    lone_start: bool
    pad_token_id: int | None
    tokenized: Tokenized | None
    text_of: Callable[[bytes], str]
    origins: list[tuple[Tokenized, int] | None] = field(default_factory=list)
    mask: list[bytes] | None = None
    limits: Limits | None = None
    outputs: list[bytes] = field(default_factory=list)
    ends: frozenset[bytes] = frozenset()
    special: frozenset[int] = frozenset()
    echo: Echo | None = None
    places: tuple[CallPlace, ...] = ()

    @property
    def place(self) -> CallPlace | None:
        """The user's own line; where a thread runs `generate` itself, the line that made its ids."""
        if self.caller.place is None and self.tokenized is not None:
            return self.tokenized.place
        return self.caller.place

    def padding_total(self) -> int:
        """Padding positions over all rows."""
        return sum(row.total for row in self.padding or ())


@dataclass(frozen=True)
class Limits:
    """What a call was told about length by its own arguments: `max_length` and `max_new_tokens`."""

    max_length: int | None
    max_new_tokens: int | None


@dataclass(frozen=True)
class Echo:
    """A streamer that shows the prompt: its class and where it was made."""

    streamer: str
    place: CallPlace | None


@dataclass
class DecodeCall:
    """A call of `decode` or `batch_decode`.

    `matches` holds the rows that still carry their prompt, `cuts` those that are the end of an output, and `places` the
    user's lines from the call outwards.
    """

    caller: Caller
    method: str
    rows: list[bytes]
    matches: list[tuple[int, Match]]
    text_of: Callable[[bytes], str]
    cuts: list[tuple[int, Cut]] = field(default_factory=list)
    places: tuple[CallPlace, ...] = ()
    log: Log | None = None

    @cached_property
    def use(self) -> Use:
        """What becomes of the decoded text, as far as the source shows."""
        return usage.use_of(self.places)


@dataclass
class ForwardCall:
    """A call of a decoder-only model's `forward` that got token ids, made outside of `generate`.

    `mask` holds the rows of the mask that was given. `padding` is known by that mask, or else (`padding_known` says so)
    by the one that the tokenizer returned with these rows. `trains` says that a gradient is computed.
    """

    caller: Caller
    places: tuple[CallPlace, ...]
    model: str
    model_type: str
    rows: list[bytes]
    mask: list[bytes] | None
    mask_given: bool
    own_padding: tuple[Padding, ...] | None
    has_positions: bool
    labels: list[bytes] | None
    trains: bool
    shifts_labels: bool
    is_backbone: bool
    eos_ids: frozenset[int]
    pad_token_id: int | None
    text_of: Callable[[bytes], str]
    log: Log

    @property
    def place(self) -> CallPlace | None:
        """The user's own line."""
        return self.caller.place

    @cached_property
    def made_padding(self) -> tuple[Padding, ...] | None:
        """The rows' padding by the masks that tokenizers returned with exactly these rows; None if not all are known."""
        hits = [self.log.tokenized_row(row) for row in self.rows]
        if not all(hit is not None and hit[0].padding is not None for hit in hits):
            return None
        return tuple(event.padding[number] for event, number in hits if event.padding)  # type: ignore[misc]

    @cached_property
    def tokenized(self) -> Tokenized | None:
        """The tokenizer call that made the rows, the latest where there are several."""
        return self.log.tokenized_rows(self.rows)

    @cached_property
    def label_rows(self) -> list[LabelRow]:
        """The rows with their labels; empty where there are none of the ids' shape."""
        from pytest_decoderonly.runtime.labels import label_rows

        return label_rows(self) if self.labels is not None else []

    @cached_property
    def problems(self) -> list[LabelProblem]:
        """What is wrong with the labels."""
        from pytest_decoderonly.runtime.labels import judge

        return judge(self)


@dataclass
class PipelineCall:
    """A call of a text-generation pipeline with texts, whose results hold prompt and answer."""

    places: tuple[CallPlace, ...]
    texts: int
    example: tuple[str, str]
    asked: bool
    made_at: CallPlace | None = None

    @property
    def place(self) -> CallPlace | None:
        """The user's own line."""
        return self.places[0] if self.places else None


@dataclass
class CollatorCall:
    """A call of `DataCollatorForLanguageModeling` without masked-LM: labels that it got, and those that it made."""

    caller: Caller
    collator: str
    before: list[list[int]]
    after: list[list[int]]
    ids: list[list[int]]
    text_of: Callable[[bytes], str]
    made_at: CallPlace | None = None


def mask_rows(mask: Any, rows: list[bytes]) -> list[bytes] | None:
    """Return the rows of a mask as zeros and ones, one byte a position; None where it does not fit the rows.

    A mask may be wider than the ids (a cache came before them): then its last columns are theirs.
    """
    bits = ids.bits_of(mask) if mask is not None else None
    if bits is None or len(bits) != len(rows):
        return None
    if any(len(bit) < ids.width(row) for bit, row in zip(bits, rows, strict=True)):
        return None
    return [bit[len(bit) - ids.width(row) :] for bit, row in zip(bits, rows, strict=True)]


def padding_by_mask(mask: Any, rows: list[bytes]) -> tuple[Padding, ...] | None:
    """Read each row's padding from a 2-D mask (1 real, 0 padding); None where it does not fit the rows."""
    return padding_by_bits(mask_rows(mask, rows))


def padding_by_bits(bits: list[bytes] | None) -> tuple[Padding, ...] | None:
    """Read each row's padding from the rows of its mask."""
    if bits is None:
        return None
    found = []
    for own in bits:
        if own[:1] == own[-1:] == b"\1":
            found.append(_NONE)
            continue
        inside = own.strip(b"\0")
        # A row of nothing but padding has no prompt whose side could be wrong, and a mask with holes hides more than padding.
        plain = inside and b"\0" not in inside
        left = len(own) - len(own.lstrip(b"\0"))
        found.append(Padding(left, len(own) - len(inside) - left) if plain else _NONE)
    return tuple(found)


def padding_by_id(pad_token_id: int | None, ambiguous: bool, rows: list[bytes]) -> tuple[Padding, ...] | None:
    """Read each row's padding from the runs of the pad id at its ends.

    Where the pad id has a second meaning (end or beginning of text), a run that all rows share may be
    meant: only what a row has more of than the row with the shortest run counts. One such id in a row proves nothing:
    ids that are drawn at random hold it too.
    """
    if pad_token_id is None:
        return None
    pad = ids.token_bytes(pad_token_id)
    runs = [(ids.run_length(row, pad, at_end=False), ids.run_length(row, pad, at_end=True)) for row in rows]
    if max(max(run) for run in runs) < 2:
        return None
    runs = [
        (0, 0) if left == ids.width(row) else (left, right)
        for (left, right), row in zip(runs, rows, strict=True)
    ]
    if ambiguous:
        shared_left, shared_right = min(left for left, _ in runs), min(right for _, right in runs)
        # One id at the end of some rows only may be an end-of-text that the user wrote.
        runs = [(left - shared_left, right - shared_right if right > 1 else 0) for left, right in runs]
    return tuple(Padding(left, right) for left, right in runs)
