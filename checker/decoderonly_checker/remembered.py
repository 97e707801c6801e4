"""Results of earlier runs, and what they depended on: the same files, settings and checker give the same findings."""

from __future__ import annotations

import dataclasses
import json
import os.path
from typing import TYPE_CHECKING, Any

from decoderonly_checker.cache import digest_of, key_of, tool_version
from decoderonly_checker.diagnostics import (
    Applicability,
    Confidence,
    Diagnostic,
    Edit,
    FileError,
    Fix,
    Place,
    Related,
    Severity,
)
from decoderonly_checker.source.libraries import library_package
from decoderonly_checker.source.selection import Scan
from decoderonly_checker.work import Outcome, telling_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from decoderonly_checker.cache import Cache
    from decoderonly_checker.config import Settings
    from decoderonly_checker.plan import Contents, Plan, Unit

_RUN, _UNIT, _SCAN = "run", "unit", "scan"


class Remembered:
    """Asks a cache about a run under one settings file, and tells it what came out."""

    def __init__(
        self,
        cache: Cache,
        settings: Settings,
        asked: Sequence[str],
        project: Sequence[str],
        contents: Contents,
    ) -> None:
        """Read and digest the files that the run is about.

        Args:
            cache: Where results are kept.
            settings: What is checked, and how.
            asked: The files of the run.
            project: The files of the project.
            contents: Gives bytes.
        """
        self._cache = cache
        self._contents = contents
        self._digests: dict[str, bytes] = {}
        for path in dict.fromkeys((*asked, *project)):
            self.digest(path)
        self._keyed = frozenset(self._digests)  # whose content is a part of the run's key
        self._tool = tool_version()
        self._telling = " ".join(sorted(name.decode() for name in telling_names(settings)))
        # Paths in messages depend on the working directory, and imports on which files there are.
        around = (os.getcwd(), _told(settings), *sorted(self._digests))  # noqa: PTH109
        self._around = key_of(self._tool, *around)
        states = (part for path in sorted(self._digests) for part in (path, self._digests[path]))
        self._run = key_of(self._around, *(str(len(asked)), *asked), *states)

    def digest(self, path: str) -> bytes:
        """Return what tells a file's content from another; b"" for one that cannot be read."""
        known = self._digests.get(path)
        if known is None:
            data = self._contents.find(path)
            known = self._digests[path] = b"" if data is None else digest_of(data)
        return known

    def run(self) -> tuple[Plan, Outcome] | None:
        """Return what the whole run gave when nothing at all was different; None where that is not known."""
        from decoderonly_checker.plan import Plan

        held = self._held(_RUN, self._run)
        if held is None:
            return None
        plan = Plan(held["checked"], held["skipped"], unread=held["unread"], silencing=held["silencing"])
        return plan, _outcome(held)

    def keep_run(self, plan: Plan, outcomes: Iterable[Outcome]) -> None:
        """Remember a whole run."""
        whole = Outcome()
        for one in outcomes:
            whole.found += one.found
            whole.errors += one.errors
            whole.read |= one.read
            whole.missed += one.missed
        # Also what was looked over and led to nothing, or was analysed: discovery may leave out what the project imports.
        whole.read |= self._digests
        whole.read = {path: told for path, told in whole.read.items() if path not in self._keyed}
        whole.missed = list(dict.fromkeys(whole.missed))
        held = {
            "checked": plan.checked,
            "skipped": plan.skipped,
            "unread": plan.unread,
            "silencing": plan.silencing,
            **_plain(whole),
        }
        self._keep(_RUN, {self._run: held})

    def unit(self, unit: Unit) -> Outcome | None:
        """Return what came out of a unit that is the same as before; None where that is not known."""
        held = self._held(_UNIT, self._unit_key(unit))
        return None if held is None else _outcome(held)

    def keep_unit(self, unit: Unit, outcome: Outcome) -> None:
        """Remember what came out of a unit."""
        self._keep(_UNIT, {self._unit_key(unit): _plain(outcome)})

    def scans(self, paths: Sequence[str]) -> dict[str, Scan]:
        """Return how files looked whose content was seen before."""
        keys = {path: self._scan_key(path) for path in paths}
        held = self._cache.get(_SCAN, keys.values())
        found = {}
        for path, key in keys.items():
            scan = _scan(held.get(key))
            if scan is not None:
                found[path] = scan
        return found

    def keep_scans(self, scans: Mapping[str, Scan]) -> None:
        """Remember how files look."""
        entries = {}
        for path, one in scans.items():
            if one.readable:
                told = [
                    one.words,
                    one.size,
                    one.opaque,
                    one.silencing,
                    sorted(name.decode("latin-1") for name in one.defines),
                    sorted([m.decode("latin-1"), n.decode("latin-1")] for m, n in one.imports),
                ]
                entries[self._scan_key(path)] = json.dumps(told, separators=(",", ":")).encode()
        self._cache.put(_SCAN, entries)

    def _scan_key(self, path: str) -> bytes:
        suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122
        library = "library" if library_package(path) is not None else ""
        return key_of(self._tool, suffix, library, self._telling, self.digest(path))

    def _unit_key(self, unit: Unit) -> bytes:
        parts = [part for path in unit.files for part in (path, self.digest(path))]
        left_out = [
            name
            for kind in (unit.idle, unit.unused)
            for path in sorted(kind)
            for name in (path, *sorted(kind[path]), "")
        ]
        return key_of(self._around, str(len(parts)), *parts, *left_out)

    def _held(self, kind: str, key: bytes) -> dict[str, Any] | None:
        """Return an entry whose further conditions hold too: the modules that were read, and those that were not there."""
        data = self._cache.get(kind, [key]).get(key)
        if data is None:
            return None
        try:
            held: dict[str, Any] = json.loads(data)
            same = all(self.digest(path).hex() == told for path, told in held["read"].items())
            if not same or any(os.path.isfile(path) for path in held["missed"]):  # noqa: PTH113
                return None
            _outcome(held)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None  # of another make
        return held

    def _keep(self, kind: str, entries: Mapping[bytes, dict[str, Any]]) -> None:
        self._cache.put(
            kind, {key: json.dumps(held, separators=(",", ":")).encode() for key, held in entries.items()}
        )


