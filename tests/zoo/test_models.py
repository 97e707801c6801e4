"""Published bugs that live in a model, a cache or a kernel: each is built anew, found, and its mechanism named.

Beside each stands the case put right, which must pass. Innocent cases are in test_innocent_models.py.
"""

from __future__ import annotations

import importlib

import mutants
import pytest
import torch
from batches import ROWS, batched, names
from reports import report

from pytest_decoderonly import assert_same_with, changes, tiny_decoder
from pytest_decoderonly.compare.verdict import Relation, Verdict


def modeling(arch):
    return importlib.import_module(f"transformers.models.{arch}.modeling_{arch}")


# The mask


def test_z001_the_mask_builder_gets_a_list_and_falls_back_to_plain_causal():
    batched(mutants.sound(tiny_decoder("minicpm3")))
    text = report(batched, mutants.mask_dropped(tiny_decoder("minicpm3")))
    names(text, "padding visible", "layers.0.self_attn")


def test_z003_convolutions_get_no_mask(monkeypatch):
    batched(tiny_decoder("lfm2"))
    monkeypatch.setattr(modeling("lfm2"), "apply_mask_to_padding_states", lambda hidden, _mask: hidden)
    model = tiny_decoder("lfm2")
    names(report(batched, model), "padding visible", "layers.0.conv")
    with torch.no_grad():  # the zero embedding of a fresh model's padding would hide it
        model.get_input_embeddings().weight[0] = 0
    names(report(batched, model), "padding visible")


@pytest.mark.parametrize("arch", ["mamba", "mamba2", "falcon_h1", "lfm2", "qwen3_next"])
def test_z005_a_right_padded_prompt_leaves_its_padding_in_the_state(arch):
    """Live in transformers 5.23."""
    text = report(assert_same_with, tiny_decoder(arch), ROWS, changes.RightPadded())
    names(text, "state after padding", "at the cached steps only")
    batched(tiny_decoder(arch))  # padded on the left all is well


def test_z005_attention_forgets_padding_on_either_side():
    assert assert_same_with(tiny_decoder("llama"), ROWS, changes.RightPadded()).verdict.clean


def test_z007_a_kernel_leaves_masked_positions_unwritten():
    model = tiny_decoder("qwen3_next")

    def spill(_module, args, kwargs, output):
        mask = kwargs.get("attention_mask")
        if mask is None or mask.shape != output.shape[:2]:
            return output
        return output.masked_fill(mask[..., None] == 0, float("nan"))

    for module in model.modules():
        if "GatedDeltaNet" in type(module).__name__:
            module.register_forward_hook(spill, with_kwargs=True)
    names(report(batched, model), "dead rows", "not finite")


def test_z009_the_state_update_takes_every_row_for_a_full_one(monkeypatch):
    model = tiny_decoder("granitemoehybrid", layer_types=["mamba", "attention"])
    with (
        torch.no_grad()
    ):  # trained models have biases; those of a fresh one are zero, and zero leaves no trace
        model.model.layers[0].mamba.conv1d.bias.fill_(0.5)
    batched(model)
    module = modeling("granitemoehybrid")
    plain, size = module.apply_mask_to_padding_states, model.config.hidden_size
    monkeypatch.setattr(  # the inputs are masked, what goes into the state is not
        module,
        "apply_mask_to_padding_states",
        lambda hidden, mask: plain(hidden, mask) if hidden.shape[-1] == size else hidden,
    )
    text = report(batched, model)
    names(text, "padding in the state", "layers.0.mamba")
    assert batched(model, [ROWS[2]], relations=["cached-vs-full"]).verdict.clean  # the longest row is right


def test_z017_the_mask_of_a_step_is_offset_by_the_padding():
    def edit(_module, query, key, value, mask):
        if query.shape[2] == 1:
            pads = (mask[:, 0, 0] < -1e4).sum(-1).tolist()
            mask = torch.stack([row.roll(-n, -1) for row, n in zip(mask, pads, strict=True)])
        return key, value, mask

    names(
        report(batched, mutants.with_attention(tiny_decoder("llama"), edit)),
        "padding visible",
        "cached steps only",
    )


