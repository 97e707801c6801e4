"""The battery's promise: every broken model is caught and its culprit named, no sound one alarms, and nothing is left changed."""

from __future__ import annotations

import copy
import random

import mutants
import pytest
import torch

from pytest_decoderonly.compare.battery import run_battery
from pytest_decoderonly.compare.verdict import Relation, Verdict, worst
from pytest_decoderonly.tiny import tiny_decoder

_draw = random.Random(0)  # noqa: S311 - test data
ROWS = [[_draw.randrange(5, 300) for _ in range(n)] for n in (6, 19, 33)]

SOUND = ("llama", "gpt2", "qwen2", "mistral", "gpt_neox", "mamba", "mixtral", "gemma2", "bloom", "falcon_h1")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("arch", SOUND)
def test_sound_models_do_not_alarm(arch, dtype):
    result = run_battery(tiny_decoder(arch, dtype=dtype), ROWS, pad_id=0)
    assert result.verdict.clean, [(str(r.relation), str(r.verdict), r.reason) for r in result.relations]
    assert all(relation.verdict.clean for relation in result.relations)
    assert result.culprit is None
    assert result.layer is None
    assert not result.flips


@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_the_harness_of_the_faults_is_sound_itself(arch):
    assert run_battery(mutants.sound(tiny_decoder(arch)), ROWS, pad_id=0).verdict.clean


def test_learned_positions_counted_over_padding():
    result = run_battery(mutants.positions_over_padding(tiny_decoder("gpt2")), ROWS, pad_id=0)
    assert result.culprit is not None
    assert result.culprit.name == "positions"
    assert result.layer is not None
    assert "embeddings" in result.layer.name


def test_rotary_positions_counted_over_padding_are_innocent():
    """A shift of all rotary positions changes nothing but rounding."""
    assert run_battery(mutants.positions_over_padding(tiny_decoder("llama")), ROWS, pad_id=0).verdict.clean


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_state_that_sees_padding(dtype):
    result = run_battery(mutants.state_sees_padding(tiny_decoder("mamba", dtype=dtype)), ROWS, pad_id=0)
    assert result.culprit is not None
    assert result.culprit.name == "padding visible"
    assert result.layer is not None
    assert result.layer.name == "backbone.layers.0.mixer"


def test_the_first_layer_that_differs_is_named():
    result = run_battery(mutants.mask_dropped_in_one_layer(tiny_decoder("llama")), ROWS, pad_id=0)
    assert result.layer is not None
    assert result.layer.name == "model.layers.1.self_attn"
    assert result.layer.place == "prompt token 0 of 6"


def test_a_fault_at_cached_steps_is_placed_there():
    result = run_battery(mutants.mask_at_prefill_only(tiny_decoder("llama")), ROWS, pad_id=0)
    relation = result.of(Relation.PAD_CONTENT)
    assert relation is not None
    assert all(error.first(relation.limit) == error.prefill for error in relation.failing)
    assert "at the cached steps only" in result.culprit.sentence


def test_a_zero_padding_embedding_does_not_hide_a_leak():
    model = mutants.state_sees_padding(tiny_decoder("mamba"))
    with torch.no_grad():
        model.get_input_embeddings().weight[0] = 0
    assert run_battery(model, ROWS, pad_id=0).verdict is Verdict.DIFFERENT


def test_both_precisions_are_reported():
    result = run_battery(tiny_decoder("llama", dtype="bfloat16"), ROWS, pad_id=0)
    relation = result.of(Relation.BATCH_VS_SOLO)
    assert relation is not None
    assert worst(relation.work) > 1e-3 > 1e-4 > worst(relation.single) > 0
    assert relation.verdict is Verdict.ROUNDING
    assert result.dtype == "bfloat16"


