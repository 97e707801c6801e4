"""The guard as a block: what runs inside is watched, and what was found is raised or warned of at its end."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, cast

from pytest_decoderonly.modes import GuardMode, RuleModes, read_rule_modes
from pytest_decoderonly.runtime.frames import user_places
from pytest_decoderonly.runtime.report import plural, warn
from pytest_decoderonly.runtime.watcher import Watcher, recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from pytest_decoderonly.runtime.report import Finding

_P = ParamSpec("_P")
_R = TypeVar("_R")

BlockMode = Literal["error", "warn", "collect", "off"]
_MODES: tuple[BlockMode, ...] = ("error", "warn", "collect", "off")


class DecoderOnlyError(Exception):
    """What the guard found in a block, raised at its end.

    Attributes:
        findings: The findings, in the order in which they were made.
    """

    def __init__(self, findings: Sequence[Finding]) -> None:
        reports = "\n\n".join(map(str, findings))
        super().__init__(f"{plural(len(findings), 'mistake')} in the guarded block\n\n{reports}")
        self.findings = tuple(findings)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.findings,)


DecoderOnlyError.__module__ = "pytest_decoderonly"  # where it is public, and what tracebacks show


class Guarded:
    """What the guard saw in one block. It fills while the block runs, and may be read behind it.

    Attributes:
        findings: One a code and place, each with its count, in the order in which they were made. What only a whole run
            of training shows (DLM309) is added at the end of the block.
    """

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self.findings: list[Finding] = watcher.findings

    def __repr__(self) -> str:
        found = "".join(f"; {finding.summary}" for finding in self.findings)
        return f"<{plural(self.calls, 'call')} checked, {plural(len(self.findings), 'finding')}{found}>"

    @property
    def calls(self) -> int:
        """How many calls were judged; 0 says that nothing of transformers was called."""
        return self._watcher.calls

    @property
    def suppressed(self) -> int:
        """How many findings a comment silenced."""
        return self._watcher.suppressed

    def as_dicts(self) -> list[dict[str, Any]]:
        """Return the findings as plain data, with the fields of the checker's JSON (docs/reference/json.md)."""
        from pytest_decoderonly.runtime.data import as_dict

        return [as_dict(finding) for finding in self.findings]


class guard:  # noqa: N801 - used as `with guard():` and `@guard()`, as a function is
    """Watch the calls of transformers models, tokenizers, pipelines and collators that a block makes.

    At the end of the block each finding is raised or warned of, with the line that made the mistake and the chain of calls
    that led there. Nothing that the block computes is changed. A comment such as `# decoderonly: ignore[DLM201] why` at
    the line silences one. Calls of threads that the block starts are seen too. Blocks may be nested and
    may be open in several asyncio tasks or threads at once: a finding goes to the innermost block of the task or
    thread that made the call; of a thread without a block of its own, to the block that was entered last.

    Where an exception ends the block, that exception passes on as it is, and the findings are warned of.

    As a decorator, every call of the function (or coroutine function) is a block of its own.

    Args:
        mode: `"error"` raises what makes a result wrong and warns of hazards, `"warn"` warns of all, `"collect"` says
            nothing and leaves the findings to the reader of the object that the block yields, `"off"` does not watch.
        rules: Modes of single rules by code or beginning of codes, `{"DLM106": "off", "DLM2": "warn"}`.

    Yields:
        A `Guarded`, whose `findings` are the list.

    Raises:
        DecoderOnlyError: At the end of the block, with all findings that are errors in this mode.
        ValueError: A mode or a code that there is none of.
        RuntimeError: The same object is entered again while its block runs.

    Example:
        >>> with guard() as found:
        ...     answer = ask(model, tokenizer, "Why?")
        >>> found
        <3 calls checked, 0 findings>
    """

    def __init__(self, mode: BlockMode = "error", *, rules: Mapping[str, GuardMode] | None = None) -> None:
        if mode not in _MODES:
            raise ValueError(f"mode: expected one of {', '.join(_MODES)}, got {mode!r}")
        self._mode: BlockMode = mode
        self._rules = RuleModes(tuple(read_rule_modes(rules or {}, "rules").items()))
        self._watcher: Watcher | None = None

    def __enter__(self) -> Guarded:
        if self._watcher is not None:
            raise RuntimeError(
                "this guard's block is running: make another with guard() for a block inside it"
            )
        self._watcher = Watcher(is_off=self._rules.is_off)
        if self._mode != "off":
            recorder().enter(self._watcher)
        return Guarded(self._watcher)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        __tracebackhide__ = True
        watcher, self._watcher = cast("Watcher", self._watcher), None
        if self._mode == "off":
            return
        try:
            if error is not None:
                watcher.failed(error)
            watcher.conclude()
        finally:
            recorder().leave(watcher)
        watcher.warn_of_faults()
        if self._mode == "collect":
            return
        mode: GuardMode = self._mode
        fatal = [] if error is not None else [f for f in watcher.findings if self._rules.is_fatal(f, mode)]
        here = user_places(limit=1)
        for finding in watcher.findings:
            if finding not in fatal:
                warn(finding, (here[0].path, here[0].line) if here else (finding.where, 0))
        if fatal:
            raise DecoderOnlyError(fatal)

    def __call__(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        """Guard every call of a function.

        Raises:
            TypeError: It is a generator function, whose calls run nothing, or no function.
        """
        if (
            not callable(function)
            or inspect.isgeneratorfunction(function)
            or inspect.isasyncgenfunction(function)
        ):
            raise TypeError(f"guard() decorates functions and coroutine functions, got {function!r}")
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def guarded_coroutine(*args: Any, **kwargs: Any) -> Any:
                __tracebackhide__ = True
                with self._another():
                    return await function(*args, **kwargs)

            return cast("Callable[_P, _R]", guarded_coroutine)

        @functools.wraps(function)
        def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            __tracebackhide__ = True
            with self._another():
                return function(*args, **kwargs)

        return guarded

    def _another(self) -> guard:
        return guard(self._mode, rules=dict(self._rules.modes))
