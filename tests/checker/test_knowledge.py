"""The knowledge tables against the library and the checkpoints that they describe."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from decoderonly_checker.knowledge import checkpoints, model_classes
from decoderonly_checker.knowledge.checkpoints import lookup
from decoderonly_checker.knowledge.model_classes import (
    kind_of_class,
    kind_of_model_type,
    model_type_of_class,
    positions_of,
    tokenizer_class,
)

ROOT = Path(__file__).parents[2]
DATA = Path(checkpoints.__file__).parent / "data"
GENERATOR = ROOT / "checker" / "generate_model_classes.py"


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("generate_model_classes", GENERATOR)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_model_classes_are_what_the_installed_library_says(generator):
    transformers = pytest.importorskip("transformers")
    table = json.loads((DATA / "model_classes.json").read_text(encoding="utf-8"))
    if transformers.__version__ != table["transformers"]:
        made_with = table["transformers"]
        pytest.skip(f"made with transformers {made_with}, installed is {transformers.__version__}")
    assert generator.collect() == table, f"run {GENERATOR.relative_to(ROOT)}"


def test_checkpoint_table_is_made_from_the_one_kept_by_hand(generator):
    table = json.loads((DATA / "checkpoints.json").read_text(encoding="utf-8"))
    assert generator.collect_checkpoints() == table, f"run {GENERATOR.relative_to(ROOT)}"


def test_braces_expand_as_in_a_shell(generator):
    assert generator.expand("a{1,2}-b{,-c}") == ["a1-b", "a1-b-c", "a2-b", "a2-b-c"]
    assert generator.expand("plain") == ["plain"]


def test_loading_needs_neither_a_parser_nor_a_model_library():
    code = (
        "import sys; from decoderonly_checker.knowledge.checkpoints import lookup;"
        "from decoderonly_checker.knowledge.model_classes import kind_of_class;"
        "lookup('gpt2'); kind_of_class('GPT2LMHeadModel');"
        "print([m for m in ('libcst', 'torch', 'transformers', 'tomllib', 'tomli') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("AutoModelForCausalLM", "decoder-only"),
        ("AutoModelForImageTextToText", "decoder-only"),
        ("AutoModelForVision2Seq", "decoder-only"),  # left in 5.0
        ("AutoModelForSeq2SeqLM", "encoder-decoder"),
        ("AutoModelForSpeechSeq2Seq", "encoder-decoder"),
        ("AutoModelWithLMHead", None),
        ("AutoModelForPreTraining", None),
        ("AutoModel", None),
        ("GPT2LMHeadModel", "decoder-only"),
        ("TFGPT2LMHeadModel", "decoder-only"),
        ("FlaxGPT2LMHeadModel", "decoder-only"),
        ("GPT2DoubleHeadsModel", "decoder-only"),
        ("LlamaForCausalLM", "decoder-only"),
        ("BartForCausalLM", "decoder-only"),  # the decoder alone
        ("LlavaForConditionalGeneration", "decoder-only"),
        ("Qwen2VLForConditionalGeneration", "decoder-only"),
        ("Gemma3ForConditionalGeneration", "decoder-only"),
        ("TransfoXLLMHeadModel", "decoder-only"),  # left in 4.36
        ("ChatGLMForConditionalGeneration", "decoder-only"),  # brought along by its checkpoint
        ("MyOwnLlamaForCausalLM", "decoder-only"),
        ("AutoPeftModelForCausalLM", "decoder-only"),
        ("AutoModelForCausalLMWithValueHead", "decoder-only"),
        ("AutoPeftModelForSeq2SeqLM", "encoder-decoder"),
        ("ORTModelForSpeechSeq2Seq", "encoder-decoder"),
        ("BartForConditionalGeneration", "encoder-decoder"),
        ("T5ForConditionalGeneration", "encoder-decoder"),
        ("TFT5ForConditionalGeneration", "encoder-decoder"),
        ("T5GemmaForConditionalGeneration", "encoder-decoder"),
        ("MarianMTModel", "encoder-decoder"),
        ("WhisperForConditionalGeneration", "encoder-decoder"),
        ("VisionEncoderDecoderModel", "encoder-decoder"),
        ("Blip2ForConditionalGeneration", None),  # OPT or T5 inside
        ("BlipForConditionalGeneration", None),
        ("MusicgenForCausalLM", None),  # codes, not text
        ("Qwen2_5OmniForConditionalGeneration", None),
        ("BertModel", None),
        ("LlamaForSequenceClassification", None),
        ("LlamaModel", None),
        ("", None),
    ],
)
def test_kind_of_class(name, kind):
    assert kind_of_class(name) == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("GPT2Tokenizer", "decoder-only"),
        ("GPT2TokenizerFast", "decoder-only"),
        ("LlamaTokenizer", "decoder-only"),
        ("LLaMATokenizer", "decoder-only"),
        ("ChatGLMTokenizer", "decoder-only"),
        ("LlavaProcessor", "decoder-only"),
        ("T5Tokenizer", "encoder-decoder"),
        ("T5TokenizerFast", "encoder-decoder"),
        ("BartTokenizer", "encoder-decoder"),
        ("MBart50TokenizerFast", "encoder-decoder"),
        ("NllbTokenizer", "encoder-decoder"),
        ("WhisperProcessor", "encoder-decoder"),
        ("AutoTokenizer", None),
        ("AutoProcessor", None),
        ("RobertaTokenizer", None),
        ("BertTokenizerFast", None),
        ("Blip2Processor", None),
        ("PreTrainedTokenizerFast", None),
    ],
)
def test_kind_of_a_tokenizers_family(name, kind):
    assert tokenizer_class(name) == kind


def test_model_types():
    assert model_type_of_class("GPT2LMHeadModel") == "gpt2"
    assert model_type_of_class("GPT2TokenizerFast") == "gpt2"
    assert model_type_of_class("WhisperProcessor") == "whisper"
    assert model_type_of_class("AutoModelForCausalLM") is None
    assert kind_of_model_type("bart") == "encoder-decoder"
    assert kind_of_model_type("bert") is None
    assert kind_of_model_type("no-such-type") is None


TINY = {
    "gpt2": {"n_layer": 2, "n_head": 2, "n_embd": 32},
    "gpt_neo": {
        "num_layers": 2,
        "num_heads": 2,
        "hidden_size": 32,
        "attention_types": [[["global", "local"], 1]],
    },
    "gpt_bigcode": {"n_layer": 2, "n_head": 2, "n_embd": 32},
    "openai-gpt": {"n_layer": 2, "n_head": 2, "n_embd": 32},
    "ctrl": {"n_layer": 2, "n_head": 2, "n_embd": 32, "dff": 64},
    "xglm": {"num_layers": 2, "attention_heads": 2, "d_model": 32, "ffn_dim": 64},
    "opt": {
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "hidden_size": 32,
        "ffn_dim": 64,
        "word_embed_proj_dim": 32,
    },
    "bloom": {"n_layer": 2, "n_head": 2, "hidden_size": 32},
    "mpt": {"n_layers": 2, "n_heads": 2, "d_model": 32},
    "llama": {
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
    },
    "gpt_neox": {
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
    },
    "gptj": {"n_layer": 2, "n_head": 2, "n_embd": 32, "rotary_dim": 8},
    "codegen": {"n_layer": 2, "n_head": 4, "n_embd": 32, "rotary_dim": 4},
    "falcon": {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 32},
    "mamba": {"num_hidden_layers": 2, "hidden_size": 32, "state_size": 4},
}
SHIFTED_BY_PADDING = {"learned", "sinusoidal"}


@pytest.mark.parametrize("model_type", sorted(TINY))
def test_positions_are_what_left_padding_does_to_forward(model_type):
    """Left padding without `position_ids` moves the logits where positions are counted by column."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(
        model_type, vocab_size=99, bos_token_id=1, eos_token_id=2, pad_token_id=0, **TINY[model_type]
    )
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(4)  # default weights are so small that a shift hides in them
        ids = torch.tensor([[5, 17, 42, 8, 61]])
        padded = torch.cat([torch.full((1, 4), 7), ids], dim=1)
        mask = torch.tensor([[0] * 4 + [1] * 5])
        alone = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
        behind = model(input_ids=padded, attention_mask=mask, use_cache=False).logits[:, 4:]
    moved = ((behind - alone).abs().max() / alone.std()).item()
    if positions_of(model_type) in SHIFTED_BY_PADDING:
        assert moved > 1e-2
    else:
        assert positions_of(model_type) is not None
        assert moved < 1e-4


