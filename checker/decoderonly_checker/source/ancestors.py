"""What stands around a node: the way down to it from the root of its tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import libcst as cst


def ancestors(root: cst.CSTNode, node: cst.CSTNode) -> list[cst.CSTNode]:
    """Return the nodes from `root` down to the parent of `node`; empty where it is not in the tree."""
    path: list[cst.CSTNode] = []
    stack: list[tuple[cst.CSTNode, int]] = [(root, 0)]
    while stack:
        current, depth = stack.pop()
        del path[depth:]
        if current is node:
            return path
        path.append(current)
        stack.extend((child, depth + 1) for child in current.children)
    return []
