"""What a module defines and which names that mentions: from its text, before anything is run."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from decoderonly_checker.immutable import record
from decoderonly_checker.late import late_pattern
from decoderonly_checker.source.code import code_lines
from decoderonly_checker.source.words import LEADS, tests_for_parts, words_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from decoderonly_checker.source.files import Cell, SourceFile

# In the order of how often they are there; a capital may begin some.
_WORDS = (
    *(
        "token",
        "logits",
        "labels",
        "decode",
        "input_ids",
        "attention_mask",
        "hidden_state",
        "generate",
        "padding",
        "rompt",
    ),
    *(
        "from_pretrained",
        "truncat",
        "collat",
        "pipeline",
        "treamer",
        "CausalLM",
        "nstruction",
        "chat_template",
        "-100",
    ),
    *("ignore_index", "IGNORE", "peft", "completions"),
)
_ECHO = late_pattern(r"\becho\b")
_SETS = late_pattern(r"\bself\.\w+(?:\s*,\s*self\.\w+)*\s*(?::[^=\n]+)?=[^=]")
_GLOBAL = late_pattern(r"(?m)^\s+global \w")
_SHORT = 6  # lines
_IDENTIFIER = late_pattern(r"[A-Za-z_]\w*")
_ROW_CALLS = late_pattern(
    r"\.(?:map|with_transform|set_transform|from_generator)\s*\(|formatting_func|collate_fn|data_collator"
)
_ROW_METHODS = frozenset({"map", "with_transform", "set_transform", "from_generator"})
_ROW_ARGUMENTS = frozenset({"formatting_func", "collate_fn", "data_collator"})


@dataclass(slots=True)
class Definition:
    """A function or class: its name, and what its text says."""

    name: str
    owner: str  # the class whose method it is
    is_class: bool
    telling: bool  # holds a word that some rule or knowledge entry needs
    words: int  # what a finding needs
    short: bool = False
    sets_attributes: bool = False
    sets_globals: bool = False
    names: frozenset[str] = frozenset()


@record
class Outline:
    """The definitions of a module.

    Attributes:
        definitions: Functions and classes, nested ones too.
        aliases: Other names for what the module imports.
        bound: Names that are assigned something whose words tell.
        given: Names that are assigned what has names of its own, other than a function's own variables.
        row_functions: The names of functions that a call such as `dataset.map(…)` runs on rows.
        unparsed: Names that are defined in text that does not parse: nothing can be ruled out about them.
    """

    definitions: list[Definition] = field(default_factory=list)
    aliases: list[tuple[str, str]] = field(default_factory=list)
    bound: list[tuple[str, int]] = field(default_factory=list)
    given: list[tuple[str, frozenset[str]]] = field(default_factory=list)
    row_functions: set[str] = field(default_factory=set)
    unparsed: set[str] = field(default_factory=set)

    def of(self, owner: str, name: str) -> list[Definition]:
        """Return the functions of a name, methods of the class `owner` if it is not empty."""
        return self._functions.get((owner, name), [])

    @cached_property
    def _functions(self) -> dict[tuple[str, str], list[Definition]]:
        found: dict[tuple[str, str], list[Definition]] = {}
        for one in self.definitions:
            if not one.is_class:
                found.setdefault((one.owner, one.name), []).append(one)
        return found


# A file that is kept between checks gives up Python's own tree with the first of them.
_outlines: WeakKeyDictionary[SourceFile, Outline] = WeakKeyDictionary()


def outline_of(source: SourceFile) -> Outline:
    """Outline a module, without what is not used of it."""
    found = _outlines.get(source)
    if found is None:
        found = _outlines[source] = _outlined(source.cells)
    return found


def _outlined(cells: Sequence[Cell]) -> Outline:
    found = Outline()
    for cell in cells:
        text, tree = cell.text, cell.take_statements()
        if tree is None:
            # Python 2, or newer than this interpreter: nothing can be ruled out.
            found.unparsed.update(re.findall(r"(?:def|class)\s+(\w+)", text))
            continue
        body = [node for node in tree.body if getattr(node, "name", "") not in cell.unused]
        _Reader(found, text).read(body)
        if _ROW_CALLS.search(text) is not None:
            for node in ast.walk(tree):
                if isinstance(node, ast.Call):
                    found.row_functions.update(_row_functions(node))
    return found


class _Reader:
    """Reads one text's statements; expressions are not looked into."""

    def __init__(self, outline: Outline, text: str) -> None:
        self._outline = outline
        # What stands in comments, documentation and prose names nothing.
        self._lines = code_lines(text)
        code = "\n".join(self._lines)
        self._tests = tests_for_parts(code.encode("utf-8", "surrogatepass"), LEADS)

    def read(
        self, body: Sequence[ast.stmt], owner: str = "", *, inside: bool = False, words: int = LEADS
    ) -> None:
        """Read statements.

        Args:
            body: The statements.
            owner: The class whose body it is, if it is one's.
            inside: Whether a function is around it: names are its own.
            words: What can occur there at all.
        """
        for node in body:
            kind = node.__class__
            if kind in _SIMPLE:
                continue
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                made = self._function(node, owner)
                self.read(node.body, inside=True, words=made.words)
            elif isinstance(node, ast.ClassDef):
                self._class(node, owner, inside=inside)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                # `run = model.generate`: who calls it generates.
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                kept = [one for one in targets if not inside or not isinstance(one, ast.Name)]
                if not words and not kept:
                    continue
                text = self._text(node) if node.value else ""
                found = self._words(text, words)
                if found:
                    self._outline.bound += [(name, found) for one in targets for name in _bound(one)]
                else:
                    # `run = answer`, `self.run = answer`.
                    given = frozenset(_IDENTIFIER.findall(text)) if kept else frozenset()
                    self._outline.given += [(name, given) for one in kept for name in _bound(one)]
            elif isinstance(node, ast.ImportFrom):
                self._outline.aliases += [(a.asname, a.name) for a in node.names if a.asname is not None]
            else:
                for name in ("body", "orelse", "finalbody"):
                    inner = getattr(node, name, None)
                    if isinstance(inner, list):
                        self.read(inner, owner, inside=inside, words=words)
                for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
                    self.read(part.body, owner, inside=inside, words=words)

    def _text(self, node: ast.stmt) -> str:
        return "\n".join(self._lines[node.lineno - 1 : node.end_lineno])

    def _words(self, text: str, wanted: int = LEADS) -> int:
        return words_in(text.encode("utf-8", "surrogatepass"), wanted, self._tests) if wanted else 0

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, owner: str) -> Definition:
        text = self._text(node)
        made = Definition(node.name, owner, False, _tells(text), self._words(text))
        self._outline.definitions.append(made)
        made.names = frozenset(_IDENTIFIER.findall(text)) - {node.name}
        made.short = (node.end_lineno or node.lineno) - node.lineno <= _SHORT
        made.sets_globals = "global" in text and _GLOBAL.search(text) is not None
        made.sets_attributes = "self." in text and _SETS.search(text) is not None
        return made

    def _class(self, node: ast.ClassDef, owner: str, *, inside: bool) -> None:
        made = Definition(node.name, owner, True, False, 0)
        own = self._outline.definitions
        own.append(made)
        begin = len(own)
        self.read(node.body, node.name, inside=inside)
        # What its functions and classes say need not be read once more: what stands between them does.
        rest: list[str] = []
        first = node.lineno - 1
        for inner in node.body:
            if isinstance(inner, _DEFINITIONS):
                rest += self._lines[first : inner.lineno - 1]
                first = inner.end_lineno or inner.lineno
        text = "\n".join([*rest, *self._lines[first : node.end_lineno]])
        made.words = self._words(text)
        made.telling = _tells(text)
        names = set(_IDENTIFIER.findall(text))
        for one in own[begin:]:
            made.words |= one.words
            made.telling |= one.telling
            names |= one.names
            names.add(one.name)
        made.names = frozenset(names) - {node.name}


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_SIMPLE = frozenset(
    {ast.Expr, ast.Return, ast.AugAssign, ast.Import, ast.Raise, ast.Pass, ast.Assert, ast.Delete}
)


def _bound(target: ast.expr) -> Iterator[str]:
    """Yield the names by which what is assigned can be reached: of `Shared.run = …` and `table["a"] = …` too."""
    if isinstance(target, ast.Name):
        yield target.id
    elif isinstance(target, ast.Attribute):
        yield target.attr
    elif isinstance(target, ast.Subscript | ast.Starred):
        yield from _bound(target.value)
    elif isinstance(target, ast.Tuple | ast.List):
        for one in target.elts:
            yield from _bound(one)


def _tells(text: str) -> bool:
    """Whether text holds a word that some rule or knowledge entry needs."""
    return any(map(text.__contains__, _WORDS)) or ("echo" in text and _ECHO.search(text) is not None)


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
