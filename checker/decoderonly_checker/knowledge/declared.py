"""What a project's settings say of its own code: which classes and functions make models and tokenizers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.flow.access import MAKERS
from decoderonly_checker.flow.values import (
    Bound,
    ClassObj,
    Const,
    External,
    Function,
    Kind,
    Method,
    Site,
    Unknown,
    Value,
)
from decoderonly_checker.knowledge.models import new_model
from decoderonly_checker.knowledge.tokenizers import SET_UP, new_tokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from decoderonly_checker.flow.interpreter import Interpreter
    from decoderonly_checker.flow.project import Module


class Declared:
    """Makes the models and tokenizers that settings declare.

    A name means what is defined under it, from the right: `loading.load` is `load` of any module `loading`, and for a class
    also its `from_pretrained` and the like.
    """

    def __init__(self, models: Mapping[str, str], tokenizers: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the settings `known-models` and `known-tokenizers`."""
        self._models = models
        self._tokenizers = tokenizers
        self._last = {name.rpartition(".")[2] for name in (*models, *tokenizers)}

    def made_by(self, interp: Interpreter, callee: Value, site: Site) -> Value | None:
        """Return what calling something gives, None where nothing is declared of it.

        Args:
            interp: Holds the heap.
            callee: A function, class or method of the project, or a name from outside.
            site: The call, or an annotation that names a class.
        """
        name = self._name(callee)
        if name is None:
            return None
        for declared, kind in self._models.items():
            if _means(declared, name):
                return new_model(interp, Kind(kind), declared.rpartition(".")[2], Unknown(), site)
        for declared, given in self._tokenizers.items():
            if _means(declared, name):
                attrs: dict[str, Value] = {SET_UP: Unknown(origin=site)}  # a pad token may be set there
                for key in ("padding-side", "truncation-side"):
                    attrs[key.replace("-", "_")] = (
                        Const(given[key], origin=site) if key in given else Unknown(origin=site)
                    )
                return new_tokenizer(interp, declared.rpartition(".")[2], Unknown(), site, attrs=attrs)
        return None

    def _name(self, callee: Value) -> str | None:
        """Return the dotted name of what is called, None where no setting can mean it."""
        if isinstance(callee, Method) and callee.name in MAKERS:
            callee = callee.receiver
        elif isinstance(callee, Bound):
            callee = callee.receiver if callee.function.name in MAKERS else callee.function
        if isinstance(callee, External):
            head, _, last = callee.name.rpartition(".")
            name = head if last in MAKERS and head else callee.name
            return name if name.rpartition(".")[2] in self._last else None
        if not isinstance(callee, Function | ClassObj) or callee.name not in self._last:
            return None
        owner = callee.owner if isinstance(callee, Function) else None
        return ".".join((*_module_name(callee.module), *((owner.name,) if owner else ()), callee.name))


def _means(declared: str, name: str) -> bool:
    return name == declared or name.endswith(f".{declared}")


def _module_name(module: Module) -> tuple[str, ...]:
    parts = module.path.with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts
