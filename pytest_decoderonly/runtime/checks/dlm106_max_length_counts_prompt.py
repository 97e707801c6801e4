"""DLM106: `max_length` ended an answer, and counts the prompt as well."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from pytest_decoderonly.runtime import ids, usage
from pytest_decoderonly.runtime.checks.base import GuardCheck, generate_steps
from pytest_decoderonly.runtime.report import plural

if TYPE_CHECKING:
    from pytest_decoderonly.runtime.events import GenerateCall
    from pytest_decoderonly.runtime.report import Finding


class Check(GuardCheck):
    """Reports answers that were cut at a `max_length` which is written out as a number at the call.

    A length that is computed may have the prompt's width added to it; that is right, and not reported.
    """

    def on_generate(self, call: GenerateCall) -> Finding | None:
        """Judge by what came back: as long as `max_length` allows, and no end-of-text in a row."""
        limits = call.limits
        if (
            limits is None
            or limits.max_length is None
            or limits.max_new_tokens is not None
            or not call.outputs
        ):
            return None
        width = ids.width(call.rows[0])
        if call.lone_start or any(ids.width(row) != limits.max_length for row in call.outputs):
            return None
        cut = [
            row
            for row in call.outputs
            if not any(end in _tokens(row[width * ids.ITEM :]) for end in call.ends)
        ]
        if not cut or not _is_written_out(call):
            return None
        return self.finding(
            "warning",
            f"max_length={limits.max_length} counts the prompt: {plural(len(cut), 'answer')} ended after "
            f"{plural(limits.max_length - width, 'token')}, behind a prompt of {width}",
            call.place,
            steps=generate_steps(call),
            rows=[
                (
                    "row",
                    f"[{width} prompt] + {limits.max_length - width} new = {limits.max_length}, no end-of-text",
                )
            ],
            effect="the longer the prompt, the shorter the answer",
            help="max_new_tokens= sets the length of the answer alone",
        )


def _tokens(row: bytes) -> set[bytes]:
    return {row[start : start + ids.ITEM] for start in range(0, len(row), ids.ITEM)}


def _is_written_out(call: GenerateCall) -> bool:
    node = usage.call_node(call.places[0]) if call.places and call.caller.direct else None
    values = (
        [keyword.value for keyword in node.keywords if keyword.arg == "max_length"]
        if node is not None
        else []
    )
    return len(values) == 1 and isinstance(values[0], ast.Constant)
