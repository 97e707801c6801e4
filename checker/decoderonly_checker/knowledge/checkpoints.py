"""What is known of published checkpoints by name: their kind, their tokenizer's habits, their positions.

The table is `data/checkpoints.json`, read on first use and made from `checkpoints.toml` by
`checker/generate_model_classes.py`. A *family* recognises a name loosely and says what any fine-tune of it
keeps: kind, model type, positions. A *checkpoint* is a published name, and says what its tokenizer does;
those facts are withheld for another publisher's upload of that name, which may have changed them.
"""

from __future__ import annotations

import json
import re
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal, cast

from decoderonly_checker.immutable import immutable
from decoderonly_checker.knowledge.model_classes import Kind, Positions, kind_of_model_type, positions_of
from decoderonly_checker.late import late_pattern

_DATA = Path(__file__).parent / "data" / "checkpoints.json"
_SNAPSHOT = late_pattern(r"models--(?P<org>.+?)--(?P<name>[^/]+)(?:/|$)")
_HUB_NAME = late_pattern(r"(?P<org>[\w.-]+)/(?P<name>[\w.-]+)")
_LONGEST = 300  # characters; a longer string is no name
_PUBLISHED_AS_IS = frozenset({"llm-research", "ai-modelscope", "modelscope", "shakechen", "zhipuai"})
_LOCAL = frozenset(  # first part of a relative path, not a publisher
    {"models", "model", "checkpoints", "weights", "pretrained", "hf", "huggingface", "ckpt", "ckpts", "llm"}
)


@immutable
class Checkpoint:
    """What a checkpoint's name tells. None means not known, never "no".

    Attributes:
        name: Name of the table's entry.
        kind: What its `generate` returns.
        model_type: As in its `config.json`.
        ships_pad_token: Its tokenizer has a pad token without being given one.
        pad_is_eos: The shipped pad token is the EOS token.
        padding_side: The tokenizer's default.
        adds_bos: The tokenizer puts a BOS in front of plain text.
        adds_eos: The tokenizer puts an EOS behind plain text.
        template_writes_bos: The chat template renders a BOS.
        template_ignores_generation_prompt: `add_generation_prompt` changes nothing.
        positions: How `forward` finds positions without `position_ids`.
        context_length: Number of positions it was trained for.
        source: Where the facts were read.
    """

    name: str
    kind: Kind | None = None
    model_type: str | None = None
    ships_pad_token: bool | None = None
    pad_is_eos: bool | None = None
    padding_side: Literal["left", "right"] | None = None
    adds_bos: bool | None = None
    adds_eos: bool | None = None
    template_writes_bos: bool | None = None
    template_ignores_generation_prompt: bool | None = None
    positions: Positions | None = None
    context_length: int | None = None
    source: str = ""


@cache
def _table() -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(_DATA.read_text(encoding="utf-8")))


def _split(name: str) -> tuple[str | None, str]:
    """Return publisher and bare name, both lower case; the publisher is None for a path or a bare name."""
    # ModelScope's cache writes the dots of a name as three underscores.
    text = name.strip().replace("\\", "/").replace("___", ".").rstrip("/").lower()
    if found := _SNAPSHOT.search(text):
        return found["org"], found["name"]
    hub = _HUB_NAME.fullmatch(text)
    if hub is not None and hub["org"] not in _LOCAL and not text.startswith("."):
        return hub["org"], hub["name"]
    return None, text.rpartition("/")[2]


@lru_cache(maxsize=1024)
def lookup(name: str) -> Checkpoint | None:
    """Return what is known of a checkpoint by its hub name, by a path that ends in it, or by a cache folder.

    Args:
        name: `meta-llama/Llama-2-7b-hf`, `gpt2`, `/data/models/Qwen2.5-7B-Instruct`.

    Returns:
        The facts, each None where unknown; None for a name that no entry knows.
    """
    org, bare = _split(name)
    if not bare or len(name) > _LONGEST:
        return None
    table = _table()
    index = table["names"].get(bare)
    merged: dict[str, Any] | None = table["facts"][index] if index is not None else None
    if merged is None or not (org is None or org in _PUBLISHED_AS_IS or org in merged["publishers"]):
        merged = next((family for family in table["families"] if re.search(family["match"], bare)), None)
    if merged is None:
        return None
    model_type = merged.get("model_type")
    positions, kind = merged.get("positions"), merged.get("kind")
    if model_type is not None:
        positions = positions or positions_of(model_type)
        kind = kind or kind_of_model_type(model_type)
    known = {key: merged[key] for key in _TOKENIZER_FACTS if key in merged}
    return Checkpoint(
        name=merged["name"],
        kind=None if kind == "unknown" else cast("Kind | None", kind),
        model_type=model_type,
        positions=positions,
        context_length=merged.get("context_length"),
        source=merged["source"],
        **known,
    )


def is_published(name: str) -> bool:
    """Whether a name is, publisher aside, that of a checkpoint of the table, and not only like those of its family."""
    return _split(name)[1] in _table()["names"]


_TOKENIZER_FACTS = (
    "ships_pad_token",
    "pad_is_eos",
    "padding_side",
    "adds_bos",
    "adds_eos",
    "template_writes_bos",
    "template_ignores_generation_prompt",
)
