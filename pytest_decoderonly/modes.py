"""What a finding does: fails, warns or nothing, for all rules and for single ones. No pytest and no torch here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_decoderonly.runtime.report import Finding

GuardMode = Literal["error", "warn", "off"]

GUARD_MODES: tuple[GuardMode, ...] = ("error", "warn", "off")


def as_guard_mode(value: object, where: str) -> GuardMode:
    """Return `value` as a guard mode.

    Args:
        value: What the user wrote.
        where: The option, key or argument that it stands in, for the message.

    Raises:
        ValueError: It is not one of the modes.
    """
    for mode in GUARD_MODES:
        if value == mode:
            return mode
    raise ValueError(f"{where}: expected one of {', '.join(GUARD_MODES)}, got {value!r}")


class RuleModes:
    """Modes of single rules of the guard, by code or beginning of codes; the longest that fits counts."""

    # No dataclass, and no pattern above: this is imported where nothing of it is used.
    def __init__(self, modes: tuple[tuple[str, GuardMode], ...] = ()) -> None:
        self.modes = modes

    def of(self, code: str) -> GuardMode | None:
        """Return the mode that a code was given; None where it has none of its own."""
        fitting = [(len(prefix), mode) for prefix, mode in self.modes if code.startswith(prefix)]
        return max(fitting, key=lambda pair: pair[0])[1] if fitting else None

    def is_off(self, code: str) -> bool:
        """Whether nobody wants to hear of a code."""
        return self.of(code) == "off"

    def is_fatal(self, finding: Finding, mode: GuardMode) -> bool:
        """Whether a finding fails what is guarded: as its rule was set, else an error under the mode `error`."""
        own = self.of(finding.code)
        if own is not None:
            return own == "error"
        return mode == "error" and finding.severity == "error"


def read_rule_modes(entries: Iterable[str] | Mapping[str, str], where: str) -> dict[str, GuardMode]:
    """Read modes of single rules, `CODE=MODE` each, or a mapping of such.

    Args:
        entries: What the user wrote. A code may be the beginning of codes: `DLM2`.
        where: The option, key or argument that it stands in, for the message.

    Raises:
        ValueError: An entry has another form.
    """
    pairs = entries.items() if isinstance(entries, Mapping) else map(_split, entries)
    found: dict[str, GuardMode] = {}
    for code, mode in pairs:
        if not isinstance(code, str) or not re.fullmatch(r"DLM\d{0,3}", code) or mode == "":
            given = f"{code}={mode}" if mode else code
            raise ValueError(f"{where}: expected CODE=MODE such as DLM106=off, got {given!r}")
        found[code] = as_guard_mode(mode, where)
    return found


def _split(entry: str) -> tuple[str, str]:
    code, _, mode = entry.partition("=")
    return code.strip(), mode.strip()
