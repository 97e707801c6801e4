"""From tree nodes to places in the text; computed only for files that have something to say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from libcst.metadata import PositionProvider

from decoderonly_checker.diagnostics import Place

if TYPE_CHECKING:
    from collections.abc import Mapping

    import libcst
    from libcst.metadata import CodeRange

    from decoderonly_checker.source.files import SourceFile


class _Ranges(PositionProvider):
    """libcst's own positions, without what a `MetadataWrapper` adds: a copy of the tree, and a visit to each of its nodes."""

    def of(self, module: libcst.Module) -> Mapping[libcst.CSTNode, CodeRange]:
        """Return the spans of all nodes of a tree."""
        self._gen_impl(module)
        return self._computed  # type: ignore[return-value]


class Positions:
    """The places of the nodes of one file. Each cell is measured once, when its first place is asked for."""

    def __init__(self, source: SourceFile) -> None:
        """Measure nothing yet."""
        self._source = source

    def place(self, cell_index: int | None, node: libcst.CSTNode) -> Place:
        """The span of a node of the cell's tree.

        Args:
            cell_index: `Cell.index`: None for a `.py` file.
            node: A node of that very tree (`cell.tree`), not a copy.

        Raises:
            KeyError: No such cell, or the node is not part of its tree.
        """
        cell = self._source.cell(cell_index)
        if cell.ranges is None:
            if cell.tree is None:
                raise KeyError(node)
            cell.ranges = _Ranges().of(cell.tree)
        span = cell.ranges[node]
        start, end = span.start, span.end
        return Place(
            self._source.shown,
            start.line,
            start.column + 1 + cell.shifts.get(start.line, 0),
            end.line,
            end.column + 1 + cell.shifts.get(end.line, 0),
            cell_index,
        )
