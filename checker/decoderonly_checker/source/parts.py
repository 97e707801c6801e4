"""A file in parts: the words and names of each definition of its top level, told from its bytes."""

from __future__ import annotations

import builtins
import keyword
import re
from typing import TYPE_CHECKING

from decoderonly_checker.immutable import immutable
from decoderonly_checker.late import late_pattern
from decoderonly_checker.source.code import without_strings
from decoderonly_checker.source.imports import IMPORT
from decoderonly_checker.source.words import USES, tests_for_parts, words_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from decoderonly_checker.source.words import Tests

_DEFINED = rb"(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)", rb"(\w+)[ \t]*(?::[^=\n]+)?=(?!=)"
DEFINED = late_pattern(rb"^" + rb"|^".join(_DEFINED), re.MULTILINE)
# The same behind a line break: `re` is quick to look for a literal, `^` it tries everywhere.
DEFINITION = late_pattern(rb"\n(?=\w)(?:" + b"|".join(_DEFINED) + b")")
# These too, but for `DEFINED`, look behind line breaks.
_STATEMENT = late_pattern(rb"\n(?=[A-Za-z_@])")
# `models["a"] = load()`; arguments by keyword match too: better one too many.
_SETS = late_pattern(rb"\n([ \t]*)([A-Za-z_]\w*)(?:\.\w|\[)[^=\n]*=(?!=)")
# `Shared.run = model.generate` anywhere: who reads it from the class gets what was set.
_ATTRIBUTE_SET = late_pattern(rb"\n[ \t]*([A-Za-z_]\w*)(?:\.\w+)+[ \t]*(?::[^=\n]+)?=(?!=)")
_GLOBAL = late_pattern(rb"\n[ \t]+global[ \t]+([\w, \t]+)")
_NAME = late_pattern(rb"[A-Za-z_]\w*")
_ARGUMENTS = rb"\((?:[^()]|\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))*\)"
_DECORATOR = late_pattern(rb"\n@[\w.]+(?:" + _ARGUMENTS + rb")?")
_BUILT_IN = frozenset(name.encode() for name in (*dir(builtins), *keyword.kwlist, "self", "__main__"))
# What transformers defines and everything in it imports: a copy of the library in a project does not make all of it matter.
# What these do for code that uses them is known.
LIBRARY = frozenset(
    {
        *(b"PreTrainedModel", b"TFPreTrainedModel", b"FlaxPreTrainedModel", b"GenerationMixin", b"GenerationConfig", b"Trainer"),
        *(b"PreTrainedTokenizer", b"PreTrainedTokenizerFast", b"PreTrainedTokenizerBase", b"TokenizersBackend", b"PythonBackend"),
        *(b"SentencePieceBackend", b"AutoTokenizer", b"AutoProcessor", b"AutoConfig", b"AutoModel", b"AutoBackbone"),
        *(b"AutoModelForCausalLM", b"AutoModelForSeq2SeqLM", b"PretrainedConfig", b"PreTrainedConfig", b"SubConfigSpec"),
        *(b"ProcessorMixin", b"ProcessingKwargs", b"TextKwargs", b"ImagesKwargs", b"VideosKwargs", b"AudioKwargs"),
        *(b"BatchFeature", b"TorchvisionBackend"),
        *(b"BatchEncoding", b"FeatureExtractionMixin", b"SequenceFeatureExtractor", b"PushToHubMixin", b"custom_object_save"),
        *(b"ImageProcessingMixin", b"BaseImageProcessor", b"BaseImageProcessorFast", b"BaseVideoProcessor"),
        *(b"PilBackend", b"GenericForSequenceClassification", b"GenericForTokenClassification", b"GenericForQuestionAnswering"),
        *(b"load_backbone", b"auto_docstring", b"logger", b"logging", b"requires", b"requires_backends", b"_LazyModule"),
        *(b"define_import_structure", b"DummyObject", b"LogitsProcessor", b"LogitsProcessorList", b"StoppingCriteria"),
        *(b"get_model_conversion_mapping", b"get_checkpoint_conversion_mapping", b"register_checkpoint_conversion_mapping"),
        *(b"StoppingCriteriaList", b"ALL_ATTENTION_FUNCTIONS", b"Cache", b"DynamicCache", b"StaticCache"),
    }
)  # fmt: skip

NOTHING: tuple[int, frozenset[bytes]] = (0, frozenset())


@immutable
class Parts:
    """A file in parts: the words and names of each definition of its top level (b"": what is none), and all its names."""

    blocks: Mapping[bytes, tuple[int, frozenset[bytes]]]
    variables: frozenset[bytes]  # definitions that are neither functions nor classes
    users: Mapping[
        bytes, list[bytes]
    ]  # variables, and the definitions that mention them: one may set what another reads
    decorated: frozenset[bytes]  # by something that the file defines or imports from the project
    bases: Mapping[bytes, frozenset[bytes]]  # of classes
    names: frozenset[bytes]
    imported: Mapping[
        bytes, Sequence[bytes]
    ]  # from the project: the modules that a name comes from, in branches from several
    starred: Sequence[bytes]  # the modules of the project that it imports all of
    gives: Mapping[
        bytes, list[bytes]
    ]  # imported names, and the definitions that set parts of them or register there
    known: frozenset[bytes]  # what it defines or imports


