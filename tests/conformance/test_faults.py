"""Faults that show in one way to call a model: the check for it finds them and says what is to blame."""

from __future__ import annotations

import mutant_calls
import mutants
import pytest
import torch

from pytest_decoderonly import tiny_decoder, tiny_tokenizer
from pytest_decoderonly.conformance.case import Case
from pytest_decoderonly.conformance.checks import discover
from pytest_decoderonly.conformance.found import NotApplicable

CHECKS = {check.name: check for check in discover()}


def ask(model, name, item=""):
    """The first item of a check, or the one of that id."""
    check = CHECKS[name]
    variant = next(variant for variant in check.variants if item in ("", variant.id))
    return check.run(Case("model", model, tiny_tokenizer()), variant)


@pytest.mark.parametrize(
    ("fault", "arch", "check", "item", "said"),
    [
        (mutant_calls.state_not_reset, "mamba2", "repeated-call", "", "state between calls"),
        (mutant_calls.beams_keep_their_cache, "llama", "beams", "", "beam cache"),
        (mutant_calls.static_cache_off_by_one, "gpt2", "cache-kind", "static", "cache"),
        (mutant_calls.embeddings_scaled_twice, "gpt2", "inputs-embeds", "", "inputs_embeds"),
        (mutant_calls.pieces_begin_at_zero, "llama", "prompt-in-pieces", "", "chunked prefill"),
        (mutant_calls.eager_attention_unscaled, "llama", "attention", "eager", "attention backend"),
        (mutant_calls.labels_shifted_twice, "llama", "loss-on-completions", "left", "DLM305"),
        (
            mutant_calls.prompt_in_the_loss,
            "llama",
            "loss-on-completions",
            "right",
            "in the loss and must not be",
        ),
        (
            mutant_calls.gradient_cut,
            "llama",
            "gradient-flow",
            "",
            "model.layers.0: every gradient in it is zero",
        ),
        (mutant_calls.empty_rows_are_nan, "llama", "ignored-rows", "", "mask is zero everywhere gives NaN"),
        (mutants.positions_over_padding, "gpt2", "training-padding", "left", "positions"),
    ],
)
def test_a_fault_is_found_where_it_shows(fault, arch, check, item, said):
    assert ask(tiny_decoder(arch), check, item).passed
    found = ask(fault(tiny_decoder(arch)), check, item)
    assert not found.passed
    assert said == found.culprit.name if found.culprit else said in found.text


def test_a_border_of_blocks_fails_at_its_length_alone():
    case = Case("model", mutants.wrong_at_one_alignment(tiny_decoder("llama")), tiny_tokenizer())
    check = CHECKS["left-padding"]
    alone = [variant for variant in check.variants if variant.parameters.get("batch") == 1]
    wrong = [variant.parameters["length"] for variant in alone if not check.run(case, variant).passed]
    # A step more than a multiple of 32 at the prompt, or at one of the four cached steps.
    assert wrong == [31, 32, 33, 63, 64, 65]


def test_beams_are_not_blamed_for_padding():
    found = ask(tiny_decoder("whisper"), "beams")
    assert not found.passed
    assert found.culprit.name == "positions"
    assert any("for prompts of one length" in note for note in found.notes)


@pytest.mark.parametrize(
    ("arch", "check", "item", "reason"),
    [
        ("rwkv", "attention", "sdpa", "does not take attention 'sdpa'"),
        ("bamba", "inputs-embeds", "", "doesn't have its forwarding implemented"),
        ("bart", "left-padding", "batch3-len33", "no left padding, by design"),
        ("llama", "cache-kind", "offloaded", "the model is on cpu"),
        ("bart", "beams", "", "no left padding, by design"),
        ("bart", "training-padding", "left", "no left padding, by design"),
        ("llama", "attention", "sdpa", "runs attention 'sdpa' as it is"),
        ("llama", "cached-steps", "beyond-window", "no sliding window"),
    ],
)
def test_what_a_model_declares_is_no_failure(arch, check, item, reason):
    with pytest.raises(NotApplicable, match=reason):
        ask(tiny_decoder(arch), check, item)


