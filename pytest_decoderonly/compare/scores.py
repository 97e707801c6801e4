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

from pytest_decoderonly.compare.items import Items, as_values, total
from pytest_decoderonly.compare.labels import PromptNotFoundError, find_boundary
from pytest_decoderonly.compare.padding import WHOLE_ROW, Problem
from pytest_decoderonly.compare.reading import (
    CannotReadError,
    Edit,
    Reader,
    called_modules,
    columns,
    steady,
    watched,
)
from pytest_decoderonly.compare.scorefaults import (
    Reads,
    batch_fault,
    given_fault,
    label_fault,
    order_fault,
    solo_fault,
)
from pytest_decoderonly.compare.scorevalues import (
    count_fault,
    divisor_fault,
    explain_value,
    nan_fault,
    target_fault,
    twin_fault,
    width_fault,
)
from pytest_decoderonly.compare.verdict import Verdict
from pytest_decoderonly.compare.windows import MAX_STATES, find_windows, window_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_decoderonly.compare.reading import Call

# In units of what another last token does to the score. Rounding in float32 gives 1e-7 to 1e-4 (scores add up many
# log-probabilities); a wrong position or a counted pad, 1e-2 and more.
ROUNDING, BUG = 1e-3, 1e-2
_LOW_ROUNDING = 0.1
_EPS = float(np.finfo(np.float32).eps)
_MAX_SOLO, _MAX_PROBES = 3, 40


