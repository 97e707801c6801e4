"""Which states and tokens of the model each score of a scorer follows, alone and in the batch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_decoderonly.compare.items import Items, as_values, total
from pytest_decoderonly.compare.labels import PromptNotFoundError, find_boundary
from pytest_decoderonly.compare.reading import CannotReadError, Edit, Reader, columns
from pytest_decoderonly.compare.scorefaults import (
    Reads,
    batch_fault,
    first_token_fault,
    first_tokens,
    given_fault,
    label_fault,
    order_fault,
    solo_fault,
)
from pytest_decoderonly.compare.scorevalues import divisor_fault
from pytest_decoderonly.compare.windows import MAX_STATES, find_windows, window_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_decoderonly.compare.padding import Problem
    from pytest_decoderonly.compare.reading import Call

EPS = float(np.finfo(np.float32).eps)
MAX_SOLO, _MAX_PROBES, _MAX_ASKED = 3, 40, 6
_UNLIKELY = -30.0


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


@dataclass
class Watch:
    """A scorer at work on its rows. `problems` are collected by row, the first of each row stays."""

    score: Callable[[Any], Any]
    items: Items
    outer: Sequence[Any]
    special: tuple[int | None, int | None, int | None]
    tokenizer: Any = None
    low: str = ""
    runs: int = 0
    notes: list[str] = field(default_factory=list)
    problems: dict[int, ScoreRow] = field(default_factory=dict)
    reader: Reader | None = None
    remembers: bool = False
    base: list[np.ndarray] = field(default_factory=list)
    alone: dict[int, np.ndarray] = field(default_factory=dict)
    solo: list[int] = field(default_factory=list)
    scale: dict[int, float] = field(default_factory=dict)
    dead: set[int] = field(default_factory=set)
    reads: dict[int, Reads] = field(default_factory=dict)

    def _values(self, rows: Sequence[Any]) -> list[np.ndarray]:
        self.runs += 1
        return as_values(self.score(list(rows)), len(rows))

    @staticmethod
    def _difference(a: np.ndarray, b: np.ndarray) -> float:
        if a.shape != b.shape:
            return math.inf
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            return 0.0 if np.array_equal(a, b, equal_nan=True) else math.inf
        return float(np.abs(a - b).max()) if a.size else 0.0

    def _off(self, a: np.ndarray, b: np.ndarray) -> bool:
        size = float(np.abs(a).max()) if a.size and np.isfinite(a).all() else 1.0
        return self._difference(a, b) > 16 * EPS * size

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

    def _attribute(self) -> None:
        self._calls: tuple[Call, ...] = ()
        if not self.outer:
            self.notes.append("no torch module was called: what the score reads was told by its values alone")
            return
        try:
            self.reader = Reader(self.score, self.outer[0])
            _, self._calls = self._run(self.items.rows)
            # Where logits are read from one module and states from another, only the first is watched.
            lone = {i: self._run([self.items.rows[i]])[1] for i in self.solo[:MAX_SOLO]}
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
        for column in outside[:_MAX_PROBES]:
            values, _ = self._run(row, Edit(states=reads.here(column)))
            if self._off(self.alone[i], values[0]):
                reads.alone.add(column - reads.start)
        reads.selects = self._selects(i, reads)
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

    def _selects(self, i: int, reads: Reads) -> bool:
        """Whether a token that does not move the score would, were it likelier or less likely: a minimum, say."""
        wanted = reads.expected() or set(range(reads.length - 1))
        idle = sorted(place for place in wanted - reads.alone if 0 <= place < reads.length - 1)
        if self.reader is None or not self.reader.likelihoods or not reads.alone:
            return False
        for place in dict.fromkeys([*idle[-1:], *idle[:: max(1, len(idle) // _MAX_ASKED)]]):
            column = reads.start + place
            for amount in (_UNLIKELY, -_UNLIKELY):
                edit = Edit(logits=dict.fromkeys(reads.here(column), (reads.ids[column + 1], amount)))
                try:
                    values, _ = self._run([self.items.rows[i]], edit)
                except CannotReadError:
                    return False
                if self._off(self.alone[i], values[0]):
                    return True
        return False

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
        first = first_tokens(self.reads.values())
        carried = all(reads.others == tuple(range(reads.row)) for reads in self.reads.values())
        borders = {
            i: reads.offset + reads.prompt
            for i, reads in self.reads.items()
            if reads.offset is not None and reads.prompt is not None
        }
        for i, reads in self.reads.items():
            problem = given_fault(
                reads, bos_id=bos_id, eos_id=eos_id, pad_id=pad_id, given=self._marks(i), doubled=doubled
            )
            problem = problem or order_fault(reads, carried=carried)
            paired = self.items.paired or reads.prompt is not None
            if problem is None:
                problem = first_token_fault(reads) if first else None
                problem = problem or solo_fault(reads, pad_id=pad_id, eos_id=eos_id, paired=paired)
            drawn = reads.drawn_alone()
            if problem is None and reads.batch is not None:
                problem = batch_fault(reads, self._calls[reads.batch[0]], borders)
                drawn = reads.drawn(self._calls)
            if problem is not None:
                self._add(i, problem, drawn)
        if not self.problems:
            self._divisors()

    def _marks(self, i: int) -> int:
        """How many BOS and EOS the user's own row holds; a row of text may say them by name."""
        bos_id, eos_id, _ = self.special
        if self.items.tokens is not None:
            return sum(token in (bos_id, eos_id) for token in self.items.tokens[i])
        text = "".join(self.items.rows[i])
        names = [getattr(self.tokenizer, name, None) for name in ("bos_token", "eos_token")]
        return sum(text.count(str(name)) for name in names if name)

    def _divisors(self) -> None:
        """One row may be divided by such a number for other reasons (bytes, a penalty); all of them are not."""
        found = {i: self._divisor(i, reads) for i, reads in self.reads.items()}
        if len(found) > 1 and len({self.reads[i].length for i in found}) > 1 and all(found.values()):
            for i, problem in found.items():
                if problem is not None:
                    self._add(i, problem, self.reads[i].drawn_alone())

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
            if len(reads.alone) < 2 or not inner or reads.selects:
                continue
            place = inner[len(inner) // 2]
            moves = {}
            for step in (-1, 0, 1, 2):
                column = reads.start + place
                token = reads.ids[column + step]
                move = 0.0
                for amount in (4.0, -4.0):  # a minimum follows only what makes a token less likely
                    edit = Edit(logits=dict.fromkeys(reads.here(column), (token, amount)))
                    try:
                        values, _ = self._run([self.items.rows[i]], edit)
                    except CannotReadError:
                        return
                    move = max(move, self._difference(self.alone[i], values[0]))
                moves[step] = (token, move)
            problem = label_fault(reads, place, moves)
            best = max(moves, key=lambda step: moves[step][1])
            for other in self.reads.values():
                other.predicts = best == 1 and moves[1][1] > 0
            if problem is not None:
                self._add(i, problem, reads.drawn_alone())
            return
