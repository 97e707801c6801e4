"""The recorder of generate calls: everything is heard, nothing is changed, the wrapping is shared with the guard."""

from __future__ import annotations

import gc
import threading

import pytest
import torch

from pytest_decoderonly import record_generate, tiny_decoder, tiny_tokenizer
from pytest_decoderonly.runtime import watch

PROMPTS = ["Question: is the sky blue? Answer: ", "Hi there"]


@pytest.fixture(scope="module")
def model():
    return tiny_decoder("llama")


@pytest.fixture
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture
def batch(tokenizer):
    return tokenizer(PROMPTS, padding=True, return_tensors="pt")


def _generate():
    from transformers import GenerationMixin

    return vars(GenerationMixin)["generate"]


def test_a_call_is_recorded_and_not_changed(model, tokenizer, batch):
    before = _generate()
    torch.manual_seed(0)
    alone = model.generate(**batch, max_new_tokens=5, do_sample=True)
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    with record_generate() as recorded:
        assert _generate() is not before
        out = model.generate(**batch, max_new_tokens=5, do_sample=True)
    assert _generate() is before
    assert torch.equal(out, alone)
    assert torch.equal(torch.random.get_rng_state(), state)
    call = recorded.call
    assert call.model == "LlamaForCausalLM"
    assert call.place.path == __file__
    assert "model.generate(**batch" in call.place.source
    assert torch.equal(call.input_ids, batch["input_ids"])
    assert torch.equal(call.attention_mask, batch["attention_mask"])
    assert torch.equal(call.sequences, out)
    assert call.settings["max_new_tokens"] == 5
    assert call.settings["do_sample"] is True
    assert call.settings["eos_token_id"] == 2  # the model's own
    assert call.given == ("input_ids", "attention_mask", "max_new_tokens", "do_sample")
    out.fill_(0)  # what was recorded is a copy
    assert torch.equal(call.sequences, alone)
    call.assert_left_padded(tokenizer)
    call.assert_left_padded()
    call.assert_prompts_whole(PROMPTS, tokenizer)
    call.assert_answers_whole(alone[:, batch["input_ids"].shape[1] :], tokenizer)
    with pytest.raises(AssertionError, match="nothing was cut off"):
        call.assert_answers_whole(tokenizer.batch_decode(alone, skip_special_tokens=True), tokenizer)
    with record_generate() as none:
        pass
    with pytest.raises(AssertionError, match="expected one call of generate, recorded 0"):
        _ = none.call


def test_what_went_wrong_is_found_on_the_call(model):
    tokenizer = tiny_tokenizer(padding_side="right")
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    with record_generate() as recorded:
        model.generate(**batch, max_new_tokens=2)
        model.generate(batch["input_ids"][:1], max_new_tokens=2)
        model.generate(inputs_embeds=model.get_input_embeddings()(batch["input_ids"]), max_new_tokens=2)
    first, second, third = recorded.calls
    with pytest.raises(AssertionError, match="DLM102"):
        first.assert_left_padded(tokenizer)
    second.assert_left_padded()  # one prompt without padding and without a mask
    assert third.input_ids is None
    assert third.embeds_shape == (2, 19, 64)
    third.assert_answers_whole(third.sequences, tokenizer)
    with pytest.raises(
        ValueError, match=r"input_ids: LlamaForCausalLM.generate at .* got none, but inputs_embeds"
    ):
        third.assert_left_padded()


def test_a_batch_without_its_mask(model, batch):
    tokenizer = tiny_tokenizer(pad=False)
    tokenizer.pad_token = tokenizer.eos_token
    ids = tokenizer(PROMPTS, padding=True, return_tensors="pt")["input_ids"]
    with record_generate() as recorded:
        model.generate(ids, max_new_tokens=2, pad_token_id=2)
        model.generate(batch["input_ids"], max_new_tokens=2, pad_token_id=0)
    with pytest.raises(AssertionError, match="no attention_mask: padding and EOS share an id"):
        recorded.calls[0].assert_left_padded(tokenizer)
    recorded.calls[1].assert_left_padded(tiny_tokenizer())  # generate tells padding by its own id


