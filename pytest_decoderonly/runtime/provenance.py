"""What the guard remembers: which ids came from which tokenizer call, and which from which `generate`.

The memory is bounded and holds no reference that would keep a user's tensor, model or tokenizer alive: rows
are small copies, objects are weak references.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.runtime import ids

if TYPE_CHECKING:
    import weakref
    from collections.abc import Iterator

    from pytest_decoderonly.runtime.frames import CallPlace

_TOKENIZED_CALLS = 4096
_TOKENIZED_BYTES = 16 << 20
_TOKENIZED_ROWS = 1024  # of one call: a dataset that is mapped in batches
_GENERATED_CALLS = 256
_GENERATED_BYTES = 16 << 20
_RENDERED_TEXTS = 4096
_END = 2 * ids.ITEM  # by its last two ids an output is found that a list is the end of


@dataclass(frozen=True)
class Padding:
    """Padding positions before and behind the real tokens of one row."""

    left: int = 0
    right: int = 0

    @property
    def total(self) -> int:
        """Both sides together."""
        return self.left + self.right


@dataclass(frozen=True)
class Rendered:
    """What a chat template was asked for, and of whom the last message is."""

    place: CallPlace | None
    last_role: str
    opens_answer: bool
    continues: bool


@dataclass(eq=False, slots=True)
class Tokenized:
    """One call of a tokenizer.

    `rows` are the ids of the first rows, `padding` is read from the mask that the tokenizer returned (None where
    it gave none), `truncated` are the rows that lost their end, `rendered` the chats that were rows' texts, and
    `lengths` the characters of rows' texts. `direct` says that the user's own code called the tokenizer.
    """

    place: CallPlace | None
    method: str
    tokenizer: weakref.ref[Any]
    rows: tuple[bytes, ...]
    padding: tuple[Padding, ...] | None
    row_count: int
    width: int
    padding_side: str
    pad_token_id: int | None
    eos_token_id: int | None
    bos_token_id: int | None
    pad_token: str | None
    direct: bool = True
    adds_special: bool = True
    truncated: frozenset[int] = frozenset()
    rendered: dict[int, Rendered] = field(default_factory=dict)
    lengths: tuple[int, ...] = ()
    order: int = 0  # among all calls
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = sum(map(len, self.rows))

    def real(self, number: int) -> bytes:
        """Return a row without its padding."""
        row = self.rows[number]
        if self.padding is None:
            return row
        pad = self.padding[number]
        return row[pad.left * ids.ITEM : len(row) - pad.right * ids.ITEM] if pad.left or pad.right else row


@dataclass(eq=False)
class Generated:
    """One call of a decoder-only `generate` that returned its prompt.

    `prompts[i]` is the padded prompt that `outputs[i]` starts with, `left[i]` the number of padding
    positions before it, `characters[i]` the length of its text where that is known; `limit` is the call's
    `max_new_tokens`.
    """

    place: CallPlace | None
    model: str
    width: int
    prompts: list[bytes]
    outputs: list[bytes]
    left: list[int]
    tokenized: Tokenized | None
    tail: frozenset[bytes]
    tensor: weakref.ref[Any] | None = None
    storage: int = 0  # address of the tensor's memory, good while the tensor lives
    characters: tuple[int | None, ...] = ()
    limit: int | None = None
    block: int = 0  # which test or block it happened in
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = sum(map(len, self.outputs)) + sum(map(len, self.prompts))

    @property
    def prompt_width(self) -> int:
        """Columns of the outputs that are the prompt's."""
        return self.width


@dataclass(eq=False)
class Encoded:
    """One call of an encoder-decoder's `generate`, whose outputs hold no prompt.

    `prompt_width` is the padded width of the encoder's input, `prompt_lengths` its rows' real tokens, for each output.
    """

    place: CallPlace | None
    model: str
    prompt_width: int
    prompt_lengths: list[int]
    outputs: list[bytes]
    tokenized: Tokenized | None
    tensor: weakref.ref[Any] | None = None
    storage: int = 0  # address of the tensor's memory, good while the tensor lives
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = sum(map(len, self.outputs))


Output = Generated | Encoded


