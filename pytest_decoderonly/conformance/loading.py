"""Loads the model that a specification names. torch and transformers are imported here, when they are needed."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.conformance.spec import (
    FORMS,
    Loaded,
    ModelSpec,
    NotBuiltError,
    SpecError,
    parse,
    path_in,
)
from pytest_decoderonly.errors import message_of, one_line
from pytest_decoderonly.extras import MODELS

if TYPE_CHECKING:
    import torch

_FAULTS = (ImportError, OSError, ValueError, KeyError, RuntimeError, AttributeError, TypeError)
_QUANTIZERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "bnb-8bit": ("BitsAndBytesConfig", {"load_in_8bit": True}, "bitsandbytes"),
    "bnb-4bit": ("BitsAndBytesConfig", {"load_in_4bit": True}, "bitsandbytes"),
    "quanto-int8": ("QuantoConfig", {"weights": "int8"}, "optimum-quanto"),
    "quanto-int4": ("QuantoConfig", {"weights": "int4"}, "optimum-quanto"),
}


def load(spec: ModelSpec, root: Path, *, device: torch.device | None) -> Loaded:
    """See `spec.load`.

    Raises:
        SpecError: It does not exist or cannot be loaded, or a package is missing.
    """
    _require("torch", spec)
    _require("transformers", spec)
    if spec.option("device") and spec.option("device_map"):
        raise SpecError(f"{spec.text}: device and device_map contradict each other; give one of them")
    loader = {
        "folder": _folder,
        "adapter": _adapter,
        "hub": _hub,
        "gguf": _gguf,
        "tiny": _tiny,
        "factory": _factory,
    }[spec.kind]
    try:
        loaded = loader(spec, root)
        _place(loaded.model, spec, device)
    except SpecError:
        raise
    except _FAULTS as error:
        if "trust_remote_code" in str(error):
            raise SpecError(
                f"{spec.text}: brings code of its own, which is run only where you add trust_remote_code=true"
            ) from error
        raise SpecError(f"{spec.text}: cannot be loaded: {one_line(error)}") from error
    if getattr(getattr(loaded.model, "config", None), "is_encoder_decoder", False):
        raise SpecError(f"{spec.text}: is an encoder-decoder model; this suite is for decoder-only models")
    loaded.model.eval()
    return loaded


def _place(model: Any, spec: ModelSpec, device: torch.device | None) -> None:
    """Move a model to where it is to run; what is spread over devices or bound to one stays."""
    from pytest_decoderonly.devices import device_named

    named = spec.option("device")
    if named is not None:
        try:
            device = device_named(named)
        except ValueError as error:
            raise SpecError(f"{spec.text}: device={named}: {error}") from None
    elif (
        spec.kind == "factory"
        or spec.option("device_map")
        or spec.option("tp_plan")
        or getattr(model, "hf_device_map", None)
        or getattr(model, "is_quantized", False)
    ):
        return
    if device is not None:
        model.to(device)


# What each kind is loaded by


def _tiny(spec: ModelSpec, _root: Path) -> Loaded:
    from pytest_decoderonly.tiny import TinyModelError, tiny_config, tiny_decoder, tiny_tokenizer

    own = {name: _value(value) for name, value in spec.options if name not in ("dtype", "device", "attn")}
    more: dict[str, Any] = {}
    if spec.option("attn"):
        more["attn_implementation"] = spec.option("attn")
    dtype = spec.option("dtype") or "auto"
    try:
        known = inspect.signature(type(tiny_config(spec.target))).parameters
        for name in own:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=2)
                hint = f"; did you mean {' or '.join(near)}?" if near else ""
                raise SpecError(f"{spec.text}: the configuration of {spec.target} has no {name}{hint}")
        model = tiny_decoder(spec.target, dtype="float32" if dtype == "auto" else dtype, **more, **own)
    except TinyModelError as error:
        raise NotBuiltError(f"{spec.text}: {str(error).removeprefix('arch: ')}") from None
    return Loaded(model, tiny_tokenizer())


def _gguf(spec: ModelSpec, root: Path) -> Loaded:
    path = Path(spec.target)
    if not path.is_file():
        raise SpecError(f"{spec.text}: there is no file {path}")
    _require("gguf", spec, "pip install 'pytest-decoderonly[models,gguf]'")
    return _pretrained(str(path.parent), spec, root, gguf_file=path.name)


def _folder(spec: ModelSpec, root: Path) -> Loaded:
    path = Path(spec.target)
    if not path.is_dir():
        raise SpecError(f"{spec.text}: there is no folder {path}; expected {FORMS}")
    if not (path / "config.json").is_file():
        ggufs = sorted(file.name for file in path.glob("*.gguf"))
        hint = f"; did you mean gguf:{path / ggufs[0]}?" if ggufs else ""
        raise SpecError(
            f"{spec.text}: the folder holds no config.json, so it is no model of transformers{hint}"
        )
    return _pretrained(str(path), spec, root)


def _hub(spec: ModelSpec, root: Path) -> Loaded:
    revision = spec.option("revision")
    try:
        return _pretrained(spec.target, spec, root, **({"revision": revision} if revision else {}))
    except OSError as error:
        raise SpecError(
            f"{spec.text}: no such folder, and no such model in the hub or its cache "
            f"({message_of(error, 120)}); expected {FORMS}"
        ) from error


def _adapter(spec: ModelSpec, root: Path) -> Loaded:
    """An adapter of PEFT on its base model, which is loaded with the specification's options."""
    _require("peft", spec, "pip install peft")
    from peft import PeftModel

    path = Path(spec.target)
    settings = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
    named = spec.option("base") or settings.get("base_model_name_or_path")
    if not named:
        raise SpecError(f"{spec.text}: adapter_config.json names no base model; add base=MODEL")
    base = parse(str(named), root)
    passed = [(name, value) for name, value in spec.options if name not in ("base", "tokenizer")]
    base = replace(base, options=tuple(passed), max_memory=spec.max_memory)
    try:
        loaded = load(base, root, device=None)
    except SpecError as error:
        raise SpecError(f"{spec.text}: its base model: {error}") from error
    # Trainable, so that the training step can be looked at; evaluation mode is set all the same.
    model = PeftModel.from_pretrained(loaded.model, str(path), is_trainable=True)
    own = spec.option("tokenizer") or (str(path) if (path / "tokenizer_config.json").is_file() else None)
    return Loaded(model, _tokenizer(own, spec, root) if own else loaded.tokenizer)


