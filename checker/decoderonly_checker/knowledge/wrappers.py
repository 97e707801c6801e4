"""Libraries that wrap a model: peft, trl, accelerate, unsloth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.flow.values import (
    UNKNOWN,
    Args,
    Kind,
    Model,
    Opaque,
    Tuple,
    Unknown,
    Value,
    alternatives,
)
from decoderonly_checker.knowledge.models import new_model
from decoderonly_checker.knowledge.python import new_lib
from decoderonly_checker.knowledge.tokenizers import SET_UP, new_tokenizer
from decoderonly_checker.late import late_pattern

if TYPE_CHECKING:
    from decoderonly_checker.flow.interpreter import Interpreter
    from decoderonly_checker.knowledge.registry import Registry

Node = cst.CSTNode
_WRAPS_FIRST = (
    "peft.get_peft_model",
    "peft.PeftModel.from_pretrained",
    "peft.PeftModelForCausalLM.from_pretrained",
    "peft.PeftModelForCausalLM",
    "peft.PeftModel",
    "peft.PeftModelForSeq2SeqLM.from_pretrained",
    "peft.prepare_model_for_kbit_training",
    "peft.prepare_model_for_int8_training",
    "peft.inject_adapter_in_model",
    "unsloth.FastLanguageModel.get_peft_model",
    "unsloth.FastModel.get_peft_model",
    "unsloth.FastLanguageModel.for_inference",
    "deepspeed.init_inference",
    "accelerate.dispatch_model",
    "accelerate.load_checkpoint_and_dispatch",
    "trl.create_reference_model",
    "optimum.bettertransformer.BetterTransformer.transform",
    "optimum.bettertransformer.BetterTransformer.reverse",
    "torch.nn.parallel.DataParallel",
    "torch.nn.parallel.data_parallel.DataParallel",
    "torch.nn.parallel.distributed.DistributedDataParallel",
    "torch.distributed.fsdp.FullyShardedDataParallel",
    "torch.distributed.fsdp.fully_sharded_data_parallel.FullyShardedDataParallel",
    "torch.distributed.fsdp.fully_shard",
    "fairscale.nn.FullyShardedDataParallel",
)

# Wherever these classes lie: TRL has moved those with value heads more than once.
_WRAPPER_CLASS = late_pattern(
    r"\.(?:AutoPeftModelFor(?:CausalLM|Seq2SeqLM)|AutoModelFor(?:CausalLM|Seq2SeqLM)WithValueHead)\.from_pretrained$"
)


def register(registry: Registry) -> None:
    """Register the handlers of this file."""
    function = registry.function

    @function(*_WRAPS_FIRST)
    def wraps(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        inner = args.get(0, "model", "module")
        if name.endswith("for_inference"):
            return inner or UNKNOWN
        known = [v for v in alternatives(inner) if not isinstance(v, Unknown)]
        if not known and "CausalLM" in name:
            return new_model(interp, Kind.DECODER, "PeftModelForCausalLM", UNKNOWN, interp.site(node))
        return inner or UNKNOWN

    def wrapper_class(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        source = args.get(0, "pretrained_model_name_or_path") or Unknown()
        inner = next((v for v in alternatives(source) if isinstance(v, Model)), None)
        if inner is not None:
            return inner
        kind = Kind.ENCODER_DECODER if "Seq2Seq" in name else Kind.DECODER
        return new_model(interp, kind, name.split(".")[-2], source, interp.site(node))

    @function(
        "unsloth.FastLanguageModel.from_pretrained",
        "unsloth.FastModel.from_pretrained",
        "unsloth.FastVisionModel.from_pretrained",
        "unsloth.FastLlamaModel.from_pretrained",
    )
    def unsloth(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        site = interp.site(node)
        checkpoint = args.get(0, "model_name") or Unknown()
        return Tuple(
            (
                new_model(interp, Kind.DECODER, name.split(".")[-2], checkpoint, site),
                new_tokenizer(interp, "AutoTokenizer", checkpoint, site, attrs={SET_UP: Unknown()}),
            ),
            origin=site,
        )

    @function(
        "gptqmodel.GPTQModel.load",
        "gptqmodel.GPTQModel.from_pretrained",
        "gptqmodel.GPTQModel.from_quantized",
    )
    def gptqmodel(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        checkpoint = args.get(0, "model_id_or_path") or Unknown()
        return new_model(interp, Kind.DECODER, "GPTQModel", checkpoint, interp.site(node))

    @function("deepspeed.initialize")
    def engine(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        """DeepSpeed's engine hands what it does not have itself to the model within."""
        model = args.get(1, "model") or UNKNOWN
        rest = (args.get(2, "optimizer") or UNKNOWN, UNKNOWN, UNKNOWN)
        return Tuple((model, *rest), origin=interp.site(node))

    @function("accelerate.Accelerator")
    def accelerator(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        return new_lib(interp, "Accelerator", {}, interp.site(node))

    from decoderonly_checker.flow.values import Lib

    @registry.method((Lib, Unknown, Opaque), "prepare", "prepare_model", "unwrap_model")
    def prepare(interp: Interpreter, receiver: Value, name: str, args: Args, node: Node) -> Value | None:
        if isinstance(receiver, Lib) and receiver.name != "Accelerator":
            return None
        if isinstance(receiver, Opaque):
            return None
        if not args.positional:
            return None
        return (
            args.positional[0]
            if len(args.positional) == 1
            else Tuple(args.positional, origin=interp.site(node))
        )

    @registry.method(
        (Lib, Unknown, Opaque), "gather", "gather_for_metrics", "pad_across_processes", "gather_object"
    )
    def gather(interp: Interpreter, receiver: Value, name: str, args: Args, node: Node) -> Value | None:
        """Several processes' ids put together are the same kind of ids."""
        if isinstance(receiver, Lib) and receiver.name != "Accelerator":
            return None
        return args.get(0, "tensor", "input_data", "object")

    for package in ("peft", "trl"):

        def wrapper_package(
            interp: Interpreter, name: str, args: Args, node: Node, package: str = package
        ) -> Value | None:
            if _WRAPPER_CLASS.search(name):
                return wrapper_class(interp, name, args, node)
            last = name.rpartition(".")[2]
            if last[:1].isupper():
                registry.handed_over(interp, args, name, node)
                return new_lib(interp, last, dict(args.keywords), interp.site(node))
            return None

        registry.packages[package] = wrapper_package
