"""DLM309: no answer of a whole run of training ends in an end-of-text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.runtime.checks.base import GuardCheck, label_picture
from pytest_decoderonly.runtime.reading import decoder
from pytest_decoderonly.runtime.report import Step, call_text

if TYPE_CHECKING:
    from pytest_decoderonly.runtime.report import Finding
    from pytest_decoderonly.runtime.runs import Run


class Check(GuardCheck):
    """Reports runs in which every row is a masked prompt and an answer that a tokenizer made so, whole and without an end.

    One row that ends in a special token, or whose end is not known, is enough to be silent.
    """

    def on_run(self, run: Run) -> Finding | None:
        """Judge all rows that forwards with a gradient got."""
        end = run.example
        if not run.teaches_no_end or end is None:
            return None
        tokenizer = end.answer.tokenizer()
        special = set(getattr(tokenizer, "all_special_ids", ())) | set(
            getattr(tokenizer, "added_tokens_decoder", ())
        )
        if tokenizer is None or run.last_ids & special:
            return None
        return self.finding(
            "warning",
            f"none of the {run.open} answers that were learned ends in an end-of-text",
            end.place,
            steps=[
                Step("called", end.place, call_text(end.place)),
                Step("answer", end.answer.place, call_text(end.answer.place)),
            ],
            rows=label_picture(end.row, (end.row.end - 1,), decoder(end.answer.tokenizer)),
            effect="the model never learns to stop: generation runs on to its limit",
            help="append tokenizer.eos_token to each answer before it is tokenized",
        )
