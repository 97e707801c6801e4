"""`generate` returns the padded prompt exactly once, and after it the answer and nothing else.

Protects from: answers that still carry the prompt, answers cut at the row's own length instead of the batch's
width, and models whose `generate` leaves the prompt out, where the usual cut would take the answer away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_decoderonly.compare.outputs import find_prompt_ids
from pytest_decoderonly.conformance.checks import Variant
from pytest_decoderonly.conformance.found import Found, NotApplicable, failed
from pytest_decoderonly.errors import one_line

if TYPE_CHECKING:
    from pytest_decoderonly.conformance.case import Case

ORDER = 60
KIND = "generate"
VARIANTS = (Variant({"batch": 3, "length": 12}),)
_NEW = 8


class _RaisedError(Exception):
    """`generate` raised; the message is one line."""


def run(case: Case, _variant: Variant) -> Found:
    """Generate from a left-padded batch and cut at its width."""
    from pytest_decoderonly.compare.memory import free_memory, halving
    from pytest_decoderonly.compare.precision import first_generator, undisturbed

    if first_generator(case.model) is None:
        raise NotApplicable("the model has no `generate` of transformers")
    every = case.rows((5, 9, 12))
    try:
        with undisturbed(case.model):
            out, halved = halving(lambda most: _generate(case, every[:most]), free_memory(case.model))
    except _RaisedError as error:
        return failed(f"{case.name}: {error}", [])
    rows = every[: len(out)]
    width = max(map(len, rows))
    problems = []
    for i, (row, ids) in enumerate(zip(rows, out, strict=True)):
        padded = [case.pad_id] * (width - len(row)) + row
        if ids[:width] != padded:
            at = next(
                (j for j, (a, b) in enumerate(zip(ids, padded, strict=False)) if a != b), min(len(ids), width)
            )
            problems.append(
                f"row {i}: the first {width} ids are not the padded prompt, they part at position {at}: "
                "output_ids[:, input_ids.shape[1]:] would cut the answer or leave a part of the prompt"
            )
            continue
        again = find_prompt_ids(i, ids[width:], row)
        if again is not None and again.whole:
            problems.append(
                f"row {i}: the prompt comes a second time behind the padded width, at position "
                f"{width + again.start}"
            )
        elif len(ids) - width > _NEW:
            problems.append(
                f"row {i}: {len(ids) - width} ids follow the prompt, {_NEW} were asked for (max_new_tokens)"
            )
    if problems:
        return failed(
            f"{case.name}: what generate returns cannot be cut at the padded width",
            problems,
            codes=("DLM203",),
        )
    seen = f"prompt once in {len(rows)} rows of width {width}, then at most {_NEW} new ids"
    return Found(seen, notes=(halved,) if halved else ())


def _generate(case: Case, rows: list[list[int]]) -> list[list[int]]:
    import torch

    from pytest_decoderonly.compare.memory import NoRoomError, room_for
    from pytest_decoderonly.compare.precision import device_of

    width = max(map(len, rows))
    device = device_of(case.model)
    ids = torch.tensor([[case.pad_id] * (width - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    try:
        with room_for(len(rows), width):
            out: Any = case.model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=_NEW,
                do_sample=False,
                num_beams=1,
                pad_token_id=case.pad_id,
            )
    except NoRoomError:
        raise
    except Exception as error:
        raise _RaisedError(f"generate raised {one_line(error)}") from error
    found: list[list[int]] = getattr(out, "sequences", out).tolist()
    return found
