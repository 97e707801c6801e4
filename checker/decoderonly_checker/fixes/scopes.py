"""What names stand for where a fix would mention them: told from the code alone, and only where that is beyond doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.source.ancestors import children_of, names_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.values import Site

_SCOPES = (cst.FunctionDef, cst.Lambda, cst.ClassDef)


class Scope:
    """The function, or the module, that a place stands in."""

    def __init__(self, site: Site) -> None:
        """Take the innermost one around a place."""
        around = site.around()
        self.node: cst.CSTNode | None = next(
            (node for node in reversed(around) if isinstance(node, (*_SCOPES, cst.Module))), None
        )
        # Shared by all findings of a file: each would go through the whole scope again.
        ancestors = site.source.cell(site.cell).ancestors
        self._known = {} if ancestors is None else ancestors.bindings

    def bound_once(self, name: str) -> cst.CSTNode | None:
        """Return what a name stands for all through the scope; None where it is bound more than once, or elsewhere.

        That is the value of its only assignment, the parameter itself, or the `for` (also of a comprehension) whose target it is.
        """
        if id(self.node) not in self._known:
            self._known[id(self.node)] = self._bindings()
        found = self._known[id(self.node)].get(name, [])
        return found[0] if len(found) == 1 else None

    def is_outer(self, name: str) -> bool:
        """Whether the scope is a function that nowhere binds a name."""
        self.bound_once(name)
        return isinstance(self.node, cst.FunctionDef) and name not in self._known[id(self.node)]

    def mentions(self, name: str) -> int:
        """Return how often a name stands in the scope, in functions within it too."""
        return 0 if self.node is None else sum(one.value == name for one in names_in(self.node))

    def _bindings(self) -> dict[str, list[cst.CSTNode]]:
        found: dict[str, list[cst.CSTNode]] = {}
        node = self.node
        if isinstance(node, cst.FunctionDef):
            for parameter in _parameters(node.params):
                found.setdefault(parameter.name.value, []).append(parameter)
            body: cst.CSTNode = node.body
        elif isinstance(node, cst.Module):
            body = node
        else:
            return {}
        for name, value in _bound_in(body):
            found.setdefault(name, []).append(value)
        return found


def _parameters(params: cst.Parameters) -> Iterator[cst.Param]:
    yield from (*params.posonly_params, *params.params, *params.kwonly_params)
    for one in (params.star_arg, params.star_kwarg):
        if isinstance(one, cst.Param):
            yield one


def _bound_in(node: cst.CSTNode) -> Iterator[tuple[str, cst.CSTNode]]:
    """Yield names and what binds them, below a node; what inner functions and classes bind is their own."""
    pending = [node]
    while pending:
        one = pending.pop()
        if isinstance(one, cst.FunctionDef | cst.ClassDef) and one is not node:
            yield one.name.value, one
            pending += _outer_names(one)
            continue
        if isinstance(one, cst.Lambda):
            continue
        if isinstance(one, cst.Assign):
            for target in one.targets:
                plain = isinstance(target.target, cst.Name)
                yield from ((name, one.value if plain else one) for name in _names(target.target))
        elif isinstance(one, cst.AnnAssign | cst.AugAssign):
            yield from ((name, one) for name in _names(one.target))
        elif isinstance(one, cst.NamedExpr):
            yield from ((name, one.value) for name in _names(one.target))
        elif isinstance(one, cst.For | cst.CompFor):
            yield from ((name, one) for name in _names(one.target))
        elif isinstance(one, cst.AsName):
            yield from ((name, one) for name in _names(one.name))
        elif isinstance(one, cst.Del):
            yield from ((name, one) for name in _names(one.target))
        elif isinstance(one, cst.ImportAlias) and one.asname is None:
            yield one.evaluated_name.partition(".")[0], one
        elif isinstance(one, cst.Global | cst.Nonlocal):
            for item in one.names:
                # What another function binds.
                yield item.name.value, one
                yield item.name.value, one
        elif isinstance(one, cst.MatchAs | cst.MatchStar | cst.MatchMapping):
            name = one.rest if isinstance(one, cst.MatchMapping) else one.name
            if name is not None:
                yield name.value, one
        pending += children_of(one)


def _outer_names(function: cst.FunctionDef | cst.ClassDef) -> list[cst.CSTNode]:
    """Return names that an inner function declares to be those of the scope around it."""
    found: list[cst.CSTNode] = []
    pending: list[cst.CSTNode] = [function.body]
    while pending:
        one = pending.pop()
        if isinstance(one, cst.Nonlocal | cst.Global):
            found.append(one)
        pending += children_of(one)
    return found


def _names(target: cst.CSTNode) -> Iterator[str]:
    if isinstance(target, cst.Name):
        yield target.value
    elif isinstance(target, cst.Tuple | cst.List):
        for element in target.elements:
            yield from _names(element.value)
    elif isinstance(target, cst.StarredElement):
        yield from _names(target.value)
