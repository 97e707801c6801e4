"""One file a check; the file's name is the check's name, its docstring says what it protects from.

A check module has `ORDER` (where it stands among the others), `KIND` (its marker is `decoderonly_KIND`), `VARIANTS` (what
its items vary) and `run(case, variant) -> Found`, which may raise `NotApplicable`. There is no table to register it in.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_decoderonly.conformance.case import Case
    from pytest_decoderonly.conformance.found import Found

KINDS: Mapping[str, str] = {
    "tokenizer": "the tokenizer can make batches",
    "padding": "left padding and batches leave a row as it is",
    "cache": "caches and long prompts leave a row as it is",
    "backend": "attention backends agree",
    "generate": "generate gives answers that can be cut off, and other ways to call it agree",
    "training": "the loss is taken over completions, whatever the padding",
}
_PROTECTS = "Protects from:"


@dataclass(frozen=True)
class Variant:
    """What one item of a check varies.

    `parameters` are shown in its id in this order: a text by itself, a number behind its name. `full` items run only
    with `--decoderonly-suite=full`.
    """

    parameters: Mapping[str, str | int] = field(default_factory=dict)
    full: bool = False

    @property
    def id(self) -> str:
        """What stands in brackets behind the check's name: `batch3-len33`."""
        return "-".join(_shown(name, value, "") for name, value in self.parameters.items())

    @property
    def words(self) -> str:
        """The same for people: `batch=3 len=33`."""
        return " ".join(_shown(name, value, "=") for name, value in self.parameters.items())


def _shown(name: str, value: str | int, between: str) -> str:
    short = {"length": "len"}.get(name, name)
    return f"{short}{between}{value}" if isinstance(value, int) else value


@dataclass(frozen=True)
class Check:
    """One check of the suite."""

    name: str
    about: str
    kind: str
    order: int
    variants: tuple[Variant, ...]
    run: Callable[[Case, Variant], Found]

    @property
    def protects_from(self) -> str:
        """What goes wrong in a program where this check would fail."""
        return " ".join(self.about.partition(_PROTECTS)[2].split("\n\n")[0].split())


def variants(*, full: bool = False, **parameters: Any) -> tuple[Variant, ...]:
    """Return a variant for each value of one parameter; the others are the same in all."""
    ((name, values),) = [(n, v) for n, v in parameters.items() if isinstance(v, (tuple, list))]
    others = {n: v for n, v in parameters.items() if n != name}
    return tuple(
        Variant({n: value if n == name else others[n] for n in parameters}, full) for value in values
    )


def discover() -> tuple[Check, ...]:
    """Return all checks in their order; imports neither torch nor transformers."""
    found = []
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        found.append(
            Check(
                info.name.replace("_", "-"),
                (module.__doc__ or "").strip(),
                module.KIND,
                module.ORDER,
                module.VARIANTS,
                module.run,
            )
        )
    return tuple(sorted(found, key=lambda check: (check.order, check.name)))
