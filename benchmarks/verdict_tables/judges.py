"""The ways of judging that are set side by side: each says of one model whether it raises an alarm.

All see the same model and the same three rows. Every way is used as its documentation shows, with its own tolerances.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Rows = Sequence[Sequence[int]]
    Judge = Callable[[Any, Rows], str]

PAD_ID = 0
STEPS = 4


def ours(model: Any, rows: Rows) -> str:
    """The battery behind `assert_batch_equals_single`: clean, alarm or undecided."""
    from pytest_decoderonly.compare.battery import run_battery
    from pytest_decoderonly.compare.verdict import Verdict

    result = run_battery(model, rows, pad_id=PAD_ID, steps=STEPS)
    if result.verdict is Verdict.UNDECIDED:
        return "undecided"
    if result.verdict.clean:
        return "clean"
    return f"alarm: {result.culprit.name if result.culprit else 'no culprit'}"


def assert_close(model: Any, rows: Rows) -> str:
    """`torch.testing.assert_close` at its defaults on the logits of `generate`, batched against alone.

    Logits are compared up to the first token at which the two continuations part.
    """
    import torch

    ids, mask = left_padded(rows)
    batch = _generate(model, ids, mask)
    for i, row in enumerate(rows):
        alone = torch.tensor([list(row)])
        solo = _generate(model, alone, torch.ones_like(alone))
        for step, (theirs, mine) in enumerate(zip(batch.logits, solo.logits, strict=True)):
            try:
                torch.testing.assert_close(theirs[i], mine[0])
            except AssertionError:
                return "alarm"
            if batch.sequences[i, ids.shape[1] + step] != solo.sequences[0, len(row) + step]:
                break
    return "clean"


def transformers_test(model: Any, rows: Rows) -> str:
    """What `test_left_padding_compatibility` of transformers' tests does: 32 pads, last logits, 1e-5, no cache."""
    import torch

    ids = torch.tensor([list(row)[: min(map(len, rows))] for row in rows])
    mask = torch.ones_like(ids)
    padding = torch.full((ids.shape[0], 32), PAD_ID)
    with torch.no_grad():
        plain = model(**_told(model, ids, mask)).logits[:, -1, :]
        padded_mask = torch.cat([torch.zeros_like(padding), mask], dim=1)
        padded = model(**_told(model, torch.cat([padding, ids], dim=1), padded_mask)).logits[:, -1, :]
    try:
        torch.testing.assert_close(plain, padded, rtol=1e-5, atol=1e-5)
    except AssertionError:
        return "alarm"
    return "clean"


def padding_invariant(side: str) -> Judge:
    """pytest-torch's `assert_padding_invariant`, row by row, with position ids, 4 pads on `side`."""

    def judge(model: Any, rows: Rows) -> str:
        import torch
        from pytest_torch import assert_padding_invariant

        for row in rows:
            ids = torch.tensor([list(row)])
            given = _told(model, ids, torch.ones_like(ids))
            try:
                assert_padding_invariant(model, given, side=side, pad_value=PAD_ID)
            except AssertionError:
                return "alarm"
        return "clean"

    return judge


def mask_invariant(model: Any, rows: Rows) -> str:
    """pytest-torch's `assert_mask_invariant` on the left-padded batch, with position ids."""
    from pytest_torch import assert_mask_invariant

    ids, mask = left_padded(rows)
    try:
        assert_mask_invariant(model, _told(model, ids, mask), vocab_size=300)
    except AssertionError:
        return "alarm"
    return "clean"


JUDGES: dict[str, Judge] = {
    "ours": ours,
    "assert_close, defaults": assert_close,
    "transformers' left-padding test": transformers_test,
    "pytest-torch padding (right)": padding_invariant("right"),
    "pytest-torch padding (left)": padding_invariant("left"),
    "pytest-torch mask": mask_invariant,
}


def left_padded(rows: Rows) -> tuple[Any, Any]:
    """Return ids and mask of shape (rows, width)."""
    import torch

    width = max(map(len, rows))
    ids = torch.tensor([[PAD_ID] * (width - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def _generate(model: Any, ids: Any, mask: Any) -> Any:
    import torch

    with torch.no_grad():
        return model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=STEPS + 1,
            min_new_tokens=STEPS + 1,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )


def _told(model: Any, ids: Any, mask: Any) -> dict[str, Any]:
    """The arguments of a forward pass without a cache, positions among them where the model takes any."""
    accepted = inspect.signature(model.forward).parameters
    given = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
    if "position_ids" in accepted:
        given["position_ids"] = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 1)
    return {name: value for name, value in given.items() if name in accepted}
