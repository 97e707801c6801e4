"""What stands around a node: the way down to it from the root of its tree."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING

import libcst as cst

if TYPE_CHECKING:
    from collections.abc import Iterator


class Ancestors:
    """The parents of all nodes of one tree, found in one walk when the first is asked for."""

    def __init__(self, root: cst.CSTNode) -> None:
        """Answer for the tree below `root`."""
        self._root = root
        # What the code binds, by the identity of the scope: kept here, for as long as the tree is.
        self.bindings: dict[int, dict[str, list[cst.CSTNode]]] = {}

    @cached_property
    def names(self) -> Counter[str]:
        """How often each name stands for a variable, anywhere in the tree."""
        return Counter(name.value for name in names_in(self._root))

    def of(self, node: cst.CSTNode) -> list[cst.CSTNode]:
        """Return the nodes from the root down to the parent of `node`; empty where it is not in the tree."""
        path: list[cst.CSTNode] = []
        parent = self._parents.get(id(node))
        while parent is not None:
            path.append(parent)
            parent = self._parents.get(id(parent))
        return path[::-1]

    @cached_property
    def _parents(self) -> dict[int, cst.CSTNode]:
        """By the identity of the child: the tree, which is kept, keeps all of them."""
        parents: dict[int, cst.CSTNode] = {}
        pending = [self._root]
        while pending:
            node = pending.pop()
            for child in children_of(node):
                parents[id(child)] = node
                pending.append(child)
        return parents


def children_of(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """Yield the children that are no whitespace.

    The fields themselves are read: the node's own `children` asks a visitor about each, which takes most of the time.
    """
    for name in node.__dataclass_fields__:
        value = getattr(node, name)
        for child in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(child, cst.CSTNode) and not isinstance(child, cst.BaseParenthesizableWhitespace):
                yield child


def names_in(node: cst.CSTNode) -> Iterator[cst.Name]:
    """Yield the names that stand for variables, below a node: not those of attributes and of arguments."""
    pending: list[cst.CSTNode] = [node]
    while pending:
        one = pending.pop()
        if isinstance(one, cst.Name):
            yield one
        elif isinstance(one, cst.Attribute | cst.Arg):
            pending.append(one.value)
        else:
            pending += children_of(one)
