"""What only a whole run of training shows: whether any answer that it was taught ends in an end-of-text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_decoderonly.runtime.labels import IGNORE, is_aligned

if TYPE_CHECKING:
    from pytest_decoderonly.runtime.events import ForwardCall
    from pytest_decoderonly.runtime.frames import CallPlace
    from pytest_decoderonly.runtime.labels import LabelRow
    from pytest_decoderonly.runtime.provenance import Tokenized


@dataclass(frozen=True)
class OpenEnd:
    """A row whose answer, whole as its tokenizer made it, ends without an end-of-text."""

    place: CallPlace | None
    row: LabelRow
    answer: Tokenized


class Run:
    """The rows that forwards with a gradient were given in one block or test."""

    def __init__(self) -> None:
        self.open = 0
        self.last_ids: set[int] = set()
        self.example: OpenEnd | None = None
        self._innocent = False

    @property
    def teaches_no_end(self) -> bool:
        """Whether every answer of the run is known to be whole and to end without an end-of-text."""
        return not self._innocent and self.open > 1

    def add(self, call: ForwardCall) -> None:
        """Count a forward's rows. One that ends, or whose end is not known, settles the run."""
        if self._innocent or call.labels is None or not call.trains:
            return
        for row in call.label_rows:
            end = self._open_end(row, call)
            if end is None:
                self._innocent = True
                self.example = None
                return
            self.open += 1
            self.last_ids.add(row.ids[row.end - 1])
            self.example = self.example or end

    def _open_end(self, row: LabelRow, call: ForwardCall) -> OpenEnd | None:
        last = row.end - 1
        if not is_aligned(row) or last not in row.counted or row.ids[last] in call.eos_ids:
            return None
        first = next(i for i, label in enumerate(row.labels) if label != IGNORE)
        answer = call.log.tokenized_text(row.real(first - row.start)) if first > row.start else None
        if answer is None or answer[1] in answer[0].truncated:
            return None
        return OpenEnd(call.place, row, answer[0])
