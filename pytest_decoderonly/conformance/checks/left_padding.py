"""A left-padded batch gives what each row gives alone, in any order and with any amount of padding.

Judged in float32 on the same weights, at the prompt and at cached steps. The lengths lie around the borders of vectors of
8 and of blocks of 32 and 64.

Protects from: answers that change when prompts are batched, because positions are counted over the padding, a new token
is placed by the padded width, a kernel fails at one length, or an offset is computed for the whole batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.compare.verdict import Relation
from pytest_decoderonly.conformance.case import WIDTHS
from pytest_decoderonly.conformance.checks import Variant, variants

if TYPE_CHECKING:
    from pytest_decoderonly.conformance.case import Case
    from pytest_decoderonly.conformance.found import Found

ORDER = 30
KIND = "padding"
VARIANTS = (
    *variants(batch=(2, 3, 5), length=33),
    *variants(batch=1, length=WIDTHS),
    Variant({"what": "beyond-window"}),
    Variant({"batch": 8, "length": 66}, full=True),
)


def run(case: Case, variant: Variant) -> Found:
    """Check batch-vs-solo for batches, pad-amount for rows that are alone."""
    if variant.parameters.get("what") == "beyond-window":
        return case.read_beyond_window(Relation.BATCH_VS_SOLO, lambda error: error.width)
    rows, width = variant.parameters["batch"], variant.parameters["length"]
    if rows == 1:
        return case.read(
            Relation.PAD_AMOUNT,
            lambda error: error.width == width,
            otherwise=f"the model's positions end before {width}",
        )
    result = case.wide_battery() if rows == 8 else case.battery()
    widest = max(result.lengths)
    return case.read(
        Relation.BATCH_VS_SOLO, lambda error: error.rows == rows and error.width == widest, result=result
    )
