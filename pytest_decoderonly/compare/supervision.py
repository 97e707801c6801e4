"""What remains supervised of canaries that went through a pipeline: the answers' words, or others too."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_decoderonly.compare.alignment import (
    BY_ONE,
    INVERTED,
    displaced,
    of_another_row,
    other_ignore_value,
    shift_problem,
    why_left_out,
)
from pytest_decoderonly.compare.arrangement import (
    borders,
    bos,
    crossed_or_told_twice,
    ended_though_cut,
    lost_words,
    spelled,
    twice_ended,
    twice_headed,
)
from pytest_decoderonly.compare.padding import Problem, real_positions
from pytest_decoderonly.compare.passages import (
    Expectation,
    Finder,
    Passage,
    SupervisedRow,
    counts,
    read_row,
    restarts,
)
from pytest_decoderonly.compare.texts import decoded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_decoderonly.compare.arrangement import Finding
    from pytest_decoderonly.compare.canaries import Canary, Reader
    from pytest_decoderonly.compare.gather import TrainingRow


_TEMPLATE = "text of the template is supervised"


@dataclass(frozen=True)
class SupervisionAudit:
    """All rows that hold a canary's words.

    `dropped` are canaries that came out nowhere, or whose rejected answer did; `others` counts rows without a
    canary; `endless` says that no whole answer is followed by an EOS or another terminator.
    """

    rows: tuple[SupervisedRow, ...]
    dropped: tuple[int, ...]
    others: int
    endless: bool

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The first problem of each row that has one."""
        return tuple(row.problem for row in self.rows if row.problem is not None)


def audit_supervision(
    rows: Sequence[TrainingRow], canaries: Sequence[Canary], reader: Reader, expect: Expectation
) -> SupervisionAudit:
    """Compare what is supervised with the answers of the canaries.

    Rows are known by their words: order and number may have changed, several may share a row.
    """
    finder = Finder(canaries)
    openers = _openers(rows, reader)
    done: list[SupervisedRow] = []
    ends: list[bool] = []
    seen: set[int] = set()
    for row in rows:
        if len(row.ids) != len(row.labels):
            done.append(_unequal(row, len(done)))
            seen.update(finder.canaries_in("".join(map(reader.piece, row.ids))))
            continue
        found = read_row(row, finder, reader, expect)
        if not found.passages:
            continue
        seen.update(found.canaries)
        judge = _Judge(found, finder.canaries, reader, expect, openers)
        done.append(judge.verdict(len(done)))
        ends.extend(judge.ends)
    done = _without_parts(_with_lost_words(_with_rows_of_others(done), finder.canaries, reader))
    dropped = tuple(
        canary.number for canary in canaries if canary.number not in seen or _unrejected(canary, done)
    )
    return SupervisionAudit(tuple(done), dropped, len(rows) - len(done), bool(ends) and not any(ends))


def name_overwriter(audit: SupervisionAudit, collator: str) -> SupervisionAudit:
    """Where prompts are supervised though the dataset masks them, it is the collator that made other labels."""
    if not collator:
        return audit
    rows = tuple(
        replace(
            row,
            problem=replace(
                row.problem,
                code="DLM306",
                what=f"{row.problem.what}; the dataset's rows mask them, and {collator} made other labels",
                advice="take a collator that pads the labels that it is given (DataCollatorForSeq2Seq, "
                "DataCollatorWithPadding for labels), or mask in the collator",
            ),
        )
        if row.problem is not None and row.problem.code == "DLM301"
        else row
        for row in audit.rows
    )
    return replace(audit, rows=rows)


def _unrejected(canary: Canary, rows: Sequence[SupervisedRow]) -> bool:
    """Whether a canary has a rejected answer that came out nowhere."""
    place = canary.number, len(canary.turns)
    return canary.rejected is not None and not any(
        (passage.canary, passage.turn) == place for row in rows for passage in row.passages
    )


def _with_rows_of_others(rows: list[SupervisedRow]) -> list[SupervisedRow]:
    """Say of labels that are none of their row whether they are those of another."""
    done: list[SupervisedRow] = []
    for i, row in enumerate(rows):
        problem = row.problem
        if problem is not None:
            wanted = {k: row.labels[k] for k, flag in enumerate(row.supervised) if flag}
            others = {other.where: other.ids for k, other in enumerate(rows) if k != i}
            problem = of_another_row(problem, wanted, others)
        done.append(replace(row, problem=problem))
    return done


