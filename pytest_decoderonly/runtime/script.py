"""Runs a program as Python itself would, watched, and tells on standard error what was found.

The program sees the arguments, the search path, the `__main__` module, the exit status and the traceback that it would have
without.
"""

from __future__ import annotations

import argparse
import builtins
import contextlib
import importlib.machinery
import importlib.util
import io
import os
import pkgutil
import signal
import sys
import threading
import types
from dataclasses import dataclass
from importlib.abc import InspectLoader
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pytest_decoderonly.modes import GUARD_MODES, GuardMode, RuleModes, as_guard_mode, read_rule_modes
from pytest_decoderonly.runtime.report import plural
from pytest_decoderonly.runtime.session import guard

if TYPE_CHECKING:
    from types import CodeType

    from pytest_decoderonly.runtime.session import Guarded

_FOUND = _RAISED = 1
_USAGE = 2
_INTERRUPTED = 130


class _NoProgramError(Exception):
    """There is no such script or module; the message says so as Python does, the status is the one that it ends with."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(f"{sys.executable}: {message}")
        self.status = status


@dataclass(frozen=True)
class _Options:
    program: list[str]
    is_module: bool
    mode: GuardMode
    rules: RuleModes
    report: Path | None
    quiet: bool


def main(arguments: list[str]) -> NoReturn:
    """Run the program that the arguments name, and end the process.

    The exit status is the program's own; 1 where that is 0 and the guard found what is an error. 2 says that the
    arguments are wrong or that there is no such program.
    """
    options = _parse(arguments)
    report = options.report and Path.cwd() / options.report  # before the program goes elsewhere
    with guard("off" if options.mode == "off" else "collect", rules=dict(options.rules.modes)) as found:
        try:
            status = _run(options)
        except _NoProgramError as error:
            _say(str(error))
            sys.exit(error.status)
        # As Python does at its end: the program's threads are waited for, and what they call is seen.
        threading._shutdown()  # type: ignore[attr-defined]
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed or none: its owner knows
        sys.stdout.flush()
    if report is not None:
        from pytest_decoderonly.runtime.data import write_json

        try:
            write_json(found.as_dicts(), report)
        except OSError as error:
            _say(f"decoderonly guard: {options.report}: {error.strerror or error}")
            status = status or _USAGE
    _tell(found, quiet=options.quiet)
    if status == _INTERRUPTED:  # whoever waits for this process is to know, as without the guard
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    failed = any(options.rules.is_fatal(finding, options.mode) for finding in found.findings)
    sys.exit(status or (_FOUND if failed else 0))


def _parse(arguments: list[str]) -> _Options:
    parser = argparse.ArgumentParser(
        prog="python -m pytest_decoderonly.run",
        usage="%(prog)s [options] SCRIPT [ARGUMENT ...]\n       %(prog)s [options] -m MODULE [ARGUMENT ...]",
        description="Run a program under the guard for decoder-only language models. What is found is told on standard "
        "error when the program has ended.",
        epilog="The exit status is the program's own; 1 where that is 0 and something was found that is an error.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--guard",
        choices=GUARD_MODES,
        default="error",
        metavar="MODE",
        help="What a finding does to the exit status: error (it is 1, default; hazards do nothing), warn (nothing), or "
        "off (nothing is watched).",
    )
    parser.add_argument(
        "--guard-rule",
        action="append",
        default=[],
        metavar="CODE=MODE",
        help="Mode for one rule, or for all that begin so: DLM106=off, DLM2=warn. May be repeated.",
    )
    parser.add_argument(
        "--report", metavar="FILE.json", help="Write the findings as JSON (docs/reference/json.md)."
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="Say nothing where nothing is found.")
    parser.add_argument("-m", dest="module", metavar="MODULE", nargs=argparse.REMAINDER, help="Run a module.")
    parser.add_argument(
        "program", metavar="SCRIPT", nargs=argparse.REMAINDER, help="Script, folder or archive to run."
    )
    given = parser.parse_args(arguments)
    program = given.module if given.module is not None else given.program
    if not program:
        parser.error("name a script, or a module behind -m")
    try:
        rules = read_rule_modes(given.guard_rule, "--guard-rule")
    except ValueError as error:
        parser.error(str(error))
    report = Path(given.report) if given.report is not None else None
    if report is not None and report.suffix != ".json":
        parser.error(f"--report: expected a file that ends in .json, got {given.report!r}")
    if report is not None:
        from decoderonly_checker.written import unwritable

        why = unwritable(report)
        if why:
            parser.error(f"--report: {given.report}: {why}")
    return _Options(
        program,
        given.module is not None,
        as_guard_mode(given.guard, "--guard"),
        RuleModes(tuple(rules.items())),
        report,
        given.quiet,
    )


def _run(options: _Options) -> int:
    """Run the program as `__main__` and return the exit status that it asks for."""
    try:
        module, code = (_module if options.is_module else _script)(options.program[0])
        first = str(module.__file__) if options.is_module else options.program[0]
        sys.argv[:] = [first, *options.program[1:]]
        sys.modules["__main__"] = module  # to stay: threads and what runs at exit look it up
        exec(code, module.__dict__)  # noqa: S102 - the user's own program
    except _NoProgramError:
        raise
    except SystemExit as stop:
        return _status(stop)
    except BaseException as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next  # Python shows no frame above the program's own
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        return _INTERRUPTED if isinstance(error, KeyboardInterrupt) else _RAISED
    return 0


def _status(stop: SystemExit) -> int:
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    _say(str(stop.code))
    return 1


def _script(given: str) -> tuple[types.ModuleType, CodeType]:
    """Return the `__main__` module and the code of a script, or of a folder or archive that holds `__main__.py`."""
    path = str(Path(given).absolute())
    importer = pkgutil.get_importer(path)
    if importer is not None:
        sys.path[0] = path
        spec = importer.find_spec("__main__", None)
        if spec is None:
            raise _NoProgramError(f"can't find '__main__' module in {path!r}", _RAISED)
        return _of_spec(spec)
    try:
        with io.open_code(path) as file:
            text = file.read()
    except OSError as error:
        raise _NoProgramError(
            f"can't open file {path!r}: [Errno {error.errno}] {error.strerror}", _USAGE
        ) from None
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = str(Path(path).resolve().parent)
    module = _new_main(path, importlib.machinery.SourceFileLoader("__main__", path), None)
    return module, compile(text, path, "exec", dont_inherit=True)


def _module(name: str) -> tuple[types.ModuleType, CodeType]:
    """Return the `__main__` module and the code of a module, or of a package's `__main__`."""
    found = name
    try:
        spec = importlib.util.find_spec(found)
        if spec is not None and spec.submodule_search_locations is not None:
            found = f"{name}.__main__"
            spec = importlib.util.find_spec(found)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise _NoProgramError(
            f"Error while finding module specification for {found!r} ({type(error).__name__}: {error})",
            _RAISED,
        ) from None
    if spec is None:
        raise _NoProgramError(f"No module named {found}", _RAISED)
    return _of_spec(spec)


