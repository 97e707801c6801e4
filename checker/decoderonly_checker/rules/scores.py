"""What the rules on losses share: which numbers are scores, and which ones a model is trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Confidence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Facts, Reduction

_LOSSES = frozenset({"loss", "cross-entropy"})


def scores(facts: Facts) -> Iterator[tuple[Reduction, Confidence]]:
    """Yield the numbers that are used as scores, and how sure that is."""
    trained = {id(one.call) for one in facts.reductions if any(u.kind == "backward" for u in one.uses)}
    for one in facts.reductions:
        sure = scored(one)
        if sure is not None and id(one.call) not in trained and not one.call.overwritten:
            yield one, sure


def scored(one: Reduction) -> Confidence | None:
    """Return how sure it is that a number is a score and not what a model is trained on."""
    uses = {use.kind for use in one.uses}
    if not one.call.gradients:
        return Confidence.CERTAIN if uses else Confidence.LIKELY
    if "returned" in uses:
        return None  # whoever calls this may train on it
    if "exponentiated" in uses and one.how in _LOSSES:
        return Confidence.CERTAIN
    return Confidence.LIKELY if "number" in uses else None


def scoring_calls(facts: Facts) -> frozenset[int]:
    """Return the places of the model calls whose loss is a score: nothing is trained on it."""
    return frozenset(one.call.site.key for one, _ in scores(facts) if one.how in _LOSSES)
