"""What is wrong with the labels of a batch on its way into a forward, told from the numbers and from where they came.

A label counts where it is not -100, and the first column of a row never does: the model shifts. Labels that are neither the
ids at their place nor explained by what tokenizers returned are somebody's own business, and not judged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_decoderonly.runtime import ids
from pytest_decoderonly.runtime.provenance import Padding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_decoderonly.runtime.events import ForwardCall
    from pytest_decoderonly.runtime.provenance import Tokenized

IGNORE = -100
_ENOUGH = 3  # labels that agree with a shift by chance


@dataclass(frozen=True)
class LabelProblem:
    """One row's problem. `wrong` are the positions that are drawn as wrong; `made` where parts of the row were tokenized."""

    code: str
    row: LabelRow
    wrong: tuple[int, ...]
    what: str
    effect: str
    help: str
    severity: str = "error"
    made: tuple[tuple[str, Tokenized], ...] = ()


@dataclass(frozen=True)
class LabelRow:
    """One row of the batch: its ids and labels, and which positions are padding."""

    number: int
    ids: tuple[int, ...]
    labels: tuple[int, ...]
    padding: Padding
    counted: tuple[int, ...] = field(repr=False)

    @property
    def start(self) -> int:
        """Column of the first real token."""
        return self.padding.left

    @property
    def end(self) -> int:
        """Column behind the last real token."""
        return len(self.ids) - self.padding.right

    def real(self, start: int, end: int | None = None) -> bytes:
        """Return ids of the row, counted from its first real token, in the form in which rows are remembered."""
        end = self.end if end is None else self.start + end
        return b"".join(map(ids.token_bytes, self.ids[self.start + start : end]))


def judge(call: ForwardCall) -> list[LabelProblem]:
    """Return what is wrong with a batch's labels: for each row the first of the problems that explains it."""
    rows = call.label_rows
    found: dict[int, LabelProblem] = {}
    for look in _LOOKS:
        for problem in look(rows, call):
            found.setdefault(problem.row.number, problem)
        rows = [row for row in rows if row.number not in found]
    return [found[number] for number in sorted(found)]


def label_rows(call: ForwardCall) -> list[LabelRow]:
    """Return the rows with labels of their own length."""
    padding = call.own_padding or call.made_padding or [Padding()] * len(call.rows)
    rows = []
    for number, (row, label) in enumerate(zip(call.rows, call.labels or (), strict=True)):
        own, labels = ids.ids_of(row), ids.ids_of(label)
        hidden = call.mask is not None and not any(call.mask[number])
        pad = Padding(left=len(own)) if hidden else padding[number]
        counted = tuple(i for i, value in enumerate(labels) if value != IGNORE and i)
        rows.append(LabelRow(number, tuple(own), tuple(labels), pad, counted))
    return rows


def is_aligned(row: LabelRow) -> bool:
    """Whether every label that counts is the id at its place, as models that shift by themselves expect."""
    return bool(row.counted) and all(row.labels[i] == row.ids[i] for i in row.counted)


def _nothing(rows: Sequence[LabelRow], _: ForwardCall) -> Iterator[LabelProblem]:
    for row in rows:
        if not row.counted and row.end - row.start > 1:
            yield LabelProblem(
                "DLM311",
                row,
                tuple(range(row.start, row.end)),
                "every label is -100",
                "the row teaches nothing; where the whole batch is so, the loss is NaN",
                "drop such rows, or keep the answer when a row is cut to its length",
            )


def _foreign(rows: Sequence[LabelRow], call: ForwardCall) -> Iterator[LabelProblem]:
    """Labels that a tokenizer made of one text, beside ids that it made of another."""
    for row in rows:
        if is_aligned(row) or len(row.counted) < _ENOUGH:
            continue
        given = call.log.tokenized_row(call.rows[row.number]) or call.log.tokenized_text(row.real(0))
        whole = (call.labels or [])[row.number]
        kept = b"".join(ids.token_bytes(label) for label in row.labels if label != IGNORE)
        target = call.log.tokenized_row(whole) or call.log.tokenized_text(kept)
        if given is None or target is None or given == target:
            continue
        answer, prompt = target[0].real(target[1]), given[0].real(given[1])
        if (
            not answer
            or not prompt
            or _contains(prompt, answer)
            or _contains(answer, prompt[: -ids.ITEM] or prompt)
        ):
            continue
        yield LabelProblem(
            "DLM304",
            row,
            row.counted,
            "labels are another text than input_ids",
            "the answer is nowhere in input_ids: each token is taught as what follows an unrelated one of the prompt",
            "join prompt and answer to one row, and copy it to the labels with -100 over the prompt",
            made=(("ids built", given[0]), ("labels built", target[0])),
        )