@pytest.mark.parametrize("fault", [None, mutants.mask_dropped])
@pytest.mark.parametrize("arch", ["llama", "mamba"])
@pytest.mark.parametrize("training", [False, True])
def test_the_model_comes_back_as_it_was(arch, fault, training):
    if arch == "mamba" and fault:
        fault = mutants.state_sees_padding
    model = tiny_decoder(arch, dtype="bfloat16").train(training)
    if fault:
        fault(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pointers = {name: parameter.data_ptr() for name, parameter in model.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    config, generation = (
        copy.deepcopy(model.config.to_dict()),
        copy.deepcopy(model.generation_config.to_dict()),
    )
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    torch.manual_seed(3)
    state = torch.get_rng_state()

    run_battery(model, ROWS, pad_id=0)

    assert torch.equal(torch.get_rng_state(), state)
    assert model.training is training
    assert {name: parameter.data_ptr() for name, parameter in model.named_parameters()} == pointers
    after = model.state_dict()
    assert all(
        torch.equal(after[name], tensor) and after[name].dtype == tensor.dtype
        for name, tensor in before.items()
    )
    assert all(torch.equal(dict(model.named_buffers())[name], buffer) for name, buffer in buffers.items())
    assert (model.config.to_dict(), model.generation_config.to_dict()) == (config, generation)
    assert [
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    ] == hooks
    assert torch.is_grad_enabled()


def test_the_model_comes_back_after_an_error():
    model = tiny_decoder("llama", dtype="bfloat16")

    def fail(_module, args, kwargs):
        if model.model.embed_tokens.weight.dtype == torch.float32:
            raise RuntimeError("out of patience")

    model.model.layers[0].register_forward_pre_hook(fail, with_kwargs=True)
    result = run_battery(model, ROWS, pad_id=0)
    assert result.verdict is Verdict.UNDECIDED
    assert "out of patience" in result.of(Relation.BATCH_VS_SOLO).reason
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_train_mode_dropout_is_not_an_alarm():
    model = tiny_decoder("gpt2", resid_pdrop=0.5, embd_pdrop=0.5).train()
    assert run_battery(model, ROWS, pad_id=0).verdict.clean


def test_rows_of_equal_length_are_padded_to_be_tested():
    rows = [row[:6] for row in ROWS]
    assert run_battery(tiny_decoder("llama"), rows, pad_id=0).verdict.clean
    assert (
        run_battery(mutants.mask_dropped(tiny_decoder("llama")), rows, pad_id=0).culprit.name
        == "padding visible"
    )


def test_a_single_row_says_what_it_cannot_show():
    result = run_battery(tiny_decoder("llama"), ROWS[:1], pad_id=0)
    assert result.verdict.clean
    neighbour = result.of(Relation.NEIGHBOUR_CONTENT)
    assert neighbour.verdict is Verdict.UNDECIDED
    assert not neighbour.applicable
    assert "two or more prompts" in neighbour.reason


def test_a_module_without_generate_goes_through_forward():
    class Bag(torch.nn.Module):
        """Each position sees the mean of the real ones up to it, unless padding leaks."""

        def __init__(self, *, leak):
            super().__init__()
            generator = torch.Generator().manual_seed(0)
            self.table = torch.nn.Parameter(torch.randn(50, 50, generator=generator))
            self.leak = leak

        def forward(self, input_ids, attention_mask):
            weight = torch.ones_like(attention_mask) if self.leak else attention_mask
            x = self.table[input_ids] * weight[..., None]
            return x.cumsum(1) / weight.cumsum(1).clamp(min=1)[..., None]

    rows = [[3, 4, 5], [6, 7, 8, 9, 10], [1, 2]]
    sound = run_battery(Bag(leak=False), rows, pad_id=0)
    assert sound.verdict.clean
    assert "no `generate`" in sound.of(Relation.CACHED_VS_FULL).reason
    assert run_battery(Bag(leak=True), rows, pad_id=0).culprit.name == "padding visible"


def test_dynamic_rope_is_by_design():
    rope = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    model = tiny_decoder("llama", max_position_embeddings=24, rope_parameters=rope)
    result = run_battery(model, ROWS, pad_id=0)
    assert result.verdict is Verdict.BY_DESIGN
    assert result.culprit.name == "rope scaling"
    assert result.layer is None

    broken = mutants.mask_dropped(tiny_decoder("llama", max_position_embeddings=24, rope_parameters=rope))
    result = run_battery(broken, ROWS, pad_id=0)
    assert result.verdict is Verdict.DIFFERENT, "rope scaling must not excuse a leak"
    assert result.culprit.name == "padding visible"


def test_quantised_weights_are_undecided_not_guessed():
    model = tiny_decoder("llama", dtype="bfloat16")
    model.is_quantized = True
    result = run_battery(model, ROWS, pad_id=0)
    assert result.of(Relation.PAD_CONTENT).verdict is Verdict.EQUAL
    assert result.of(Relation.BATCH_VS_SOLO).verdict is Verdict.UNDECIDED
    assert "quantised" in result.of(Relation.BATCH_VS_SOLO).reason


@pytest.mark.parametrize(
    ("rows", "steps", "word"), [([], 4, "rows"), ([[1], []], 4, "rows"), ([[1, 2]], 0, "steps")]
)
def test_usage_errors(rows, steps, word):
    with pytest.raises(ValueError, match=rf"^{word}: "):
        run_battery(torch.nn.Linear(1, 1), rows, pad_id=0, steps=steps)
