"""A row whose mask is zero everywhere gives no NaN, and changes nothing in the other rows.

Protects from: a loss and gradients that are NaN as soon as a batch is filled up with empty rows, as distributed training
and fixed batch sizes do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_decoderonly.changes import Rewritten
from pytest_decoderonly.conformance.checks import Variant
from pytest_decoderonly.conformance.found import Found, failed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_decoderonly.conformance.case import Case

ORDER = 36
KIND = "padding"
VARIANTS = (Variant(),)


def run(case: Case, _variant: Variant) -> Found:
    """Run a batch with an empty row, and hold the others against themselves alone."""
    from pytest_decoderonly.compare.drive import Batch, Driver
    from pytest_decoderonly.compare.ways import plain

    driver = Driver(case.model, case.pad_id)
    finite: list[bool] = []

    def with_an_empty_row(_model: Any, rows: Sequence[Sequence[int]]) -> list[Any]:
        width = max(map(len, rows))
        real = tuple(tuple(row) for row in rows)
        fills = (*((case.pad_id,) * (width - len(row)) for row in rows), (case.pad_id,) * width)
        *mine, empty = plain(driver, Batch((*real, ()), fills, ((),) * (len(rows) + 1)))
        finite.append(bool(empty.isfinite().all()))
        return mine

    # Rows of one length, so that padding has no part in it.
    change = Rewritten(with_an_empty_row, name="a batch with an empty row")
    found = case.with_change(change, (19, 19))
    if found.passed and not all(finite):
        return failed(
            f"{case.name}: a row whose mask is zero everywhere gives NaN or infinite logits",
            [
                "effect: a loss over the batch is NaN, or its gradients are, though the row's labels are -100",
                "do: let fully masked positions attend to themselves, or use the dtype's minimum instead of -inf in the mask",
            ],
        )
    return found
