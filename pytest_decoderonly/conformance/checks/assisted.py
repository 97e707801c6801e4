"""Assisted decoding (by the prompt's own n-grams) writes the tokens that greedy decoding writes.

Protects from: rejected candidates that stay in the cache, sliding layers most of all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.changes import Assisted
from pytest_decoderonly.conformance.checks import Variant

if TYPE_CHECKING:
    from pytest_decoderonly.conformance.case import Case
    from pytest_decoderonly.conformance.found import Found

ORDER = 68
KIND = "generate"
VARIANTS = (Variant({"what": "prompt-lookup"}, full=True),)


def run(case: Case, _variant: Variant) -> Found:
    """Run with assistance."""
    return case.with_change(Assisted())
