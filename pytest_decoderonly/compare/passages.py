"""Where the words of canaries stand in a row of tokens, and whose token each position holds."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from pytest_decoderonly.compare.padding import Problem, real_positions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_decoderonly.compare.canaries import Canary, CanaryTurn, Reader
    from pytest_decoderonly.compare.gather import TrainingRow

Owner = Literal["padding", "space", "template", "terminator", "prompt", "response", "either"]


@dataclass(frozen=True)
class Passage:
    """A stretch of a row that holds one canary's turn, whole or cut. Positions count tokens, end excluded.

    `words` are the numbers of the words found.
    """

    canary: int
    turn: int
    role: str
    words: tuple[int, ...]
    total: int
    start: int
    end: int

    @property
    def found(self) -> int:
        """How many of its words are there."""
        return len(self.words)

    @property
    def ended(self) -> bool:
        """Whether its last word is there."""
        return self.words[-1] == self.total - 1

    @property
    def whole(self) -> bool:
        """Whether all words of the turn are there."""
        return self.found == self.total


@dataclass(frozen=True)
class SupervisedRow:
    """One row: whose token each position holds, and whether it is supervised.

    `begins` are the positions where `position_ids` begin again: nothing in the row predicts the token there.
    """

    where: str
    ids: tuple[int, ...]
    labels: tuple[int, ...]
    owners: tuple[Owner, ...]
    supervised: tuple[bool, ...]
    passages: tuple[Passage, ...]
    problem: Problem | None = None
    notes: tuple[str, ...] = ()
    begins: tuple[int, ...] = ()

    @property
    def canaries(self) -> tuple[int, ...]:
        """The canaries of the row, in their order."""
        return tuple(dict.fromkeys(passage.canary for passage in self.passages))


@dataclass(frozen=True)
class Expectation:
    """What is to be supervised: every answer, or only the last of each example; headers of a template.

    `unmarked` is what to say where nothing is supervised, if the template cannot mark what the assistant writes;
    `written` what the assistant writes in a canary's turns by the chat template, without white space.
    """

    turns: Literal["all", "last"]
    ignore_index: int
    header: str = ""
    lead: str = ""
    bos: bool = False
    unmarked: str = ""
    written: Mapping[int, tuple[str, ...]] = field(default_factory=dict)


class Finder:
    """Finds the words of all canaries in text without white space."""

    def __init__(self, canaries: Sequence[Canary]) -> None:
        self.canaries = {canary.number: canary for canary in canaries}
        self._home = {
            word: (canary.number, turn, index)
            for canary in canaries
            for turn, part in enumerate(canary.parts)
            for index, word in enumerate(part.words)
        }
        words = sorted(self._home, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, words)), re.IGNORECASE)

    def canaries_in(self, text: str) -> set[int]:
        """Return the numbers of the canaries that a text has words of."""
        return {self._home[hit.group().lower()][0] for hit in self._hits(text)}

    def passages(self, text: str) -> list[tuple[int, int, int, int, tuple[int, ...]]]:
        """Return (start, end, canary, turn, words found) of each passage, in order."""
        runs: list[list[int]] = []
        words: list[list[int]] = []
        last = (-1, -1, -1)
        for hit in self._hits(text):
            canary, turn, index = home = self._home[hit.group().lower()]
            if runs and home[:2] == last[:2] and index > last[2]:
                runs[-1][1] = hit.end()
                words[-1].append(index)
            else:
                runs.append([hit.start(), hit.end(), canary, turn])
                words.append([index])
                self._grow_back(text, runs, self.canaries[canary].parts[turn], index)
            last = home
            part = self.canaries[canary].parts[turn]
            self._grow_on(text, runs[-1], part, index)
        return [(*run[:4], tuple(found)) for run, found in zip(runs, words, strict=True)]  # type: ignore[misc]

    def fragments(self, text: str, first: int, last: int) -> tuple[int, int]:
        """Return how many characters before `first` and after `last` may be remains of an answer.

        A row that was cut out of a longer one may begin in the last word of an answer, or end in the first.
        """
        answers = [
            part for canary in self.canaries.values() for part in canary.parts if part.role == "assistant"
        ]
        tails = ["".join(part.words)[-len(part.words[-1]) :] + part.mark for part in answers]
        begin = max(
            (k for tail in tails for k in range(1, len(tail)) if text[:first].startswith(tail[-k:])),
            default=0,
        )
        end = max(
            (
                k
                for part in answers
                for k in range(1, len(part.words[0]))
                if text[last:].endswith(part.words[0][:k])
            ),
            default=0,
        )
        return begin, end

    def _hits(self, text: str) -> list[re.Match[str]]:
        return [hit for hit in self._pattern.finditer(text) if hit.group().lower() in self._home]

    @staticmethod
    def _grow_on(text: str, run: list[int], turn: CanaryTurn, index: int) -> None:
        """Take in what follows a word in its turn: the mark, or the rest of a word that is cut off."""
        for letter in "".join(turn.words[index + 1 :]) + turn.mark:
            if text[run[1] : run[1] + 1].lower() != letter.lower():
                break
            run[1] += 1

    @staticmethod
    def _grow_back(text: str, runs: list[list[int]], turn: CanaryTurn, index: int) -> None:
        floor = runs[-2][1] if len(runs) > 1 else 0
        run = runs[-1]
        for letter in reversed("".join(turn.words[:index])):
            if run[0] <= floor or text[run[0] - 1].lower() != letter.lower():
                break
            run[0] -= 1


def read_row(row: TrainingRow, finder: Finder, reader: Reader, expect: Expectation) -> SupervisedRow:
    """Say for each position of a row whose token it is."""
    pieces = [reader.piece(token) for token in row.ids]
    starts = [0]
    for piece in pieces:
        starts.append(starts[-1] + len(piece))
    supervised = tuple(label != expect.ignore_index for label in row.labels)
    real = list(real_positions(row.ids, row.mask, None if row.alone else reader.pad))
    if row.mask is not None:
        _hide_unmasked_padding(real, row.ids, reader)
    notes: list[str] = []
    if row.mask is None and not row.alone and reader.pad is not None and reader.pad == reader.eos:
        last = len(real) - 1 - real[::-1].index(True) if any(real) else -1
        if last + 1 < len(real):
            if supervised[last + 1]:
                real[last + 1] = True
            else:
                notes.append("padding and EOS share an id: with an attention_mask the EOS would be checked")
    owners: list[Owner] = [
        "padding" if not flag else "template" if piece else "space"
        for flag, piece in zip(real, pieces, strict=True)
    ]
    passages: list[Passage] = []
    text = "".join(pieces)
    runs = finder.passages(text)
    for begin, end, canary, turn, words in runs:
        part = finder.canaries[canary].parts[turn]
        inside = [i for i in range(len(pieces)) if pieces[i] and starts[i] < end and starts[i + 1] > begin]
        mine: Owner = "response" if counts(finder.canaries[canary], turn, expect) else "prompt"
        for i in inside:
            whole = starts[i] >= begin and starts[i + 1] <= end
            # A token that holds the ends of a question and the beginning of an answer belongs to both.
            owners[i] = mine if whole or mine == "prompt" else "either"
        # Spaces within a passage are its own.
        for i in range(inside[0] + 1, inside[-1]):
            if not pieces[i] and real[i]:
                owners[i] = mine
        passages.append(Passage(canary, turn, part.role, words, len(part.words), inside[0], inside[-1] + 1))
    begins = restarts(real, row.positions)
    for a, b in pairwise([0, *begins, len(pieces)]) if runs else ():
        places = [(run[0], run[1]) for run in runs]
        cut = _fragments(finder, text[starts[a] : starts[b]], starts[a], places)
        _cut_off(owners, starts[a : b + 1], cut, row.ids[a:b], first=a, special=reader.special)
    for i in begins:
        if owners[i] == "response":
            owners[i] = "either"
    return SupervisedRow(
        row.where,
        row.ids,
        row.labels,
        tuple(owners),
        supervised,
        tuple(passages),
        notes=tuple(notes),
        begins=begins,
    )


def restarts(real: Sequence[bool], positions: Sequence[int] | None) -> tuple[int, ...]:
    """Return where positions begin again among the real tokens of a row."""
    if positions is None:
        return ()
    inside = [i for i, flag in enumerate(real) if flag]
    return tuple(b for a, b in pairwise(inside) if positions[b] <= positions[a])


def _fragments(finder: Finder, text: str, offset: int, runs: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the characters at both ends of an example that may be remains of an answer."""
    mine = [
        (run[0] - offset, run[1] - offset) for run in runs if run[0] - offset < len(text) and run[1] > offset
    ]
    first = max(0, mine[0][0]) if mine else len(text)
    return finder.fragments(text, first, mine[-1][1] if mine else 0)


