"""The abstract state: variables and heap, with branches run apart and joined.

There is one mutable table. A branch is run under `fork`; `rollback` takes what it wrote back out, as a delta,
and `merge` writes the join of several deltas. Only what a branch touched is looked at, so that a branch costs what it
writes and not what the program holds.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import field
from typing import Any

from decoderonly_checker.flow.choices import join
from decoderonly_checker.flow.values import UNKNOWN, Alt, Choice, ClassObj, Encoding, Guard, Unknown, Value
from decoderonly_checker.immutable import immutable

Delta = dict[Hashable, Any]
_MISSING: Any = object()


@immutable
class DictRec:
    """A dict: entries with literal keys. `open` holds what other keys give; None where there are none.

    `keys` is what those other keys are, where that is known. `dotted` where entries are read as attributes too.
    """

    entries: Mapping[Any, Value] = field(default_factory=dict)
    open: Value | None = None
    encoding: Encoding | None = None
    keys: Value | None = None
    dotted: bool = False

    def get(self, key: Any) -> Value | None:
        """Return the entry, the value of unknown entries, or None where the key is surely absent."""
        return self.entries.get(key, self.open)

    def with_entry(self, key: Any, value: Value) -> DictRec:
        """Return the record with one entry set."""
        entries = {**self.entries, key: value}
        return DictRec(entries, self.open, self.encoding, self.keys, self.dotted)


MAX_ITEMS = 256


@immutable
class ListRec:
    """A list: its items where all are known, and the join of what it may hold. Of a long list only the latter is kept.

    `front_of` is the list that `x[:-1]` is of, `times` is n of `[x] * n`, `begins` is x of `x + [y]`.
    """

    items: tuple[Value, ...] | None = None
    element: Value = UNKNOWN
    front_of: int = 0
    times: Value | None = None
    begins: Value | None = None

    def __post_init__(self) -> None:
        """Drop the items of a long list: one that is added to itself doubles each time."""
        if self.items is not None and len(self.items) > MAX_ITEMS:
            object.__setattr__(self, "items", None)


@immutable
class ObjRec:
    """An object: its class and what was set on it."""

    cls: ClassObj | None = None
    attrs: Mapping[str, Value] = field(default_factory=dict)

    def with_attr(self, name: str, value: Value) -> ObjRec:
        """Return the record with one attribute set."""
        return ObjRec(self.cls, {**self.attrs, name: value})


Record = DictRec | ListRec | ObjRec
_RECORDS = (DictRec, ListRec, ObjRec)


def _join_maps(
    a: Mapping[Any, Value], b: Mapping[Any, Value], ga: Guard | None, gb: Guard | None, absent: Value | None
) -> dict[Any, Value]:
    if a is b:
        return dict(a)
    result: dict[Any, Value] = {}
    for key in (*a, *(k for k in b if k not in a)):
        left, right = a.get(key, absent), b.get(key, absent)
        if left is None or right is None:
            kept = left if right is None else right
            result[key] = kept  # type: ignore[assignment]
        else:
            result[key] = join(left, right, ga, gb)
    return result


def join_records(a: Record, b: Record, ga: Guard | None, gb: Guard | None) -> Record:
    """Join two records of one heap object."""
    if a is b:
        return a
    if isinstance(a, DictRec) and isinstance(b, DictRec):
        entries: dict[Any, Value] = {}
        for key in (*a.entries, *(k for k in b.entries if k not in a.entries)):
            left, right = a.entries.get(key), b.entries.get(key)
            if left is None or right is None:
                # Set in one branch alone: there it may be absent, which a reader must be able to see.
                present, guard = (left, ga) if left is not None else (right, gb)
                entries[key] = join(present, Unknown(hint="absent"), guard)  # type: ignore[arg-type]
            else:
                entries[key] = join(left, right, ga, gb)
        open_ = a.open if b.open is None else b.open if a.open is None else join(a.open, b.open)
        keys = a.keys if b.keys is None else b.keys if a.keys is None else join(a.keys, b.keys)
        return DictRec(entries, open_, a.encoding if a.encoding == b.encoding else None, keys, a.dotted)
    if isinstance(a, ListRec) and isinstance(b, ListRec):
        items = None
        if a.items is not None and b.items is not None and len(a.items) == len(b.items):
            items = tuple(join(x, y, ga, gb) for x, y in zip(a.items, b.items, strict=True))
        return ListRec(items, join(a.element, b.element, ga, gb))
    if isinstance(a, ObjRec) and isinstance(b, ObjRec):
        return ObjRec(a.cls, _join_maps(a.attrs, b.attrs, ga, gb, None))
    return a


def _joined(a: Any, b: Any, ga: Guard | None, gb: Guard | None) -> Any:
    """Join what two branches left under one key."""
    if isinstance(a, Value) and isinstance(b, Value):
        return join(a, b, ga, gb)
    if isinstance(a, _RECORDS) and isinstance(b, _RECORDS):
        return join_records(a, b, ga, gb)
    return a if a == b else None


class Store:
    """Variables `(scope, name)`, heap records `id` and assumptions, in one table with a journal."""

    get: Callable[[Hashable], Any]
    """Returns what is stored under a key, or None."""

    def __init__(self) -> None:
        self._data: dict[Hashable, Any] = {}
        self.get = self._data.get  # asked millions of times
        self._journal: list[Delta] = []
        self._retired: set[int] = set()
        self._next = 1

    def new_id(self) -> int:
        """Return a fresh number for a scope or a heap object."""
        self._next += 1
        return self._next

    def set(self, key: Hashable, value: Any) -> None:
        """Store `value` under `key`; undone by `rollback` of the innermost fork."""
        if self._journal:
            frame = self._journal[-1]
            if key not in frame:
                frame[key] = self._data.get(key, _MISSING)
        if value is _MISSING:
            self._data.pop(key, None)
        else:
            self._data[key] = value

    def new(self, record: Record) -> int:
        """Put a record on the heap and return its number."""
        number = self.new_id()
        self.set(number, record)
        return number

    def retire(self, scope: int) -> None:
        """Say that nothing reads the variables of a scope any more: no branch has to join them."""
        self._retired.add(scope)

    def fork(self) -> None:
        """Begin a branch."""
        self._journal.append({})

    def rollback(self) -> Delta:
        """End a branch: take its writes out and return them."""
        frame = self._journal.pop()
        data = self._data
        retired = self._retired
        delta: Delta = {}
        for key, old in frame.items():
            if old is not _MISSING:
                delta[key] = data.get(key, _MISSING)
                data[key] = old
            elif key.__class__ is int:
                # An object that the branch made stays: nothing outside can hold it, but a remembered result may.
                delta[key] = data.get(key, _MISSING)
            else:
                value = data.pop(key, _MISSING)
                if key[0] not in retired:  # type: ignore[index]
                    delta[key] = value
        return delta

    def commit(self) -> None:
        """End a branch and keep its writes."""
        frame = self._journal.pop()
        if self._journal:
            outer = self._journal[-1]
            for key, old in frame.items():
                outer.setdefault(key, old)

    def apply(self, delta: Delta) -> None:
        """Write a delta as it is."""
        for key, value in delta.items():
            self.set(key, value)

    def merge(self, branches: list[tuple[Delta, Guard | None]]) -> None:
        """Write the join of several branches that began from the present state."""
        if len(branches) == 1:
            self.apply(branches[0][0])
            return
        present = self._data.get
        keys: Delta = {}
        for delta, _ in branches:
            keys.update(delta)
        for key in keys:
            before = present(key, _MISSING)
            result: Any = _MISSING
            guard: Guard | None = None
            for delta, branch_guard in branches:
                value = delta.get(key, before)
                if value is True or value is False:
                    # An assumption does not outlive a join.
                    result, guard = _MISSING, None
                elif result is _MISSING:
                    # Bound in one branch alone: what it is there is the best that is known.
                    result, guard = value, branch_guard
                elif value is result:
                    guard = None
                elif value is not _MISSING:
                    result, guard = _joined(result, value, guard, branch_guard), None
            self.set(key, result)

    @property
    def depth(self) -> int:
        """How many branches are open."""
        return len(self._journal)

    def heap(self) -> dict[int, Record]:
        """Return the heap's records as they stand."""
        return {k: v for k, v in self._data.items() if isinstance(k, int)}

    def outside(self) -> list[Delta]:
        """Suspend the journal, for work that belongs to no branch (running an imported module). Undo with `resume`."""
        saved, self._journal = self._journal, []
        return saved

    def resume(self, saved: list[Delta]) -> None:
        """Bring back the journal that `outside` suspended."""
        self._journal = saved


def restrict(value: Value, holds: Mapping[tuple[Any, str], bool]) -> Value:
    """Drop the alternatives of `value` that contradict the conditions known to hold."""
    if not isinstance(value, Choice):
        return value
    kept = tuple(
        alt
        for alt in value.alts
        if all(holds.get((owner, text), truth) == truth for owner, text, truth in alt.guards)
    )
    if not kept or len(kept) == len(value.alts):
        return value
    if len(kept) == 1:
        return kept[0].value
    return Choice(tuple(Alt(alt.value, alt.guards) for alt in kept), origin=value.origin)
