"""The static check as pytest items: one a source file, one shared run of the checker for all of them.

Which files become items:

* pytest run without paths (it takes `testpaths` or the current folder): what `decoderonly check` finds in
  the folders of the ini key `decoderonly_paths`, by default in rootdir. That is the project's own code as
  well as its tests.
* pytest run with paths: what `decoderonly check` finds in the same paths. An argument with a test's name
  (`tests/test_a.py::test_b`) asks for that test alone and brings no item;
  `app/serve.py::decoderonly-static` asks for one.

In both cases the checker's settings and `.gitignore` apply, `--ignore` and `--ignore-glob` too, and a file
that holds no language-model code becomes no item; the summary says how many those
were. Nothing of a file is executed.
"""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_decoderonly import options
from pytest_decoderonly.summary import Summary, summary_of

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Generator, Iterable, Iterator

    from decoderonly_checker.diagnostics import CheckResult

ITEM_NAME = "decoderonly-static"
_ROOTS_KEY = "decoderonly_roots"


def register(config: pytest.Config) -> None:
    """Set the static check to work in this run."""
    summary = summary_of(config)
    summary.show("static", _lines)
    config.pluginmanager.register(StaticPlugin(config, summary), "decoderonly-static")


class StaticFindings(Exception):  # noqa: N818 - never seen as an exception: the item turns it into its report
    """What the checker found in one file."""

    def __init__(self, result: CheckResult) -> None:
        super().__init__("the static check found something")
        self.result = result


class StaticPlugin:
    """Collects the files, and owns the one run of the checker."""

    def __init__(self, config: pytest.Config, summary: Summary) -> None:
        self._config = config
        self._summary = summary
        self._result: dict[Path, CheckResult] | None = None
        self._named = _named_files(config)
        self._collected: list[Path] = []
        self._skipped = 0

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """In the controller of xdist: let every worker collect for the same paths."""
        node.workerinput[_ROOTS_KEY] = [str(path) for path in _roots(self._config)]

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Add the files behind what pytest itself collects at the top."""
        report = yield
        if isinstance(collector, pytest.Session) and report.passed:
            report.result = [*report.result, *self._files(collector)]
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_collect_file(
        self, file_path: Path, parent: pytest.Collector
    ) -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
        """Serve an argument that names an item, without importing the file as a test module for it."""
        found = yield
        if file_path not in self._named:
            return found
        others = found if self._named[file_path] else []
        return [StaticFile.from_parent(parent, path=file_path), *others]

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep one item a file where arguments overlap; pytest does so itself from version 9 on."""
        seen: set[Path] = set()
        for item in list(items):
            if isinstance(item, StaticItem):
                if item.path in seen:
                    items.remove(item)
                seen.add(item.path)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A project whose every file was proved irrelevant was checked: that is no empty run."""
        if (
            session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED
            and self._skipped
            and not _deselected(session)
        ):
            session.exitstatus = pytest.ExitCode.OK

    def result_for(self, path: Path) -> CheckResult:
        """Return what the checker says of one file; the first call checks every file at once.

        Also where only some were selected: what is wrong with a file may follow from how another uses it, and
        a rerun of what failed must see the same.
        """
        if self._result is None:
            self._result = self._run([*dict.fromkeys([*self._collected, *self._surroundings(), path])])
        return self._result[path]

    def count(self, name: str, amount: int = 1) -> None:
        """Add to the totals of the summary."""
        if amount:
            self._summary.count("static", name, amount)

    def _run(self, paths: list[Path]) -> dict[Path, CheckResult]:
        from decoderonly_checker.diagnostics import CheckResult
        from decoderonly_checker.runner import check_paths

        result = check_paths(paths, options.settings(self._config))
        self.count("suppressed", result.suppressed)
        self.count("baselined", result.baselined)
        diagnostics: dict[Path, list[Any]] = {}
        errors: dict[Path, list[Any]] = {}
        for diagnostic in result.diagnostics:
            diagnostics.setdefault(_absolute(diagnostic.place.path), []).append(diagnostic)
        for error in result.errors:
            errors.setdefault(_absolute(error.path), []).append(error)
        return {
            path: CheckResult(
                diagnostics=tuple(diagnostics.get(_absolute(path), ())),
                errors=tuple(errors.get(_absolute(path), ())),
                checked=(_shown(path),),
            )
            for path in paths
        }

    def _surroundings(self) -> list[Path]:
        """Return the project's files, where an argument named an item and brought none of them."""
        return self._relevant(_project(self._config))[0] if self._named else []

    def _files(self, session: pytest.Session) -> Iterator[StaticFile]:
        self._collected, self._skipped = self._relevant(_roots(self._config))
        # Every worker of xdist collects the same files: one of them counts.
        if getattr(self._config, "workerinput", {}).get("workerid", "gw0") == "gw0":
            self.count("skipped", self._skipped)
        for path in self._collected:
            if path not in self._named:
                yield StaticFile.from_parent(session, path=path)

    def _relevant(self, roots: list[Path]) -> tuple[list[Path], int]:
        """Return the files under `roots` that may hold a finding, and the number of the others."""
        if not roots:
            return [], 0
        from decoderonly_checker.discovery import find_files
        from decoderonly_checker.work import relevant_files

        settings = options.settings(self._config)
        found, errors = find_files(roots, settings)
        files = [path for path in found if not _ignored(self._config, path)]
        relevant = set(relevant_files([str(path) for path in files], settings))
        # What cannot be listed becomes an item too, which then says why.
        chosen = [_absolute(error.path) for error in errors] + [
            path for path in files if str(path) in relevant
        ]
        return chosen, len(files) - sum(str(path) in relevant for path in files)


