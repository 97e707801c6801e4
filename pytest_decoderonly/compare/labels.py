"""Which positions are supervised, and which should be."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from pytest_decoderonly.compare.alignment import (
    BY_ONE,
    INVERTED,
    displaced,
    of_another_row,
    other_ignore_value,
    shift_problem,
    why_left_out,
)
from pytest_decoderonly.compare.padding import Problem, real_positions
from pytest_decoderonly.compare.texts import with_offsets

if TYPE_CHECKING:
    from collections.abc import Sequence

Kind = Literal["padding", "prompt", "completion", "either"]

IGNORE = -100


@dataclass(frozen=True)
class LabelRow:
    """One row: what each position is, and whether it is in the loss.

    `either` is a token that spans prompt and completion.
    """

    row: int
    ids: tuple[int, ...]
    labels: tuple[int, ...]
    kinds: tuple[Kind, ...]
    supervised: tuple[bool, ...]
    problem: Problem | None = None
    notes: tuple[str, ...] = ()
    name: str = ""

    def count(self, kind: Kind) -> int:
        """Return how many positions are of a kind."""
        return self.kinds.count(kind)


@dataclass(frozen=True)
class LabelAudit:
    """All rows; `problems` in row order."""

    rows: tuple[LabelRow, ...]

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The first problem of each row that has one."""
        return tuple(row.problem for row in self.rows if row.problem is not None)


@dataclass
class Boundary:
    """Where a row's prompt ends, in real tokens; `spanning` if the last also begins the completion."""

    length: int
    spanning: bool = False
    notes: list[str] = field(default_factory=list)


class PromptNotFoundError(Exception):
    """The prompt does not stand at the start of its row; the message says where the two part."""


def find_boundary(tokenizer: Any, prompt: str | Sequence[int], row_ids: Sequence[int]) -> Boundary:
    """Find where a prompt ends inside the tokens of prompt and completion together.

    A prompt tokenized alone need not be a prefix of the whole: its last token may merge with the completion's
    first characters, and tokenizers may end it with an EOS. The first is noticed and said, the second taken
    off.

    Raises:
        PromptNotFoundError: The row starts otherwise.
    """
    given = list(tokenizer(prompt)["input_ids"]) if isinstance(prompt, str) else [int(i) for i in prompt]
    row = list(row_ids)
    if given and row[: len(given)] == given:
        return Boundary(len(given))
    eos = getattr(tokenizer, "eos_token_id", None)
    if given and given[-1] == eos and row[: len(given) - 1] == given[:-1]:
        return Boundary(
            len(given) - 1,
            notes=["the tokenizer ends the prompt with an EOS that the row does not have there (DLM307)"],
        )
    if isinstance(prompt, str):
        found = _by_offsets(tokenizer, prompt, row) or _by_text(tokenizer, prompt, row, given)
        if found is not None:
            return found
    same = next(
        (i for i, (a, b) in enumerate(zip(given, row, strict=False)) if a != b), min(len(given), len(row))
    )
    raise PromptNotFoundError(
        f"input_ids do not start with the prompt: {same} of its {len(given)} tokens agree, then they part"
    )


def _by_offsets(tokenizer: Any, prompt: str, row: list[int]) -> Boundary | None:
    """Ask the tokenizer which characters each token stands for, where the row's text gives the row back."""
    special = set(getattr(tokenizer, "all_special_ids", ()) or ())
    lead = next((i for i, token in enumerate(row) if token not in special), 0)
    for start in dict.fromkeys((0, lead)):
        text = tokenizer.decode(row[start:])
        if not text.startswith(prompt):
            continue
        encoded = with_offsets(tokenizer, text)
        if encoded is None:
            return None
        ids, offsets = encoded
        if ids != row[start:]:
            continue
        over = next((i for i, (_, end) in enumerate(offsets) if end > len(prompt)), len(ids))
        if over == len(ids) or offsets[over][0] >= len(prompt):
            return Boundary(start + over)
        return _spanning(tokenizer, row, start + over)
    return None


def _spanning(tokenizer: Any, row: Sequence[int], place: int) -> Boundary:
    token = tokenizer.decode([row[place]])
    what = (
        "takes the prompt's last space into the completion"
        if token[:1].isspace() and token.strip()
        else "spans the border of prompt and completion"
    )
    return Boundary(place + 1, spanning=True, notes=[f"token {token!r} {what}: it counts as either"])


