"""A left-padded batch gives what each row gives alone, in any order and with any amount of padding.

Protects from: positions counted over the padding, a new token placed by the padded width, kernels that fail
at one alignment, offsets computed for the whole batch. Judged in float32 on the same weights, at the prompt
and at cached steps, over widths around a multiple of 32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.compare.verdict import Relation

if TYPE_CHECKING:
    from pytest_decoderonly.conformance.case import Case

ORDER = 30


def run(case: Case) -> str:
    """Check batch-vs-solo, pad-amount and row-order."""
    return case.judge((Relation.ROW_ORDER, Relation.BATCH_VS_SOLO, Relation.PAD_AMOUNT))
