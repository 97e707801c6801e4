"""Collectors and items of the conformance suite: `decoderonly::MODEL::CHECK[WHAT-IT-VARIES]`.

They join the collection itself, before anything is selected, so that -k, -m, --lf, --collect-only and the
counts see them like any test; and an id may be given back on the command line.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_decoderonly import options
from pytest_decoderonly.compare import progress
from pytest_decoderonly.compare.memory import HALVED, NoRoomError
from pytest_decoderonly.conformance import ranks
from pytest_decoderonly.conformance.checks import KINDS, Check, Variant, discover
from pytest_decoderonly.conformance.found import CheckFailed, Found, NotApplicable
from pytest_decoderonly.conformance.memory import for_device_map, limited
from pytest_decoderonly.conformance.outcome import ATTRIBUTE, Outcome, Verdict
from pytest_decoderonly.conformance.progress import shown
from pytest_decoderonly.conformance.spec import ModelSpec, NotBuiltError, SpecError, load, parse_all
from pytest_decoderonly.errors import message_of

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pytest_decoderonly.conformance.case import Case

ROOT = "decoderonly"
_PREFIX = f"{ROOT}::"
_SEPARATOR = " / "


def register(config: pytest.Config) -> None:
    """Register the suite for the models that this run names.

    Raises:
        pytest.UsageError: A model's options are wrong, or an id of the suite is asked for and no model or check has it.
    """
    from pytest_decoderonly.summary import summary_of

    try:
        specs = parse_all(options.models(config), config.rootpath)
    except SpecError as error:
        raise pytest.UsageError(f"--decoderonly-model or decoderonly_models: {error}") from None
    chosen = [argument for argument in config.args if argument.startswith(_PREFIX)]
    if not specs and not chosen:
        return
    for kind, meaning in KINDS.items():
        config.addinivalue_line("markers", f"decoderonly_{kind}: items of the conformance suite: {meaning}.")
    checks = discover()
    _refuse_unknown(chosen, specs, checks)
    # These ids are ours to resolve; pytest would look for files of that name.
    config.args[:] = [argument for argument in config.args if argument not in chosen]
    config.pluginmanager.register(ConformancePlugin(config, specs, checks, chosen), "decoderonly-conformance")
    ranks.register(config)
    summary_of(config).show("model", _lines)


def _refuse_unknown(chosen: list[str], specs: list[ModelSpec], checks: tuple[Check, ...]) -> None:
    known = {f"{_PREFIX}{spec.name}" for spec in specs}
    known |= {
        f"{model}::{name}" for model in known for check in checks for name in (check.name, *_names(check))
    }
    for argument in chosen:
        if not specs:
            raise pytest.UsageError(
                f"{argument}: no model is named; add --decoderonly-model=MODEL or the setting "
                "decoderonly_models"
            )
        if argument not in known and not any(
            argument == f"{_PREFIX}{spec.name}::{_item_name(check, variant, spec)}"
            for spec in specs
            for check in checks
            for variant in check.variants
        ):
            raise pytest.UsageError(
                f"{argument}: no such check; models: {', '.join(spec.name for spec in specs)}; "
                f"checks: {', '.join(check.name for check in checks)}"
            )


def _names(check: Check) -> Iterator[str]:
    for variant in check.variants:
        yield f"{check.name}[{variant.id}]" if variant.id else check.name


def _item_name(check: Check, variant: Variant, spec: ModelSpec) -> str:
    """What an item is called: the check, what it varies, and what of the model's options it runs with."""
    shown = "-".join(part for part in (variant.id, *_options(check, spec)) if part)
    return f"{check.name}[{shown}]" if shown else check.name


def _options(check: Check, spec: ModelSpec) -> tuple[str, ...]:
    return () if check.kind == "tokenizer" else tuple(spec.varied.values())


