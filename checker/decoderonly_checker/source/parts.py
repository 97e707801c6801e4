"""A file in parts: the words and names of each definition of its top level, told from its bytes."""

from __future__ import annotations

import builtins
import keyword
import re
from typing import TYPE_CHECKING

from decoderonly_checker.immutable import immutable
from decoderonly_checker.source.code import without_strings
from decoderonly_checker.source.imports import IMPORT, imports_of
from decoderonly_checker.source.words import USES, words_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

DEFINED = re.compile(
    rb"^(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)|^(\w+)[ \t]*(?::[^=\n]+)?=(?!=)", re.MULTILINE
)
_STATEMENT = re.compile(rb"^[A-Za-z_@]", re.MULTILINE)
# `models["a"] = load()`; arguments by keyword match too: better one too many.
_SETS = re.compile(rb"^([ \t]*)([A-Za-z_]\w*)(?:\.\w|\[)[^=\n]*=(?!=)", re.MULTILINE)
# `Shared.run = model.generate` anywhere: who reads it from the class gets what was set.
_ATTRIBUTE_SET = re.compile(rb"^[ \t]*([A-Za-z_]\w*)(?:\.\w+)+[ \t]*(?::[^=\n]+)?=(?!=)", re.MULTILINE)
_GLOBAL = re.compile(rb"^[ \t]+global[ \t]+([\w, \t]+)", re.MULTILINE)
_NAME = re.compile(rb"[A-Za-z_]\w*")
_ARGUMENTS = rb"\((?:[^()]|\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))*\)"
_DECORATOR = re.compile(rb"^@[\w.]+(?:" + _ARGUMENTS + rb")?", re.MULTILINE)
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
    imported: Mapping[bytes, bytes]  # from the project: the module that a name comes from
    starred: Sequence[bytes]  # the modules of the project that it imports all of
    gives: Mapping[
        bytes, list[bytes]
    ]  # imported names, and the definitions that set parts of them or register there
    known: frozenset[bytes]  # what it defines or imports


def parts_of(code: bytes, imported: Mapping[bytes, bytes], starred: Sequence[bytes]) -> Parts:
    """Take a file's code apart.

    Args:
        code: What `code_of` leaves of it.
        imported: The names that it imports from the project, and from which module.
        starred: The modules of the project that it imports all of.
    """
    texts: dict[bytes, list[bytes]] = {}
    variables: set[bytes] = set()
    decorators: dict[bytes, set[bytes]] = {}
    bases: dict[bytes, frozenset[bytes]] = {}
    waiting: set[bytes] = set()
    # Lines of a text in triple quotes may look like statements; only f-strings are left in the code.
    statement = DEFINED if b'"""' in code or b"'''" in code else _STATEMENT
    starts = [0, *(match.start() for match in statement.finditer(code))]
    for start, end in zip(starts, [*starts[1:], len(code)], strict=False):
        match = DEFINED.match(code, start)
        name = b"" if match is None else match[1] or match[2]
        text = code[start:end]
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
    blocks = {}
    for name, parts in texts.items():
        text = b"".join(parts)
        words = words_in(text)
        if name in variables:
            # Tables of names call nothing; keys as of a batch are what it is used for.
            words = words & USES | words_in(without_strings(text))
        named = b"" if name == b"__all__" else text
        blocks[name] = (words, frozenset(_NAME.findall(named)) - {name, *LIBRARY})
    names = frozenset[bytes]().union(*(mentioned for _, mentioned in blocks.values()))
    declared = variables.union(*(_NAME.findall(found) for found in _GLOBAL.findall(code)))
    # What has parts that a function sets: a module, a class, an object.
    declared |= {name for indent, name in _SETS.findall(code) if indent} & (blocks.keys() | imported.keys())
    # What loops, branches and unpacking bind outside of definitions.
    declared |= (
        _may_bind(texts.get(b"", ()), imported)
        - blocks.keys()
        - {name for _, name in imports_of(code)}
        - _BUILT_IN
    )
    users: dict[bytes, list[bytes]] = {}
    for name, (_, mentioned) in blocks.items():
        for one in mentioned & declared:
            users.setdefault(one, []).append(name)
    if b"." in code:
        for name, parts in texts.items():
            for one in {
                found for text in parts for found in _ATTRIBUTE_SET.findall(text)
            } & blocks.keys() - declared:
                users.setdefault(one, []).append(name)
    gives: dict[bytes, list[bytes]] = {}
    if imported:
        for name, parts in texts.items():
            changed = {found for text in parts for _, found in _SETS.findall(text)} | decorators.get(
                name, set()
            )
            for one in changed & imported.keys():
                gives.setdefault(one, []).append(name)
    known = frozenset(blocks) | imported.keys() | users.keys()
    decorated = frozenset(name for name, by in decorators.items() if by & known)
    return Parts(
        blocks, frozenset(variables), users, decorated, bases, names, imported, starred, gives, known
    )


def _may_bind(texts: Iterable[bytes], imported: Mapping[bytes, bytes]) -> frozenset[bytes]:
    """Return the names in statements that may bind them: in no decorator, no string, no import of what does not matter."""

    def kept(match: re.Match[bytes]) -> bytes:
        return (
            match[0] if words_in(match[0]) or not imported.keys().isdisjoint(_NAME.findall(match[0])) else b""
        )

    code = without_strings(b"\n".join(texts))
    return frozenset(_NAME.findall(IMPORT.sub(kept, _DECORATOR.sub(b"", code)))) - LIBRARY
