"""Models that are each broken in one way, as published bugs were: the checks must catch every one and name it.

Each mutant is a function that breaks a sound tiny model in place and returns it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    Edit = Callable[
        [Any, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor],
        tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    ]


def _causal(mask: torch.Tensor) -> torch.Tensor:
    """The additive mask (rows, 1, queries, keys) without its padding part."""
    queries, keys = mask.shape[-2:]
    hidden = torch.ones(queries, keys, dtype=torch.bool).triu(keys - queries + 1)
    return torch.zeros_like(mask).masked_fill(hidden, torch.finfo(mask.dtype).min)


def _full_mask(mask: torch.Tensor | None, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    blank = torch.zeros(query.shape[0], 1, query.shape[2], key.shape[2], dtype=query.dtype)
    return _causal(blank) if mask is None else mask[..., : key.shape[2]]


def with_attention(model: Any, edit: Edit, after: Callable[..., torch.Tensor] | None = None) -> Any:
    """Run the model's attention through an edit of (query, key, value, mask); `after` may edit the result."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    def attention(module, query, key, value, attention_mask, scaling=None, **_):
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        mask = _full_mask(attention_mask, query, key)
        key, value, mask = edit(module, query, key, value, mask)
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        weights = torch.softmax((query @ key.transpose(-1, -2)) * scale + mask, -1, dtype=torch.float32).to(
            query.dtype
        )
        result = weights @ value
        if after is not None:
            result = after(result, mask)
        return result.transpose(1, 2).contiguous(), weights

    name = f"mutant_{id(edit)}"
    AttentionInterface.register(name, attention)
    AttentionMaskInterface.register(name, eager_mask)
    model.config._attn_implementation = name
    for module in model.modules():
        with suppress(AttributeError):
            module.config._attn_implementation = name
    model._mutant = edit  # keeps the id from being taken again
    return model


def _unchanged(module, query, key, value, mask):
    return key, value, mask


def sound(model: Any) -> Any:
    """The same attention code without any fault: shows that it is the fault that is found."""
    return with_attention(model, _unchanged)


def _attention_layers(model: Any) -> list[int]:
    return [
        m.layer_idx for m in model.modules() if "Attention" in type(m).__name__ and hasattr(m, "layer_idx")
    ]


def _mask_where(model: Any, where: Callable[[Any, torch.Tensor], bool], *, heads: slice = slice(None)) -> Any:
    def edit(module, query, key, value, mask):
        if where(module, query):
            mask = mask.expand(-1, query.shape[1], -1, -1).clone()
            mask[:, heads] = _causal(mask[:, heads])
        return key, value, mask

    return with_attention(model, edit)


def mask_dropped(model: Any) -> Any:
    """No layer sees the padding mask."""
    return _mask_where(model, lambda *_: True)


def mask_dropped_in_one_layer(model: Any) -> Any:
    return _mask_where(model, lambda module, _query: module.layer_idx == 1)


def mask_dropped_in_one_head(model: Any) -> Any:
    first = min(_attention_layers(model))
    return _mask_where(model, lambda module, _query: module.layer_idx == first, heads=slice(1, 2))


def mask_at_prefill_only(model: Any) -> Any:
    return _mask_where(model, lambda _module, query: query.shape[2] == 1)


def mask_dropped_for_one_row(model: Any) -> Any:
    """Only batches of one lose their mask."""
    return _mask_where(model, lambda _module, query: query.shape[0] == 1)


def soft_mask(model: Any) -> Any:
    """Padding is discouraged by -10 instead of being masked."""

    def edit(module, query, key, value, mask):
        causal = _causal(mask)
        return key, value, torch.where((mask < -1e4) & (causal == 0), torch.full_like(mask, -10.0), mask)

    return with_attention(model, edit)


def boolean_mask_added(model: Any) -> Any:
    """The mask is added as 0 and 1."""

    def edit(module, query, key, value, mask):
        causal = _causal(mask)
        return key, value, torch.where(causal == 0, (mask > -1e4).to(mask.dtype), causal)

    return with_attention(model, edit)


def rows_mixed(model: Any) -> Any:
    """At a cached step, one layer reads its neighbour's cache."""
    last = max(_attention_layers(model))

    def edit(module, query, key, value, mask):
        if query.shape[2] == 1 and module.layer_idx == last:
            key, value = key.roll(1, 0), value.roll(1, 0)
        return key, value, mask

    return with_attention(model, edit)


def wrong_at_one_alignment(model: Any) -> Any:
    """A kernel forgets the last block where it holds one key: length = 1 mod 32."""

    def edit(module, query, key, value, mask):
        if key.shape[2] % 32 == 1 and key.shape[2] > 1:
            mask = mask.clone()
            mask[..., -1] = torch.finfo(mask.dtype).min
        return key, value, mask

    return with_attention(model, edit)


def dead_rows(model: Any) -> Any:
    """A query that may see nothing gets NaN."""

    def after(result, mask):
        dead = (mask < -1e4).all(-1, keepdim=True)
        return result.masked_fill(dead, float("nan"))

    return with_attention(model, _unchanged, after)


