"""The modules of a project: found on demand, each read and parsed once."""

# ruff: noqa: PTH113, PTH118, PTH119, PTH120, PTH206 - strings instead of Path objects: this runs for every import

from __future__ import annotations

import os.path
import re
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from decoderonly_checker.flow.outline import Outline, outline_of
from decoderonly_checker.immutable import record
from decoderonly_checker.late import late_pattern
from decoderonly_checker.source.files import SourceError, SourceFile
from decoderonly_checker.source.libraries import INSTALLED, library_package

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import libcst as cst

    from decoderonly_checker.flow.values import ClassObj, Function

_ENCODER_DECODER = late_pattern(
    r"Seq2Seq|\bM?T5|FlanT5|flan-t5|\bBart|MBart|Pegasus|Marian|M2M100|Whisper|NLLB|opus-mt|SpeechEncoderDecoder|\bLED\b"
    r"|ProphetNet|is_encoder_decoder|\bt5-(?:small|base|large|3b|11b)|facebook/bart|EncoderDecoderModel|Florence2|TrOCR"
)
_DECODER_ONLY = late_pattern(
    r"CausalLM|LMHeadModel|[Ll]lama|GPT|gpt-?[2jn]|Qwen|qwen|[Mm]istral|[Gg]emma|Falcon|Vicuna|vicuna|Phi-?[1-4]|[Dd]eep[Ss]eek|padding_side\s*=\s*.left"
)


@record
class Module:
    """One module of the project. `scope` numbers its globals in the store."""

    source: SourceFile
    scope: int
    functions: list[Function] = field(default_factory=list)
    classes: list[ClassObj] = field(default_factory=list)
    imports: dict[str, Module] = field(default_factory=dict)
    star_imports: list[Module] = field(default_factory=list)
    linked: set[Module] = field(default_factory=set)  # modules that it imports, and those that import it
    started: bool = False

    @property
    def path(self) -> Path:
        """The module's file."""
        return self.source.path

    @cached_property
    def name(self) -> str:
        """The path of the module's file."""
        return str(self.source.path)

    @cached_property
    def text(self) -> str:
        """All code of the module."""
        return "\n".join(cell.text for cell in self.source.cells)

    @cached_property
    def says_encoder_decoder(self) -> bool:
        """Whether the text mentions an encoder-decoder family: reason enough for silence about unknown models."""
        return _ENCODER_DECODER.search(self.text) is not None

    @cached_property
    def says_decoder_only(self) -> bool:
        """Whether the text mentions a decoder-only family."""
        return _DECODER_ONLY.search(self.text) is not None

    @property
    def neighbours(self) -> set[Module]:
        """The module with all that it is joined to by imports, in either direction."""
        found = {self}
        queue = [self]
        while queue:
            fresh = queue.pop().linked - found
            found |= fresh
            queue.extend(fresh)
        return found

    @cached_property
    def outline(self) -> Outline:
        """The module's functions and classes, told from their text."""
        return outline_of(self.source)

    @cached_property
    def names(self) -> frozenset[str]:
        """Every identifier that occurs other than where it is defined, to tell cheaply what nobody calls."""
        return frozenset(re.findall(r"(?<!def )(?<!class )\b[A-Za-z_]\w*", self.text))


