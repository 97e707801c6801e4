"""From tree nodes to places in the text; computed only for files that have something to say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from libcst.metadata import MetadataWrapper, PositionProvider

from decoderonly_checker.diagnostics import Place

if TYPE_CHECKING:
    import libcst

    from decoderonly_checker.source.files import SourceFile


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
            # The tree is never changed: the copy that the wrapper makes by default would cost a parse.
            wrapper = MetadataWrapper(cell.tree, unsafe_skip_copy=True)
            cell.ranges = wrapper.resolve(PositionProvider)
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
