"""The order of the rows in a batch changes nothing.

Protects from: answers that depend on where a prompt stands in its batch, because the first row's positions, mask or state
are applied to all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.compare.verdict import Relation
from pytest_decoderonly.conformance.checks import Variant

if TYPE_CHECKING:
    from pytest_decoderonly.conformance.case import Case
    from pytest_decoderonly.conformance.found import Found

ORDER = 32
KIND = "padding"
VARIANTS = (Variant({"batch": 3, "length": 33}), Variant({"batch": 8, "length": 66}, full=True))


def run(case: Case, variant: Variant) -> Found:
    """Check row-order."""
    result = case.wide_battery() if variant.parameters["batch"] == 8 else case.battery()
    return case.read(Relation.ROW_ORDER, result=result)