def _pretrained(source: str, spec: ModelSpec, root: Path, **found: Any) -> Loaded:
    import transformers

    # What a checkpoint brings as code is not run unless its user says so.
    trusted = spec.option("trust_remote_code") == "true"
    own = spec.option("tokenizer")
    tokenizer = (
        _tokenizer(own, spec, root)
        if own
        else transformers.AutoTokenizer.from_pretrained(source, trust_remote_code=trusted, **found)
    )
    dtype = spec.option("dtype")
    if dtype is not None:
        found[_dtype_argument(transformers.__version__)] = dtype if dtype == "auto" else _dtype(dtype)
    if spec.option("attn") is not None:
        found["attn_implementation"] = spec.option("attn")
    if spec.option("device_map") is not None:
        _require("accelerate", spec, "pip install accelerate")
        found["device_map"] = spec.option("device_map")
        if spec.max_memory:
            found["max_memory"] = dict(spec.max_memory)
    if spec.option("tp_plan") is not None:
        found |= _tensor_parallel(str(spec.option("tp_plan")))
    if spec.option("quantization") is not None:
        kind, settings, package = _QUANTIZERS[str(spec.option("quantization"))]
        _require(package.replace("-", "."), spec, f"pip install {package}")
        found["quantization_config"] = getattr(transformers, kind)(**settings)
    model = transformers.AutoModelForCausalLM.from_pretrained(source, trust_remote_code=trusted, **found)
    return Loaded(model, tokenizer)