def _by_text(tokenizer: Any, prompt: str, row: list[int], given: list[int]) -> Boundary | None:
    """Count tokens until their text covers the prompt."""
    special = set(getattr(tokenizer, "all_special_ids", ()) or ())
    lead = 0
    while (
        lead < len(row)
        and row[lead] in special
        and (lead >= len(given) or given[lead] == row[lead] or given[0] not in special)
    ):
        lead += 1
    start = 0 if tokenizer.decode(row[:lead]) and prompt.startswith(tokenizer.decode(row[:lead])) else lead
    wanted = prompt.strip()
    for end in range(start + 1, len(row) + 1):
        text = tokenizer.decode(row[start:end])
        bare = text.lstrip()
        if bare.endswith("\ufffd") and not wanted.startswith(bare):
            continue  # a letter of several bytes that the next token completes
        if len(bare) < len(wanted):
            if not wanted.startswith(bare) and "\ufffd" not in bare:
                return None
            continue
        if bare.rstrip() == wanted:
            # Trailing spaces of the prompt may be tokens of their own, or the start of the next token.
            return (
                Boundary(end)
                if prompt.rstrip() == prompt
                else _after_space(tokenizer, prompt, row, start, end)
            )
        if bare.startswith(wanted):
            token = tokenizer.decode([row[end - 1]])
            return Boundary(
                end,
                spanning=True,
                notes=[f"token {token!r} spans the border of prompt and completion: it counts as either"],
            )
        return None
    return None


def _after_space(tokenizer: Any, prompt: str, row: list[int], start: int, end: int) -> Boundary:
    while end < len(row):
        text = tokenizer.decode(row[start : end + 1]).lstrip()
        if text.strip() == prompt.strip() and len(text) <= len(prompt.lstrip()):
            end += 1
            continue
        if len(tokenizer.decode(row[start:end]).lstrip()) < len(prompt.lstrip()):
            token = tokenizer.decode([row[end]])
            return Boundary(
                end + 1,
                spanning=True,
                notes=[
                    f"token {token!r} takes the prompt's last space into the completion: it counts as either"
                ],
            )
        break
    return Boundary(end)


def audit_labels(
    labels: Sequence[Sequence[int]],
    input_ids: Sequence[Sequence[int]],
    *,
    boundaries: Sequence[Boundary] | None = None,
    completion_mask: Sequence[Sequence[int]] | None = None,
    attention_mask: Sequence[Sequence[int]] | None = None,
    pad_id: int | None = None,
    eos_id: int | None = None,
    ignore_index: int = IGNORE,
    either: Sequence[Sequence[bool]] | None = None,
    follows: Sequence[bool] | None = None,
    names: Sequence[str] | None = None,
) -> LabelAudit:
    """Compare what is supervised with what should be: every completion token with its own id, nothing else.

    Exactly one of `boundaries` (prompt lengths in real tokens) and `completion_mask` says what the prompt is;
    `either` are positions that may be supervised or not. Rows that are examples of a packed row have `names`,
    and `follows` says which of them stand behind another: their first token is predicted by that one's last.
    All rows have equal lengths across the arguments.
    """
    rows = []
    for i, (row_labels, ids) in enumerate(zip(labels, input_ids, strict=True)):
        mask = attention_mask[i] if attention_mask is not None else None
        real = list(real_positions(ids, mask, pad_id))
        supervised = tuple(label != ignore_index for label in row_labels)
        notes: list[str] = []
        if mask is None and pad_id is not None and pad_id == eos_id:
            _own_eos(real, ids, supervised, notes)
        kinds: list[Kind] = []
        if completion_mask is not None:
            kinds = [
                "padding" if not r else "completion" if c else "prompt"
                for r, c in zip(real, completion_mask[i], strict=True)
            ]
        elif boundaries is not None:
            kinds = _by_boundary(real, boundaries[i])
            notes.extend(boundaries[i].notes)
        if either is not None:
            kinds = [
                "either" if free and kind != "padding" else kind
                for kind, free in zip(kinds, either[i], strict=True)
            ]
        behind = follows is not None and follows[i] and True in real
        if behind and kinds[real.index(True)] == "completion":
            kinds[real.index(True)] = "either"
        name = names[i] if names is not None else f"row {i}"
        row = LabelRow(
            i, tuple(ids), tuple(row_labels), tuple(kinds), supervised, notes=tuple(notes), name=name
        )
        chosen = completion_mask[i] if completion_mask is not None else None
        problem = (
            _misplaced_mask(row, chosen if mask is not None else None)
            or (_from_the_one_before(row, real.index(True)) if behind else None)
            or _problem(row, ignore_index, eos_id, pad_id)
        )
        if problem is not None:
            wanted = {k: label for k, label in enumerate(row_labels) if supervised[k]}
            others = {names[k] if names else f"row {k}": other for k, other in enumerate(input_ids) if k != i}
            problem = of_another_row(problem, wanted, others)
        rows.append(replace(row, problem=problem))
    if completion_mask is not None and eos_id is not None:
        rows = _ends(rows, eos_id)
    return LabelAudit(tuple(rows))