def _without_parts(rows: list[SupervisedRow]) -> list[SupervisedRow]:
    """A row of a text that was split may hold a question whose answer stands in the next: nothing is lost."""
    done = []
    for i, row in enumerate(rows):
        problem = row.problem
        if problem is not None and problem.code == "DLM311" and row.passages[-1].role != "assistant":
            last = row.passages[-1]
            elsewhere = any(
                passage.canary == last.canary and passage.turn > last.turn
                for k, other in enumerate(rows)
                if k != i
                for passage in other.passages
            )
            if elsewhere and not any(p.role == "assistant" for p in row.passages):
                note = "it trains nothing: the answer stands in another row"
                row = replace(row, problem=None, notes=(*row.notes, note))  # noqa: PLW2901 - without the problem
        done.append(row)
    return done


def _with_lost_words(
    rows: list[SupervisedRow], canaries: dict[int, Canary], reader: Reader
) -> list[SupervisedRow]:
    lost = lost_words(rows, canaries, reader)
    done: list[SupervisedRow] = []
    for row in rows:
        passage = next((p for p in row.passages if p.canary in lost), None)
        if passage is not None and (row.problem is None or row.problem.what.startswith(_TEMPLATE)):
            problem = Problem(
                "DLM310",
                len(done),
                passage.start,
                f"of canary {passage.canary} {lost[passage.canary]} is nowhere; so it is with every canary",
                "the model is trained on less than the examples hold",
                "look which field or role is not read, or not written by the template",
            )
            row = replace(row, problem=problem)  # noqa: PLW2901 - the row with its problem
        done.append(row)
    return done


def _unequal(row: TrainingRow, number: int) -> SupervisedRow:
    problem = Problem(
        "DLM304",
        number,
        0,
        f"labels have {len(row.labels)} positions, input_ids {len(row.ids)}",
        "a decoder-only model predicts the next token of one sequence; the labels are no copy of it",
        "put prompt and completion into input_ids, copy them to labels, and set the prompt to -100",
    )
    return SupervisedRow(row.where, row.ids, row.labels, (), (), (), problem)


def _openers(rows: Sequence[TrainingRow], reader: Reader) -> frozenset[int]:
    """Special tokens that begin rows: behind an answer they begin the next example, and end nothing.

    Rows that were cut out of a longer text may begin in anything; what begins most rows is told from that.
    """
    firsts: list[int] = []
    for row in rows:
        real = real_positions(row.ids, row.mask, None if row.alone else reader.pad)
        start = next((i for i, flag in enumerate(real) if flag), None)
        begins = restarts(real, row.positions) if start is None else (start, *restarts(real, row.positions))
        firsts += [row.ids[i] for i in begins if row.ids[i] in reader.special]
    found = {token for token in firsts if 2 * firsts.count(token) > len(firsts)}
    return frozenset(token for token in {reader.bos, *found} if token is not None and token != reader.eos)


