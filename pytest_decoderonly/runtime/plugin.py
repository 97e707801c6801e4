"""The guard as a pytest plugin: every test runs watched, and fails (or warns) for what was found."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from pytest_decoderonly import options
from pytest_decoderonly.extras import MODELS, missing_libraries
from pytest_decoderonly.runtime.data import as_dict
from pytest_decoderonly.runtime.report import plural, warn
from pytest_decoderonly.runtime.watcher import Watcher, recorder
from pytest_decoderonly.summary import Summary, summary_of

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Generator, Iterator

    from pytest_decoderonly.modes import GuardMode, RuleModes
    from pytest_decoderonly.runtime.report import Finding

_CODE = re.compile(r"DLM\d{3}")
_MOST_PLACES = 20
_PLACE = "at "
_FINDINGS = "decoderonly_findings"

_state_key = pytest.StashKey["_State"]()


def register(config: pytest.Config) -> None:
    """Set the guard to work in this run."""
    summary = summary_of(config)
    mode = options.guard_mode(config)
    missing = missing_libraries()
    if missing and mode != "off":
        summary.add("guard", f"off, needs {' and '.join(missing)}: {MODELS}")
    summary.show("guard", _lines)
    config.pluginmanager.register(GuardPlugin(mode, options.rule_modes(config), summary), "decoderonly-guard")


class _State:
    """What the guard knows of the test that is running."""

    def __init__(self, watcher: Watcher, mode: GuardMode, rules: RuleModes, expected: frozenset[str]) -> None:
        self.watcher = watcher
        self.mode = mode
        self.rules = rules
        self.expected = expected
        self.judged = 0
        self.failed = False
        self.unshown: list[Finding] = []
        self.untold: list[Finding] = []


class GuardPlugin:
    """Watches each test, from its first fixture to its last.

    Items that make experiments of their own with a model set `decoderonly_unguarded = True` on their class.
    """

    def __init__(self, mode: GuardMode, rules: RuleModes, summary: Summary) -> None:
        self._mode = mode
        self._rules = rules
        self._summary = summary

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Refuse wrong markers before the first test runs."""
        for item in items:
            _mode_of(item, self._mode)
            _accepted_by(item)
            _expected_by(item)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Watch the whole of a test, and restore everything behind it."""
        mode = _mode_of(item, self._mode)
        if mode == "off" or getattr(item, "decoderonly_unguarded", False):
            return (yield)
        expected = _expected_by(item)
        watcher = Watcher(item.nodeid, _accepted_by(item) | expected, self._rules.is_off)
        state = item.stash[_state_key] = _State(watcher, mode, self._rules, expected)
        recorder().enter(watcher)
        try:
            result = yield
        finally:
            recorder().leave(watcher)
            del item.stash[_state_key]
            self._count(state)
        watcher.warn_of_faults()
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Judge after the test's own code is through; what that code saw is not changed."""
        result = yield from _judging(item)
        state = item.stash.get(_state_key, None)
        if state is not None:
            found = {finding.code for finding in state.watcher.accepted_findings}
            missing = sorted(state.expected - found)
            if missing:
                pytest.fail(f"decoderonly_expect: {', '.join(missing)} not found in this test", pytrace=False)
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """Judge what fixtures did behind the test."""
        return (yield from _judging(item))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[Any]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Show beside a test's own failure what the guard had found by then."""
        report = yield
        state = item.stash.get(_state_key, None)
        if state is not None and report.failed and not _is_ours(call):
            state.unshown += _fresh(state)
            if state.unshown:
                report.sections.append(("decoderonly", "\n\n".join(map(str, state.unshown))))
        if state is not None:
            state.unshown = []
            # Plain data: it travels over xdist with the report.
            report.__dict__[_FINDINGS] = [as_dict(finding) for finding in state.untold]
            state.untold = []
        return report

    def _count(self, state: _State) -> None:
        watcher = state.watcher
        findings = watcher.findings
        counts = {
            "calls": watcher.calls,
            "tests": int(watcher.calls > 0),
            "findings": len(findings),
            "tests with findings": int(bool(findings)),
            "allowed": watcher.accepted,
            "suppressed": watcher.suppressed,
            "failed": int(any(state.rules.is_fatal(finding, state.mode) for finding in findings)),
        }
        for name, amount in counts.items():
            if amount:
                self._summary.count("guard", name, amount)
        for finding in findings:
            self._summary.count("guard", _PLACE + finding.summary, finding.count)


