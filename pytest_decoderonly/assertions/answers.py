"""The assertion that answers are cut at the right place of what `generate` returned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_decoderonly.assertions.drawing import (
    Block,
    advice,
    legend,
    listing,
    plural,
    quoted,
    share,
    statement,
    strip,
)
from pytest_decoderonly.assertions.padding import same_shape, special_ids
from pytest_decoderonly.compare.answers import AnswerAudit, Misfit, Output, audit_answers, unfilled
from pytest_decoderonly.compare.arrays import Rows, as_rows
from pytest_decoderonly.compare.padding import real_rows
from pytest_decoderonly.compare.texts import Codec

_MEANINGS = {
    "_": "padding",
    "p": "prompt",
    "A": "answer",
    ".": "its end",
    "!": "prompt that is left",
    "x": "answer that is lost",
}
_IGNORED = -100
_CUT = (
    "cut at the padded width: sequences[:, {}:], that is sequences[:, input_ids.shape[1]:], and decode that"
)


def assert_answers_whole(
    answers: Any,
    sequences: Any,
    input_ids: Any,
    *,
    tokenizer: Any = None,
    attention_mask: Any = None,
    pad_token_id: int | None = None,
    prompt_in_output: bool | None = None,
    ends_at_eos: bool = False,
    stops: Sequence[str] = (),
    keep_tokens: Sequence[str] = (),
) -> None:
    """Assert that each answer is what `generate` put behind its prompt: nothing lost, nothing of the prompt left.

    Ids must be the same but for padding and special tokens at their end. Texts are compared without special
    tokens, whitespace, case and Unicode forms.

    Reports DLM201, DLM202, DLM203 and DLM206.

    Args:
        answers: What the code under test made of the output: ids of shape (rows, positions), ragged or padded,
            or one text, or a list of texts. One for each row of `sequences`, or one for each prompt.
        sequences: What `generate` returned: ids of shape (rows, prompt and answer), or an output that holds
            them. With n rows a prompt (`num_return_sequences`), row i belongs to prompt i // n.
        input_ids: The padded prompts that `generate` got, (prompts, width), or the mapping that they came in;
            None where it got `inputs_embeds` alone.
        tokenizer: Needed where answers are texts. Gives the special ids.
        attention_mask: The prompts' mask; without one, padding is told by the tokenizer's padding id.
        pad_token_id: The id that fills rows up behind their end, where it is not the tokenizer's. Where that is an
            ordinary token, texts that show it are reported.
        prompt_in_output: Whether rows of `sequences` begin with their prompt. By default they must, unless
            `input_ids` is None or the output is an encoder-decoder's.
        ends_at_eos: Say that rows end at EOS and nothing else (no stop strings, no other end tokens): then a
            row that stopped early must hold its EOS, and no answer may go on behind it.
        stops: Texts at which an answer may end: the first of them, and what follows, may be missing.
        keep_tokens: Texts of special tokens that belong to an answer, such as marks of tool calls; a text that
            lacks them (`skip_special_tokens=True` drops them) is reported.

    Raises:
        AssertionError: An answer is cut elsewhere, belongs to another row, or lost its end; says by how much
            and what would be right.
        TypeError: An argument is neither ids nor texts, or a tokenizer is needed.
        ValueError: Numbers of answers, rows and prompts do not go together, or rows of `sequences` do not
            begin with their prompts.
    """
    __tracebackhide__ = True
    message = _report(
        answers,
        sequences,
        input_ids,
        tokenizer,
        attention_mask,
        fill=pad_token_id,
        told=prompt_in_output,
        ends_at_eos=ends_at_eos,
        stops=(stops,) if isinstance(stops, str) else tuple(stops),
        kept=(keep_tokens,) if isinstance(keep_tokens, str) else tuple(keep_tokens),
    )
    del answers, sequences, input_ids, tokenizer, attention_mask  # the error must not keep tensors alive
    if message:
        raise AssertionError(message)


def _report(
    answers: Any,
    sequences: Any,
    input_ids: Any,
    tokenizer: Any,
    attention_mask: Any,
    *,
    fill: int | None,
    told: bool | None,
    ends_at_eos: bool,
    stops: tuple[str, ...],
    kept: tuple[str, ...],
) -> str:
    given = _answers(answers)
    texts = bool(given) and isinstance(given[0], str)
    if texts and not hasattr(tokenizer, "decode"):
        raise TypeError("tokenizer: is needed to compare answers that are texts with ids")
    if ends_at_eos and getattr(tokenizer, "eos_token_id", None) is None:
        raise TypeError("ends_at_eos: needs a tokenizer with an EOS token")
    if (stops or kept) and not hasattr(tokenizer, "decode"):
        raise TypeError(f"tokenizer: is needed with {'stops' if stops else 'keep_tokens'}, which are texts")
    rows = as_rows(_sequences(sequences), "sequences")
    if isinstance(input_ids, Mapping):
        attention_mask = input_ids.get("attention_mask") if attention_mask is None else attention_mask
        input_ids = input_ids.get("input_ids")
    carried = told if told is not None else input_ids is not None and not _encoder_decoder(sequences)
    outputs = _outputs(rows, input_ids, attention_mask, tokenizer, carried=carried)
    if isinstance(outputs, str):
        return outputs
    prompts = len(as_rows(input_ids, "input_ids")) if input_ids is not None else len(rows)
    each = len(rows) // prompts
    if len(given) == len(rows):
        owner = [[i] for i in range(len(rows))]
    elif len(given) == prompts:
        owner = [list(range(i * each, (i + 1) * each)) for i in range(prompts)]
    else:
        raise ValueError(
            f"answers: {plural(len(given), 'answer')} for {plural(len(rows), 'row')} of sequences"
            + (f" and {plural(prompts, 'prompt')}" if input_ids is not None else "")
        )
    codec = Codec.of(tokenizer, kept)
    if fill is not None and codec.special_ids and fill not in codec.special_ids:
        outputs = tuple(replace(output, ids=unfilled(output, fill, codec.special_ids)) for output in outputs)
    unknown = set(kept) - set(Codec.of(tokenizer).special_texts)
    if unknown:
        raise ValueError(f"keep_tokens: {min(unknown)!r} is no special token of the tokenizer")
    audit = audit_answers(
        given,
        outputs,
        owner.__getitem__,
        codec=codec,
        ends=_ends(codec, tokenizer, rows) | ({fill} if fill is not None else set()),
        fill=fill,
        ends_at_eos=ends_at_eos,
        stops=stops,
    )
    return _message(audit, given, codec, each) if audit.misfits else ""


def _answers(value: Any) -> Rows | list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Sequence) and any(isinstance(item, str) for item in value):
        if not all(isinstance(item, str) for item in value):
            raise TypeError("answers: must hold texts only or ids only, got a mixture")
        return list(value)
    # Trainers fill rows up with the index that the loss ignores.
    rows = [[token for token in row if token != _IGNORED] for row in as_rows(value, "answers")]
    for i, row in enumerate(rows):
        if row and min(row) < 0:
            raise ValueError(f"answers: row {i} holds {min(row)}, which is no id")
    return rows


def _sequences(value: Any) -> Any:
    if isinstance(value, Mapping):
        if "sequences" not in value:
            raise ValueError(f"sequences: the mapping has no 'sequences', only {', '.join(map(repr, value))}")
        return value["sequences"]
    return getattr(value, "sequences", value)


def _encoder_decoder(value: Any) -> bool:
    return "EncoderDecoder" in type(value).__name__


def _ends(codec: Codec, tokenizer: Any, rows: Rows) -> frozenset[int]:
    """Return the ids that may end a row; without a tokenizer what stands before and in runs at rows' ends."""
    if tokenizer is not None:
        pad = getattr(tokenizer, "pad_token_id", None)
        return codec.special_ids | ({pad} if pad is not None else set())
    ends: set[int] = set()
    for row in rows:
        run = next((n for n, token in enumerate(reversed(row)) if token != row[-1]), len(row))
        if 1 < run < len(row):
            ends |= {row[-1], row[-1 - run]}
    return frozenset(ends)


