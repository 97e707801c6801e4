"""One and the same model, run plainly and with one thing changed."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_decoderonly import changes as kinds
from pytest_decoderonly.compare import ways
from pytest_decoderonly.compare.accused import accuse
from pytest_decoderonly.compare.drive import (
    Batch,
    CannotDriveError,
    Driver,
    NotOfferedError,
    Row,
    Trace,
    ordinary_ids,
    wide,
)
from pytest_decoderonly.compare.judge import Ruling, judge_rounding, limits_of
from pytest_decoderonly.compare.layers import first_layer
from pytest_decoderonly.compare.measure import row_error
from pytest_decoderonly.compare.memory import free_memory, halving
from pytest_decoderonly.compare.precision import (
    CannotCastError,
    dtype_name,
    dtype_of,
    precision,
    shortened,
    undisturbed,
)
from pytest_decoderonly.compare.searches import assisted, beams
from pytest_decoderonly.compare.shapes import beyond_window, inside_window, window_of
from pytest_decoderonly.compare.verdict import ChangeResult, Layer, RowError, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_decoderonly.compare.searches import Findings


# What transformers and models say where they refuse: "does not support static cache", "is not supported".
_REFUSED = re.compile(
    r" raised (?!KeyError|IndexError)\w+ on .*(not support|only supported|unsupported|not implemented|not compatible"
    r"|forwarding implemented|is required for|cannot use|are not used by the model)",
    re.IGNORECASE,
)


def run_change(
    model: Any, rows: Sequence[Sequence[int]], change: kinds.Change, *, pad_id: int, steps: int = 4
) -> ChangeResult:
    """Judge whether a model gives the same with one thing changed.

    Both runs are judged in float32 on the same weights; where the numbers leave a doubt float64 has the
    casting vote. Searches (beams, assisted decoding) are judged by their scores. The model comes back as it
    was.

    Args:
        model: A causal LM of transformers.
        rows: Token ids of at least one prompt, unpadded.
        change: What is changed.
        pad_id: The id that stands under padding.
        steps: Cached steps after the prompt, teacher-forced with ordinary tokens; for searches, how many
            tokens they write.

    Returns:
        A `ChangeResult` that holds no tensors.

    Raises:
        ValueError: `rows` is empty or holds an empty row, or `steps` is not positive.
        TypeError: `change` is none of `pytest_decoderonly.changes`.
        NoRoomError: Not even one row fits into memory; where fewer rows do, the notes say so.
    """
    clean = tuple(tuple(int(i) for i in row) for row in rows)
    if not clean or not all(clean):
        raise ValueError("rows: must hold at least one prompt, and no prompt may be empty")
    if steps < 1:
        raise ValueError(f"steps: must be at least 1, got {steps}")
    if not isinstance(change, kinds.Change):
        raise TypeError(
            f"change: must be one of pytest_decoderonly.changes, such as Cache('static'), got {change!r}"
        )

    def at_most(most: int | None) -> ChangeResult:
        return _run_rows(model, clean[:most], change, pad_id=pad_id, steps=steps)

    result, halved = halving(at_most, free_memory(model))
    return dataclasses.replace(result, notes=(*result.notes, halved)) if halved else result


def _run_rows(
    model: Any, clean: tuple[Row, ...], change: kinds.Change, *, pad_id: int, steps: int
) -> ChangeResult:
    started = time.perf_counter()
    with undisturbed(model):
        run = _Comparison(model, clean, change, pad_id=pad_id, steps=steps)
        ruling, work, single, found = run.judge()
        limit = run.limits.suspicious
        decisive = single or work
        culprit, layer, verdict = None, None, ruling.verdict
        if verdict is Verdict.DIFFERENT:
            culprit = accuse(change, model, decisive, limit=limit, faults=found.faults if found else ())
            if culprit.by_design:
                verdict = Verdict.BY_DESIGN
            else:
                layer = run.layer(decisive)
    return ChangeResult(
        verdict=verdict,
        change=change.label,
        reason=ruling.reason,
        work=work,
        single=single,
        limit=limit,
        dtype=dtype_name(run.dtype) + " (TF32)" * (run.dtype == run.single and not run.exact),
        device=str(run.driver.device),
        lengths=tuple(len(row) for row in clean),
        culprit=culprit,
        layer=layer,
        details=found.details if found else (),
        notes=(*run.notes, *(found.notes if found else ())),
        runs=run.driver.runs,
        seconds=time.perf_counter() - started,
        applicable=run.applicable,
    )


def _no_static_cache(model: Any, change: kinds.Change) -> str:
    """Say where the class declares that it cannot do with a static cache, which `generate` does not look at."""
    if not isinstance(change, (kinds.Cache, kinds.ReusedCache)) or change.kind != "static":
        return ""
    inner = model.get_base_model() if hasattr(model, "peft_config") else model
    # transformers 5 asks the same of a graph without breaks and of a cache of fixed size; before, each had a name.
    names = ("_supports_static_cache", "_can_compile_fullgraph")
    name = next((name for name in names if hasattr(inner, name)), None)
    if name is None or getattr(inner, name):
        return ""
    return f"{type(inner).__name__} declares no support of static caches ({name} is False): "


def default_steps(model: Any, rows: Sequence[Sequence[int]], change: kinds.Change) -> int:
    """Return how many tokens show most of a change at a bounded cost."""
    if isinstance(change, kinds.Assisted):
        window = window_of(model)
        past = 0 if window is None else window - min(map(len, rows)) + 8
        return max(24, min(past, 64))
    return 8 if isinstance(change, kinds.Beams) else 4


@dataclass(frozen=True)
class _Side:
    """One of two runs: how to get its trace, which row of it is meant, and the batch that it is."""

    key: str
    go: Callable[[], Trace]
    index: int
    batch: Batch


@dataclass(frozen=True)
class _Pair:
    row: int
    reference: _Side
    other: _Side


class _Comparison:
    def __init__(
        self, model: Any, rows: tuple[Row, ...], change: kinds.Change, *, pad_id: int, steps: int
    ) -> None:
        import torch

        self.model = model
        self.rows = rows
        self.change = change
        self.pad_id = pad_id
        self.steps = steps
        self.driver = Driver(model, pad_id)
        self.dtype = dtype_of(model)
        self.single = torch.float32
        self.exact = self.dtype == self.single and not shortened(model)
        self.limits = limits_of(model)
        self.notes: list[str] = []
        draw = random.Random(7)  # noqa: S311 - test data
        words = ordinary_ids(model, rows) or tuple(dict.fromkeys(i for row in rows for i in row))
        self.continuation = tuple(tuple(draw.choice(words) for _ in range(steps)) for _ in rows)
        self.caches: tuple[set[str], set[str]] = (set(), set())
        self.answer = tuple(draw.choice(words) for _ in range(getattr(change, "answer", 0)))
        self.pairs: list[_Pair] = []
        self.applicable = True

    # Batches

    def _batch(self, rows: Sequence[Row], continuation: Sequence[Row] | None = None) -> Batch:
        width = max(map(len, rows))
        more = [self.continuation[0]] * len(rows) if continuation is None else continuation
        fills = tuple((self.pad_id,) * (width - len(row)) for row in rows)
        return Batch(tuple(rows), fills, tuple(more))

    def _everyone(self) -> Batch:
        return self._batch(self.rows, self.continuation)

    def _alone(self, i: int) -> Batch:
        return self._batch([self.rows[i]], [self.continuation[i]])

    def _lone(self) -> list[tuple[int, Batch]]:
        """Rows to run alone: the shortest and the longest, and both sides of a sliding window."""
        order = sorted(range(len(self.rows)), key=lambda i: len(self.rows[i]))
        found = [(i, self._alone(i)) for i in dict.fromkeys([order[0], order[-1]])]
        for make, i in ((inside_window, order[0]), (beyond_window, order[-1])):
            row = make(self.model, self.rows[i], self.steps)
            if row is not None:
                found.append((i, self._batch([row], [self.continuation[i]])))
                self.notes.append(
                    f"prompt {i} was also run with {len(row)} tokens, to have both sides of the window"
                )
        return found

    def _other_text(self, batch: Batch) -> Batch:
        """As many rows of other text, somewhat longer, so that no slot of a cache stays unwritten."""
        text = [token for row in self.rows for token in row][::-1]
        width = batch.width + 3
        rows = [tuple(text[(i + j) % len(text)] for j in range(width)) for i in range(len(batch.rows))]
        return self._batch(rows, list(batch.continuation))

    # Pairs of runs

    def _same_batches(
        self,
        reference: Callable[[Batch], Trace],
        other: Callable[[Batch], Trace],
        batches: Sequence[tuple[Sequence[int], Batch]],
    ) -> list[_Pair]:
        """The same batches both ways."""
        pairs = []
        for number, (rows, batch) in enumerate(batches):
            first, second = _bind(reference, batch), _bind(other, batch)
            for index, row in enumerate(rows):
                pairs.append(
                    _Pair(
                        row,
                        _Side(f"plain {number}", first, index, batch),
                        _Side(f"changed {number}", second, index, batch),
                    )
                )
        return pairs

    def _against_alone(
        self, reference: Callable[[Batch], Trace], other: Callable[[], Trace], batch: Batch
    ) -> list[_Pair]:
        """One run of all rows against each row alone."""
        return [
            _Pair(
                i,
                _Side(f"alone {i}", _bind(reference, self._alone(i)), 0, self._alone(i)),
                _Side("changed", other, i, batch),
            )
            for i in range(len(self.rows))
        ]

    def _make(self) -> list[_Pair]:
        change, driver = self.change, self.driver
        everyone, each = self._everyone(), range(len(self.rows))
        both = [(each, everyone), *(([i], batch) for i, batch in self._lone() if batch != everyone)]
        needs = (kinds.Cache, kinds.ReusedCache, kinds.Attention, kinds.InputsEmbeds)
        if isinstance(change, needs) and driver.target is None:
            raise NotOfferedError("the model has no `generate` of transformers")
        if isinstance(change, kinds.Cache):
            _known_cache(change.kind)
            settings: dict[str, Any] = (
                {"use_cache": False}
                if change.kind == "none"
                else {"cache_implementation": change.kind, "disable_compile": True}
            )
            if change.config is not None:
                settings["cache_config"] = dict(change.config)

            def own(batch: Batch) -> Trace:
                with ways.noting_caches(self.model, self.caches[0]):
                    return driver.run(batch)

            def cached(batch: Batch) -> Trace:
                with ways.unmarked(self.model), ways.noting_caches(self.model, self.caches[1]):
                    return driver.generate(batch, **settings)

            return self._same_batches(own, cached, both)
        if isinstance(change, kinds.ReusedCache):

            def used_again(batch: Batch) -> Trace:
                return ways.reused(driver, batch, self._other_text(batch), change.kind, change.empty)

            def new(batch: Batch) -> Trace:
                length = self._other_text(batch).width + self.steps + 1
                return driver.continued(batch, ways.new_cache(self.model, change.kind, length))

            return self._same_batches(new, used_again, both)
        if isinstance(change, kinds.Attention):
            if ways.unfused(self.model, change.backend):
                self.notes.append(
                    "flex attention was run unfused: on a CPU its kernels are compiled shape by shape"
                )

            def switched(batch: Batch) -> Trace:
                with ways.attention(self.model, change.backend):
                    return driver.run(batch)

            return self._same_batches(driver.run, switched, both)
        if isinstance(change, kinds.Compiled):
            compiling = ways.Compiling(self.model, change.backend, dynamic=change.dynamic)

            def through(batch: Batch) -> Trace:
                with compiling():
                    return driver.full(batch)

            # One shape of each kind: every new one may be compiled anew.
            return self._same_batches(driver.full, through, both[:2])
        if isinstance(change, kinds.InputsEmbeds):
            one = self._batch([self.rows[0][:1]], [self.continuation[0]])
            return self._same_batches(
                driver.run, lambda b: driver.generate(b, embeds=True), [*both, ([0], one)]
            )
        if isinstance(change, kinds.ChunkedPrefill):

            def pieces(batch: Batch) -> Trace:
                size = change.size or (batch.width + 1) // 2
                run = lambda: ways.in_pieces(driver, batch, size, position_ids=change.position_ids)  # noqa: E731
                return driver.guarded(batch, run)

            def whole(batch: Batch) -> Trace:
                return driver.guarded(batch, lambda: ways.in_pieces(driver, batch, None))

            return self._same_batches(whole, pieces, both)
        if isinstance(change, kinds.WarmCache):

            def cold(batch: Batch) -> Trace:
                return driver.guarded(batch, lambda: ways.in_pieces(driver, batch, None))

            def warmed(batch: Batch) -> Trace:
                run = lambda: ways.warm(  # noqa: E731
                    driver, batch, keep=change.keep, answer=self.answer, trim=change.trim
                )
                return driver.guarded(batch, run)

            lone = [([i], batch) for i, batch in self._lone() if len(batch.rows[0]) > 1]
            if not lone:
                raise CannotDriveError("every prompt has one token only: none can be cut in two")
            return self._same_batches(cold, warmed, lone)
        if isinstance(change, kinds.RightPadded):
            if all(len(row) == everyone.width for row in self.rows):
                raise CannotDriveError("all prompts have the same length, so nothing would be padded")
            other = lambda: driver.guarded(  # noqa: E731
                everyone, lambda: ways.in_pieces(driver, everyone, None, right=True)
            )
            alone = lambda b: driver.guarded(b, lambda: ways.in_pieces(driver, b, None))  # noqa: E731
            return self._against_alone(alone, other, everyone)
        return self._make_prompts_only()

    def _make_prompts_only(self) -> list[_Pair]:
        """Changes without cached steps: all logits come from forward passes over the prompts."""
        change, driver, everyone = self.change, self.driver, self._everyone()

        def forward(batch: Batch, **how: Any) -> Trace:
            return _prompt(driver.guarded(batch, lambda: ways.plain(driver, batch, **how)))

        if isinstance(change, kinds.Packed):
            if len(self.rows) < 2:
                raise CannotDriveError("a single row cannot be packed: give two or more prompts")
            flat = Batch(self.rows, ((),) * len(self.rows), self.continuation)
            run = lambda: ways.packed(  # noqa: E731
                driver, self.rows, mask=change.mask, use_cache=change.use_cache
            )
            return self._against_alone(forward, lambda: _prompt(driver.guarded(flat, run)), flat)
        if isinstance(change, kinds.ExplicitMask):

            def positions(batch: Batch) -> Sequence[int] | bool:
                given = change.position_ids
                return False if given is None else list(given(len(batch.rows[0])))

            return self._same_batches(
                lambda b: forward(b, positions=positions(b)),
                lambda b: forward(b, positions=positions(b), mask=False),
                [([i], self._alone(i)) for i in range(len(self.rows))],
            )
        if isinstance(change, kinds.BareForward):
            if all(len(row) == everyone.width for row in self.rows):
                raise CannotDriveError("all prompts have the same length, so nothing would be padded")
            return self._against_alone(
                forward, lambda: forward(everyone, positions=change.position_ids), everyone
            )
        if isinstance(change, kinds.Rewritten):
            reference = change.reference

            def own(batch: Batch) -> Trace:
                if reference is None:
                    return forward(batch)
                return driver.guarded(batch, lambda: _given(reference, self.model, batch.rows))

            def others(batch: Batch) -> Trace:
                return driver.guarded(batch, lambda: _given(change.run, self.model, batch.rows))

            together = self._against_alone(own, lambda: others(everyone), everyone)
            if len(self.rows) == 1 or reference is change.run:
                return together
            # Each row by itself as well: a fault that is there too has nothing to do with padding.
            lone = [([i], self._alone(i)) for i in range(len(self.rows))]
            return [*self._same_batches(own, others, lone), *together]
        raise TypeError(f"change: {type(change).__name__} is not known here")

    # Verdict

    def judge(self) -> tuple[Ruling, tuple[RowError, ...], tuple[RowError, ...], Findings | None]:
        """Run both sides in the model's precision and in float32, and give the verdict with its numbers."""
        none: tuple[RowError, ...] = ()
        try:
            if isinstance(self.change, (kinds.Beams, kinds.Assisted)):
                return self._search(self.change)
            self.pairs = self._make()
            work = self._errors()
        except CannotDriveError as error:
            declared = _no_static_cache(self.model, self.change)
            self.applicable = not (
                declared or isinstance(error, NotOfferedError) or _REFUSED.search(str(error))
            )
            return Ruling(Verdict.UNDECIDED, f"{declared}{error}"), none, none, None
        single, cannot = work, ""
        if not self.exact:
            try:
                with precision(self.model, self.single):
                    single = self._errors()
            except (CannotCastError, CannotDriveError) as error:
                single, cannot = none, str(error)
        ruling = judge_rounding(
            work, single, model=self.model, limits=self.limits, cannot_cast=cannot, again=self._errors
        )
        if ruling.verdict is Verdict.DIFFERENT and not all(e.finite for e in single or work):
            ruling = self._not_finite()
        elif ruling.verdict is Verdict.EQUAL and isinstance(self.change, kinds.Attention):
            reason = (
                f"{self.change.backend!r} gives the same bits as the model's own attention: this model does not "
                "seem to have the choice, so nothing was compared"
            )
            ruling, self.applicable = Ruling(Verdict.UNDECIDED, reason), False
        elif ruling.verdict is Verdict.EQUAL and self.caches[0] and self.caches[0] == self.caches[1]:
            names = ", ".join(sorted(self.caches[0]))
            self.applicable = False
            ruling = Ruling(
                Verdict.UNDECIDED, f"generate takes the same cache as it is ({names}): nothing was compared"
            )
        return ruling, work, single, None

    def _not_finite(self) -> Ruling:
        for pair in self.pairs:
            trace = pair.reference.go()
            same = (trace, pair.reference.index)
            if not row_error(pair.row, same, same, pair.reference.batch).finite:
                return Ruling(Verdict.UNDECIDED, "the plain run already gives logits that are not finite")
        return Ruling(Verdict.DIFFERENT, "not finite, while the plain run is")

    def _errors(self) -> tuple[RowError, ...]:
        traces: dict[str, Trace] = {}
        found = []
        for pair in self.pairs:
            for side in (pair.reference, pair.other):
                if side.key not in traces:
                    traces[side.key] = side.go()
            first, second = traces[pair.reference.key], traces[pair.other.key]
            _same_columns(first, second)
            found.append(
                row_error(
                    pair.row, (first, pair.reference.index), (second, pair.other.index), pair.other.batch
                )
            )
        return tuple(found)

    def _search(
        self, change: kinds.Beams | kinds.Assisted
    ) -> tuple[Ruling, tuple[RowError, ...], tuple[RowError, ...], Findings | None]:
        assistant = getattr(change, "assistant", None)
        with contextlib.ExitStack() as stack:
            try:
                for each in (self.model, assistant):
                    if each is not None and (dtype_of(each) != self.single or not self.exact):
                        stack.enter_context(precision(each, self.single))
            except CannotCastError as error:
                return Ruling(Verdict.UNDECIDED, str(error)), (), (), None
            if assistant is not None:
                stack.enter_context(undisturbed(assistant))
            if isinstance(change, kinds.Beams):
                found = beams(self.driver, self.rows, change, tokens=self.steps, limits=self.limits)
            else:
                found = assisted(self.driver, self.rows, change, tokens=self.steps, limits=self.limits)
        return found.ruling, (), found.errors, found

    # Localisation

    def layer(self, errors: tuple[RowError, ...]) -> Layer | None:
        """Return where the two runs part, for changes that make the same calls of the same modules."""
        if not isinstance(
            self.change, (kinds.Cache, kinds.Attention, kinds.InputsEmbeds, kinds.BareForward)
        ) or (isinstance(self.change, kinds.Cache) and self.change.kind == "none"):
            return None
        for pair, error in zip(self.pairs, errors, strict=True):
            if error.worst <= self.limits.suspicious:
                continue
            tokens = len(pair.other.batch.rows[pair.other.index])
            runs = tuple((side.go, side.index, tokens) for side in (pair.reference, pair.other))
            try:
                with contextlib.nullcontext() if self.exact else precision(self.model, self.single):
                    return first_layer(self.model, runs[0], runs[1], limit=self.limits.suspicious)
            except (CannotCastError, CannotDriveError):
                return None
        return None


