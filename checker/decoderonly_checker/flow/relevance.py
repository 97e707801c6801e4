"""Which functions can matter at all: told from their identifiers, before anything is run.

A function matters if its text holds a word that some rule or knowledge entry needs, or the name of a function or class
that matters. Names stand for all functions of that name, so that the answer errs on the side of "it matters".
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from decoderonly_checker.source.syntax import quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from decoderonly_checker.flow.project import Module

_WORDS = re.compile(
    r"generate|decode|token|pipeline|labels|from_pretrained|padding|chat_template|input_ids|attention_mask|ignore_index|IGNORE"
    r"|-100|peft|[Ss]treamer|logits|hidden_state|CausalLM|collat|[Pp]rompt|[Ii]nstruction|truncat|\becho\b|completions"
)
_SETS = re.compile(r"\bself\.\w+(?:\s*,\s*self\.\w+)*\s*(?::[^=\n]+)?=[^=]")
_GLOBAL = re.compile(r"(?m)^\s+global \w")
_SHORT = 6  # lines
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_ROW_METHODS = frozenset({"map", "with_transform", "set_transform", "from_generator"})
_ROW_ARGUMENTS = frozenset({"formatting_func", "collate_fn", "data_collator"})
# Names that every project uses for everything; following them would make all functions relevant.
_COMMON = frozenset(
    {
        "__init__",
        "forward",
        "__call__",
        "__getitem__",
        "__len__",
        "__iter__",
        "main",
        "run",
        "get",
        "update",
        "train",
        "load",
        "build",
        "setup",
        "process",
        "call",
        "__enter__",
        "__exit__",
        "self",
        "step",
        "reset",
    }
)


def _row_functions(call: ast.Call) -> Iterator[str]:
    """Yield the names of the functions that a call such as `dataset.map(…)` runs on rows."""
    given = [keyword.value for keyword in call.keywords if keyword.arg in _ROW_ARGUMENTS]
    if isinstance(call.func, ast.Attribute) and call.func.attr in _ROW_METHODS:
        given += [*call.args[:1], *(k.value for k in call.keywords if k.arg in {"function", "transform"})]
    for value in given:
        for node in ast.walk(value):
            if isinstance(node, ast.Name):
                yield node.id
            elif isinstance(node, ast.Attribute):
                yield node.attr


class Relevance:
    """Answers `matters(name)` for the functions and classes of some modules, and of what they import.

    `mentioned` holds the names that stand in the bodies of functions.

    `resolve` finds the project's module behind an import: importer, dotted name, number of leading dots.
    """

    def __init__(
        self, modules: Iterable[Module], resolve: Callable[[Module, str, int], Module | None]
    ) -> None:
        self._relevant: set[str] = set()
        self._setters: set[str] = set()
        self._global_setters: set[str] = set()
        self._short: set[str] = set()
        bodies: list[tuple[str, frozenset[str]]] = []
        pending = list(modules)
        seen: set[Module] = set(pending)
        while pending:
            module = pending.pop()
            for cell in module.source.cells:
                tree = self._tree(cell.text)
                if tree is None:
                    continue
                nodes = list(ast.walk(tree))
                bodies.extend(self._definitions(nodes, cell.text))
                for imported in self._imported(nodes, module, resolve, bodies):
                    if imported not in seen:
                        seen.add(imported)
                        pending.append(imported)
        self.mentioned = frozenset[str]().union(*(names for _, names in bodies))
        self._close(bodies)

    def matters(self, name: str) -> bool:
        """Whether a function or class of this name can lead to a finding."""
        return name in self._relevant

    def sets_attributes(self, name: str) -> bool:
        """Whether a method of this name may assign to attributes of its object."""
        return name in self._setters

    def sets_globals(self, name: str) -> bool:
        """Whether a function of this name may assign to globals of its module."""
        return name in self._global_setters

    def is_short(self, name: str) -> bool:
        """Whether a function of this name is short enough to be followed for what it returns."""
        return name in self._short

    def _tree(self, text: str) -> ast.Module | None:
        try:
            with quiet():
                return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            # Python 2, or newer than this interpreter: nothing can be ruled out.
            names = re.findall(r"(?:def|class)\s+(\w+)", text)
            self._relevant.update(names)
            self._setters.update(names)
            return None

    @staticmethod
    def _imported(
        nodes: list[ast.AST],
        module: Module,
        resolve: Callable[[Module, str, int], Module | None],
        bodies: list[tuple[str, frozenset[str]]],
    ) -> Iterator[Module]:
        """Yield the project's modules that a module imports; other names for what it imports count as uses."""
        for node in nodes:
            asked: list[tuple[str, int]] = []
            if isinstance(node, ast.Import):
                asked = [(alias.name, 0) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                asked = [(node.module or "", node.level)]
                asked += [
                    (f"{node.module or ''}.{alias.name}".strip("."), node.level) for alias in node.names
                ]
                bodies += [(a.asname, frozenset({a.name})) for a in node.names if a.asname is not None]
            for dotted, level in asked:
                found = resolve(module, dotted, level)
                if found is not None:
                    yield found

    def _definitions(self, nodes: list[ast.AST], text: str) -> list[tuple[str, frozenset[str]]]:
        lines = text.splitlines()
        found: list[tuple[str, frozenset[str]]] = []
        for node in nodes:
            if isinstance(node, ast.Call):
                # What a dataset's rows are mapped by tells what their columns are.
                self._relevant.update(_row_functions(node))
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            body = "\n".join(lines[node.lineno - 1 : node.end_lineno])
            if _WORDS.search(body):
                self._relevant.add(node.name)
            if isinstance(node, ast.ClassDef):
                continue
            if (node.end_lineno or node.lineno) - node.lineno <= _SHORT:
                self._short.add(node.name)
            if _GLOBAL.search(body):
                self._global_setters.add(node.name)
            if _SETS.search(body):
                self._setters.add(node.name)
            found.append((node.name, frozenset(_IDENTIFIER.findall(body)) - {node.name}))
        return found

    def _close(self, bodies: list[tuple[str, frozenset[str]]]) -> None:
        changed = True
        waiting = [entry for entry in bodies if entry[0] not in self._relevant]
        while changed:
            changed = False
            reach = self._relevant - _COMMON
            rest = []
            for name, identifiers in waiting:
                if identifiers & reach:
                    self._relevant.add(name)
                    changed = True
                else:
                    rest.append((name, identifiers))
            waiting = rest