def test_z019_padding_is_never_masked():
    text = report(batched, mutants.mask_dropped(tiny_decoder("gpt2")))
    names(text, "padding visible", "flips:    row 0")


def test_z029_the_mask_is_applied_at_the_first_step_only():
    text = report(batched, mutants.mask_at_prefill_only(tiny_decoder("qwen2")))
    names(text, "padding visible", "at the cached steps only")


def _planes(planes, *, clamp=False):
    """Masks as a sum of causal and padding planes; where several apply it overflows to -inf."""

    def edit(_module, query, key, value, mask):
        low = torch.finfo(mask.dtype).min
        pads = (mask[:, :, -1:] < -1e4).to(mask.dtype) * low
        total = planes * (mutants._causal(mask) + pads)
        return key, value, total.clamp(min=low) if clamp else total

    return mutants.with_attention(tiny_decoder("llama"), edit)


def test_z053_summed_planes_are_seen_where_they_reach_real_tokens():
    batched(_planes(1, clamp=True))
    batched(_planes(1))  # rows of padding read other padding now: no harm, and nothing to report
    # Summed up twice, such rows hold -inf alone, and what they give is NaN.
    names(report(batched, _planes(2)), "dead rows")


# Rows that see nothing


def test_z021_a_row_that_sees_nothing_gets_nan():
    text = report(batched, mutants.dead_rows(tiny_decoder("gemma3_text", dtype="float16")))
    names(text, "dead rows", "not finite")
    batched(mutants.sound(tiny_decoder("gemma3_text", dtype="float16")))


def test_z023_nan_counts_where_it_reaches_real_tokens():
    names(report(batched, mutants.dead_rows(tiny_decoder("gemma2"))), "dead rows")
    model = tiny_decoder("gemma2")
    masks, spilled = [], []

    def note(_module, args, kwargs):
        masks.append(kwargs.get("attention_mask"))

    def spill(_module, _args, output):
        if isinstance(masks[-1], torch.Tensor):
            output.logits[masks[-1][:, -output.logits.shape[1] :] == 0] = float("nan")
            spilled.append(int(output.logits.isnan().sum()))
        return output

    model.register_forward_pre_hook(note, with_kwargs=True)
    model.register_forward_hook(spill)
    batched(model)  # NaN at the padding alone
    assert sum(spilled) > 0


# Positions


def _rotate(arch, edit, monkeypatch):
    module = modeling(arch)
    plain = module.apply_rotary_pos_emb
    monkeypatch.setattr(module, "apply_rotary_pos_emb", lambda q, k, cos, sin: edit(plain, q, k, cos, sin))
    return tiny_decoder(arch)


def test_z011_a_layer_reads_the_offset_after_it_moved_on(monkeypatch):
    def edit(plain, q, k, cos, sin):
        q, k = plain(q, k, cos, sin)
        if q.shape[2] == 1:  # one position further
            angle = torch.full((1, 1, cos.shape[-1]), 0.7)
            q, _ = plain(q, q, angle.cos(), angle.sin())
        return q, k

    text = report(batched, _rotate("llama", edit, monkeypatch))
    names(text, "cache", "cached-vs-full     DIFFERENT", "batch-vs-solo      equal")


def test_z013_a_kernel_rotates_row_zero_only(monkeypatch):
    def edit(plain, q, k, cos, sin):
        q, k = plain(q, k, cos, sin)
        if q.shape[2] == 1:
            q = q.clone()
            q[1:] = 0
        return q, k

    model = _rotate("llama", edit, monkeypatch)
    names(report(batched, model), "row index", "at the cached steps only", "row-order          DIFFERENT")
    names(report(batched, model, [ROWS[0], ROWS[0]]), "row index")


@pytest.mark.parametrize("arch", ["gpt_neox", "falcon", "llama", "gpt2"])
def test_z025_z027_z031_new_tokens_are_counted_over_the_padding(arch):
    batched(tiny_decoder(arch))
    text = report(batched, mutants.decode_position_is_cache_length(tiny_decoder(arch)))
    names(text, "decode position", "position of a new token")