class StaticFile(pytest.File):
    """A source file of the project."""

    def collect(self) -> Iterable[StaticItem]:
        """Yield the one item of the file."""
        yield StaticItem.from_parent(self, name=ITEM_NAME)


class StaticItem(pytest.Item):
    """The static check of one file."""

    decoderonly_unguarded = True

    def runtest(self) -> None:
        """Fail where the checker found something, or could not check the file."""
        plugin = self.config.pluginmanager.get_plugin("decoderonly-static")
        assert isinstance(plugin, StaticPlugin)  # noqa: S101 - registered together with the items
        plugin.count("files")
        result = plugin.result_for(self.path)
        plugin.count("findings", len(result.diagnostics))
        plugin.count("unchecked", len(result.errors))
        if result.diagnostics or result.errors:
            plugin.count("failed")
            self.user_properties += [
                ("decoderonly", f"{found.code} {found.place.path}:{found.place.line}")
                for found in result.diagnostics
            ]
            raise StaticFindings(result)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return the checker's own report, without a traceback through this package."""
        if isinstance(excinfo.value, StaticFindings):
            return render(excinfo.value.result)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Head the report with the file."""
        return self.path, None, f"{self.nodeid.removesuffix(f'::{self.name}')}: {self.name}"


def render(result: CheckResult) -> str:
    """Return findings in the checker's full format, and a line for each thing that could not be checked."""
    from decoderonly_checker.render import render as render_findings
    from decoderonly_checker.render.text import error_line
    from decoderonly_checker.source.excerpts import Excerpts

    findings = render_findings(result, "full", Excerpts())
    return "\n".join([*(error_line(error) for error in result.errors), findings]).rstrip("\n")


def _roots(config: pytest.Config) -> list[Path]:
    """Return the folders and files whose sources become items."""
    told = getattr(config, "workerinput", {}).get(_ROOTS_KEY)
    if told is not None:
        return [Path(path) for path in told]
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        return _project(config)
    return [_argument_path(config, arg) for arg in config.args if "::" not in arg]


def _project(config: pytest.Config) -> list[Path]:
    return [Path(path) for path in config.getini("decoderonly_paths")] or [config.rootpath]


def _named_files(config: pytest.Config) -> dict[Path, bool]:
    """Return the files whose item an argument names, and whether another names the file's tests too."""
    named: dict[Path, bool] = {}
    arguments = [(_argument_path(config, arg), arg.split("::")[1:]) for arg in config.args]
    for path, parts in arguments:
        if parts == [ITEM_NAME]:
            named[path] = any(other == path and names != [ITEM_NAME] for other, names in arguments)
    return named


def _argument_path(config: pytest.Config, arg: str) -> Path:
    return Path(config.invocation_params.dir, arg.split("::", maxsplit=1)[0]).absolute()


def _ignored(config: pytest.Config, path: Path) -> bool:
    base = config.invocation_params.dir
    for ignored in config.getoption("ignore") or ():
        folder = Path(base, ignored)
        if path == folder or folder in path.parents:
            return True
    return any(
        fnmatch(str(path), str(Path(base, pattern))) for pattern in config.getoption("ignore_glob") or ()
    )


def _absolute(path: str | Path) -> Path:
    return Path(path).absolute()


def _shown(path: Path) -> str:
    try:
        return path.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path.as_posix()


def _deselected(session: pytest.Session) -> bool:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    return bool(reporter is not None and reporter.stats.get("deselected"))


def _lines(counts: Counter[str]) -> Iterator[str]:
    """Make the static part of the summary."""
    skipped = f"{counts['skipped']} skipped (no language-model code)" if counts["skipped"] else ""
    if not counts["files"]:
        if skipped:
            yield f"no file checked, {skipped}"
        return
    parts = [f"{counts['files']} {'file' if counts['files'] == 1 else 'files'} checked"]
    parts.append(
        f"{counts['findings']} {'finding' if counts['findings'] == 1 else 'findings'}"
        if counts["findings"]
        else "no findings"
    )
    parts += [f"{counts[name]} {name}" for name in ("unchecked", "suppressed", "baselined") if counts[name]]
    yield "   ".join([*parts, skipped] if skipped else parts)