def test_padding_that_is_eos_is_known_without_a_tokenizer(model):
    ids = torch.tensor([[2, 2, 5, 6], [5, 6, 7, 8]])
    with record_generate() as recorded:
        model.generate(ids, max_new_tokens=1, pad_token_id=2)
        model.generate(
            ids, attention_mask=torch.tensor([[0, 0, 1, 1], [1] * 4]), max_new_tokens=1, pad_token_id=2
        )
        model.generate(ids[:1], max_new_tokens=1, pad_token_id=2)  # a prompt alone, which begins with EOS
    with pytest.raises(AssertionError, match="padding and EOS share an id"):
        recorded[0].assert_left_padded()
    recorded[1].assert_left_padded()
    recorded[2].assert_left_padded()


def test_a_mask_of_another_shape_is_no_missing_mask(model, batch):
    """generate itself refuses masks of four dimensions, but not before the call is recorded."""
    mask = torch.ones(2, 1, 19, 19)
    with record_generate() as recorded, pytest.raises(ValueError, match="must be 2D"):
        model.generate(batch["input_ids"], attention_mask=mask, max_new_tokens=1)
    with pytest.raises(ValueError, match=r"attention_mask: .* got one of shape \(2, 1, 19, 19\), expected"):
        recorded.call.assert_left_padded()


def test_calls_that_fail_and_calls_inside_calls(model, batch):
    assistant = tiny_decoder("llama", seed=1)
    with record_generate() as recorded:
        with pytest.raises(ValueError, match="max_new_tokens"):
            model.generate(**batch, max_new_tokens=-1)
        one = {name: value[:1] for name, value in batch.items()}
        model.generate(**one, max_new_tokens=4, assistant_model=assistant)
    failed, outer = recorded.calls
    assert failed.error.startswith("ValueError")
    assert failed.sequences is None
    assert outer.sequences is not None
    assert all(call.sequences is not None for call in outer.nested)


def test_an_interrupt_goes_through(model, batch):
    """What is no Exception is handed on like any other error, and leaves nothing wrapped."""
    from transformers import LogitsProcessorList

    def interrupt(_ids, _scores):
        raise KeyboardInterrupt

    before = _generate()
    with pytest.raises(KeyboardInterrupt), record_generate() as recorded:
        model.generate(**batch, max_new_tokens=2, logits_processor=LogitsProcessorList([interrupt]))
    assert recorded.call.error == "KeyboardInterrupt()"
    assert "without" not in str(recorded.call)
    assert "KeyboardInterrupt" in str(recorded.call)
    assert _generate() is before
    with pytest.raises(ValueError, match=r"returned none: KeyboardInterrupt"):
        _ = recorded.call.new_tokens


def test_a_call_within_a_call_is_nested(model, batch):
    def ask_again(_ids, scores):
        model.generate(batch["input_ids"][:1], max_new_tokens=1)
        return scores

    with record_generate() as recorded:
        model.generate(batch["input_ids"], max_new_tokens=2, logits_processor=[ask_again])
    assert [len(call.nested) for call in recorded] == [2]
    assert recorded.call.nested[0].input_ids.shape[0] == 1


def test_a_fault_of_the_recorder_is_a_warning_and_not_the_users(model, batch, monkeypatch):
    from pytest_decoderonly import recording
    from pytest_decoderonly.runtime.watcher import DecoderOnlyWarning

    def fail(*_):
        raise RuntimeError("no luck")

    monkeypatch.setattr(recording, "_read", fail)
    with record_generate() as recorded, pytest.warns(DecoderOnlyWarning, match="could not be recorded"):
        out = model.generate(**batch, max_new_tokens=2)
    assert len(out) == 2
    assert not recorded


