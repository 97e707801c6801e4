"""From raw calls to findings: the recorder hears every call, the watcher of the moment keeps what is found.

Nothing here may reach the user's call: every entry point catches its own faults, which are told once, after
the block or the test.
"""

from __future__ import annotations

import contextlib
import linecache
import threading
import traceback
import warnings
import weakref
from typing import TYPE_CHECKING, Any, Protocol, cast

from pytest_decoderonly.guard import events, ids, patches
from pytest_decoderonly.guard.checks import all_checks
from pytest_decoderonly.guard.frames import Caller, CallPlace, caller
from pytest_decoderonly.guard.provenance import Generated, Log, Padding, Tokenized
from pytest_decoderonly.guard.report import DecoderOnlyWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_decoderonly.guard.report import Finding

_STATELESS = ("encoder_outputs", "encoder_hidden_states", "decoder_input_ids")


class Watcher:
    """Collects what is found while it is the innermost one.

    Args:
        origin: Stands in for a place where a call came from a thread that runs no code of the user's.
        accepts: Codes that are expected here; `*` accepts all.
    """

    def __init__(self, origin: str = "", accepts: frozenset[str] = frozenset()) -> None:
        self.findings: list[Finding] = []
        self.calls = 0
        self.accepted = 0
        self.suppressed = 0
        self.faults: list[str] = []
        self._origin = origin
        self._accepts = accepts
        self._by_place: dict[tuple[str, str, int], Finding] = {}

    def add(self, finding: Finding) -> None:
        """Keep a finding, or raise the count of the one that is already known at its place."""
        place = finding.place
        key = (finding.code, place.path if place else "", place.line if place else 0)
        known = self._by_place.get(key)
        if known is not None:
            known.count += 1
        elif finding.code in self._accepts or "*" in self._accepts:
            self.accepted += 1
        elif place is not None and _is_suppressed(finding, place):
            self.suppressed += 1
        else:
            finding.origin = self._origin
            self._by_place[key] = finding
            self.findings.append(finding)

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


