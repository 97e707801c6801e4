"""`logits_to_keep`, which `generate` asks for, keeps the last positions.

Protects from: a next token that is chosen by the logits of another position.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.compare.verdict import Relation
from pytest_decoderonly.conformance.checks import Variant

if TYPE_CHECKING:
    from pytest_decoderonly.conformance.case import Case
    from pytest_decoderonly.conformance.found import Found

ORDER = 58
KIND = "generate"
VARIANTS = (Variant(),)


def run(case: Case, _variant: Variant) -> Found:
    """Check last-logits."""
    return case.read(Relation.LAST_LOGITS)
