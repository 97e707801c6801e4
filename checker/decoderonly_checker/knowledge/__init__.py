"""What libraries do to values: one file a library, tables under `data/`.

A knowledge file registers handlers with `knowledge.registry`; the interpreter asks the registry and knows no library.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decoderonly_checker.knowledge.registry import Registry


@cache
def loaded() -> Registry:
    """Return the registry with every knowledge file loaded."""
    from decoderonly_checker.knowledge import (
        collators,
        concurrency,
        datasets,
        ids,
        iterables,
        labels,
        losses,
        models,
        openai,
        pipelines,
        python,
        scores,
        settings,
        tensors,
        text,
        tokenizers,
        trainers,
        trl,
        wrappers,
    )
    from decoderonly_checker.knowledge.registry import Registry

    made = Registry()
    order = (
        python,
        concurrency,
        iterables,
        settings,
        text,
        ids,
        labels,
        tensors,
        tokenizers,
        models,
        pipelines,
        wrappers,
        collators,
        datasets,
        trainers,
        trl,
        openai,
        losses,
        scores,
    )
    for module in order:
        module.register(made)
    return made
