"""JUnit XML, for CI systems that show test results. One suite a file, one failed case a finding."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from decoderonly_checker.late import late_pattern
from decoderonly_checker.render.places import in_words
from decoderonly_checker.render.text import location
from decoderonly_checker.render.width import safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from decoderonly_checker.diagnostics import CheckResult, Diagnostic, FileError

# What XML 1.0 cannot hold, not even escaped (https://www.w3.org/TR/xml/#charsets), beside what `safe` spells out.
_IMPOSSIBLE = late_pattern("[\ufffe\uffff]")


def render_junit(result: CheckResult) -> str:
    """Write a run as XML; a file without findings is a passed case, so that a clean run shows what it looked at."""
    root = ET.Element("testsuites", name="decoderonly")
    paths = {*result.checked, *(d.place.path for d in result.diagnostics), *(e.path for e in result.errors)}
    tests = 0
    for path in sorted(paths):
        found = [diagnostic for diagnostic in result.diagnostics if diagnostic.place.path == path]
        failed = [error for error in result.errors if error.path == path]
        tests += _suite(root, path, found, failed)
    root.set("tests", str(tests))
    root.set("failures", str(len(result.diagnostics)))
    root.set("errors", str(len(result.errors)))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _suite(root: ET.Element, path: str, found: Sequence[Diagnostic], failed: Sequence[FileError]) -> int:
    """Add a file's suite; return how many cases it has."""
    tests = max(1, len(found) + len(failed))
    suite = ET.SubElement(
        root,
        "testsuite",
        name=_text(path),
        tests=str(tests),
        failures=str(len(found)),
        errors=str(len(failed)),
    )
    for diagnostic in found:
        _finding(suite, diagnostic)
    for error in failed:
        case = ET.SubElement(suite, "testcase", name="decoderonly", classname=_text(path))
        ET.SubElement(case, "error", message=_text(error.message))
    if not found and not failed:
        ET.SubElement(suite, "testcase", name="decoderonly", classname=_text(path))
    return tests


def _finding(suite: ET.Element, diagnostic: Diagnostic) -> None:
    place = diagnostic.place
    case = ET.SubElement(
        suite,
        "testcase",
        name=f"{diagnostic.code} {diagnostic.name}, {in_words(place)}, column {place.column}",
        classname=_text(place.path),
        file=_text(place.path),
        line=str(place.line),
    )
    failure = ET.SubElement(case, "failure", message=_text(diagnostic.message), type=str(diagnostic.severity))
    lines = [f"{location(place)}: {diagnostic.message}"]
    lines += [f"{location(item.place)}: {item.message}" for item in diagnostic.related]
    lines += [
        f"{word}: {text}" for word, text in (("effect", diagnostic.effect), ("help", diagnostic.help)) if text
    ]
    failure.text = "\n".join(map(_text, lines))


def _text(text: str) -> str:
    return _IMPOSSIBLE.sub("\ufffd", safe(text))