def _misplaced_mask(row: LabelRow, chosen: Sequence[int] | None) -> Problem | None:
    """A mask that marks padding was made for another layout; but for one that runs on behind the answer."""
    if chosen is None:
        return None
    marked = [i for i, kind in enumerate(row.kinds) if kind == "padding" and chosen[i]]
    if not marked:
        return None
    last = max((i for i, kind in enumerate(row.kinds) if kind != "padding"), default=-1)
    if marked[0] > last >= 0 and row.kinds[last] in ("completion", "either"):
        return None
    total = sum(map(bool, chosen))
    return Problem(
        "DLM310",
        row.row,
        marked[0],
        f"the mask marks {len(marked)} padding tokens among its {total}: it was made for a row that is padded "
        "otherwise, or not at all",
        "the answer is shifted out of the loss by the length of the padding",
        "pad the mask together with the ids, on the same side and to the same width",
    )


def _from_the_one_before(row: LabelRow, first: int) -> Problem | None:
    if not row.supervised[first]:
        return None
    return Problem(
        "DLM310",
        row.row,
        first,
        "the first token of a packed example is in the loss: the last token of the example before predicts it",
        "the model is trained to go on from one example to the next",
        "set labels to -100 at the first token of each example (where position_ids restart)",
    )


def _ends(rows: list[LabelRow], eos_id: int) -> list[LabelRow]:
    """A mask that leaves out the EOS behind every completion forgets it; one that takes some in means it."""
    if any(
        kind == "completion" and token == eos_id
        for row in rows
        for kind, token in zip(row.kinds, row.ids, strict=True)
    ):
        return rows
    done = []
    for row in rows:
        left = next(
            (
                i
                for i in range(1, len(row.ids))
                if row.ids[i] == eos_id
                and row.kinds[i] == "prompt"
                and row.kinds[i - 1] == "completion"
                and not row.supervised[i]
            ),
            None,
        )
        if left is None or row.problem is not None:
            done.append(row)
            continue
        problem = Problem(
            "DLM303",
            row.row,
            left,
            "the EOS that ends the completion is not supervised: the mask leaves it out, here as in every row",
            "the model never learns to stop",
            "let the mask take in the token that ends the answer",
        )
        done.append(replace(row, problem=problem))
    return done


def _own_eos(real: list[bool], ids: Sequence[int], supervised: Sequence[bool], notes: list[str]) -> None:
    """Without a mask, the first of a trailing run of padding-that-is-EOS may be the answer's own."""
    last = len(real) - 1 - real[::-1].index(True) if any(real) else -1
    if last + 1 < len(real):
        if supervised[last + 1]:
            real[last + 1] = True
        else:
            notes.append(
                "padding and EOS share an id: pass attention_mask to have the answer's own EOS checked"
            )
    assert len(real) == len(ids)  # noqa: S101 - both come from one row


def _by_boundary(real: Sequence[bool], boundary: Boundary) -> list[Kind]:
    kinds: list[Kind] = []
    seen = 0
    for is_real in real:
        if not is_real:
            kinds.append("padding")
            continue
        seen += 1
        if seen < boundary.length or (seen == boundary.length and not boundary.spanning):
            kinds.append("prompt")
        else:
            kinds.append("either" if seen == boundary.length else "completion")
    return kinds


def _problem(row: LabelRow, ignore_index: int, eos_id: int | None, pad_id: int | None) -> Problem | None:
    """Return the problem that explains most: a wrong ignore value or a shift would show as many others."""
    return (
        _ignore_value(row, ignore_index)
        or _shifted(row)
        or _nothing(row)
        or _moved(row)
        or _what_is_more(row, eos_id, pad_id)
        or _other_id(row)
    )


def _ignore_value(row: LabelRow, ignore_index: int) -> Problem | None:
    outside = [i for i, kind in enumerate(row.kinds) if kind in ("prompt", "padding")]
    return other_ignore_value(row.row, outside, row.ids, row.labels, ignore_index)


def _shifted(row: LabelRow) -> Problem | None:
    return shift_problem(row.row, row.ids, row.labels, row.supervised)


def _moved(row: LabelRow) -> Problem | None:
    """The supervised stretch has the right length and the wrong place."""
    got = {i for i, flag in enumerate(row.supervised) if flag}
    real = [kind != "padding" for kind in row.kinds]
    step = displaced({i for i, kind in enumerate(row.kinds) if kind == "completion"}, got, real)
    if abs(step) < 2:  # by one, a border that counts wrong is the likelier story
        return None
    left = next((i for i, kind in enumerate(row.kinds) if kind != "padding"), 0)
    counted = step == -left and left > 0
    return Problem(
        "DLM310",
        row.row,
        min(got),
        f"what is supervised stands {abs(step)} positions too {'early' if step < 0 else 'late'}"
        + (f": the {left} padding tokens on the left are not counted" if counted else ""),
        "the model is trained on other tokens than the answer",
        "make the labels from the ids as they go to the model, padding included",
    )


