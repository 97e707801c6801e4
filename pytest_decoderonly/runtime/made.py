"""Where the program's streamers, pipelines and collators were made, for reports; none of them is kept alive."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.runtime.events import Echo

if TYPE_CHECKING:
    from pytest_decoderonly.runtime.frames import CallPlace


@dataclass(frozen=True)
class _Birth:
    place: CallPlace | None
    given: frozenset[str]


class Made:
    """Objects by identity, as some of them cannot be hashed, for as long as they live."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Any], _Birth]] = {}

    def add(self, thing: Any, place: CallPlace | None, given: frozenset[str]) -> None:
        """Remember where an object was made, and which of its options were written out."""
        key = id(thing)
        known = self._known

        def forget(gone: weakref.ref[Any]) -> None:
            if known.get(key, (None,))[0] is gone:
                del known[key]

        known[key] = (weakref.ref(thing, forget), _Birth(place, given))

    def place(self, thing: Any) -> CallPlace | None:
        """Return where an object was made; None where nobody saw it."""
        birth = self._birth(thing)
        return birth.place if birth is not None else None

    def echo(self, streamer: Any) -> Echo | None:
        """Tell what of the prompt a streamer shows; None for one that shows none, was told to, or does as it likes."""
        if streamer is None or getattr(streamer, "skip_prompt", True):
            return None
        base: Any = next(
            (owner for owner in type(streamer).__mro__ if owner.__name__ == "TextStreamer"), None
        )
        if base is None or type(streamer).put is not base.put:
            return None
        birth = self._birth(streamer)
        if birth is None or "skip_prompt" in birth.given:
            return None
        return Echo(type(streamer).__name__, birth.place)

    def _birth(self, thing: Any) -> _Birth | None:
        reference, birth = self._known.get(id(thing), (None, None))
        return birth if reference is not None and reference() is thing else None
