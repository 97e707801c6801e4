"""How models are named and loaded: options behind commas, adapters, factories, and one clear line for what is wrong."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_decoderonly import tiny_architectures, tiny_decoder, tiny_tokenizer
from pytest_decoderonly.conformance.spec import SpecError, load, parse, parse_all

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model, an adapter on it, and a base for it to be put on."""
    from peft import LoraConfig, get_peft_model

    root = tmp_path_factory.mktemp("models")
    model = tiny_decoder("llama")
    model.save_pretrained(root / "base, tiny")
    tiny_tokenizer().save_pretrained(root / "base, tiny")
    model.config._name_or_path = "base, tiny"
    model.name_or_path = "base, tiny"
    adapter = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    adapter.save_pretrained(root / "adapter")
    assert json.loads((root / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"]
    return root


@pytest.mark.parametrize(
    ("text", "kind", "target", "options"),
    [
        ("org/name", "hub", "org/name", {}),
        ("org/name,revision=v1,dtype=bf16", "hub", "org/name", {"revision": "v1", "dtype": "bfloat16"}),
        ("tiny:llama,dtype=float16,attn=eager", "tiny", "llama", {"dtype": "float16", "attn": "eager"}),
        ("org/name,device-map=auto", "hub", "org/name", {"device_map": "auto"}),
        ("org/name, trust_remote_code = true", "hub", "org/name", {"trust_remote_code": "true"}),
        ("pkg.mod:make,layers=3", "factory", "pkg.mod:make", {"layers": "3"}),
    ],
)
def test_options_stand_behind_commas(tmp_path, text, kind, target, options):
    spec = parse(text, tmp_path)
    assert (spec.kind, spec.target, dict(spec.options)) == (kind, target, options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a/b,dtyp=bfloat16", "a/b,dtyp=bfloat16: unknown option dtyp; did you mean dtype?"),
        ("a/b,dtype=bfloat", "dtype=bfloat: did you mean bfloat16"),
        (
            "a/b,dtype=half",
            "dtype=half: expected one of auto, float32, bfloat16, float16, float64",
        ),
        ("a/b,dtype", "option dtype has no value; write dtype=VALUE"),
        ("a/b,dtype=", "option dtype has no value; write dtype=VALUE"),
        ("a/b,dtype=bf16,dtype=fp32", "option dtype is given twice"),
        ("a/b,base=c", "option base is for adapter, this is a hub"),
        ("gguf:x.gguf,revision=2", "option revision is for hub, adapter, this is a gguf"),
        ("a/b,trust_remote_code=yes", "trust_remote_code=yes: expected true or false"),
        ("a/b,quantization=8bit", "quantization=8bit: did you mean bnb-8bit"),
    ],
)
def test_a_wrong_option_is_one_line_that_names_it(tmp_path, text, message):
    with pytest.raises(SpecError) as caught:
        parse(text, tmp_path)
    assert str(caught.value).startswith(f"{text}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@example("~0")
@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text):
    with suppress(SpecError):
        spec = parse(text, HERE)
        assert spec.text == text
        assert spec.name


def test_names_are_told_apart_by_what_differs(tmp_path):
    specs = parse_all(
        ["a/m", "a/m,dtype=bfloat16", "a/m,dtype=bfloat16,attn=eager", "b/m", "b/m,revision=2"], tmp_path
    )
    assert [spec.name for spec in specs] == ["m", "m-bf16", "m-bf16-eager", "m-2", "m-3"]


def test_all_tiny_architectures_are_one_model_each(tmp_path):
    specs = parse_all(["tiny:all,dtype=bfloat16"], tmp_path)
    assert [spec.target for spec in specs] == list(tiny_architectures())
    assert all(spec.option("dtype") == "bfloat16" for spec in specs)
    assert specs[0].text == f"tiny:{specs[0].target},dtype=bfloat16"


def test_a_tiny_model_takes_options_and_its_configurations_own(tmp_path):
    text = "tiny:llama,dtype=bfloat16,attn=eager,num_hidden_layers=3"
    model = load(parse(text, tmp_path), tmp_path).model
    assert model.dtype == torch.bfloat16
    assert model.config._attn_implementation == "eager"
    assert len(model.model.layers) == 3
    with pytest.raises(SpecError, match="has no num_hidden_layer; did you mean num_hidden_layers"):
        load(parse("tiny:llama,num_hidden_layer=3", tmp_path), tmp_path)


def test_a_folder_with_a_comma_in_its_name(saved):
    spec = parse("base, tiny,dtype=bf16,attn=eager", saved)
    loaded = load(spec, saved)
    assert loaded.model.dtype == torch.bfloat16
    assert loaded.model.config._attn_implementation == "eager"
    assert loaded.tokenizer is not None


def test_an_adapter_brings_its_base(saved, tmp_path):
    spec = parse("adapter,dtype=float32", saved)
    assert spec.kind == "adapter"
    loaded = load(spec, saved)
    names = [name for name, p in loaded.model.named_parameters() if p.requires_grad]
    assert names
    assert all("lora" in name for name in names)
    assert loaded.tokenizer.pad_token is not None
    assert not loaded.model.training
    other = load(parse(f"{saved / 'adapter'},base=tiny:llama", tmp_path), tmp_path).model
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(other(ids).logits, loaded.model(ids).logits)
    with pytest.raises(SpecError, match=r"its base model: some/where: no such folder"):
        load(parse(f"{saved / 'adapter'},base=some/where", tmp_path), tmp_path)


def test_a_device_map_and_a_device_contradict(saved):
    with pytest.raises(SpecError, match="device and device_map contradict each other"):
        load(parse("base, tiny,device=cpu,device_map=auto", saved), saved)
    with pytest.raises(
        SpecError, match="device=gpu: expected a device such as cpu, cuda:1 or mps, got 'gpu'"
    ):
        load(parse("base, tiny,device=gpu", saved), saved)
    with pytest.raises(SpecError, match=r"cannot be loaded: ValueError: .*device_map.*nowhere"):
        load(parse("base, tiny,device_map=nowhere", saved), saved)
    assert load(parse("base, tiny,device_map=cpu", saved), saved).model.device.type == "cpu"


def test_code_of_a_checkpoint_runs_only_where_it_is_asked_for(saved, tmp_path):
    """A configuration that names its own code: refused, and, asked for in so many words, run."""
    folder = tmp_path / "custom"
    tiny_decoder("llama").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "notllama",
        "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class Config(LlamaConfig):\n    model_type = 'notllama'\n"
        "class Model(LlamaForCausalLM):\n    config_class = Config\n"
    )
    for refused in ("custom", "custom,trust_remote_code=false"):
        with pytest.raises(SpecError, match="trust_remote_code"):
            load(parse(refused, tmp_path), tmp_path)
    assert type(load(parse("custom,trust_remote_code=true", tmp_path), tmp_path).model).__name__ == "Model"


