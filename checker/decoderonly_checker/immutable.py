"""Classes of plain data that start up quickly: there are a hundred, and every run of the command makes them all."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import Field

    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: object) -> Callable[[type], type]:
        """Leave a decorator as it is: what this says is for type checkers."""
        return lambda decorator: decorator


_T = TypeVar("_T")


_REMEMBERING: set[type] = set()


def remember_hash(*classes: type) -> None:
    """Compute the hash of each instance once: those that are made of others are asked for it again and again."""
    _REMEMBERING.update(classes)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def immutable(cls: type[_T]) -> type[_T]:
    """Make a dataclass whose instances are compared and hashed by their fields, and never changed.

    As `dataclass(frozen=True)`, but its methods are made when they are first called: a run needs those of few classes.
    That nobody assigns to a field is left to type checkers.
    """
    made = record(cls)

    def equal(self: Any, other: object) -> bool:
        compared = _key(f.name for f in fields(made) if f.compare)  # type: ignore[arg-type]

        def equal(self: Any, other: object) -> bool:
            if other is self:
                return True
            return compared(self) == compared(other) if other.__class__ is made else NotImplemented

        made.__eq__ = equal  # type: ignore[method-assign]
        return equal(self, other)

    def hash_of(self: Any) -> int:
        hashed = _key(f.name for f in fields(made) if (f.compare if f.hash is None else f.hash))  # type: ignore[arg-type]

        def hash_of(self: Any) -> int:
            return hash(hashed(self))

        def remembered(self: Any) -> int:
            known: int | None = self.__dict__.get("_hash")
            if known is None:
                known = self.__dict__["_hash"] = hash(hashed(self))
            return known

        final = remembered if made in _REMEMBERING else hash_of
        made.__hash__ = final  # type: ignore[method-assign]
        return final(self)

    def shown(self: Any) -> str:
        own = fields(made)  # type: ignore[arg-type]
        return f"{made.__name__}({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in own if f.repr)})"

    made.__eq__ = equal  # type: ignore[method-assign]
    made.__hash__ = hash_of  # type: ignore[method-assign]
    made.__repr__ = shown  # type: ignore[method-assign]
    return made


@dataclass_transform(eq_default=False, field_specifiers=(field,))
def record(cls: type[_T]) -> type[_T]:
    """Make a dataclass whose instances are compared by identity, as `dataclass(eq=False)`, but `__init__` is made when needed."""
    if cls.__doc__ is None:
        cls.__doc__ = cls.__name__  # `dataclass` would look for the signature, at length
    made = dataclass(init=False, eq=False, repr=False, match_args=False)(cls)

    def init(self: Any, *args: Any, **keywords: Any) -> None:
        ready = _init_of(made)
        made.__init__ = ready  # type: ignore[method-assign]
        ready(self, *args, **keywords)

    made.__init__ = init  # type: ignore[method-assign]
    return made


def _init_of(made: type) -> Callable[..., None]:
    """Compile the `__init__` of a dataclass."""
    own = fields(made)
    first = [f for f in own if not f.kw_only]
    last = [f for f in own if f.kw_only]
    names: dict[str, Any] = {"_MISSING": MISSING}
    parameters = ["self", *(_parameter(f, names) for f in first)]
    if last:
        parameters += ["*", *(_parameter(f, names) for f in last)]
    lines = [
        f"self.{f.name} = {f.name}"
        if f.default_factory is MISSING
        else f"self.{f.name} = _new_{f.name}() if {f.name} is _MISSING else {f.name}"
        for f in own
    ]
    if hasattr(made, "__post_init__"):
        lines.append("self.__post_init__()")
    body = "\n    ".join(lines or ["pass"])
    exec(f"def __init__({', '.join(parameters)}):\n    {body}", names)  # noqa: S102 - names of fields, as dataclasses do
    ready: Callable[..., None] = names["__init__"]
    ready.__qualname__ = f"{made.__qualname__}.__init__"
    return ready


def _parameter(one: Field[Any], names: dict[str, Any]) -> str:
    if one.default is not MISSING:
        names[f"_default_{one.name}"] = one.default
        return f"{one.name}=_default_{one.name}"
    if one.default_factory is not MISSING:
        names[f"_new_{one.name}"] = one.default_factory
        return f"{one.name}=_MISSING"
    return one.name


def _key(names: Any) -> Callable[[Any], object]:
    """Return what gives the values of some attributes."""
    wanted = tuple(names)
    return attrgetter(*wanted) if wanted else lambda _: ()