def _nothing(row: LabelRow) -> Problem | None:
    if any(row.supervised):
        return None
    has = row.count("completion")
    return Problem(
        "DLM311",
        row.row,
        row.kinds.index("completion") if has else 0,
        "no position of this row is supervised" + ("" if has else ", and it has no completion token at all"),
        "the row trains nothing; if the whole batch is so, the loss is NaN",
        "look whether truncation ate the answer or the response marker was not found; drop such rows"
        + _padded_left(row),
    )


def _padded_left(row: LabelRow) -> str:
    left = next((i for i, kind in enumerate(row.kinds) if kind != "padding"), 0)
    return f"; were the {left} padding tokens on the left counted?" if left else ""


def _what_is_more(row: LabelRow, eos_id: int | None, pad_id: int | None) -> Problem | None:
    """A mask that begins and ends too late errs at both ends; the longer one tells more."""
    wrong = [i for i, kind in enumerate(row.kinds) if kind in ("prompt", "padding") and row.supervised[i]]
    missing = [i for i, kind in enumerate(row.kinds) if kind == "completion" and not row.supervised[i]]
    inside, outside = _in_the_loss(row), _left_out(row, eos_id, pad_id)
    return (outside or inside) if len(missing) > len(wrong) else (inside or outside)


def _in_the_loss(row: LabelRow) -> Problem | None:
    bad: dict[str, list[int]] = {
        kind: [i for i, k in enumerate(row.kinds) if k == kind and row.supervised[i]]
        for kind in ("prompt", "padding")
    }
    if bad["prompt"]:
        first, total = bad["prompt"][0], row.count("prompt")
        left = next((i for i, kind in enumerate(row.kinds) if kind != "padding"), 0)
        hidden = sum(not flag for flag in row.supervised[:first])
        counted_from_zero = bool(left) and not bad["padding"] and hidden == total == first
        advice = "set labels to -100 for every position before the completion"
        code = "DLM301"
        if len(bad["prompt"]) == total and not any(
            flag for kind, flag in zip(row.kinds, row.supervised, strict=True) if kind == "completion"
        ):
            advice = INVERTED
        if counted_from_zero:
            code = "DLM310"
            advice = (
                f"the prompt's {total} tokens are counted from column 0, but the row has {left} "
                "padding tokens on the left: add them"
            )
        elif len(bad["prompt"]) < total:
            code = "DLM310"
            advice = (
                "the mask of the prompt ends too early: check how its length is counted (BOS, "
                "template tokens, padding)"
            )
        return Problem(
            code,
            row.row,
            first,
            f"{len(bad['prompt'])} of {total} prompt token{'s' * (total != 1)} "
            f"{'is' if len(bad['prompt']) == 1 else 'are'} in the loss",
            "the model is trained to write the question",
            advice,
        )
    if bad["padding"]:
        first = bad["padding"][0]
        return Problem(
            "DLM302",
            row.row,
            first,
            f"{len(bad['padding'])} of {row.count('padding')} padding tokens "
            f"{'is' if len(bad['padding']) == 1 else 'are'} in the loss",
            "the model is trained to write padding",
            "set labels to -100 where attention_mask is 0",
        )
    return None


def _left_out(row: LabelRow, eos_id: int | None, pad_id: int | None) -> Problem | None:
    out = [i for i, kind in enumerate(row.kinds) if kind == "completion" and not row.supervised[i]]
    if not out:
        return None
    first, total = out[0], row.count("completion")
    if eos_id is not None and all(row.ids[i] == eos_id for i in out):
        why = (
            "labels are masked where they equal pad_token_id, which is the EOS token too"
            if eos_id == pad_id
            else "it is masked"
        )
        return Problem(
            "DLM303",
            row.row,
            first,
            f"the EOS that ends the completion is not supervised: {why}",
            "the model never learns to stop",
            "mask labels by attention_mask or by row length, not by token id",
        )
    return Problem(
        "DLM310",
        row.row,
        first,
        f"{len(out)} of {total} completion token{'s' * (total != 1)} {'is' if len(out) == 1 else 'are'} not supervised",
        "a part of the answer is never learned",
        why_left_out(out, [i for i, kind in enumerate(row.kinds) if kind == "completion"], row.ids)
        or "the mask of the prompt reaches too far: check how its length is counted (padding on the "
        "left, BOS, an extra EOS)"
        + BY_ONE * (len(out) == 1),
    )


def _other_id(row: LabelRow) -> Problem | None:
    for i, flag in enumerate(row.supervised):
        if flag and row.labels[i] != row.ids[i]:
            return Problem(
                "DLM310",
                row.row,
                i,
                f"the label is {row.labels[i]}, the token there is {row.ids[i]}",
                "the model is trained to answer another token than the text has",
                "make labels a copy of input_ids before masking",
            )
    return None
