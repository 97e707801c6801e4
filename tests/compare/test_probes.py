"""What the failing pattern leaves open a few more runs tell apart: each fault is found under its own name."""

from __future__ import annotations

import functools
import math
import random

import mutants
import pytest
import torch

from pytest_decoderonly.compare.battery import run_battery
from pytest_decoderonly.compare.lengths import Lengths
from pytest_decoderonly.compare.verdict import Relation, Verdict
from pytest_decoderonly.tiny import tiny_decoder

_draw = random.Random(0)  # noqa: S311 - test data
ROWS = [[_draw.randrange(5, 300) for _ in range(n)] for n in (6, 19, 33)]
LOW = torch.finfo(torch.float32).min


def judged(model, **options):
    return run_battery(model, ROWS, **{"pad_id": 0, "steps": 3, "widths": (8, 33, 40), **options})


def before(model, edit):
    """Edit the keyword arguments on their way into the decoder."""

    def hook(_module, args, kwargs):
        edit(kwargs)
        return args, kwargs

    model.base_model.register_forward_pre_hook(hook, with_kwargs=True)
    return model


# What a call leaves behind


def keeps_its_state():
    """A mixer begins with the last state of the call before."""
    kept = {}

    def begin(module, hidden, _given):
        if hidden.shape[1] > 1:
            old = kept.get(module.layer_idx)
            kept[module.layer_idx] = hidden[:, -1].clone()
            if old is not None and len(old) == len(hidden):
                hidden = hidden.clone()
                hidden[:, 0] += old
        return hidden

    return mutants._with_mixers(tiny_decoder("mamba2"), begin)


def grows_its_table():
    """Rotary frequencies are rescaled for a long text, and stay so for all that come after it."""
    model, seen = tiny_decoder("llama"), [0]
    plain = model.model.rotary_emb.forward

    def rotate(x, position_ids):
        seen[0] = max(seen[0], int(position_ids.max()) + 1)
        return plain(x, position_ids.float() * (0.5 if seen[0] > 24 else 1.0))

    model.model.rotary_emb.forward = rotate
    return model


def counts_its_calls():
    calls = [0]

    def edit(_module, _query, key, value, mask):
        return key, value * (1 + 0.01 * (calls[0] % 7)), mask

    def count(_kwargs):
        calls[0] += 1

    return before(mutants.with_attention(tiny_decoder("qwen2"), edit), count)


def keeps_what_had_the_same_length():
    """A store of hidden states under the number of tokens alone."""
    model, store = tiny_decoder("gptj"), {}

    def blend(_module, _args, output):
        hidden = output[0] if isinstance(output, tuple) else output
        if len(hidden) != 1 or hidden.shape[1] == 1:
            return output
        mixed = (hidden + store.get(hidden.shape[1], hidden)) / 2
        store[hidden.shape[1]] = hidden.clone()
        return (mixed, *output[1:]) if isinstance(output, tuple) else mixed

    model.transformer.h[0].register_forward_hook(blend)
    return model


def drops_out_in_evaluation():
    model = tiny_decoder("llama")
    for layer in model.model.layers:
        layer.mlp.register_forward_hook(lambda _m, _a, out: torch.nn.functional.dropout(out, 0.1, True))
    return model


# What one row without padding shows


def wrong_at_blocks_of_eight():
    def edit(_module, _query, key, value, mask):
        if key.shape[2] % 8 == 1 and key.shape[2] > 1:
            mask = mask.clone()
            mask[..., -1] = LOW
        return key, value, mask

    return mutants.with_attention(tiny_decoder("llama"), edit)


def forgets_from_sixteen_on():
    """A cache that is full drops its first token, which no window asks for."""

    def edit(_module, query, key, value, mask):
        if query.shape[2] == 1 and key.shape[2] >= 16:
            mask = mask.clone()
            mask[..., 0] = LOW
        return key, value, mask

    return mutants.with_attention(tiny_decoder("llama"), edit)


def scaled_by_the_width():
    def edit(_module, _query, key, value, mask):
        return key * math.log(key.shape[2] + 2, 20), value, mask

    return mutants.with_attention(tiny_decoder("qwen2"), edit)


def frequencies_of_the_longest_row():
    model, longest = tiny_decoder("llama"), [0]
    plain = model.model.rotary_emb.forward

    def rotate(x, position_ids):
        longest[0] = x.shape[1] if x.shape[1] > 1 else longest[0]
        return plain(x, position_ids.float() * (20 / max(20, longest[0])))

    model.model.rotary_emb.forward = rotate
    return model


