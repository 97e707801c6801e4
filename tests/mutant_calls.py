"""Models whose fault shows only in one way to call them: with a kind of cache, with beams, with embeddings, in training.

As in `mutants`, each function breaks a sound tiny model in place and returns it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from mutants import _with_mixers, _with_positions

if TYPE_CHECKING:
    from collections.abc import Callable


def state_not_reset(model: Any) -> Any:
    """A recurrent layer begins a new prompt with what the last call left behind."""
    left: dict[str, torch.Tensor] = {}

    def before(_module: Any, hidden: torch.Tensor, given: dict[str, Any]) -> torch.Tensor:
        if hidden.shape[1] > 1 and "state" in left:
            hidden = hidden.clone()
            hidden[:, 0] += left["state"]
        left["state"] = hidden[0, -1].detach()
        return hidden

    return _with_mixers(model, before)


def beams_keep_their_cache(model: Any) -> Any:
    """The cache is not reordered with the beams."""
    model._reorder_cache = lambda cache, _beams: cache
    return model


def static_cache_off_by_one(model: Any) -> Any:
    """With a static cache a step's position is one too far."""
    seen: dict[str, bool] = {}

    def note(_module: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        cache = kwargs.get("past_key_values")
        layers = getattr(cache, "layers", None) or ()
        seen["static"] = any("Static" in type(layer).__name__ for layer in layers)

    model.base_model.register_forward_pre_hook(note, with_kwargs=True)
    return _with_positions(
        model, lambda positions, held: positions + 1 if seen["static"] and held else positions
    )


def embeddings_scaled_twice(model: Any) -> Any:
    """Embeddings that come from outside are scaled, as if they were looked up: a model with learned positions sees it."""

    def before(_module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if kwargs.get("inputs_embeds") is not None:
            kwargs["inputs_embeds"] = kwargs["inputs_embeds"] * 8
        return args, kwargs

    model.base_model.register_forward_pre_hook(before, with_kwargs=True)
    return model


def pieces_begin_at_zero(model: Any) -> Any:
    """The second piece of a prompt counts its positions from 0."""
    return _with_positions(
        model, lambda positions, held: positions - held if held and positions.shape[1] > 1 else positions
    )


def prompt_left_out(model: Any) -> Any:
    """`generate` returns the answer without the prompt."""
    plain = model.generate

    def generate(input_ids: Any = None, **kwargs: Any) -> Any:
        out = plain(input_ids=input_ids, **kwargs)
        return (
            out if "logits_processor" in kwargs or not torch.is_tensor(out) else out[:, input_ids.shape[1] :]
        )

    model.generate = generate
    return model


def first_logits_kept(model: Any) -> Any:
    """With `logits_to_keep` the first positions are kept."""
    forward = model.forward

    def kept(*args: Any, logits_to_keep: int = 0, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        if logits_to_keep:
            output.logits = output.logits[:, :logits_to_keep]
        return output

    model.forward = _signed(kept, forward)
    return model


def labels_shifted_twice(model: Any) -> Any:
    """The loss shifts labels that were shifted before."""
    forward = model.forward

    def shifted(*args: Any, labels: Any = None, **kwargs: Any) -> Any:
        if labels is not None:
            labels = torch.cat([labels[:, 1:], torch.full_like(labels[:, :1], -100)], 1)
        return forward(*args, labels=labels, **kwargs)

    model.forward = _signed(shifted, forward)
    return model


def prompt_in_the_loss(model: Any) -> Any:
    """The loss puts the ids where labels say -100."""
    forward = model.forward

    def taught(input_ids: Any = None, labels: Any = None, **kwargs: Any) -> Any:
        if labels is not None:
            labels = torch.where(labels == -100, input_ids, labels)
        return forward(input_ids=input_ids, labels=labels, **kwargs)

    model.forward = _signed(taught, forward)
    return model


def gradient_cut(model: Any) -> Any:
    """The states are detached after the first layer, so that it never learns."""

    def after(_module: Any, _args: Any, output: Any) -> Any:
        return tuple(part.detach() for part in output) if isinstance(output, tuple) else output.detach()

    _layers(model)[0].register_forward_hook(after)
    return model


def eager_attention_unscaled(model: Any) -> Any:
    """Attention run eagerly has another scale than the fused one."""
    for layer in _layers(model):
        attention = layer.self_attn

        def before(module: Any, args: Any, kwargs: Any, _scale: float = attention.scaling) -> None:
            eager = module.config._attn_implementation == "eager"
            module.scaling = _scale * (1.5 if eager else 1.0)

        attention.register_forward_pre_hook(before, with_kwargs=True)
    return model


def empty_rows_are_nan(model: Any) -> Any:
    """A row whose mask hides everything comes out as NaN."""
    forward = model.forward

    def broken(*args: Any, attention_mask: Any = None, **kwargs: Any) -> Any:
        output = forward(*args, attention_mask=attention_mask, **kwargs)
        if torch.is_tensor(attention_mask) and attention_mask.dim() == 2:
            empty = attention_mask.sum(-1) == 0
            output.logits = output.logits.masked_fill(empty[:, None, None], float("nan"))
        return output

    model.forward = _signed(broken, forward)
    return model


def _layers(model: Any) -> Any:
    return model.base_model.layers


def _signed(function: Callable[..., Any], forward: Callable[..., Any]) -> Callable[..., Any]:
    """Give a wrapper the signature of what it wraps: `generate` reads it."""
    import functools

    return functools.wraps(forward)(function)
