"""`transformers.pipeline` and text streamers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import libcst as cst

from decoderonly_checker.flow.access import Slice
from decoderonly_checker.flow.facts import PipelineCall, PipelineHandedOn, Stream
from decoderonly_checker.flow.state import DictRec, ListRec, ObjRec
from decoderonly_checker.flow.values import (
    UNKNOWN,
    Args,
    Const,
    DecodedText,
    Hole,
    Kind,
    Lib,
    Model,
    Pipeline,
    PipelineOutput,
    Ref,
    Site,
    Str,
    Tokenizer,
    Unknown,
    Value,
    alternatives,
    literal,
)
from decoderonly_checker.knowledge.models import new_model
from decoderonly_checker.knowledge.python import new_lib
from decoderonly_checker.knowledge.registry import is_none
from decoderonly_checker.knowledge.tokenizers import new_tokenizer

if TYPE_CHECKING:
    from decoderonly_checker.flow.interpreter import Interpreter
    from decoderonly_checker.knowledge.registry import Registry

Node = cst.CSTNode
TASK = "text-generation"
STREAMERS = ("TextStreamer", "TextIteratorStreamer", "AsyncTextIteratorStreamer")


def attrs_of(interp: Interpreter, pipeline: Pipeline) -> dict[str, Value]:
    """Return what a pipeline was made with, and what was set on it later."""
    record = interp.store.get(pipeline.id)
    return dict(record.attrs) if isinstance(record, ObjRec) else {}


def is_chat(interp: Interpreter, inputs: Value | None) -> bool:
    """Whether a pipeline's input is a conversation (a list of role and content), not a text."""
    for one in alternatives(inputs):
        record = interp.store.get(one.id) if isinstance(one, Ref) else None
        if isinstance(record, ListRec):
            items = [*list(record.items or ()), record.element]
            for item in items:
                for alt in alternatives(item):
                    inner = interp.store.get(alt.id) if isinstance(alt, Ref) else None
                    if isinstance(inner, DictRec) and "role" in inner.entries:
                        return True
                    if isinstance(inner, ListRec) and is_chat(interp, alt):
                        return True
        if isinstance(one, Unknown) and any(
            w in one.hint.lower() for w in ("message", "chat", "conversation", "history", "dialog")
        ):
            return True
    return False