@dataclass(frozen=True)
class ScoreRelation:
    """One relation: `worst` is the greatest move of a score, in units of what another last token does."""

    name: str
    says: str
    verdict: Verdict
    worst: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class ScoreRow:
    """A row as the model got it (`ids`, `signs` per column, empty where that was not seen), and its scores."""

    row: int
    ids: tuple[int, ...]
    signs: str
    alone: float
    batched: float
    scale: float
    problem: Problem


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
class _Judge:
    score: Callable[[Any], Any]
    items: Items
    outer: Sequence[Any]
    special: tuple[int | None, int | None, int | None]
    tokenizer: Any = None
    low: str = ""
    runs: int = 0
    notes: list[str] = field(default_factory=list)
    relations: list[ScoreRelation] = field(default_factory=list)
    problems: dict[int, ScoreRow] = field(default_factory=dict)
    reader: Reader | None = None
    remembers: bool = False

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
        self.solo = list(dict.fromkeys([order[0], order[-1], *order]))[: max(_MAX_SOLO, 6)]
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

    def _values(self, rows: Sequence[Any]) -> list[np.ndarray]:
        self.runs += 1
        return as_values(self.score(list(rows)), len(rows))

    def _wrong_count(self, got: int) -> ScoreResult:
        problem = count_fault(got, len(self.items))
        row = ScoreRow(problem.row, (), "", math.nan, math.nan, math.nan, problem)
        self.problems[problem.row] = row
        return self._result(Verdict.DIFFERENT)

    # Values

    @staticmethod
    def _difference(a: np.ndarray, b: np.ndarray) -> float:
        if a.shape != b.shape:
            return math.inf
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            return 0.0 if np.array_equal(a, b, equal_nan=True) else math.inf
        return float(np.abs(a - b).max()) if a.size else 0.0

    def _off(self, a: np.ndarray, b: np.ndarray) -> bool:
        size = float(np.abs(a).max()) if a.size and np.isfinite(a).all() else 1.0
        return self._difference(a, b) > 16 * _EPS * size

    def _own_tokens(self) -> None:
        """What another last token does: the scale of each score, and whether it rests on that token at all."""
        self.scale: dict[int, float] = {}
        self.dead: set[int] = set()
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
        return 0.0 if found <= 16 * _EPS * size else found / self.scale[i]

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

    def _drawn_alone(self, i: int) -> tuple[tuple[int, ...], str] | None:
        reads = self.reads.get(i)
        return reads.drawn_alone() if reads is not None else None

    def _add(self, i: int, problem: Problem, drawn: tuple[tuple[int, ...], str] | None) -> None:
        if i in self.problems:
            return
        alone = total(self.alone[i]) if i in self.alone else math.nan
        ids, signs = drawn or ((), "")
        self.problems[i] = ScoreRow(
            i, ids, signs, alone, total(self.base[i]), self.scale.get(i, math.nan), problem
        )

    # Attribution

    def _attribute(self) -> None:
        self.reads: dict[int, Reads] = {}
        self._calls: tuple[Call, ...] = ()
        if not self.outer:
            self.notes.append("no torch module was called: what the score reads was told by its values alone")
            return
        try:
            self.reader = Reader(self.score, self.outer[0])
            _, self._calls = self._run(self.items.rows)
            # Where logits are read from one module and states from another, only the first is watched.
            lone = {i: self._run([self.items.rows[i]])[1] for i in self.solo[:_MAX_SOLO]}
            for i in [i for i, calls in lone.items() if self._windows(i, calls)]:
                del lone[i]
            self._place(lone)
            self._independent()
            for i in list(lone):
                if i in self.reads:
                    self._read_row(i)
            self._read_pads()
        except CannotReadError as error:
            self.notes.append(f"which positions the score reads was not looked at: {error}")
            self.reader = None
            return
        self._faults()

    def _run(
        self, rows: Sequence[Any], edit: Edit | None = None
    ) -> tuple[list[np.ndarray], tuple[Call, ...]]:
        assert self.reader is not None  # noqa: S101 - set before
        self.runs += 1
        values, calls = self.reader.run(rows, edit)
        return as_values(values, len(rows)), calls

    def _place(self, lone: dict[int, tuple[Call, ...]]) -> None:
        """Find each row's own tokens in what the model got, alone and in the batch."""
        taken: set[tuple[int, int]] = set()
        for i in sorted(lone):
            calls = lone[i]
            if not calls:
                self.remembers = True
                raise CannotReadError(
                    "the scorer does not call its model for a row that it has scored before"
                )
            # The same row may come several times, to fill a batch.
            if len(calls) != 1 or len(set(calls[0].ids)) != 1:
                raise CannotReadError("a row alone is not one pass of one row")
            given = self.items.tokens[i] if self.items.tokens is not None else None
            reads = Reads.of(i, calls[0], given, self.special[2])
            reads.prompt = self.items.prompts[i] if self.items.prompts is not None else None
            reads.rests = i not in self.dead
            self._border_of_texts(reads)
            if reads.find(self._calls, taken):
                self.reads[i] = reads
            else:
                self.notes.append(f"row {i} does not reach the model in the batch as it does alone")
                reads.batch = None
                self.reads[i] = reads

    def _windows(self, i: int, calls: tuple[Call, ...]) -> bool:
        """Whether a row is run in windows; then looks how often each of its tokens is scored."""
        row = self.items.tokens[i] if self.items.tokens is not None else []
        windows = find_windows(calls, row) or []
        states = [state for window in windows for state in window.states]
        if not states or len(states) > MAX_STATES:
            return False
        read = [0] * len(row)
        for column, token in states:
            values, _ = self._run([self.items.rows[i]], Edit(states=frozenset([column])))
            if token < len(row) and self._off(self.alone[i], values[0]):
                read[token] += 1
        prompt = self.items.prompts[i] if self.items.prompts is not None else None
        problem, signs = window_fault(i, row, windows, read, prompt)
        if problem is not None:
            self._add(i, problem, (tuple(row), signs))
        self.notes.append(
            f"row {i} is run in {len(windows)} windows; what they score was read alone, not in the batch"
        )
        return True

    def _border_of_texts(self, reads: Reads) -> None:
        """In the tokens that the model got, where a prompt given as text ends."""
        if self.items.kind != "text" or not self.items.paired or self.tokenizer is None:
            return
        try:
            border = find_boundary(self.tokenizer, self.items.rows[reads.row][0], reads.own)
        except PromptNotFoundError:
            self.notes.append(f"where the prompt of row {reads.row} ends in its tokens cannot be told")
            return
        reads.offset, reads.prompt, reads.spanning = 0, border.length, border.spanning

    def _call(self, reads: Reads | None) -> Call | None:
        return self._calls[reads.batch[0]] if reads is not None and reads.batch is not None else None

    def _follows(self, i: int, values: Sequence[np.ndarray]) -> bool:
        return self._off(self.base[i], values[i])

    def _independent(self) -> None:
        """No score may follow the states of other rows: moved all at once, then row by row."""
        for i, reads in self.reads.items():
            if reads.batch is None:
                continue
            others = [column for column in columns(self._calls) if column[:2] != reads.batch[:2]]
            values, _ = self._run(self.items.rows, Edit(states=frozenset(others)))
            if not others or not self._follows(i, values):
                continue
            found = []
            for j, other in self.reads.items():
                states = frozenset(c for c in others if other.batch is not None and c[:2] == other.batch[:2])
                if j != i and states and self._follows(i, self._run(self.items.rows, Edit(states=states))[0]):
                    found.append(j)
            reads.others = tuple(sorted(found))

    def _read_row(self, i: int) -> None:
        """Which of a row's own positions the score follows, alone and in the batch."""
        reads = self.reads[i]
        places = reads.probes(_MAX_PROBES)
        row = [self.items.rows[i]]
        for place in places:
            values, _ = self._run(row, Edit(states=reads.here(reads.start + place)))
            if self._off(self.alone[i], values[0]):
                reads.alone.add(place)
        outside = [c for c in range(len(reads.ids)) if not reads.start <= c < reads.start + reads.length]
        for column in outside[:4]:
            values, _ = self._run(row, Edit(states=reads.here(column)))
            if self._off(self.alone[i], values[0]):
                reads.alone.add(column - reads.start)
        if reads.batch is None:
            return
        call, at, start = reads.batch
        for place in places:
            values, _ = self._run(self.items.rows, Edit(states=frozenset([(call, at, start + place)])))
            if self._follows(i, values):
                reads.batched.add(place)
            elif place in reads.alone:
                others = [j for j in range(len(values)) if j != i and self._follows(j, values)]
                reads.owner = others[0] if others else reads.owner

    def _read_pads(self) -> None:
        """No score may follow a padded position: all of a row's at once, then one by one."""
        for i, reads in self.reads.items():
            if reads.batch is None:
                continue
            call, at, start = reads.batch
            width = len(self._calls[call].ids[at])
            pads = [c for c in range(width) if not start <= c < start + reads.length]
            if not pads:
                continue
            values, _ = self._run(self.items.rows, Edit(states=frozenset((call, at, c) for c in pads)))
            if not self._follows(i, values):
                continue
            near = sorted(pads, key=lambda c: (min(abs(c - start), abs(c - start - reads.length + 1)), c))
            for c in dict.fromkeys([*near[: _MAX_PROBES // 2], pads[0], pads[-1]]):
                values, _ = self._run(self.items.rows, Edit(states=frozenset([(call, at, c)])))
                if self._follows(i, values):
                    reads.batched.add(c - start)

    def _faults(self) -> None:
        bos_id, eos_id, pad_id = self.special
        self._labels()
        if self.problems:
            return  # the wrong token everywhere: what is read is one off because of that
        doubled = len(self.reads) > 1 and len({reads.doubled for reads in self.reads.values()}) == 1
        carried = all(reads.others == tuple(range(reads.row)) for reads in self.reads.values())
        borders = {
            i: reads.offset + reads.prompt
            for i, reads in self.reads.items()
            if reads.offset is not None and reads.prompt is not None
        }
        for i, reads in self.reads.items():
            problem = given_fault(reads, bos_id=bos_id, eos_id=eos_id, pad_id=pad_id, doubled=doubled)
            problem = problem or order_fault(reads, carried=carried)
            problem = problem or solo_fault(
                reads, pad_id=pad_id, eos_id=eos_id, paired=self.items.paired or reads.prompt is not None
            )
            drawn = reads.drawn_alone()
            if problem is None and reads.batch is not None:
                problem = batch_fault(reads, self._calls[reads.batch[0]], borders)
                drawn = reads.drawn(self._calls)
            if problem is None and reads.prompt:
                problem = self._divisor(i, reads)
                drawn = reads.drawn_alone()
            if problem is not None:
                self._add(i, problem, drawn)

    def _divisor(self, i: int, reads: Reads) -> Problem | None:
        """What the sum is divided by: all tokens are given one likelihood, and the score follows it in proportion."""
        if self.reader is None or not self.reader.likelihoods or len(reads.alone) < 2:
            return None
        levels = []
        for level in (1.0, 2.0, 3.0):
            edit = Edit(levels={(0, at): level for at in range(reads.copies)})
            try:
                levels.append(total(self._run([self.items.rows[i]], edit)[0][0]))
            except CannotReadError:
                return None
        slope = abs(levels[1] - levels[0])
        straight = abs(levels[2] - 2 * levels[1] + levels[0]) < 1e-4 * slope
        return divisor_fault(reads, slope) if straight and 0 < slope < 1 else None

    def _labels(self) -> None:
        """Which token's likelihood is taken at a position: it must be that of the next one."""
        if self.reader is None or not self.reader.likelihoods:
            return
        for i, reads in self.reads.items():
            inner = sorted(place for place in reads.alone if 0 < place < reads.length - 2)
            if len(reads.alone) < 2 or not inner:
                continue
            place = inner[len(inner) // 2]
            moves = {}
            for step in (-1, 0, 1, 2):
                column = reads.start + place
                token = reads.ids[column + step]
                edit = Edit(logits=dict.fromkeys(reads.here(column), (token, 4.0)))
                try:
                    values, _ = self._run([self.items.rows[i]], edit)
                except CannotReadError:
                    return
                moves[step] = (token, self._difference(self.alone[i], values[0]))
            problem = label_fault(reads, place, moves)
            best = max(moves, key=lambda step: moves[step][1])
            for other in self.reads.values():
                other.predicts = best == 1 and moves[1][1] > 0
            if problem is not None:
                self._add(i, problem, reads.drawn_alone())
            return
