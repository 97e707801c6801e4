"""Where the padding is, whether the mask says the same, and whether the padding token can be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

Side = Literal["left", "right"]


WHOLE_ROW = -1


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in one row. `position` counts columns from 0; `WHOLE_ROW` is none in particular."""

    code: str
    row: int
    position: int
    what: str
    effect: str
    advice: str


@dataclass(frozen=True)
class PaddingAudit:
    """`real[i][j]` says whether a position holds a real token, as far as mask and ids tell."""

    real: tuple[tuple[bool, ...], ...]
    problems: tuple[Problem, ...]
    padded_rows: int


@dataclass(frozen=True)
class SpecialIds:
    """What is known of the ids around a text.

    Attributes:
        pad: The padding id.
        bos: The id that starts a text.
        eos: The ids that end one; None where they are not known.
        own_pad: The padding token is known to stand for nothing else: it is declared special, is not BOS, EOS
            or unknown, and ends no turn of the chat template.
        adds_bos: The tokenizer puts BOS in front of every text.
    """

    pad: int | None = None
    bos: int | None = None
    eos: frozenset[int] | None = None
    own_pad: bool = False
    adds_bos: bool = False

    @property
    def pad_is_eos(self) -> bool:
        """Whether an id at the end of a row may be padding or the text's end."""
        return self.pad is not None and self.eos is not None and self.pad in self.eos


def real_positions(ids: Sequence[int], mask: Sequence[int] | None, pad_id: int | None) -> tuple[bool, ...]:
    """Say for one row which positions are real.

    The mask says it; without one, all are but the runs of padding ids at both ends.
    """
    if mask is not None:
        return tuple(bool(value) for value in mask)
    real = [True] * len(ids)
    for order in (range(len(ids)), range(len(ids) - 1, -1, -1)):
        for i in order:
            if ids[i] != pad_id:
                break
            real[i] = False
    return tuple(real)


def real_rows(
    input_ids: Sequence[Sequence[int]], mask: Sequence[Sequence[int]] | None, special: SpecialIds
) -> tuple[tuple[bool, ...], ...]:
    """Say for each row of a batch which positions are real.

    The mask says it. Without one, the runs of padding ids at both ends are padding, but for what may be
    meant: one EOS at the end of a row (padding and EOS share the id) unless a row of the batch ends in more
    of them than that, and one BOS at the start that all rows have.
    """
    rows = [
        real_positions(ids, mask[i] if mask is not None else None, special.pad)
        for i, ids in enumerate(input_ids)
    ]
    if mask is not None or not (special.pad_is_eos or special.pad == special.bos):
        return tuple(rows)
    left, right = (
        [_run(ids, special.pad) for ids in input_ids],
        [_run(ids[::-1], special.pad) for ids in input_ids],
    )
    found = [list(row) for row in rows]
    for i, row in enumerate(found):
        if not any(row):
            continue
        if special.pad_is_eos and right[i] == 1 and (left[i] > 0 or max(right) == 1):
            row[-1] = True
        if special.pad == special.bos and special.adds_bos and left[i] and min(left) > 0:
            row[left[i] - 1] = True
    return tuple(map(tuple, found))


def audit_padding(
    input_ids: Sequence[Sequence[int]],
    attention_mask: Sequence[Sequence[int]] | None,
    *,
    side: Side,
    special: SpecialIds,
) -> PaddingAudit:
    """Check that each row is padded on `side` alone and that mask and padding ids agree.

    Where padding and EOS share an id, the mask decides which of them are real: an EOS inside the row, or one
    at its end, is. A mask that hides such an EOS is recognised: only the padding's side can hold padding.

    Args:
        input_ids: Rows of equal length.
        attention_mask: The mask of the same shape, or None: then the runs of the padding id at both ends
            count as padding (see `real_rows`).
        side: Where the padding must be.
        special: What is known of padding, BOS and EOS.
    """
    reals = real_rows(input_ids, attention_mask, special)
    problems: list[Problem] = []
    compared = attention_mask is not None and all(
        bool(value) == (token != special.pad)
        for ids, mask in zip(input_ids, attention_mask, strict=True)
        for token, value in zip(ids, mask, strict=True)
    )
    batch = _Batch(input_ids, attention_mask, reals, side, special, compared)
    for row in range(len(input_ids)):
        problem = (
            _mask_values(row, attention_mask[row] if attention_mask is not None else None)
            or _hidden_end(row, batch)
            or _side(row, reals[row], side, special)
            or _hidden_start(row, batch)
            or _agreement(row, batch)
            or _unmasked_hole(row, batch)
        )
        if problem is not None:
            problems.append(problem)
    return PaddingAudit(reals, tuple(problems), sum(not all(real) for real in reals))


