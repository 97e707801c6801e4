"""What does not fit into memory is run with half of the rows."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Result = TypeVar("_Result")

# torch has a class for the GPU's allocator; that of the CPU and those of other devices raise a RuntimeError.
_WORDS = ("can't allocate memory", "out of memory", "not enough memory")


HALVED = "the batch was halved"  # how the notes on it begin


class NoRoomError(Exception):
    """A run of so many rows does not fit into memory; the message is one line that says which."""

    def __init__(self, message: str, rows: int) -> None:
        super().__init__(message)
        self.rows = rows


def is_no_room(error: BaseException) -> bool:
    """Whether an exception says that memory has run out, on whichever device, also behind others."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, (MemoryError, NoRoomError)) or type(seen).__name__ == "OutOfMemoryError":
            return True
        if isinstance(seen, RuntimeError) and any(word in str(seen).lower() for word in _WORDS):
            return True
        seen = seen.__cause__
    return False


@contextmanager
def room_for(rows: int, width: int) -> Iterator[None]:
    """Say of a run inside the block that has no memory left how large it was.

    Raises:
        NoRoomError: Memory has run out.
    """
    try:
        yield
    except NoRoomError:
        raise
    except Exception as error:
        if not is_no_room(error):
            raise
        raise NoRoomError(
            f"{rows} row{'s' * (rows > 1)} of width {width} did not fit into memory ({type(error).__name__})",
            rows,
        ) from None


def halving(run: Callable[[int | None], _Result], free: Callable[[], None]) -> tuple[_Result, str]:
    """Run batches; where one does not fit into memory all of it again with batches of at most half as many rows.

    Args:
        run: Takes how many rows may run together, None for as many as it likes. Raises `NoRoomError`.
        free: Gives back what the failed run held.

    Returns:
        The result, and a sentence on how far the batch was halved; empty where it was not.

    Raises:
        NoRoomError: Not even one row fits.
    """
    most, note = None, ""
    while True:
        try:
            return run(most), note
        except NoRoomError as error:
            rows, why = error.rows, str(error)
        # Outside of the handler: the exception holds the frames that hold the tensors.
        free()
        if rows <= 1:
            raise NoRoomError(why, rows)
        most = (rows + 1) // 2
        note = f"{HALVED} to {most} row{'s' * (most > 1)}: {why}"


def free_memory(model: Any) -> Callable[[], None]:
    """Return a function that gives unused memory of the model's device back."""

    def free() -> None:
        import torch

        from pytest_decoderonly.compare.precision import device_of

        gc.collect()
        if device_of(model).type == "cuda":
            torch.cuda.empty_cache()

    return free
