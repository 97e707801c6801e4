"""Numbers for a whole row or batch: a model's loss, cross-entropy, means and sums, and what becomes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.flow.facts import Reduction, Use
from decoderonly_checker.flow.labels import IGNORE_INDEX
from decoderonly_checker.flow.scores import Score, logits_in, scores_in
from decoderonly_checker.flow.state import ListRec
from decoderonly_checker.flow.values import (
    UNKNOWN,
    Args,
    Lib,
    Opaque,
    Ref,
    Site,
    Unknown,
    Value,
    alternatives,
    literal,
)
from decoderonly_checker.knowledge.python import lib_attrs, new_lib
from decoderonly_checker.knowledge.registry import is_none

if TYPE_CHECKING:
    from decoderonly_checker.flow.facts import ForwardCall
    from decoderonly_checker.flow.interpreter import Interpreter
    from decoderonly_checker.knowledge.registry import FunctionHandler, Registry

Node = cst.CSTNode
_SAME = frozenset(
    {
        "to",
        "float",
        "half",
        "double",
        "cuda",
        "cpu",
        "detach",
        "contiguous",
        "clone",
        "squeeze",
        "unsqueeze",
        "view",
        "reshape",
        "item",
        "tolist",
        "numpy",
        "mean",
        "sum",
        "abs",
        "neg",
        "div",
        "mul",
        "log",
        "round",
        "flatten",
        "type",
        "requires_grad_",
        "nanmean",
    }
)
_NUMBER = frozenset({"item", "tolist", "numpy"})
_BACKWARD = frozenset({"backward", "manual_backward", "scale", "scale_loss"})
_CLASSES = ("CrossEntropyLoss", "NLLLoss")
_ARRAYS = ("torch", "numpy", "np")
# The arguments of `F.cross_entropy` behind the scores and the labels, and of `CrossEntropyLoss`.
_SETTINGS = ("weight", "size_average", "ignore_index", "reduce", "reduction")


def reduced(interp: Interpreter, call: ForwardCall, how: str, labels: Value | None, site: Site) -> Score:
    """Note that the scores of all positions became one number."""
    event = Reduction(site, interp.frame.module, tuple(interp.calls), call, how, labels)
    interp.record("reductions", event)
    return Score(event, id(event), origin=site)


def used(interp: Interpreter, score: Score, kind: str, node: Node) -> None:
    """Note what becomes of a number."""
    if interp.recording:
        score.reduction.uses.append(Use(kind, interp.site(node)))


def of_score(interp: Interpreter, receiver: Score, name: str, args: Args, node: Node) -> Value | None:
    """What a method of a number gives; means and sums of numbers of rows are such numbers again."""
    if name in {"exp", "exp_", "exp2"}:
        used(interp, receiver, "exponentiated", node)
        return Unknown(hint="perplexity", origin=interp.site(node))
    if name in _BACKWARD:
        used(interp, receiver, "backward", node)
        return UNKNOWN
    if name in _NUMBER:
        used(interp, receiver, "number", node)
    return receiver if name in _SAME else None


def score_in(interp: Interpreter, value: Value | None) -> Score | None:
    """Return the first number that a value is, or that a list of numbers holds."""
    for one in alternatives(value):
        if isinstance(one, Score):
            return one
        record = interp.store.get(one.id) if isinstance(one, Ref) else None
        if isinstance(record, ListRec):
            inner = next(scores_in(record.element), None)
            if inner is not None:
                return inner
    return None


def chained(registry: Registry, name: str, handler: FunctionHandler) -> None:
    """Register a handler that is asked before the one that a function already has."""
    former = registry.functions.get(name)
    if former is None:
        registry.functions[name] = handler
        return

    def either(interp: Interpreter, full: str, args: Args, node: Node) -> Value | None:
        made = handler(interp, full, args, node)
        return former(interp, full, args, node) if made is None else made

    registry.functions[name] = either


def register(registry: Registry) -> None:
    """Register the handlers of this file."""
    registry.any_method.setdefault(Score, []).append(of_score)
    registry.items.setdefault(Score, []).append(lambda interp, owner, index, site, node: owner)
    registry.iterators[Score] = lambda interp, value: value

    def arithmetic(interp: Interpreter, left: Value, right: Value, how: str, site: Site) -> Value:
        if how == "Power" and isinstance(right, Score):
            used(interp, right, "exponentiated", site.node)
            return Unknown(hint="perplexity", origin=site)
        return left if isinstance(left, Score) else right

    registry.operators[Score] = arithmetic

    # -- cross-entropy -------------------------------------------------------------------------------------------

    def loss(interp: Interpreter, args: Args, settings: dict[str, Value], node: Node) -> Value | None:
        """Cross-entropy of scores and labels: one number, or one a position where nothing is reduced."""
        scores = logits_in(args.get(0, "input"))
        if scores is None or scores.kind not in {"logits", "log_probs"}:
            return None
        labels, site = args.get(1, "target"), interp.site(node)
        ignored, kept = settings.get("ignore_index"), settings.get("reduction")
        clean = (
            scores.clean
            or scores.rank == "position"
            or not is_none(settings.get("weight"))
            or "#open" in settings
            or not (ignored is None or literal(ignored) == IGNORE_INDEX)
        )
        if literal(kept) == "none" or literal(settings.get("reduce")) is False:
            rank = "batch" if scores.rank == "turned" else scores.rank
            return replace(scores, kind="token", rank=rank, against=labels, clean=clean, origin=site)
        if clean or not (kept is None or literal(kept) in {"mean", "sum"}):
            return Opaque("loss", origin=site)
        return reduced(interp, scores.call, "cross-entropy", labels, site)

    def settings_of(args: Args, behind: int) -> dict[str, Value]:
        given = dict(zip(_SETTINGS, args.positional[behind:], strict=False))
        given.update({k: v for k, v in args.keywords.items() if k in _SETTINGS})
        if args.open is not None:
            given["#open"] = args.open
        return given

    @registry.function("torch.nn.functional.cross_entropy", "torch.nn.functional.nll_loss")
    def functional(interp: Interpreter, name: str, args: Args, node: Node) -> Value | None:
        return loss(interp, args, settings_of(args, 2), node)

    @registry.function(*(f"{home}.{c}" for home in ("torch.nn", "torch.nn.modules.loss") for c in _CLASSES))
    def module(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        return new_lib(interp, name.rpartition(".")[2], settings_of(args, 0), interp.site(node))

    def module_call(interp: Interpreter, callee: Lib, name: str, args: Args, node: Node) -> Value | None:
        return loss(interp, args, lib_attrs(interp, callee), node) if callee.name in _CLASSES else None

    registry.called(Lib, module_call)
    registry.method(Lib, "forward")(module_call)

    # -- what becomes of a number --------------------------------------------------------------------------------

    def exponential(interp: Interpreter, name: str, args: Args, node: Node) -> Value | None:
        score = score_in(interp, args.get(0, "input", "x"))
        return of_score(interp, score, "exp", Args(), node) if score is not None else None

    for home in ("torch", "numpy", "np", "math"):
        chained(registry, f"{home}.exp", exponential)

    def pooled(interp: Interpreter, name: str, args: Args, node: Node) -> Value | None:
        """`sum(losses)`, `torch.stack(losses)`, `np.mean(losses)`, `float(loss)`."""
        score = score_in(interp, args.get(0, "input", "a", "data", "tensors", "x"))
        if score is not None and name in {"builtins.float", "builtins.round"}:
            used(interp, score, "number", node)
        return score

    for home in _ARRAYS:
        for name in (
            "mean",
            "sum",
            "stack",
            "tensor",
            "array",
            "asarray",
            "cat",
            "concatenate",
            "hstack",
            "nanmean",
        ):
            chained(registry, f"{home}.{name}", pooled)
    for name in ("builtins.float", "builtins.round", "builtins.sum", "statistics.mean", "statistics.fmean"):
        chained(registry, name, pooled)

    def handed(interp: Interpreter, args: Args, to: str, node: Node) -> None:
        """`accelerator.backward(loss)`, `scaler.scale(loss)`, `fabric.backward(loss)`: training."""
        if to.rpartition(".")[2] in _BACKWARD:
            for value in args.all():
                score = score_in(interp, value)
                if score is not None:
                    used(interp, score, "backward", node)

    registry.listeners.append(handed)
