"""Whether the score of a row is the row's own: the same in any batch, and of its own tokens.

In the order of what proves most. First attribution (`reading.py`): which states of the model each score follows,
found without any tolerance. Then what the model was given. Then values: a row alone and in batches, in float32,
held against what changing one of its own tokens does to the score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_decoderonly.compare.items import Items, total
from pytest_decoderonly.compare.padding import WHOLE_ROW, Problem
from pytest_decoderonly.compare.reading import called_modules, steady, watched
from pytest_decoderonly.compare.scorereads import EPS, MAX_SOLO, ScoreRow, Watch
from pytest_decoderonly.compare.scorevalues import (
    count_fault,
    explain_value,
    nan_fault,
    target_fault,
    twin_fault,
    width_fault,
)
from pytest_decoderonly.compare.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable


# In units of what another last token does to the score. Rounding in float32 gives 1e-7 to 1e-4 (scores add up many
# log-probabilities); a wrong position or a counted pad, 1e-2 and more.
ROUNDING, BUG = 1e-3, 1e-2
_LOW_ROUNDING = 0.1


@dataclass(frozen=True)
class ScoreRelation:
    """One relation: `worst` is the greatest move of a score, in units of what another last token does."""

    name: str
    says: str
    verdict: Verdict
    worst: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class ScoreResult:
    """The outcome; holds no tensors. `rows` are those with a problem."""

    verdict: Verdict
    relations: tuple[ScoreRelation, ...]
    rows: tuple[ScoreRow, ...]
    total_rows: int
    notes: tuple[str, ...] = ()
    runs: int = 0


def judge_scores(
    score: Callable[[Any], Any],
    rows: Any,
    *,
    prompt_lengths: Any = None,
    bos_id: int | None = None,
    eos_id: int | None = None,
    pad_id: int | None = None,
    tokenizer: Any = None,
) -> ScoreResult:
    """Judge a scorer that gives a number (or one a token) for each row.

    Raises:
        TypeError: `rows` or what `score` returns is of none of the accepted forms.
        ValueError: Fewer than two rows, or an empty one.
    """
    items = Items(rows, prompt_lengths)
    with watched():
        outer = called_modules(lambda: score(list(items.rows)))
    with steady(outer) as reason:
        judge = _Judge(score, items, outer, (bos_id, eos_id, pad_id), tokenizer)
        if reason:
            judge.low = reason
        return judge.judge()


@dataclass
class _Judge(Watch):
    relations: list[ScoreRelation] = field(default_factory=list)

    def judge(self) -> ScoreResult:
        base = self._values(self.items.rows)
        count = len(self.items)
        if len(base) != count:
            return self._wrong_count(len(base))
        self.base = base
        if any(self._off(a, b) for a, b in zip(base, self._values(self.items.rows), strict=True)):
            return self._result(
                Verdict.UNDECIDED,
                "the same rows get other scores when they are scored again: is something drawn, or kept from one call to "
                "the next (a cache)?",
            )
        order = sorted(range(count), key=self.items.length)
        self.solo = list(dict.fromkeys([order[0], order[-1], *order]))[: max(MAX_SOLO, 6)]
        self.alone = {i: self._values([self.items.rows[i]])[0] for i in self.solo}
        self._own_tokens()
        self._attribute()
        self._compare()
        worst = [relation.verdict for relation in self.relations]
        if self.problems or Verdict.DIFFERENT in worst:
            return self._result(Verdict.DIFFERENT)
        if self.remembers:
            return self._result(
                Verdict.UNDECIDED,
                "what is remembered from one call cannot differ in the next: give the scorer without its memory of results",
            )
        if Verdict.UNDECIDED in worst:
            return self._result(Verdict.UNDECIDED)
        return self._result(Verdict.ROUNDING if Verdict.ROUNDING in worst else Verdict.EQUAL)

    def _result(self, verdict: Verdict, note: str = "") -> ScoreResult:
        notes = (*self.notes, note) if note else tuple(self.notes)
        rows = tuple(self.problems[i] for i in sorted(self.problems))
        return ScoreResult(verdict, tuple(self.relations), rows, len(self.items), notes, self.runs)

    def _wrong_count(self, got: int) -> ScoreResult:
        problem = count_fault(got, len(self.items))
        row = ScoreRow(problem.row, (), "", math.nan, math.nan, math.nan, problem)
        self.problems[problem.row] = row
        return self._result(Verdict.DIFFERENT)

    # Values

    def _own_tokens(self) -> None:
        """What another last token does: the scale of each score, and whether it rests on that token at all."""
        self.dead_in_batch: set[int] = set()
        values = [value for row in self.base for value in row.tolist()]
        if all(float(value).is_integer() for value in values):
            self.notes.append("all scores are whole numbers, so what moves them a little cannot be seen")
            self.scale = dict.fromkeys(range(len(self.items)), 1.0)
            return
        moved = self._values([self.items.with_other_end(i, seed=1) for i in range(len(self.items))])
        in_batch = [self._difference(a, b) for a, b in zip(self.base, moved, strict=True)]
        for i in self.solo:
            move = 0.0
            for seed in (1, 2, 3):
                (other,) = self._values([self.items.with_other_end(i, seed)])
                if self._off(self.alone[i], other):
                    move = max(move, self._difference(self.alone[i], other))
                    break
            if move == 0:
                self.dead.add(i)
            elif not self._off(self.base[i], moved[i]):
                self.dead_in_batch.add(i)
            self.scale[i] = move
        known = [value for value in (*self.scale.values(), *in_batch) if 0 < value < math.inf]
        typical = float(np.median(known)) if known else 1.0
        for i in range(len(self.items)):
            own = self.scale.get(i) or in_batch[i]
            self.scale[i] = own if 0 < own < math.inf else typical

    def _relative(self, i: int, a: np.ndarray, b: np.ndarray) -> float:
        """The difference in units of the row's scale; what float32 cannot hold anyway is none."""
        found = self._difference(a, b)
        size = float(np.abs(a).max()) if a.size and np.isfinite(a).all() else 0.0
        return 0.0 if found <= 16 * EPS * size else found / self.scale[i]

    def _compare(self) -> None:
        items = self.items
        if self.reader is not None and self.reader.low:
            self.low = self.low or f"the scorer computes in {self.reader.low}"
        count = len(items)
        ends = list(dict.fromkeys([0, count - 1]))
        found: dict[int, float] = {}
        for i in ends:
            rows = [items.rows[j] if j == i else items.stranger(j) for j in range(count)]
            found[i] = self._relative(i, self.base[i], self._values(rows)[i])
        # Texts of as many letters need not have as many tokens: then the padding changes with the neighbour.
        self._relation(
            "neighbours", "other text in the other rows changes nothing", found, exact=items.kind == "ids"
        )
        turned = self._values(items.rows[::-1])[::-1]
        found = {i: self._relative(i, self.base[i], turned[i]) for i in range(count)}
        self._relation("row-order", "the order of the rows changes nothing", found)
        found = {i: self._relative(i, self.alone[i], self.base[i]) for i in self.solo}
        self._relation("batch-vs-alone", "a row in the batch scores as it does alone", found)
        self._batched = found
        found = {}
        for i in self.solo[:2]:
            twice = self._values([items.rows[i]] * 3)
            found[i] = max(self._relative(i, self.alone[i], value) for value in twice)
        self._relation("batch-size", "three copies of a row score as the row does", found)
        self._not_finite()
        self._twins()
        self._dead()
        self._widths()
        for relation in self.relations:
            if relation.verdict is Verdict.DIFFERENT and not self.problems:
                self._value_problems(relation.name)

    def _relation(self, name: str, says: str, found: dict[int, float], *, exact: bool = False) -> None:
        worst = max(found.values(), default=0.0)
        bug, rounding = (_LOW_ROUNDING, _LOW_ROUNDING) if self.low and not exact else (BUG, ROUNDING)
        reason = ""
        if worst == 0:
            verdict = Verdict.EQUAL
        elif worst <= rounding:
            verdict = Verdict.ROUNDING
        elif worst >= bug and (not self.low or exact or worst == math.inf):
            verdict = Verdict.DIFFERENT
        else:
            verdict = Verdict.UNDECIDED
            reason = self.low or "more than rounding, less than any known mistake"
        self.relations.append(ScoreRelation(name, says, verdict, worst, reason))
        self._found = {**getattr(self, "_found", {}), name: found}

    def _value_problems(self, name: str) -> None:
        for i, value in self._found[name].items():
            if value >= BUG:
                reads = self.reads.get(i)
                problem = explain_value(
                    i,
                    name,
                    reads,
                    self._call(reads),
                    shorter=self._padded(i),
                )
                drawn = None
                if reads is not None:
                    in_batch = name == "batch-vs-alone" and reads.batch is not None
                    drawn = reads.drawn(self._calls) if in_batch else reads.drawn_alone()
                self._add(i, problem, drawn)

    def _widths(self) -> None:
        """Before other explanations: this one is told by an exact number."""
        for i, value in self._batched.items():
            reads = self.reads.get(i)
            call = self._call(reads)
            if value >= BUG and reads is not None and call is not None:
                problem = width_fault(reads, (total(self.alone[i]), total(self.base[i])), call)
                if problem is not None:
                    self._add(i, problem, reads.drawn(self._calls))

    def _padded(self, i: int) -> bool:
        """Whether the row is shorter than the longest, as far as that can be told."""
        return self.items.length(i) < max(self.items.length(j) for j in range(len(self.items)))

    def _not_finite(self) -> None:
        for i, value in enumerate(self.base):
            if not np.isfinite(value).all():
                alone = self.alone.get(i, value)
                self._add(i, nan_fault(i, total(value), total(alone)), self._drawn_alone(i))

    def _twins(self) -> None:
        """Rows that get one score in the batch and two alone: the one that is not its own is another row's."""
        for i in self.alone:
            for j in self.alone:
                same = i != j and not self._off(self.base[i], self.base[j])
                if (
                    same
                    and self._off(self.alone[i], self.alone[j])
                    and self._off(self.alone[i], self.base[i])
                ):
                    self._add(i, twin_fault(i, j), self._drawn_alone(i))

    def _dead(self) -> None:
        """Rows whose last token does not count."""
        if any(reads.selects for reads in self.reads.values()):
            return
        moved: dict[int, list[int]] = {}
        for i in self.dead_in_batch:
            rows = list(self.items.rows)
            rows[i] = self.items.with_other_end(i, seed=1)
            values = self._values(rows)
            moved[i] = [j for j in range(len(rows)) if j != i and self._off(self.base[j], values[j])]
        swapped = bool(moved) and max(map(len, moved.values())) == 1
        for i in sorted(self.dead | self.dead_in_batch):
            if i in self.dead_in_batch and swapped and len(moved[i]) < 2:
                self._add(i, target_fault(i, moved[i]), self._drawn_alone(i))
                continue
            alone = i in self.dead
            problem = Problem(
                "DLM401",
                i,
                WHOLE_ROW,
                "another last token leaves the score as it is"
                + ("" if alone else ", in the batch; alone it moves"),
                "the score is read at padding or somewhere else than at the row's end"
                if not alone
                else "the score does not see the whole row: it is read too early, or the last token is not counted",
                "read at the last real token: the last column with left padding, attention_mask.sum(-1) - 1 with right",
            )
            self._add(i, problem, self._drawn_alone(i))
