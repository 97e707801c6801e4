"""What the rules on labels share about collators: what rows hold that go through one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.flow.labels import ignores
from decoderonly_checker.flow.state import DictRec, ListRec
from decoderonly_checker.flow.values import Ids, Ref, alternatives
from decoderonly_checker.rules.labels import PROMPT, covers, touches

if TYPE_CHECKING:
    from decoderonly_checker.flow.facts import Collation, Facts
    from decoderonly_checker.flow.values import Site, Value


def masked_at(made: Collation, facts: Facts) -> Site | None:
    """Return where -100 came into the labels of the rows that are collated; None where it is not known to."""
    for row in alternatives(made.row):
        record = facts.objects.get(row.id) if isinstance(row, Ref) else None
        labels = record.entries.get("labels") if isinstance(record, DictRec) else None
        for one in alternatives(labels):
            found = _ignored_at(one, facts)
            if found is not None:
                return found
    return None


def _ignored_at(labels: Value, facts: Facts) -> Site | None:
    """Return where -100 was written into a row's labels."""
    if isinstance(labels, Ids):
        writes = [w for w in facts.ignore_writes if w.kind != "unknown" and PROMPT in covers(w)]
        return next((w.site for w in writes if w.target is not None and _into(w.target, labels)), None)
    record = facts.objects.get(labels.id) if isinstance(labels, Ref) else None
    return labels.origin if isinstance(record, ListRec) and ignores(record.element) else None


def _into(target: Ids, labels: Ids) -> bool:
    """Whether what was written into `target` is in these labels: not what was written into a later copy of them."""
    return touches(target, labels) and labels.id not in target.lineage
