"""What lies behind something at whatever remove, in a graph that is made known bit by bit and is asked again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

Node = TypeVar("Node", bound="Hashable")


def reached(
    start: Node,
    own: Callable[[Node], int],
    targets: Callable[[Node], Iterable[Node]],
    enough: Callable[[Node, int], bool],
    known: dict[Node, int],
) -> int:
    """Return the union of the bits of a node and of all that can be reached from it.

    Every node that is looked at is looked at once in the life of `known`: nodes that reach each other have the same bits
    (Tarjan, Depth-first search and linear graph algorithms, 1972).

    Args:
        start: The node.
        own: A node's own bits.
        targets: Where a node leads to, directly.
        enough: Whether a node with these bits need not be followed further: for what can be reached from there, more of them
            must change nothing, nor for what leads to it.
        known: What was found out before, and is added to; for a node with enough bits, not all of them need be there.
    """
    before = known.get(start)
    if before is not None:
        return before
    number = {start: 0}
    lowest = {start: 0}  # the first of the nodes that are still open to which one leads back
    bits = {start: own(start)}
    opened = [start]
    way: list[tuple[Node, Iterator[Node]]] = []
    fresh: Node | None = start
    while True:
        if fresh is not None:
            way.append((fresh, iter(targets(fresh))))
        node, rest = way[-1]
        found = bits[node]
        fresh = None
        if not enough(node, found):
            for target in rest:
                more = known.get(target)
                if more is not None:
                    found |= more
                elif target not in number:
                    number[target] = lowest[target] = len(number)
                    bits[target] = own(target)
                    opened.append(target)
                    fresh = target
                    break
                else:
                    lowest[node] = min(lowest[node], number[target])
                    continue
                if more and enough(node, found):
                    break
        bits[node] = found
        if enough(node, found):
            # All that are open lead here.
            known.update(dict.fromkeys(opened, found))
            return found
        if fresh is not None:
            continue
        way.pop()
        if lowest[node] == number[node]:
            while True:
                last = opened.pop()
                known[last] = found
                if last == node:
                    break
        if not way:
            return found
        outer = way[-1][0]
        lowest[outer] = min(lowest[outer], lowest[node])
        bits[outer] |= found