def test_no_gradient_to_speak_of():
    with pytest.raises(NotApplicable, match="no weight of the model is trainable"):
        ask(tiny_decoder("llama").requires_grad_(requires_grad=False), "gradient-flow")


def test_a_training_check_leaves_the_model_as_it_was():
    model = tiny_decoder("llama").train()
    model.lm_head.weight.grad = torch.ones_like(model.lm_head.weight)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name in ("gradient-flow", "loss-on-completions", "ignored-rows"):
        assert ask(model, name).passed
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert bool((model.lm_head.weight.grad == 1).all())
    assert all(p.grad is None for p in model.model.parameters())


def test_quantised_weights_are_judged_as_far_as_bits_go():
    """No float32 copy of them exists: what is equal bit for bit passes, what may be rounding is left open."""
    model = tiny_decoder("llama", dtype="bfloat16")
    model.is_quantized = True
    assert ask(model, "masked-content").passed
    found = ask(model, "cache-reused", "emptied-static")
    assert (found.passed, found.numbers[0].verdict) == (True, "equal")
    for check, item in (("left-padding", "batch3-len33"), ("attention", "eager")):
        with pytest.raises(
            NotApplicable, match="rounding cannot be told from a fault: the weights are quantised"
        ):
            ask(model, check, item)
    with pytest.raises(NotApplicable, match="the weights are quantised, and there is no adapter on them"):
        ask(model, "gradient-flow")
    assert not ask(mutants.mask_dropped(model), "masked-content").passed


def test_a_model_that_raises_is_an_error_and_not_a_finding():
    model = tiny_decoder("llama")
    forward = model.forward

    def picky(*args, inputs_embeds=None, **kwargs):
        if inputs_embeds is not None:
            raise KeyError("embeddings")
        return forward(*args, **kwargs)

    model.forward = mutant_calls._signed(picky, forward)
    found = ask(model, "inputs-embeds")
    assert not found.passed
    assert found.raised
    assert "LlamaForCausalLM raised KeyError" in found.text


def test_layers_that_no_text_passes_through_need_no_gradient():
    """The heavier list of layers is the vision tower's."""
    assert ask(tiny_decoder("got_ocr2"), "gradient-flow").passed


def test_labels_that_have_to_come_shifted_are_declared():
    """BART's decoder says that it does not shift labels; XLM says that it does, and does not."""
    with pytest.raises(NotApplicable, match="not shifted inside the model, as its documentation says"):
        ask(tiny_decoder("bart"), "loss-on-completions")
    found = ask(tiny_decoder("xlm"), "loss-on-completions")
    assert "taken over the wrong tokens" in found.text
    # Where the loss is wrong as well with shifted labels, that is no excuse.
    found = ask(mutant_calls.prompt_in_the_loss(tiny_decoder("bart")), "loss-on-completions")
    assert "taken over the wrong tokens" in found.text


def test_what_a_class_declares_about_static_caches_is_no_error():
    """A cache that raises where the class declares no support is its right; one that is read wrongly is a finding."""
    with pytest.raises(NotApplicable, match="declares no support of static caches"):
        ask(tiny_decoder("inkling_text"), "cache-kind", "static")
    found = ask(tiny_decoder("gpt_neo"), "cache-kind", "static")
    assert found.culprit.name == "window"


def test_a_training_step_is_taken_in_training_mode():
    """Reformer's backward pass asks for it, and says in its own words what else it asks for."""
    model = tiny_decoder("reformer")
    with pytest.raises(NotApplicable, match="axial_pos_shape"):
        ask(model, "gradient-flow")
    assert not any(module.training for module in model.modules())


def test_right_padding_stays_within_a_narrow_window():
    """Rows are as short as the window asks: what lies beyond it is shown by other items."""
    assert ask(tiny_decoder("mistral", sliding_window=8), "right-padding").passed