def _lines(counts: Counter[str]) -> Iterable[str]:
    """Turn totals into one line a model."""
    models: dict[str, dict[str, int]] = {}
    for key, amount in counts.items():
        name, separator, outcome = key.rpartition(_SEPARATOR)
        if separator:
            models.setdefault(name, {})[outcome] = amount
    for name, outcomes in sorted(models.items()):
        total = sum(outcomes.values())
        parts = [
            f"{outcomes[o]} {o}" for o in ("passed", "failed", "error", "not applicable") if outcomes.get(o)
        ]
        yield f"{name}   {total} check{'s' * (total != 1)}: {', '.join(parts)}"


class ConformancePlugin:
    """Adds the suite to the session's collection and keeps one model in memory."""

    def __init__(
        self, config: pytest.Config, specs: list[ModelSpec], checks: tuple[Check, ...], chosen: list[str]
    ) -> None:
        self.specs = specs
        self.checks = checks
        self.chosen = chosen
        self.full = options.suite(config) == "full"
        self.limits = options.max_memory(config)
        self.models = Models(config)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Iterator[None]:
        """Append the suite to what the session itself collects."""
        outcome: Any = yield
        if isinstance(collector, pytest.Session):
            report = outcome.get_result()
            if report.passed:
                suite = Suite.from_parent(collector, name=ROOT, nodeid=ROOT, plugin=self)
                report.result = [*report.result, suite]

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
        """Let what an item found travel with the report of its call, also from a worker of xdist."""
        result: Any = yield
        if isinstance(item, CheckItem) and call.when == "call" and item.outcome is not None:
            setattr(result.get_result(), ATTRIBUTE, item.outcome.as_dict())

    def wants(self, nodeid: str) -> bool:
        """Whether an item was asked for, by its own id or its model's; without such arguments all are."""
        return not self.chosen or any(
            nodeid == choice or nodeid.startswith((f"{choice}::", f"{choice}[")) for choice in self.chosen
        )

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Let go of the model."""
        self.models.clear()


class Models:
    """Loads each model once, when its first check runs; holds one at a time, as items stand by model."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._held: tuple[str, Case | SpecError] | None = None

    def case(self, spec: ModelSpec) -> Case:
        """Return the loaded model of a specification.

        Raises:
            SpecError: It cannot be loaded; asked again, the same error.
        """
        if self._held is None or self._held[0] != spec.name:
            self._held = None  # before the next one takes its memory
            try:
                progress.tell("loading the model")
                self._held = (spec.name, self._load(spec))
            except SpecError as error:
                self._held = (spec.name, error.with_traceback(None))
        held = self._held[1]
        if isinstance(held, SpecError):
            raise held
        return held

    def _load(self, spec: ModelSpec) -> Case:
        from importlib.util import find_spec

        from pytest_decoderonly.conformance.case import Case

        device = None
        if find_spec("torch") is not None:  # `load` says what to install
            from pytest_decoderonly.devices import default_device, device_named

            named = str(self._config.getini("decoderonly_device")).strip()
            try:
                device = device_named(named) if named else default_device()
            except ValueError as error:
                raise SpecError(f"{spec.text}: ini key decoderonly_device: {error}") from None
        most = for_device_map(options.max_memory(self._config))
        if most and spec.option("device_map"):
            spec = replace(spec, max_memory=tuple(most.items()))
        loaded = load(spec, self._config.rootpath, device=device)
        return Case(spec.name, loaded.model, loaded.tokenizer)

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
        """Return one item for each thing that a check varies."""
        for check in self.plugin.checks:
            for variant in check.variants:
                name = _item_name(check, variant, self.spec)
                nodeid = f"{self.nodeid}::{name}"
                # Whoever names an item of the full suite wants it.
                asked = self.plugin.full or not variant.full or nodeid in self.plugin.chosen
                if asked and self.plugin.wants(nodeid):
                    yield CheckItem.from_parent(
                        self,
                        name=name,
                        nodeid=nodeid,  # as text: pytest then tells the brackets from the name, as --lf does
                        check=check,
                        variant=variant,
                        spec=self.spec,
                        plugin=self.plugin,
                    )