def _shifted(rows: Sequence[LabelRow], call: ForwardCall) -> Iterator[LabelProblem]:
    if not call.shifts_labels:
        return
    for row in rows:
        pairs = [
            (row.labels[i], row.ids[i + 1]) for i, label in enumerate(row.labels[:-1]) if label != IGNORE
        ]
        apart = sum(row.labels[i] != row.ids[i] for i in row.counted)
        if len(pairs) >= _ENOUGH and apart >= _ENOUGH and all(label == token for label, token in pairs):
            yield LabelProblem(
                "DLM305",
                row,
                row.counted,
                "labels are input_ids shifted by one, and the model shifts them again",
                "each position is taught the next token but one",
                "pass labels that are a copy of input_ids, with -100 where nothing is to be learned",
            )


def _other_value(rows: Sequence[LabelRow], _: ForwardCall) -> Iterator[LabelProblem]:
    """A run of one value at the start, or over the padding, where -100 was meant."""
    for row in rows:
        apart = [i for i, label in enumerate(row.labels) if label not in (IGNORE, row.ids[i])]
        values = {row.labels[i] for i in apart}
        if len(apart) < 2 or len(values) != 1 or len(apart) == len(row.ids):
            continue
        (value,) = values
        outside = [i for i in apart if row.start <= i < row.end]
        reach = max(outside, default=row.start - 1) + 1
        leads = all(label == value for label in row.labels[row.start : reach])
        run = [i for i in range(len(row.ids)) if row.labels[i] == value and not reach <= i < row.end]
        rest = [i for i in row.counted if reach <= i < row.end]
        if (
            not leads
            or all(row.labels[i] == value for i in rest)
            or (outside and len({row.ids[i] for i in outside}) < 2)
        ):
            continue
        where = "prompt" if outside else "padding"
        yield LabelProblem(
            "DLM308",
            row,
            tuple(apart),
            f"{len(run)} labels of the {where} are {value}, which the loss does not ignore",
            f"the model is trained to write token {value} there",
            "use -100, the one value that the built-in loss ignores",
        )


def _padding(rows: Sequence[LabelRow], call: ForwardCall) -> Iterator[LabelProblem]:
    for row in rows:
        if not is_aligned(row):
            continue
        outside = [i for i in row.counted if not row.start <= i < row.end]
        behind = next((i for i in outside if i >= row.end), None)
        if behind is not None and row.ids[behind] in call.eos_ids:
            outside.remove(behind)  # where padding is end-of-text, the first one may be meant to be learned
        if not outside:
            continue
        yield LabelProblem(
            "DLM302" if call.trains else "DLM402",
            row,
            tuple(outside),
            f"{len(outside)} padding {'position is' if len(outside) == 1 else 'positions are'} in the loss",
            "the model is trained to write padding, and the mean is taken over it"
            if call.trains
            else "the mean is taken over padding as well: loss and perplexity depend on how long the other rows are",
            "set labels to -100 where attention_mask is 0",
        )


def _hidden_end(rows: Sequence[LabelRow], call: ForwardCall) -> Iterator[LabelProblem]:
    """End-of-text tokens that are real, and masked because padding has their id."""
    if any(row.labels[i] in call.eos_ids for row in rows for i in row.counted):
        return
    for row in rows:
        last = row.end - 1
        ends = is_aligned(row) and row.ids[last] in call.eos_ids and row.labels[last] == IGNORE
        if not ends or not _pads_with(row.ids[last], row, call) or last - 1 not in row.counted:
            continue
        if row.padding.right == 0 and call.own_padding is None and call.made_padding is None:
            continue  # nobody says that this is no padding
        yield LabelProblem(
            "DLM303",
            row,
            (last,),
            f"the end-of-text token at position {last} is masked like padding, which has its id ({row.ids[last]})",
            "the model never learns to stop",
            "mask labels where attention_mask is 0, not where they equal pad_token_id",
        )