@dataclass(frozen=True)
class _Batch:
    ids: Sequence[Sequence[int]]
    mask: Sequence[Sequence[int]] | None
    reals: tuple[tuple[bool, ...], ...]
    side: Side
    special: SpecialIds
    compared: bool  # the mask is what a comparison of ids with the padding id gives


def _run(ids: Sequence[int], token: int | None) -> int:
    """Length of the run of `token` at the start."""
    return next((n for n, item in enumerate(ids) if item != token), len(ids))


def _mask_values(row: int, mask: Sequence[int] | None) -> Problem | None:
    for position, value in enumerate(mask or ()):
        if value not in (0, 1):
            return Problem(
                "DLM101",
                row,
                position,
                f"the mask holds {value}, expected 0 or 1",
                "the model reads it as something else than hidden or visible",
                "hand on the tokenizer's attention_mask as it is",
            )
    return None


_BY_COMPARISON = "the mask is `input_ids != pad_token_id`, and the padding token is {} as well"


def _hidden_end(row: int, batch: _Batch) -> Problem | None:
    """A masked EOS at the right end of a row that is padded on the left, or of every row."""
    real = batch.reals[row]
    if batch.mask is None or not batch.compared or not batch.special.pad_is_eos or not any(real):
        return None
    ends = [_run(flags[::-1], 0) for flags in batch.mask]
    if ends[row] != 1 or batch.side != "left" or not (not real[0] or (set(ends) == {1} and len(ends) > 1)):
        return None
    return Problem(
        "DLM104",
        row,
        len(real) - 1,
        f"the EOS at the end of the text is masked: {_BY_COMPARISON.format('EOS')}",
        "the model does not see that the text before has ended",
        "take the tokenizer's attention_mask instead of comparing ids with pad_token_id",
    )


def _hidden_start(row: int, batch: _Batch) -> Problem | None:
    """A masked BOS: the tokenizer adds one to each text, padding has its id, and no row shows one."""
    special = batch.special
    if not (batch.mask and batch.compared and special.adds_bos and special.pad == special.bos):
        return None
    starts = [_run(flags, 0) for flags in batch.mask]
    # The longest row of a batch has no padding: what is masked in front of it is its BOS.
    if min(starts) != 1 or batch.side != "left":
        return None
    return Problem(
        "DLM104",
        row,
        starts[row] - 1,
        f"the BOS that starts the text is masked: {_BY_COMPARISON.format('BOS')}",
        "the model starts without the token that every text began with in training",
        "take the tokenizer's attention_mask instead of comparing ids with pad_token_id",
    )


def _side(row: int, real: tuple[bool, ...], side: Side, special: SpecialIds) -> Problem | None:
    if not any(real):
        return Problem(
            "DLM102",
            row,
            0,
            "the row has no real token: all of it is padding",
            "the model continues nothing, and its logits may be NaN",
            "drop empty prompts before batching",
        )
    first, last = real.index(True), len(real) - 1 - real[::-1].index(True)
    for position in range(first, last + 1):
        if not real[position]:
            shared = " (an EOS that is also the padding token, say)" if special.pad_is_eos else ""
            return Problem(
                "DLM104",
                row,
                position,
                "a masked position lies between real tokens",
                f"real tokens{shared} are hidden from the model, or padding stands inside the text",
                "take the tokenizer's attention_mask instead of comparing ids with pad_token_id; join "
                "texts before they are padded",
            )
    if side == "left" and last < len(real) - 1:
        count = len(real) - 1 - last
        return Problem(
            "DLM102",
            row,
            last + 1,
            f"{count} padding token{'s' * (count > 1)} on the right",
            "generate continues after the padding, not after the prompt: shorter rows get other, "
            "worse answers",
            'set tokenizer.padding_side = "left" before the batch is made',
        )
    if side == "right" and first > 0:
        return Problem(
            "DLM102",
            row,
            0,
            f"{first} padding token{'s' * (first > 1)} on the left",
            "code that takes the real tokens from column 0 on reads padding",
            'set tokenizer.padding_side = "right" before the batch is made',
        )
    return None


