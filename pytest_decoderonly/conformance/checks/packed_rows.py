"""Rows packed into one sequence, told apart by `position_ids` that restart, are read as they are alone.

Protects from: packed training rows that attend to the rows before them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.changes import Packed
from pytest_decoderonly.conformance.checks import Variant

if TYPE_CHECKING:
    from pytest_decoderonly.conformance.case import Case
    from pytest_decoderonly.conformance.found import Found

ORDER = 76
KIND = "training"
VARIANTS = (Variant(full=True),)


def run(case: Case, _variant: Variant) -> Found:
    """Run packed rows."""
    return case.with_change(Packed())
