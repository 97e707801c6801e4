"""Beam search over a batch finds the scores that it finds for each row alone, and those of its own texts.

Protects from: beams that go on from another beam's cache, sequences that stand at another prompt's place, candidates that
are compared over the borders of rows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_decoderonly.changes import Beams
from pytest_decoderonly.conformance.checks import Variant

if TYPE_CHECKING:
    from pytest_decoderonly.conformance.case import Case
    from pytest_decoderonly.conformance.found import Found

ORDER = 62
KIND = "generate"
VARIANTS = (Variant({"batch": 2, "beams": 3}), Variant({"batch": 3, "beams": 4}, full=True))


def run(case: Case, variant: Variant) -> Found:
    """Run beam search."""
    lengths = (6, 19, 33)[: int(variant.parameters["batch"])]
    change = Beams(int(variant.parameters["beams"]))
    found = case.with_change(change, lengths, steps=5)
    if found.passed or found.raised or not case.with_change(change, (19,) * len(lengths), steps=5).passed:
        return found
    case.refuse_by_design()
    # Without padding the beams are right: whatever is wrong with padding is wrong here.
    note = "the same beams are right for prompts of one length: it is the padding that goes wrong, with beams or without"
    return replace(
        found, culprit=case.culprit(), notes=(*found.notes, note), text=f"{found.text}\nnote:     {note}"
    )
