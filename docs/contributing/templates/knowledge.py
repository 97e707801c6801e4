"""The library LIBRARY: what its calls give.

Register a handler for each call that makes or changes a value the rules read. What returns None is not known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from decoderonly_checker.flow.values import Args, Kind, Model, Unknown, Value
from decoderonly_checker.knowledge.models import new_model

if TYPE_CHECKING:
    from decoderonly_checker.flow.interpreter import Interpreter
    from decoderonly_checker.knowledge.registry import Registry

Node = cst.CSTNode


def register(registry: Registry) -> None:
    """Register the handlers of this file."""

    @registry.function("LIBRARY.load_causal_lm")
    def load(interp: Interpreter, name: str, args: Args, node: Node) -> Value | None:
        """A function that makes a decoder-only model of transformers from a checkpoint's name."""
        checkpoint = args.get(0, "name") or Unknown()
        return new_model(interp, Kind.DECODER, name, checkpoint, interp.site(node))

    @registry.function("LIBRARY.prepare")
    def prepare(interp: Interpreter, name: str, args: Args, node: Node) -> Value | None:
        """A wrapper that hands back the model it was given."""
        given = args.get(0, "model")
        return given if isinstance(given, Model) else None
