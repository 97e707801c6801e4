"""What a variable may be.

Values are immutable. What can change (a tokenizer's `padding_side`, `self.x`, the entries of a dict) lies on the heap
of `flow.state.Store`, and a value only holds the number of its heap record. `origin` is the place that made the
value; it takes no part in comparisons.
"""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import field
from typing import TYPE_CHECKING, Any

from decoderonly_checker.immutable import immutable, remember_hash

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import libcst as cst

    from decoderonly_checker.flow.facts import (
        Completion,
        Decode,
        ForwardCall,
        GenerateCall,
        PipelineCall,
        Stream,
    )
    from decoderonly_checker.flow.project import Module
    from decoderonly_checker.source.files import SourceFile


@immutable
class Site:
    """A node of a source file. Turned into a `Place` only when a finding needs it."""

    source: SourceFile = field(compare=False, repr=False)
    cell: int | None
    node: cst.CSTNode = field(compare=False, repr=False)
    key: int

    @classmethod
    def of(cls, source: SourceFile, cell: int | None, node: cst.CSTNode) -> Site:
        """Make the site of `node` in cell `cell` of `source`."""
        return cls(source, cell, node, id(node))

    def around(self) -> list[cst.CSTNode]:
        """Return the nodes that the site stands in, outermost first."""
        ancestors = self.source.cell(self.cell).ancestors
        return ancestors.of(self.node) if ancestors is not None else []

    def code(self, node: cst.CSTNode | None = None) -> str:
        """Return the code of the site, or of another node of its tree, as it is written."""
        return self.source.cell(self.cell).code_of(self.node if node is None else node)


class Tri(enum.Enum):
    """Three-valued truth."""

    NO = 0
    MAYBE = 1
    YES = 2

    def __or__(self, other: Tri) -> Tri:
        return self if self is other else Tri.MAYBE


@immutable
class Value:
    """Base of all values."""

    origin: Site | None = field(default=None, compare=False, repr=False, kw_only=True)

    def at(self, origin: Site | None) -> Value:
        """Return the same value, made at `origin`."""
        if origin is self.origin:
            return self
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)  # with its hash: the origin takes no part in that
        made.__dict__["origin"] = origin
        return made


@immutable
class Unknown(Value):
    """Nothing is known. `hint` is the name of the parameter or attribute it came through, evidence of the weakest kind."""

    hint: str = ""
    front: bool = False  # `x[:-1]`: all but the last of what the name stands for


@immutable
class Const(Value):
    """A literal. `default` marks a value that a user of the program may override (an option's default)."""

    value: Any = None
    default: bool = False


@immutable
class Hole(Value):
    """The part of a string that is not literal."""

    value: Value = field(default_factory=Unknown)
    name: str = ""


@immutable
class Scattered(Hole):
    """A part of a string that stands somewhere in it, nobody knows where."""


@immutable
class Str(Value):
    """A string of literal parts and holes, in order."""

    parts: tuple[str | Hole, ...] = ()


@immutable
class External(Value):
    """A name imported from outside the project, by its dotted path (`transformers.AutoTokenizer.from_pretrained`)."""

    name: str = ""


@immutable
class Opaque(Value):
    """What calling something external gave, where no knowledge says more: `vllm.LLM()`."""

    name: str = ""


@immutable
class ImportRef(Value):
    """A name imported from a module of the project; resolved on first use."""

    module: Module | None = field(default=None, compare=False)
    name: str | None = None
    key: str = ""


@immutable
class Function(Value):
    """A function of the project, with the scopes it closes over."""

    node: cst.FunctionDef | cst.Lambda = field(default=None, compare=False)  # type: ignore[assignment]
    module: Module = field(default=None, compare=False)  # type: ignore[assignment]
    cell: int | None = None
    scopes: tuple[int, ...] = ()
    owner: ClassObj | None = field(default=None, compare=False)
    key: int = 0

    @property
    def identity(self) -> tuple[int, tuple[int, ...]]:
        """What tells one closure from another made by the same definition."""
        return self.key, self.scopes

    @property
    def name(self) -> str:
        """The function's name; `<lambda>` for a lambda."""
        name = getattr(self.node, "name", None)
        return name.value if name is not None else "<lambda>"


@immutable
class ClassObj(Value):
    """A class of the project."""

    node: cst.ClassDef = field(default=None, compare=False)  # type: ignore[assignment]
    module: Module = field(default=None, compare=False)  # type: ignore[assignment]
    cell: int | None = None
    scope: int = 0
    bases: tuple[Value, ...] = ()
    decorators: tuple[str, ...] = ()
    key: int = 0

    @property
    def name(self) -> str:
        """The class's name."""
        return self.node.name.value