def _told(settings: Settings) -> str:
    """Return settings as text: equal for equal settings."""
    fields = dataclasses.asdict(settings)
    return json.dumps(fields, default=str, sort_keys=True)


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {
        "found": [dataclasses.asdict(one) for one in outcome.found],
        "errors": [dataclasses.asdict(one) for one in outcome.errors],
        "read": {path: told.hex() for path, told in outcome.read.items()},
        "missed": outcome.missed,
    }


def _outcome(held: Mapping[str, Any]) -> Outcome:
    return Outcome(
        [_diagnostic(one) for one in held["found"]],
        [FileError(**one) for one in held["errors"]],
        {path: bytes.fromhex(told) for path, told in held["read"].items()},
        list(held["missed"]),
    )


def _diagnostic(held: Mapping[str, Any]) -> Diagnostic:
    fix = held["fix"]
    if fix is not None:
        edits = tuple(Edit(Place(**edit["place"]), edit["content"]) for edit in fix["edits"])
        fix = Fix(fix["message"], Applicability(fix["applicability"]), edits, fix["digest"])
    return Diagnostic(
        held["code"],
        held["name"],
        Severity(held["severity"]),
        Confidence(held["confidence"]),
        Place(**held["place"]),
        held["message"],
        held["effect"],
        held["help"],
        held["label"],
        tuple(Related(Place(**one["place"]), one["message"]) for one in held["related"]),
        fix,
    )


def _scan(data: bytes | None) -> Scan | None:
    if data is None:
        return None
    try:
        words, size, opaque, silencing, defines, imports = json.loads(data)
        return Scan(
            words,
            size,
            opaque,
            frozenset(name.encode("latin-1") for name in defines),
            frozenset((module.encode("latin-1"), name.encode("latin-1")) for module, name in imports),
            silencing,
        )
    except (ValueError, TypeError, AttributeError):
        return None
