"""The modules of a project: found on demand, each read and parsed once."""

from __future__ import annotations

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
        self._roots = list(dict.fromkeys(root.resolve() for root in roots))
        self._modules: dict[Path, Module | None] = {}
        self._resolved: dict[tuple[Path, str, int], Module | None] = {}
        self._files: dict[Path, bool] = {}
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

    def _is_file(self, path: Path) -> bool:
        known = self._files.get(path)
        if known is None:
            known = self._files[path] = path.is_file()
        return known

    def _below(self, root: Path, parts: Sequence[str]) -> Path | None:
        base = root.joinpath(*parts)
        if parts and self._is_file(base.with_name(base.name + ".py")):
            return base.with_name(base.name + ".py")
        init = base / "__init__.py"
        return init if self._is_file(init) else None

    def library_name(self, importer: Module, dotted: str, level: int) -> str:
        """Return what a relative import means where the importer is itself part of a library that is known; else ""."""
        package = library_package(str(importer.path))
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
        key = (importer.path, dotted, level)
        if key in self._resolved:
            return self._resolved[key]
        parts = [part for part in dotted.split(".") if part]
        found: Path | None = None
        if level:
            base = importer.path.parent
            for _ in range(level - 1):
                base = base.parent
            found = self._below(base, parts)
        else:
            for root in self._search_path(importer.path):
                if root.name in INSTALLED and parts[:1] != list(importer.path.relative_to(root).parts[:1]):
                    continue  # another distribution
                found = self._below(root, parts)
                if found is not None:
                    break
        module = None
        if found is not None and found != importer.path and library_package(str(found)) is None:
            module = self.load(found)
            if module is not None:
                importer.linked.add(module)
                module.linked.add(importer)
        self._resolved[key] = module
        return module

    def _search_path(self, path: Path) -> list[Path]:
        """Return where Python would look: beside the script, above its packages, and at the project's roots."""
        roots = [path.parent]
        top = path.parent
        while self._is_file(top / "__init__.py") and top.parent != top:
            top = top.parent
        roots.append(top)
        for root in self._roots:
            roots.append(root)
            roots.append(root / "src")
            folder = path.parent
            # A script in a sub-folder is often run from any folder above it.
            while folder != root and root in folder.parents:
                roots.append(folder)
                folder = folder.parent
        return list(dict.fromkeys(roots))

    @property
    def missed(self) -> list[str]:
        """The files that were looked for and are not there."""
        return [str(path) for path, there in self._files.items() if not there]

    @property
    def modules(self) -> list[Module]:
        """All modules that were read."""
        return [module for module in self._modules.values() if module is not None]


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