def findings_of(report: pytest.TestReport) -> list[dict[str, Any]]:
    """Return what the guard found in one phase of a test, as plain data with the fields of docs/reference/json.md.

    For reporters: call it in `pytest_runtest_logreport`, which runs where the results are put together, also under xdist.
    Each finding comes with the phase in which it was made.
    """
    return list(getattr(report, _FINDINGS, ()))


def _judging(item: pytest.Item) -> Generator[None, object, object]:
    state = item.stash.get(_state_key, None)
    try:
        result = yield
    except BaseException as error:
        if state is not None:
            state.watcher.failed(error)
            state.watcher.conclude()
            # The test's own outcome stands; the findings are shown beside it.
            state.unshown = _fresh(state)
            _note(item, state.unshown)
        raise
    if state is None:
        return result
    state.watcher.conclude()
    fresh = _fresh(state)
    _note(item, fresh)
    fatal = [finding for finding in fresh if state.rules.is_fatal(finding, state.mode)]
    for finding in fresh:
        if finding not in fatal:
            warn(finding, (str(item.path), (item.reportinfo()[1] or 0) + 1))
    if fatal:
        pytest.fail("\n\n".join(map(str, fatal)), pytrace=False)
    return result


def _fresh(state: _State) -> list[Finding]:
    """Return the findings since the last look."""
    fresh = state.watcher.findings[state.judged :]
    state.judged += len(fresh)
    state.untold += fresh
    return fresh


def _note(item: pytest.Item, findings: list[Finding]) -> None:
    """Leave a trace in the report's properties, which reach JUnit files and travel over xdist."""
    item.user_properties += [("decoderonly", finding.summary) for finding in findings]


def _is_ours(call: pytest.CallInfo[Any]) -> bool:
    """Whether this phase failed because of the guard's own verdict, which is shown already."""
    excinfo = call.excinfo
    return (
        excinfo is not None
        and excinfo.errisinstance(pytest.fail.Exception)
        and "DecoderOnlyError[" in str(excinfo.value)
    )


def _mode_of(item: pytest.Item, default: GuardMode) -> GuardMode:
    marker = item.get_closest_marker("decoderonly_guard")
    if marker is None:
        return default
    given = (*marker.args, *marker.kwargs.values())
    if len(given) != 1 or set(marker.kwargs) - {"mode"}:
        raise pytest.UsageError(f'{item.nodeid}: expected decoderonly_guard("error"), ("warn") or ("off")')
    return options.as_guard_mode(given[0], f"{item.nodeid}: marker decoderonly_guard")


def _accepted_by(item: pytest.Item) -> frozenset[str]:
    return _codes_of(item, "decoderonly_allow")


def _expected_by(item: pytest.Item) -> frozenset[str]:
    expected = _codes_of(item, "decoderonly_expect")
    if "*" in expected:
        raise pytest.UsageError(f"{item.nodeid}: marker decoderonly_expect: name the codes that are expected")
    return expected


def _codes_of(item: pytest.Item, name: str) -> frozenset[str]:
    accepted: set[str] = set()
    for marker in item.iter_markers(name):
        wrong = [code for code in marker.args if not (isinstance(code, str) and _CODE.fullmatch(code))]
        if wrong or set(marker.kwargs) - {"reason"}:
            shown = repr(wrong[0]) if wrong else ", ".join(marker.kwargs)
            raise pytest.UsageError(
                f"{item.nodeid}: marker {name}: expected codes and a reason, such as "
                f'{name}("DLM201", reason="..."), got {shown}'
            )
        accepted.update(marker.args or ("*",))
    return frozenset(accepted)


def _lines(counts: Counter[str]) -> Iterator[str]:
    """Make the guard's part of the summary: one line of totals, then each place once."""
    if not counts["calls"]:
        return
    parts = [
        f"{plural(counts['calls'], 'call')} checked in {plural(counts['tests'], 'test')}",
        f"{plural(counts['findings'], 'finding')} in {plural(counts['tests with findings'], 'test')}"
        if counts["findings"]
        else "no findings",
    ]
    parts += [f"{counts[name]} {name}" for name in ("allowed", "suppressed") if counts[name]]
    yield "   ".join(parts)
    places = sorted(
        (name.removeprefix(_PLACE), times) for name, times in counts.items() if name.startswith(_PLACE)
    )
    for place, times in places[:_MOST_PLACES]:
        yield f"  {place}" + (f" ({times} times)" if times > 1 else "")
    if len(places) > _MOST_PLACES:
        yield f"  and {len(places) - _MOST_PLACES} more places"