def test_z049_positions_are_summed_over_a_slice():
    model = mutants._with_positions(
        tiny_decoder("gpt2"), lambda positions, held: torch.zeros_like(positions) if held else positions
    )
    names(report(batched, model), "cache", "the position of a cached step is off")


class Left(torch.nn.Module):
    """A library that batches prompts by padding them, and calls the model with ids and mask."""

    def __init__(self, model, *, positions):
        super().__init__()
        self.model, self.positions = model, positions

    def forward(self, input_ids, attention_mask):
        extra = {"position_ids": (attention_mask.cumsum(-1) - 1).clamp(min=0)} if self.positions else {}
        return self.model.transformer(input_ids, attention_mask=attention_mask, **extra)[0] @ (
            self.model.lm_head.weight.T
        )


def test_z051_a_batch_is_padded_and_positions_are_not_given(monkeypatch):
    monkeypatch.setattr("pytest_decoderonly.compare.drive.first_generator", lambda _model: None)
    batched(Left(tiny_decoder("gpt2"), positions=True))
    text = report(batched, Left(tiny_decoder("gpt2"), positions=False))
    names(text, "positions", "counted over the padding", "the embeddings")


def test_z055_the_rope_factor_follows_the_longest_row():
    rope = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    model = tiny_decoder("qwen2", max_position_embeddings=24, rope_parameters=rope)
    text = report(batched, model)
    names(text, "rope scaling", "different by design")
    assert "not rounding" not in text
    assert batched(model, allow_by_design=True).verdict is Verdict.BY_DESIGN