def _hide_unmasked_padding(real: list[bool], ids: Sequence[int], reader: Reader) -> None:
    """Padding that a mask of ones leaves in sight is padding all the same, where its token is nothing else."""
    pad = reader.pad
    if pad is None or pad in (reader.eos, reader.bos):
        return
    shown = real_positions(ids, None, pad)
    if True not in shown:
        return
    first, last = shown.index(True), len(ids) - shown[::-1].index(True)
    real[:first] = [False] * first
    seen = sum(real[last:])
    # Where turns end in this token, the one next to the text is theirs; and one alone may be a second way to stop.
    last += pad in ids[first:last] or seen == 1
    real[last:] = [False] * len(real[last:])


def _cut_off(
    owners: list[Owner],
    starts: Sequence[int],
    fragments: tuple[int, int],
    ids: Sequence[int],
    *,
    first: int,
    special: frozenset[int],
) -> None:
    """Leave open what remains of an answer whose words were cut off with another row.

    `starts` and `ids` are those of one example, which begins at position `first` of the row.
    """
    after, before = starts[0] + fragments[0], starts[-1] - fragments[1]
    inside = [
        i
        for i in range(len(ids))
        if owners[first + i] == "template" and (starts[i] < after or starts[i + 1] > before)
    ]
    for i in inside:
        owners[first + i] = "either"
    last = max((i for i in inside if starts[i] < after), default=-1)
    if last >= 0 and last + 1 < len(ids) and ids[last + 1] in special:
        owners[first + last + 1] = "either"


def counts(canary: Canary, turn: int, expect: Expectation) -> bool:
    """Say whether a turn is to be supervised."""
    if canary.parts[turn].role != "assistant":
        return False
    return expect.turns == "all" or turn >= len(canary.turns) - 1