def _tensor_parallel(plan: str) -> dict[str, Any]:
    """The plan as `from_pretrained` takes it: since transformers 5 in a configuration of its own."""
    try:
        from transformers.distributed import DistributedConfig

        return {"distributed_config": DistributedConfig(tp_plan=plan)}
    except (ImportError, TypeError):
        return {"tp_plan": plan}


def _tokenizer(source: str, spec: ModelSpec, root: Path) -> Any:
    from transformers import AutoTokenizer

    folder = path_in(root, source)
    try:
        return AutoTokenizer.from_pretrained(
            str(folder) if folder.is_dir() else source,
            trust_remote_code=spec.option("trust_remote_code") == "true",
        )
    except (OSError, ValueError) as error:
        raise SpecError(
            f"{spec.text}: tokenizer={source}: cannot be loaded: {message_of(error, 120)}"
        ) from error


def _factory(spec: ModelSpec, root: Path) -> Loaded:
    import importlib

    module_name, _, attribute = spec.target.partition(":")
    sys.path.insert(0, str(root))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and module_name.startswith(error.name):
            raise SpecError(f"{spec.text}: there is no module {module_name}; expected {FORMS}") from None
        raise
    finally:
        sys.path.remove(str(root))
    factory: Any = module
    for part in attribute.split("."):
        factory = getattr(factory, part, None)
    if not callable(factory):
        raise SpecError(f"{spec.text}: module {module_name} has no function {attribute}")
    given, left = _arguments(factory, spec)
    try:
        made = factory(**given)
    except Exception as error:
        raise SpecError(f"{spec.text}: the factory raised {one_line(error)}") from error
    model, tokenizer = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not callable(getattr(model, "forward", None)):
        raise SpecError(
            f"{spec.text}: must return a model, or a model and its tokenizer, got {type(made).__name__}"
        )
    if left.get("dtype", "auto") != "auto":
        model.to(_dtype(left["dtype"]))
    if "attn" in left:
        setter = getattr(model, "set_attn_implementation", None)
        if setter is None:
            raise SpecError(
                f"{spec.text}: attn={left['attn']}: {type(model).__name__} has no choice of attention"
            )
        setter(left["attn"])
    return Loaded(model, tokenizer)


def _arguments(factory: Any, spec: ModelSpec) -> tuple[dict[str, Any], dict[str, str]]:
    """What of the options the function takes, as keywords; and what of the rest is done to the model it returns."""
    accepted: dict[str, inspect.Parameter] = {}
    with contextlib.suppress(TypeError, ValueError):
        accepted.update(inspect.signature(factory).parameters)
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = tuple(name for name, parameter in accepted.items() if parameter.kind in kinds)
    anything = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values())
    given: dict[str, Any] = {}
    left: dict[str, str] = {}
    for name, value in spec.options:
        if name in names or (anything and name not in ("dtype", "device", "attn")):
            given[name] = value if name in ("dtype", "device", "attn") else _value(value)
        elif name in ("dtype", "device", "attn"):
            left[name] = value
        else:
            takes = f"takes {', '.join(names)}" if names else "takes no arguments"
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SpecError(f"{spec.text}: the function {spec.target} {takes}, not {name}{hint}")
    return given, left


def _value(text: str) -> Any:
    """A number, true, false or none as such; anything else as text."""
    try:
        return json.loads({"True": "true", "False": "false", "None": "null", "none": "null"}.get(text, text))
    except ValueError:
        return text


def _dtype(name: str) -> Any:
    import torch

    return getattr(torch, name)


def _dtype_argument(version: str) -> str:
    """The argument's name: transformers renamed `torch_dtype` in 4.56."""
    numbers = tuple(int(part) for part in version.split(".")[:2])
    return "dtype" if numbers >= (4, 56) else "torch_dtype"


def _require(package: str, spec: ModelSpec, install: str = MODELS) -> None:
    from importlib.util import find_spec

    try:
        found = find_spec(package)
    except ModuleNotFoundError:  # the parent of a namespace package is missing
        found = None
    if found is None:
        raise SpecError(f"{spec.text}: checking a model needs {package}: {install}")
