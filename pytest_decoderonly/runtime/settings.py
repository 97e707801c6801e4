"""The generation settings that a call of `generate` has in force: its arguments, its configuration, the model's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# The order of generate's own parameters, for arguments given by position.
_POSITIONAL = (
    "inputs",
    "generation_config",
    "logits_processor",
    "stopping_criteria",
    "prefix_allowed_tokens_fn",
    "synced_gpus",
    "assistant_model",
    "streamer",
    "negative_prompt_ids",
    "negative_prompt_attention_mask",
)


def named_arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Give positional arguments of `generate` their names."""
    return dict(zip(_POSITIONAL, args, strict=False)) | dict(kwargs) if args else dict(kwargs)


def setting(model: Any, named: Mapping[str, Any], name: str, *, own: bool = True) -> Any:
    """Return one setting as `generate` would see it, None where it is not set.

    An argument counts before the call's `generation_config`, and that before the model's. An argument that is None
    takes the setting back; a None in a configuration says nothing.

    Args:
        model: The model that generates.
        named: The call's arguments by name.
        name: The setting.
        own: Whether the model's own configuration counts.
    """
    if name in named:
        return named[name]
    found = getattr(named.get("generation_config"), name, None)
    if found is None and own:
        found = getattr(getattr(model, "generation_config", None), name, None)
    return found


def settings(model: Any, named: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings that a call has in force, by name; tensors as lists."""
    known = getattr(model, "generation_config", None)
    names = dict.fromkeys(name for name in named if hasattr(known, name))
    for config in (known, named.get("generation_config")):
        names.update(dict.fromkeys(vars(config) if config is not None else ()))
    found = {
        name: setting(model, named, name)
        for name in names
        if not name.startswith("_") and name != "transformers_version"
    }
    return {
        name: value.tolist() if hasattr(value, "tolist") else value
        for name, value in found.items()
        if value is not None
    }
