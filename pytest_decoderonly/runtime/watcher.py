"""From raw calls to findings: the recorder hears every call, the watcher of the moment keeps what is found.

Nothing here may reach the user's call: every entry point catches its own faults, which are told once, after
the block or the test.
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import linecache
import threading
import traceback
import warnings
import weakref
from typing import TYPE_CHECKING, Any, Protocol

from pytest_decoderonly.runtime import events, ids, patches, reading
from pytest_decoderonly.runtime.checks import checks_of
from pytest_decoderonly.runtime.frames import Caller, CallPlace, caller, user_places
from pytest_decoderonly.runtime.made import Made
from pytest_decoderonly.runtime.provenance import Log
from pytest_decoderonly.runtime.report import DecoderOnlyWarning
from pytest_decoderonly.runtime.runs import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from pytest_decoderonly.runtime.report import Finding

_numbers = itertools.count(1)
_MOST_PENDING = 64
_LONGEST_CHAIN = 16


class Watcher:
    """Collects what is found while it is the innermost one.

    Args:
        origin: Stands in for a place where a call came from a thread that runs no code of the user's.
        accepts: Codes that are expected here; `*` accepts all.
        is_off: Tells of a code whether nobody wants to hear of it.
    """

    def __init__(
        self,
        origin: str = "",
        accepts: frozenset[str] = frozenset(),
        is_off: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self.number = next(_numbers)
        self.findings: list[Finding] = []
        self.accepted_findings: list[Finding] = []
        self.calls = 0
        self.accepted = 0
        self.suppressed = 0
        self.faults: list[str] = []
        self.around: Watcher | None = None
        self._origin = origin
        self._accepts = accepts
        self._is_off = is_off
        self._by_place: dict[tuple[str, str, int], Finding] = {}
        self._pending: list[tuple[int, str, Finding]] = []
        self.run = Run()

    def pend(self, error: BaseException, finding: Finding) -> None:
        """Keep a finding that explains an exception, for when that exception ends the block or the test."""
        if len(self._pending) < _MOST_PENDING:
            self._pending.append((id(error), str(error), finding))

    def failed(self, error: BaseException) -> None:
        """Tell that an exception ended the block or the test: what explains it is a finding now."""
        cause: BaseException | None = error
        for _ in range(_LONGEST_CHAIN):
            if cause is None:
                return
            for known, text, finding in self._pending:
                if known == id(cause) and text == str(cause):
                    self.add(finding)
            cause = cause.__cause__ or cause.__context__

    def conclude(self) -> None:
        """Judge what only the whole of a block or a test shows."""
        with recorder().shielded:
            for check in checks_of("on_run"):
                finding = check.on_run(self.run)
                if finding is not None:
                    self.add(finding)
            self.run = Run()

    def add(self, finding: Finding) -> None:
        """Keep a finding, or raise the count of the one that is already known at its place."""
        place = finding.place
        key = (finding.code, place.path if place else "", place.line if place else 0)
        known = self._by_place.get(key)
        if known is not None:
            known.count += finding.count
        elif self._is_off(finding.code):
            return
        elif finding.code in self._accepts or "*" in self._accepts:
            self.accepted += 1
            self._by_place[key] = finding
            self.accepted_findings.append(finding)
        elif any(_is_suppressed(finding, at) for at in (place, *finding.also_at) if at is not None):
            self.suppressed += 1
        else:
            finding.origin = self._origin
            self._by_place[key] = finding
            self.findings.append(finding)

    def take(self, inner: Watcher) -> None:
        """Take over what a block inside this one counted, and found but did not accept."""
        self.calls += inner.calls
        self.accepted += inner.accepted
        self.suppressed += inner.suppressed
        self.faults += [fault for fault in inner.faults if fault not in self.faults]
        for finding in inner.findings:
            self.add(finding)

    def within(self, accepts: frozenset[str]) -> Watcher:
        """Return a watcher for a block inside this one's."""
        return Watcher(self._origin, accepts, self._is_off)

    def warn_of_faults(self) -> None:
        """Tell the first fault of the guard itself as a warning; the call was left alone."""
        if self.faults:
            more = f" ({len(self.faults) - 1} more)" if len(self.faults) > 1 else ""
            message = f"the decoderonly guard failed on a call; please report this{more}: {self.faults[0]}"
            self.faults.clear()
            with warnings.catch_warnings():
                # Under `-W error` a fault of ours would become the user's failure.
                warnings.simplefilter("always", DecoderOnlyWarning)
                warnings.warn(DecoderOnlyWarning(message), stacklevel=4)