@pytest.mark.parametrize(
    ("name", "kind", "model_type"),
    [
        ("gpt2", "decoder-only", "gpt2"),
        ("someone/gpt2-finetuned-jokes", "decoder-only", "gpt2"),
        ("EleutherAI/gpt-neo-1.3B", "decoder-only", "gpt_neo"),
        ("EleutherAI/gpt-neox-20b", "decoder-only", "gpt_neox"),
        ("TheBloke/Llama-2-7B-Chat-GPTQ", "decoder-only", "llama"),
        ("lmsys/vicuna-7b-v1.5", "decoder-only", "llama"),
        ("bigcode/santacoder", "decoder-only", "gpt_bigcode"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "decoder-only", "qwen2"),
        ("lmsys/fastchat-t5-3b-v1.0", "encoder-decoder", None),
        ("declare-lab/flan-alpaca-xl", "encoder-decoder", None),
        ("google/t5gemma-2b-2b-ul2", "encoder-decoder", None),
        ("google/flan-t5-base", "encoder-decoder", "t5"),
        ("Helsinki-NLP/opus-mt-en-de", "encoder-decoder", "marian"),
        ("facebook/bart-large-cnn", "encoder-decoder", "bart"),
        ("distil-whisper/distil-large-v3", "encoder-decoder", None),
        ("Salesforce/blip2-opt-2.7b", None, None),
        ("Qwen/Qwen2.5-Omni-7B", None, None),
        ("bert-base-uncased", None, None),
        ("Qwen/Qwen3-Embedding-0.6B", None, None),
    ],
)
def test_kind_of_checkpoint(name, kind, model_type):
    known = lookup(name)
    assert known is not None
    assert (known.kind, known.model_type) == (kind, model_type)


