"""Options, ini keys and markers of the plugin, and how they combine.

Everything here is read before a single test is collected, so it imports pytest and the standard library
only; the checker's settings are loaded inside the function that needs them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_decoderonly.modes import GUARD_MODES, RuleModes, read_rule_modes
from pytest_decoderonly.modes import as_guard_mode as _as_guard_mode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from decoderonly_checker.config import Settings

    from pytest_decoderonly.conformance.memory import Limits
    from pytest_decoderonly.modes import GuardMode

SUITES = ("default", "full")
MODEL_FORM = (
    "a model folder, an adapter folder, a hub id, gguf:FILE, tiny:ARCHITECTURE, tiny:all, or module:function that "
    "returns the model and its tokenizer; options follow behind commas (MODEL,dtype=bfloat16,attn=eager,device=cpu)"
)

MARKERS = (
    (
        "decoderonly_allow(*codes, reason=...): let the runtime guard accept these codes in this test "
        "(all codes when none is given)."
    ),
    "decoderonly_model: an item of the conformance suite; its kind is a marker too (decoderonly_cache, ...).",
    (
        "decoderonly_expect(*codes, reason=...): fail this test unless the runtime guard finds each of these codes in it."
    ),
    (
        "decoderonly_guard(mode): run this test under the guard mode 'error', 'warn' or 'off', "
        "whatever the command line says."
    ),
)

# The ini key that says the same as an option; pytest keeps the option's value under that name, too.
_INI_KEYS = {
    "--decoderonly-model": "decoderonly_models",
    "--decoderonly-suite": "decoderonly_suite",
    "--decoderonly-max-memory": "decoderonly_max_memory",
    "--decoderonly-guard": "decoderonly_guard",
    "--decoderonly-guard-rule": "decoderonly_guard_rules",
    "--decoderonly-report": "decoderonly_report",
}

_settings_key = pytest.StashKey["Settings"]()


def add_options(parser: pytest.Parser) -> None:
    """Declare every option and ini key of the plugin."""
    group = parser.getgroup("decoderonly", "checks for decoder-only language models")
    group.addoption(
        "--decoderonly-checks",
        action="store_true",
        default=False,
        dest="decoderonly_checks",
        help="Check the project: one item per source file for the static checker, the runtime guard "
        "around every test, and the conformance suite for each model that is named.",
    )
    group.addoption(
        "--decoderonly-model",
        action="append",
        default=[],
        dest="decoderonly_models",
        metavar="SPEC",
        help=f"Model for the conformance suite: {MODEL_FORM}. May be repeated. Needs --decoderonly-checks.",
    )
    group.addoption(
        "--decoderonly-suite",
        choices=SUITES,
        default=None,
        dest="decoderonly_suite",
        metavar="SIZE",
        help="How much of the conformance suite runs: default, or full (more cache kinds, backends, longer prompts and "
        "larger batches). Needs --decoderonly-checks.",
    )
    group.addoption(
        "--decoderonly-max-memory",
        default=None,
        dest="decoderonly_max_memory",
        metavar="SIZE",
        help="Most memory that the conformance suite may take: SIZE such as 10GiB, or DEVICE=SIZE for cpu and numbers of "
        "GPUs (0=10GiB,cpu=30GiB); batches that do not fit are halved. Needs --decoderonly-checks.",
    )
    group.addoption(
        "--decoderonly-guard",
        choices=GUARD_MODES,
        default=None,
        dest="decoderonly_guard",
        metavar="MODE",
        help="What a finding of the runtime guard does to its test: error (it fails, default), warn or off. "
        "Needs --decoderonly-checks.",
    )
    group.addoption(
        "--decoderonly-guard-rule",
        action="append",
        default=[],
        dest="decoderonly_guard_rules",
        metavar="CODE=MODE",
        help="Mode for the findings of one rule, or of all that begin so: DLM106=off, DLM2=warn. May be repeated. "
        "Needs --decoderonly-checks.",
    )
    group.addoption(
        "--decoderonly-report",
        action="append",
        default=[],
        dest="decoderonly_report",
        metavar="FILE",
        help="Write what was found to FILE: one page (.html) or data (.json). May be repeated. "
        "Needs --decoderonly-checks.",
    )
    parser.addini(
        "decoderonly_report",
        "Files for the report, .html or .json, one per line, relative to the settings file.",
        type="paths",
        default=[],
    )
    parser.addini(
        "decoderonly_guard_rules",
        "Modes for single rules of the runtime guard, one CODE=MODE per line.",
        type="linelist",
        default=[],
    )
    parser.addini(
        "decoderonly_models", "Models for the conformance suite, one per line.", type="linelist", default=[]
    )
    parser.addini(
        "decoderonly_max_memory",
        "Most memory that the conformance suite may take, such as 10GiB.",
        default="",
    )
    parser.addini("decoderonly_suite", "How much of the conformance suite runs: default or full.", default="")
    parser.addini("decoderonly_guard", "Mode of the runtime guard: error (default), warn or off.", default="")
    parser.addini(
        "decoderonly_paths",
        "Files and folders for the static items when pytest is run without paths (default: rootdir).",
        type="paths",
        default=[],
    )
    parser.addini(
        "decoderonly_device",
        "Device of the fixtures' models, such as cpu or cuda:1 (default: CUDA, one GPU a worker; MPS; CPU).",
        default="",
    )


def validate(config: pytest.Config) -> None:
    """Refuse what cannot be meant.

    Raises:
        pytest.UsageError: An option without the switch that it belongs to, or a value of another form than
        accepted.
    """
    if not enabled(config):
        for option, key in _INI_KEYS.items():
            if config.getoption(key):
                raise pytest.UsageError(
                    f"{option} has no effect without --decoderonly-checks: add it, or set the ini key "
                    f"{key} instead"
                )
        return
    guard_mode(config)
    rule_modes(config)
    suite(config)
    models(config)


def repeated(config: pytest.Config) -> list[str]:
    """Return the options of this run that what fails depends on, as they are written on the command line."""
    found = ["--decoderonly-checks"]
    for option, key in _INI_KEYS.items():
        value = config.getoption(key)
        if value and option != "--decoderonly-report":  # that of the whole run is to stay
            found += [f"{option}={one}" for one in ([value] if isinstance(value, str) else value)]
    return found


def enabled(config: pytest.Config) -> bool:
    """Whether this run was asked for the checks."""
    return bool(config.getoption("decoderonly_checks", default=False))


def guard_mode(config: pytest.Config) -> GuardMode:
    """Return the mode of the guard: the option's, else the ini key's, else `error`.

    Raises:
        pytest.UsageError: The ini key holds something else than a mode.
    """
    value = (
        config.getoption("decoderonly_guard") or str(config.getini("decoderonly_guard")).strip() or "error"
    )
    return as_guard_mode(value, "ini key decoderonly_guard")


def rule_modes(config: pytest.Config) -> RuleModes:
    """Return the modes of single rules: the option's, then the ini key's for those that it does not name.

    Raises:
        pytest.UsageError: An entry has another form than CODE=MODE.
    """
    try:
        modes = {
            **read_rule_modes(config.getini("decoderonly_guard_rules"), "ini key decoderonly_guard_rules"),
            **read_rule_modes(config.getoption("decoderonly_guard_rules") or (), "--decoderonly-guard-rule"),
        }
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None
    return RuleModes(tuple(modes.items()))


def as_guard_mode(value: object, where: str) -> GuardMode:
    """Return `value` as a guard mode.

    Args:
        value: What the user wrote.
        where: The option, key or marker that it stands in, for the message.

    Raises:
        pytest.UsageError: It is not one of the modes.
    """
    try:
        return _as_guard_mode(value, where)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None


def models(config: pytest.Config) -> list[str]:
    """Return every model to be put through the conformance suite, in order and without repetition.

    The options come first, then the ini key `decoderonly_models`, then `models` of `[tool.decoderonly]`.

    Raises:
        pytest.UsageError: An empty specification, or settings that cannot be read.
    """
    found: dict[str, None] = {}
    sources: tuple[tuple[str, Iterable[str]], ...] = (
        ("--decoderonly-model", config.getoption("decoderonly_models") or ()),
        ("ini key decoderonly_models", config.getini("decoderonly_models") or ()),
        ("[tool.decoderonly] models", settings(config).models),
    )
    for where, specs in sources:
        for spec in specs:
            if not spec.strip():
                raise pytest.UsageError(f"{where}: an empty model; expected {MODEL_FORM}")
            found.setdefault(spec.strip())
    return list(found)


def report_files(config: pytest.Config) -> dict[str, Path]:
    """Return the files to write a report to, by where each is named: the options', else the ini key's.

    Paths of options count from where pytest was started, as its own do; they are absolute, as tests may go elsewhere.
    """
    given = config.getoption("decoderonly_report") or ()
    if given:
        base = config.invocation_params.dir
        return {
            f"--decoderonly-report={one}": base / os.path.expanduser(one)  # noqa: PTH111
            for one in dict.fromkeys(given)
        }
    return {
        f"ini key decoderonly_report: {one}": Path(one) for one in config.getini("decoderonly_report") or ()
    }


def suite(config: pytest.Config) -> str:
    """Return how much of the conformance suite runs: the option's, else the ini key's, else `default`.

    Raises:
        pytest.UsageError: The ini key holds something else.
    """
    value = config.getoption("decoderonly_suite") or str(config.getini("decoderonly_suite")).strip()
    if value and value not in SUITES:
        raise pytest.UsageError(
            f"ini key decoderonly_suite: expected one of {', '.join(SUITES)}, got {value!r}"
        )
    return value or "default"


def max_memory(config: pytest.Config) -> Limits:
    """Return how much memory the conformance suite may take, by device; empty where nothing is limited.

    Raises:
        pytest.UsageError: It has another form.
    """
    from pytest_decoderonly.conformance.memory import read_limits

    given = config.getoption("decoderonly_max_memory")
    where = "--decoderonly-max-memory" if given else "ini key decoderonly_max_memory"
    try:
        return read_limits(given or str(config.getini("decoderonly_max_memory")))
    except ValueError as error:
        raise pytest.UsageError(f"{where}: {error}") from None


def settings(config: pytest.Config) -> Settings:
    """Return the checker's settings of the project under test, read once.

    Raises:
        pytest.UsageError: The settings are wrong; the message is the checker's own line.
    """
    cached = config.stash.get(_settings_key, None)
    if cached is None:
        from decoderonly_checker.config import SettingsError, load_settings

        try:
            cached = load_settings(config.rootpath)
        except SettingsError as error:
            raise pytest.UsageError(str(error)) from None
        config.stash[_settings_key] = cached
    return cached
