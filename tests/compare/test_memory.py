"""What does not fit into memory is run with half of the rows, and says so."""

from __future__ import annotations

import re

import pytest
import torch

from pytest_decoderonly import assert_batch_equals_single, changes, tiny_decoder
from pytest_decoderonly.compare.battery import run_battery
from pytest_decoderonly.compare.memory import NoRoomError, halving, is_no_room
from pytest_decoderonly.compare.variants import run_change
from pytest_decoderonly.compare.verdict import Relation, Verdict

ROWS = [[5 + (7 * i + j) % 60 for j in range(n)] for i, n in enumerate((6, 19, 9, 12, 7))]


@pytest.fixture(scope="module")
def model():
    return tiny_decoder("llama")


@pytest.fixture
def narrow(model):
    """A model whose memory ends at a number of rows; the number may be set, and the rows that ran are kept."""

    class Limit:
        most = 99

    def refuse(_module, args, kwargs):
        ids = kwargs.get("input_ids", args[0] if args else None)
        rows = ids.shape[0] if ids is not None else kwargs["inputs_embeds"].shape[0]
        if rows > Limit.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        Limit.ran.append(rows)

    Limit.ran = []
    handle = model.register_forward_pre_hook(refuse, with_kwargs=True)
    yield Limit
    handle.remove()


@pytest.mark.parametrize(("most", "left"), [(4, 3), (3, 3), (2, 2), (1, 1)])
def test_the_batch_is_halved_until_it_fits(model, narrow, most, left):
    narrow.most = most
    result = run_battery(model, ROWS, pad_id=0, relations=[Relation.BATCH_VS_SOLO])
    assert result.notes[-1].startswith(f"the batch was halved to {left} row")
    assert re.search(
        r": \d rows of width \d+ did not fit into memory \(OutOfMemoryError\)$", result.notes[-1]
    )
    assert len(result.lengths) == left
    assert max(narrow.ran) <= most
    if left > 1:
        assert result.verdict.clean
    else:
        assert not result.of(Relation.BATCH_VS_SOLO).applicable


def test_enough_memory_changes_nothing(model, narrow):
    result = run_battery(model, ROWS, pad_id=0, relations=[Relation.BATCH_VS_SOLO])
    assert len(result.lengths) == 5
    assert not [note for note in result.notes if "memory" in note]


def test_a_change_is_halved_too(model, narrow):
    narrow.most = 3
    result = run_change(model, ROWS, changes.Cache("none"), pad_id=0)
    assert result.verdict.clean
    assert any(note.startswith("the batch was halved to 3 rows: ") for note in result.notes)


def test_what_is_wrong_is_found_halving(model, narrow):
    narrow.most = 2

    def mixed(_module, _args, output):
        if output.logits.shape[0] > 1:
            output.logits = output.logits + output.logits.flip(0) * 0.1
        return output

    handle = model.register_forward_hook(mixed)
    try:
        with pytest.raises(AssertionError, match="the batch was halved to 2 rows"):
            assert_batch_equals_single(model, None, ROWS)
    finally:
        handle.remove()


def test_not_even_one_row_is_an_error_of_its_own(model, narrow):
    narrow.most = 0
    with pytest.raises(
        NoRoomError, match=r"1 rows? of width \d+ did not fit into memory \(OutOfMemoryError\)"
    ):
        run_battery(model, ROWS, pad_id=0)


def test_weights_that_do_not_fit_twice_leave_it_undecided(monkeypatch):
    model = tiny_decoder("llama").to(torch.bfloat16)
    to = torch.Tensor.to

    def full(tensor, *args, **kwargs):
        if args == (torch.float32,) and isinstance(tensor, torch.Tensor) and tensor.dim() == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return to(tensor, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "to", full)
    before = [parameter.dtype for parameter in model.parameters()]
    result = run_battery(model, ROWS[:2], pad_id=0, relations=[Relation.BATCH_VS_SOLO])
    assert result.verdict is Verdict.UNDECIDED
    assert "the weights do not fit into memory in float32" in result.of(Relation.BATCH_VS_SOLO).reason
    assert [parameter.dtype for parameter in model.parameters()] == before


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("x"), True),
        (
            RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."
            ),
            True,
        ),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_says_that_memory_has_run_out(error, expected):
    assert is_no_room(error) is expected
    behind = ValueError("wrapped")
    behind.__cause__ = error
    assert is_no_room(behind) is expected


def test_halving_holds_nothing_of_the_run_that_failed():
    import weakref

    class Big:
        pass

    held = []

    def run(most):
        big = Big()
        held.append(weakref.ref(big))
        if most != 1:
            raise NoRoomError("too wide", most or 8)
        return [one() is not None for one in held[:-1]]

    alive, note = halving(run, lambda: None)
    assert alive == [False, False, False]
    assert note == "the batch was halved to 1 row: too wide"