class Recorder:
    """Hears the guarded calls of all threads; what one test generated, another may decode."""

    def __init__(self) -> None:
        self._log = Log()
        self._lock = threading.RLock()
        self._watchers: list[Watcher] = []
        self._listeners: list[Listener] = []
        self._local = threading.local()

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

    def leave(self, watcher: Watcher) -> None:
        """Take `watcher` out; the last one restores what was wrapped."""
        self._part(self._watchers, watcher)

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
        depth = getattr(self._local, what, 0)
        setattr(self._local, what, depth + 1)
        try:
            yield depth == 0
        finally:
            setattr(self._local, what, depth)

    def generate_begins(
        self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> events.GenerateCall | None:
        """Read the arguments of a generate call before it runs. None: nothing to judge."""
        with self._shielded():
            who = caller()
            if who.ours or (getattr(self._local, "generate", 0) > 1 and not who.direct):
                return None  # our own experiments, and assistants that a generate runs by itself
            return self._read_generate(who, model, args, kwargs)
        return None  # type: ignore[unreachable]  # reached after a fault

    def generate_ended(self, call: events.GenerateCall, model: Any, result: Any) -> None:
        """Judge a generate call that returned, and remember what it returned."""
        with self._shielded(), self._lock:
            watcher = self._watcher()
            if watcher is None:
                return
            watcher.calls += 1
            for check in all_checks():
                finding = check.on_generate(call)
                if finding is not None:
                    watcher.add(finding)
            event = self._remembered(call, model, result)
            if event is not None:
                self._log.add_generated(event)

    def tokenized(self, tokenizer: Any, method: str, result: Any) -> None:
        """Remember what a tokenizer call returned."""
        with self._shielded():
            if getattr(self._local, "generate", 0):
                return
            data = getattr(result, "data", result)
            mask = None
            if isinstance(data, dict):
                mask, data = data.get("attention_mask"), data.get("input_ids")
            rows = None if data is None or isinstance(data, str) else ids.rows_of(data)
            if not rows:
                return
            event = Tokenized(
                place=caller().place,
                method=method,
                tokenizer=weakref.ref(tokenizer),
                hashes=tuple(map(hash, rows[:256])),
                padding=events.padding_by_mask(mask, rows) if mask is not None else None,
                row_count=len(rows),
                width=max(map(ids.width, rows)),
                padding_side=str(getattr(tokenizer, "padding_side", "right")),
                pad_token_id=_token_id(tokenizer, "pad_token"),
                eos_token_id=_token_id(tokenizer, "eos_token"),
                pad_token=getattr(tokenizer, "pad_token", None) if _has(tokenizer, "pad_token") else None,
            )
            with self._lock:
                self._log.add_tokenized(event)

    def decoded(self, tokenizer: Any, method: str, value: Any) -> None:
        """Judge a call of decode or batch_decode that returned."""
        with self._shielded():
            who = caller()
            if who.ours:
                return
            rows = ids.rows_of(value)
            with self._lock:
                watcher = self._watcher()
                if watcher is None:
                    return
                watcher.calls += 1
                if not rows:
                    return
                held = _row_objects(value, len(rows))
                hits = (
                    (number, self._log.carried_prompt(row, held[number])) for number, row in enumerate(rows)
                )
                matches = [(number, match) for number, match in hits if match is not None]
                if not matches:
                    return
                call = events.DecodeCall(who, method, rows, matches, _decoder(weakref.ref(tokenizer)))
                for check in all_checks():
                    finding = check.on_decode(call)
                    if finding is not None:
                        watcher.add(finding)

    def _watcher(self) -> Watcher | None:
        return self._watchers[-1] if self._watchers else None

    def _read_generate(
        self, who: Caller, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> events.GenerateCall | None:
        if getattr(model.config, "is_encoder_decoder", False) or any(
            kwargs.get(name) is not None for name in _STATELESS
        ):
            return None
        value = kwargs.get("input_ids")
        if value is None and getattr(model, "main_input_name", "input_ids") == "input_ids":
            value = args[0] if args else kwargs.get("inputs")
        rows = _matrix_rows(value)
        if not rows or not rows[0]:
            return None
        with self._lock:
            made = self._log.tokenized_rows(rows)
            row_padding = [self._log.tokenized_row(row) for row in rows]
        pad, special = _special_ids(model, args, kwargs)
        if pad is None and made is not None:
            pad = made.pad_token_id
        mask = kwargs.get("attention_mask")
        known_by = "its attention mask"
        if mask is not None:
            padding = events.padding_by_mask(mask, rows)
        elif all(hit is not None and hit[0].padding is not None for hit in row_padding):
            known_by = "the tokenizer's mask"
            hits = cast("list[tuple[Tokenized, int]]", row_padding)
            padding = tuple(cast("tuple[Padding, ...]", event.padding)[number] for event, number in hits)
        else:
            known_by = "its pad ids"
            padding = events.padding_by_id(pad, pad in special, rows)
        model_pad, _ = _special_ids(model, args, kwargs)
        return events.GenerateCall(
            caller=who,
            model=type(model).__name__,
            rows=rows,
            has_mask=mask is not None,
            takes_mask=_takes_mask(model),
            padding=padding,
            known_by=known_by,
            guessable=model_pad is not None
            and model_pad not in _end_ids(model, args, kwargs)
            and any(model_pad in ids.ids_of(row) for row in rows),
            lone_start=len(rows[0]) == ids.ITEM,
            pad_token_id=pad,
            tokenized=made,
            text_of=_decoder(made.tokenizer if made is not None else None),
        )

    def _remembered(self, call: events.GenerateCall, model: Any, result: Any) -> Generated | None:
        tensor = getattr(result, "sequences", result)
        outputs = _matrix_rows(tensor)
        size = len(call.rows[0])
        if not outputs or len(outputs[0]) <= size:
            return None
        left = {
            row: pad.left
            for row, pad in zip(call.rows, call.padding or [Padding()] * len(call.rows), strict=True)
        }
        prompts = [row[:size] for row in outputs]
        if any(prompt not in left for prompt in prompts):
            return None  # it returned new tokens alone, or something of its own making
        pad, special = _special_ids(model, (), {})
        if call.lone_start and all(ids.ids_of(row)[0] in special for row in call.rows):
            return None  # unconditional: there is no prompt that could be repeated
        tail = special | ({pad} if pad is not None else set()) | ({call.pad_token_id} - {None})
        return Generated(
            place=call.caller.place,
            model=call.model,
            width=ids.width(call.rows[0]),
            prompts=prompts,
            outputs=outputs,
            left=[left[prompt] for prompt in prompts],
            tokenized=call.tokenized,
            tail=frozenset(ids.token_bytes(token) for token in tail if token is not None),
            tensor=weakref.ref(tensor),
        )

    @contextlib.contextmanager
    def _shielded(self) -> Iterator[None]:
        """Keep a fault of the guard from the user's call."""
        try:
            yield
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            fault = f"{type(error).__name__}: {error} ({last.name}, line {last.lineno} of {last.filename})"
            watcher = self._watcher()
            if watcher is not None and fault not in watcher.faults:
                watcher.faults.append(fault)


_recorder = Recorder()


def recorder() -> Recorder:
    """Return the recorder of this process."""
    return _recorder


def _matrix_rows(value: Any) -> list[bytes] | None:
    """Return the rows of a 2-D tensor of ids; None for anything else."""
    return ids.rows_of(value) if ids.readable_tensor(value) and value.dim() == 2 else None


def _row_objects(value: Any, count: int) -> list[Any]:
    """Return the object that each row is held in: views of a tensor, the members of a list."""
    if isinstance(value, (list, tuple)) and len(value) == count and not isinstance(value[0], int):
        return list(value)
    if ids.readable_tensor(value) and value.dim() == 2:
        return list(value.unbind(0))
    return [value] * count


def _decoder(tokenizer: weakref.ref[Any] | None) -> Callable[[bytes], str]:
    """Return a function from a row to its text; ids as numbers where the tokenizer is not known."""

    def text_of(row: bytes) -> str:
        held = tokenizer() if tokenizer is not None else None
        numbers = ids.ids_of(row)
        decode = patches.original("decode")
        if held is None or decode is None:
            return " ".join(map(str, numbers))
        return str(decode(held, numbers))

    return text_of


def _has(tokenizer: Any, name: str) -> bool:
    """Whether a special token is set, asked without the log line that some versions write if it is not."""
    tokens = getattr(tokenizer, "_special_tokens_map", None)
    held = tokens.get(name) if isinstance(tokens, dict) else getattr(tokenizer, f"_{name}", None)
    return held is not None


def _token_id(tokenizer: Any, name: str) -> int | None:
    value = getattr(tokenizer, f"{name}_id", None) if _has(tokenizer, name) else None
    return value if isinstance(value, int) else None


def _setting(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> Any:
    """Return a generation setting as this call would see it: argument, the call's config, the model's."""
    if kwargs.get(name) is not None:
        return kwargs[name]
    given = kwargs.get("generation_config") or (args[1] if len(args) > 1 else None)
    for config in (given, getattr(model, "generation_config", None)):
        if getattr(config, name, None) is not None:
            return getattr(config, name)
    return None


def _integers(value: Any) -> set[int]:
    if ids.readable_tensor(value):
        value = value.tolist()
    members = value if isinstance(value, (list, tuple)) else [value]
    return {member for member in members if isinstance(member, int)}


def _end_ids(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> set[int]:
    return _integers(_setting(model, args, kwargs, "eos_token_id"))


def _special_ids(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int | None, set[int]]:
    """Return the pad id of a call, and the ids that begin or end a text."""
    pad = min(_integers(_setting(model, args, kwargs, "pad_token_id")), default=None)
    starts = _integers(_setting(model, args, kwargs, "bos_token_id"))
    return pad, _end_ids(model, args, kwargs) | starts


def _takes_mask(model: Any) -> bool:
    """Whether the model's forward has an attention mask at all (some recurrent models have none)."""
    code = getattr(getattr(type(model).forward, "__wrapped__", type(model).forward), "__code__", None)
    if code is None:
        return True
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    # A forward that names not even the ids passes everything on; one that names them and no mask has none.
    return "attention_mask" in names or "input_ids" not in names


def _is_suppressed(finding: Finding, place: CallPlace) -> bool:
    """Whether a comment on the lines of the call silences this code there, as it would for the checker."""
    from decoderonly_checker.suppress import Suppressions

    text = "".join(linecache.getlines(place.path))
    if not text or ("decoderonly" not in text and "noqa" not in text):
        return False
    suppressions = Suppressions.read(text)
    lines = range(place.line, place.end_line + 1)
    return any(suppressions.covers(finding.code, line, finding.name, guard=True) for line in lines)
