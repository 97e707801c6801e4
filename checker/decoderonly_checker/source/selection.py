"""Which files of a project can hold a finding, told from their bytes: by their own words, and by those of what they import.

`reply = ask(prompt).replace(prompt, "")` holds no telling word; that `ask` generates stands in another file.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING

from decoderonly_checker.immutable import immutable
from decoderonly_checker.late import late_pattern
from decoderonly_checker.source.code import code_of_file
from decoderonly_checker.source.imports import EVERYTHING, imports_of
from decoderonly_checker.source.libraries import library_package
from decoderonly_checker.source.parts import DEFINITION, LIBRARY, NOTHING, Parts, names_of, parts_of
from decoderonly_checker.source.reach import reached
from decoderonly_checker.source.words import (
    ALL,
    ASKS,
    GENERATES,
    LOADS,
    PADS,
    SERVES,
    TOKENIZES,
    USES,
    suffice,
    words_in,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_OTHER_NAME = late_pattern(rb"(?:[ \t]*(?:from|import)[ \t][^\n]*|[ \t]+\w+)[ \t]as[ \t]+(\w+)")
_AS = late_pattern(rb"as[ \t](?<=[ \t]as[ \t])")
_BY_TEXT = frozenset((b"getattr", b"vars", b"__dict__", b"import_module", b"globals"))


@immutable
class Scan:
    """What a file's bytes say.

    Attributes:
        words: What its code speaks of.
        size: Its length in bytes.
        defines: The names that its top level binds, other names for what it imports among them.
        imports: The names that it imports, each behind the module that it comes from, dots and all; for modules that are
            imported whole, their last part, and b"*" for all that a module holds.
        opaque: The bytes do not tell: nothing can be ruled out.
        silencing: It may hold comments that silence rules of this checker.
        readable: There are bytes at all.
    """

    words: int
    size: int
    opaque: bool = False
    defines: frozenset[bytes] = frozenset()
    imports: frozenset[tuple[bytes, bytes]] = frozenset()
    silencing: bool = False
    readable: bool = True


_SILENCING = (b"decoderonly:", b"DLM")


def scan(data: bytes, name: str = "") -> Scan:
    """Look a file over.

    Args:
        data: Its bytes, in any encoding that Python accepts for source.
        name: The file's name, whose suffix says whether it is a notebook or Markdown.
    """
    code = code_of_file(data, name)
    silencing = any(mark in data for mark in _SILENCING)
    if code is None:
        return Scan(ALL, len(data), opaque=True, silencing=silencing)
    if library_package(name) is not None:
        # Nobody follows it, or what it imports: only its own words count, and then only some of them.
        words = words_in(code, _LOUD)
        return Scan(
            words | words_in(code, USES | PADS) if words & TOKENIZES else words,
            len(data),
            silencing=silencing,
        )
    return Scan(
        words_in(code),
        len(data),
        defines=frozenset(_defined(code)),
        imports=frozenset(imports_of(code)),
        silencing=silencing,
    )


def _defined(code: bytes) -> Iterable[bytes]:
    """Yield the names that a file's top level binds, and other names for what is imported anywhere."""
    yield from (a or b for a, b in DEFINITION.findall(b"\n" + code))
    if b" as " in code:
        end = 0
        while (found := _AS.search(code, end)) is not None:
            name = _OTHER_NAME.match(code, code.rfind(b"\n", end, found.start()) + 1)
            if name is not None:
                yield name[1]
            end = code.find(b"\n", found.end())
            if end < 0:
                return


# A file, a name of its top level, and which words are looked for behind it; no name: all of a file in which these words do not
# occur. `_ALONE` asks of a definition what it amounts to by itself: not what is made of it elsewhere.
_Node = tuple[str, "bytes | None", int]
_ALONE = -1


