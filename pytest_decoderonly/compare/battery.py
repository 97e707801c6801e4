"""The battery: one model, a few rows, and the relations that a correct decoder-only model keeps."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.compare.culprit import ROPE, at_layer, name_culprit, refusal, rope_reach
from pytest_decoderonly.compare.drive import Batch, CannotDriveError, Driver, Row, Trace
from pytest_decoderonly.compare.judge import has_experts, judge_rounding, limits_of
from pytest_decoderonly.compare.layers import first_layer
from pytest_decoderonly.compare.measure import argmaxes, row_error
from pytest_decoderonly.compare.memory import free_memory, halving
from pytest_decoderonly.compare.plan import Plan
from pytest_decoderonly.compare.precision import (
    CannotCastError,
    dtype_name,
    dtype_of,
    precision,
    shortened,
    undisturbed,
)
from pytest_decoderonly.compare.probes import Probes, refine
from pytest_decoderonly.compare.verdict import (
    BatteryResult,
    Choice,
    Layer,
    Relation,
    RelationResult,
    RowError,
    Verdict,
    worst,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pytest_decoderonly.compare.verdict import Culprit


def run_battery(
    model: Any,
    rows: Sequence[Sequence[int]],
    *,
    pad_id: int,
    relations: Iterable[Relation] | None = None,
    steps: int = 4,
    widths: Sequence[int] | None = None,
    solo_rows: int = 4,
) -> BatteryResult:
    """Judge whether batching, padding and caching leave a model's logits as they are.

    Same-shape relations are compared bit for bit in the model's own dtype; relations that change the shape
    are judged in float32 on the same weights. The model comes back as it was: dtype, device, mode, buffers,
    random state.

    Args:
        model: A causal LM with transformers' `generate`, or any module whose forward takes `input_ids` and
            `attention_mask` and returns logits of shape (rows, positions, vocabulary).
        rows: Token ids of at least one prompt, unpadded.
        pad_id: The id that stands under padding in real use.
        relations: Which relations to judge; all by default.
        steps: Cached steps after the prompt, teacher-forced with ordinary tokens.
        widths: Padded widths for the pad-amount relation; by default one column more than the row, and
            the lengths around the next multiple of 32.
        solo_rows: At most so many rows are also run alone (the shortest, the longest, then in order).

    Returns:
        A `BatteryResult` that holds no tensors.

    Where a run does not fit into memory all are made again with half of the rows; the notes say so.

    Raises:
        ValueError: `rows` is empty or holds an empty row, or `steps` is not positive.
        NoRoomError: Not even one row fits into memory.
    """
    clean_rows = tuple(tuple(int(i) for i in row) for row in rows)
    if not clean_rows or not all(clean_rows):
        raise ValueError("rows: must hold at least one prompt, and no prompt may be empty")
    if steps < 1:
        raise ValueError(f"steps: must be at least 1, got {steps}")
    wanted = tuple(Relation) if relations is None else tuple(relations)

    def at_most(most: int | None) -> BatteryResult:
        return _at_most(
            most,
            model,
            clean_rows[:most],
            pad_id=pad_id,
            wanted=wanted,
            steps=steps,
            widths=widths,
            solo_rows=solo_rows,
        )

    result, halved = halving(at_most, free_memory(model))
    return dataclasses.replace(result, notes=(*result.notes, halved)) if halved else result


def _at_most(
    most: int | None,
    model: Any,
    clean_rows: tuple[Row, ...],
    *,
    pad_id: int,
    wanted: tuple[Relation, ...],
    steps: int,
    widths: Sequence[int] | None,
    solo_rows: int,
) -> BatteryResult:
    started = time.perf_counter()
    with undisturbed(model):
        plan = Plan(
            model, clean_rows, pad_id=pad_id, steps=steps, widths=widths, solo_rows=solo_rows, most=most
        )
        run = _Battery(model, clean_rows, plan)
        verdict, results, culprit, layer = run.judge(wanted)
    result = BatteryResult(
        verdict=verdict,
        relations=results,
        culprit=culprit,
        layer=layer,
        dtype=dtype_name(run.dtype) + " (TF32)" * (run.dtype == run.single and not run.exact),
        device=str(run.driver.device),
        lengths=tuple(len(row) for row in clean_rows),
        ties=tuple(run.ties),
        flips=tuple(run.flips),
        notes=tuple(run.notes),
        runs=run.driver.runs,
        seconds=time.perf_counter() - started,
    )
    if culprit is not None and culprit.name == ROPE:
        return _within_reach(model, clean_rows, result, pad_id=pad_id, relations=wanted, steps=steps)
    return result


def _within_reach(
    model: Any,
    rows: tuple[Row, ...],
    result: BatteryResult,
    *,
    pad_id: int,
    relations: tuple[Relation, ...],
    steps: int,
) -> BatteryResult:
    """Let rope scaling explain a difference only where the same rows, cut to the original context, show none."""
    _, reach = rope_reach(model.config)
    keep = (reach or 0) - steps - 4
    if keep < 2:
        return result
    short = [row[: max(2, keep - 3 * (i % 2))] for i, row in enumerate(rows)]
    least = min(map(len, short))
    widths = [least + 1, least + 3]
    inside = run_battery(model, short, pad_id=pad_id, relations=relations, steps=steps, widths=widths)
    if inside.verdict.clean:
        return result
    note = f"rows were cut to {keep} tokens, so that rope scaling has no part in this"
    return dataclasses.replace(inside, notes=(*inside.notes, note))


_Errors = tuple[RowError, ...]
_Measured = dict[Relation, "_Errors | CannotDriveError"]


class _Battery:
    def __init__(self, model: Any, rows: tuple[Row, ...], plan: Plan) -> None:
        import torch

        self.model = model
        self.rows = rows
        self.plan = plan
        self.driver = Driver(model, plan.pad_id)
        self.dtype = dtype_of(model)
        self.limits = limits_of(model)
        self.experts = has_experts(model)
        self.notes: list[str] = []
        if self.plan.long is not None:
            self.notes.append(
                f"no prompt is longer than the sliding window, so one of {max(map(len, rows))} tokens was also "
                f"repeated to {len(self.plan.long)}"
            )
        self.choices: list[Choice] = []
        self.ties: list[Choice] = []
        self.flips: list[Choice] = []
        self.single = torch.float32
        # Shortened products are a precision of their own: what they do is not judged as float32.
        self.exact = self.dtype == self.single and not shortened(model)
        self.cannot_cast = ""
        self.work: _Measured = {}
        self.float: _Measured = {}
        self._work: dict[Batch, Trace] = {}
        self._float: dict[Batch, Trace] = {}
        self._full: dict[bool, Trace] = {}

    # Runs

    def _trace(self, batch: Batch, store: dict[Batch, Trace]) -> Trace:
        """Run a batch; only what several relations refer to is kept, for logits are large."""
        if batch in store:
            return store[batch]
        trace = self.driver.run(batch)
        plain = all(token == self.plan.pad_id for fill in batch.fills for token in fill)
        shared = batch.width in (self.plan.width, self.plan.padded_width) or not batch.fills[0]
        if plain and shared and set(batch.rows) <= set(self.rows):
            store[batch] = trace
        return trace

    def _whole(self, batch: Batch, store: dict[Batch, Trace]) -> Trace:
        """The same positions in one forward pass; two relations need that of the shortest row."""
        if batch != self.plan.alone(self.plan.solo[0]) or not (store is self._work or store is self._float):
            return self.driver.full(batch)
        found = self._full.get(store is self._float)
        if found is None:
            found = self._full[store is self._float] = self.driver.full(batch)
        return found

    def _errors(self, relation: Relation, store: dict[Batch, Trace]) -> tuple[RowError, ...]:
        short = self.plan.solo[0]
        alone = self.plan.alone(short)
        if relation is Relation.REPEATED:
            first = self._trace(alone, store)
            self.driver.run(self.plan.another(short))  # what is kept for each shape is overwritten by it
            return (row_error(short, (first, 0), (self.driver.run(alone), 0), alone),)
        if relation is Relation.LAST_LOGITS:
            whole = _two(self._whole(alone, store).row(0)[-2:])
            return (row_error(short, (whole, 0), (self.driver.last(alone, 2), 0), alone),)
        found = []
        if relation is Relation.CACHED_VS_FULL:
            for i, batch in self.plan.whole():
                found.append(
                    row_error(i, (self._whole(batch, store), 0), (self._trace(batch, store), 0), batch)
                )
            together = self.plan.padded()
            if together is not None:
                one, stepped = self.driver.full(together), self._trace(together, store)
                padded = [i for i, fill in enumerate(together.fills) if fill]
                found += [row_error(i, (one, i), (stepped, i), together) for i in padded]
            return tuple(found)
        for reference, other, rows in self.plan.pairs(relation):
            first, second = self._trace(reference, store), self._trace(other, store)
            for mine, theirs in rows:
                row = mine if len(reference.rows) == len(self.rows) else self.plan.index(reference.rows[mine])
                found.append(row_error(row, (first, mine), (second, theirs), other))
        return tuple(found)

    def _measure(self, wanted: Sequence[Relation]) -> None:
        """Run all that a verdict will need: in the working precision, then, in one cast, in float32."""
        if Relation.REPEATED in wanted:  # the first run of all; it is repeated when all others are through
            with contextlib.suppress(CannotDriveError):
                self._trace(self.plan.alone(self.plan.solo[0]), self._work)
        for relation in sorted(wanted, key=lambda relation: relation is Relation.REPEATED):
            if relation.same_shape or relation is Relation.BATCH_VS_SOLO or self.exact:
                self._try(relation, self.work, self._work)
        if Relation.BATCH_VS_SOLO in wanted:
            self._tokens()
        if self.exact:
            self.float = self.work
            return
        self._work.clear()
        try:
            with precision(self.model, self.single):
                for relation in wanted:
                    exact = relation.same_shape and not self._nonzero(relation)
                    if not exact:
                        self._try(relation, self.float, {} if relation.same_shape else self._float)
        except CannotCastError as error:
            self.cannot_cast = str(error)
            for relation in wanted:
                if relation not in self.work:
                    self._try(relation, self.work, self._work)

    def _try(self, relation: Relation, into: _Measured, store: dict[Batch, Trace]) -> None:
        try:
            into[relation] = self._errors(relation, store)
        except CannotDriveError as error:
            into[relation] = error

    def _nonzero(self, relation: Relation) -> bool:
        found = self.work.get(relation)
        rel = worst(found) if isinstance(found, tuple) else None
        return rel is not None and rel > 0  # NaN needs no second opinion

    # Verdicts

    def judge(
        self, wanted: Sequence[Relation]
    ) -> tuple[Verdict, tuple[RelationResult, ...], Culprit | None, Layer | None]:
        """Measure, give each relation its verdict, name the culprit and look for the layer."""
        ordered = [relation for relation in Relation if relation in wanted]  # same shapes first
        missing = {relation: self._cannot(relation) for relation in ordered}
        self._measure([relation for relation in ordered if not missing[relation]])
        results = {relation: self._one(relation, missing[relation]) for relation in ordered}
        self._work.clear()
        self._float.clear()
        solo = results.get(Relation.BATCH_VS_SOLO)
        wrong = (
            {error.row for error in solo.failing} if solo is not None and not solo.verdict.clean else set()
        )
        self.ties = [choice for choice in self.choices if choice.row not in wrong]
        self.flips = [choice for choice in self.choices if choice.row in wrong]
        culprit = name_culprit(results, self.model)
        refused = refusal(results) if culprit is None else None
        if refused is not None:
            for relation, result in results.items():
                if result.verdict is Verdict.UNDECIDED and result.applicable:
                    results[relation] = dataclasses.replace(result, verdict=Verdict.BY_DESIGN)
            return Verdict.BY_DESIGN, tuple(results.values()), refused, None
        layer = None
        if culprit is not None and culprit.by_design:
            for relation, result in results.items():
                if result.verdict is Verdict.DIFFERENT:
                    results[relation] = dataclasses.replace(result, verdict=Verdict.BY_DESIGN)
        elif culprit is not None:
            culprit = self._refined(culprit, results)
            layer = self._layer(results)
            if layer is not None:
                kinds = {name: type(module).__name__ for name, module in self.model.named_modules()}
                culprit = at_layer(culprit, kinds.get(layer.name, ""))
        return _overall(results), tuple(results.values()), culprit, layer

    def _refined(self, culprit: Culprit, results: Mapping[Relation, RelationResult]) -> Culprit:
        """Let a few more runs, in float32, tell apart what the pattern leaves open."""
        wrong = [result for result in results.values() if result.verdict is Verdict.DIFFERENT]
        if not self.exact and not any(result.single for result in wrong):
            return culprit  # float32 is right: it would only show that
        probes = Probes(
            self.model, self.driver, self.rows[self.plan.solo[0]], self.plan.ordinary, self.limits
        )
        try:
            with contextlib.nullcontext() if self.exact else precision(self.model, self.single):
                return refine(culprit, results, probes)
        except (CannotCastError, CannotDriveError):
            return culprit

    def _one(self, relation: Relation, missing: str) -> RelationResult:
        if missing:
            return RelationResult(relation, Verdict.UNDECIDED, missing, applicable=False)
        found = {
            name: store.get(relation, ()) for name, store in (("work", self.work), ("single", self.float))
        }
        for measured in found.values():
            if isinstance(measured, CannotDriveError):
                return RelationResult(relation, Verdict.UNDECIDED, str(measured))
        judge = self._same_shape if relation.same_shape else self._other_shape
        try:
            return judge(relation, found["work"], found["single"])  # type: ignore[arg-type]
        except CannotDriveError as error:
            return RelationResult(relation, Verdict.UNDECIDED, str(error))

    def _cannot(self, relation: Relation) -> str:
        if len(set(self.plan.ordinary)) < 2:
            return (
                "no two ordinary token ids with an embedding of their own were found, so contents "
                "cannot be varied"
            )
        if relation is Relation.REPEATED:
            return ""
        if relation is Relation.LAST_LOGITS:
            if self.driver.caches and "logits_to_keep" in self.driver.accepts:
                return ""
            return "the model's forward takes no logits_to_keep"
        if relation is Relation.CACHED_VS_FULL:
            return (
                ""
                if self.driver.caches
                else "the model has no `generate` of transformers, so there are no cached steps to compare"
            )
        if self.plan.pairs(relation):
            return ""
        if relation is Relation.PAD_AMOUNT:
            return (
                f"no width among {self.plan.widths} is greater than the row's "
                f"{len(self.rows[self.plan.solo[0]])} tokens"
            )
        return "a single row has no neighbours: give two or more prompts"

    def _same_shape(self, relation: Relation, work: _Errors, single: _Errors) -> RelationResult:
        rel, value = worst(work), worst(single)
        name = dtype_name(self.dtype)
        if rel == 0:
            return RelationResult(relation, Verdict.EQUAL, f"bit for bit in {name}", work)
        if rel is None or not rel > 0:
            return self._not_finite(relation, work, ())
        if value is None:
            verdict = Verdict.DIFFERENT if rel > self.limits.bug else Verdict.UNDECIDED
            return RelationResult(
                relation, verdict, f"{rel:.1e} in {name} where 0 is expected; {self.cannot_cast}", work
            )
        if not value <= self.limits.suspicious:
            return RelationResult(
                relation,
                Verdict.DIFFERENT,
                "0 is expected, the shapes are the same",
                work,
                single,
                self.limits.exact if self.experts else 0.0,
            )
        if value > self.limits.exact:
            reason = (
                f"{value:.1e} in float32: more than the order of additions explains, less than any "
                "known bug gives"
            )
            return RelationResult(relation, Verdict.UNDECIDED, reason, work, single)
        if not self.exact and rel > self.limits.bug:
            return self._only_in_work(relation, work, single)
        return RelationResult(
            relation, Verdict.ROUNDING, f"{value:.1e} in float32", work, single, self.limits.exact
        )

    def _not_finite(self, relation: Relation, work: _Errors, single: _Errors) -> RelationResult:
        alone = self.plan.alone(self.plan.solo[0])
        trace = self.driver.run(alone)
        if not row_error(0, (trace, 0), (trace, 0), alone).finite:
            reason = "a single unpadded prompt already gives logits that are not finite"
            return RelationResult(relation, Verdict.UNDECIDED, reason, work, single)
        return RelationResult(relation, Verdict.DIFFERENT, "not finite", work, single, self.limits.bug)

    def _only_in_work(
        self, relation: Relation, work: tuple[RowError, ...], single: tuple[RowError, ...]
    ) -> RelationResult:
        """Tell chance from a kernel that only the working dtype has: float32 agrees."""
        name = dtype_name(self.dtype)
        pairs = self.plan.pairs(relation)
        batch = pairs[0][0] if pairs else self.plan.alone(self.plan.solo[0])
        once, again = self.driver.run(batch), self.driver.run(batch)
        repeated = max(row_error(i, (once, i), (again, i), batch).worst for i in range(len(batch.rows)))
        if repeated > 0:
            reason = (
                f"the same input twice differs by {repeated:.1e} in {name}: the kernels are not "
                "deterministic; float32 agrees"
            )
            return RelationResult(relation, Verdict.ROUNDING, reason, work, single, self.limits.exact)
        if self.experts:
            reason = (
                f"{worst(work):.1e} in {name}, {worst(single):.1e} in float32: routing flips of "
                f"experts, or a kernel used in {name} only"
            )
            return RelationResult(relation, Verdict.UNDECIDED, reason, work, single)
        reason = f"in {name} only, where 0 is expected too: a kernel that float32 does not use"
        return RelationResult(relation, Verdict.DIFFERENT, reason, work, ())

    def _other_shape(self, relation: Relation, work: _Errors, single: _Errors) -> RelationResult:
        if any(not error.finite for error in single or work):
            return self._not_finite(relation, work, single)
        ruling = judge_rounding(
            work,
            single,
            model=self.model,
            limits=self.limits,
            cannot_cast=self.cannot_cast,
            again=lambda: self._errors(relation, {}),
        )
        limit = self.limits.suspicious if single else 0.0
        return RelationResult(relation, ruling.verdict, ruling.reason, work, single, limit)

    def _tokens(self) -> None:
        """Gather the greedy choices that differ between batch and solo, in the working precision."""
        base = self._work.get(self.plan.base())
        for i in self.plan.solo if base is not None else ():
            alone = self._work.get(self.plan.alone(i))
            if alone is None or base is None:
                continue
            error = row_error(i, (alone, 0), (base, i), self.plan.base())
            start = error.prefill - 1  # the last prompt token is the first that chooses
            more = alone.steps[0].shape[0] + 1
            for at, solo, batched, margin in argmaxes(alone.row(0)[-more:], base.row(i)[-more:]):
                gap = float(error.errors[start + at] * error.scale)
                self.choices.append(Choice(i, error.place(start + at), batched, solo, margin, gap))

    # Localisation

    def _layer(self, results: dict[Relation, RelationResult]) -> Layer | None:
        result = next(r for r in results.values() if r.verdict is Verdict.DIFFERENT)
        exact = result.relation.same_shape
        limit = 0.0 if exact and not self.experts else self.limits.suspicious
        failing = result.failing or result.decisive
        for error in failing:
            runs = self._runs_of(result.relation, error)
            if runs is None:
                continue
            try:
                if (exact and self.exact) or not result.single:
                    return first_layer(self.model, *runs, limit=limit)
                with precision(self.model, self.single):
                    return first_layer(self.model, *runs, limit=limit)
            except (CannotCastError, CannotDriveError):
                return None
        return None

    def _runs_of(
        self, relation: Relation, error: RowError
    ) -> tuple[tuple[Callable[[], object], int, int], tuple[Callable[[], object], int, int]] | None:
        if relation in (Relation.CACHED_VS_FULL, Relation.LAST_LOGITS):
            return None  # the two runs have different calls; the logits' position says it all
        if relation is Relation.REPEATED:
            alone = self.plan.alone(self.plan.solo[0])
            tokens = len(alone.rows[0])
            return (lambda: self.driver.run(alone), 0, tokens), (lambda: self.driver.run(alone), 0, tokens)
        for reference, other, rows in self.plan.pairs(relation):
            for mine, theirs in rows:
                if other.width == error.width and self.plan.index(other.rows[theirs]) == error.row:
                    tokens = len(other.rows[theirs])
                    return (
                        (lambda b=reference: self.driver.run(b), mine, tokens),
                        (lambda b=other: self.driver.run(b), theirs, tokens),
                    )
        return None


def _two(logits: Any) -> Trace:
    """A trace of two positions."""
    return Trace([logits[:1]], [logits[1:]])


def _overall(results: Mapping[Relation, RelationResult]) -> Verdict:
    """The worst verdict; a relation that this input cannot test does not take away what the others showed."""
    verdicts = [result.verdict for result in results.values()]
    for verdict in (Verdict.DIFFERENT, Verdict.BY_DESIGN):
        if verdict in verdicts:
            return verdict
    if any(r.verdict is Verdict.UNDECIDED and r.applicable for r in results.values()):
        return Verdict.UNDECIDED
    clean = [verdict for verdict in verdicts if verdict.clean]
    if not clean:
        return Verdict.UNDECIDED
    return Verdict.ROUNDING if Verdict.ROUNDING in clean else Verdict.EQUAL