def test_z063_positions_that_jump_are_read_as_borders():
    def jumping(length):
        return [*range(length // 2), *range(length - length // 2)]  # a picture's positions begin anew

    text = report(assert_same_with, tiny_decoder("llama"), ROWS, changes.ExplicitMask(jumping))
    names(text, "packing inferred", "explicit attention_mask")
    assert_same_with(tiny_decoder("llama"), ROWS, changes.ExplicitMask())


def test_z065_a_second_call_counts_from_the_cache():
    text = report(assert_same_with, tiny_decoder("gpt2"), ROWS, changes.ChunkedPrefill(position_ids=False))
    names(text, "positions", "row 0 ", "row 1 ")
    assert "\nrow 2 " not in text, "the row without padding is right"
    assert_same_with(tiny_decoder("gpt2"), ROWS, changes.ChunkedPrefill())


# The window


def _full_mask_in_sliding_layers(model):
    masks = []
    model.base_model.register_forward_pre_hook(
        lambda _m, _a, kwargs: masks.append(kwargs.get("attention_mask")), with_kwargs=True
    )

    def edit(module, query, key, value, mask):
        if getattr(module, "sliding_window", None) is not None and isinstance(masks[-1], torch.Tensor):
            pads = masks[-1][:, -key.shape[2] :] == 0
            mask = mutants._causal(mask).expand(len(pads), -1, -1, -1)
            mask = mask.masked_fill(pads[:, None, None], torch.finfo(mask.dtype).min)
        return key, value, mask

    return mutants.with_attention(model, edit)


def test_z015_sliding_layers_get_the_full_mask():
    batched(mutants.sound(tiny_decoder("gemma3_text")))
    text = report(batched, _full_mask_in_sliding_layers(tiny_decoder("gemma3_text")))
    names(text, "window", "cached-vs-full     DIFFERENT")


def test_z033_keys_are_cut_to_the_last_columns():
    def edit(module, query, key, value, mask):
        window = 16
        if query.shape[2] > 1 and key.shape[2] > window:
            key, value, mask = key[:, :, -window:], value[:, :, -window:], mask[..., -window:]
        return key, value, mask

    names(report(batched, mutants.with_attention(tiny_decoder("mistral"), edit)), "window")
    names(
        report(batched, mutants.with_attention(tiny_decoder("mistral"), edit), [r[:9] for r in ROWS]),
        "window",
    )


def test_z043_a_window_is_cut_by_the_length_of_the_text():
    def by_length(cache, kept):
        for layer in cache.layers:
            layer.keys, layer.values = layer.keys[:, :, :kept], layer.values[:, :, :kept]
            layer.cumulative_length = kept

    model = tiny_decoder("mistral", sliding_window=8)
    text = report(assert_same_with, model, ROWS, changes.WarmCache(answer=4, trim=by_length))
    names(text, "window", "a ring is not in the order of the text")
    assert_same_with(model, ROWS, changes.WarmCache(answer=4))


# The cache


def test_z035_a_step_sees_the_first_key_alone():
    def edit(_module, query, key, value, mask):
        if query.shape[2] == 1 and key.shape[2] > 1:
            mask = torch.zeros_like(mask)
            mask[..., 1:] = torch.finfo(mask.dtype).min
        return key, value, mask

    names(
        report(batched, mutants.with_attention(tiny_decoder("llama"), edit)),
        "cache",
        "without any padding or batch",
    )


def test_z037_one_layer_of_the_cache_is_not_reordered():
    model = mutants.rows_mixed(tiny_decoder("llama"))
    names(report(batched, model), "rows mixed", "neighbour-content  DIFFERENT")
    names(report(assert_same_with, model, ROWS, changes.Beams()), "beam cache")
    assert_same_with(tiny_decoder("llama"), ROWS, changes.Beams())


def test_z037_beams_of_one_kind_of_cache_are_not_reordered(monkeypatch):
    from transformers.cache_utils import DynamicLayer

    reorder, forgotten = DynamicLayer.reorder_cache, []

    def forgetful(self, beams):
        forgotten.append(self)
        if self is not forgotten[0]:
            reorder(self, beams)

    monkeypatch.setattr(DynamicLayer, "reorder_cache", forgetful)
    batched(tiny_decoder("llama"))  # greedy decoding never reorders
    text = report(assert_same_with, tiny_decoder("llama"), ROWS[:1], changes.Beams())
    names(text, "beam cache", "reorder every layer")


def test_z039_assistance_past_a_window_shows_more_keys_than_the_mask_has(monkeypatch):
    model, assistant = tiny_decoder("mistral", sliding_window=8), tiny_decoder("llama", seed=3)
    assert_same_with(model, ROWS, changes.Assisted(assistant))
    from transformers.cache_utils import DynamicSlidingWindowLayer as Layer

    crop = Layer.crop

    def left_over(self, count):
        """Rejected candidates stay where the window is full."""
        full = self.get_seq_length() >= self.sliding_window
        kept = (self.keys, self.values)
        crop(self, count)
        if full and count:
            self.keys, self.values = (t[:, :, -self.sliding_window + 1 :] for t in kept)

    monkeypatch.setattr(Layer, "crop", left_over)
    text = report(assert_same_with, model, ROWS, changes.Assisted(assistant))
    names(text, "assisted decoding", "with assistance")


def test_z041_unused_slots_of_a_static_cache_are_visible():
    def edit(_module, query, key, value, mask):
        if query.shape[2] == 1:  # what comes after the last token is not masked
            used = (mask > -1e4).int().cumsum(-1).argmax(-1, keepdim=True)
            later = torch.arange(mask.shape[-1]) > used
            mask = mask.masked_fill(later, 0.0)
        return key, value, mask

    model = mutants.with_attention(tiny_decoder("llama"), edit)
    batched(model)  # a cache that grows has no unused slots
    names(
        report(assert_same_with, model, ROWS, changes.Cache("static")), "cache", "slots that are not in use"
    )
    assert_same_with(mutants.sound(tiny_decoder("llama")), ROWS, changes.Cache("static"))


def _with_prefix_cache(chunk, block):
    """Keep the state of the last whole block, but take it where the last chunk ended."""

    def cached(model, rows):
        found = []
        for row in rows:
            end = (len(row) - 1) // block * block
            if end < block:
                found.append(model(torch.tensor([row])).logits[0, -1:])
                continue
            at = min(-(-end // chunk) * chunk, len(row) - 1)  # the chunk that holds the block's end
            kept = model(torch.tensor([row[:at]]), use_cache=True).cache_params
            output = model(torch.tensor([row[end:]]), cache_params=kept, use_cache=True)
            found.append(output.logits[0, -1:])
        return found

    return cached


def test_z045_a_prefix_is_kept_under_the_wrong_length():
    model = tiny_decoder("mamba2")
    assert_same_with(model, ROWS, changes.Rewritten(_with_prefix_cache(4, 4)))
    text = report(assert_same_with, model, ROWS, changes.Rewritten(_with_prefix_cache(5, 4)))
    names(text, "procedure", "first wrong at")


def test_z047_a_long_neighbour_makes_a_row_begin_anew():
    def reset(module, hidden, given):
        cache = given["cache_params"]
        if hidden.shape[1] == 1 and cache.sorted_away is not None:
            cache.get_recurrent_state(module.layer_idx)[cache.sorted_away] = 0
        elif hidden.shape[1] > 1 and cache is not None:
            mask = given["attention_mask"]
            short = None if mask is None else (mask == 0).sum(-1) > 20
            cache.sorted_away = short if len(hidden) > 1 else None
        return hidden

    model = mutants._with_mixers(tiny_decoder("mamba2"), reset)
    text = report(batched, model)
    names(text, "batch only", "at the cached steps only")
    assert "\nrow 2 " not in text
    batched(model, [r[:9] for r in ROWS], relations=[r for r in Relation if r is not Relation.PAD_AMOUNT])


# Embeddings in the place of ids


def test_z057_one_embedding_is_taken_for_one_already_read(monkeypatch):
    model = tiny_decoder("llama")
    assert_same_with(model, ROWS, changes.InputsEmbeds())
    plain = model.prepare_inputs_for_generation

    def consumed(input_ids, *args, inputs_embeds=None, **kwargs):
        if inputs_embeds is not None and inputs_embeds.shape[1] == 1 and kwargs.get("is_first_iteration"):
            inputs_embeds = torch.zeros_like(inputs_embeds)
        return plain(input_ids, *args, inputs_embeds=inputs_embeds, **kwargs)

    monkeypatch.setattr(model, "prepare_inputs_for_generation", consumed)
    text = report(assert_same_with, model, ROWS, changes.InputsEmbeds())
    names(text, "inputs_embeds", "whatever their length")


def _in_chunks(*, counted_by):
    """A server's prefill over embeddings, in pieces of eight."""

    def prefill(model, rows):
        found = []
        for row in rows:
            embeddings = model.get_input_embeddings()(torch.tensor([row]))
            ids = torch.zeros(1, 0)  # the caller has embeddings only
            count = (ids if counted_by == "ids" else embeddings).shape[1]
            cache, at = None, 0
            while count - at > 8:
                piece = embeddings[:, at : at + 8]
                cache = model(inputs_embeds=piece, past_key_values=cache, use_cache=True).past_key_values
                at += 8
            rest = embeddings[:, at:] if counted_by != "ids" else embeddings[:, -1:]
            found.append(model(inputs_embeds=rest, past_key_values=cache, use_cache=True).logits[0, -1:])
        return found

    return prefill


def test_z059_chunks_are_counted_by_ids_that_are_not_there():
    model = tiny_decoder("llama")
    assert_same_with(
        model, ROWS, changes.Rewritten(_in_chunks(counted_by="embeddings"), name="chunked embeddings")
    )
    text = report(assert_same_with, model, ROWS, changes.Rewritten(_in_chunks(counted_by="ids")))
    names(text, "procedure")


def _penalised(*, padded):
    """Next-token scores under a repetition penalty, over the padded ids or over each row's own."""

    def scores(model, rows):
        from transformers import RepetitionPenaltyLogitsProcessor

        penalty = RepetitionPenaltyLogitsProcessor(1.3)
        width, pad = max(map(len, rows)), 2
        ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        logits = model(ids, attention_mask=mask).logits[:, -1]
        if padded:
            return list(penalty(ids, logits))
        return [penalty(torch.tensor([row]), logits[i : i + 1]) for i, row in enumerate(rows)]

    return scores


def test_z061_padding_is_counted_into_the_penalty():
    model = tiny_decoder("llama")
    right, wrong = _penalised(padded=False), _penalised(padded=True)
    assert_same_with(model, ROWS, changes.Rewritten(right, reference=right))
    text = report(assert_same_with, model, ROWS, changes.Rewritten(wrong, reference=wrong))
    names(text, "padded rows")
    assert "\nrow 2 " not in text
