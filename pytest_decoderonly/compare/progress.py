"""Who wants to hear what is being measured. Nothing is imported and nothing is done while nobody listens."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_listeners: list[Callable[[str], None]] = []


def wanted() -> bool:
    """Whether anybody listens."""
    return bool(_listeners)


def tell(text: str) -> None:
    """Say in a few words what is about to be run."""
    for listener in _listeners:
        listener(text)


@contextmanager
def heard_by(listener: Callable[[str], None]) -> Iterator[None]:
    """Hand what is told inside the block to a function."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
