"""A progress bar on standard error, for runs that last and people who watch."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from types import TracebackType

_PATIENCE_S = 1.0


class Progress:
    """Called with the number of things done and of things in all; draws after a second, and wipes it at the end."""

    def __init__(self, *, quiet: bool = False, label: str = "Checking") -> None:
        """Start the clock; nothing is ever drawn if `quiet`, or where nobody would see it."""
        self._label = label
        self._wanted = not quiet and _is_watched()
        self._started = time.monotonic()
        self._bar: Any = None  # click's class for it is private
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Progress:
        return self

    def __call__(self, done: int, whole: int) -> None:
        """Tell how far the run is."""
        if not self._wanted or time.monotonic() - self._started < _PATIENCE_S:
            return
        if self._bar is None:
            import shutil

            # It must fit into a line, or wiping it would leave a part.
            room = shutil.get_terminal_size().columns - len(f"{self._label}  []  {whole}/{whole}")
            bar = click.progressbar(
                length=whole,
                label=self._label,
                width=max(1, min(36, room - 1)),
                show_pos=True,
                show_eta=False,
                file=sys.stderr,
            )
            self._bar = self._open.enter_context(bar)
        self._bar.length = whole
        self._bar.update(done - self._bar.pos)

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
        if self._bar is not None:
            # Findings are to stand where the bar was: up from the line that click has begun, and clear it.
            click.echo("\x1b[1A\x1b[2K\r", nl=False, err=True, color=True)


def _is_watched() -> bool:
    """Whether a person sits before standard error, on a terminal that can draw over what it has drawn."""
    automatic = os.environ.get("CI", "").lower() not in ("", "0", "false")
    return sys.stderr.isatty() and not automatic and os.environ.get("TERM") != "dumb"
