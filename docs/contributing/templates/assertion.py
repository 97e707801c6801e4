"""Assertions about SUBJECT."""

from __future__ import annotations

from typing import Any

from pytest_decoderonly.assertions.drawing import advice, statement
from pytest_decoderonly.compare.arrays import as_rows


def assert_template(input_ids: Any, eos_token_id: int) -> None:
    """Assert that each row ends in EOS.

    What belongs to `compare/` is the measuring: a plain result without tensors. Here it is drawn, and raised.

    Args:
        input_ids: Ids of shape (rows, positions): tensor, array or lists.
        eos_token_id: The id that ends a text.

    Raises:
        AssertionError: A row ends in another token; says which rows.
        TypeError: `input_ids` is no array of integers.
    """
    __tracebackhide__ = True
    rows = as_rows(input_ids, "input_ids")
    wrong = [number for number, row in enumerate(rows) if not row or row[-1] != eos_token_id]
    del input_ids, rows  # the error must not keep tensors alive
    if wrong:
        shown = ", ".join(map(str, wrong[:8])) + (", …" if len(wrong) > 8 else "")
        raise AssertionError(
            statement(
                f"rows that do not end in EOS: {shown}",
                "DLM309",
                advice("the model is not taught to stop", "put EOS behind each text"),
            )
        )
