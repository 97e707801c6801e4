"""What stands around a node: the way down to it from the root of its tree."""

from __future__ import annotations

from functools import cached_property

import libcst as cst


class Ancestors:
    """The parents of all nodes of one tree, found in one walk when the first is asked for."""

    def __init__(self, root: cst.CSTNode) -> None:
        """Answer for the tree below `root`."""
        self._root = root

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
            # The fields themselves: `children` asks a visitor about each, which takes most of the time.
            for name in node.__dataclass_fields__:
                value = getattr(node, name)
                for child in value if isinstance(value, (list, tuple)) else (value,):
                    if isinstance(child, cst.CSTNode) and not isinstance(
                        child, cst.BaseParenthesizableWhitespace
                    ):
                        parents[id(child)] = node
                        pending.append(child)
        return parents