def _known_cache(kind: str) -> None:
    """Check the name of a cache against those that `generate` knows.

    Raises:
        ValueError: It knows none of that name.
    """
    try:
        from transformers.generation.configuration_utils import ALL_CACHE_IMPLEMENTATIONS
    except ImportError:  # older: generate itself will say
        return
    if kind not in {"none", *ALL_CACHE_IMPLEMENTATIONS}:
        raise ValueError(f"kind: {kind!r} is none of none, {', '.join(ALL_CACHE_IMPLEMENTATIONS)}")


def _same_columns(first: Trace, second: Trace) -> None:
    mine, theirs = first.prefill[0].shape[-1], second.prefill[0].shape[-1]
    if mine != theirs:
        raise CannotDriveError(f"one side gives {mine} numbers a position, the other {theirs}")


def _bind(run: Callable[[Batch], Trace], batch: Batch) -> Callable[[], Trace]:
    return lambda: run(batch)


def _prompt(rows: Sequence[Any]) -> Trace:
    """A trace of prompts alone, without cached steps."""
    return Trace(list(rows), [row[:0] for row in rows])


def _given(run: Callable[[Any, list[list[int]]], Sequence[Any]], model: Any, rows: Sequence[Row]) -> Trace:
    """What a caller's procedure gave for rows, as a trace."""
    import torch

    found = run(model, [list(row) for row in rows])
    if len(found) != len(rows):
        raise CannotDriveError(f"the procedure gave {len(found)} results for {len(rows)} rows")
    tensors = []
    for i, (value, row) in enumerate(zip(found, rows, strict=True)):
        tensor = torch.as_tensor(value)
        tensor = tensor[None] if tensor.dim() == 1 else tensor
        if tensor.dim() != 2 or not 1 <= tensor.shape[0] <= len(row):
            raise CannotDriveError(
                f"the procedure gave {tuple(tensor.shape)} for row {i} of {len(row)} tokens; expected "
                "(positions, vocabulary), at most one position a token"
            )
        tensors.append(wide(tensor.detach()))
    return _prompt(tensors)