def position_in(event: Output, value: Any) -> tuple[int, int] | None:
    """Return row and column of the event's output at which `value`, a view of the returned tensor, starts.

    None says that memory does not tell: another tensor, a copy, or the returned tensor is gone.
    """
    tensor = event.tensor() if event.tensor is not None else None
    if tensor is None or value.dim() not in (1, 2) or value.device != tensor.device:
        return None
    if value.untyped_storage().data_ptr() != tensor.untyped_storage().data_ptr():
        return None
    if tensor.dim() != 2 or not tensor.is_contiguous() or (value.shape[-1] > 1 and value.stride(-1) != 1):
        return None
    if value.numel() == 0:
        return (0, int(tensor.shape[1])) if value.shape[-1] == 0 else None
    row, column = divmod(int(value.storage_offset() - tensor.storage_offset()), int(tensor.shape[1]))
    return row, column


@dataclass(frozen=True)
class Cut:
    """A row given to `decode` is the end of a remembered output, from `column` on."""

    event: Output
    row: int
    column: int
    kept: int


@dataclass(frozen=True)
class Match:
    """A row given to `decode` is the start of a remembered output, prompt included."""

    generated: Generated
    row: int
    skipped: int  # padding positions that were dropped in front

    @property
    def prompt_width(self) -> int:
        """Number of prompt positions at the start of the decoded row."""
        return self.generated.width - self.skipped


