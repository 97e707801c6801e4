"""Where models live in programs: accelerate, compiled, vision-language, classes with a generate of their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pytest_decoderonly import guard, tiny_decoder, tiny_tokenizer

PROMPTS = ["the question is", "Question: yes and no, what is the answer?"]
NEW = {"max_new_tokens": 4, "do_sample": False}


def mistakes(model, tokenizer):
    """Make two mistakes with a model, and the same calls rightly."""
    enc = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    out = model.generate(**enc, **NEW)
    tokenizer.batch_decode(out[:, enc["input_ids"].shape[1] :])
    model.generate(enc["input_ids"], **NEW)
    tokenizer.batch_decode(out)


def accelerated(tokenizer):
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model = tiny_decoder("llama")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    prepared, optimizer = accelerator.prepare(model, optimizer)
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    accelerator.backward(prepared(**batch, labels=batch["input_ids"]).loss)  # DLM302: padding in the loss
    return accelerator.unwrap_model(prepared)


def test_accelerate(tokenizer):
    with guard("collect") as found:
        mistakes(accelerated(tokenizer), tokenizer)
    assert [finding.code for finding in found.findings] == ["DLM302", "DLM101", "DLM201"]
    assert all(finding.place.path == __file__ for finding in found.findings)


def test_compiled(tokenizer):
    with guard("collect") as found:
        mistakes(torch.compile(tiny_decoder("llama"), backend="eager"), tokenizer)
    assert [finding.code for finding in found.findings] == ["DLM101", "DLM201"]


def test_a_processor_of_a_vision_language_model():
    """Ids with image tokens, padded, generated from, and decoded by the processor."""
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    small = {"intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16}
    image_id = tokenizer.convert_tokens_to_ids("<image>")
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(image_size=8, patch_size=4, projection_dim=16, **small),
            text_config=LlamaConfig(
                vocab_size=len(tokenizer), num_key_value_heads=2, pad_token_id=0, eos_token_id=2, **small
            ),
            image_token_id=image_id,
            image_token_index=image_id,  # what it was called before transformers 4.50
            vision_feature_layer=-1,
        )
    ).eval()
    model.generation_config.eos_token_id = None
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8}),
        tokenizer=tokenizer,
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    images = [np.zeros((8, 8, 3), dtype=np.uint8)] * 2
    texts = [f"<image> {prompt}" for prompt in PROMPTS]

    def ask(side):
        tokenizer.padding_side = side
        enc = processor(text=texts, images=images, padding=True, return_tensors="pt")
        return enc, model.generate(**enc, **NEW)

    with guard("collect") as right:
        enc, out = ask("left")
        # One for each patch, or, before transformers 4.45, one for each image, which the model expands.
        assert (enc["input_ids"] == image_id).sum() in (8, 2)
        processor.batch_decode(out[:, enc["input_ids"].shape[1] :], skip_special_tokens=True)
    assert (right.findings, right.calls) == ([], 2)
    with guard("collect") as wrong:
        enc, out = ask("left")
        processor.batch_decode(out, skip_special_tokens=True)
        model.generate(input_ids=enc["input_ids"], pixel_values=enc["pixel_values"], **NEW)
        ask("right")
    assert [finding.code for finding in wrong.findings] == ["DLM201", "DLM101", "DLM102"]
    assert all(finding.place.path == __file__ for finding in wrong.findings)


class TestOwnGenerate:
    """Classes whose `generate` never calls the library's."""

    @pytest.fixture
    def own(self, model):
        class Own(type(model)):
            @torch.no_grad()
            def generate(self, input_ids, new=3, keep=True):
                row = input_ids
                for _ in range(new):
                    row = torch.cat([row, self(row, use_cache=False).logits[:, -1:].argmax(-1)], 1)
                return row if keep else row[:, input_ids.shape[1] :]

        made = Own(model.config)
        made.load_state_dict(model.state_dict())
        return made.eval()

    def test_what_it_returned_is_followed(self, own, tokenizer):
        with guard("collect") as found:
            out = own.generate(tokenizer(PROMPTS[0], return_tensors="pt")["input_ids"])
            tokenizer.decode(out[0])
        (finding,) = found.findings
        assert finding.code == "DLM201"
        assert [step.label for step in finding.steps][:3] == ["decoded", "generated", "tokenized"]

    def test_innocent(self, own, tokenizer):
        ids = tokenizer(PROMPTS[0], return_tensors="pt")["input_ids"]
        with guard("collect") as found:
            ids = tokenizer(PROMPTS[0], return_tensors="pt")["input_ids"]
            tokenizer.decode(own.generate(ids)[0, ids.shape[1] :])
            tokenizer.decode(own.generate(ids, keep=False)[0])
            tokenizer.decode(own.generate(ids, new=0)[0])
            own.generate(torch.tensor([[5, 6, 7]]))
        assert found.findings == []

    def test_a_class_made_inside_the_block_and_what_it_returns(self, model, tokenizer):
        """One that calls the library's is heard once; all is restored."""
        with guard("collect") as found:

            class Asks(type(model)):
                def generate(self, *args, **kwargs):
                    return super().generate(*args, **kwargs)

            class Repeats(type(model)):
                def generate(self, input_ids):
                    return input_ids.repeat(1, 2)

            before = vars(Repeats)["generate"]
            enc = tokenizer(PROMPTS[0], return_tensors="pt")
            out = Asks(model.config).eval().generate(**enc, **NEW)
            repeats = Repeats(model.config)
            assert vars(Repeats)["generate"] is not before
            tokenizer.decode(repeats.generate(enc["input_ids"])[0])
            tokenizer.decode(out[0])
        assert vars(Repeats)["generate"] is before
        assert [(finding.code, finding.count) for finding in found.findings] == [("DLM201", 1)] * 2
