"""The settings one by one: what each accepts, what it means, and how it is read. The JSON schema comes from here."""

from __future__ import annotations

import json
import os
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decoderonly_checker.config import (
    DEFAULT_EXCLUDE,
    DEFAULT_INCLUDE,
    DEFAULT_SELECT,
    DEFAULT_TIMEOUT,
    SettingsError,
    check_selectors,
    parse_confidence,
    parse_timeout,
    type_name,
)
from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.immutable import immutable
from decoderonly_checker.late import late_pattern
from decoderonly_checker.patterns import PatternError, check_pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

MODEL_KINDS = ("decoder-only", "encoder-decoder")
_SIDES = ("left", "right")
_DOTTED = late_pattern(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*\Z")


@immutable
class Where:
    """Where a value stands: its key as messages name it, the folder of its file, and every rule, code -> name."""

    full: str
    base: Path
    known: Mapping[str, str]

    def at(self, key: str) -> Where:
        """Return the place of an entry of a table."""
        return Where(f"{self.full}.{_quoted(key)}", self.base, self.known)


@immutable
class Key:
    """One setting.

    Attributes:
        read: Turns what TOML holds into what the checker uses; raises `SettingsError`.
        schema: JSON schema of what TOML may hold.
        default: What holds without it, as TOML would say it; None for nothing.
        text: What it does, in Markdown.
        example: A line or two of TOML.
    """

    read: Callable[[Any, Where], Any]
    schema: Mapping[str, Any]
    default: Any
    text: str
    example: str = field(default="")


def _quoted(text: str) -> str:
    """Put text in quotes, in one line."""
    return json.dumps(text, ensure_ascii=False)


def nearest_key(key: str) -> str:
    """`; did you mean …?` for a setting that does not exist, or a list of those that do."""
    import difflib

    close = difflib.get_close_matches(key.replace("_", "-").lower(), KEYS, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f"; known settings: {', '.join(sorted(KEYS))}"


def schema() -> dict[str, Any]:
    """Return the JSON schema of `[tool.decoderonly]`, or of a whole decoderonly.toml."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Settings of pytest-decoderonly's checker",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: {
                "description": " ".join(key.text.split()),
                **key.schema,
                **({} if key.default is None else {"default": key.default}),
            }
            for name, key in sorted(KEYS.items())
        },
    }


def as_toml_value(value: Any) -> str:
    """Write a setting as TOML does, in one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        inside = ", ".join(f"{as_toml_value(key)} = {as_toml_value(one)}" for key, one in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(as_toml_value(one) for one in value)}]"
    if isinstance(value, int | float):
        return f"{value:g}"
    # As JSON writes it, but for the one control character that only TOML forbids.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _strings(value: Any, where: Where) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise SettingsError(f"{where.full} must be a list of strings, not {type_name(value)}")
    for item in value:
        if not isinstance(item, str):
            raise SettingsError(
                f"{where.full} must be a list of strings, but holds {type_name(item)}: {item!r}"
            )
    return tuple(value)


def _selectors(value: Any, where: Where) -> tuple[str, ...]:
    words = _strings(value, where)
    check_selectors(words, where.known, where.full)
    return words


def _patterns(value: Any, where: Where) -> tuple[str, ...]:
    patterns = _strings(value, where)
    _check_patterns(patterns, where)
    return patterns


def _file_patterns(value: Any, where: Where) -> tuple[str, ...]:
    patterns = _patterns(value, where)
    for pattern in patterns:
        if pattern.endswith("/"):
            raise SettingsError(
                f"{where.full}: {_quoted(pattern)} names a folder; for its files write {_quoted(pattern + '**/*.py')}"
            )
    return patterns


def _check_patterns(patterns: Iterable[str], where: Where) -> None:
    for pattern in patterns:
        try:
            check_pattern(pattern)
        except PatternError as problem:  # noqa: PERF203 - the message names the pattern
            raise SettingsError(
                f"{where.full}: {_quoted(pattern)} is not a pattern as in .gitignore"
            ) from problem


def _table(value: Any, where: Where, of: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SettingsError(f"{where.full} must be a table of {of}, not {type_name(value)}")
    return value


def _per_file(value: Any, where: Where) -> dict[str, tuple[str, ...]]:
    ignores = {}
    for pattern, rules in _table(value, where, "pattern = [rules]").items():
        ignores[pattern] = _selectors(rules, where.at(pattern))
        _check_patterns([pattern], where)
    return ignores


def _severities(value: Any, where: Where) -> dict[str, Severity]:
    found = {}
    for selector, level in _table(value, where, 'rule = "error" or "warning"').items():
        check_selectors([selector], where.known, where.full)
        found[selector] = Severity(_one_of(level, [str(one) for one in Severity], where.at(selector)))
    return found


def _one_of(value: Any, accepted: Iterable[str], where: Where) -> str:
    listed = ", ".join(accepted)
    if not isinstance(value, str):
        raise SettingsError(f"{where.full} must be one of {listed}, not {type_name(value)}")
    if value not in accepted:
        raise SettingsError(f"{where.full} must be one of {listed}, not {_quoted(value)}")
    return value


def _boolean(value: Any, where: Where) -> bool:
    if not isinstance(value, bool):
        raise SettingsError(f"{where.full} must be true or false, not {type_name(value)}")
    return value


def _path(value: Any, where: Where, what: str) -> Path:
    if not isinstance(value, str):
        raise SettingsError(f"{where.full} must be a string, not {type_name(value)}")
    if not value or "\0" in value:
        raise SettingsError(f"{where.full} must name a {what}, not {value!r}")
    try:
        # abspath, as resolve() would name another folder where there are links
        return Path(os.path.abspath(where.base / Path(value).expanduser()))  # noqa: PTH100
    except RuntimeError as problem:
        raise SettingsError(f"{where.full}: no home folder is known for {value!r}") from problem


def _check_name(name: str, where: Where) -> None:
    if not _DOTTED.match(name):
        raise SettingsError(f'{where.full}: {_quoted(name)} is not a dotted name such as "app.models.load"')


def _models(value: Any, where: Where) -> dict[str, str]:
    found = {}
    for name, kind in _table(value, where, f"name = {' or '.join(repr(k) for k in MODEL_KINDS)}").items():
        _check_name(name, where)
        found[name] = _one_of(kind, MODEL_KINDS, where.at(name))
    return found


_TOKENIZER_KEYS: Mapping[str, Callable[[Any, Where], Any]] = {
    "padding-side": lambda value, where: _one_of(value, _SIDES, where),
    "truncation-side": lambda value, where: _one_of(value, _SIDES, where),
}


def _tokenizers(value: Any, where: Where) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, given in _table(value, where, "name = {settings}").items():
        _check_name(name, where)
        here = where.at(name)
        found[name] = {}
        for key, one in _table(given, here, "settings").items():
            if key not in _TOKENIZER_KEYS:
                raise SettingsError(
                    f"{here.full}: unknown key {_quoted(key)}; known: {', '.join(_TOKENIZER_KEYS)}"
                )
            found[name][key] = _TOKENIZER_KEYS[key](one, Where(f"{here.full}.{key}", where.base, where.known))
    return found


_LIST: Mapping[str, Any] = {"type": "array", "items": {"type": "string"}}
_SIDE: Mapping[str, Any] = {"enum": list(_SIDES)}


def _table_of(values: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": values}


KEYS: Mapping[str, Key] = {
    "select": Key(
        _selectors,
        _LIST,
        list(DEFAULT_SELECT),
        "Rules to run: codes, beginnings of codes, names, or `ALL`.",
        'select = ["DLM1", "DLM201"]',
    ),
    "ignore": Key(
        _selectors,
        _LIST,
        [],
        "Rules not to run. The longer selector wins; `ignore` wins a tie.",
        'ignore = ["DLM106"]',
    ),
    "extend-select": Key(_selectors, _LIST, [], "Rules to run beside those of `select`."),
    "include": Key(
        _file_patterns,
        _LIST,
        list(DEFAULT_INCLUDE),
        "Patterns, as in .gitignore, of the files to take from folders.",
    ),
    "include-markdown": Key(
        _boolean,
        {"type": "boolean"},
        False,
        "Check the Python blocks of Markdown files, too. They share their names in the order of the file, as the cells of "
        "a notebook do.",
    ),
    "exclude": Key(
        _patterns,
        _LIST,
        list(DEFAULT_EXCLUDE),
        "Patterns, as in .gitignore, of the files and folders to leave out.",
    ),
    "extend-exclude": Key(
        _patterns,
        _LIST,
        [],
        "Patterns to leave out beside those of `exclude`.",
        'extend-exclude = ["third_party"]',
    ),
    "respect-gitignore": Key(_boolean, {"type": "boolean"}, True, "Leave out what git ignores."),
    "per-file-ignores": Key(
        _per_file,
        _table_of(_LIST),
        {},
        "Rules to silence in files: pattern = list of rules.",
        'per-file-ignores = { "tests/**" = ["DLM201"] }',
    ),
    "severity": Key(
        _severities,
        _table_of({"enum": [str(one) for one in Severity]}),
        {},
        "How bad the findings of rules are, instead of what the rules say. The longest selector wins.",
        'severity = { "DLM2" = "warning" }',
    ),
    "min-confidence": Key(
        lambda value, where: parse_confidence(value, where.full),
        {"enum": [str(one) for one in Confidence]},
        "likely",
        "Findings that are less sure are counted, not shown.",
    ),
    "require-ignore-reason": Key(
        _boolean,
        {"type": "boolean"},
        False,
        "Report comments that silence a rule without saying why (DLM002).",
    ),
    "baseline": Key(
        lambda value, where: _path(value, where, "file"),
        {"type": "string"},
        None,
        "File, relative to the settings file, that counts the findings of before: `decoderonly baseline create`.",
        'baseline = "decoderonly-baseline.json"',
    ),
    "known-models": Key(
        _models,
        _table_of({"enum": list(MODEL_KINDS)}),
        {},
        "Classes and functions of the project, or of a library that the checker does not know, that make models. "
        "Names may leave out leading parts.",
        'known-models = { "app.loading.load_model" = "decoder-only" }',
    ),
    "known-tokenizers": Key(
        _tokenizers,
        _table_of(
            {
                "type": "object",
                "additionalProperties": False,
                "properties": {"padding-side": _SIDE, "truncation-side": _SIDE},
            }
        ),
        {},
        "Classes and functions that make tokenizers, and how these are set up; what is left out is not known.",
        'known-tokenizers = { "app.loading.load_tokenizer" = { padding-side = "left" } }',
    ),
    "models": Key(_strings, _LIST, [], "Models for the conformance suite of the pytest plugin."),
    "timeout": Key(
        lambda value, where: parse_timeout(value, where.full),
        {"type": "number", "minimum": 0},
        DEFAULT_TIMEOUT,
        "Seconds of processor time that the analysis of one file may take; 0 for no limit.",
    ),
    "cache-dir": Key(
        lambda value, where: _path(value, where, "folder"),
        {"type": "string"},
        None,
        "Where results are remembered. Without it `.decoderonly_cache` beside the settings file.",
    ),
}
