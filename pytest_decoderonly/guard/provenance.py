"""What the guard remembers: which ids came from which tokenizer call, and which from which `generate`.

The memory is bounded and holds no reference that would keep a user's tensor, model or tokenizer alive: rows
are small copies, objects are weak references.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.guard import ids

if TYPE_CHECKING:
    import weakref
    from collections.abc import Iterator

    from pytest_decoderonly.guard.frames import CallPlace

_TOKENIZED_CALLS = 512
_TOKENIZED_ROWS = (
    256  # rows remembered of one tokenizer call: a dataset being mapped needs no more to be told apart
)
_GENERATED_CALLS = 256
_GENERATED_BYTES = 16 << 20


@dataclass(frozen=True)
class Padding:
    """Padding positions before and behind the real tokens of one row."""

    left: int = 0
    right: int = 0

    @property
    def total(self) -> int:
        """Both sides together."""
        return self.left + self.right


@dataclass(eq=False)
class Tokenized:
    """One call of a tokenizer.

    `hashes` are those of the rows; `padding` is read from the mask that the tokenizer returned, None where
    it gave none.
    """

    place: CallPlace | None
    method: str
    tokenizer: weakref.ref[Any]
    hashes: tuple[int, ...]
    padding: tuple[Padding, ...] | None
    row_count: int
    width: int
    padding_side: str
    pad_token_id: int | None
    eos_token_id: int | None
    pad_token: str | None


@dataclass(eq=False)
class Generated:
    """One call of a decoder-only `generate` that returned its prompt.

    `prompts[i]` is the padded prompt that `outputs[i]` starts with, `left[i]` the number of padding
    positions before it.
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
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = sum(map(len, self.outputs)) + sum(map(len, self.prompts))

    def column_of(self, value: Any) -> int | None:
        """Return the column of the output at which `value`, a view of the returned tensor, starts.

        None says that memory does not tell: another tensor, a copy, or the returned tensor is gone.
        """
        tensor = self.tensor() if self.tensor is not None else None
        if tensor is None or value.dim() not in (1, 2):
            return None
        if value.device != tensor.device or value.numel() == 0:
            return None
        if value.untyped_storage().data_ptr() != tensor.untyped_storage().data_ptr():
            return None
        if tensor.dim() != 2 or not tensor.is_contiguous() or (value.shape[-1] > 1 and value.stride(-1) != 1):
            return None
        return int((value.storage_offset() - tensor.storage_offset()) % tensor.shape[1])


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
        self._tokenized: deque[Tokenized] = deque()
        self._rows: dict[int, tuple[Tokenized, int]] = {}
        self._generated: deque[Generated] = deque()
        self._bytes = 0
        # prompt width -> prompt -> (call, row, padding dropped in front)
        self._prompts: dict[int, dict[bytes, list[Match]]] = {}

    def add_tokenized(self, event: Tokenized) -> None:
        """Remember a tokenizer call; the oldest is forgotten."""
        self._tokenized.append(event)
        for number, digest in enumerate(event.hashes[:_TOKENIZED_ROWS]):
            self._rows[digest] = (event, number)
        if len(self._tokenized) > _TOKENIZED_CALLS:
            gone = self._tokenized.popleft()
            for digest in gone.hashes:
                if self._rows.get(digest, (None,))[0] is gone:
                    del self._rows[digest]

    def add_generated(self, event: Generated) -> None:
        """Remember a generate call; the oldest are forgotten until the memory fits."""
        self._generated.append(event)
        self._bytes += event.size
        for key, match in _keys(event):
            self._prompts.setdefault(len(key), {}).setdefault(key, []).append(match)
        while len(self._generated) > _GENERATED_CALLS or (
            self._bytes > _GENERATED_BYTES and len(self._generated) > 1
        ):
            self._forget(self._generated.popleft())

    def tokenized_row(self, row: bytes) -> tuple[Tokenized, int] | None:
        """Return the tokenizer call that made exactly this row, and its number there."""
        return self._rows.get(hash(row))

    def tokenized_rows(self, rows: list[bytes]) -> Tokenized | None:
        """Return the latest tokenizer call that made some of these rows."""
        found = [hit[0] for hit in map(self.tokenized_row, rows) if hit is not None]
        return max(found, key=self._tokenized.index, default=None) if found else None

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
        owner = self._owner(value)
        for match in self._candidates(row):
            if owner is None:
                if not self._has_other_reading(row):
                    return match
            elif match.generated is owner[0] and owner[1] in (0, match.skipped):
                return match
        return None

    def _owner(self, value: Any) -> tuple[Generated, int] | None:
        """Return the call whose returned tensor `value` is a view of, and the column where it starts."""
        if not ids.readable_tensor(value):
            return None
        for event in reversed(self._generated):
            column = event.column_of(value)
            if column is not None:
                return event, column
        return None

    def _candidates(self, row: bytes) -> Iterator[Match]:
        for size, prompts in self._prompts.items():
            if size >= len(row):
                continue
            for match in reversed(prompts.get(row[:size], ())):
                event = match.generated
                output = event.outputs[match.row][match.skipped * ids.ITEM :]
                real = ids.without_tail(row, event.tail)
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

    def _forget(self, event: Generated) -> None:
        self._bytes -= event.size
        for key, _ in _keys(event):
            matches = self._prompts.get(len(key), {}).get(key)
            if matches is None:
                continue
            matches[:] = [match for match in matches if match.generated is not event]
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