class Listener(Protocol):
    """Is told of every `generate` call of the program, of all threads."""

    def begins(
        self, who: Caller, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Callable[[Any, BaseException | None], None] | None:
        """Read a call before it runs; returns what is to be told of its result or error."""


@contextlib.contextmanager
def _shielded_listener() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        with warnings.catch_warnings():
            warnings.simplefilter("always", DecoderOnlyWarning)
            warnings.warn(
                DecoderOnlyWarning(f"a generate call could not be recorded; please report this: {error!r}"),
                stacklevel=2,
            )


class _Shield:
    """Keeps a fault of the guard from the user's call. Quicker than a generator, and entered at every call."""

    __slots__ = ("_recorder",)

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __enter__(self) -> None:
        """Begin to read."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Keep a fault, and let what ends the program pass."""
        if isinstance(error, Exception):
            self._recorder.fault(error)
            return True
        return False


class Recorder:
    """Hears the guarded calls of all threads; what one test generated, another may decode."""

    def __init__(self) -> None:
        self._log = Log()
        self._lock = threading.RLock()
        self._watchers: list[Watcher] = []
        # Blocks of asyncio tasks and of threads may be open side by side: each has its own.
        self._own: contextvars.ContextVar[Watcher | None] = contextvars.ContextVar(
            "decoderonly", default=None
        )
        self._listeners: list[Listener] = []
        self.local = threading.local()
        self.made = Made()
        self.shielded = _Shield(self)

    @property
    def active(self) -> bool:
        """Whether anybody watches."""
        return bool(self._watchers)

    @property
    def heard(self) -> bool:
        """Whether anybody listens to `generate` calls, beside or without a watcher."""
        return bool(self._listeners)

    def enter(self, watcher: Watcher) -> None:
        """Make `watcher` the innermost one; the first one puts the wrappers in place."""
        self._join(self._watchers, watcher)
        watcher.around = self._own.get()
        self._own.set(watcher)

    def leave(self, watcher: Watcher) -> None:
        """Take `watcher` out; the last one restores what was wrapped."""
        self._part(self._watchers, watcher)
        if self._own.get() is watcher:
            self._own.set(watcher.around)
        watcher.around = None

    def watch_within(self, accepts: frozenset[str]) -> Watcher:
        """Make a watcher for a block inside the innermost one's, or by itself, the innermost one."""
        watcher = self.watcher.within(accepts) if self.watcher is not None else Watcher(accepts=accepts)
        self.enter(watcher)
        return watcher

    def listen(self, listener: Listener) -> None:
        """Tell `listener` of every `generate` call from now on."""
        self._join(self._listeners, listener)

    def unlisten(self, listener: Listener) -> None:
        """Tell it no more."""
        self._part(self._listeners, listener)

    def _join(self, members: list[Any], member: Any) -> None:
        with self._lock:
            if not (self._watchers or self._listeners):
                patches.install(self)
            members.append(member)

    def _part(self, members: list[Any], member: Any) -> None:
        with self._lock:
            if member in members:
                members.remove(member)
            if not (self._watchers or self._listeners):
                patches.uninstall()

    @contextlib.contextmanager
    def hearing(
        self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Iterator[Callable[[Any], None]]:
        """Tell the listeners that a call begins and how it ends; yields what takes its result.

        A listener's own fault is a warning and never the user's.
        """
        ends = []
        for listener in list(self._listeners):
            with _shielded_listener():
                who = caller(depth=3)
                end = None if who.ours else listener.begins(who, model, args, kwargs)
                if end is not None:
                    ends.append(end)

        def tell(result: Any, error: BaseException | None = None) -> None:
            for end in ends[::-1]:
                with _shielded_listener():
                    end(result, error)

        try:
            yield tell
        except BaseException as error:
            tell(None, error)
            raise

    @contextlib.contextmanager
    def inside(self, what: str) -> Iterator[bool]:
        """Mark this thread as inside a guarded call; yields whether it is the outermost of its kind."""
        depth = getattr(self.local, what, 0)
        setattr(self.local, what, depth + 1)
        try:
            yield depth == 0
        finally:
            setattr(self.local, what, depth)

    @property
    def watcher(self) -> Watcher | None:
        """The innermost watcher of this task or thread; where that has none, the one that was entered last."""
        own = self._own.get()
        watchers = self._watchers
        if own is not None and own in watchers:
            return own
        return watchers[-1] if watchers else None

    def generate_begins(
        self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> events.GenerateCall | Caller | None:
        """Read the arguments of a generate call before it runs.

        Returns:
            The call; of an encoder-decoder, who called it; None where there is nothing to judge.
        """
        with self.shielded:
            who = caller()
            if who.ours or (getattr(self.local, "generate", 0) > 1 and not who.direct):
                return None  # our own experiments, and assistants that a generate runs by itself
            if reading.is_encoder_decoder(model):
                return who
            with self._lock:
                call = reading.generate_call(who, model, args, kwargs, self._log)
            if call is not None:
                call.echo = self.made.echo(kwargs.get("streamer"))
                call.places = user_places() if call.limits is not None and call.limits.max_length else ()
            return call
        return None  # after a fault

    def generate_ended(
        self,
        call: events.GenerateCall | Caller,
        model: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Any,
    ) -> None:
        """Judge a generate call that returned, and remember what it returned."""
        with self.shielded, self._lock:
            if self.watcher is None:
                return
            self.watcher.calls += 1
            if isinstance(call, Caller):
                encoded = reading.encoded(call, model, args, kwargs, result=result, log=self._log)
                if encoded is not None:
                    self._log.add_encoded(encoded)
                return
            event = reading.generated(call, result)
            self.judge("on_generate", call)
            if event is not None:
                event.block = self.watcher.number
                self._log.add_generated(event)

    def own_generate_ended(
        self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        """Remember what a `generate` of the program's own making returned: a tokenizer's rows, and more behind them.

        What it does with masks and padding is its own business, and not judged.
        """
        with self.shielded:
            who = caller()
            tensor = getattr(result, "sequences", result)
            if who.ours or not reading.decodes_only(model):
                return
            with self._lock:
                if self._log.returned(tensor):
                    return  # by the library's, which it called
                call = reading.generate_call(who, model, args, kwargs, self._log)
                if call is None or call.tokenized is None or self.watcher is None:
                    return
                event = reading.generated(call, result)
                if event is not None:
                    event.block = self.watcher.number
                    self._log.add_generated(event)

    def tokenized(
        self, tokenizer: Any, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        """Remember what a tokenizer call returned."""
        with self.shielded:
            if getattr(self.local, "generate", 0):
                return
            who = caller()
            with self._lock:
                if method == "apply_chat_template" and not hasattr(result, "keys"):
                    reading.rendered(args, kwargs, result, who.place, self._log)
                event = reading.tokenized(tokenizer, method, args, kwargs, result, who=who, log=self._log)
                if event is not None:
                    self._log.add_tokenized(event)

    def not_tokenized(self, tokenizer: Any, error: BaseException) -> None:
        """Keep what explains a tokenizer's exception, should it be what ends the test."""
        with self.shielded:
            who = caller()
            if who.ours or self.watcher is None:
                return
            for check in checks_of("on_tokenize_error"):
                finding = check.on_tokenize_error(tokenizer, error, who)
                if finding is not None:
                    self.watcher.pend(error, finding)

    def decoded(self, tokenizer: Any, method: str, value: Any) -> None:
        """Judge a call of decode or batch_decode that returned."""
        with self.shielded:
            who = caller()
            if who.ours:
                return
            with self._lock:
                if self.watcher is None:
                    return
                self.watcher.calls += 1
                if not self._log.followed or self._log.cut_rightly(value):
                    return
                rows = ids.rows_of(value)
                if not rows:
                    rows, held = ([b""], [value]) if reading.is_empty(value) else ([], [])
                else:
                    held = reading.row_objects(value, len(rows))
                found = [
                    (number, self._log.carried_prompt(row, held[number]), self._log.cut(row, held[number]))
                    for number, row in enumerate(rows)
                ]
                matches = [(number, match) for number, match, _ in found if match is not None]
                cuts = [(number, cut) for number, match, cut in found if cut is not None and match is None]
                if not matches and not cuts:
                    return
                text_of = reading.decoder(weakref.ref(tokenizer))
                places = user_places()
                call = events.DecodeCall(who, method, rows, matches, text_of, cuts, places, self._log)
                self.judge("on_decode", call)

    def forward_begins(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Judge a call of a model's forward by its arguments."""
        with self.shielded:
            who = caller()
            if who.ours or not reading.decodes_only(model):
                return
            with self._lock:
                watcher = self.watcher
                call = reading.forward_call(who, model, args, kwargs, places=user_places(), log=self._log)
                if call is None or watcher is None:
                    return
                watcher.calls += 1
                watcher.run.add(call)
                self.judge("on_forward", call)

    def rendered_by_processor(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Remember the texts that a processor's chat template made."""
        with self.shielded:
            place = caller().place
            with self._lock:
                reading.rendered(args, kwargs, result, place, self._log)

    def was_made(self, thing: Any, given: frozenset[str]) -> None:
        """Remember where an object was made, and which options were written out there."""
        with self.shielded:
            self.made.add(thing, caller().place, given)

    def piped(self, pipe: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Judge a call of a text-generation pipeline that returned."""
        with self.shielded:
            who = caller()
            call = reading.pipeline_call(who, pipe, args, kwargs, places=user_places(), result=result)
            if call is None:
                return
            call.made_at = self.made.place(pipe)
            with self._lock:
                self.judge("on_pipeline", call)

    def labels_given(self, collator: Any, examples: Any) -> list[list[int]] | None:
        """Read the labels of a collator's examples, which it may overwrite."""
        with self.shielded:
            return reading.labels_of(examples) if not collator.mlm else None
        return None  # after a fault

    def collated(self, collator: Any, labels: list[list[int]], batch: Any) -> None:
        """Judge a collator's batch against the labels that it got."""
        with self.shielded:
            who = caller()
            call = reading.collator_call(who, collator, labels, batch)
            if who.ours or call is None:
                return
            call.made_at = self.made.place(collator)
            with self._lock:
                self.judge("on_collate", call)

    def judge(self, hook: str, call: Any) -> None:
        """Ask every check for this kind of event, and keep what is found; a fault in one keeps no other from being asked."""
        for check in checks_of(hook):
            with self.shielded:
                finding = getattr(check, hook)(call)
                if finding is not None and self.watcher is not None:
                    self.watcher.add(finding)

    def fault(self, error: Exception) -> None:
        """Keep a fault of the guard, to be told once behind the block or the test."""
        last = traceback.extract_tb(error.__traceback__)[-1]
        fault = f"{type(error).__name__}: {error} ({last.name}, line {last.lineno} of {last.filename})"
        if self.watcher is not None and fault not in self.watcher.faults:
            self.watcher.faults.append(fault)


_recorder = Recorder()


def recorder() -> Recorder:
    """Return the recorder of this process."""
    return _recorder


def _is_suppressed(finding: Finding, place: CallPlace) -> bool:
    """Whether a comment on the lines of the call silences this code there, as it would for the checker."""
    from decoderonly_checker.suppress import Suppressions

    text = "".join(linecache.getlines(place.path))
    if not text or ("decoderonly" not in text and "noqa" not in text):
        return False
    suppressions = Suppressions.read(text)
    lines = range(place.line, place.end_line + 1)
    return any(suppressions.covers(finding.code, line, finding.name, guard=True) for line in lines)
