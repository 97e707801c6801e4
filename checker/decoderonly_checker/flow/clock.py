"""How long the analysis works on each file, so that one file cannot hold up the rest."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from decoderonly_checker.flow.project import Module


class Stopped(BaseException):
    """Nobody waits for the result any more. No `Exception`: what goes on after a failure must not go on after this."""


class Clock:
    """Counts processor time by module: that of this thread, so that a busy machine takes no finding away.

    The module whose code was entered last is charged; what it is entered from waits.
    """

    def __init__(self, limit: float | None = None, stop: Callable[[], bool] | None = None) -> None:
        """Start at nought.

        Args:
            limit: The seconds that each module may take; None or 0 for as long as it takes.
            stop: Asked again and again whether to give up.
        """
        self._limit = limit or None
        self._stop = stop
        self._since = 0.0
        self._running: list[Module] = []
        self._spent: dict[Module, float] = {}
        self.overdue: dict[Module, None] = {}

    def enter(self, module: Module) -> None:
        """Charge `module` from now on."""
        if self._limit is not None:
            self._charge()
            self._running.append(module)

    def leave(self) -> None:
        """Charge the module again that was running before."""
        if self._limit is not None:
            self._charge()
            self._running.pop()

    def is_over(self) -> bool:
        """Whether the running module has had its time.

        Raises:
            Stopped: Nobody waits for the result any more.
        """
        if self._stop is not None and self._stop():
            raise Stopped
        if self._limit is None or not self._running:
            return False
        module = self._running[-1]
        if module not in self.overdue:
            self._charge()
            if self._spent.get(module, 0.0) > self._limit:
                self.overdue[module] = None
        return module in self.overdue

    def _charge(self) -> None:
        now = time.thread_time()
        if self._running:
            module = self._running[-1]
            self._spent[module] = self._spent.get(module, 0.0) + now - self._since
        self._since = now