def _of_spec(spec: importlib.machinery.ModuleSpec) -> tuple[types.ModuleType, CodeType]:
    code = spec.loader.get_code(spec.name) if isinstance(spec.loader, InspectLoader) else None
    if code is None:
        raise _NoProgramError(f"No code object available for {spec.name}", _RAISED)
    return _new_main(spec.origin, spec.loader, spec), code


def _new_main(
    path: str | None, loader: object, spec: importlib.machinery.ModuleSpec | None
) -> types.ModuleType:
    """Make a `__main__` module with the names that Python gives it."""
    module = types.ModuleType("__main__")
    module.__dict__.update(
        __builtins__=builtins,
        __file__=path,
        __cached__=spec.cached if spec is not None else None,
        __loader__=loader,
        __spec__=spec,
        __package__=spec.parent if spec is not None else None,
    )
    if sys.version_info < (3, 14):
        module.__dict__.update(__annotations__={})
    return module


def _tell(found: Guarded, *, quiet: bool) -> None:
    for finding in found.findings:
        _say(f"{finding}\n")
    if found.findings or not quiet:
        counts = [f"{plural(found.calls, 'call')} checked", plural(len(found.findings), "finding")]
        counts += [f"{found.suppressed} suppressed"] if found.suppressed else []
        _say(f"decoderonly guard: {', '.join(counts)}")


def _say(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"{text}\n")
