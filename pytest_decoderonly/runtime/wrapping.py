"""Puts wrappers in place of methods, and back what was there."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class _Patch:
    owner: type
    name: str
    before: Any
    wrapper: Any
    inherited: bool = False


_patches: list[_Patch] = []


def wrap(owner: type, name: str, wrapper_of: Callable[[Any], Any]) -> None:
    """Replace a method that a class defines by `wrapper_of(method)`. One that it lacks, or is wrapped, is left."""
    before = vars(owner).get(name)
    if before is None or getattr(before, "_decoderonly_guard", False):
        return
    _put(owner, name, before, wrapper_of(before), inherited=False)


def wrap_inherited(owner: type, name: str, wrapper: Any) -> None:
    """Give a class a method of its own that stands before the inherited one. A class that has one is left."""
    if name not in vars(owner):
        _put(owner, name, getattr(owner, name), wrapper, inherited=True)


def restore_all() -> None:
    """Restore every method. One that somebody else replaced meanwhile is theirs, and left alone."""
    while _patches:
        patch = _patches.pop()
        if vars(patch.owner).get(patch.name) is not patch.wrapper:
            continue
        if patch.inherited:
            delattr(patch.owner, patch.name)
        else:
            setattr(patch.owner, patch.name, patch.before)


def original(name: str) -> Callable[..., Any] | None:
    """Return a method as it was before it was wrapped; None where it is not wrapped."""
    found: Callable[..., Any] | None = next((patch.before for patch in _patches if patch.name == name), None)
    return found


def _put(owner: type, name: str, before: Any, wrapper: Any, *, inherited: bool) -> None:
    wrapper = functools.wraps(before)(wrapper)
    wrapper._decoderonly_guard = True
    _patches.append(_Patch(owner, name, before, wrapper, inherited))
    setattr(owner, name, wrapper)