@immutable
class Bound(Value):
    """A method of the project together with the object it was taken from."""

    receiver: Value = field(default_factory=Unknown)
    function: Function = field(default=None)  # type: ignore[assignment]


@immutable
class Method(Value):
    """A library's method on a value: `model.generate`, `ids.to`."""

    receiver: Value = field(default_factory=Unknown)
    name: str = ""


@immutable
class Partial(Value):
    """`functools.partial(function, …)`."""

    function: Value = field(default_factory=Unknown)
    args: Args = field(default=None)  # type: ignore[assignment]


@immutable
class Context(Value):
    """A call of a generator that `contextmanager` made a context manager; run where a `with` enters it."""

    function: Function = field(default=None)  # type: ignore[assignment]
    args: Args = field(default=None)  # type: ignore[assignment]
    receiver: Value | None = None


@immutable
class Tuple(Value):
    """A tuple of known length."""

    items: tuple[Value, ...] = ()


@immutable
class Ref(Value):
    """A dict, list or object on the heap."""

    id: int = 0
    kind: str = "object"  # "dict", "list", "object"


class Kind(str, enum.Enum):
    """What a model's `generate` returns: prompt and continuation, the answer alone, or nobody knows."""

    DECODER = "decoder-only"
    ENCODER_DECODER = "encoder-decoder"
    OTHER = "other"
    UNKNOWN = "unknown"


@immutable
class Model(Value):
    """A transformers model, or something that acts as one. Its attributes lie on the heap under `id`.

    `named` is true where only a parameter's name says that this is a model.
    """

    id: int = 0
    kind: Kind = Kind.UNKNOWN
    class_name: str = ""
    checkpoint: Value = field(default_factory=Unknown, compare=False)
    named: bool = False
    custom_generate: bool = False


@immutable
class Tokenizer(Value):
    """A transformers tokenizer or processor. What was set on it lies on the heap under `id`.

    `named` is true where only a parameter's name says so; `outside` where the code under analysis does not
    show how it was made.
    """

    id: int = 0
    class_name: str = ""
    checkpoint: Value = field(default_factory=Unknown, compare=False)
    named: bool = False
    outside: bool = False


@immutable
class Pipeline(Value):
    """A `transformers.pipeline`; its construction arguments lie on the heap under `id`."""

    id: int = 0
    task: Value = field(default_factory=Unknown)


@immutable
class PipelineOutput(Value):
    """What a pipeline returned: `depth` 0 is the whole, 1 one input's list or dict, 2 a dict of a batch."""

    call: PipelineCall = field(default=None, compare=False)  # type: ignore[assignment]
    depth: int = 0
    key: int = 0


@immutable
class CompletionOutput(Value):
    """What a text-completion API returned, or its list of choices, or one of them."""

    call: Completion = field(default=None, compare=False)  # type: ignore[assignment]
    key: int = 0


@immutable
class Lib(Value):
    """An object of a library whose constructor's arguments are its attributes (configs, argument parsers, datasets)."""

    id: int = 0
    name: str = ""


@immutable
class Encoding:
    """How ids came to be: one tokenizer or template call. Not a value; ids, masks and dicts refer to it.

    `padding_side` is what was in force at the call, with its own origin; None where that is unknown.
    """

    site: Site
    tokenizer: Value
    text: Value
    batched: Tri
    padded: Tri
    padding_side: Value | None = None
    truncation: Value | None = None
    max_length: Value | None = None
    truncation_side: Value | None = None
    special_tokens: Value | None = None
    template: bool = False
    generation_prompt: Value | None = None
    by_hand: bool = False
    texts: tuple[Value, ...] = field(default=(), compare=False)  # each row's text, where `text` is a list
    made: Site | None = field(default=None, compare=False)  # where it was tokenized, if `site` only padded it
    chat_template: Value | None = None  # a template that is not the checkpoint's own
    begun: bool = False  # the conversation ends within the answer: there is nothing to prompt for
    turns: tuple[Value, ...] | None = None  # the conversation's messages, where all are known
    media: Value | None = None  # images, videos or sounds beside the text
    joined: bool = False  # rows that were put together from ids, not tokenized as one text
    fixed: bool = False  # padded to a fixed length: a single row too


@immutable
class Rendered(Hole):
    """A conversation that a chat template made into text; `encoding` says how. `bare` once its BOS was taken off."""

    encoding: Encoding | None = None
    bare: bool = False


