"""Other ids under the padding, and other text in the neighbouring rows, change no bit of a row.

Needs no tolerance: both runs have the same shapes. Mixture-of-experts models may differ by the order of additions; that
is judged in float32.

Protects from: answers that change with what stands under the padding or in the row beside it, because a layer or a
head ignores the mask, or rows are mixed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.compare.verdict import Relation
from pytest_decoderonly.conformance.checks import Variant

if TYPE_CHECKING:
    from pytest_decoderonly.conformance.case import Case
    from pytest_decoderonly.conformance.found import Found

ORDER = 20
KIND = "padding"
VARIANTS = (
    Variant({"what": "padding", "batch": 3, "length": 33}),
    Variant({"what": "padding", "batch": 1, "length": 11}),
    Variant({"what": "neighbours", "batch": 3, "length": 33}),
    Variant({"what": "padding", "batch": 8, "length": 66}, full=True),
    Variant({"what": "neighbours", "batch": 8, "length": 66}, full=True),
)


def run(case: Case, variant: Variant) -> Found:
    """Check pad-content or neighbour-content."""
    relation = Relation.PAD_CONTENT if variant.parameters["what"] == "padding" else Relation.NEIGHBOUR_CONTENT
    rows = variant.parameters["batch"]
    result = case.wide_battery() if rows == 8 else case.battery()
    return case.read(relation, lambda error: error.rows == rows, result=result)
