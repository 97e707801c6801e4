"""A record of the calls of `generate`: what went in and what came out, as plain lists."""

from __future__ import annotations

import contextlib
import functools
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Rows = list[list[int]]


@dataclass
class GenerateCall:
    """One call of transformers' `generate`.

    `input_ids`, `attention_mask` and `sequences` have shape (rows, positions); None where there was none, or where
    the call raised. `options` are the other arguments: numbers, texts and the like as they were, all else as the
    name of its type, so that nothing large is kept alive.
    """

    model: str
    input_ids: Rows | None
    attention_mask: Rows | None
    options: dict[str, Any] = field(default_factory=dict)
    sequences: Rows | None = None

    @property
    def prompt_width(self) -> int:
        """Columns of the prompt in `sequences`, padding included; 0 where it was given as embeddings."""
        return len(self.input_ids[0]) if self.input_ids else 0

    @property
    def new_tokens(self) -> Rows:
        """What was generated, row by row, without the prompt; padding after a row's end included."""
        return [row[self.prompt_width :] for row in self.sequences or ()]


@contextlib.contextmanager
def record_generate() -> Iterator[list[GenerateCall]]:
    """Record every outermost call of `generate` of any transformers model, of any thread, inside the block.

    Calls give what they would have given, and raise what they would have raised. The method is put back
    afterwards, unless somebody else has replaced it meanwhile.

    Raises:
        ImportError: transformers is not installed.
    """
    from transformers.generation.utils import GenerationMixin

    calls: list[GenerateCall] = []
    inside = threading.local()
    before = GenerationMixin.generate

    @functools.wraps(before)
    def generate(self: Any, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        if getattr(inside, "call", False):  # an assistant model within assisted generation
            return before(self, *args, **kwargs)
        inside.call = True
        try:
            call = _begin(self, args, kwargs)
            calls.append(call)
            result = before(self, *args, **kwargs)
            call.sequences = _rows(getattr(result, "sequences", result))
            return result
        finally:
            inside.call = False

    GenerationMixin.generate = generate
    try:
        yield calls
    finally:
        if vars(GenerationMixin).get("generate") is generate:
            GenerationMixin.generate = before


def _begin(model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> GenerateCall:
    given = dict(kwargs)
    first = args[0] if args else given.pop("inputs", None)
    ids = given.pop("input_ids", None)
    ids = first if ids is None else ids
    mask = given.pop("attention_mask", None)
    options = {name: _plain(value) for name, value in given.items()}
    return GenerateCall(type(model).__name__, _rows(ids), _rows(mask), options)


def _rows(value: Any) -> Rows | None:
    """Ids or a mask of two dimensions as lists; None for anything else."""
    if getattr(value, "ndim", 0) != 2 or not hasattr(value, "tolist"):
        return None
    return [[int(item) for item in row] for row in value.tolist()]


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(item, (bool, int, float, str)) for item in value):
        return list(value)
    return f"<{type(value).__name__}>"
