"""Other ids under the padding, and other text in the neighbouring rows, change no bit of a row.

Protects from: a mask that one layer or one head ignores, rows that are mixed, NaN from rows that see nothing.
Needs no tolerance: both runs have the same shapes. Mixture-of-experts models may differ by the order of
additions; that is judged in float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.compare.verdict import Relation

if TYPE_CHECKING:
    from pytest_decoderonly.conformance.case import Case

ORDER = 20


def run(case: Case) -> str:
    """Check pad-content and neighbour-content."""
    return case.judge((Relation.PAD_CONTENT, Relation.NEIGHBOUR_CONTENT))