class Log:
    """The memory. Not thread safe by itself: the recorder holds its lock around every call."""

    def __init__(self) -> None:
        self._calls = 0
        self._tokenized: deque[Tokenized] = deque()
        self._rows: dict[bytes, tuple[Tokenized, int]] = {}
        self._texts: dict[bytes, tuple[Tokenized, int]] = {}  # rows without their padding
        self._tokenized_bytes = 0
        self._widths: Counter[int] = Counter()
        self._rendered: dict[int, Rendered] = {}
        self._generated: deque[Generated] = deque()
        self._encoded: deque[Encoded] = deque()
        self._bytes = 0
        # prompt width -> prompt -> (call, row, padding dropped in front)
        self._prompts: dict[int, dict[bytes, list[Match]]] = {}
        self._ends: dict[bytes, list[tuple[Output, int]]] = {}
        self._storages: dict[int, Output] = {}

    @property
    def followed(self) -> bool:
        """Whether there are outputs that could come back in a `decode`."""
        return bool(self._generated or self._encoded)

    def add_rendered(self, texts: list[str], rendered: list[Rendered]) -> None:
        """Remember chats that a template made texts of."""
        for text, how in zip(texts, rendered, strict=True):
            if len(self._rendered) >= _RENDERED_TEXTS:
                del self._rendered[next(iter(self._rendered))]
            self._rendered[hash(text)] = how

    def rendered(self, text: str) -> Rendered | None:
        """Return how a text was rendered; None for one that no template made, or not by itself."""
        return self._rendered.get(hash(text)) if self._rendered else None

    def add_tokenized(self, event: Tokenized) -> None:
        """Remember a tokenizer call; the oldest are forgotten until the memory fits."""
        self._calls += 1
        event.order = self._calls
        self._tokenized.append(event)
        self._tokenized_bytes += event.size
        for number, row in enumerate(event.rows):
            self._rows[row] = (event, number)
            real = event.real(number)
            if event.method != "pad" or real not in self._texts:
                self._texts[real] = (event, number)
            self._widths[len(real)] += 1
        while len(self._tokenized) > _TOKENIZED_CALLS or (
            self._tokenized_bytes > _TOKENIZED_BYTES and len(self._tokenized) > 1
        ):
            self._forget_tokenized(self._tokenized.popleft())

    def add_generated(self, event: Generated) -> None:
        """Remember a generate call; the oldest are forgotten until the memory fits."""
        self._generated.append(event)
        for key, match in _keys(event):
            self._prompts.setdefault(len(key), {}).setdefault(key, []).append(match)
        self._add_output(event)
        while len(self._generated) > _GENERATED_CALLS or (
            self._bytes > _GENERATED_BYTES and len(self._generated) > 1
        ):
            self._forget(self._generated.popleft())

    def add_encoded(self, event: Encoded) -> None:
        """Remember a call of an encoder-decoder; the oldest are forgotten until the memory fits."""
        self._encoded.append(event)
        self._add_output(event)
        while len(self._encoded) > _GENERATED_CALLS or (
            self._bytes > _GENERATED_BYTES and len(self._encoded) > 1
        ):
            self._forget_output(self._encoded.popleft())

    def returned(self, value: Any) -> bool:
        """Whether a tensor is what a remembered call returned, or a view of it."""
        return self._owner(value) is not None

    def tokenized_row(self, row: bytes) -> tuple[Tokenized, int] | None:
        """Return the tokenizer call that made exactly this row, and its number there."""
        return self._rows.get(row)

    def tokenized_text(self, row: bytes) -> tuple[Tokenized, int] | None:
        """Return the tokenizer call that made this row, padding aside, and its number there."""
        return self._texts.get(row)

    def origin(self, row: bytes, padding: Padding | None) -> tuple[Tokenized, int] | None:
        """Return the tokenizer call that made a row from its text: where `pad` made the row, the call before it."""
        found = self._rows.get(row)
        if found is not None and found[0].method != "pad":
            return found
        pads = padding or Padding()
        return self._texts.get(row[pads.left * ids.ITEM : len(row) - pads.right * ids.ITEM], found)

    def tokenized_rows(self, rows: list[bytes]) -> Tokenized | None:
        """Return the latest tokenizer call that made some of these rows."""
        found = {hit[0] for hit in map(self.tokenized_row, rows) if hit is not None}
        return max(found, key=lambda event: event.order, default=None)

    def tokenized_beginnings(self, row: bytes) -> Iterator[tuple[Tokenized, int]]:
        """Yield the tokenizer calls that made a beginning of `row`, the longest first."""
        for size in sorted((size for size in self._widths if 0 < size < len(row)), reverse=True):
            found = self._texts.get(row[:size])
            if found is not None:
                yield found

    def carried_prompt(self, row: bytes, value: Any) -> Match | None:
        """Return the generate call whose prompt is still at the start of `row`, where that is beyond doubt.

        `row` must be the start of a remembered output, with one generated token at least. Ids alone could
        lie: the same ids may be a text that was tokenized again, the prompt of a later turn, or a
        continuation that repeats its prompt. Where such a reading exists, only memory decides: `value` must
        be a view of the returned tensor.

        Args:
            row: The ids given to `decode`.
            value: The object that held them.
        """
        if not self._generated:
            return None
        owner = self._owner(value)
        if owner is None and row in self._rows:
            return None
        for match in self._candidates(row):
            if owner is None:
                if not self._has_other_reading(row):
                    return match
            elif match.generated is owner[0] and owner[1][1] in (0, match.skipped):
                return match
        return None

    def cut_rightly(self, value: Any) -> bool:
        """Whether all rows of a tensor are views of an output that begin where its prompt ends: the common case, told at once."""
        owner = self._owner(value)
        return (
            owner is not None
            and isinstance(owner[0], Generated)
            and owner[1][1] == owner[0].width
            and value.shape[-1] + owner[0].width <= ids.width(owner[0].outputs[0])
        )

    def cut(self, row: bytes, value: Any) -> Cut | None:
        """Return the output that `row` is the end of, where that is beyond doubt: by memory, else by its ids.

        Args:
            row: The ids given to `decode`.
            value: The object that held them.
        """
        if not (self._generated or self._encoded):
            return None
        owner = self._owner(value)
        if owner is not None:
            event, (number, column) = owner
            output = event.outputs[number] if number < len(event.outputs) else b""
            if row != output[column * ids.ITEM :] or not column:
                return None
            return Cut(event, number, column, ids.width(row))
        if len(row) < _END or self.tokenized_text(row) is not None:
            return None
        found = [
            (event, number)
            for event, number in self._ends.get(row[-_END:], ())
            if len(event.outputs[number]) > len(row) and event.outputs[number].endswith(row)
        ]
        if len({(event.outputs[number], event.prompt_width) for event, number in found}) != 1:
            return None
        event, number = found[-1]  # of calls that returned the same, the latest
        return Cut(event, number, ids.width(event.outputs[number]) - ids.width(row), ids.width(row))

    def widths_before(self, event: Generated) -> set[int]:
        """Return the prompt widths of the calls before this one, in the same test or block."""
        widths = set()
        for other in self._generated:
            if other is event:
                break
            if other.block == event.block:
                widths.add(other.width)
        return widths

    def prompts_of_width(self, width: int) -> Iterator[bytes]:
        """Yield the prompts of remembered calls of a width, without their padding."""
        for event in self._generated:
            if event.width == width:
                for prompt, left in zip(event.prompts, event.left, strict=True):
                    yield prompt[left * ids.ITEM :]

    def _owner(self, value: Any) -> tuple[Output, tuple[int, int]] | None:
        """Return the call whose returned tensor `value` is a view of, and where in it the view starts."""
        if not self._storages or not ids.readable_tensor(value):
            return None
        event = self._storages.get(value.untyped_storage().data_ptr())
        place = position_in(event, value) if event is not None else None
        return (event, place) if event is not None and place is not None else None

    def _candidates(self, row: bytes) -> Iterator[Match]:
        real_by_tail: dict[frozenset[bytes], bytes] = {}
        for size, prompts in self._prompts.items():
            if size >= len(row):
                continue
            for match in reversed(prompts.get(row[:size], ())):
                event = match.generated
                output = event.outputs[match.row][match.skipped * ids.ITEM :]
                real = real_by_tail.get(event.tail)
                if real is None:
                    real = real_by_tail[event.tail] = ids.without_tail(row, event.tail)
                if len(real) <= size:
                    # Nothing but end-of-text was generated: only the whole, untouched row tells.
                    if row == output:
                        yield match
                elif output.startswith(real):
                    yield match

    def _has_other_reading(self, row: bytes) -> bool:
        if self.tokenized_row(row) is not None:
            return True
        for event in self._generated:
            start = event.width * ids.ITEM
            for prompt, output in zip(event.prompts, event.outputs, strict=True):
                if prompt == row or output.startswith(row, start):
                    return True
        return False

    def _add_output(self, event: Output) -> None:
        self._bytes += event.size
        for number, output in enumerate(event.outputs):
            self._ends.setdefault(output[-_END:], []).append((event, number))
        tensor = event.tensor() if event.tensor is not None else None
        if tensor is not None:
            event.storage = tensor.untyped_storage().data_ptr()
            self._storages[event.storage] = event

    def _forget_output(self, event: Output) -> None:
        self._bytes -= event.size
        if self._storages.get(event.storage) is event:
            del self._storages[event.storage]
        for output in event.outputs:
            entries = self._ends.get(output[-_END:])
            if entries is None:
                continue
            if entries[0][0] is not event:  # the other kind of model has one that is older
                entries[:] = [entry for entry in entries if entry[0] is not event]
            while entries and entries[0][0] is event:
                del entries[0]
            if not entries:
                del self._ends[output[-_END:]]

    def _forget_tokenized(self, event: Tokenized) -> None:
        self._tokenized_bytes -= event.size
        for number, row in enumerate(event.rows):
            real = event.real(number)
            for table, key in ((self._rows, row), (self._texts, real)):
                if table.get(key, (None,))[0] is event:
                    del table[key]
            self._widths[len(real)] -= 1
            if not self._widths[len(real)]:
                del self._widths[len(real)]

    def _forget(self, event: Generated) -> None:
        self._forget_output(event)
        for key, _ in _keys(event):
            matches = self._prompts.get(len(key), {}).get(key)
            if matches is None:
                continue
            while matches and matches[0].generated is event:  # the oldest call's stand in front
                del matches[0]
            if not matches:
                del self._prompts[len(key)][key]
                if not self._prompts[len(key)]:
                    del self._prompts[len(key)]


def _keys(event: Generated) -> Iterator[tuple[bytes, Match]]:
    """Yield the starts by which an output is recognised: the prompt with and without its padding."""
    for number, (prompt, left) in enumerate(zip(event.prompts, event.left, strict=True)):
        yield prompt, Match(event, number, 0)
        if 0 < left < event.width:
            yield prompt[left * ids.ITEM :], Match(event, number, left)