class _Judge:
    """What is wrong in one row; `ends` says of each whole answer whether a terminator follows it."""

    def __init__(
        self,
        row: SupervisedRow,
        canaries: dict[int, Canary],
        reader: Reader,
        expect: Expectation,
        openers: frozenset[int],
    ) -> None:
        self.row = row
        self.reader = reader
        self.expect = expect
        self.openers = openers
        self.canaries = canaries
        self.owners = list(row.owners)
        self.ends: list[bool] = []
        self.ended_by: list[tuple[Passage, int]] = []
        self._terminators()

    def verdict(self, number: int) -> SupervisedRow:
        """Return the row with its owners refined and its first problem."""
        self.number = number
        self.row = replace(
            self.row, owners=tuple(self.owners), notes=self.row.notes + self._cut() + self._marked_header()
        )
        problem = (
            self._ignored()
            or self._shifted()
            or self._found(crossed_or_told_twice(self.row))
            or self._nothing()
            or self._displaced()
            or self._prompt()
            or self._padding()
            or self._left_out()
            or self._terminator()
            or self._found(twice_ended(self.row, self.reader, self.ended_by))
            or self._found(spelled(self.row, self.reader, self._answers()))
            or self._found(ended_though_cut(self.row, self.reader, self._answers(), self.openers))
            or self._header()
            or self._found(bos(self.row, self.reader, self.expect))
            or self._found(twice_headed(self.row, self.reader, self.expect))
            or self._found(borders(self.row))
        )
        return replace(self.row, problem=problem)

    def _problem(self, code: str, position: int, what: str, effect: str, advice: str) -> Problem:
        return Problem(code, self.number, position, what, effect, advice)

    def _found(self, finding: Finding | None) -> Problem | None:
        return None if finding is None else self._problem(*finding)

    def _answers(self) -> list[Passage]:
        return [p for p in self.row.passages if counts(self.canaries[p.canary], p.turn, self.expect)]

    def _terminators(self) -> None:
        """Find what ends each whole answer: the first token behind it that is no space, if it is special."""
        reader = self.reader
        for passage in self._answers():
            if not passage.ended:
                continue
            follows = next(
                (i for i in range(passage.end, len(self.row.ids)) if self.owners[i] != "space"), None
            )
            last = passage.turn >= len(self.canaries[passage.canary].turns) - 1
            unknown = "share an id" in " ".join(self.row.notes)
            alone = follows is None or any(passage.end <= place <= follows for place in self.row.begins)
            if follows is None or alone or self.owners[follows] == "padding":
                if last and not unknown:
                    self.ends.append(False)
                continue
            token = self.row.ids[follows]
            if self.owners[follows] == "template" and (
                token == reader.eos or (token in reader.special and token not in self.openers)
            ):
                self.owners[follows] = "terminator"
                self.ended_by.append((passage, follows))
                self.ends.append(True)
            elif last:
                self.ends.append(False)

    def _cut(self) -> tuple[str, ...]:
        return tuple(
            f"{p.found} of {p.total} words of canary {p.canary}'s {p.role} turn are in the row: it was cut"
            for p in self.row.passages
            if not p.whole
        )

    def _marked_header(self) -> tuple[str, ...]:
        if not self.expect.header or self.expect.header not in self.expect.lead:
            return ()
        return (
            "the template's generation markers take in the generation prompt: the model learns to write it",
        )

    def _ignored(self) -> Problem | None:
        outside = [i for i, owner in enumerate(self.row.owners) if owner in ("prompt", "padding", "template")]
        return other_ignore_value(
            self.number, outside, self.row.ids, self.row.labels, self.expect.ignore_index
        )

    def _shifted(self) -> Problem | None:
        return shift_problem(self.number, self.row.ids, self.row.labels, self.row.supervised)

    def _nothing(self) -> Problem | None:
        if any(self.row.supervised):
            return None
        answer = next(iter(self._answers()), None)
        if answer is None:
            what = "no position of this row is supervised: it holds a prompt and no word of the answer"
            advice = "truncation ate the answer: raise max_length, cut the prompt instead, or drop such rows"
        else:
            what = "no position of this row is supervised, though the answer is in it"
            left = next((i for i, owner in enumerate(self.row.owners) if owner != "padding"), 0)
            advice = self.expect.unmarked or (
                "the response marker was not found in the ids, or the mask was made for another layout of the row"
                + (f" ({left} padding tokens stand on its left: were they counted?)" if left else "")
            )
        return self._problem(
            "DLM311",
            answer.start if answer else 0,
            what,
            "the row trains nothing; if the whole batch is so, the loss is NaN",
            advice,
        )

    def _wanted(self) -> set[int]:
        return {i for i, owner in enumerate(self.row.owners) if owner in ("response", "terminator")}

    def _displaced(self) -> Problem | None:
        got = {i for i, flag in enumerate(self.row.supervised) if flag}
        real = [owner != "padding" for owner in self.row.owners]
        step = displaced(self._wanted(), got, real) or displaced(self._wanted() | self._either(), got, real)
        if not step:
            return None
        pads = next((i for i, owner in enumerate(self.row.owners) if owner != "padding"), 0)
        counted = (
            f"; the row has {pads} padding tokens on the left, which were not counted"
            if step == -pads and pads
            else ""
        )
        return self._problem(
            "DLM310",
            min(got),
            f"what is supervised stands {abs(step)} position{'s' * (abs(step) != 1)} too "
            f"{'early' if step < 0 else 'late'}{counted}",
            "the model is trained on other tokens than the answer",
            "count positions in the ids as they go to the model: padding, BOS and template included",
        )

    def _either(self) -> set[int]:
        return {
            i
            for i, owner in enumerate(self.row.owners)
            if owner in ("either", "space") and self.row.supervised[i]
        }

    def _prompt(self) -> Problem | None:
        prompt = [i for i, owner in enumerate(self.row.owners) if owner == "prompt"]
        # Nothing predicts the first position.
        bad = [i for i in prompt if self.row.supervised[i] and i]
        if not bad:
            return None
        words = self._text(bad)
        everything = len(bad) >= len([i for i in prompt if i])
        return self._problem(
            "DLM301" if everything else "DLM310",
            bad[0],
            f"{len(bad)} of {len(prompt)} prompt token{'s' * (len(prompt) != 1)} "
            f"{'is' if len(bad) == 1 else 'are'} supervised: {words}",
            "the model is trained to write the question",
            INVERTED
            if everything and not any(self.row.supervised[i] for i in self._wanted())
            else "set labels to -100 for every position before the answer"
            if everything
            else "the mask of the prompt is misplaced: check how its length is counted, turn by turn",
        )

    def _padding(self) -> Problem | None:
        bad = [i for i, owner in enumerate(self.row.owners) if owner == "padding" and self.row.supervised[i]]
        if not bad:
            return None
        return self._problem(
            "DLM302",
            bad[0],
            f"{len(bad)} padding token{'s are' if len(bad) > 1 else ' is'} supervised",
            "the model is trained to write padding",
            "set labels to -100 where attention_mask is 0",
        )

    def _left_out(self) -> Problem | None:
        for passage in self._answers():
            mine = [i for i in range(passage.start, passage.end) if self.row.owners[i] == "response" and i]
            out = [i for i in mine if not self.row.supervised[i]]
            if out == mine[:1] and len(mine) > 1 and self._begins_with_space(out[0]):
                return self._problem(
                    "DLM307",
                    out[0],
                    f"the first token of the answer of canary {passage.canary} is not supervised: "
                    f"{self._text(out)}, which took in the space before the answer",
                    "how the answer begins is never learned",
                    "end the prompt before the space, so that its tokens are those of the whole; or its length is "
                    "one too many",
                )
            if out and out == mine[: len(out)] and len(out) < len(mine) and self._other_header(passage):
                return self._problem(
                    "DLM307",
                    out[0],
                    f"the first {len(out)} of {len(mine)} tokens of the answer of canary {passage.canary} are not "
                    f"supervised: {self._text(out)}; the generation prompt ({self.expect.header}) is longer "
                    "than what stands before the answer",
                    "how the answer begins is never learned",
                    "take the length of what the row itself has before the answer, not of the prompt rendered with "
                    "add_generation_prompt=True",
                )
            if out:
                return self._problem(
                    "DLM310",
                    out[0],
                    f"{len(out)} of {len(mine)} tokens of the answer of canary {passage.canary} "
                    f"{'is' if len(out) == 1 else 'are'} not supervised: {self._text(out)}",
                    "a part of the answer is never learned",
                    self._why_left_out(passage, out, mine),
                )
        return None

    def _why_left_out(self, passage: Passage, out: Sequence[int], mine: Sequence[int]) -> str:
        if len(out) < len(mine):
            return (
                why_left_out(out, mine, self.row.ids)
                or "the mask of the prompt reaches too far: check how its length is counted, turn by turn"
                + BY_ONE * (len(out) == 1)
            )
        found = "this answer's place was not found in the ids: check how turns are looked for"
        if any(self.row.supervised[i] for p, i in self.ended_by if p is passage):
            found = "its end alone is supervised: look what hides all other labels"
        return found + self._earlier(passage)

    def _other_header(self, passage: Passage) -> bool:
        """Whether only a beginning of the generation prompt stands before an answer."""
        header = self.expect.header
        before = max((p.end for p in self.row.passages if p.end <= passage.start), default=0)
        text = "".join(self.reader.piece(token) for token in self.row.ids[before : passage.start])
        return header not in text and any(text.endswith(header[:k]) for k in range(3, len(header)))

    def _begins_with_space(self, position: int) -> bool:
        return self._text([position])[1:2].isspace()

    def _earlier(self, passage: Passage) -> str:
        if passage.turn >= len(self.canaries[passage.canary].turns) - 1:
            return ""
        return '; if earlier answers are context on purpose, pass turns="last"'

    def _terminator(self) -> Problem | None:
        for passage, position in self.ended_by:
            if not self.row.supervised[position]:
                token = self.row.ids[position]
                name = self.reader.piece(token)
                trained = [
                    i
                    for i in range(position + 1, len(self.row.ids))
                    if self.row.supervised[i] and self.row.ids[i] in self.reader.special
                ]
                other = (
                    f"; {self.reader.piece(self.row.ids[trained[0]])} is trained instead"
                    if trained and self.row.ids[trained[0]] != token
                    else ""
                )
                why = (
                    "labels are masked where they equal pad_token_id, which is "
                    + ("the EOS token too" if token == self.reader.eos else "the same token")
                    if token == self.reader.pad
                    else "it is masked"
                )
                return self._problem(
                    "DLM303",
                    position,
                    f"{name}, which ends the answer of canary {passage.canary}, is not supervised: {why}{other}",
                    "the model never learns to stop",
                    "supervise the token that ends a turn in the template; mask labels by attention_mask "
                    "or by row length, not by token id",
                )
        return None

    def _header(self) -> Problem | None:
        """Text of the template that is supervised, but for what may end an answer or begin one."""
        enders = {position for _, position in self.ended_by}
        own = self._written()
        for i, owner in enumerate(self.row.owners):
            if owner != "template" or not self.row.supervised[i] or not i or i in own:
                continue
            before = next((j for j in range(i - 1, -1, -1) if self.row.owners[j] != "space"), -1)
            if before in enders and self.row.ids[i] in self.reader.special:
                enders.add(i)  # <|im_end|> and then EOS: a second way to stop
                continue
            if self._of_call(i) or self._end_alone(i):
                continue
            follows = next((p for p in self.row.passages if p.start > i), None)
            if follows is not None and follows in self._answers():
                start = max((p.end for p in self.row.passages if p.end <= i), default=0)
                if self._leads(start, i, follows.start):
                    continue
            stretch = [j for j in range(i, len(self.row.ids)) if self.row.supervised[j]]
            end = next(
                (j for j in range(i, len(self.row.ids)) if self.row.owners[j] in ("response", "prompt")),
                i + 1,
            )
            return self._problem(
                "DLM310",
                i,
                f"{_TEMPLATE}: {self._text([j for j in stretch if j < end])}",
                "the model is trained to write headers, which it is given when it is used",
                "begin the supervised part behind the header of the answer, and end it at its terminator",
            )
        return None

    def _written(self) -> set[int]:
        """Return the positions of what the assistant writes in its turns by the word of the template."""
        pieces = [self.reader.piece(token) for token in self.row.ids]
        starts = [0]
        for piece in pieces:
            starts.append(starts[-1] + len(piece))
        text = "".join(pieces)
        found: set[int] = set()
        for number in self.row.canaries:
            words = [word for part in self.canaries[number].parts for word in part.words]
            for turn in self.expect.written.get(number, ()):
                at = text.find(turn) if any(word in turn for word in words) else -1
                if at >= 0:
                    end = at + len(turn)
                    found.update(i for i in range(len(pieces)) if at <= starts[i] and starts[i + 1] <= end)
        return found

    def _end_alone(self, i: int) -> bool:
        """Whether a terminator, or the end of a word and one, begins an example that was split there."""
        start = max((place for place in (0, *self.row.begins) if place <= i), default=0)
        known = {self.row.ids[position] for _, position in self.ended_by} | {self.reader.eos}
        return self.row.ids[i] in known and {self.row.owners[k] for k in range(start, i)} <= {
            "space",
            "either",
        }

    def _of_call(self, i: int) -> bool:
        """Whether a token is what the model writes around the argument of a call, its terminator included."""
        call = next((p for p in reversed(self._answers()) if p.start <= i and self._calls(p)), None)
        if call is None:
            return False
        known = {self.row.ids[position] for _, position in self.ended_by} | {self.reader.eos}
        ends = [j for j in range(call.end, len(self.row.ids)) if self.row.owners[j] == "template"]
        end = next((j for j in ends if self.row.ids[j] in known), None)
        if end is None:
            end = next((j for j in ends if self.row.ids[j] in self.reader.special), len(self.row.ids))
        return i <= end

    def _calls(self, passage: Passage) -> bool:
        return self.canaries[passage.canary].parts[passage.turn].call

    def _leads(self, start: int, i: int, end: int) -> bool:
        """Whether token `i`, between a question and its answer, is what the model itself has to write.

        With a chat template that is all behind the generation prompt (an empty block of thoughts, say), and
        what the template's own generation markers take in.
        """
        text = "".join(self.reader.piece(token) for token in self.row.ids[start:end])
        if self.expect.lead and text.endswith(self.expect.lead):
            inside = len(text) - len(self.expect.lead)
        elif self.expect.header and self.expect.header in text:
            inside = text.rindex(self.expect.header) + len(self.expect.header)
        else:
            return False
        at = len("".join(self.reader.piece(token) for token in self.row.ids[start:i]))
        return at >= inside

    def _text(self, positions: Sequence[int]) -> str:
        """Return the first stretch of positions as text, in quotes."""
        stretch = [positions[0]]
        for i in positions[1:]:
            if i != stretch[-1] + 1:
                break
            stretch.append(i)
        text = decoded(self.reader.tokenizer, [self.row.ids[i] for i in stretch])
        text = "?" if text is None else text
        return repr(text if len(text) <= 60 else text[:28] + " ... " + text[-27:])