def reads_both_ways():
    def edit(_module, query, key, value, mask):
        if query.shape[2] > 1:
            mask = torch.zeros_like(mask).masked_fill(mask[:, :, -1:] < -1e4, LOW)
        return key, value, mask

    return mutants.with_attention(tiny_decoder("llama"), edit)


def reads_one_token_ahead():
    def edit(_module, query, key, value, mask):
        ahead = torch.arange(query.shape[2] - 1)
        seen = mask.clone()
        seen[:, :, ahead, ahead + 1] = mask[:, :, ahead + 1, ahead + 1]
        return key, value, seen if query.shape[2] > 1 else mask

    return mutants.with_attention(tiny_decoder("qwen2"), edit)


# What becomes of the mask


def mask_lost_at_one_alignment():
    return mutants._mask_where(
        tiny_decoder("llama"), lambda _m, query: query.shape[2] > 1 == query.shape[2] % 32
    )


def told_from_the_ids():
    seen = {}

    def edit(kwargs):
        ids = kwargs["input_ids"]
        mine = (ids != 0).long() if ids.shape[1] > 1 else torch.cat([seen["mask"], torch.ones_like(ids)], 1)
        seen["mask"], kwargs["attention_mask"] = mine, mine.clone()

    return before(tiny_decoder("llama"), edit)


def positions_told_from_the_ids():
    count = {}

    def count_them(_module, args, kwargs):
        ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
        real = (ids != 0).long()
        first = ids.shape[1] > 1
        count["n"] = real.sum(1, keepdim=True) if first else count["n"] + 1
        kwargs["position_ids"] = (real.cumsum(1) - 1).clamp(min=0) if first else count["n"] - 1
        return args, kwargs

    model = tiny_decoder("gpt2")
    model.base_model.register_forward_pre_hook(count_them, with_kwargs=True)
    return model


def lost_by_generate():
    model = tiny_decoder("llama")
    plain = model.prepare_inputs_for_generation

    def prepare(*args, **kwargs):
        return {**plain(*args, **kwargs), "attention_mask": None}

    model.prepare_inputs_for_generation = prepare
    return model


def lost_without_a_cache():
    state = {}
    model = before(tiny_decoder("llama"), lambda kwargs: state.update(cache=kwargs.get("use_cache")))
    return mutants._mask_where(model, lambda *_: not state["cache"])


def positions_lost_without_a_cache():
    def edit(kwargs):
        if not kwargs.get("use_cache"):
            kwargs["position_ids"] = torch.arange(kwargs["position_ids"].shape[1])[None]

    return before(tiny_decoder("gpt2"), edit)


def refuses():
    model = tiny_decoder("llama")

    def edit(kwargs):
        mask = kwargs.get("attention_mask")
        if mask is not None and mask.dim() == 2 and not mask[:, 0].all():
            raise ValueError("batched generation with padding_side='left' is not supported")

    return before(model, edit)


def keeps_the_first_logits():
    model = tiny_decoder("llama")
    plain = model.forward

    @functools.wraps(plain)
    def forward(*args, logits_to_keep=0, **kwargs):
        output = plain(*args, logits_to_keep=0, **kwargs)
        output.logits = output.logits[:, : logits_to_keep or None]
        return output

    model.forward = forward
    return model


FAULTS = {
    keeps_its_state: ("state between calls", "leaves something behind"),
    grows_its_table: ("state between calls", "leaves something behind"),
    counts_its_calls: ("state between calls", "leaves something behind"),
    keeps_what_had_the_same_length: ("state between calls", "leaves something behind"),
    drops_out_in_evaluation: ("not deterministic", "random generator"),
    wrong_at_blocks_of_eight: ("alignment", "1 more than a multiple of 8"),
    forgets_from_sixteen_on: ("cache", "from 16 tokens on"),
    scaled_by_the_width: ("total length", "at every length"),
    frequencies_of_the_longest_row: ("total length", "from 24 tokens on"),
    reads_both_ways: ("later tokens visible", "not causal"),
    reads_one_token_ahead: ("later tokens visible", "not causal"),
    mask_lost_at_one_alignment: ("alignment", "1 more than a multiple of 32"),
    told_from_the_ids: ("mask from ids", "EOS used as padding"),
    positions_told_from_the_ids: ("positions from ids", "two ordinary ids"),
    lost_by_generate: ("padding visible", "on the way through generate"),
    lost_without_a_cache: ("padding visible", "in one forward pass over a padded batch"),
    positions_lost_without_a_cache: ("forward with padding", "generate reads padded rows rightly"),
    keeps_the_first_logits: ("last logits", "of other positions"),
}


@pytest.mark.parametrize("build", FAULTS, ids=lambda build: build.__name__)
def test_a_fault_is_told_from_its_like(build):
    name, words = FAULTS[build]
    result = judged(build())
    assert result.verdict is Verdict.DIFFERENT
    assert result.culprit.name == name
    assert words in result.culprit.sentence


