"""HF datasets and torch's `Dataset` and `DataLoader`: what their rows and batches hold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import libcst as cst

from decoderonly_checker.flow.access import Slice
from decoderonly_checker.flow.choices import each, join_all
from decoderonly_checker.flow.state import DictRec, ObjRec
from decoderonly_checker.flow.values import (
    NAMED,
    UNKNOWN,
    Args,
    Const,
    Hole,
    Ids,
    Lib,
    Opaque,
    Ref,
    Site,
    Str,
    Tri,
    Tuple,
    Unknown,
    Value,
    alternatives,
    literal,
)
from decoderonly_checker.knowledge.collators import batch_size, collate
from decoderonly_checker.knowledge.python import lib_attrs, new_lib, new_list
from decoderonly_checker.knowledge.registry import is_none

if TYPE_CHECKING:
    from decoderonly_checker.flow.interpreter import Interpreter
    from decoderonly_checker.knowledge.registry import Registry

Node = cst.CSTNode
# The names of the values that stand for a dataset, for several by split, and for a loader of batches.
DATASET, SPLITS, LOADER = "datasets.Dataset", "datasets.DatasetDict", "DataLoader"
_ROW, _BATCH = "#row", "#batch"
_SPLIT_NAMES = frozenset(
    {"train", "test", "validation", "valid", "val", "eval", "dev", "train_sft", "test_sft", "unsupervised"}
)
_SAME_ROWS = frozenset(
    {
        *("filter", "select", "shuffle", "sort", "shard", "take", "skip", "repeat", "flatten", "cast"),
        *("cast_column", "class_encode_column", "flatten_indices", "to_iterable_dataset", "with_format", "unique"),
        *("cleanup_cache_files", "with_rank", "set_epoch", "align_labels_with_mapping", "persist"),
    }
)  # fmt: skip
_IN_PLACE = frozenset({"set_format", "reset_format", "save_to_disk", "push_to_hub", "set_epoch"})
_TORCH = "torch.utils.data"


def dataset(interp: Interpreter, row: Value, site: Site, name: str = DATASET) -> Lib:
    """Make a dataset of rows like `row`."""
    return new_lib(interp, name, {_ROW: row}, site)


def unknown_row(interp: Interpreter, site: Site | None = None) -> Ref:
    """Make a row of columns that are known by name alone."""
    return Ref(interp.store.new(DictRec({}, NAMED)), "dict", origin=site)


def fresh(interp: Interpreter, row: Value) -> Value:
    """Return a copy of a row or batch: what one reader changes, the next does not see."""

    def copy(one: Value) -> Value:
        record = interp.store.get(one.id) if isinstance(one, Ref) else None
        return replace(one, id=interp.store.new(record)) if isinstance(record, DictRec) else one  # type: ignore[call-arg]

    return each(row, copy)


def row_of(interp: Interpreter, value: Value | None) -> Value:
    """Return one row of whatever is used as a dataset."""

    def one_row(one: Value) -> Value:
        if isinstance(one, Lib) and one.name in {DATASET, SPLITS}:
            return fresh(interp, lib_attrs(interp, one).get(_ROW, UNKNOWN))
        if isinstance(one, Tuple):
            return interp.iterate(one)
        record = interp.store.get(one.id) if isinstance(one, Ref) else None
        if isinstance(record, DictRec):
            # Several datasets by name (`eval_dataset={"a": …}`).
            return join_all([row_of(interp, entry) for entry in record.entries.values()])
        return interp.iterate(one) if isinstance(one, Ref) else UNKNOWN

    if value is None:
        return unknown_row(interp)
    rows = each(value, one_row)
    known = [one for one in alternatives(rows) if not isinstance(one, Unknown)]
    if not known:
        return unknown_row(interp)
    return rows if len(known) == len(alternatives(rows)) else join_all(known)


def as_columns(interp: Interpreter, row: Value, site: Site) -> Value:
    """Return a dict of columns, as `map(batched=True)` gives it, for a dict of one row."""
    record = interp.dict_record(row)
    if record is None:
        return row
    entries = {key: new_list(interp, None, value, site) for key, value in record.entries.items()}
    columns: dict[Any, Value] = {}
    for key, value in record.entries.items():
        ids = [
            replace(v, rank="batch") for v in alternatives(value) if isinstance(v, Ids) and v.rank == "row"
        ]
        columns[key] = join_all([*ids]) if ids else entries[key]
    open_: Value | None = None
    if record.open is not None:
        open_ = new_list(interp, None, NAMED if record.open == NAMED else UNKNOWN, site)
    return Ref(interp.store.new(DictRec(columns, open_, record.encoding)), "dict", origin=site)


def as_row(interp: Interpreter, columns: DictRec) -> DictRec:
    """Return one row of a dict of columns."""

    def element(one: Value) -> Value:
        return replace(one, rank="row") if isinstance(one, Ids) else interp.iterate(one)

    entries = {key: each(value, element) for key, value in columns.entries.items()}
    return DictRec(entries, None if columns.open is None else NAMED, columns.encoding)


def by_column(row: DictRec) -> DictRec:
    """Return a row whose literal texts are known by the names of their columns too."""
    entries = dict(row.entries)
    for key, value in entries.items():
        if isinstance(key, str) and all(isinstance(literal(one), str) for one in alternatives(value)):
            entries[key] = Str((Hole(value, key, origin=value.origin),), origin=value.origin)
    return replace(row, entries=entries)


def register(registry: Registry) -> None:
    """Register the handlers of this file."""
    function, method = registry.function, registry.method

    # -- how datasets are made -----------------------------------------------------------------------------------

    @function("datasets.load_dataset", "datasets.load_from_disk", "datasets.load.load_dataset")
    def load(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        site = interp.site(node)
        split = args.get(4, "split")
        one = not is_none(split) and not isinstance(split, Ref)
        return dataset(interp, unknown_row(interp, site), site, DATASET if one else SPLITS)

    @function(
        *(f"datasets.Dataset.from_{kind}" for kind in ("json", "csv", "parquet", "text", "sql", "file"))
    )
    def from_file(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        return dataset(interp, unknown_row(interp, interp.site(node)), interp.site(node))

    @function("datasets.Dataset.from_dict")
    def from_dict(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        site = interp.site(node)
        record = interp.dict_record(args.get(0, "mapping") or UNKNOWN)
        row: Value = unknown_row(interp, site)
        if record is not None:
            row = Ref(interp.store.new(by_column(as_row(interp, record))), "dict", origin=site)
        return dataset(interp, row, site)

    @function(
        "datasets.Dataset.from_list",
        "datasets.Dataset.from_generator",
        "datasets.IterableDataset.from_generator",
    )
    def from_rows(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        site = interp.site(node)
        source = args.get(0, "mapping", "generator") or UNKNOWN
        if name.endswith("from_generator"):
            given = interp.dict_record(args.get(None, "gen_kwargs") or UNKNOWN)
            entries = {str(k): v for k, v in given.entries.items()} if given is not None else {}
            source = interp.call_value(source, Args((), entries), node)
        record = interp.dict_record(interp.iterate(source))
        if record is None:
            return dataset(interp, unknown_row(interp, site), site)
        return dataset(interp, Ref(interp.store.new(by_column(record)), "dict", origin=site), site)

    @function("datasets.Dataset.from_pandas", "datasets.Dataset.from_polars", "datasets.Dataset.from_spark")
    def from_frame(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        return dataset(interp, unknown_row(interp, interp.site(node)), interp.site(node))

    @function("datasets.DatasetDict", "datasets.IterableDatasetDict")
    def by_split(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        site = interp.site(node)
        record = interp.dict_record(args.positional[0]) if args.positional else None
        splits = [*(record.entries.values() if record is not None else ()), *args.keywords.values()]
        rows = [row_of(interp, split) for split in splits]
        return dataset(interp, join_all(rows) if rows else unknown_row(interp, site), site, SPLITS)

    @function(
        "datasets.concatenate_datasets", "datasets.interleave_datasets", "torch.utils.data.ConcatDataset",
        "torch.utils.data.ChainDataset",
    )  # fmt: skip
    def joined(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        source = args.get(0, "dsets", "datasets") or UNKNOWN
        items = interp.elements(source, None) or (interp.iterate(source),)
        return dataset(interp, join_all([row_of(interp, one) for one in items]), interp.site(node))

    @function("torch.utils.data.Subset")
    def subset(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        return dataset(interp, row_of(interp, args.get(0, "dataset")), interp.site(node))

    @function("torch.utils.data.random_split", "torch.utils.data.dataset.random_split")
    def random_split(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        site = interp.site(node)
        return new_list(interp, None, dataset(interp, row_of(interp, args.get(0, "dataset")), site), site)

    @function("torch.utils.data.TensorDataset", "torch.utils.data.dataset.TensorDataset")
    def tensors(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        row = Tuple(tuple(interp.iterate(one) for one in args.positional), origin=interp.site(node))
        return dataset(interp, row, interp.site(node))

    # -- what is done with them ----------------------------------------------------------------------------------

    @method(Lib, "map")
    def map_(interp: Interpreter, receiver: Lib, name: str, args: Args, node: Node) -> Value | None:
        if receiver.name not in {DATASET, SPLITS}:
            return None
        old = lib_attrs(interp, receiver).get(_ROW, UNKNOWN)
        run = args.get(0, "function")
        row = old if is_none(run) else mapped(interp, old, run or UNKNOWN, args, node)
        return dataset(interp, row, interp.site(node), receiver.name)

    def mapped(interp: Interpreter, old: Value, run: Value, args: Args, node: Node) -> Value:
        """Return the row that `map` makes of a row."""
        site = interp.site(node)
        many = args.get(3, "batched")
        batched = literal(many) is True
        if not batched and many is not None and not isinstance(many, Const):
            return unknown_row(interp, site)
        given = as_columns(interp, old, site) if batched else fresh(interp, old)
        columns = args.get(None, "input_columns")
        positional: tuple[Value, ...] = (given,)
        if not is_none(columns):
            names = interp.elements(columns, None) if isinstance(columns, Ref) else (columns,)
            positional = tuple(interp.get_item(given, [one], node) for one in names or () if one is not None)
        for option in ("with_indices", "with_rank"):
            if literal(args.get(None, option)) is True:
                index: Value = Unknown(hint="index")
                positional = (*positional, new_list(interp, None, index, site) if batched else index)
        more = interp.dict_record(args.get(None, "fn_kwargs") or UNKNOWN)
        keywords = {str(k): v for k, v in more.entries.items()} if more is not None else {}
        made = interp.call_value(run, Args(positional, keywords), node)
        if made == Const(None):
            return old  # run for what it does besides
        new = interp.dict_record(made)
        before = without(
            interp, interp.dict_record(old) or DictRec({}, NAMED), args.get(None, "remove_columns")
        )
        if new is None:
            return Ref(interp.store.new(replace(before, open=NAMED)), "dict", origin=site)
        if batched:
            new = as_row(interp, new)
        elif new.open is not None and new.open != NAMED:
            new = replace(new, open=NAMED)
        open_ = before.open if new.open is None else new.open
        entries = {**before.entries, **new.entries}
        return Ref(
            interp.store.new(DictRec(entries, open_, new.encoding or before.encoding)), "dict", origin=site
        )

    def without(interp: Interpreter, record: DictRec, columns: Value | None) -> DictRec:
        """Return a row without the columns that are removed; what is not a literal means all (`ds.column_names`)."""
        if is_none(columns):
            return record
        items = interp.elements(columns, None) if isinstance(columns, Ref) else (columns,)
        names = [literal(one) for one in items or ()]
        if not names or not all(isinstance(one, str) for one in names):
            return DictRec()
        return replace(record, entries={k: v for k, v in record.entries.items() if k not in names})

    @method(Lib, "train_test_split")
    def split(interp: Interpreter, receiver: Lib, name: str, args: Args, node: Node) -> Value | None:
        if receiver.name not in {DATASET, SPLITS}:
            return None
        return dataset(interp, lib_attrs(interp, receiver)[_ROW], interp.site(node), SPLITS)

    def transform(interp: Interpreter, receiver: Lib, name: str, args: Args, node: Node) -> Value | None:
        """The other methods of a dataset."""
        if receiver.name not in {DATASET, SPLITS}:
            return None
        if name in _IN_PLACE:
            return Const(None)
        if name in _SAME_ROWS:
            return receiver
        site = interp.site(node)
        row = lib_attrs(interp, receiver).get(_ROW, UNKNOWN)
        record = interp.dict_record(row)
        if name in {"with_transform", "set_transform"}:
            made = interp.dict_record(
                interp.call_value(
                    args.get(0, "transform") or UNKNOWN, Args((as_columns(interp, row, site),)), node
                )
            )
            row = (
                unknown_row(interp, site)
                if made is None
                else Ref(interp.store.new(as_row(interp, made)), "dict", origin=site)
            )
            if name == "set_transform":
                interp.store.set(receiver.id, ObjRec(None, {_ROW: row}))
                return Const(None)
            return dataset(interp, row, site, receiver.name)
        if name in {"items", "values"}:
            pair = Tuple((Unknown(hint="split"), replace(receiver, name=DATASET)), origin=site)
            return new_list(interp, None, pair if name == "items" else pair.items[1], site)
        if name in {"to_pandas", "to_dict", "to_list", "iter"} or record is None:
            return None
        changed = columns_changed(interp, record, name, args)
        if changed is None:
            return None
        return dataset(interp, Ref(interp.store.new(changed), "dict", origin=site), site, receiver.name)

    def columns_changed(interp: Interpreter, record: DictRec, name: str, args: Args) -> DictRec | None:
        """Return the row after columns were dropped, kept, renamed or added."""
        entries = dict(record.entries)
        if name == "remove_columns":
            return without(interp, record, args.get(0, "column_names"))
        if name == "select_columns":
            items = interp.elements(args.get(0, "column_names") or UNKNOWN, None)
            names = {literal(one) for one in items or ()}
            return (
                replace(record, entries={k: v for k, v in entries.items() if k in names}) if items else record
            )
        if name == "rename_column":
            pairs = {literal(args.get(0, "original_column_name")): literal(args.get(1, "new_column_name"))}
        elif name == "rename_columns":
            given = interp.dict_record(args.get(0, "column_mapping") or UNKNOWN)
            pairs = {k: literal(v) for k, v in given.entries.items()} if given is not None else {}
        elif name == "add_column":
            entries[literal(args.get(0, "name"))] = interp.iterate(args.get(1, "column") or UNKNOWN)
            return replace(record, entries=entries)
        else:
            return None
        for old, new in pairs.items():
            if old in entries:
                entries[new] = entries.pop(old)
            elif record.open is not None and isinstance(old, str):
                entries[new] = Unknown(hint=old)
        return replace(record, entries=entries)

    registry.any_method.setdefault(Lib, []).append(transform)

    def attribute(interp: Interpreter, owner: Lib, name: str, site: Site) -> Value | None:
        if owner.name not in {DATASET, SPLITS, LOADER}:
            return None
        if name in {"column_names", "features", "num_rows"}:
            record = interp.dict_record(lib_attrs(interp, owner).get(_ROW, UNKNOWN))
            if (
                name == "column_names"
                and record is not None
                and record.open is None
                and owner.name == DATASET
            ):
                return new_list(interp, tuple(Const(key) for key in record.entries), UNKNOWN, site)
            return Unknown(hint=name, origin=site)
        return None

    registry.attributes.setdefault(Lib, []).append(attribute)

    def item(interp: Interpreter, owner: Lib, index: list[Any], site: Site, node: Node) -> Value | None:
        if owner.name not in {DATASET, SPLITS}:
            return None
        row = fresh(interp, lib_attrs(interp, owner).get(_ROW, UNKNOWN))
        first = index[0] if index else UNKNOWN
        if isinstance(first, Slice):
            return as_columns(interp, row, site)
        key = literal(first)
        record = interp.dict_record(row)
        if owner.name == SPLITS or (key in _SPLIT_NAMES and (record is None or key not in record.entries)):
            return replace(owner, name=DATASET)
        if isinstance(key, str):
            return interp.get_item(as_columns(interp, row, site), [first], node)
        if isinstance(first, Ref):
            return as_columns(interp, row, site)
        if isinstance(key, int) or isinstance(first, Unknown | Opaque):
            return row
        return None

    registry.items.setdefault(Lib, []).append(item)

    before = registry.iterators.get(Lib)

    def iterated(interp: Interpreter, value: Lib) -> Value | None:
        if value.name in {DATASET, LOADER}:
            return fresh(
                interp, lib_attrs(interp, value).get(_ROW if value.name == DATASET else _BATCH, UNKNOWN)
            )
        if value.name == SPLITS:
            return Unknown(hint="split")
        return before(interp, value) if before is not None else None

    registry.iterators[Lib] = iterated

    # -- loaders -------------------------------------------------------------------------------------------------

    @function(
        "torch.utils.data.DataLoader",
        "torch.utils.data.dataloader.DataLoader",
        "torchdata.stateful_dataloader.StatefulDataLoader",
    )
    def loader(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        site = interp.site(node)
        row = row_of(interp, args.get(0, "dataset"))
        collator = args.get(6, "collate_fn")
        collator = None if is_none(collator) else collator
        size = args.get(1, "batch_size")
        if is_none(size) and size is not None:
            batch: Value = row  # no batches are made
        else:
            rows = Tri.MAYBE if not is_none(args.get(4, "batch_sampler")) else batch_size(size, 1)
            batch = collate(interp, collator, row, rows, node)
        return new_lib(interp, LOADER, {_BATCH: batch, "dataset": args.get(0, "dataset") or UNKNOWN}, site)