def register(registry: Registry) -> None:
    """Register the handlers of this file."""

    @registry.function(
        "transformers.pipeline",
        "transformers.pipelines.pipeline",
        "transformers.TextGenerationPipeline",
        "transformers.pipelines.TextGenerationPipeline",
    )
    def pipeline(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        site = interp.site(node)
        task = Const(TASK) if name.endswith("TextGenerationPipeline") else (args.get(0, "task") or Unknown())
        attrs = dict(args.keywords)
        if args.open is not None:
            attrs["#open"] = args.open
        attrs.update(zip(("model", "config", "tokenizer"), args.positional[1:4], strict=False))
        return Pipeline(interp.store.new(ObjRec(None, attrs)), task, origin=site)

    def attribute(interp: Interpreter, owner: Pipeline, name: str, site: Site) -> Value | None:
        attrs = attrs_of(interp, owner)
        if name not in {"model", "tokenizer", "processor"}:
            return None
        kind_ = Model if name == "model" else Tokenizer
        held = attrs.get(name)
        if held is not None and any(isinstance(v, kind_) for v in alternatives(held)):
            return held
        made = attrs.get(f"#{name}")
        if made is None:
            source = attrs.get("model", UNKNOWN)
            if name == "model":
                kind = Kind.DECODER if literal(owner.task) == TASK else Kind.UNKNOWN
                made = new_model(interp, kind, "pipeline", source, site)
            else:
                given = held if isinstance(literal(held), str) else None
                checkpoint = next(
                    (v.checkpoint for v in alternatives(source) if isinstance(v, Model)), source
                )
                made = new_tokenizer(interp, "AutoTokenizer", given or checkpoint, site)
            record = interp.store.get(owner.id)
            if isinstance(record, ObjRec):
                # What is set on it later is set on the pipeline's own.
                interp.store.set(owner.id, record.with_attr(f"#{name}", made))
        return made

    registry.attributes.setdefault(Pipeline, []).append(attribute)

    def call(interp: Interpreter, receiver: Pipeline, name: str, args: Args, node: Node) -> Value:
        site = interp.site(node)
        inputs = args.get(0, "text_inputs", "inputs")
        attrs = attrs_of(interp, receiver)
        given = args.get(None, "return_full_text") or attrs.get("return_full_text")
        if given is None and (args.open is not None or "#open" in attrs):
            given = Unknown(hint="**")
        if literal(receiver.task) != TASK:
            return Unknown(hint="pipeline output", origin=site)
        tensors = args.get(None, "return_tensors")
        event = PipelineCall(*interp.where(node), receiver, args, inputs, given, is_chat(interp, inputs))
        interp.record("pipeline_calls", event)
        if not is_none(tensors) and literal(tensors) is not False:
            return Unknown(origin=site)
        return PipelineOutput(event, 0, id(event), origin=site)

    registry.objects[Pipeline] = call

    def item(
        interp: Interpreter, owner: PipelineOutput, index: list[Any], site: Site, node: Node
    ) -> Value | None:
        first = index[0] if index else UNKNOWN
        key = literal(first) if isinstance(first, Value) else None
        if key == "generated_text":
            return text_of_output(interp, owner, site)
        if isinstance(first, Slice) or not isinstance(key, str):
            return replace(owner, depth=owner.depth + 1)
        return Unknown(hint=key, origin=site)

    def text_of_output(interp: Interpreter, owner: PipelineOutput, site: Site) -> Value:
        call = owner.call
        if interp.recording:
            call.reads.append(site)
        if call.chat:
            return Unknown(hint="messages", origin=site)
        text = DecodedText(call, id(call), origin=site)
        return Str((Hole(text),), origin=site)

    registry.items.setdefault(PipelineOutput, []).append(item)
    registry.iterators[PipelineOutput] = lambda interp, v: replace(v, depth=v.depth + 1)

    def method(
        interp: Interpreter, receiver: PipelineOutput, name: str, args: Args, node: Node
    ) -> Value | None:
        if name in {"get", "pop"} and literal(args.get(0)) == "generated_text":
            return text_of_output(interp, receiver, interp.site(node))
        return None

    registry.any_method.setdefault(PipelineOutput, []).append(method)

    def handed(interp: Interpreter, args: Args, to: str, node: Node) -> None:
        """A text-generation pipeline given to another library, which reads `generated_text` itself."""
        readers = ("HuggingFacePipeline", "LangChain", "HuggingFaceLLM", "TransformersModel")
        if not any(reader in to for reader in readers):
            return
        for value in args.all():
            for one in interp.pipeline_handed(value):
                if literal(one.task) == TASK:
                    interp.record("pipelines_handed_on", PipelineHandedOn(*interp.where(node), one, to))

    registry.listeners.append(handed)

    # -- streamers -----------------------------------------------------------------------------------------------

    @registry.function(
        *(
            f"transformers.{path}{name}"
            for path in ("", "generation.", "generation.streamers.")
            for name in STREAMERS
        )
    )
    def streamer(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        attrs = dict(args.keywords)
        skip = args.get(1, "skip_prompt")
        if skip is not None:
            attrs["skip_prompt"] = skip
        if args.open is not None or args.star is not None:
            attrs["#open"] = args.open or UNKNOWN
        return new_lib(interp, name.rpartition(".")[2], attrs, interp.site(node))

    def streamed(interp: Interpreter, value: Lib) -> Value | None:
        """One turn of a loop over a streamer."""
        if value.name not in STREAMERS or value.origin is None:
            return None
        event = Stream(*interp.where(value.origin.node), value.id)
        interp.record("streams", event)
        return Str((Hole(DecodedText(event, id(event), origin=value.origin)),), origin=value.origin)

    registry.iterators[Lib] = streamed