class CheckItem(pytest.Item):
    """One thing that a check varies, for one model."""

    def __init__(
        self, *, check: Check, variant: Variant, spec: ModelSpec, plugin: ConformancePlugin, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.check = check
        self.variant = variant
        self.spec = spec
        self.plugin = plugin
        self.outcome: Outcome | None = None
        self.add_marker("decoderonly_model")
        self.add_marker(f"decoderonly_{check.kind}")
        if self.config.pluginmanager.hasplugin("xdist"):
            # With --dist=loadgroup one worker has all items of a model, which share its measurements. (Ids do the same for
            # --dist=loadscope.)
            self.add_marker(pytest.mark.xdist_group(spec.name))

    def runtest(self) -> None:
        """Run the check; what it found goes with the report."""
        started = time.perf_counter()
        case: Case | None = None
        try:
            with shown(self.config, f"{self.spec.name} {self.name}"), limited(self.plugin.limits):
                try:
                    case = self.plugin.models.case(self.spec)
                except NotBuiltError as reason:
                    if self.spec.among_all:
                        raise NotApplicable(str(reason)) from None
                    raise
                found = self.check.run(case, self.variant)
        except NotApplicable as reason:
            self._note("not applicable", Found(str(reason)), case, started)
            # The place that pytest prints for a skip is this line, so the reason names the item.
            pytest.skip(f"{self.spec.name} {self.name}: not applicable: {reason}")
        except Exception as error:
            self._note("error", Found(message_of(error), text=str(error)), case, started)
            raise
        verdict: Verdict = "passed" if found.passed else "error" if found.raised else "failed"
        self._note(verdict, found, case, started)
        self._tell_of_memory(found)
        if not found.passed:
            raise CheckFailed(found.text)
        self.user_properties.append(("decoderonly", found.seen))

    def _tell_of_memory(self, found: Found) -> None:
        """Say at the end of the run what was judged with fewer rows than it should have been."""
        from pytest_decoderonly.summary import summary_of

        for note in found.notes:
            if note.startswith(HALVED):
                summary_of(self.config).add("model", f"{self.spec.name}   {note}")

    def _note(self, verdict: Verdict, found: Found, case: Case | None, started: float) -> None:
        from pytest_decoderonly.summary import summary_of

        summary = summary_of(self.config)
        summary.count("model", f"{self.spec.name}{_SEPARATOR}{verdict}")
        if verdict in ("failed", "error"):
            summary.count("model", "failed")
        device, dtype, attention = _ran_on(case)
        parameters = dict(self.variant.parameters)
        if self.check.kind != "tokenizer" and case is not None:
            parameters |= {"dtype": dtype, **({"attention": attention} if attention else {})}
        self.outcome = Outcome(
            model=self.spec.name,
            spec=self.spec.text,
            check=self.check.name,
            item=self.nodeid,
            verdict=verdict,
            seen=found.seen,
            parameters=parameters,
            protects_from=self.check.protects_from,
            seconds=time.perf_counter() - started,
            device=device,
            dtype=dtype,
            numbers=found.numbers,
            text=found.text,
            rows=found.rows,
            culprit=found.culprit,
            first_layer=found.first_layer,
            profile=found.profile,
            codes=found.codes,
            notes=found.notes,
        )

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show a finding as its text alone; `--tb=long` and `--full-trace` give the traceback."""
        wanted = self.config.getoption("tbstyle", default="auto") == "long" or self.config.getoption(
            "fulltrace", default=False
        )
        if isinstance(excinfo.value, (CheckFailed, SpecError, NoRoomError)) and not wanted:
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Name the item where a test's file and line would stand."""
        words = " ".join(
            part for part in (self.check.name, self.variant.words, *_options(self.check, self.spec)) if part
        )
        return self.path, None, f"{self.spec.name} {words}"


def _ran_on(case: Case | None) -> tuple[str, str, str]:
    """Return the names of the device, the dtype and the attention backend that a model runs with."""
    if case is None:
        return "", "", ""
    from pytest_decoderonly.compare.precision import device_of, dtype_name, dtype_of
    from pytest_decoderonly.devices import shown_device

    attention = getattr(getattr(case.model, "config", None), "_attn_implementation", None)
    return (
        shown_device(device_of(case.model)),
        dtype_name(dtype_of(case.model)),
        str(attention or ""),
    )
