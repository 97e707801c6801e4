"""Which model to check, as its user names it. Nothing heavy is imported before `load`.

    SPEC[,option=value ...]

A specification is a model and, behind commas, options that say how it is loaded: `gguf:model.gguf,dtype=bfloat16`.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

Kind = Literal["folder", "adapter", "hub", "gguf", "tiny", "factory"]

FORMS = (
    "a model folder, an adapter folder, a hub id (organisation/name), gguf:FILE, tiny:ARCHITECTURE, tiny:all or "
    "module:factory"
)
DTYPES = {
    "auto": "",
    "float32": "fp32",
    "bfloat16": "bf16",
    "float16": "fp16",
    "float64": "fp64",
}
QUANTIZATIONS = ("bnb-8bit", "bnb-4bit", "quanto-int8", "quanto-int4")
_EVERYWHERE = ("dtype", "device", "attn")
_CHECKPOINT = (*_EVERYWHERE, "device_map", "tp_plan", "tokenizer", "quantization", "trust_remote_code")
_OPTIONS: dict[Kind, tuple[str, ...]] = {
    "folder": _CHECKPOINT,
    "hub": (*_CHECKPOINT, "revision"),
    "adapter": (*_CHECKPOINT, "base", "revision"),
    "gguf": (*_EVERYWHERE, "device_map", "tokenizer"),
    "tiny": _EVERYWHERE,
    "factory": _EVERYWHERE,
}
# Kinds whose further options are those of what builds them: of the configuration, of the function.
_OPEN: frozenset[Kind] = frozenset({"tiny", "factory"})
ALL_TINY = "all"
_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_HUB = re.compile(r"[\w.-]+(/[\w.-]+)?")
_OPTION = re.compile(r",\s*([A-Za-z_][\w-]*)\s*=")


class SpecError(Exception):
    """This model cannot be loaded; the message is one line that names the specification."""


class NotBuiltError(SpecError):
    """A tiny model of this architecture cannot be built."""


@dataclass(frozen=True)
class ModelSpec:
    """One model to check.

    Attributes:
        text: What the user wrote, options and all.
        kind: What it is.
        target: The folder, file, hub id, architecture or function.
        name: Stands in the ids of its items.
        options: What was written behind the commas, each name once.
        max_memory: Bytes by device that a device map may use; empty where nothing is limited.
        among_all: Nobody named it: it is one of `tiny:all`.
    """

    text: str
    kind: Kind
    target: str
    name: str
    options: tuple[tuple[str, str], ...] = ()
    max_memory: tuple[tuple[str | int, int], ...] = ()
    among_all: bool = False

    def option(self, name: str) -> str | None:
        """Return an option's value, None where it was not given."""
        return dict(self.options).get(name)

    @property
    def varied(self) -> dict[str, str]:
        """What of the options is shown in ids: the dtype's short name, the attention backend."""
        dtype, attn = DTYPES.get(self.option("dtype") or "auto"), self.option("attn")
        return {
            **({"dtype": dtype} if dtype else {}),
            **({"attention": _named(attn)} if attn else {}),
        }


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

    Raises:
        SpecError: An option is unknown or has a value of another form.
    """
    if "\0" in text:
        raise SpecError(f"{text}: no path and no name has a NUL in it")
    bare, options = _split(text, root)
    spec = _model(text, bare, root)
    allowed = _OPTIONS[spec.kind]
    for name, _ in options:
        if name not in allowed and spec.kind not in _OPEN:
            raise SpecError(f"{text}: {_unknown(name, allowed, spec.kind)}")
    return replace(spec, options=tuple(_read(text, name, value) for name, value in options))


def parse_all(texts: list[str], root: Path) -> list[ModelSpec]:
    """Read several specifications and give each a name of its own; `tiny:all` becomes one for each architecture.

    Raises:
        SpecError: As `parse`, and for `tiny:all` without transformers.
    """
    specs: list[ModelSpec] = []
    taken: set[str] = set()
    for spec in (each for text in texts for each in _expanded(parse(text, root))):
        options = "-".join(spec.varied.values())
        name = spec.name if spec.name not in taken or not options else f"{spec.name}-{options}"
        stem, count = name, 2
        while name in taken:
            name, count = f"{stem}-{count}", count + 1
        taken.add(name)
        specs.append(replace(spec, name=name))
    return specs


def load(spec: ModelSpec, root: Path, *, device: torch.device | None = None) -> Loaded:
    """Load a model and its tokenizer.

    Args:
        spec: What to load.
        root: Put on `sys.path` while a factory is imported; relative paths in options count from it.
        device: Where the model goes if the specification says nothing; None leaves it where it is made. What a
            factory made, or a device map has spread, stays where it is.

    Raises:
        SpecError: It does not exist or cannot be loaded, or a package is missing.
    """
    from pytest_decoderonly.conformance.loading import load as load_now

    return load_now(spec, root, device=device)


def did_you_mean(name: str, known: tuple[str, ...]) -> str:
    """Return a hint that names what was probably meant, else all that is known."""
    near = difflib.get_close_matches(name, known, n=2)
    return f"did you mean {' or '.join(near)}?" if near else f"expected one of {', '.join(known)}"


def _split(text: str, root: Path) -> tuple[str, list[tuple[str, str]]]:
    """Take the options off the end; a path that exists as it is written has none."""
    if path_in(root, text).exists():
        return text, []
    starts = list(_OPTION.finditer(text))
    bare = text[: starts[0].start()] if starts else text
    ends = [*(start.start() for start in starts[1:]), len(text)][: len(starts)]
    options = [
        (start[1].replace("-", "_"), text[start.end() : end].strip())
        for start, end in zip(starts, ends, strict=True)
    ]
    last = bare.rpartition(",")[2].strip()
    if "," in bare and last in {name for names in _OPTIONS.values() for name in names}:
        raise SpecError(f"{text}: option {last} has no value; write {last}=VALUE")
    names = [name for name, _ in options]
    for name in names:
        if names.count(name) > 1:
            raise SpecError(f"{text}: option {name} is given twice")
    return bare.strip(), options


def _model(text: str, bare: str, root: Path) -> ModelSpec:
    head, colon, rest = bare.partition(":")
    path = path_in(root, bare)
    if path.is_dir():
        kind: Kind = "adapter" if (path / "adapter_config.json").is_file() else "folder"
        return ModelSpec(text, kind, str(path), _named(path.name))
    if path.is_file() and path.suffix == ".gguf":
        return ModelSpec(text, "gguf", str(path), _named(path.stem))
    if colon and head == "tiny":
        return ModelSpec(text, "tiny", rest, _named(f"tiny-{rest}"))
    if colon and head == "gguf":
        return ModelSpec(text, "gguf", str(path_in(root, rest)), _named(Path(rest).stem))
    if _FACTORY.fullmatch(bare):
        return ModelSpec(text, "factory", bare, _named(bare.replace(":", ".")))
    # A name of one or two parts may be a hub's; anything else that does not exist is a folder that does not
    # exist.
    kind = "hub" if _HUB.fullmatch(bare) and not bare.startswith(".") else "folder"
    return ModelSpec(text, kind, bare if kind == "hub" else str(path), _named(Path(bare).name))


def _read(text: str, name: str, value: str) -> tuple[str, str]:
    """Bring an option's value into its one form.

    Raises:
        SpecError: It has another form than accepted.
    """
    if not value:
        raise SpecError(f"{text}: option {name} has no value; write {name}=VALUE")
    if name == "dtype":
        value = {short: long for long, short in DTYPES.items() if short}.get(value, value)
        if value not in DTYPES:
            raise SpecError(f"{text}: dtype={value}: {did_you_mean(value, tuple(DTYPES))}")
    elif name == "quantization" and value not in QUANTIZATIONS:
        raise SpecError(f"{text}: quantization={value}: {did_you_mean(value, QUANTIZATIONS)}")
    elif name == "trust_remote_code" and value not in ("true", "false"):
        raise SpecError(f"{text}: trust_remote_code={value}: expected true or false")
    return name, value


def _unknown(name: str, allowed: tuple[str, ...], kind: Kind) -> str:
    if any(name in names for names in _OPTIONS.values()):
        others = ", ".join(other for other, names in _OPTIONS.items() if name in names)
        return f"option {name} is for {others}, this is a {kind}"
    return f"unknown option {name}; {did_you_mean(name, allowed)}"


def _expanded(spec: ModelSpec) -> Iterator[ModelSpec]:
    if spec.kind != "tiny" or spec.target != ALL_TINY:
        yield spec
        return
    from pytest_decoderonly.extras import MODELS

    try:
        from pytest_decoderonly.tiny import tiny_architectures

        names = tiny_architectures()
    except ImportError:
        raise SpecError(f"{spec.text}: needs transformers: {MODELS}") from None
    for arch in names:
        text = spec.text.replace(f"tiny:{ALL_TINY}", f"tiny:{arch}", 1)
        yield replace(spec, text=text, target=arch, name=_named(f"tiny-{arch}"), among_all=True)


def path_in(root: Path, text: str) -> Path:
    """Return a path that may be relative to `root` or begin with the home folder's sign."""
    return root / os.path.expanduser(text)  # noqa: PTH111 - Path's raises for a user who does not exist


def _named(name: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", name).strip("-") or "model"
