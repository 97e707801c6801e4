"""A cache that held another text, or the beginning of this one, is read like a new one.

Protects from: second turns of a chat, shared prefixes and emptied caches that answer from what was there before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.changes import Change, ReusedCache, WarmCache
from pytest_decoderonly.conformance.checks import Variant, variants

if TYPE_CHECKING:
    from pytest_decoderonly.conformance.case import Case
    from pytest_decoderonly.conformance.found import Found

ORDER = 44
KIND = "cache"
VARIANTS = (
    *variants(what=("second-turn", "emptied-static")),
    *variants(what=("cut-back", "emptied-dynamic"), full=True),
)
_CHANGES: dict[str, Change] = {
    "second-turn": WarmCache(),
    "cut-back": WarmCache(answer=3),
    "emptied-static": ReusedCache("static"),
    "emptied-dynamic": ReusedCache("dynamic"),
}


def run(case: Case, variant: Variant) -> Found:
    """Run on a cache that was used."""
    return case.with_change(_CHANGES[str(variant.parameters["what"])])
