"""Collectors and items of the conformance suite: `decoderonly::MODEL::CHECK`.

They join the collection itself, before anything is selected, so that -k, -m, --lf, --collect-only and the
counts see them like any test; and an id may be given back on the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_decoderonly.conformance.case import Case, CheckFailed, NotApplicable
from pytest_decoderonly.conformance.checks import Check, discover
from pytest_decoderonly.conformance.spec import ModelSpec, SpecError, load, parse_all

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator
    from pathlib import Path

ROOT = "decoderonly"
_PREFIX = f"{ROOT}::"
_SEPARATOR = " / "


def register(config: pytest.Config) -> None:
    """Register the suite for the models that this run names.

    Raises:
        pytest.UsageError: A model's options are wrong, or an id of the suite is asked for and no model or check has it.
    """
    from pytest_decoderonly import options
    from pytest_decoderonly.summary import summary_of

    try:
        specs = parse_all(options.models(config), config.rootpath)
    except SpecError as error:
        raise pytest.UsageError(f"--decoderonly-model or decoderonly_models: {error}") from None
    chosen = [argument for argument in config.args if argument.startswith(_PREFIX)]
    if not specs and not chosen:
        return
    checks = discover()
    _refuse_unknown(chosen, specs, checks)
    # These ids are ours to resolve; pytest would look for files of that name.
    config.args[:] = [argument for argument in config.args if argument not in chosen]
    config.pluginmanager.register(ConformancePlugin(config, specs, checks, chosen), "decoderonly-conformance")
    summary_of(config).show("model", _lines)


def _refuse_unknown(chosen: list[str], specs: list[ModelSpec], checks: tuple[Check, ...]) -> None:
    known = {f"{_PREFIX}{spec.name}" for spec in specs}
    known |= {f"{model}::{check.name}" for model in known for check in checks}
    for argument in chosen:
        if not specs:
            raise pytest.UsageError(
                f"{argument}: no model is named; add --decoderonly-model=MODEL or the setting "
                "decoderonly_models"
            )
        if argument not in known:
            raise pytest.UsageError(
                f"{argument}: no such check; models: {', '.join(spec.name for spec in specs)}; "
                f"checks: {', '.join(check.name for check in checks)}"
            )


def _lines(counts: Counter[str]) -> Iterable[str]:
    """Turn totals into one line a model."""
    models: dict[str, dict[str, int]] = {}
    for key, amount in counts.items():
        name, separator, outcome = key.rpartition(_SEPARATOR)
        if separator:
            models.setdefault(name, {})[outcome] = amount
    for name, outcomes in sorted(models.items()):
        total = sum(outcomes.values())
        parts = [f"{outcomes[o]} {o}" for o in ("passed", "failed", "not applicable") if outcomes.get(o)]
        yield f"{name}   {total} check{'s' * (total != 1)}: {', '.join(parts)}"


class ConformancePlugin:
    """Adds the suite to the session's collection and keeps one model in memory."""

    def __init__(
        self, config: pytest.Config, specs: list[ModelSpec], checks: tuple[Check, ...], chosen: list[str]
    ) -> None:
        self.specs = specs
        self.checks = checks
        self.chosen = chosen
        self.models = Models(config.rootpath)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Iterator[None]:
        """Append the suite to what the session itself collects."""
        outcome: Any = yield
        if isinstance(collector, pytest.Session):
            report = outcome.get_result()
            if report.passed:
                suite = Suite.from_parent(collector, name=ROOT, nodeid=ROOT, plugin=self)
                report.result = [*report.result, suite]

    def wants(self, nodeid: str) -> bool:
        """Whether an item was asked for, by its own id or its model's; without such arguments all are."""
        return not self.chosen or any(
            nodeid == choice or nodeid.startswith(f"{choice}::") for choice in self.chosen
        )

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Let go of the model."""
        self.models.clear()


class Models:
    """Loads each model once, when its first check runs; holds one at a time, as items stand by model."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._held: tuple[str, Case | SpecError] | None = None

    def case(self, spec: ModelSpec) -> Case:
        """Return the loaded model of a specification.

        Raises:
            SpecError: It cannot be loaded; asked again, the same error.
        """
        if self._held is None or self._held[0] != spec.name:
            self._held = None  # before the next one takes its memory
            try:
                loaded = load(spec, self._root)
                self._held = (spec.name, Case(spec.name, loaded.model, loaded.tokenizer))
            except SpecError as error:
                self._held = (spec.name, error.with_traceback(None))
        held = self._held[1]
        if isinstance(held, SpecError):
            raise held
        return held

    def clear(self) -> None:
        """Forget the model."""
        self._held = None


class Suite(pytest.Collector):
    """The collector of all models."""

    def __init__(self, *, plugin: ConformancePlugin, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plugin = plugin

    def collect(self) -> Iterable[pytest.Collector]:
        """Return one collector a model."""
        for spec in self.plugin.specs:
            yield ModelCollector.from_parent(self, name=spec.name, spec=spec, plugin=self.plugin)


class ModelCollector(pytest.Collector):
    """The collector of one model."""

    def __init__(self, *, spec: ModelSpec, plugin: ConformancePlugin, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec = spec
        self.plugin = plugin

    def collect(self) -> Iterable[pytest.Item]:
        """Return one item a check."""
        for check in self.plugin.checks:
            if self.plugin.wants(f"{self.nodeid}::{check.name}"):
                yield CheckItem.from_parent(
                    self, name=check.name, check=check, spec=self.spec, plugin=self.plugin
                )


class CheckItem(pytest.Item):
    """One check of one model."""

    def __init__(self, *, check: Check, spec: ModelSpec, plugin: ConformancePlugin, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.check = check
        self.spec = spec
        self.plugin = plugin

    def runtest(self) -> None:
        """Run the check; what it saw becomes a property of the report."""
        try:
            seen = self.check.run(self.plugin.models.case(self.spec))
        except NotApplicable as reason:
            self._count("not applicable")
            # The place that pytest prints for a skip is this line, so the reason names the item.
            pytest.skip(f"{self.spec.name} {self.check.name}: not applicable: {reason}")
        except Exception:
            self._count("failed")
            raise
        self._count("passed")
        self.user_properties.append(("decoderonly", seen))

    def _count(self, outcome: str) -> None:
        from pytest_decoderonly.summary import summary_of

        summary = summary_of(self.config)
        summary.count("model", f"{self.spec.name}{_SEPARATOR}{outcome}")
        if outcome == "failed":
            summary.count("model", "failed")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show a finding as its text alone; `--tb=long` and `--full-trace` give the traceback."""
        wanted = self.config.getoption("tbstyle", default="auto") == "long" or self.config.getoption(
            "fulltrace", default=False
        )
        if isinstance(excinfo.value, (CheckFailed, SpecError)) and not wanted:
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Name the item where a test's file and line would stand."""
        return self.path, None, f"{self.spec.name} {self.check.name}"