@pytest.mark.parametrize(
    ("size", "words"), [(2, "in batches of 2, not of 3 or 5"), (5, "in batches of 5, not of")]
)
def test_a_path_for_some_numbers_of_rows(size, words):
    model = mutants._mask_where(tiny_decoder("llama"), lambda _module, query: query.shape[0] == size)
    result = judged(model)
    assert result.culprit.name == "batch only"
    assert words in result.culprit.sentence


def test_a_mask_that_no_layer_reads_is_said_to_be_unused():
    result = judged(mutants.state_sees_padding(tiny_decoder("mamba2")))
    assert result.culprit.name == "padding visible"
    assert "attention_mask is not used at all" in result.culprit.sentence


def padded_rows_cut(arch, length):
    """From so many columns on, rows with padding lose their first token."""

    def edit(_module, _query, key, value, mask):
        pads = (mask[:, 0, -1] < -1e4).sum(-1)
        mask = mask.expand(len(mask), -1, -1, -1).clone()
        for row, count in enumerate(pads.tolist()):
            if count and key.shape[2] >= length:
                mask[row, :, -1:, count] = LOW
        return key, value, mask

    return mutants.with_attention(
        tiny_decoder(arch, **({"sliding_window": 36} if arch == "mistral" else {})), edit
    )


@pytest.mark.parametrize(
    ("arch", "length", "name", "words"),
    [
        ("llama", 40, "total length", "below 40 columns"),
        ("mistral", 38, "window", "sliding window of 36"),
    ],
)
def test_amounts_of_padding_up_to_a_border(arch, length, name, words):
    relations = [Relation.PAD_CONTENT, Relation.PAD_AMOUNT]
    result = judged(padded_rows_cut(arch, length), widths=(8, 32, 40, 48), relations=relations)
    assert result.culprit.name == name
    assert words in result.culprit.sentence


def test_alignment_in_words_of_blocks():
    result = judged(mutants.wrong_at_one_alignment(tiny_decoder("llama")), widths=(8, 31, 33, 34, 63, 66))
    assert result.culprit.name == "alignment"
    assert "33, 65: 1 more than a multiple of 32" in result.culprit.sentence


def test_half_precision_is_probed_in_float32():
    def edit(_module, _query, key, value, mask):
        return key * math.log(key.shape[2] + 2, 20), value, mask

    result = judged(mutants.with_attention(tiny_decoder("qwen2", dtype="bfloat16"), edit))
    assert result.culprit.name == "total length"


def test_a_kernel_of_half_precision_alone_is_not_judged_by_float32():
    def edit(_module, query, key, value, mask):
        return key, value, mutants._causal(mask) if query.dtype == torch.bfloat16 else mask

    result = judged(mutants.with_attention(tiny_decoder("llama", dtype="bfloat16"), edit))
    assert result.culprit.name == "padding visible"
    assert "one forward pass" not in result.culprit.sentence


def test_kernels_of_half_precision_that_add_in_any_order_are_no_fault():
    def shake(_module, _args, output):
        return output + 1e-2 * torch.randn_like(output) if output.dtype == torch.bfloat16 else output

    model = tiny_decoder("llama", dtype="bfloat16")
    model.model.layers[0].mlp.register_forward_hook(shake)
    result = judged(model)
    assert result.verdict is Verdict.ROUNDING
    assert "not deterministic; float32 agrees" in result.of(Relation.REPEATED).reason


def test_a_model_that_refuses_left_padding_says_so_itself():
    result = judged(refuses())
    assert result.verdict is Verdict.BY_DESIGN
    assert result.culprit.name == "no left padding"
    assert "padding_side='left' is not supported" in result.culprit.sentence
    assert result.of(Relation.CACHED_VS_FULL).verdict is Verdict.BY_DESIGN


def test_another_error_on_padded_rows_is_no_refusal():
    model = tiny_decoder("llama")

    def edit(kwargs):
        if kwargs["input_ids"].shape[0] > 1:
            raise RuntimeError("index out of range")

    result = judged(before(model, edit))
    assert result.verdict is Verdict.UNDECIDED
    assert result.culprit is None


def test_lengths_in_words():
    assert str(Lengths((9, 17, 33), (3, 5, 8, 10))) == "9, 17, 33: 1 more than a multiple of 8"
    assert str(Lengths((32, 64), (16, 33))) == "32, 64: multiples of 32"
    assert str(Lengths((33,), (32, 34))) == "33"
    assert Lengths((31, 32), (7, 8)).since == 31
    assert Lengths((31,), (7, 8)).since is None
    assert not Lengths((), (7, 8)).some
