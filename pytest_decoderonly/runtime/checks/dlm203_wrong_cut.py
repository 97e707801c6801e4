"""DLM203: the prompt is cut off at another place than where it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.runtime import ids
from pytest_decoderonly.runtime.checks.base import GuardCheck, tokenized_steps
from pytest_decoderonly.runtime.provenance import Generated
from pytest_decoderonly.runtime.report import Step, call_text, plural, printable, shorten
from pytest_decoderonly.runtime.usage import cuts_from_the_end

if TYPE_CHECKING:
    from pytest_decoderonly.runtime.events import DecodeCall
    from pytest_decoderonly.runtime.provenance import Cut
    from pytest_decoderonly.runtime.report import Finding


class Check(GuardCheck):
    """Reports ends of outputs that begin at a column which is known for what it is, and is not the prompt's width.

    Known are the row's own length in a left-padded batch, the width of an earlier call's prompts, the characters of the
    prompt's text, and a fixed tail that reaches into the prompt. Any other cut may be meant.
    """

    def on_decode(self, call: DecodeCall) -> Finding | None:
        """Judge what the user's own code decodes."""
        if not call.caller.direct:
            return None
        found = [(number, cut, _reason(cut, call)) for number, cut in call.cuts]
        wrong = [(number, cut, reason) for number, cut, reason in found if reason]
        if not wrong:
            return None
        _, cut, reason = wrong[0]
        event = cut.event
        assert isinstance(event, Generated)  # noqa: S101 - only those have a reason
        row = event.outputs[cut.row]
        column, width = cut.column, event.width
        left = event.left[cut.row]
        shown = call.text_of(row[max(left, 0) * ids.ITEM : min(column, width) * ids.ITEM])
        rest = call.text_of(row[max(left, min(column, width)) * ids.ITEM : max(column, width) * ids.ITEM])
        answer = call.text_of(row[max(column, width) * ids.ITEM :])
        cells = [shorten(printable(text), 24) for text in (shown, rest, answer)]
        parts = f"{'·' * min(left, 12)}{cells[0]}]! {cells[1]} !{cells[2]}"
        place = call.caller.place
        at = f"at column {column}" if cut.kept else f"behind the last column, {column}"
        return self.finding(
            "error",
            f"{call.method}() got {plural(len(wrong), 'row')} cut {at}, but the prompt ends at {width}",
            place,
            steps=[
                Step("decoded", place, call_text(place)),
                Step("generated", event.place, call_text(event.place) or f"{event.model}.generate"),
                *tokenized_steps(event.tokenized, "tokenized"),
            ],
            rows=[(f"row {cut.row}", f"[{parts}"), ("cut", reason)],
            effect=(
                "the end of the prompt is read as answer (between the signs)"
                if column < width
                else "the start of the answer is lost (between the signs)"
            ),
            help=f"cut every row at the padded width: output[:, {width}:], that is output[:, enc['input_ids'].shape[1]:]",
        )


def _reason(cut: Cut, call: DecodeCall) -> str:
    """Say what a column is, where it is a known mistake; empty otherwise."""
    event, column = cut.event, cut.column
    if not isinstance(event, Generated) or column == event.width or not column:
        return ""
    width, left = event.width, event.left[cut.row]
    from_the_end = cuts_from_the_end(call.places[0]) if call.places else None
    total = ids.width(event.outputs[cut.row])
    if from_the_end:
        return _fixed_tail(event, cut)
    if left and column == width - left and column not in (left, 1):
        return f"{column} is the row's own length without its {plural(left, 'padding token')}"
    characters = event.characters[cut.row] if event.characters else None
    if (
        characters is not None
        and characters > width
        and (column == characters or (not cut.kept and characters >= total))
    ):
        return f"the prompt has {characters} characters, and {width} tokens"
    if from_the_end is None and _fixed_tail(event, cut):
        return _fixed_tail(event, cut)
    known = call.log.widths_before(event) if call.log is not None else set()
    if left < column < width and column > 1 and column in known and not _continues(event, column, call):
        return f"{column} is the prompt width of an earlier call"
    return ""


def _fixed_tail(event: Generated, cut: Cut) -> str:
    total, limit = ids.width(event.outputs[cut.row]), event.limit or 0
    new = total - event.width
    if total - cut.column != limit or new >= limit:
        return ""
    return f"the last {limit} positions were taken, as many as could have been generated; {new} were"


def _continues(event: Generated, column: int, call: DecodeCall) -> bool:
    """Whether the prompt begins with that of an earlier call: then a cut there may show the latest turn."""
    assert call.log is not None  # noqa: S101 - the widths came from it
    return any(
        prompt[left * ids.ITEM :].startswith(earlier)
        for prompt, left in zip(event.prompts, event.left, strict=True)
        for earlier in call.log.prompts_of_width(column)
    )
