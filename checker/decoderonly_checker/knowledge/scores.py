"""What a forward returns, and what torch does to it: logits, hidden states, log-probabilities."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import libcst as cst

from decoderonly_checker.flow.access import Slice
from decoderonly_checker.flow.facts import PositionRead
from decoderonly_checker.flow.scores import VOCABULARY, Logits, Score, logits_in
from decoderonly_checker.flow.values import (
    UNKNOWN,
    Args,
    Below,
    Const,
    Length,
    Model,
    ModelOutput,
    Opaque,
    Site,
    Unknown,
    Value,
    alternatives,
    literal,
)
from decoderonly_checker.knowledge.losses import chained, reduced
from decoderonly_checker.knowledge.registry import is_none
from decoderonly_checker.late import late_pattern

if TYPE_CHECKING:
    from decoderonly_checker.flow.interpreter import Interpreter
    from decoderonly_checker.knowledge.registry import Registry

Node = cst.CSTNode
# `values` are those of TRL's value head, one a position.
_PARTS = {"logits": "logits", "last_hidden_state": "hidden", "hidden_states": "layers", "values": "token"}
_SAME = frozenset(
    {
        "to",
        "float",
        "half",
        "double",
        "bfloat16",
        "cuda",
        "cpu",
        "detach",
        "contiguous",
        "clone",
        "type",
        "type_as",
        "requires_grad_",
        "numpy",
        "tolist",
        "abs",
        "neg",
        "negative",
        "log",
        "log2",
        "exp",
        "clamp",
        "clip",
        "nan_to_num",
        "div",
        "div_",
        "true_divide",
        "pin_memory",
        "copy",
    }
)
_FUNCTIONS = ("abs", "neg", "log", "log2", "exp", "clamp", "clip", "nan_to_num", "div", "clone", "detach")
_MASKING = frozenset({"masked_fill", "masked_select", "where", "masked_scatter", "index_fill"})
_WRITING = frozenset(
    {"masked_fill_", "index_fill_", "masked_scatter_", "index_put_", "mul_", "fill_", "zero_"}
)
_OPERATORS = {
    "mul": "Multiply",
    "multiply": "Multiply",
    "add": "Add",
    "sub": "Subtract",
    "subtract": "Subtract",
}
_LAYERS = frozenset(
    {"Linear", "Sequential", "Dropout", "LayerNorm", "Identity", "Tanh", "GELU", "ReLU", "SiLU"}
)
_TURNING = frozenset({"transpose", "permute", "swapaxes", "movedim"})
_PICKED_BY_TRL = (
    "trl.trainer.utils.selective_log_softmax",
    "trl.trainer.utils.logprobs_from_logits",
    "trl.core.logprobs_from_logits",
)
# The variable of a loop; anything else that picks rows may be a mask.
_COUNTER = late_pattern(r"^[a-z]{1,2}$|idx|index|row|sample|batch")
# What is asked of padding before the last position is read: `if left_padding:`.
_ASKS_SIDE = late_pattern(r"(?i)left|side|padding|right_pad")


def register(registry: Registry) -> None:
    """Register the handlers of this file."""
    # -- what a forward returns ----------------------------------------------------------------------------------

    def output_part(interp: Interpreter, owner: ModelOutput, name: str, site: Site) -> Value:
        call = owner.call
        if call is None:
            return Opaque(name, origin=site)
        if interp.recording:
            call.reads.add(name)
        if name in _PARTS:
            return Logits(call, id(call), _PARTS[name], origin=site)
        if name == "loss":
            return reduced(interp, call, "loss", call.args.get(None, "labels"), site)
        return Opaque(name, origin=site)

    registry.attributes.setdefault(ModelOutput, []).append(output_part)

    def output_item(
        interp: Interpreter, owner: ModelOutput, index: list[Any], site: Site, node: Node
    ) -> Value:
        first = index[0] if index else UNKNOWN
        key = literal(first) if isinstance(first, Value) else None
        if isinstance(key, str):
            return output_part(interp, owner, key, site)
        if isinstance(first, Slice) or owner.call is None:
            return owner
        # A model's output begins with the loss, where labels are given, and then the logits.
        labelled = not is_none(owner.call.args.get(None, "labels"))
        bare = owner.call.model.class_name.endswith("Model")
        names = (*(("loss",) if labelled else ()), "last_hidden_state" if bare else "logits")
        if owner.call.model.class_name.endswith("WithValueHead"):
            names = ("logits", "loss", "values")
        if isinstance(key, int) and 0 <= key < len(names):
            return output_part(interp, owner, names[key], site)
        return Opaque("model output", origin=site)

    registry.items.setdefault(ModelOutput, []).append(output_item)

    def output_method(
        interp: Interpreter, receiver: ModelOutput, name: str, args: Args, node: Node
    ) -> Value | None:
        key = literal(args.get(0))
        if name == "get" and isinstance(key, str):
            return output_part(interp, receiver, key, interp.site(node))
        return receiver if name == "to_tuple" else None

    registry.any_method.setdefault(ModelOutput, []).append(output_method)

    # -- reading positions ---------------------------------------------------------------------------------------

    def item(interp: Interpreter, owner: Logits, index: list[Any], site: Site, node: Node) -> Value:
        if owner.kind == "layers":
            whole = bool(index) and isinstance(index[0], Slice)
            return owner if whole else replace(owner, kind="hidden", origin=site)
        if owner.rank in {"position", "turned"} or any(i == Const(None) for i in index):
            return owner
        axes = by_axis(owner, index)
        place = 1 if owner.rank == "batch" else 0
        result = owner
        rows = axes.get(0) if place else None
        if isinstance(rows, Value):
            one = _picks_one(rows)
            result = replace(result, rank="row" if one else "flat", clean=owner.clean or not one)
        read = axes.get(place)
        if read is not None:
            result = read_positions(interp, owner, result, read, len(index), site)
        words = axes.get(place + 1)
        if isinstance(words, Value) and owner.wide:
            result = replace(result, wide=False)
        elif isinstance(words, Value) and owner.kind in VOCABULARY:
            result = replace(result, kind="token", against=words)
        return replace(result, origin=site)

    def read_positions(  # noqa: PLR0917
        interp: Interpreter, owner: Logits, result: Logits, read: Any, axes: int, site: Site
    ) -> Logits:
        where = (site, interp.frame.module, tuple(interp.calls))
        held = interp.held(_ASKS_SIDE)
        if not isinstance(read, Slice):
            if owner.rank == "flat" or (owner.rank == "row" and not _picks_one(read)):
                return replace(result, clean=True)  # rows and positions under one mask
            interp.record("position_reads", PositionRead(*where, owner, read, None, None, axes, held))
            return replace(result, rank="position")
        if read.lower is None and read.upper is None:
            return result
        interp.record("position_reads", PositionRead(*where, owner, None, read.lower, read.upper, axes, held))
        clean = result.clean or not keeps_padding(read)
        return replace(result, start=read.lower or owner.start, clean=clean)

    registry.items.setdefault(Logits, []).append(item)

    def turn(interp: Interpreter, value: Logits) -> Value:
        if value.kind == "layers":
            return replace(value, kind="hidden")
        return replace(value, rank="row") if value.rank == "batch" else value

    registry.iterators[Logits] = turn

    def attribute(interp: Interpreter, owner: Logits, name: str, site: Site) -> Value | None:
        if name in {"device", "dtype", "shape", "ndim"}:
            return Unknown(hint=name, origin=site)
        if name in {"T", "mT"}:
            return replace(owner, rank="turned")
        return owner if name == "data" else None

    registry.attributes.setdefault(Logits, []).append(attribute)

    # -- what torch does to them ---------------------------------------------------------------------------------

    def transform(interp: Interpreter, receiver: Logits, name: str, args: Args, node: Node) -> Value | None:
        site = interp.site(node)
        if name in _SAME:
            return receiver
        if name in {"softmax", "log_softmax"}:
            return replace(receiver, kind="log_probs") if receiver.kind == "logits" else receiver
        if name in {"squeeze", "unsqueeze"}:
            return squeezed(receiver, name, literal(args.get(0, "dim")))
        if name in {"view", "reshape"}:
            whole = literal(args.get(0)) == -1
            return replace(receiver, rank="flat" if whole else "batch", wide=False)
        if name in {"flatten", "ravel"}:
            return replace(receiver, rank="flat")
        if name in _TURNING:
            return replace(receiver, rank="turned")
        if name == "take_along_dim":
            return gathered(receiver, literal(args.get(1, "dim")), args.get(0, "indices"), site)
        if name == "gather":
            return gathered(receiver, literal(args.get(0, "dim")), args.get(1, "index"), site)
        if name in {"mean", "sum", "nanmean", "nansum"}:
            return pooled(
                interp, receiver, name.removeprefix("nan"), literal(args.get(0, "dim", "axis")), site
            )
        if name in _OPERATORS and args.positional:
            return registry.operate(interp, receiver, args.positional[0], _OPERATORS[name], site)
        if name in _MASKING:
            return replace(receiver, clean=True)
        if name in _WRITING:
            receiver.call.overwritten = True
            return receiver
        return None

    registry.any_method.setdefault(Logits, []).append(transform)

    def gathered(receiver: Logits, axis: Any, index: Value | None, site: Site) -> Value | None:
        """Pick one number a position, that of its token."""
        last = {"batch": 2, "row": 1, "flat": 1}.get(receiver.rank)
        if receiver.kind not in {"logits", "log_probs"} or axis not in {-1, last}:
            return None
        return replace(receiver, kind="token", against=index, wide=True, origin=site)

    def pooled(interp: Interpreter, receiver: Logits, how: str, axis: Any, site: Site) -> Value | None:
        """Take the mean or sum over positions; over the vocabulary, one number a position is left."""
        if receiver.rank in {"position", "turned"}:
            return None
        if receiver.kind == "log_probs" and axis == -1 and how == "sum":
            return replace(receiver, kind="token", origin=site)
        if receiver.kind != "token" or receiver.clean:
            return None
        return reduced(interp, receiver.call, how, receiver.against, site)

    def through(name: str) -> None:
        """Let `torch.name(x, …)` do what `x.name(…)` does."""

        def call(interp: Interpreter, full: str, args: Args, node: Node) -> Value | None:
            found = logits_in(args.get(0, "input", "a", "x"))
            if found is None:
                return None
            return transform(interp, found, name, Args(args.positional[1:], args.keywords, args.open), node)

        for home in ("torch", "torch.nn.functional", "numpy", "scipy.special"):
            chained(registry, f"{home}.{name}", call)

    for name in (*_FUNCTIONS, *_MASKING, *_OPERATORS, *_TURNING):
        through(name)
    for name in (
        "softmax",
        "log_softmax",
        "gather",
        "take_along_dim",
        "mean",
        "sum",
        "squeeze",
        "unsqueeze",
        "flatten",
    ):
        through(name)

    def where(interp: Interpreter, name: str, args: Args, node: Node) -> Value | None:
        """`torch.where(mask, scores, 0)`."""
        for value in args.positional[1:3]:
            found = logits_in(value)
            if found is not None:
                return replace(found, clean=True)
        return None

    for home in ("torch", "numpy", "np"):
        chained(registry, f"{home}.where", where)

    def arithmetic(interp: Interpreter, left: Value, right: Value, how: str, site: Site) -> Value:
        """A number for all positions changes nothing; anything else may be a mask."""
        one, other = (left, right) if isinstance(left, Logits) else (right, left)
        if not isinstance(one, Logits) or isinstance(other, Const | Length | Score):
            return one
        if isinstance(other, Logits):
            return replace(one, clean=one.clean or other.clean)
        divided = how in {"Divide", "FloorDivide", "Power"} and one is left
        return replace(one, clean=one.clean or not divided)

    registry.operators[Logits] = arithmetic

    # -- heads ---------------------------------------------------------------------------------------------------

    def layer(interp: Interpreter, callee: Opaque, name: str, args: Args, node: Node) -> Value | None:
        """A head of torch on hidden states: numbers for each position again."""
        states = logits_in(args.get(0, "input"))
        return states if callee.name.rpartition(".")[2] in _LAYERS else None

    registry.called(Opaque, layer)

    @registry.method(Model, "lm_head", "embed_out")
    def head(interp: Interpreter, receiver: Model, name: str, args: Args, node: Node) -> Value | None:
        states = logits_in(args.get(0, "hidden_states", "input"))
        return replace(states, kind="logits", origin=interp.site(node)) if states is not None else None

    @registry.function(*_PICKED_BY_TRL)
    def of_tokens(interp: Interpreter, name: str, args: Args, node: Node) -> Value | None:
        scores = logits_in(args.get(0, "logits"))
        if scores is None:
            return None
        return replace(scores, kind="token", against=args.get(1, "index", "labels"), origin=interp.site(node))


def by_axis(owner: Logits, index: list[Any]) -> dict[int, Any]:
    """Return which axis each part of a subscript is of, `...` unfolded."""
    dots = next((i for i, one in enumerate(index) if is_ellipsis(one)), None)
    if dots is None:
        return dict(enumerate(index))
    count = {"batch": 2, "row": 1, "flat": 1}.get(owner.rank, 1) + (owner.kind in VOCABULARY or owner.wide)
    behind = index[dots + 1 :]
    return {**dict(enumerate(index[:dots])), **{count - len(behind) + i: one for i, one in enumerate(behind)}}


def is_ellipsis(value: Any) -> bool:
    """Whether a part of a subscript is `...`."""
    return (
        isinstance(value, Unknown)
        and value.origin is not None
        and isinstance(value.origin.node, cst.Ellipsis)
    )


def _picks_one(value: Value) -> bool:
    """Whether an index picks one row, and is no mask."""
    return all(
        isinstance(one, Const | Length | Below)
        or (isinstance(one, Unknown) and _COUNTER.search(one.hint) is not None)
        or (isinstance(one, Opaque) and one.name == "builtins.range")
        for one in alternatives(value)
    )


def keeps_padding(bounds: Slice) -> bool:
    """Whether the positions between two bounds hold the padding of the whole: `[:-1]`, `[1:]`, `[:ids.shape[1]]`."""
    low, high = literal(bounds.lower), literal(bounds.upper)
    from_start = bounds.lower is None or (isinstance(low, int) and low >= 0)
    wide = all(isinstance(one, Length) and one.what == "width" for one in alternatives(bounds.upper))
    to_end = bounds.upper is None or (isinstance(high, int) and high < 0) or wide
    return from_start and to_end and bounds.step is None


def squeezed(receiver: Logits, name: str, axis: Any) -> Logits:
    """Return scores with an axis of one less or more."""
    if name == "squeeze" and receiver.wide and axis != 0:
        return replace(receiver, wide=False)
    if name == "squeeze" and axis == 0 and receiver.rank == "batch":
        return replace(receiver, rank="row")
    if name == "unsqueeze" and axis == 0 and receiver.rank == "row":
        return replace(receiver, rank="batch")
    return receiver


__all__ = ["by_axis", "is_ellipsis", "keeps_padding", "register"]
