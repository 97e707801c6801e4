"""An assertion about a whole pipeline: of canaries that went through it, the answers alone are supervised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pytest_decoderonly.assertions.drawing import (
    Block,
    advice,
    legend,
    listing,
    neighbourhood,
    plural,
    quoted,
    share,
    statement,
    strip,
)
from pytest_decoderonly.compare.canaries import Canary, Reader
from pytest_decoderonly.compare.chats import header_of, marks, written
from pytest_decoderonly.compare.gather import gather, overwriter
from pytest_decoderonly.compare.labels import IGNORE
from pytest_decoderonly.compare.passages import Expectation, SupervisedRow
from pytest_decoderonly.compare.supervision import SupervisionAudit, audit_supervision, name_overwriter
from pytest_decoderonly.compare.texts import decoded

if TYPE_CHECKING:
    from collections.abc import Sequence

_SIGNS = {
    "padding": "_",
    "space": ".",
    "template": ".",
    "terminator": "E",
    "prompt": "p",
    "response": "C",
    "either": "C",
}
_UNMARKED = "the chat template has no {% generation %} markers, so no token is marked as the assistant's: put them into it"
_MEANINGS = {
    "_": "padding",
    "p": "prompt",
    ".": "template",
    "C": "answer in the loss",
    "E": "its end in the loss",
    "!": "in the loss and must not be",
    "?": "not in the loss and must be",
}


def assert_only_responses_supervised(
    batch: Any,
    canaries: Sequence[Canary],
    tokenizer: Any,
    ignore_index: int = IGNORE,
    *,
    turns: Literal["all", "last"] = "all",
    allow_dropped: bool = False,
    terminator: bool = True,
    bos: bool = False,
) -> SupervisionAudit:
    """Assert that what a pipeline supervises spells the answers of the canaries, and nothing else.

    Send `canaries(...)` through your own formatting, tokenization, collation or trainer, and give what comes
    out. Rows are known by their words, so they may be reordered, packed or cut. An answer that was truncated
    need not end in EOS. White space behind the terminator, a second stop token, and what a chat template
    makes the model itself write before an answer (an empty block of thoughts) may be supervised or not.

    Reports DLM301, DLM302, DLM303, DLM304, DLM306, DLM307, DLM309, DLM310 and DLM311.

    Args:
        batch: What reaches the model: a batch with `input_ids` of shape (rows, positions) and `labels`, or
            `completion_mask` or `assistant_masks` (1 on what is supervised), or with `chosen_input_ids`,
            `chosen_labels`, `rejected_input_ids` and so on; a list of batches or rows; a
            dataset; a DataLoader; or a trainer with `get_train_dataloader()`. Integers throughout. The
            random state is left as it was.
        canaries: The canaries that went in.
        tokenizer: The tokenizer (or processor) of the pipeline.
        ignore_index: The label that the loss ignores.
        turns: `"all"` answers of a conversation are to be supervised, or only the `"last"`.
        allow_dropped: Whether canaries may be missing.
        terminator: Whether answers must end in EOS or another special token. Where one follows an answer it
            must be supervised in any case.
        bos: Whether each row must begin with BOS. Two of them, or one between a question and its answer, are
            reported in any case.

    Returns:
        What each row holds; its `notes` say what was cut.

    Raises:
        AssertionError: Prompt, template or padding is supervised, an answer or its terminator is not, labels
            are shifted or another row's, an answer follows another question, a row trains nothing, special
            tokens are doubled, or canaries (or a part of every one) are missing.
        TypeError: An argument is of the wrong kind, or nothing says what is supervised.
        ValueError: Shapes disagree, or there are no rows.
    """
    __tracebackhide__ = True
    if turns not in ("all", "last"):
        raise ValueError(f"turns: must be 'all' or 'last', got {turns!r}")
    given = list(canaries)
    if not given or not all(isinstance(canary, Canary) for canary in given):
        raise TypeError("canaries: must be the list that canaries(...) returned")
    reader = Reader(tokenizer)
    header, lead = (squeeze(text) for text in header_of(reader.tokenizer))
    rows = gather(batch, ignore_index)
    unmarked = _UNMARKED if any(row.by_assistant for row in rows) and not marks(reader.tokenizer) else ""
    by_template = {
        canary.number: tuple(map(squeeze, written(reader.tokenizer, canary.messages()))) for canary in given
    }
    expect = Expectation(turns, ignore_index, header, lead, bos, unmarked, by_template)
    audit = audit_supervision(rows, given, reader, expect)
    audit = name_overwriter(audit, overwriter(batch, ignore_index))
    message = _message(audit, given, reader, allow_dropped=allow_dropped, terminator=terminator)
    del batch, tokenizer, reader, rows  # the error must not keep tensors alive
    if message:
        raise AssertionError(message)
    return audit


def squeeze(text: str) -> str:
    """Return text without white space, as tokens are compared."""
    return "".join(text.split())


def _message(
    audit: SupervisionAudit,
    canaries: Sequence[Canary],
    reader: Reader,
    *,
    allow_dropped: bool,
    terminator: bool,
) -> str:
    if not audit.rows:
        many = "1 canary" if len(canaries) == 1 else f"{len(canaries)} canaries"
        return statement(
            f"none of {many} came out of the pipeline: {plural(audit.others, 'row')}, and not one of their words",
            "",
            [("do", "give the rows that these canaries became, and the tokenizer that made them")],
        )
    bad = len(audit.problems)
    blocks = [_block(row, reader) for row in audit.rows if row.problem is not None]
    general: list[str] = []
    if audit.dropped and not allow_dropped:
        names = ", ".join(map(str, audit.dropped[:10])) + (", ..." if len(audit.dropped) > 10 else "")
        general.append(
            statement(
                f"{len(audit.dropped)} of {len(canaries)} canaries came out nowhere: {names}",
                "DLM311",
                advice(
                    "these examples train nothing",
                    "look which filter or length limit drops them, or pass allow_dropped=True",
                ),
            )
        )
    if audit.endless and terminator and not bad:
        general.append(
            statement(
                "no answer is followed by EOS or another special token",
                "DLM309",
                advice(
                    "the model never learns to stop",
                    "append eos_token to the answer's text or ids, or pass terminator=False",
                ),
            )
        )
    if not blocks and not general:
        return ""
    if not blocks:
        return "\n".join(general)
    header = f"not the answers alone are supervised in {share(bad, len(audit.rows), 'row')}"
    drawn = "".join(_signs(row) for row in audit.rows if row.problem is not None)
    footer = [legend(drawn, _MEANINGS)] if drawn else []
    return listing(header, blocks, [*footer, *(line for text in general for line in text.split("\n"))])


def _block(row: SupervisedRow, reader: Reader) -> Block:
    problem = row.problem
    assert problem is not None  # noqa: S101 - only rows with a problem are drawn
    who = " and ".join(f"canary {number}" for number in row.canaries) or "labels of another length"
    head = f"{row.where}   {who}, {sum(row.supervised)} of {len(row.ids)} in the loss   [{problem.code}]"
    notes = tuple(("note", note) for note in row.notes)
    do = advice(problem.effect, problem.advice)
    if not row.owners:
        return Block(head, (problem.what,), facts=notes, advice=do)
    signs, pointer = strip(_signs(row), problem.position)
    return Block(
        head,
        (signs, f"{pointer} position {problem.position}: {problem.what}"),
        neighbourhood(
            problem.position, row.ids, reader.tokenizer, [("is", row.owners), ("label", row.labels)]
        ),
        (("trained", quoted(_trained(row, reader), 90)), *notes),
        do,
    )


def _signs(row: SupervisedRow) -> str:
    return "".join(_sign(owner, flag) for owner, flag in zip(row.owners, row.supervised, strict=True))


def _sign(owner: str, supervised: bool) -> str:
    if supervised:
        return "!" if owner in ("padding", "prompt", "template") else _SIGNS[owner]
    return "?" if owner in ("response", "terminator") else "p" if owner == "either" else _SIGNS[owner]


def _trained(row: SupervisedRow, reader: Reader) -> str:
    """Return the supervised tokens as text; gaps are dots."""
    parts: list[str] = []
    stretch: list[int] = []
    for i, flag in enumerate((*row.supervised, False)):
        if flag:
            stretch.append(row.labels[i])
        elif stretch:
            text = decoded(reader.tokenizer, stretch)
            parts.append("?" if text is None else text)
            stretch = []
    return " .. ".join(parts)
