"""Where labels begin to count: the front of a row that is set to -100 up to some number of columns."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from decoderonly_checker.flow.facts import LabelBoundary
from decoderonly_checker.flow.state import ListRec
from decoderonly_checker.flow.values import Below, Ids, Length, Ref, Value, alternatives, literal

_COLUMNS = frozenset({"index", "positions"})  # what `enumerate` and `torch.arange` count

if TYPE_CHECKING:
    from collections.abc import Iterator

    import libcst as cst

    from decoderonly_checker.flow.interpreter import Interpreter


def note_boundary(
    interp: Interpreter, labels: Value, count: Value | None, how: str, node: cst.CSTNode
) -> None:
    """Record that the first `count` columns of `labels` are ignored, where both are known."""
    if not any(isinstance(one, Length) for one in alternatives(count)):
        return
    for row in rows_in(interp, labels):
        if how == "rest":
            row = replace(row, start=None)  # noqa: PLW2901
        interp.record("label_boundaries", LabelBoundary(*interp.where(node), row, count, how))  # type: ignore[arg-type]


def note_mask(interp: Interpreter, labels: Value, mask: Value | None, node: cst.CSTNode) -> None:
    """Record that -100 was written where a mask of positions holds."""
    for one in alternatives(mask):
        if isinstance(one, Below) and not one.negated:
            note_boundary(interp, labels, one.count, one.how, node)


def rows_in(interp: Interpreter, value: Value) -> Iterator[Ids]:
    """Yield the ids of an encoding that a value holds as rows: itself, or a list of their tokens."""
    for one in alternatives(value):
        if isinstance(one, Ids):
            if one.encoding is not None:
                yield one
        elif isinstance(one, Ref):
            record = interp.store.get(one.id)
            if isinstance(record, ListRec):
                for item in alternatives(record.element):
                    if isinstance(item, Ids) and item.rank == "token" and item.encoding is not None:
                        yield replace(item, rank="row")


def positions_below(left: Value, right: Value, operator: str) -> Below | None:
    """Return what `position < count` and the like say; None where no count is compared with."""
    flipped = isinstance(left, Length)
    count, position = (left, right) if flipped else (right, left)
    if any(isinstance(one, Length) for one in alternatives(position)) or literal(position) is not None:
        return None
    counts = [one for one in alternatives(count) if isinstance(one, Length)]
    if not counts or any(one.what not in {"width", "real"} for one in counts):
        return None  # character offsets are compared with a count of characters
    name = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}.get(operator, operator) if flipped else operator
    if name in {"<=", ">"}:
        if not isinstance(count, Length):
            return None
        count = replace(count, offset=count.offset + 1)
    columns = (
        isinstance(position, Below) or getattr(position, "hint", getattr(position, "name", "")) in _COLUMNS
    )
    return Below(count, negated=name in {">", ">="}, how="mask" if columns else "order")


__all__ = ["note_boundary", "note_mask", "positions_below", "rows_in"]