def test_calls_of_wrappers(model, batch):
    """PEFT, torch.compile and decoding loops of one's own reach the model's generate."""
    from peft import LoraConfig, get_peft_model

    def own_loop(inner, input_ids, **_options):
        return torch.cat([input_ids, torch.full_like(input_ids[:, :1], 7)], 1)

    adapted = get_peft_model(tiny_decoder("llama"), LoraConfig(task_type="CAUSAL_LM"))
    compiled = torch.compile(tiny_decoder("llama"), backend="eager")
    with record_generate() as recorded:
        for wrapper in (adapted, compiled):
            wrapper.generate(**batch, max_new_tokens=2)
        model.generate(**batch, max_new_tokens=2, custom_generate=own_loop)
    assert [call.model for call in recorded] == ["LlamaForCausalLM"] * 3
    assert [tuple(call.new_tokens.shape) for call in recorded] == [(2, 2), (2, 2), (2, 1)]
    for call in recorded:
        assert call.place.function == "test_calls_of_wrappers"
        assert torch.equal(call.input_ids, batch["input_ids"])
        assert torch.equal(call.attention_mask, batch["attention_mask"])
        assert call.settings["max_new_tokens"] == 2


def test_a_class_with_a_generate_of_its_own_is_heard_where_it_calls_the_librarys(model, batch):
    class Model(type(model)):
        def generate(self, prompts, **options):
            return super().generate(prompts["input_ids"], attention_mask=prompts["attention_mask"], **options)

    own = Model(model.config).eval()
    with record_generate() as recorded:
        own.generate(batch, max_new_tokens=1)
    assert recorded.call.model == "Model"
    assert torch.equal(recorded.call.input_ids, batch["input_ids"])


def test_arguments_by_position_and_defaults(model, batch):
    from transformers import GenerationConfig

    config = GenerationConfig(max_length=25, num_beams=2)
    with record_generate() as recorded:
        model.generate(batch["input_ids"], config, attention_mask=batch["attention_mask"])
        model.generate(
            **batch, max_new_tokens=3, return_dict_in_generate=True, num_return_sequences=2, num_beams=2
        )
        model.generate(**batch)
    first, second, third = recorded
    assert first.given == ("inputs", "generation_config", "attention_mask")
    assert first.settings["num_beams"] == 2
    first.assert_room(6)
    with pytest.raises(
        AssertionError, match=r"had room for 6 new tokens, expected 7: max_length 25 counts .*DLM106"
    ):
        first.assert_room(7)
    assert second.sequences.shape[0] == 4
    second.assert_answers_whole(second.new_tokens)
    with record_generate() as recorded:
        model.generate(**batch, max_new_tokens=4, eos_token_id=None)
    assert "eos_token_id" not in recorded.call.settings
    third.assert_room(20)
    with pytest.raises(AssertionError, match="expected 21: its limit is 20"):
        third.assert_room(21)
    with pytest.raises(ValueError, match="new_tokens: must be positive"):
        third.assert_room(0)
    with record_generate() as recorded:
        model.generate(**batch, max_new_tokens=1000, max_time=1e-6)
    end = model.config.max_position_embeddings
    recorded.call.assert_room(end - 19)
    with pytest.raises(AssertionError, match=rf"a prompt of 19 tokens: .* made for {end} positions"):
        recorded.call.assert_room(end - 18)
    recorded.call.assert_stopped()  # its time was up


def test_both_ids_and_embeddings(model, batch):
    """The output then holds the prompt."""
    embeddings = model.get_input_embeddings()(batch["input_ids"])
    with record_generate() as recorded:
        out = model.generate(**batch, inputs_embeds=embeddings, max_new_tokens=2)
    call = recorded.call
    assert call.prompt_width == batch["input_ids"].shape[1] == out.shape[1] - 2
    call.assert_answers_whole(call.new_tokens)


def test_what_is_recorded_outlives_the_model(batch):
    with record_generate() as recorded:
        tiny_decoder("llama").generate(**batch, max_new_tokens=2)
    gc.collect()
    assert recorded.call._owner() is None  # no model is kept alive
    recorded.call.assert_left_padded(tiny_tokenizer())


