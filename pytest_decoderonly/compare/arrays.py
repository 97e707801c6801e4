"""Token ids in whatever form a user holds them, as plain lists of ints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Rows = list[list[int]]


def as_rows(value: Any, name: str) -> Rows:
    """Return rows of ints from a torch tensor, a NumPy array, or (ragged) lists; one row may come flat.

    Args:
        value: Ids of shape (rows, positions) or (positions,), integers or booleans.
        name: What the argument is called in error messages.

    Raises:
        TypeError: `value` holds something else than integers.
        ValueError: `value` has another number of dimensions, or no rows.
    """
    plain = _plain(value)
    if isinstance(plain, (str, bytes, Mapping)) or not isinstance(plain, Sequence):
        raise TypeError(
            f"{name}: must be a tensor, an array or lists of integers, got {type(value).__name__}"
        )
    plain = [_plain(row) for row in plain]
    if not plain:
        raise ValueError(f"{name}: holds no rows")
    if not any(_is_row(row) for row in plain):
        plain = [plain]
    for i, row in enumerate(plain):
        if not _is_row(row):
            raise ValueError(
                f"{name}: row {i} must be a row of integers, got {type(row).__name__}; expected (rows, "
                "positions)"
            )
    return [
        [_integer(item, f"{name}: row {i}, position {j}") for j, item in enumerate(row)]
        for i, row in enumerate(plain)
    ]


def as_counts(value: Any, name: str, rows: int) -> list[int]:
    """Return one non-negative int a row; a single int stands for all rows.

    Raises:
        TypeError: Not an int or a sequence of ints.
        ValueError: Wrong number of counts, or a negative one.
    """
    plain = _plain(value)
    if isinstance(plain, int) and not isinstance(plain, bool):
        plain = [plain] * rows
    if not _is_row(plain):
        raise TypeError(f"{name}: must be an integer or one integer a row, got {type(value).__name__}")
    counts = [_integer(item, f"{name}: entry {i}") for i, item in enumerate(plain)]
    if len(counts) != rows:
        raise ValueError(f"{name}: {len(counts)} entries for {rows} rows")
    if any(count < 0 for count in counts):
        raise ValueError(f"{name}: must not be negative, got {min(counts)}")
    return counts


def _plain(value: Any) -> Any:
    """Tensors and arrays have `tolist`; anything else is handed back."""
    if isinstance(value, Mapping):
        return value
    return value.tolist() if hasattr(value, "tolist") else value


def _is_row(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _integer(item: Any, where: str) -> int:
    item = _plain(item)
    if isinstance(item, (bool, int)):
        return int(item)
    if isinstance(item, float) and item.is_integer():
        return int(item)  # masks come as floats too
    raise TypeError(f"{where}: must be an integer, got {item!r}"[:200])