def parts_of(
    code: bytes,
    words: int,
    imports: Iterable[tuple[bytes, bytes]],
    imported: Mapping[bytes, Sequence[bytes]],
    starred: Sequence[bytes],
) -> Parts:
    """Take a file's code apart.

    Args:
        code: What `code_of` leaves of it.
        words: Those that occur in it.
        imports: All that it imports, as `imports_of` says it.
        imported: The names that it imports from the project, and from which module.
        starred: The modules of the project that it imports all of.
    """
    lines = b"\n" + code
    texts: dict[bytes, list[bytes]] = {}
    variables: set[bytes] = set()
    decorators: dict[bytes, set[bytes]] = {}
    bases: dict[bytes, frozenset[bytes]] = {}
    waiting: set[bytes] = set()
    for name, match, text in _statements(code):
        texts.setdefault(name, []).append(text)
        if match is None:
            if text.startswith(b"@"):
                waiting.update(_NAME.findall(text))
            continue
        if match[1]:
            decorators.setdefault(name, set()).update(waiting)
            if text.startswith(b"class"):
                bases[name] = frozenset(_NAME.findall(text.partition(b":")[0])) - {name, b"class"}
        else:
            variables.add(name)
        waiting.clear()
    blocks: dict[bytes, tuple[int, frozenset[bytes]]] = {}
    sets: dict[bytes, set[bytes]] = {}
    attributes: dict[bytes, set[bytes]] = {}
    among = tests_for_parts(code, words)
    within: set[bytes] = set()  # what has parts that a function sets: a module, a class, an object
    for name, parts in texts.items():
        text = b"".join(parts)
        own = words_in(text, among=among)
        if name in variables:
            # Tables of names call nothing; keys as of a batch are what it is used for.
            own = own & USES | words_in(without_strings(text), among=among)
        blocks[name] = (own, _mentioned(name, text))
        if b"=" in text:
            text = b"\n" + text
            changed = _SETS.findall(text)
            sets[name] = {one for _, one in changed}
            within.update(one for indent, one in changed if indent)
            if b"." in text:
                attributes[name] = set(_ATTRIBUTE_SET.findall(text))
    names = frozenset[bytes]().union(*(mentioned for _, mentioned in blocks.values()))
    declared = set(variables)
    if b"global" in code:
        declared.update(*(_NAME.findall(found) for found in _GLOBAL.findall(lines)))
    declared |= within & (blocks.keys() | imported.keys())
    # What loops, branches and unpacking bind outside of definitions.
    declared |= (
        _may_bind(texts.get(b"", ()), imported, among)
        - blocks.keys()
        - {name for _, name in imports}
        - _BUILT_IN
    )
    users: dict[bytes, list[bytes]] = {}
    for name, (_, mentioned) in blocks.items():
        for one in mentioned & declared:
            users.setdefault(one, []).append(name)
    for name, touched in attributes.items():
        for one in (touched & blocks.keys()) - declared:
            users.setdefault(one, []).append(name)
    gives: dict[bytes, list[bytes]] = {}
    if imported:
        for name in texts:
            for one in (sets.get(name, set()) | decorators.get(name, set())) & imported.keys():
                gives.setdefault(one, []).append(name)
    known = frozenset(blocks) | imported.keys() | users.keys()
    decorated = frozenset(name for name, by in decorators.items() if by & known)
    return Parts(
        blocks, frozenset(variables), users, decorated, bases, names, imported, starred, gives, known
    )


def names_of(code: bytes) -> frozenset[bytes]:
    """Return `Parts.names` of a file's code, which is had sooner than the rest.

    Args:
        code: What `code_of` leaves of it.
    """
    texts: dict[bytes, list[bytes]] = {}
    for name, _, text in _statements(code):
        texts.setdefault(name, []).append(text)
    return frozenset[bytes]().union(*(_mentioned(name, b"".join(parts)) for name, parts in texts.items()))


def _statements(code: bytes) -> Iterator[tuple[bytes, re.Match[bytes] | None, bytes]]:
    """Yield the texts that code falls into, each with the name that it binds, b"" for none, and the match of `DEFINED`."""
    # Lines of a text in triple quotes may look like statements; only f-strings are left in the code.
    statement = DEFINITION if b'"""' in code or b"'''" in code else _STATEMENT
    starts = [0, *(match.start() for match in statement.finditer(b"\n" + code))]
    for start, end in zip(starts, [*starts[1:], len(code)], strict=False):
        match = DEFINED.match(code, start)
        yield b"" if match is None else match[1] or match[2], match, code[start:end]


def _mentioned(name: bytes, text: bytes) -> frozenset[bytes]:
    """Return the names that a definition mentions."""
    return frozenset(_NAME.findall(b"" if name == b"__all__" else text)) - LIBRARY - {name}


def _may_bind(
    texts: Iterable[bytes], imported: Mapping[bytes, Sequence[bytes]], among: Tests
) -> frozenset[bytes]:
    """Return the names in statements that may bind them: in no decorator, no string, no import of what does not matter."""

    def kept(match: re.Match[bytes]) -> bytes:
        text = match[0]
        return (
            text
            if not imported.keys().isdisjoint(_NAME.findall(text)) or words_in(text, among=among)
            else b""
        )

    code = b"\n" + without_strings(b"\n".join(texts))
    if b"@" in code:
        code = _DECORATOR.sub(b"\n", code)
    return frozenset(_NAME.findall(IMPORT.sub(kept, code))) - LIBRARY
