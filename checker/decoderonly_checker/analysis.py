"""From files to diagnostics: run the interpreter, ask the rules, look up places."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from decoderonly_checker.diagnostics import Diagnostic, FileError, Related, without_duplicates
from decoderonly_checker.source.files import DifferenceError, SourceFile, load_source
from decoderonly_checker.source.stack import on_deep_stack

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping, Sequence

    from decoderonly_checker.config import Settings
    from decoderonly_checker.diagnostics import Confidence, Fix, Place
    from decoderonly_checker.fixes.proposals import Proposal
    from decoderonly_checker.flow.facts import Facts
    from decoderonly_checker.flow.project import Module
    from decoderonly_checker.flow.values import Site
    from decoderonly_checker.knowledge.declared import Declared
    from decoderonly_checker.rules.base import Finding, Rule
    from decoderonly_checker.source.files import Cell
    from decoderonly_checker.source.positions import Positions

T = TypeVar("T")


class Analyser:
    """Analyses files together, so that facts flow between them.

    `errors` holds, after a run, what went wrong inside the analysis: one entry a file, never an exception. `read` holds the
    bytes of the modules that were followed into, and `missed` the files that would have been, had they been there.
    `hurried` says that some file took too long.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        roots: Sequence[Path] | None = None,
        timeout: float | None = None,
        settings: Settings | None = None,
        *,
        stop: Callable[[], bool] | None = None,
        load: Callable[[Path], SourceFile] = load_source,
    ) -> None:
        """Look for what `rules` say.

        Args:
            rules: What to look for.
            roots: The folders below which modules are found.
            timeout: The seconds that a file may take at most.
            settings: Where the project declares its own models and tokenizers.
            stop: Asked again and again whether to give up: `analyse` then ends with `flow.clock.Stopped`.
            load: Reads modules that are followed into.
        """
        self._settings = settings
        self._rules = list(rules)
        self._timeout = timeout
        self._stop = stop
        self._load = load
        self._roots = list(roots) if roots else [Path.cwd()]
        self._positions: dict[Path, Positions] = {}
        self._overdue: set[Path] = set()
        self._idle: Mapping[Path, Container[str]] = {}
        self._plain: set[Path] = set()
        self._modules: Sequence[Module] = ()
        self._linked: list[object] = []
        self.errors: list[FileError] = []
        self.read: dict[Path, bytes] = {}
        self.missed: list[str] = []
        self.hurried = False

    def analyse(
        self, sources: Sequence[SourceFile], idle: Mapping[Path, Container[str]] | None = None
    ) -> list[Diagnostic]:
        """Return the findings in `sources` and in what they call, in source order, each place and code once (the surest).

        Args:
            sources: Files that are looked at together.
            idle: The names of a file's top level that are known to lead to no finding by themselves.
        """
        self._idle = idle or {}
        # Modules that import modules, and calls that are followed into calls, nest deeper than Python's usual limit.
        try:
            return self._with_true_trees(sources, lambda: self._analyse(sources))
        finally:
            # They hold each other: to look for that takes Python as long as a tenth of the analysis.
            for one in self._linked:
                vars(one).clear()
            self._linked.clear()
            self._modules = ()

    def facts(self, sources: Sequence[SourceFile]) -> Facts:
        """Return what the interpreter saw in `sources`, for rules and for explanations."""

        def work() -> Facts:
            facts = self._facts(sources)
            for module in self._modules:
                for cell in module.source.cells:
                    _ = cell.tree  # whoever asks for facts asks for places
            self._linked.clear()  # they are still needed
            return facts

        return self._with_true_trees(sources, work)

    def _with_true_trees(self, sources: Sequence[SourceFile], work: Callable[[], T]) -> T:
        """Do some work, again where trees turned out not to be libcst's, then with its own."""
        while True:
            before = [*self.errors], {*self._overdue}, self.hurried
            try:
                result = on_deep_stack(work, recursion_limit=20_000)
            except DifferenceError:
                if not self._new_plain(sources):
                    raise
            else:
                if not self._new_plain(sources):
                    return result
            self.errors, self._overdue, self.hurried = before
            self._positions.clear()

    def _new_plain(self, sources: Sequence[SourceFile]) -> bool:
        """Keep the files whose trees cannot be made from Python's; return whether that was not known."""
        files = [*sources, *(module.source for module in self._modules)]
        found = {one.path for one in files if any(cell.foreign for cell in one.cells)} - self._plain
        self._plain |= found
        return bool(found)

    def _loaded(self, path: Path) -> SourceFile:
        source = self._load(path)
        if source.path in self._plain:
            for cell in source.cells:
                cell.plainly()
        return source

    def _facts(self, sources: Sequence[SourceFile]) -> Facts:
        from decoderonly_checker.flow.clock import Clock
        from decoderonly_checker.flow.interpreter import Interpreter
        from decoderonly_checker.flow.project import Project
        from decoderonly_checker.flow.state import Store

        store = Store()
        clock = Clock(self._timeout, self._stop)
        project = Project(self._loaded, store.new_id, self._roots)
        interpreter = Interpreter(store, project, clock, self._declared())
        self._linked += [store, project, interpreter]
        interpreter.run_entries([project.add(source) for source in sources], self._idle)
        self._modules = project.modules
        self._linked += self._modules
        given = {source.path for source in sources}
        self.read |= {m.path: m.source.data for m in project.modules if m.path not in given}
        self.read |= dict.fromkeys(project.failed, b"")
        self.missed += project.missed
        for module, problem in interpreter.failures.items():
            self.errors.append(FileError(module.source.shown, problem))
        self.hurried |= bool(clock.overdue)
        for module in clock.overdue:
            # What was seen so far may be half a story: a finding made of it may be wrong.
            self._overdue.add(module.path)
            self.errors.append(
                FileError(module.source.shown, f"took over {self._timeout:g} s: skipped (see --timeout)")
            )
        for module in dict.fromkeys(interpreter.exhausted):
            if module in clock.overdue:
                continue
            self.errors.append(
                FileError(module.source.shown, "too much to follow: some findings may be missing")
            )
        interpreter.facts.objects = store.heap()
        return interpreter.facts

    def _declared(self) -> Declared | None:
        known = self._settings
        if known is None or not (known.known_models or known.known_tokenizers):
            return None
        from decoderonly_checker.knowledge.declared import Declared

        return Declared(known.known_models, known.known_tokenizers)

    def _analyse(self, sources: Sequence[SourceFile]) -> list[Diagnostic]:
        facts = self._facts(sources)
        return without_duplicates(
            self._diagnostic(rule, finding) for rule in self._rules for finding in self._findings(rule, facts)
        )

    def _findings(self, rule: Rule, facts: Facts) -> list[Finding]:
        """Return what a rule finds. It looks again where it looked at code that did not look like the text yet."""
        while True:
            found = [one for one in rule.check(facts) if one.site.source.path not in self._overdue]
            fresh = {cell for one in found for cell in _cells(one) if not cell.dressed}
            if not fresh:
                return found
            for cell in fresh:
                _ = cell.tree
            if any(not cell.dressed for cell in fresh):
                return found

    def _diagnostic(self, rule: Rule, finding: Finding) -> Diagnostic:
        place = self.place(finding.site)
        related: list[Related] = []
        for site, message in finding.related:
            entry = Related(self.place(site), message)
            if entry not in related:
                related.append(entry)
        return Diagnostic(
            rule.code,
            rule.name,
            finding.severity,
            finding.confidence,
            place,
            finding.message,
            finding.effect,
            finding.help,
            finding.label,
            tuple(related),
            None if finding.fix is None else self._fix(finding.fix, finding.confidence),
        )

    def _fix(self, proposal: Proposal, sure: Confidence) -> Fix | None:
        from decoderonly_checker.fixes.edits import fix_of

        return fix_of(proposal, sure, self.place)

    def place(self, site: Site) -> Place:
        """Return the span of a site."""
        from decoderonly_checker.source.positions import Positions

        positions = self._positions.get(site.source.path)
        if positions is None:
            positions = self._positions[site.source.path] = Positions(site.source)
        return positions.place(site.cell, site.node)


def _cells(finding: Finding) -> Iterator[Cell]:
    """Yield the cells that a finding speaks of."""
    sites = [finding.site, *(site for site, _ in finding.related)]
    for step in finding.fix.steps if finding.fix is not None else ():
        sites += [step.site] if step.inner is None else [step.site, step.inner]
    for site in sites:
        yield site.source.cell(site.cell)
