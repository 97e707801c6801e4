"""transformers' models: how they are made, `generate`, forward."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.flow.facts import ForwardCall, GenerateCall
from decoderonly_checker.flow.state import ObjRec
from decoderonly_checker.flow.values import (
    Args,
    Const,
    Encoding,
    Generated,
    Ids,
    Kind,
    Lib,
    Method,
    Model,
    ModelOutput,
    Opaque,
    Pipeline,
    Ref,
    Site,
    Tokenizer,
    Unknown,
    Value,
    alternatives,
    literal,
)
from decoderonly_checker.knowledge.checkpoints import lookup
from decoderonly_checker.knowledge.model_classes import (
    kind_of_backbone,
    kind_of_class,
    kind_of_model_type,
)
from decoderonly_checker.knowledge.python import lib_attrs, new_lib
from decoderonly_checker.knowledge.registry import first_of, is_none
from decoderonly_checker.knowledge.tokenizers import (
    MEDIA_FIELDS,
    SET_UP,
    checkpoint_names,
    is_tokenizer_class,
    new_tokenizer,
)
from decoderonly_checker.late import late_pattern

if TYPE_CHECKING:
    from decoderonly_checker.flow.interpreter import Interpreter
    from decoderonly_checker.knowledge.registry import Registry

Node = cst.CSTNode
_MAKERS = frozenset({"from_pretrained", "from_config", "from_quantized", "load_model", "load_low_bit"})
_SELF = frozenset(
    {
        "to",
        "eval",
        "train",
        "half",
        "float",
        "bfloat16",
        "double",
        "cuda",
        "cpu",
        "requires_grad_",
        "merge_and_unload",
        "to_bettertransformer",
        "reverse_bettertransformer",
        "unload",
        "get_base_model",
        "merge_adapter",
        "share_memory",
        "unwrap_model",
        "base_model",
        "to_empty",
        "quantize",
        "xpu",
    }
)
_INNER = frozenset({"module", "base_model", "pretrained_model", "_orig_mod", "llm", "model", "_model"})
_NAME = late_pattern(
    r"^_?(?:model|llm|lm|causal_lm|language_model|base_model|policy_model|actor_model|hf_model|peft_model|gpt|"
    r"actor|ref_model)$|_model$|^model_\d$"
)
_NOT_A_MODEL = late_pattern(
    r"embed|reward|vision|image|audio|speech|clip|encoder|classif|rerank|retriev|spacy|whisper|diffus|vae|unet|"
    r"world|topic|bert|sentence|critic|value|data|view|train"
)
_EMBEDDINGS = frozenset({"embed_tokens", "wte", "embed_in", "word_embeddings"})
LENGTHS = ("max_length", "max_new_tokens")
_AUTO_UNKNOWN = frozenset(
    {"AutoModel", "AutoModelWithLMHead", "AutoModelForPreTraining", "PreTrainedModel", "GenerationMixin"}
)


def new_model(
    interp: Interpreter, kind: Kind, class_name: str, checkpoint: Value, site: Site, *, named: bool = False
) -> Model:
    """Put a model on the heap."""
    return Model(interp.store.new(ObjRec()), kind, class_name, checkpoint, named, origin=site)


def kind_of(class_name: str, checkpoint: Value) -> Kind | None:
    """Return what a transformers class with a checkpoint generates; None where the class is no generator."""
    known = kind_of_class(class_name) or kind_of_backbone(class_name)
    if known is not None:
        return Kind(known)
    if class_name in _AUTO_UNKNOWN:
        kinds = set()
        for name in checkpoint_names(checkpoint):
            entry = lookup(name)
            kinds.add(entry.kind if entry is not None else None)
            if class_name == "AutoModel" and entry is not None and kind_of_model_type(entry.model_type or ""):
                # For these the library's `AutoModel` has no head to generate with: whatever does is code of their own.
                return Kind.UNKNOWN
        if len(kinds) == 1 and (only := kinds.pop()) is not None:
            return Kind(only)
        return Kind.UNKNOWN
    return None


def lengths_in_force(interp: Interpreter, model: Model, args: Args) -> dict[str, Value]:
    """Return the length limits of a `generate` call by name, from its arguments and from the configs behind it.

    `#open` is there where a config may hold more than is known.
    """
    found: dict[str, Value] = {}
    record = interp.store.get(model.id)
    held = record.attrs if isinstance(record, ObjRec) else {}
    given = args.get(None, "generation_config")
    configs = [held.get("config"), held.get("generation_config")] if is_none(given) else [given]
    for config in configs:
        for one in alternatives(config):
            if isinstance(one, Lib):
                found.update(
                    (name, value)
                    for name, value in lib_attrs(interp, one).items()
                    if name in {*LENGTHS, "#open"} and not is_none(value)
                )
            elif not is_none(one):
                found["#open"] = one
    found.update((name, args.keywords[name]) for name in LENGTHS if not is_none(args.keywords.get(name)))
    return found


def without_text(args: Args) -> bool:
    """Whether `generate` is given an image, a video or a sound and no ids: it begins with a BOS of its own."""
    ids = args.get(0, "inputs", "input_ids", "inputs_ids")
    if args.open is not None or args.star is not None:
        return False
    if not is_none(ids):
        return all(
            getattr(one, "hint", getattr(one, "name", "")) in MEDIA_FIELDS for one in alternatives(ids)
        )
    return any(not is_none(args.get(None, name)) for name in MEDIA_FIELDS)


def register(registry: Registry) -> None:
    """Register the handlers of this file."""

    def transformers_call(interp: Interpreter, name: str, args: Args, node: Node) -> Value | None:
        """Call a class or a class method of transformers by its dotted name."""
        parts = name.split(".")
        site = interp.site(node)
        maker = parts[-1] in _MAKERS
        class_name = parts[-2] if maker else parts[-1]
        if not class_name[:1].isupper():
            return None
        checkpoint = args.get(0, "pretrained_model_name_or_path", "model_name_or_path", "config") or Unknown()
        if is_tokenizer_class(class_name):
            settings = dict(args.keywords)
            if args.open is not None:
                settings[SET_UP] = args.open  # a pad token may be among what is not known
            return new_tokenizer(interp, class_name, checkpoint, site, attrs=settings)
        kind = kind_of(class_name, checkpoint)
        if kind is not None and (maker or class_name not in _AUTO_UNKNOWN):
            return new_model(interp, kind, class_name, checkpoint, site)
        if class_name.endswith("Config"):
            attrs = dict(args.keywords)
            if args.open is not None:
                attrs["#open"] = args.open
            return new_lib(interp, class_name, attrs, site)
        if maker:
            return Opaque(f"transformers.{class_name}", origin=site)
        made = new_lib(interp, class_name, dict(args.keywords), site)
        registry.handed_over(interp, args, f"transformers.{class_name}", node)
        return made

    registry.packages["transformers"] = transformers_call
    for library in (
        "optimum",
        "auto_gptq",
        "awq",
        "modelscope",
        "ctransformers",
        "bigdl",
        "ipex_llm",
        "intel_extension_for_transformers",
    ):
        registry.packages[library] = transformers_call

    registry.star_names["transformers"] = lambda name: (
        kind_of_class(name) is not None
        or is_tokenizer_class(name)
        or name in {"pipeline", "GenerationConfig", "TextStreamer", "TextIteratorStreamer", *_AUTO_UNKNOWN}
    )

    def named(interp: Interpreter, name: str, site: Site) -> Value | None:
        low = name.lower()
        if _NAME.search(low) is None or _NOT_A_MODEL.search(low):
            return None
        return new_model(interp, Kind.UNKNOWN, "", Unknown(), site, named=True)

    registry.names.append(named)

    def annotated(interp: Interpreter, name: str, site: Site) -> Value | None:
        class_name = name.rpartition(".")[2]
        if not name.startswith(("transformers.", "peft.", "trl.")):
            return None
        kind = kind_of(class_name, Unknown())
        if kind is None and class_name in {
            "PeftModel",
            "PeftModelForCausalLM",
            "AutoModelForCausalLMWithValueHead",
        }:
            kind = Kind.DECODER if "CausalLM" in class_name else Kind.UNKNOWN
        return new_model(interp, kind, class_name, Unknown(), site) if kind is not None else None

    registry.annotations.append(annotated)

    def inherited(interp: Interpreter, bases: list[str], owner: Value, name: str, site: Site) -> Value | None:
        """Return an attribute of a project's subclass of a library's model or tokenizer."""
        for base in bases:
            class_name = base.rpartition(".")[2]
            if not base.startswith(("transformers.", "peft.", "trl.")):
                continue
            kind = kind_of(class_name, Unknown())
            if kind is not None:
                if name in _SELF:
                    return Method(owner, "to", origin=site)
                model = Model(
                    owner.id if isinstance(owner, Ref) else 0, kind, class_name, origin=owner.origin
                )
                return Method(model, name, origin=site)
        return None

    registry.bases.append(inherited)

    def model_attribute(interp: Interpreter, owner: Model, name: str, site: Site) -> Value | None:
        if name in {"config", "generation_config"}:
            record = interp.store.get(owner.id)
            known = owner.kind in (Kind.DECODER, Kind.ENCODER_DECODER) and not owner.named
            attrs: dict[str, Value] = {}
            if known:
                attrs["is_encoder_decoder"] = Const(owner.kind is Kind.ENCODER_DECODER, origin=site)
            made = new_lib(interp, name, attrs, site)
            if isinstance(record, ObjRec):
                interp.store.set(owner.id, record.with_attr(name, made))
            return made
        if name in _INNER:
            return owner
        if name in {"tokenizer", "processor"}:
            return new_tokenizer(interp, "", Unknown(), site, named=True, outside=True)
        if name in {"device", "dtype", "name_or_path"}:
            return Unknown(hint=name, origin=site)
        return None

    registry.attributes.setdefault(Model, []).append(model_attribute)

    def model_method(interp: Interpreter, receiver: Model, name: str, args: Args, node: Node) -> Value | None:
        if name in _SELF:
            return receiver
        if name in {"generate", "sample", "greedy_search", "beam_search"} and not receiver.custom_generate:
            return (
                generate(interp, receiver, args, node)
                if name == "generate"
                else Unknown(origin=interp.site(node))
            )
        if name == "get_input_embeddings":
            return Method(receiver, "embed_tokens", origin=interp.site(node))
        if name in _EMBEDDINGS:
            ids = first_of(args.get(0, "input"), Ids)
            return replace(ids, field="embeds") if ids is not None else Unknown(origin=interp.site(node))
        if name in {"__call__", "forward"}:
            return forward(interp, receiver, name, args, node)
        if name == "from_pretrained":
            return receiver
        return Unknown(origin=interp.site(node))

    registry.any_method.setdefault(Model, []).append(model_method)

    def generate(interp: Interpreter, model: Model, args: Args, node: Node) -> Value:
        """Record a `generate` call and return the ids that it gives."""
        site = interp.site(node)
        ids = args.get(0, "inputs", "input_ids", "inputs_ids")
        encoding: Encoding | None = args.encoding
        mask = args.get(None, "attention_mask")
        open_ = args.open
        if ids is not None and isinstance(ids, Ref):
            # `generate(encoding)`: the whole encoding as the first argument.
            record = interp.dict_record(ids)
            if record is not None and record.encoding is not None:
                # transformers raises here; a wrapper that takes it whole (nnsight, unsloth) has its mask.
                ids = record.entries.get("input_ids", ids)
                mask = record.entries.get("attention_mask", mask)
        second = args.get(1)
        foreign = isinstance(second, Opaque) and second.name and not second.name.startswith("transformers.")
        if foreign or args.get(None, "sampling_params") is not None:
            # `llm.generate(prompts, SamplingParams(…))` is vLLM's, wherever the model may come from.
            for value in args.all():
                interp.use(value, "passed", node)
            return Opaque("outputs", origin=site)
        if interp.entered is node:
            # `with model.generate(…):` is nnsight's; what transformers gives is no context.
            return Opaque("trace", origin=site)
        found = first_of(ids, Ids)
        if encoding is None and found is not None:
            encoding = found.encoding
        continued = first_of(ids, Generated)
        if encoding is None and continued is not None:
            encoding = continued.call.encoding
        if (model.named or model.kind is Kind.UNKNOWN) and encoding is None:
            # Nothing proves that this is a transformers call.
            for value in args.all():
                interp.use(value, "passed", node)
            return Unknown(hint="generated", origin=site)
        textless = encoding is None and model.kind is Kind.DECODER and without_text(args)
        ids = None if textless else ids
        lengths = lengths_in_force(interp, model, args)
        event = GenerateCall(*interp.where(node), model, ids, mask, args, open_, encoding, lengths)
        event.beside_own = interp.beside is node
        event.discarded = interp.discarded is node and args.get(None, "streamer") is None and open_ is None
        interp.record("generate_calls", event)
        for value in args.all():
            for lib in alternatives(value):
                if isinstance(lib, Lib | Pipeline):
                    registry.handed_over(interp, Args((lib,)), "generate", node)
        if ids is None and args.get(None, "inputs_embeds") is not None:
            return Opaque("new ids", origin=site)
        if textless:
            return Opaque("new ids", origin=site)
        whole = literal(args.get(None, "return_dict_in_generate")) is True
        return Generated(event, id(event), "dict" if whole else "batch", origin=site)

    def generate_by_unknown(
        interp: Interpreter, receiver: Value, name: str, args: Args, node: Node
    ) -> Value | None:
        """`generate` of something that is not known: the arguments must prove a transformers call."""
        if name != "generate":
            return None
        ids = args.get(0, "inputs", "input_ids")
        found = first_of(ids, Ids)
        encoding = args.encoding or (found.encoding if found is not None else None)
        if encoding is None or (
            isinstance(encoding.tokenizer, Tokenizer)
            and encoding.tokenizer.named
            and isinstance(receiver, Opaque)
        ):
            return None
        if isinstance(receiver, Opaque) and not receiver.name.startswith(("transformers", "peft", "trl")):
            return None
        model = new_model(
            interp, Kind.UNKNOWN, "", Unknown(), receiver.origin or interp.site(node), named=True
        )
        return generate(interp, model, args, node)

    for kind_ in (Unknown, Opaque):
        registry.any_method.setdefault(kind_, []).insert(0, generate_by_unknown)

    def forward(interp: Interpreter, receiver: Model, name: str, args: Args, node: Node) -> Value:
        labels = args.get(None, "labels")
        if labels is not None:
            inputs = args.get(0, "input_ids")
            interp.labels_made(labels, "forward", node, inputs=inputs, model=receiver)
        ids, mask = args.get(0, "input_ids"), args.get(None, "attention_mask")
        event = ForwardCall(*interp.where(node), receiver, ids, mask, args)
        event.gradients = not interp.without_gradients
        interp.record("forward_calls", event)
        return ModelOutput("model output", event, id(event), origin=interp.site(node))

    registry.objects[Model] = forward