@immutable
class Ids(Value):
    """Token ids or a mask of an encoding. `rank` is "batch" (rows, length), "row" (length) or "token".

    `id` numbers the buffer, so that a write of -100 into it is seen by everyone who holds it; `lineage` numbers the
    buffers that it was copied or joined from. `part` says where columns were left out that are only known when the
    program runs, padding perhaps: at the "start", the "end", or in "some" places. `start` is the column from which a
    slice took the rows (`offset` the same as source code and a number added to it), `added` how many single tokens were
    put in front of them and behind them by hand. `token` is what a comparison of ids ("comparison",
    "mask-by-comparison") compares them with, `compared` their field.
    """

    encoding: Encoding | None = None
    field: str = "input_ids"
    rank: str = "batch"
    id: int = 0
    copied: bool = False
    part: str = ""
    start: Value | None = None
    added: tuple[int, int] = (0, 0)
    offset: tuple[str, int] = ("", 0)
    lineage: frozenset[int] = dataclasses.field(default=frozenset(), compare=False, repr=False)
    compared: str = ""
    token: Value | None = dataclasses.field(default=None, compare=False, repr=False)


@immutable
class Generated(Value):
    """Ids that `generate` returned. `cut` is the lower bound of the slice that took the prompt off, if one did."""

    call: GenerateCall = field(default=None, compare=False)  # type: ignore[assignment]
    key: int = 0
    rank: str = "batch"  # "dict" where return_dict_in_generate is set
    cut: Value | None = None


@immutable
class ModelOutput(Opaque):
    """What a model's forward returned."""

    call: ForwardCall | None = field(default=None, compare=False)
    key: int = 0


@immutable
class DecodedText(Value):
    """Text decoded from generated ids; stands in a hole of a `Str`."""

    decode: Decode | PipelineCall | Stream | Completion = field(default=None, compare=False)  # type: ignore[assignment]
    key: int = 0


@immutable
class Pieces(Value):
    """`text.split(marker)` of a text that holds decoded text."""

    text: Str = field(default_factory=Str)
    marker: Value = field(default_factory=Unknown)
    how: str = "split"


@immutable
class Length(Value):
    """A count: "width" of ids, "rows", "chars" or "words" of a text, "real" tokens of a mask, "index" of a marker."""

    of: Value = field(default_factory=Unknown)
    what: str = "width"
    offset: int = 0
    loose: bool = False  # something that is not known was added


@immutable
class Below(Value):
    """The positions before a count: what `range(n)` gives, or the mask `positions < n`; `negated`, those from it on."""

    count: Value = field(default_factory=Unknown)
    negated: bool = False
    how: str = "mask"  # "index": one position after the other; "order": they may not be columns


@immutable
class Shape(Value):
    """`ids.shape`."""

    of: Value = field(default_factory=Unknown)


@immutable
class Zip(Value):
    """`zip(a, b)` or `enumerate(a)`: iterating gives a tuple of one element of each."""

    sources: tuple[Value, ...] = ()


Guard = tuple[Any, str, bool]  # (owner of the name, text of the condition, its truth)


@immutable
class Alt:
    """One alternative of a `Choice`, and the conditions under which it holds."""

    value: Value
    guards: frozenset[Guard] = frozenset()


@immutable
class Choice(Value):
    """One of several values, as branches left it."""

    alts: tuple[Alt, ...] = ()


@immutable
class Args:
    """The arguments of a call, with dicts and lists unpacked as far as they are known.

    `open` is the value of a `**` whose entries are not all known, `star` that of such a `*`.
    """

    positional: tuple[Value, ...] = ()
    keywords: Mapping[str, Value] = field(default_factory=dict, hash=False)
    open: Value | None = None
    star: Value | None = None
    encoding: Encoding | None = None

    def get(self, index: int | None, *names: str) -> Value | None:
        """Return the argument at `index` or under one of `names`; None where it was not given."""
        for name in names:
            if name in self.keywords:
                return self.keywords[name]
        if index is not None and index < len(self.positional):
            return self.positional[index]
        return None

    def all(self) -> Iterator[Value]:
        """Yield every argument."""
        yield from self.positional
        yield from self.keywords.values()
        if self.open is not None:
            yield self.open
        if self.star is not None:
            yield self.star


remember_hash(
    *(Choice, Str, Hole, Scattered, Rendered, Tuple, Encoding, Ids, Pieces, Alt, Length),
    *(Function, ClassObj, Bound, Method, Partial, Generated, Below, Shape),
)

UNKNOWN = Unknown()
NONE = Const(None)
# The entry of a dict (a dataset's row) of which the key is all that is known.
NAMED = Unknown(hint="#key")


def alternatives(value: Value | None) -> tuple[Value, ...]:
    """Return what `value` may be: one value, or those of a `Choice`."""
    if value is None:
        return ()
    if isinstance(value, Choice):
        return tuple([alt.value for alt in value.alts])
    return (value,)


def literal(value: Value | None) -> Any:
    """Return the literal that `value` surely is, else None (also for the literal None)."""
    return value.value if isinstance(value, Const) else None
