"""Attributes of objects that the analysis knows nothing of: `app.state.model = …` is read again as `app.state.model`.

Such an object has no record on the heap; what is set on it is kept under the dotted path that leads to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import libcst as cst

from decoderonly_checker.flow.literals import plain_text
from decoderonly_checker.flow.project import dotted_name
from decoderonly_checker.flow.values import (
    ClassObj,
    External,
    ImportRef,
    Lib,
    Method,
    Model,
    Opaque,
    Pipeline,
    Ref,
    Tokenizer,
    Unknown,
    Value,
    alternatives,
)

if TYPE_CHECKING:
    from decoderonly_checker.flow.interpreter import Interpreter

_HELD = (Ref, Model, Tokenizer, Pipeline, Lib, ClassObj, ImportRef)
_FREE = (Unknown, Method, Opaque, External)
_NAMED = (Model, Tokenizer)
_SHARED = 3  # a path this long, such as `app.state.model`, is also found behind a parameter: `request.app.state.model`


class Paths:
    """The part of the interpreter that keeps what is set on unknown objects."""

    @staticmethod
    def last_part(node: cst.BaseExpression) -> str | None:
        """Return the last part of a path."""
        if type(node) is cst.Attribute:
            return node.attr.value
        index = node.slice[0].slice if type(node) is cst.Subscript else None
        key = index.value if isinstance(index, cst.Index) else None
        text = plain_text(key) if isinstance(key, cst.SimpleString) else None
        return text if isinstance(text, str) else None

    def set_path(self: Interpreter, owner: Value, target: cst.BaseExpression, value: Value) -> None:
        """Keep what is assigned to an attribute or an entry of an unknown object."""
        if any(isinstance(one, _HELD) for one in alternatives(owner)):
            return
        key = self.path_key(target)
        if key is not None:
            self.keep_path(key, value)

    def keep_path(self: Interpreter, key: tuple[str, int, str], value: Value) -> None:
        """Keep a value under a path."""
        self.store.set(key, value)
        self.path_ends.add(key[2].rpartition(".")[2])
        self.paths[key[2]] = key
        self.path_roots.setdefault(key[2].partition(".")[0], set()).add(key)

    def drop_paths(self: Interpreter, name: str, scope: int) -> None:
        """Forget what was set on the object that a variable held."""
        for key in self.path_roots.get(name, ()):
            if key[1] == scope:
                self.store.set(key, None)

    def get_path(self: Interpreter, node: cst.BaseExpression, found: Value) -> Value:
        """Return what was set under the path of `node`, else `found`."""
        if not self.paths or self.last_part(node) not in self.path_ends:
            return found
        plain = all(
            isinstance(one, _FREE) or (isinstance(one, _NAMED) and one.named) for one in alternatives(found)
        )
        text = path_of(node) if plain else ""
        if not text:
            return found
        value = self.store.get(self.path_key(node))
        if value is None:
            parts = text.split(".")
            shorter = (".".join(parts[start:]) for start in range(1, len(parts) - _SHARED + 1))
            value = next((self.store.get(self.paths[part]) for part in shorter if part in self.paths), None)
        return found if value is None else cast("Value", value)

    def path_key(self: Interpreter, node: cst.BaseExpression) -> tuple[str, int, str] | None:
        """Return under what a path is kept: the scope of its root, and its text. A library's object has no scope."""
        text = path_of(node)
        root, _, rest = text.partition(".")
        if not rest:
            return None
        for scope in self.frame.scopes:
            value = self.store.get((scope, root))
            if isinstance(value, External):
                return ("path", 0, f"{value.name}.{rest}")
            if isinstance(value, ImportRef) and value.module is not None and value.name is not None:
                return ("path", value.module.scope, f"{value.name}.{rest}")
            if value is not None:
                return ("path", scope, text)
        return None


def path_of(node: cst.BaseExpression) -> str:
    """Return `a.b.c` for `a.b.c` and for `a.b["c"]`; the empty string for anything else."""
    if type(node) is cst.Subscript and len(node.slice) == 1:
        index = node.slice[0].slice
        key = index.value if isinstance(index, cst.Index) else None
        text = plain_text(key) if isinstance(key, cst.SimpleString) else None
        if not isinstance(text, str):
            return ""
        owner = path_of(node.value)
        return f"{owner}.{text}" if owner and text.isidentifier() else ""
    if type(node) is cst.Attribute:
        owner = path_of(node.value)
        return f"{owner}.{node.attr.value}" if owner else ""
    return dotted_name(node)
