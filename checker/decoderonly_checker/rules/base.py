"""What every rule is: documentation, examples, and a function from facts to findings."""

from __future__ import annotations

import inspect
import json
import textwrap
from abc import ABC, abstractmethod
from dataclasses import field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from decoderonly_checker.immutable import immutable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from decoderonly_checker.comments import Comments
    from decoderonly_checker.diagnostics import Confidence, Diagnostic, Severity
    from decoderonly_checker.fixes.proposals import Proposal
    from decoderonly_checker.flow.facts import Facts
    from decoderonly_checker.flow.values import Site


@immutable
class Finding:
    """What a rule found, before places are looked up. `related` is the chain of facts in program order."""

    site: Site
    message: str
    effect: str
    help: str
    confidence: Confidence
    severity: Severity
    label: str = ""
    related: tuple[tuple[Site, str], ...] = field(default=())
    fix: Proposal | None = None


@immutable
class Measured:
    """What came out when both examples of a rule were run, and on which model. Generated, never written by hand."""

    model: str
    bad: str
    good: str


@immutable
class Reference:
    """Where others met the mistake, or a library says what the rule rests on: what is said there, and its address."""

    title: str
    url: str


@cache
def _measured() -> dict[str, Measured]:
    text = Path(__file__).with_name("measured.json").read_text(encoding="utf-8")
    return {code: Measured(**entry) for code, entry in json.loads(text).items()}


class Rule(ABC):
    """One rule of the catalogue. The class docstring is its published documentation (Markdown).

    `bad` and `good` are runnable programs: the first must be reported with this code, the second must not be
    reported at all. `unseen` says why the runtime guard cannot see what the bad one does; empty where it does.
    `references` are public threads and pages or lines of libraries that support what the rule says, at least one.
    """

    severity: ClassVar[Severity]
    since: ClassVar[str] = "0.1.0"
    """The first version that has it."""
    unseen: ClassVar[str] = ""
    references: ClassVar[tuple[Reference, ...]]
    bad: ClassVar[str]
    good: ClassVar[str]
    wanted: ClassVar[Mapping[str, Any]] = {}
    """The settings under which it reports anything, where those are not the defaults."""

    def __init__(self, code: str, name: str) -> None:
        self.code = code
        self.name = name

    def __init_subclass__(cls) -> None:
        """Keep the examples free of the indentation they are written with."""
        for attribute in ("bad", "good"):
            if attribute in vars(cls):
                setattr(cls, attribute, textwrap.dedent(getattr(cls, attribute)).lstrip("\n"))

    @property
    def documentation(self) -> str:
        """The rule's documentation in Markdown."""
        return inspect.cleandoc(type(self).__doc__ or "")

    @property
    def measured(self) -> Measured | None:
        """What running the examples showed, where it was measured."""
        return _measured().get(self.code)

    @abstractmethod
    def check(self, facts: Facts) -> Iterable[Finding]:
        """Yield what this rule finds in the facts of a run."""


class CommentRule(Rule):
    """A rule about the comments that silence others. It reads no facts, and is asked when all findings are known.

    `needs_findings`: it says nothing where not all of them are known.
    """

    needs_findings: ClassVar[bool] = True

    def check(self, facts: Facts) -> Iterable[Finding]:  # noqa: ARG002 - the same for all rules
        """Find nothing: source code does not show it."""
        return ()

    @abstractmethod
    def check_comments(self, comments: Comments) -> Iterable[Diagnostic]:
        """Yield what this rule finds in the comments of a file."""


class RuntimeRule(Rule):
    """A rule that only running code can judge. The checker knows its code and its page, and finds nothing."""

    def check(self, facts: Facts) -> Iterable[Finding]:  # noqa: ARG002 - the same for all rules
        """Find nothing: source code does not show it."""
        return ()
