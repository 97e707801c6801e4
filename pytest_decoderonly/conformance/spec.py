"""Which model to check, and how it is loaded. Nothing heavy is imported before `load`."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["folder", "hub", "gguf", "tiny", "factory"]

FORMS = "a model folder, a hub id (organisation/name), gguf:FILE, tiny:ARCHITECTURE or module:factory"
_NEEDS = "pip install 'pytest-decoderonly[models]'"
_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_HUB = re.compile(r"[\w.-]+(/[\w.-]+)?")


class SpecError(Exception):
    """This model cannot be loaded; the message is one line that names the specification."""


@dataclass(frozen=True)
class ModelSpec:
    """One model to check. `text` is what the user wrote, `name` stands in the ids of its items."""

    text: str
    kind: Kind
    target: str
    name: str


@dataclass
class Loaded:
    """A model in evaluation mode and its tokenizer, if it has one."""

    model: Any
    tokenizer: Any


def parse(text: str, root: Path) -> ModelSpec:
    """Read a specification; whether the model exists is found out by `load`.

    Args:
        text: What the user wrote.
        root: The folder that relative paths count from.
    """
    head, colon, rest = text.partition(":")
    path = _path(text, root)
    if path.is_dir():
        return ModelSpec(text, "folder", str(path), _named(path.name))
    if path.is_file() and path.suffix == ".gguf":
        return ModelSpec(text, "gguf", str(path), _named(path.stem))
    if colon and head == "tiny":
        return ModelSpec(text, "tiny", rest, _named(f"tiny-{rest}"))
    if colon and head == "gguf":
        return ModelSpec(text, "gguf", str(_path(rest, root)), _named(Path(rest).stem))
    if _FACTORY.fullmatch(text):
        return ModelSpec(text, "factory", text, _named(text.replace(":", ".")))
    # A name of one or two parts may be a hub's; anything else that does not exist is a folder that does not
    # exist.
    kind: Kind = "hub" if _HUB.fullmatch(text) and not text.startswith(".") else "folder"
    return ModelSpec(text, kind, text if kind == "hub" else str(path), _named(Path(text).name))


def parse_all(texts: list[str], root: Path) -> list[ModelSpec]:
    """Read several specifications and give each a name of its own."""
    specs: list[ModelSpec] = []
    taken: set[str] = set()
    for text in texts:
        spec = parse(text, root)
        name, count = spec.name, 2
        while name in taken:
            name, count = f"{spec.name}-{count}", count + 1
        taken.add(name)
        specs.append(ModelSpec(spec.text, spec.kind, spec.target, name))
    return specs


def load(spec: ModelSpec, root: Path) -> Loaded:
    """Load a model and its tokenizer.

    Args:
        spec: What to load.
        root: Put on `sys.path` while a factory is imported.

    Raises:
        SpecError: It does not exist or cannot be loaded, or a package is missing.
    """
    _require("torch", spec)
    _require("transformers", spec)
    loader = {"folder": _folder, "hub": _hub, "gguf": _gguf, "tiny": _tiny, "factory": _factory}[spec.kind]
    try:
        loaded = loader(spec, root)
    except SpecError:
        raise
    except (ImportError, OSError, ValueError, KeyError, RuntimeError, AttributeError, TypeError) as error:
        raise SpecError(f"{spec.text}: cannot be loaded: {type(error).__name__}: {_short(error)}") from error
    if getattr(getattr(loaded.model, "config", None), "is_encoder_decoder", False):
        raise SpecError(f"{spec.text}: is an encoder-decoder model; this suite is for decoder-only models")
    loaded.model.eval()
    return loaded


def _tiny(spec: ModelSpec, _root: Path) -> Loaded:
    from pytest_decoderonly.tiny import TinyModelError, tiny_decoder, tiny_tokenizer

    try:
        return Loaded(tiny_decoder(spec.target), tiny_tokenizer())
    except TinyModelError as error:
        raise SpecError(f"{spec.text}: {str(error).removeprefix('arch: ')}") from None


def _gguf(spec: ModelSpec, _root: Path) -> Loaded:
    path = Path(spec.target)
    if not path.is_file():
        raise SpecError(f"{spec.text}: there is no file {path}")
    _require("gguf", spec, "pip install 'pytest-decoderonly[models,gguf]'")
    return _pretrained(str(path.parent), gguf_file=path.name)


def _folder(spec: ModelSpec, _root: Path) -> Loaded:
    path = Path(spec.target)
    if not path.is_dir():
        raise SpecError(f"{spec.text}: there is no folder {path}; expected {FORMS}")
    if not (path / "config.json").is_file():
        ggufs = sorted(file.name for file in path.glob("*.gguf"))
        hint = f"; did you mean gguf:{path / ggufs[0]}?" if ggufs else ""
        raise SpecError(
            f"{spec.text}: the folder holds no config.json, so it is no model of transformers{hint}"
        )
    return _pretrained(str(path))


def _hub(spec: ModelSpec, _root: Path) -> Loaded:
    try:
        return _pretrained(spec.target)
    except OSError as error:
        raise SpecError(
            f"{spec.text}: no such folder, and no such model in the hub or its cache "
            f"({_short(error, 120)}); expected {FORMS}"
        ) from error


def _pretrained(source: str, **kwargs: Any) -> Loaded:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # What a checkpoint brings as code is not run unless its user says so elsewhere.
    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **kwargs)
    model = AutoModelForCausalLM.from_pretrained(source, trust_remote_code=False, **kwargs)
    return Loaded(model, tokenizer)


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
    try:
        made = factory()
    except Exception as error:
        raise SpecError(f"{spec.text}: the factory raised {type(error).__name__}: {_short(error)}") from error
    model, tokenizer = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not callable(getattr(model, "forward", None)):
        raise SpecError(
            f"{spec.text}: must return a model, or a model and its tokenizer, got {type(made).__name__}"
        )
    return Loaded(model, tokenizer)


def _require(package: str, spec: ModelSpec, install: str = _NEEDS) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise SpecError(f"{spec.text}: checking a model needs {package}: {install}")


def _path(text: str, root: Path) -> Path:
    return root / Path(text).expanduser()


def _named(name: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", name).strip("-") or "model"


def _short(error: BaseException, limit: int = 240) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= limit else f"{text[: limit - 4]} ..."