@pytest.mark.parametrize(
    "name",
    ["", "/", "./output/checkpoint-100", "my-org/my-model", "x" * 5000, "Hello, how are you?", "out/gpt5-x"],
)
def test_what_no_entry_knows(name):
    assert lookup(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "meta-llama/Llama-2-7b-hf",
        "META-LLAMA/llama-2-7b-HF",
        "/data/models/Llama-2-7b-hf/",
        "models/Llama-2-7b-hf",
        "..\\models\\Llama-2-7b-hf",
        "/data/cache/huggingface/hub/models--meta-llama--Llama-2-7b-hf/snapshots/01c7f73",
        "/data/autodl-tmp/shakechen/Llama-2-7b-hf",
    ],
)
def test_a_published_name_is_known_wherever_it_lies(name):
    known = lookup(name)
    assert known.ships_pad_token is False
    assert known.padding_side == "right"
    assert known.adds_bos is True


def test_another_publishers_upload_keeps_the_kind_and_loses_the_tokenizer():
    known = lookup("unsloth/Llama-3.2-1B")  # ships a pad token, where Meta's does not
    assert known.kind == "decoder-only"
    assert known.positions == "rotary"
    assert known.ships_pad_token is known.padding_side is known.adds_bos is None


def test_sides_that_differ_between_relatives():
    assert lookup("google/gemma-2-2b-it").padding_side == "left"
    assert lookup("Qwen/Qwen2-VL-7B-Instruct").padding_side == "left"
    assert lookup("Qwen/Qwen2.5-VL-7B-Instruct").padding_side == "right"
    assert lookup("THUDM/chatglm3-6b").padding_side == "left"


def test_pad_token_that_is_the_eos_token():
    assert lookup("Qwen/Qwen2.5-7B").pad_is_eos is True
    assert lookup("Qwen/Qwen2.5-7B-Instruct").pad_is_eos is False
    assert lookup("facebook/opt-350m").pad_is_eos is False


def test_positions_follow_from_the_model_type():
    assert lookup("gpt2").positions == "learned"
    assert lookup("facebook/opt-125m").positions == "derived-from-mask"
    assert lookup("bigscience/bloom-560m").positions == "alibi"


def test_every_entry_is_sound():
    table = json.loads((DATA / "checkpoints.json").read_text(encoding="utf-8"))
    for entry in [*table["families"], *table["facts"]]:
        assert entry["source"].startswith("https://"), entry["name"]
        assert entry.get("kind") in {"decoder-only", "encoder-decoder", "unknown", None}, entry["name"]
        assert entry.get("padding_side") in {"left", "right", None}, entry["name"]
        known_kind = entry.get("kind") or model_classes.kind_of_model_type(entry.get("model_type", ""))
        assert known_kind is not None, f"{entry['name']}: neither its kind nor its model type is known"
        if entry.get("pad_is_eos") is not None:
            assert entry["ships_pad_token"] is True, entry["name"]
        if entry.get("kind") == "unknown":
            assert set(entry) <= {"name", "match", "kind", "source"}, entry["name"]
    for name in table["names"]:
        assert name == name.lower()


def test_smollm2_entry_is_what_the_real_tokenizer_does(smollm2):
    tokenizer = pytest.importorskip("transformers").AutoTokenizer.from_pretrained(smollm2)
    known = lookup("HuggingFaceTB/SmolLM2-135M-Instruct")
    ids = tokenizer("Hello")["input_ids"]
    assert known.adds_bos == (ids[0] == tokenizer.bos_token_id)
    assert known.adds_eos == (ids[-1] == tokenizer.eos_token_id)
    assert known.ships_pad_token == (tokenizer.pad_token is not None)
    assert known.pad_is_eos == (tokenizer.pad_token_id == tokenizer.eos_token_id)