def window_short_for_padded_rows(model: Any) -> Any:
    """In batches, padded rows see only their last keys."""

    def edit(module, query, key, value, mask):
        padded = (mask[:, :, -1:, :1] < -1e4) if mask.shape[0] > 1 else None
        if padded is not None:
            queries, keys = mask.shape[-2:]
            near = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries).triu(keys - queries - 2)
            mask = torch.where(padded & ~near, torch.full_like(mask, torch.finfo(mask.dtype).min), mask)
        return key, value, mask

    return with_attention(model, edit)


def _with_positions(model: Any, edit: Callable[[torch.Tensor, int], torch.Tensor]) -> Any:
    """Edit `position_ids` (rows, tokens) on their way into the decoder; the int is how many tokens the cache holds."""

    def before(_module, args, kwargs):
        positions = kwargs.get("position_ids")
        past = kwargs.get("past_key_values")
        held = past.get_seq_length() if past is not None else 0
        given = kwargs["input_ids"] if kwargs.get("input_ids") is not None else kwargs.get("inputs_embeds")
        shape = (args[0] if given is None else given).shape[:2]
        if positions is None:
            positions = torch.arange(held, held + shape[1]).expand(shape)
        kwargs["position_ids"] = edit(positions.expand(shape).clone(), held)
        return args, kwargs

    model.base_model.register_forward_pre_hook(before, with_kwargs=True)
    return model


# What may be wrong with positions (rows, tokens), where so many columns are held in the cache.


def _right(positions: torch.Tensor, _held: int) -> torch.Tensor:
    return positions


def _over_padding(positions: torch.Tensor, held: int) -> torch.Tensor:
    return torch.arange(held, held + positions.shape[1]).expand_as(positions)


def _step_at_cache_length(positions: torch.Tensor, held: int) -> torch.Tensor:
    return torch.full_like(positions, held) if held else positions


def _step_at_cache_length_in_batches(positions: torch.Tensor, held: int) -> torch.Tensor:
    return _step_at_cache_length(positions, held) if positions.shape[0] > 1 else positions


def _step_of_row_zero(positions: torch.Tensor, held: int) -> torch.Tensor:
    return positions[:1].expand_as(positions) if held else positions


def _step_off_by_one(positions: torch.Tensor, held: int) -> torch.Tensor:
    return positions + 1 if held else positions


def own_positions(model: Any) -> Any:
    """The same wrapping without any fault."""
    return _with_positions(model, _right)


def positions_over_padding(model: Any) -> Any:
    """Positions count padding too: wrong for learned positions, harmless for rotary ones."""
    return _with_positions(model, _over_padding)


def decode_position_is_cache_length(model: Any) -> Any:
    """The prompt is right; a new token takes the padded index."""
    return _with_positions(model, _step_at_cache_length)


def decode_position_in_batches(model: Any) -> Any:
    """As above, but only where there is more than one row."""
    return _with_positions(model, _step_at_cache_length_in_batches)


def position_of_row_zero(model: Any) -> Any:
    """At a cached step all rows take the first row's position."""
    return _with_positions(model, _step_of_row_zero)


def cached_position_off_by_one(model: Any) -> Any:
    return _with_positions(model, _step_off_by_one)


def state_sees_padding(model: Any) -> Any:
    """A state-space layer that does not zero its padded inputs."""
    for module in model.modules():
        if "Mixer" in type(module).__name__:
            forward = type(module).forward

            def blind(hidden_states, *args, _forward=forward, _module=module, **kwargs):
                kwargs["attention_mask"] = None
                return _forward(_module, hidden_states, *args, **kwargs)

            module.forward = blind
    return model


# Faults of models without attention, or without positions of their own


def _mixers(model: Any) -> list[Any]:
    return [module for module in model.modules() if "Mixer" in type(module).__name__]


def _with_mixers(
    model: Any,
    before: Callable[..., torch.Tensor] | None = None,
    after: Callable[..., torch.Tensor] | None = None,
) -> Any:
    """Run each state-space mixer with an edit of its input or of its output: (mixer, tensor, arguments)."""
    for module in _mixers(model):

        def edited(hidden_states, *args, _forward=module.forward, _module=module, **kwargs):
            names = ("cache_params", "attention_mask")
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            if before is not None:
                hidden_states = before(_module, hidden_states, given)
            result = _forward(hidden_states, **given)
            return result if after is None else after(_module, result, given)

        module.forward = edited
    return model


def state_untouched(model: Any) -> Any:
    """The same wrapping without any fault."""
    return _with_mixers(model, lambda _module, hidden, _given: hidden)


def state_rows_mixed(model: Any) -> Any:
    """At a cached step, the first mixer finds its neighbour's state."""
    first = _mixers(model)[0]

    def before(module, hidden, given):
        if module is first and hidden.shape[1] == 1:
            state = given["cache_params"].get_recurrent_state(module.layer_idx)
            state.copy_(state.roll(1, 0))
        return hidden

    return _with_mixers(model, before)


