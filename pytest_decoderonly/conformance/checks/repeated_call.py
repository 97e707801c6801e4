"""The same row, run again after other rows, gives the same bits.

Protects from: answers that depend on what was asked before, because a call leaves a state, a cache or a table behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.compare.verdict import Relation
from pytest_decoderonly.conformance.checks import Variant

if TYPE_CHECKING:
    from pytest_decoderonly.conformance.case import Case
    from pytest_decoderonly.conformance.found import Found

ORDER = 18  # where this fails, all else may fail for it
KIND = "padding"
VARIANTS = (Variant(),)


def run(case: Case, _variant: Variant) -> Found:
    """Check repeated."""
    return case.read(Relation.REPEATED)