class Selection:
    """Tells which of some files matter, by what their words and those of imported names amount to."""

    def __init__(self, scans: Mapping[str, Scan], read: Callable[[str], bytes]) -> None:
        """Take the files of a project.

        Args:
            scans: Each file's scan, by its path.
            read: Gives a file's bytes again, where its parts must be told apart; b"" if it cannot.
        """
        self._scans = scans
        self._read = read
        self._definers: dict[bytes, list[str]] = {}  # the files whose top level binds a name
        self._modules: dict[bytes, list[str]] = {}  # the files by the last part of their module's name
        self._parts: dict[str, Parts] = {}
        self._known: dict[_Node, int] = {}
        self._imports: dict[str, tuple[tuple[bytes, bytes], ...]] = {}
        self._lives: dict[str, frozenset[bytes]] = {}
        self._changes: dict[bytes, list[tuple[str, bytes]]] = {}
        self._folders: dict[str, frozenset[bytes]] = {}
        self._roots = {b""}
        for path, found in scans.items():
            if library_package(path) is not None:
                self._folders[path] = frozenset()
                continue  # what it does is known: nobody follows it
            for name in found.defines:
                self._definers.setdefault(name, []).append(path)
            pure = PurePath(path)
            names = [part.encode("utf-8", "surrogateescape") for part in (*pure.parts[:-1], pure.stem)]
            self._roots.update(names)
            self._folders[path] = frozenset(names)
            self._modules.setdefault(names[-2] if names[-1] == b"__init__" else names[-1], []).append(path)

    def matters(self, path: str) -> bool:
        """Whether a file can hold a finding by itself: what it only does when it is called comes out at its callers."""
        return bool(self._live(path))

    def sets_up(self, path: str) -> bool:
        """Whether importing a file may change what others use: a tokenizer, say."""
        if not self._scans[path].words & TOKENIZES or library_package(path) is not None:
            return False
        return bool(self._parts_of(path).blocks.get(b"", NOTHING)[0] & TOKENIZES)

    def idle(self, path: str) -> frozenset[str]:
        """Return the names of a file's top level that lead to no finding by themselves."""
        if self._scans[path].opaque:
            return frozenset()
        parts = self._parts_of(path)
        return frozenset(name.decode("ascii", "replace") for name in parts.blocks.keys() - self._live(path))

    def unused(self, path: str) -> frozenset[str]:
        """Return the functions and classes of a file's top level that nothing uses which can lead to a finding.

        Used are those that are mentioned by what can, or by the code outside of definitions; that any file imports by name;
        that are decorated by something of the project, which may keep them; that derive from a class that can lead to one.
        """
        if self._scans[path].opaque:
            return frozenset()
        parts, live = self._parts_of(path), self._live(path)
        used: set[bytes] = set()
        followed: set[bytes] = set()
        pending = [*live, b"", *parts.variables, *parts.decorated]
        pending += [name for name, bases in parts.bases.items() if bases & live]
        asked = library_package(path) is not None  # nobody follows what other files import of it
        while pending:
            name = pending.pop()
            if name not in used and name in parts.blocks:
                used.add(name)
                mentioned = (parts.blocks[name][1] & parts.known) - followed
                followed |= mentioned
                for one in mentioned:
                    pending += [one, *parts.users.get(one, ())]
                if parts.blocks[name][1] & _BY_TEXT:
                    return frozenset()
            if not pending and not asked and len(used) < len(parts.blocks):
                # All files must be taken apart to know this: only if something is left.
                asked = True
                pending += filter(self._all_imported.__contains__, parts.blocks.keys() - used)
        return frozenset(name.decode("ascii", "replace") for name in parts.blocks.keys() - used)

    @cached_property
    def _all_imported(self) -> frozenset[bytes]:
        found: set[bytes] = set()
        for path, one in self._scans.items():
            if any(name in (EVERYTHING, module.rpartition(b".")[2]) for module, name in one.imports):
                # A whole module, or all of it: whatever is mentioned there may come from it.
                parts = self._parts.get(path)
                found |= names_of(self._code_of(path)) if parts is None else parts.names
            found.update(name for _, name in one.imports)
        return frozenset(found)

    def _live(self, path: str) -> frozenset[bytes]:
        """Return the names of a file's top level that can lead to a finding; b"" for the code outside of definitions.

        The words must come together in one definition and what it mentions, at whatever remove.
        """
        known = self._lives.get(path)
        if known is None:
            known = self._lives[path] = self._find_live(path)
        return known

    def _find_live(self, path: str) -> frozenset[bytes]:
        words = self._scans[path].words
        if self._scans[path].opaque:
            return _ANYTHING
        if not suffice(words):
            words = self._imported(path, _LOUD, words)
            if words & _LOUD and not suffice(words):
                words = self._imported(path, USES | PADS, words)
            if not suffice(words):
                return frozenset()
        return frozenset(
            name for name in self._parts_of(path).blocks if suffice(self._words_behind((path, name, _ALONE)))
        )

    def _words_behind(self, start: _Node) -> int:
        """Return what is wanted of the words of a definition and of all that it mentions, at whatever remove.

        Where they are all there, or more are not asked for, some may be missing.
        """
        return reached(start, self._own, self._mentioned, _enough, self._known)

    def _imported(self, path: str, wanted: int, words: int) -> int:
        """Return what is `wanted` of the words behind the names that a file imports; it has `words` itself."""
        for module, name in self._own_imports(path):
            for node in self._given(module, name, path, wanted, None):
                words |= self._words_behind(node)
                if suffice(words):
                    return words
        return words

    def _own_imports(self, path: str) -> tuple[tuple[bytes, bytes], ...]:
        """Return what a file imports from the project: from where, and which name."""
        known = self._imports.get(path)
        if known is None:
            known = self._imports[path] = (
                ()
                if library_package(path) is not None
                else tuple(
                    (module, name)
                    for module, name in self._scans[path].imports
                    if name not in LIBRARY and module.partition(b".")[0] in self._roots
                )
            )
        return known

    def _given(
        self, module: bytes, name: bytes, importer: str, wanted: int, mentioned: frozenset[bytes] | None
    ) -> Iterable[_Node]:
        """Yield the definitions that an imported name may stand for; of a module, those that are mentioned."""
        last = module.rpartition(b".")[2]
        found = False
        for path in self._definers.get(name, ()):
            # A package may hand on what any module in it defines.
            if path != importer and (not last or last in self._folders[path]):
                found = True
                yield (path, name if self._scans[path].words & wanted else None, wanted)
                for user in self._parts_of(path).users.get(name, ()):
                    yield from self._changed(user, wanted)  # what fills it: `@register`
        for path in self._modules.get(last if name == EVERYTHING else name, ()):
            if path != importer:
                found = True
                yield from self._of_module(path, importer, wanted, mentioned, set())
        if not found:
            # Bound in a way that is not seen at a glance: in a branch, by unpacking.
            for path in self._modules.get(last or self._package_of(importer, module), ()):
                if path != importer:
                    yield (path, b"" if self._scans[path].words & wanted else None, wanted)
                    for inner, one in self._own_imports(path):
                        if one == EVERYTHING:
                            yield from self._given(inner, EVERYTHING, path, wanted, frozenset({name}))
        yield from self._changed(name, wanted)

    def _changed(self, name: bytes, wanted: int) -> Iterable[_Node]:
        """Return the definitions that set parts of what they import by this name, or register themselves there."""
        known = self._changes.get(name)
        if known is None:
            known = self._changes[name] = [
                (path, block)
                for path in self._importers.get(name, ())
                for block in self._parts_of(path).gives.get(name, ())
            ]
        return [(path, block, wanted) for path, block in known]

    @cached_property
    def _importers(self) -> Mapping[bytes, list[str]]:
        found: dict[bytes, list[str]] = {}
        for path in self._scans:
            for _, name in self._own_imports(path):
                found.setdefault(name, []).append(path)
        return found

    def _of_module(
        self, path: str, importer: str, wanted: int, mentioned: frozenset[bytes] | None, seen: set[str]
    ) -> Iterable[_Node]:
        """Yield what is mentioned of a module that is imported whole, also of modules that it hands on."""
        if mentioned is None:
            mentioned = self._parts_of(importer).names
        seen.add(path)
        defined = self._scans[path].defines
        if not self._scans[path].words & wanted:
            yield (path, None, wanted)
        else:
            for inner in defined if mentioned & _BY_TEXT else defined & mentioned:
                yield (path, inner, wanted)
        # `package.module.function`; by another name, it may be any.
        hits = mentioned & defined
        renamed = bool(hits) and not hits <= self._parts_of(path).blocks.keys()
        for module, name in self._own_imports(path):
            if name == EVERYTHING or name in mentioned or renamed:
                last = module.rpartition(b".")[2]
                for inner_path in self._modules.get(last if name == EVERYTHING else name, ()):
                    if inner_path not in seen and inner_path != importer:
                        yield from self._of_module(inner_path, path, wanted, mentioned, seen)

    @staticmethod
    def _package_of(importer: str, dots: bytes) -> bytes:
        """Return the name of the package that `from . import x` or `from .. import x` imports from."""
        folders = PurePath(importer).parts[:-1]
        return (
            folders[-len(dots)].encode("utf-8", "surrogateescape")
            if len(dots) <= len(folders) and dots
            else b""
        )

    def _starred(self, parts: Parts, path: str, wanted: int, mentioned: frozenset[bytes]) -> Iterable[_Node]:
        """Yield what a definition may mean of the modules that its file imports all of."""
        for module in parts.starred:
            yield from self._given(module, EVERYTHING, path, wanted, mentioned)

    def _own(self, node: _Node) -> int:
        path, name, wanted = node
        return 0 if name is None else self._parts_of(path).blocks.get(name, NOTHING)[0] & wanted

    def _mentioned(self, node: _Node) -> Iterable[_Node]:
        path, name, wanted = node
        if name is None:
            for module, one in self._own_imports(path):
                yield from self._given(module, one, path, wanted, None)
            return
        parts = self._parts_of(path)
        alone = wanted == _ALONE
        elsewhere = ALL if alone else wanted
        if not alone:
            yield from ((path, user, wanted) for user in parts.users.get(name, ()))
        names = parts.blocks.get(name, NOTHING)[1]
        yield from self._starred(parts, path, elsewhere, names)
        for one in names & parts.known:
            if one in parts.blocks:
                yield (path, one, wanted)
            users = parts.users.get(one, ())
            for user in users:
                yield (path, user, wanted)
            if one in parts.blocks or (alone and users):
                yield from self._changed(one, elsewhere)
            if one in parts.imported:
                # By another name it may be used anywhere.
                used = names if name else parts.names
                for module in parts.imported[one]:
                    yield from self._given(module, one, path, elsewhere, used)

    def _code_of(self, path: str) -> bytes:
        return code_of_file(self._read(path), path) or b""

    def _parts_of(self, path: str) -> Parts:
        parts = self._parts.get(path)
        if parts is None:
            imported: dict[bytes, list[bytes]] = {}
            starred = []
            for module, name in self._own_imports(path):
                if name == EVERYTHING:
                    starred.append(module)
                else:
                    imported.setdefault(name, []).append(module)
            code = self._code_of(path)
            # Of a library, `scan` leaves that out.
            imports = self._scans[path].imports or frozenset(imports_of(code))
            parts = self._parts[path] = parts_of(code, self._scans[path].words, imports, imported, starred)
        return parts


def _enough(node: _Node, words: int) -> bool:
    """Whether more words behind a definition would change nothing."""
    wanted = node[2]
    return suffice(words) if wanted == _ALONE else bool(words & SERVES) or words == wanted


_LOUD = SERVES | GENERATES | ASKS | TOKENIZES | LOADS
_ANYTHING = frozenset({b""})