def state_kernel_wrong_at_one_alignment(model: Any) -> Any:
    """A scan forgets the last block where it holds one token: length = 1 mod 32."""

    def before(_module, hidden, _given):
        if hidden.shape[1] % 32 == 1 and hidden.shape[1] > 1:
            hidden = hidden.clone()
            hidden[:, -1] = 0
        return hidden

    return _with_mixers(model, before)


def state_dead_rows(model: Any) -> Any:
    """A kernel leaves what it gives for padding unwritten: NaN."""

    def after(_module, result, given):
        mask = given.get("attention_mask")
        if mask is None or mask.shape != result.shape[:2]:
            return result
        return result.masked_fill(mask[..., None] == 0, float("nan"))

    return _with_mixers(model, None, after)


def state_stale_at_cached_steps(model: Any) -> Any:
    """The convolution's window is one token late once the cache is filled."""

    def before(module, hidden, given):
        if hidden.shape[1] == 1:
            state = given["cache_params"].get_conv_state(module.layer_idx)
            state.copy_(state.roll(1, -1))
        return hidden

    return _with_mixers(model, before)


def with_learned_positions(model: Any, edit: Callable[[torch.Tensor, int], torch.Tensor]) -> Any:
    """Add a table of learned positions to any model's embeddings, so that faults of positions can live in it.

    `edit` gets the right positions (rows, tokens) and how many columns the cache holds.
    """
    size = model.get_input_embeddings().weight.shape[1]
    table = torch.randn(512, size, generator=torch.Generator().manual_seed(5))
    scale = model.get_input_embeddings().weight.float().std()
    state: dict[str, Any] = {}

    def before(_module, args, kwargs):
        ids = kwargs["input_ids"] if kwargs.get("input_ids") is not None else args[0]
        if ids.shape[1] > 1:
            mask = kwargs.get("attention_mask")
            mask = torch.ones_like(ids) if mask is None else mask
            state["pads"] = (mask == 0).sum(1, keepdim=True)
            state["held"] = 0
        held = state["held"]
        positions = torch.arange(held, held + ids.shape[1]) - state["pads"]
        state["held"] = held + ids.shape[1]
        positions = edit(positions.clamp(min=0), held).clamp(0, 511)
        embeddings = model.get_input_embeddings()(ids)
        kwargs["inputs_embeds"] = embeddings + (table[positions] * scale).to(embeddings.dtype)
        kwargs["input_ids"] = None
        return args[1:], kwargs

    model.base_model.register_forward_pre_hook(before, with_kwargs=True)
    return model


def learned_positions(model: Any) -> Any:
    """The same without any fault."""
    return with_learned_positions(model, _right)


def learned_positions_over_padding(model: Any) -> Any:
    return with_learned_positions(model, _over_padding)


def learned_decode_position_is_cache_length(model: Any) -> Any:
    return with_learned_positions(model, _step_at_cache_length)


def learned_decode_position_in_batches(model: Any) -> Any:
    return with_learned_positions(model, _step_at_cache_length_in_batches)


def learned_position_of_row_zero(model: Any) -> Any:
    return with_learned_positions(model, _step_of_row_zero)


def learned_cached_position_off_by_one(model: Any) -> Any:
    return with_learned_positions(model, _step_off_by_one)


# Values taken over the whole batch


def experts_with_capacity(model: Any) -> Any:
    """Each block of experts takes so many tokens of a batch, padding included; the rest pass by."""
    for module in model.modules():
        if "SparseMoe" in type(module).__name__:

            def limited(_module, args, output):
                hidden = output[0] if isinstance(output, tuple) else output
                rows, tokens, size = hidden.shape
                flat = hidden.reshape(-1, size)
                # Which expert a token goes to, told from what went in; the first ones to come are served.
                choice = (args[0].reshape(-1, size)[:, :8].abs().argmax(-1)) % 4
                rank = torch.zeros_like(choice)
                for expert in range(4):
                    mine = choice == expert
                    rank[mine] = torch.arange(int(mine.sum()))
                capacity = max(1, int(0.8 * rows * tokens / 4))
                flat = flat * (rank < capacity)[:, None].to(flat.dtype)
                hidden = flat.reshape(rows, tokens, size)
                return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

            module.register_forward_hook(limited)
    return model


class Int8Linear(torch.nn.Module):
    """A linear layer whose activations are rounded to eight bits with one scale for the whole tensor."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    @property
    def weight(self) -> torch.Tensor:
        return self.linear.weight

    @property
    def bias(self) -> torch.Tensor | None:
        return self.linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = x.abs().max() / 127
        return self.linear((x / scale).round() * scale)


def int8_activations(model: Any, layer: type = Int8Linear) -> Any:
    blocks = max(
        (m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m)),
        key=lambda m: sum(p.numel() for p in m.parameters()),
    )
    for parent in list(blocks.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__ in {"Linear", "Conv1D"} and name != "router":
                setattr(parent, name, layer(child))
    return model
