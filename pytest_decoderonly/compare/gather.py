"""Rows of training data out of whatever a pipeline gives: a batch, rows of a dataset, a loader, a trainer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.compare.arrays import Rows, as_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

MASKS = ("completion_mask", "assistant_masks", "assistant_mask", "assistant_tokens_mask")
_MOST_ROWS = 20_000


@dataclass(frozen=True)
class TrainingRow:
    """One row as it goes to the model.

    `alone` says that it did not come in a padded batch, `by_assistant` that a mask of the assistant's tokens
    alone says what is supervised.
    """

    where: str
    ids: tuple[int, ...]
    labels: tuple[int, ...]
    mask: tuple[int, ...] | None
    alone: bool
    by_assistant: bool = False
    positions: tuple[int, ...] | None = None


def gather(batch: Any, ignore_index: int) -> list[TrainingRow]:
    """Return the rows of a batch, a list of batches or rows, a dataset, a loader, or a trainer.

    The random state is as before: a loader that shuffles draws from it.

    Raises:
        TypeError: There are no `input_ids`, or nothing says what is supervised.
        ValueError: Shapes disagree, or there is no row, or no end of rows.
    """
    if hasattr(batch, "get_train_dataloader"):
        with kept_random_state():
            return gather(batch.get_train_dataloader(), ignore_index)
    if isinstance(batch, Mapping):
        if "input_ids" not in batch and batch and all(hasattr(v, "column_names") for v in batch.values()):
            raise TypeError(f"batch: is a dict of splits ({', '.join(map(str, batch))}); give one of them")
        return _rows(batch, "batch", ignore_index)
    if isinstance(batch, (str, bytes)) or not isinstance(batch, Iterable):
        raise TypeError(
            "batch: must be a batch (input_ids with labels or a mask), rows, a dataset, a DataLoader or a "
            f"trainer, got {type(batch).__name__}"
        )
    found: list[TrainingRow] = []
    with kept_random_state():
        for number, item in enumerate(batch):
            if not isinstance(item, Mapping):
                raise TypeError(f"batch: item {number} must be a dict, got {type(item).__name__}")
            found.extend(_rows(item, f"item {number}", ignore_index))
            if len(found) > _MOST_ROWS:
                raise ValueError(f"batch: has more than {_MOST_ROWS} rows; give the canaries alone")
    if not found:
        raise ValueError("batch: holds no rows")
    return found


def overwriter(batch: Any, ignore_index: int) -> str:
    """Return the name of the collator of a loader or trainer whose dataset's rows mask something; "" elsewhere."""
    data: Any = getattr(batch, "train_dataset", None)
    collator = getattr(batch, "data_collator", None)
    if data is None:
        data, collator = getattr(batch, "dataset", None), getattr(batch, "collate_fn", None)
    if collator is None or not hasattr(data, "__getitem__") or not hasattr(data, "__len__") or not len(data):
        return ""
    row = data[0]
    if not isinstance(row, Mapping):
        return ""
    labels = row.get("labels")
    masks = [row[name] for name in MASKS if row.get(name) is not None]
    hides = labels is not None and ignore_index in as_rows(labels, "labels")[0]
    if not hides and not any(0 in as_rows(mask, "mask")[0] for mask in masks):
        return ""
    return str(getattr(collator, "__name__", type(collator).__name__))