def _pads_with(token: int, row: LabelRow, call: ForwardCall) -> bool:
    """Whether padding is known to have this id: by this batch, by the tokenizer, by the model."""
    if row.padding.total:
        return all(row.ids[i] == token for i in range(len(row.ids)) if not row.start <= i < row.end)
    made = call.tokenized
    return (made.pad_token_id if made is not None else call.pad_token_id) == token


def _borders(rows: Sequence[LabelRow], call: ForwardCall) -> Iterator[LabelProblem]:
    """Labels that begin to count elsewhere than where the prompt, tokenized by itself, ends."""
    for row in rows:
        if not is_aligned(row):
            continue
        first = next(i for i, label in enumerate(row.labels) if label != IGNORE)
        hidden = first - row.start
        problem = _misplaced(row, first, hidden, call) if hidden > 0 else _nothing_hidden(row, call)
        if problem is not None:
            yield problem


def _misplaced(row: LabelRow, first: int, hidden: int, call: ForwardCall) -> LabelProblem | None:
    log = call.log
    if row.start and row.start + first < row.end and log.tokenized_text(row.real(0, hidden)) is None:
        found = log.tokenized_text(row.real(0, first))
        if found is not None:
            return LabelProblem(
                "DLM310",
                row,
                tuple(range(first, row.start + first)),
                f"the prompt's {first} tokens are masked from column 0, but the row begins with {row.start} padding tokens",
                "the end of the prompt is learned as if it were the answer",
                "count the prompt from the row's first real token: add the padding on the left",
                made=(("prompt", found[0]),),
            )
    if log.tokenized_text(row.real(0, hidden)) is not None:
        return None
    for end in call.eos_ids:
        found = log.tokenized_text(row.real(0, hidden - 1) + ids.token_bytes(end))
        if found is not None and hidden > 1 and row.ids[first - 1] != end:
            return LabelProblem(
                "DLM307",
                row,
                (first - 1,),
                f"the prompt's length is that of its own tokenization, {hidden} tokens with an end-of-text that the row "
                "does not have there",
                "the first token of the answer is never learned",
                "tokenize prompt and answer by themselves and join the ids",
                severity="warning",
                made=(("prompt", found[0]),),
            )
    return None


def _nothing_hidden(row: LabelRow, call: ForwardCall) -> LabelProblem | None:
    """Find a prompt and its answer, each tokenized by the user's own code and joined, with every label counted."""
    if not row.counted or len(row.counted) < row.end - row.start - 1:
        return None
    whole = row.real(0)
    known = call.log.tokenized_text(whole)
    if known is not None and known[0].method != "pad":
        return None
    for prompt, number in call.log.tokenized_beginnings(whole):
        length = ids.width(prompt.real(number))
        answer = call.log.tokenized_text(whole[length * ids.ITEM :])
        if answer is None or not (prompt.direct and answer[0].direct):
            continue
        ends = (row.ids[row.start + length - 1] in call.eos_ids, row.ids[row.end - 1] in call.eos_ids)
        if ends == (False, True):
            return LabelProblem(
                "DLM301",
                row,
                tuple(range(row.start, row.start + length)),
                f"the prompt's {length} tokens are in the loss",
                "the model is trained to write the question, and less of the loss is the answer's",
                "set labels to -100 over the prompt",
                severity="warning",
                made=(("prompt", prompt), ("answer", answer[0])),
            )
    return None


def _contains(whole: bytes, part: bytes) -> bool:
    at = whole.find(part)
    while at > 0 and at % ids.ITEM:
        at = whole.find(part, at + 1)
    return at >= 0


_LOOKS: tuple[Callable[[Sequence[LabelRow], ForwardCall], Iterator[LabelProblem]], ...] = (
    _nothing,
    _foreign,
    _shifted,
    _other_value,
    _padding,
    _hidden_end,
    _borders,
)
