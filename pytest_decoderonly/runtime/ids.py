"""Token ids as bytes, so that rows can be kept, hashed and compared at the speed of `memcmp`.

A row of n ids becomes 8 * n bytes. Only reads; whatever cannot be read without an effect (fake and meta
tensors, tensor subclasses, a stream under capture) gives None and is not judged.
"""

from __future__ import annotations

import sys
from array import array
from functools import lru_cache
from typing import Any

ITEM = array("q").itemsize
_LIMIT = 1 << 20  # ids of one call; beyond, copying would cost more than the finding is worth


def rows_of(value: Any) -> list[bytes] | None:
    """Return the rows of `value`, one entry a row.

    Args:
        value: Token ids as a tensor or array of 1 or 2 dimensions, a list of ids, or a list of rows.
    """
    try:
        rows = _tensor_rows(value)
        if rows is not None:
            return rows
        nested = _as_list(value)
        if nested is None or not nested:
            return None
        alone = isinstance(nested[0], int) and not isinstance(nested[0], bool)
        nested = [nested] if alone else [_as_list(row) for row in nested]
        if any(row is None for row in nested) or sum(map(len, nested)) > _LIMIT:
            return None
        return [array("q", row).tobytes() for row in nested]
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return None


def _tensor_rows(value: Any) -> list[bytes] | None:
    """Read a tensor of ids on the CPU without a Python number for each of them."""
    if not readable_tensor(value) or value.dim() not in (1, 2) or not 0 < value.numel() <= _LIMIT:
        return None
    if value.dtype.is_floating_point or value.dtype.is_complex or not _numpy_reads_tensors():
        return None
    torch = sys.modules["torch"]
    if value.dtype != torch.int64 or not value.is_cpu or value.is_neg():
        value = value.detach().to(device="cpu", dtype=torch.int64)
    data = value.numpy().tobytes()
    step = value.shape[-1] * ITEM
    return [data[start : start + step] for start in range(0, len(data), step)]


def bits_of(value: Any) -> list[bytes] | None:
    """Return the rows of a mask as zeros and ones, one byte a position.

    Args:
        value: A mask of 1 or 2 dimensions and any type of numbers, or lists of such.
    """
    if readable_tensor(value):
        if value.dim() not in (1, 2) or not 0 < value.numel() <= _LIMIT:
            return None
        if value.is_cpu and not value.requires_grad and value.dtype in _numpy_types():
            data, step = (value.numpy() != 0).tobytes(), value.shape[-1]
            return [data[start : start + step] for start in range(0, len(data), step)]
        rows = value.tolist()
        nested = rows if value.dim() == 2 else [rows]
    else:
        found = _as_list(value)
        if not found:
            return None
        nested = [found] if isinstance(found[0], (int, float)) else [_as_list(row) for row in found]
    try:
        return [bytes(map(bool, row)) for row in nested]
    except (TypeError, ValueError, RuntimeError):
        return None


@lru_cache(maxsize=1)
def _numpy_reads_tensors() -> bool:
    """Whether tensors can be handed to NumPy. A torch that was built for NumPy 1 (before 2.3) cannot do it beside NumPy 2."""
    if "numpy" not in sys.modules:
        return False
    try:
        sys.modules["torch"].empty(0).numpy()
    except RuntimeError:
        return False
    return True


@lru_cache(maxsize=1)
def _numpy_types() -> frozenset[Any]:
    """Return the types of masks that NumPy has as well."""
    torch = sys.modules["torch"]
    if not _numpy_reads_tensors():
        return frozenset()
    return frozenset({torch.bool, torch.int64, torch.int32, torch.uint8, torch.float32})


def width(row: bytes) -> int:
    """Number of ids in a row."""
    return len(row) // ITEM


def ids_of(row: bytes) -> list[int]:
    """Return the ids of a row as a list."""
    return array("q", row).tolist()


def run_length(row: bytes, token: bytes, *, at_end: bool) -> int:
    """Length of the run of one id at the start (or end) of a row."""
    count = 0
    total = width(row)
    while count < total:
        start = (total - 1 - count if at_end else count) * ITEM
        if row[start : start + ITEM] != token:
            break
        count += 1
    return count


def token_bytes(token: int) -> bytes:
    """Return one id in the form in which rows hold it."""
    return array("q", [token]).tobytes()


def without_tail(row: bytes, tokens: frozenset[bytes]) -> bytes:
    """Return `row` without the padding and end-of-text ids behind it."""
    end = len(row)
    while end and row[end - ITEM : end] in tokens:
        end -= ITEM
    return row[:end]


def readable_tensor(value: Any) -> bool:
    """Whether `value` is an ordinary torch tensor whose numbers may be read here and now."""
    torch = sys.modules.get("torch")
    kind = type(value)
    if torch is None or (kind is not torch.Tensor and kind is not torch.nn.Parameter):
        return False
    if value.is_sparse or torch._C._get_tracing_state() is not None:
        return False
    if value.is_cpu:  # told at once: the device's name is slow to ask for
        return True
    return not (value.is_meta or (value.is_cuda and torch.cuda.is_current_stream_capturing()))


def _as_list(value: Any) -> list[Any] | None:
    if isinstance(value, (list, tuple)):
        return list(value)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        readable = readable_tensor(value) and not value.dtype.is_floating_point and value.dim() in (1, 2)
        return value.tolist() if readable and value.numel() <= _LIMIT else None
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray):
        return (
            value.tolist()
            if value.ndim in (1, 2) and value.dtype.kind in "iu" and value.size <= _LIMIT
            else None
        )
    return None
