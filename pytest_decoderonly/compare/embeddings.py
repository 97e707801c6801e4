"""A model's input and output embeddings, as the model itself names them.

A module of the user's own may not have the methods (AttributeError); those of transformers raise NotImplementedError
for a class whose layout they do not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def input_embeddings(model: Any) -> Any:
    """Return the module that makes vectors of ids; None where the model names none."""
    try:
        return model.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return None


def output_embeddings(model: Any) -> Any:
    """Return the module that makes logits of vectors; None where the model names none."""
    try:
        return model.get_output_embeddings()
    except (AttributeError, NotImplementedError):
        return None


def embedding_table(model: Any) -> torch.Tensor | None:
    """Return the weight of the input embeddings, (ids, size); None where there is none, or it is empty (sharded)."""
    table = getattr(input_embeddings(model), "weight", None)
    return table if table is not None and table.dim() and len(table) else None
