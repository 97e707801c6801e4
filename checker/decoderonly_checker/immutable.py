"""Classes of plain data that start up quickly: there are a hundred, and every run of the command makes them all."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: object) -> Callable[[type], type]:
        """Leave a decorator as it is: what this says is for type checkers."""
        return lambda decorator: decorator


_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def immutable(cls: type[_T]) -> type[_T]:
    """Make a dataclass whose instances are compared and hashed by their fields, and never changed.

    As `dataclass(frozen=True)`, but of the methods that this compiles for each class only `__init__` is made so. That nobody
    assigns to a field is left to type checkers.
    """
    made = dataclass(eq=False, repr=False, match_args=False)(cls)
    own = fields(made)  # type: ignore[arg-type]
    compared = _key(f.name for f in own if f.compare)
    hashed = _key(f.name for f in own if (f.compare if f.hash is None else f.hash))

    def equal(self: Any, other: object) -> bool:
        if other is self:
            return True
        return compared(self) == compared(other) if other.__class__ is made else NotImplemented

    def hash_of(self: Any) -> int:
        return hash(hashed(self))

    def shown(self: Any) -> str:
        return f"{made.__name__}({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in own if f.repr)})"

    made.__eq__ = equal  # type: ignore[method-assign]
    made.__hash__ = hash_of  # type: ignore[method-assign]
    made.__repr__ = shown  # type: ignore[method-assign]
    return made


def _key(names: Any) -> Callable[[Any], object]:
    """Return what gives the values of some attributes."""
    wanted = tuple(names)
    return attrgetter(*wanted) if wanted else lambda _: ()
