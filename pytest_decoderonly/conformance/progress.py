"""What an item is measuring, behind pytest's own progress, on terminals only."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.compare.progress import heard_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    import pytest

_EVERY = 0.1
_FIRST = 0.5
_LEAST = 12
_SAVE, _RESTORE, _CLEAR = "\x1b7", "\x1b8", "\x1b[K"


@contextmanager
def shown(config: pytest.Config, item: str) -> Iterator[None]:
    """Show what is measured inside the block, once it takes longer than half a second.

    The text stands to the right of what pytest has written on the line, and is gone when the block ends: what pytest writes
    next stands where it would have stood. Workers of xdist and output that is no terminal show nothing.
    """
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not reporter.isatty or os.environ.get("TERM") == "dumb" or os.environ.get("CI"):
        yield
        return
    line = _Line(reporter, item)
    try:
        with heard_by(line.say):
            yield
    finally:
        line.clear()


class _Line:
    def __init__(self, reporter: pytest.TerminalReporter, item: str) -> None:
        self._writer = reporter._tw
        capturing: Any = reporter.config.pluginmanager.get_plugin("capturemanager")
        self._uncaptured: Callable[[], AbstractContextManager[None]] = (
            capturing.global_and_fixture_disabled if capturing is not None else nullcontext
        )
        self._item = item
        self._next = time.monotonic() + _FIRST
        self._runs = 0
        self._drawn = False

    def say(self, text: str) -> None:
        """Draw a text, ten times a second at most."""
        self._runs += 1
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _EVERY
        room = self._writer.fullwidth - self._writer.width_of_current_line - 2
        shown = f" {self._item}, run {self._runs}: {text}"[:room]
        if room < _LEAST or not shown.isprintable():
            return
        self._drawn = True
        self._raw(f"{_SAVE}{shown}{_CLEAR}{_RESTORE}")

    def clear(self) -> None:
        """Take the text away."""
        if self._drawn:
            self._raw(_CLEAR)

    def _raw(self, text: str) -> None:
        with self._uncaptured():
            # Past the writer's own count of columns, which must stay that of pytest's text.
            self._writer._file.write(text)
            self._writer.flush()
