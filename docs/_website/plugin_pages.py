"""Pages about the pytest plugin, made from what it declares to pytest: options, ini keys, markers, fixtures."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest_decoderonly
from pytest_decoderonly import fixtures, options

if TYPE_CHECKING:
    import pytest

_FIXTURES = Path(fixtures.__file__)


class _Declared:
    """Stands in for pytest's parser, and takes down what the plugin declares."""

    def __init__(self) -> None:
        self.options: list[tuple[str, dict[str, Any]]] = []
        self.keys: list[tuple[str, str, str]] = []

    def getgroup(self, name: str, description: str = "") -> _Declared:  # noqa: ARG002 - pytest's signature
        """Return what options are added to."""
        return self

    def addoption(self, name: str, **given: Any) -> None:
        """Take down one option."""
        self.options.append((name, given))

    def addini(self, name: str, text: str, type: str = "string", **_: Any) -> None:  # noqa: A002 - pytest's name
        """Take down one ini key."""
        self.keys.append((name, type, text))


def _declared() -> _Declared:
    declared = _Declared()
    options.add_options(cast("pytest.Parser", declared))
    return declared


def declared_options() -> set[str]:
    """Return the names of the plugin's options."""
    return {name for name, _ in _declared().options}


def api_page() -> str:
    """Make the page of the public names; what is said of each comes from its docstring."""
    groups: dict[str, list[str]] = {
        "Assertions": [],
        "Builders, recorders, the guard": [],
        "Results and errors": [],
    }
    for name in pytest_decoderonly.__all__:
        kind = "Assertions" if name.startswith("assert_") else "Results and errors"
        groups[
            kind if name.startswith("assert_") or name[0].isupper() else "Builders, recorders, the guard"
        ].append(name)
    lines = [
        "# Assertions and builders",
        "",
        "Everything that `from pytest_decoderonly import …` gives. The fixture `decoderonly` has the functions as methods.",
        "",
    ]
    for title, names in groups.items():
        lines += [f"## {title}", "", *(f"::: pytest_decoderonly.{name}\n" for name in names)]
    return "\n".join(lines)


def promises_page() -> str:
    """Make the page on versions from the sections of CONTRIBUTING.md that say what is promised and what goes.

    Raises:
        ValueError: A section is not there under its name.
    """
    path = Path(__file__).resolve().parents[2] / "CONTRIBUTING.md"
    sections = re.split(r"^(?=## )", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = ["# Versions and promises", ""]
    for title in ("## What is promised\n", "## What goes\n"):
        found = [section for section in sections if section.startswith(title)]
        if len(found) != 1:
            raise ValueError(f"{path.name}: expected one section {title.strip()!r}, found {len(found)}")
        lines.append(re.sub(r"\]\((?!https:)([^)]+)\)", r"](../\1)", found[0]))
    return "\n".join(lines)


def options_page() -> str:
    """Make the page of options, ini keys, markers and fixtures."""
    declared = _declared()
    lines = [
        "# pytest options and fixtures",
        "",
        "Everything is off until `--decoderonly-checks` is given; fixtures and assertions work without it. `pytest --help`,",
        "`pytest --markers` and `pytest --fixtures` print the same texts.",
        "",
        "## Options",
        "",
    ]
    for name, given in declared.options:
        value = "" if "metavar" not in given else f"={given['metavar']}"
        lines += [f"`{name}{value}`", f":   {_help(given['help'])}", ""]
    lines += ["## Ini keys", "", "| key | type | meaning |", "|---|---|---|"]
    for name, kind, text in declared.keys:
        lines.append(f"| `{name}` | {kind} | {_help(text)} |")
    lines += ["", "## Markers", ""]
    for marker in options.MARKERS:
        signature, _, text = marker.partition(": ")
        lines += [f"`@pytest.mark.{signature}`", f":   {_help(text)}", ""]
    lines += ["## Fixtures", "", "| fixture | scope | what it gives |", "|---|---|---|"]
    for name, scope, text in _fixtures():
        lines.append(f"| `{name}` | {scope} | {text} |")
    return "\n".join([*lines, "", "How they are used: [fixtures, strategies, relations](../testing.md).", ""])


def _help(text: str | None) -> str:
    sentence = " ".join((text or "").split()).replace("|", "\\|")
    return sentence[:1].upper() + sentence[1:]


def _fixtures() -> list[tuple[str, str, str]]:
    found = []
    for node in ast.parse(_FIXTURES.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for decorator in node.decorator_list:
            if "fixture" in ast.unparse(decorator):
                keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
                scope = next((ast.literal_eval(k.value) for k in keywords if k.arg == "scope"), "function")
                text = inspect.cleandoc(ast.get_docstring(node) or "").partition("\n\n")[0]
                found.append((node.name, str(scope), " ".join(text.split())))
    return found
