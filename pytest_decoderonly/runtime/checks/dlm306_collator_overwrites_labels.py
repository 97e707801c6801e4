"""DLM306: a collator makes labels anew and loses what was masked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.runtime.checks.base import GuardCheck, label_picture
from pytest_decoderonly.runtime.labels import IGNORE, LabelRow
from pytest_decoderonly.runtime.provenance import Padding
from pytest_decoderonly.runtime.report import Step, call_text, plural

if TYPE_CHECKING:
    from pytest_decoderonly.runtime.events import CollatorCall
    from pytest_decoderonly.runtime.report import Finding


class Check(GuardCheck):
    """Reports batches in which positions count that their examples had masked."""

    def on_collate(self, call: CollatorCall) -> Finding | None:
        """Compare the labels of the examples with those of the batch, by where their masks begin."""
        lost = []
        for number, (before, after) in enumerate(zip(call.before, call.after, strict=True)):
            shift = _shift(before, call.ids[number])
            wrong = [
                i + shift
                for i, label in enumerate(before)
                if label == IGNORE and i + shift < len(after) and after[i + shift] != IGNORE
            ]
            if wrong:
                lost.append((number, tuple(wrong)))
        if not lost:
            return None
        number, first = lost[0]
        labels = call.after[number]
        counted = tuple(i for i, label in enumerate(labels) if label != IGNORE)
        row = LabelRow(number, tuple(call.ids[number]), tuple(labels), Padding(), counted)
        total = sum(len(positions) for _, positions in lost)
        place = call.made_at or call.caller.place
        return self.finding(
            "error",
            f"{call.collator} overwrote the labels of {plural(len(lost), 'row')}: {plural(total, 'position')} that "
            f"{'was' if total == 1 else 'were'} -100 {'is' if total == 1 else 'are'} in the loss",
            place,
            steps=[
                Step("collator", place, call_text(place)),
                *([Step("called", call.caller.place, call_text(call.caller.place))] if call.made_at else []),
            ],
            rows=label_picture(row, first, call.text_of),
            effect="labels are rebuilt from input_ids: the prompt is learned after all",
            help="DataCollatorForSeq2Seq(tokenizer) pads labels and leaves them as they are",
        )


def _shift(before: list[int], row: list[int]) -> int:
    """Return how many columns of padding stand before an example in its row, by the labels that are its ids."""
    for shift in range(len(row) - len(before) + 1):
        if all(label in (IGNORE, row[i + shift]) for i, label in enumerate(before)):
            return shift
    return len(row)