def test_threads_and_blocks_inside_blocks(model, batch):
    with record_generate() as outer:
        thread = threading.Thread(target=model.generate, kwargs={**batch, "max_new_tokens": 2})
        thread.start()
        thread.join()
        with record_generate() as inner:
            model.generate(**batch, max_new_tokens=3)
    assert len(outer) == 2
    assert torch.equal(inner.call.sequences, outer.calls[1].sequences)
    assert outer.calls[0].place is None


def test_the_guard_and_the_recorder_share_their_wrapper(model, batch):
    plain = _generate()
    for makers in ((watch, record_generate), (record_generate, watch)):
        opened = [make() for make in makers]
        for context in opened:
            context.__enter__()
        for context in opened:  # the first to open is the first to close
            assert _generate() is not plain
            context.__exit__(None, None, None)
        assert _generate() is plain
    for guard_first in (True, False):
        contexts = (watch, record_generate) if guard_first else (record_generate, watch)
        with contexts[0]() as a:
            wrapped = _generate()
            with contexts[1]() as b:
                assert _generate() is wrapped
                model.generate(batch["input_ids"], max_new_tokens=2)
            assert _generate() is wrapped
        assert _generate() is plain
        findings, recorded = (a, b) if guard_first else (b, a)
        assert recorded.call.attention_mask is None
        assert [finding.code for finding in findings] == ["DLM101"]


def test_our_own_experiments_are_not_recorded(model, tokenizer):
    from pytest_decoderonly import assert_batch_equals_single

    with record_generate() as recorded:
        assert_batch_equals_single(model, tokenizer, PROMPTS)
    assert recorded.calls == []


def test_caches_that_are_continued(model, tokenizer):
    from transformers import DynamicCache

    first = tokenizer(["Question: is the sky blue? Answer: "], return_tensors="pt")
    turn = tokenizer([" and why is it so?"], return_tensors="pt")
    for whole in (True, False):
        cache = DynamicCache(config=model.config)
        with record_generate() as recorded:
            out = model.generate(**first, max_new_tokens=4, past_key_values=cache)
            ids = torch.cat([out, turn["input_ids"]], 1) if whole else turn["input_ids"].repeat(1, 4)
            model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=2, past_key_values=cache)
        assert recorded.calls[1].cached == out.shape[1] - 1
        recorded.calls[0].assert_continues_cache()
        if whole:
            recorded.calls[1].assert_continues_cache()
        else:
            with pytest.raises(
                AssertionError, match="got ids that do not begin with the 22 tokens in its cache"
            ):
                recorded.calls[1].assert_continues_cache()


def test_the_fixture_and_a_program_that_imports_transformers_late(pytester):
    pytester.makepyfile("""
        import sys

        def test_recording_begins_before_the_library_is_imported():
            from pytest_decoderonly import record_generate

            assert "transformers" not in sys.modules
            with record_generate() as recorded:
                from pytest_decoderonly import tiny_decoder
                import torch

                tiny_decoder("llama").generate(torch.tensor([[5, 6]]), max_new_tokens=1)
            assert recorded.call.input_ids.tolist() == [[5, 6]]

        def test_one(decoderonly_generate_recorder, decoderonly_tiny_model, decoderonly_tiny_tokenizer):
            batch = decoderonly_tiny_tokenizer(["Hi", "Hi there"], padding=True, return_tensors="pt")
            batch = batch.to(decoderonly_tiny_model.device)
            decoderonly_tiny_model.generate(**batch, max_new_tokens=2)
            call = decoderonly_generate_recorder[0]
            call.assert_left_padded(decoderonly_tiny_tokenizer)
            assert f"LlamaForCausalLM.generate at {__name__}.py:17 in test_one" in str(call)

        def test_another(decoderonly_generate_recorder, decoderonly):
            assert decoderonly_generate_recorder.calls == []
            with decoderonly.record_generate() as recorded:
                assert len(recorded) == 0
    """)
    options = ("-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist", "--decoderonly-checks")
    pytester.runpytest_subprocess(*options).assert_outcomes(passed=4)