def _agreement(row: int, batch: _Batch) -> Problem | None:
    special = batch.special
    if batch.mask is None or special.pad is None:
        return None
    ids, mask = batch.ids[row], batch.mask[row]
    for position, (token, value) in enumerate(zip(ids, mask, strict=True)):
        if not value and token != special.pad:
            return Problem(
                "DLM104",
                row,
                position,
                f"a token that is not padding (id {token}, padding is {special.pad}) is masked",
                "the model does not see a real token",
                "build the mask from the same call that padded the ids",
            )
    visible = [i for i, value in enumerate(mask) if value]
    for at_start in (True, False):
        order = visible if at_start else visible[::-1]
        run = _run([ids[i] for i in order], special.pad)
        extra = run - _innocent(batch, at_start=at_start)
        if extra > 0:
            # Of a run at the end, the first is the EOS.
            position = order[0] if at_start else order[extra - 1]
            return _seen(row, position, extra, special.pad)
    return None


def _innocent(batch: _Batch, *, at_start: bool) -> int:
    """How many padding ids may be meant at an end of a row: BOS in front, EOS behind."""
    special = batch.special
    if not at_start:
        return int(not special.own_pad)
    if special.pad == special.bos:
        return 1
    if not special.pad_is_eos or batch.mask is None:
        return 0
    # Some texts begin with EOS by design; then all rows of a batch do.
    runs = [
        _run([t for t, m in zip(ids, mask, strict=True) if m], special.pad)
        for ids, mask in zip(batch.ids, batch.mask, strict=True)
    ]
    return int(min(runs) == 1)


def _unmasked_hole(row: int, batch: _Batch) -> Problem | None:
    """Padding inside a text that the mask does not hide: a run, as one alone may be a token of the text."""
    special = batch.special
    if not special.own_pad:
        return None
    ids, real = batch.ids[row], batch.reals[row]
    for position in range(len(ids) - 1):
        if real[position] and ids[position] == special.pad == ids[position + 1]:
            count = _run(ids[position:], special.pad)
            if batch.mask is not None:
                return _seen(row, position, count, special.pad)
            return Problem(
                "DLM102",
                row,
                position,
                f"{count} padding tokens (id {special.pad}) stand between real tokens",
                "what was padded was joined with more text afterwards, so that the model meets padding inside it",
                "join texts first and pad them together",
            )
    return None


def _seen(row: int, position: int, count: int, pad_id: int | None) -> Problem:
    return Problem(
        "DLM101",
        row,
        position,
        f"{count} padding token{'s' * (count > 1)} (id {pad_id}) that the mask leaves visible",
        "the model reads the padding as text",
        "pass the attention_mask that the tokenizer returned with these ids",
    )


def out_of_reach(
    input_ids: Sequence[Sequence[int]],
    reals: Sequence[Sequence[bool]],
    *,
    pad_id: int | None,
    vocabulary: int | None,
    embeddings: int | None,
    placeholders: frozenset[int] = frozenset(),
) -> Problem | None:
    """Return the first padding id that no vocabulary has, or id that the embedding has no row for.

    Ids of the text are not held against the vocabulary: some models mark images with ids of their own.

    Args:
        input_ids: Rows of ids.
        reals: Which positions are real.
        pad_id: The padding id.
        vocabulary: One more than the tokenizer's highest id.
        embeddings: Rows of the model's embedding.
        placeholders: Ids that the model replaces before it looks them up.
    """
    effect = "the lookup fails, on a GPU with a device-side assert, or reads another token's row"
    for row, ids in enumerate(input_ids):
        for position, token in enumerate(ids):
            padding = token == pad_id or not reals[row][position]
            name = f"the padding id {token}" if padding else f"id {token}"
            if padding and (token < 0 or (vocabulary is not None and token >= vocabulary)):
                reach = "is negative" if token < 0 else f"is outside of the vocabulary of {vocabulary}"
                return Problem(
                    "DLM103",
                    row,
                    position,
                    f"{name} {reach}",
                    effect,
                    "pad with tokenizer.pad_token_id; -100 belongs into labels alone",
                )
            if embeddings is not None and token >= embeddings and token not in placeholders:
                return Problem(
                    "DLM103",
                    row,
                    position,
                    f"{name} has no embedding: the model has {embeddings}",
                    effect,
                    "a token was added after the model was made: call "
                    "model.resize_token_embeddings(len(tokenizer))",
                )
    return None