def _rows(batch: Mapping[str, Any], name: str, ignore_index: int) -> list[TrainingRow]:
    parts = _parts(batch)
    if parts:
        return [row for part, inner in parts.items() for row in _rows(inner, f"{name}: {part}", ignore_index)]
    if "input_ids" not in batch:
        raise TypeError(f"{name}: has no input_ids, only {', '.join(map(str, batch)) or 'nothing'}"[:200])
    alone = _depth(batch["input_ids"]) == 1
    ids = as_rows(batch["input_ids"], f"{name}: input_ids")
    masks = {key: batch[key] for key in MASKS if batch.get(key) is not None}
    if batch.get("labels") is not None:
        labels = as_rows(batch["labels"], f"{name}: labels")
        if len(labels) != len(ids):
            raise ValueError(f"{name}: labels have {len(labels)} rows, input_ids {len(ids)}")
    elif masks:
        labels = _masked(ids, {key: as_rows(m, f"{name}: {key}") for key, m in masks.items()}, ignore_index)
    else:
        raise TypeError(
            f"{name}: nothing says what is supervised; it must hold labels or one of {', '.join(MASKS)}"
        )
    seen = batch.get("attention_mask")
    # A mask of four dimensions says who sees whom, not what is padding.
    mask = as_rows(seen, f"{name}: attention_mask") if seen is not None and _depth(seen) <= 2 else None
    if mask is not None and [len(row) for row in mask] != [len(row) for row in ids]:
        raise ValueError(f"{name}: attention_mask has another shape than input_ids")
    positions = _positions(batch, ids, name)
    return [
        TrainingRow(
            f"{name}" if alone else f"{name}, row {i}" if name != "batch" else f"row {i}",
            tuple(row),
            tuple(labels[i]),
            None if mask is None else tuple(mask[i]),
            alone,
            batch.get("labels") is None and "completion_mask" not in masks,
            None if positions is None else tuple(positions[i]),
        )
        for i, row in enumerate(ids)
    ]


def _positions(batch: Mapping[str, Any], ids: Rows, name: str) -> Rows | None:
    """Return `position_ids`, or those that `seq_lengths` (TRL) stand for; None where there are none for each token."""
    given, lengths = batch.get("position_ids"), batch.get("seq_lengths")
    found: Rows | None = None
    if given is not None and _depth(given) <= 2:
        found = as_rows(given, f"{name}: position_ids")
    elif given is None and lengths is not None:
        found = [
            [i for length in row for i in range(length)] for row in as_rows(lengths, f"{name}: seq_lengths")
        ]
    # One row for all, or another frame, says nothing here.
    return found if found is not None and [len(row) for row in found] == [len(row) for row in ids] else None


def _parts(batch: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Split a batch of `chosen_input_ids`, `chosen_labels`, `rejected_input_ids`, ... by what stands before."""
    if "input_ids" in batch:
        return {}
    names = [key.removesuffix("_input_ids") for key in batch if str(key).endswith("_input_ids")]
    found = {
        name: {
            key.removeprefix(f"{name}_"): value
            for key, value in batch.items()
            if str(key).startswith(f"{name}_")
        }
        for name in names
    }
    return {name: part for name, part in found.items() if any(key in part for key in ("labels", *MASKS))}


def _masked(ids: Rows, masks: dict[str, Rows], ignore_index: int) -> Rows:
    for key, rows in masks.items():
        if [len(row) for row in rows] != [len(row) for row in ids]:
            raise ValueError(f"{key}: has another shape than input_ids")
    return [
        [token if all(rows[i][j] for rows in masks.values()) else ignore_index for j, token in enumerate(row)]
        for i, row in enumerate(ids)
    ]


def _depth(value: Any) -> int:
    if hasattr(value, "ndim"):
        return int(value.ndim)
    depth = 0
    while isinstance(value, (list, tuple)) or hasattr(value, "ndim"):
        if hasattr(value, "ndim"):
            return depth + int(value.ndim)
        depth += 1
        if not value:
            break
        value = value[0]
    return depth


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Give Python, NumPy and torch (all devices) the random state back that they had."""
    import random
    import sys

    python = random.getstate()
    numpy = sys.modules.get("numpy")
    torch = sys.modules.get("torch")
    arrays = numpy.random.get_state() if numpy is not None else None
    tensors = torch.get_rng_state() if torch is not None else None
    devices = torch.cuda.get_rng_state_all() if torch is not None and torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(python)
        if numpy is not None and arrays is not None:
            numpy.random.set_state(arrays)
        if torch is not None and tensors is not None:
            torch.set_rng_state(tensors)
            if devices is not None:
                torch.cuda.set_rng_state_all(devices)