def _outputs(
    rows: Rows, input_ids: Any, attention_mask: Any, tokenizer: Any, *, carried: bool
) -> tuple[Output, ...] | str:
    if input_ids is None:
        if carried:
            raise TypeError("input_ids: is needed where the output holds the prompt")
        return tuple(Output(tuple(row), 0) for row in rows)
    prompts = as_rows(input_ids, "input_ids")
    mask = None if attention_mask is None else as_rows(attention_mask, "attention_mask")
    same_shape(prompts, mask, "attention_mask")
    widths = {len(row) for row in prompts}
    if len(widths) > 1:
        raise ValueError(
            f"input_ids: rows have {min(widths)} to {max(widths)} positions: give them padded, as generate got them"
        )
    if len(rows) % len(prompts):
        raise ValueError(
            f"sequences: {plural(len(rows), 'row')} for {plural(len(prompts), 'prompt')}: expected as many, "
            "or a multiple"
        )
    each, width = len(rows) // len(prompts), widths.pop()
    reals = real_rows(prompts, mask, special_ids(tokenizer))
    found = []
    for i, row in enumerate(rows):
        prompt, real = prompts[i // each], reals[i // each]
        if carried and not _begins_with(row, prompt, real):
            return _strange(i, row, prompts, reals, each)
        pads = real.index(True) if any(real) else 0
        found.append(
            Output(tuple(row), width if carried else 0, pads if carried else 0, tuple(prompt), sum(real))
        )
    return tuple(found)


def _begins_with(row: Sequence[int], prompt: Sequence[int], real: Sequence[bool]) -> bool:
    return len(row) >= len(prompt) and all(
        mine == token for mine, token, flag in zip(row, prompt, real, strict=False) if flag
    )


def _strange(i: int, row: list[int], prompts: Rows, reals: Sequence[Sequence[bool]], each: int) -> str:
    """Report rows in another order; anything else is a wrong argument.

    Raises:
        ValueError: The row begins with none of the prompts.
    """
    for other, (prompt, real) in enumerate(zip(prompts, reals, strict=True)):
        if _begins_with(row, prompt, real):
            return statement(
                f"row {i} of sequences begins with prompt {other}, expected prompt {i // each}",
                "",
                advice(
                    "answers are given to other questions",
                    f"with {each} rows a prompt, row i belongs to prompt i // {each}: repeat prompts with "
                    "repeat_interleave, not with repeat",
                ),
            )
    raise ValueError(
        f"sequences: row {i} does not begin with row {i // each} of input_ids. Give what generate returned, uncut, "
        "and the padded input_ids that it got; or prompt_in_output=False where it returns new tokens alone "
        "(inputs_embeds, encoder-decoder models)"
    )


def _message(audit: AnswerAudit, answers: Any, codec: Codec, each: int) -> str:
    blocks = [_block(misfit, audit.outputs[misfit.row], answers, codec, each) for misfit in audit.misfits]
    bad = len(blocks)
    drawn = "".join(sign for misfit in audit.misfits for sign in _signs(misfit, audit.outputs[misfit.row]))
    return listing(
        f"{share(bad, len(answers), 'answer')} {'is' if bad == 1 else 'are'} not what generate put behind "
        f"{'its prompt' if bad == 1 else 'their prompts'}",
        blocks,
        [legend(drawn, _MEANINGS)],
    )


def _block(misfit: Misfit, output: Output, answers: Any, codec: Codec, each: int) -> Block:
    shown = misfit.shown
    if misfit.start is not None and misfit.kind in ("early", "late", "both"):
        low, high = sorted((misfit.start, output.width))
        shown = _text(output.ids[low:high], codec)
    code = _code(misfit, output)
    head = f"answer {misfit.answer}   {_what(misfit, output)}" + (f"   [{code}]" if code else "")
    point = misfit.start if misfit.start is not None else output.width
    where = f"position {point}" if misfit.start is not None else "the answer begins here"
    if misfit.kind == "end" and misfit.stop is not None:
        point, shown = misfit.stop, _text(output.ids[misfit.stop : misfit.stop + misfit.back], codec)
        where = f"position {point}"
    signs, pointer = strip(_signs(misfit, output), min(point, len(output.ids)))
    if misfit.mechanism:
        where += f": {misfit.mechanism}"
    word = "extra" if misfit.kind == "extra" else "left" if misfit.front > 0 else "lost"
    facts = [(word, quoted(shown))] if shown else []
    given = answers[misfit.answer]
    facts += [
        ("answer", quoted(given if isinstance(given, str) else _text(given, codec))),
        ("right", quoted(_text(output.answer, codec))),
    ]
    return Block(
        head,
        (signs, f"{pointer} {where}"),
        (),
        tuple(facts),
        advice(_effect(misfit), _advice(misfit, output, each)),
    )


def _text(ids: Sequence[int], codec: Codec) -> str:
    return codec.decode(ids, skip=False) if codec.tokenizer is not None else " ".join(map(str, ids))


def _signs(misfit: Misfit, output: Output) -> list[str]:
    width = output.width
    signs = ["_"] * output.pads + ["p"] * (width - output.pads) + ["A"] * (len(output.ids) - width)
    start = misfit.start
    if misfit.kind in ("mixed", "other", "no-eos", "after-eos", "special", "extra") or start is None:
        return signs
    for i in range(start, width):
        signs[i] = "!"
    for i in range(width, min(start, len(signs))):
        signs[i] = "x"
    if misfit.back and misfit.stop is not None:
        for i in range(max(misfit.stop, width), min(len(signs), max(misfit.stop, width) + misfit.back)):
            signs[i] = "x"
        signs[max(misfit.stop, width) + misfit.back :] = "." * max(
            0, len(signs) - max(misfit.stop, width) - misfit.back
        )
    elif misfit.stop is not None:
        signs[max(misfit.stop, width) :] = "." * max(0, len(signs) - max(misfit.stop, width))
    return signs


def _what(misfit: Misfit, output: Output) -> str:
    unit = misfit.unit[:-1]
    front, back = plural(abs(misfit.front), unit), plural(misfit.back, unit)
    if misfit.kind == "mixed":
        return f"it is the answer of row {misfit.other}, not of row {misfit.row}"
    if misfit.kind == "no-eos":
        return f"row {misfit.row} stopped early and holds no EOS: padding stands where it should be"
    if misfit.kind == "after-eos":
        return f"the {back} behind EOS {'is' if misfit.back == 1 else 'are'} kept"
    if misfit.kind == "special":
        return f"the special tokens {misfit.shown} of the answer are missing"
    if misfit.kind == "extra":
        count, side = (front, "in front of") if misfit.front else (back, "behind")
        return f"{count} stand{'s' * ((misfit.front or misfit.back) == 1)} {side} it that generate did not put there"
    if misfit.kind == "other":
        return f"it is not the text of row {misfit.row}: they part at {misfit.unit[:-1]} {misfit.back} of the answer"
    parts = []
    if misfit.front > 0:
        padding = max(0, output.pads - misfit.start) if misfit.start is not None else 0
        front = plural(misfit.front - padding, unit)
        more = f" and {padding} of padding" if padding else ""
        parts.append(f"{front} of the prompt{more} {'is' if misfit.front == 1 else 'are'} left")
    elif misfit.front < 0:
        parts.append(f"the first {front} {'is' if misfit.front == -1 else 'are'} lost")
    if misfit.back:
        parts.append(f"the last {back} {'is' if misfit.back == 1 else 'are'} lost")
    return " and ".join(parts)


def _code(misfit: Misfit, output: Output) -> str:
    if misfit.kind in ("mixed", "other", "end", "no-eos", "after-eos", "special", "extra"):
        return "DLM206" if "holds no prompt" in misfit.mechanism else ""
    if output.width == 0:
        return "DLM206"
    if misfit.mechanism == "nothing was cut off":
        return "DLM201"
    return "DLM203" if misfit.unit == "tokens" else "DLM202"


def _effect(misfit: Misfit) -> str:
    return {
        "early": "the question is returned, stored or scored as if the model had said it",
        "late": "the beginning of what the model said is missing",
        "end": "the end of what the model said is missing",
        "both": "what is stored is neither the question nor the answer",
        "mixed": "answers are given to other questions",
        "other": "what is stored is not what the model said",
        "no-eos": "nothing tells that the answer is complete: it is trained or scored as one that never stops",
        "after-eos": "what the model said after its end is taken for the answer",
        "extra": "more is returned, stored or scored than the model said",
        "special": "what marks a tool call, a thought or a part of the answer is gone",
    }[misfit.kind]


def _advice(misfit: Misfit, output: Output, each: int) -> str:
    if misfit.kind == "mixed":
        return f"row i of the output belongs to prompt {f'i // {each}' if each > 1 else 'i'}: keep the order"
    if misfit.kind == "no-eos":
        return "write EOS before the row is marked as finished; fill with padding from the next position on"
    if misfit.kind == "after-eos":
        return "cut each row at its first EOS: count along the row (axis 1), not over the batch"
    if misfit.kind == "extra":
        return "keep what was generated alone; fill rows up with the padding id, and skip it when decoding"
    if misfit.kind == "special":
        return "decode with skip_special_tokens=False, and take out EOS and padding alone"
    if output.width == 0:
        return "do not cut: this output holds new tokens alone"
    if misfit.kind in ("early", "late", "both"):
        return _CUT.format(output.width)
    return "keep all that was generated, or compare what is meant to be kept"