class Project:
    """Finds and keeps modules. `loader` reads a file, raising `SourceError`; `new_scope` gives scope numbers."""

    def __init__(
        self, loader: Callable[[Path], SourceFile], new_scope: Callable[[], int], roots: Sequence[Path]
    ) -> None:
        self._loader = loader
        self._new_scope = new_scope
        self._roots = list(dict.fromkeys(str(root.resolve()) for root in roots))
        self._modules: dict[Path, Module | None] = {}
        self._resolved: dict[tuple[str, str, int], Module | None] = {}
        self._files: dict[str, bool] = {}
        self._search_paths: dict[str, list[str]] = {}
        self.failed: dict[Path, SourceError] = {}

    def add(self, source: SourceFile) -> Module:
        """Return the module of a file that is already loaded."""
        path = source.path
        module = self._modules.get(path)
        if module is None:
            module = Module(source, self._new_scope())
            self._modules[path] = module
        return module

    def load(self, path: Path) -> Module | None:
        """Return the module at `path`; None where it cannot be read."""
        if path not in self._modules:
            try:
                self._modules[path] = Module(self._loader(path), self._new_scope())
            except SourceError as error:
                self.failed[path] = error
                self._modules[path] = None
        return self._modules[path]

    def _is_file(self, path: str) -> bool:
        known = self._files.get(path)
        if known is None:
            known = self._files[path] = os.path.isfile(path)
        return known

    def _below(self, root: str, parts: Sequence[str]) -> str | None:
        base = os.path.join(root, *parts)
        if parts and self._is_file(f"{base}.py"):
            return f"{base}.py"
        init = os.path.join(base, "__init__.py")
        return init if self._is_file(init) else None

    def library_name(self, importer: Module, dotted: str, level: int) -> str:
        """Return what a relative import means where the importer is itself part of a library that is known; else ""."""
        package = library_package(importer.name)
        if not level or package is None:
            return ""
        folder = importer.path.parent
        for _ in range(level - 1):
            folder = folder.parent
        try:
            inner = folder.relative_to(Path(package).parent).parts
        except ValueError:
            return ""  # above the library
        return ".".join([*inner, dotted] if dotted else inner)

    def resolve(self, importer: Module, dotted: str, level: int) -> Module | None:
        """Return the project's module that `importer` imports as `dotted` (with `level` leading dots), if it is one.

        A copy of a library that is known is not followed: what it does for those who use it stands in the knowledge.
        """
        key = (importer.name, dotted, level)
        if key in self._resolved:
            return self._resolved[key]
        found = self._find(importer, dotted, level)
        module = None
        if found is not None and found != importer.name and library_package(found) is None:
            module = self.load(Path(found))
            if module is not None:
                importer.linked.add(module)
                module.linked.add(importer)
        self._resolved[key] = module
        return module

    def _find(self, importer: Module, dotted: str, level: int) -> str | None:
        parts = [part for part in dotted.split(".") if part]
        package = library_package(importer.name)
        base = os.path.dirname(importer.name)
        if level:
            for _ in range(level - 1):
                base = os.path.dirname(base)
            if package is not None and f"{base}{os.sep}".startswith(f"{package}{os.sep}"):
                return None
            return self._below(base, parts)
        if package is not None and parts[:1] == [os.path.basename(package)]:
            return None
        for root in self._search_path(base):
            if os.path.basename(root) in INSTALLED and parts[:1] != _names_below(importer.name, root)[:1]:
                continue  # another distribution
            found = self._below(root, parts)
            if found is not None:
                return found
        return None

    def _search_path(self, folder: str) -> list[str]:
        """Return where Python would look: beside the script, above its packages, and at the project's roots."""
        known = self._search_paths.get(folder)
        if known is not None:
            return known
        top = folder
        while self._is_file(os.path.join(top, "__init__.py")) and os.path.dirname(top) != top:
            top = os.path.dirname(top)
        places = [folder, top]
        for root in self._roots:
            places += [root, os.path.join(root, "src")]
            # A script in a sub-folder is often run from any folder above it.
            above = folder
            while above != root and _names_below(above, root):
                places.append(above)
                above = os.path.dirname(above)
        known = self._search_paths[folder] = list(dict.fromkeys(places))
        return known

    @property
    def missed(self) -> list[str]:
        """The files that were looked for and are not there."""
        return [path for path, there in self._files.items() if not there]

    @property
    def modules(self) -> list[Module]:
        """All modules that were read."""
        return [module for module in self._modules.values() if module is not None]


def _names_below(path: str, root: str) -> list[str]:
    """Return the names of the folders that lead from a root to a path; none where it is not below it."""
    lead = root if root.endswith(os.sep) else root + os.sep
    return path[len(lead) :].split(os.sep) if path.startswith(lead) else []


def dotted_name(node: cst.BaseExpression | None) -> str:
    """Return `a.b.c` for a chain of names, the empty string for anything else."""
    # By the names of the classes: `isinstance` of libcst's abstract ones takes many times as long.
    kind = type(node).__name__
    if kind == "Name":
        return cast("cst.Name", node).value
    parts: list[str] = []
    while kind == "Attribute":
        parts.append(cast("cst.Attribute", node).attr.value)
        node = cast("cst.Attribute", node).value
        kind = type(node).__name__
    if kind != "Name":
        return ""
    parts.append(cast("cst.Name", node).value)
    return ".".join(reversed(parts))
