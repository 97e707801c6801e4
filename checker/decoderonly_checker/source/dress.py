"""What the text looks like, put into nodes that were made without it: whitespace, commas, parentheses.

Nodes keep their identity, as findings point to them.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any
from unicodedata import normalize

import libcst as cst

from decoderonly_checker.source.bare.nodes import MEANING, UNREAD, UNREAD_LINE, is_shared
from decoderonly_checker.source.files import DifferenceError


def dress(bare: cst.Module, whole: list[cst.Module]) -> None:
    """Give the nodes of a bare tree all that libcst's own tree of the text has besides what they mean.

    What is not in the bare tree yet is taken over from the other one, which is used up.

    Args:
        bare: The tree that was made from Python's.
        whole: libcst's, alone in a list: it is taken out, so that its nodes go as soon as they have given what they have.

    Raises:
        DifferenceError: The trees differ in what they mean; some nodes are dressed, others are not.
    """
    pending: list[tuple[Any, Any]] = [(bare, whole.pop())]
    while pending:
        ours, theirs = pending.pop()
        meanings, looks = _FIELDS.get(theirs.__class__) or _fields(theirs.__class__)
        for read, write in looks:
            write(ours, read(theirs))
        for get, put in meanings:
            true, mine = get(theirs), get(ours)
            if isinstance(true, (tuple, list)):
                if not isinstance(mine, (tuple, list)) or len(mine) != len(true):
                    raise DifferenceError(_said(ours, mine, true))
                taken = [_taken(ours, *pair, pending) for pair in zip(mine, true, strict=True)]
                if any(one is not other for one, other in zip(taken, mine, strict=True)):
                    put(ours, tuple(taken))
            else:
                taken_over = _taken(ours, mine, true, pending)
                if taken_over is not mine:
                    put(ours, taken_over)


_FIELDS: dict[type, tuple[list[tuple[Any, Any]], list[tuple[Any, Any]]]] = {}


def _taken(parent: cst.CSTNode, mine: Any, true: Any, pending: list[tuple[Any, Any]]) -> Any:
    """Return which of two values a field shall have; nodes that stay are pending."""
    if mine in (UNREAD, UNREAD_LINE):
        return true
    if mine.__class__ is not true.__class__:
        raise DifferenceError(_said(parent, mine, true))
    if isinstance(true, cst.CSTNode):
        if is_shared(mine):
            return true
        pending.append((mine, true))
    elif mine != true:
        if not isinstance(true, str) or normalize("NFKC", true) != mine:
            raise DifferenceError(_said(parent, mine, true))
        return true
    return mine


def _fields(kind: type[cst.CSTNode]) -> tuple[list[tuple[Any, Any]], list[tuple[Any, Any]]]:
    """Return how the fields of a node are read and written: those that hold what it means, and the others."""
    found: tuple[list[tuple[Any, Any]], list[tuple[Any, Any]]] = ([], [])
    means = MEANING.get(kind, ())
    for one in fields(kind):
        slot = getattr(kind, one.name)
        found[one.name not in means].append((slot.__get__, slot.__set__))
    _FIELDS[kind] = found
    return found


def _said(parent: cst.CSTNode, ours: object, theirs: object) -> str:
    return f"in {type(parent).__name__}: {_short(ours)}, not {_short(theirs)}"


def _short(value: object) -> str:
    return type(value).__name__ if isinstance(value, cst.CSTNode) else repr(value)[:200]