def test_a_factory_gets_the_options_that_it_takes(tmp_path, monkeypatch):
    (tmp_path / "made_here.py").write_text(
        "from pytest_decoderonly import tiny_decoder\n"
        "def plain():\n    return tiny_decoder('gpt2')\n"
        "def sized(n_layer=1, dtype='float32'):\n    return tiny_decoder('gpt2', n_layer=n_layer, dtype=dtype)\n"
    )
    made = load(parse("made_here:sized,n_layer=3,dtype=bfloat16", tmp_path), tmp_path).model
    assert (len(made.transformer.h), made.dtype) == (3, torch.bfloat16)
    cast = load(parse("made_here:plain,dtype=bfloat16,attn=eager", tmp_path), tmp_path).model
    assert (cast.dtype, cast.config._attn_implementation) == (torch.bfloat16, "eager")
    with pytest.raises(SpecError, match="takes n_layer, dtype, not n_layers; did you mean n_layer"):
        load(parse("made_here:sized,n_layers=3", tmp_path), tmp_path)
    with pytest.raises(SpecError, match="takes no arguments, not size"):
        load(parse("made_here:plain,size=3", tmp_path), tmp_path)


def test_a_tokenizer_from_elsewhere(saved, tmp_path):
    folder = tmp_path / "bare"
    tiny_decoder("llama").save_pretrained(folder)
    loaded = load(
        parse("bare,tokenizer=" + str(saved / "adapter").replace("adapter", "base, tiny"), tmp_path), tmp_path
    )
    assert loaded.tokenizer.pad_token is not None
    with pytest.raises(SpecError, match="tokenizer=nowhere/here: cannot be loaded"):
        load(parse("bare,tokenizer=nowhere/here", tmp_path), tmp_path)
