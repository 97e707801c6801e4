"""The suite inside pytest: real items, ids that can be given back, one line for what cannot be loaded."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

MUTANTS = Path(__file__).parents[1]
CHECKS = ("tokenizer-ready", "masked-content", "left-padding", "cached-steps", "prompt-cut")

FACTORIES = f"""
    import sys
    sys.path.insert(0, {str(MUTANTS)!r})
    import mutants
    from pytest_decoderonly import tiny_decoder, tiny_tokenizer

    def sound():
        return tiny_decoder("gpt2"), tiny_tokenizer()

    def bare():
        return tiny_decoder("llama")

    def leaking():
        return mutants.mask_dropped(tiny_decoder("llama")), tiny_tokenizer()

    def misplaced():
        return mutants.cached_position_off_by_one(tiny_decoder("gpt2")), tiny_tokenizer()

    def unpadded():
        tokenizer = tiny_tokenizer(pad=False)
        tokenizer.chat_template = "{{% for m in messages %}}{{{{ m['content'] }}}}{{% endfor %}}"
        return tiny_decoder("llama"), tokenizer

    def cut():
        model = tiny_decoder("llama")
        plain = model.generate
        def generate(input_ids=None, **kwargs):
            out = plain(input_ids=input_ids, **kwargs)
            return out if "logits_processor" in kwargs else out[:, input_ids.shape[1]:]
        model.generate = generate
        return model, tiny_tokenizer()

    def crash():
        raise RuntimeError("no weights\\nhere")

    def number():
        return 3

    value = 3
"""


@pytest.fixture
def project(pytester, monkeypatch):
    pytester.mkdir("nothing")
    pytester.makeini("[pytest]\ndecoderonly_paths = nothing\n")
    pytester.makepyfile(factories=FACTORIES, test_own="def test_own(): pass")
    yield pytester
    sys.modules.pop("factories", None)


def run(project, *models, args=()):
    options = [f"--decoderonly-model={model}" for model in models]
    return project.runpytest("--decoderonly-checks", *options, *args)


def ids(result):
    return [line for line in result.outlines if line.startswith("decoderonly::")]


def test_items_are_collected_before_selection(project):
    result = run(project, "tiny:llama", args=["--collect-only", "-q"])
    assert ids(result) == [f"decoderonly::tiny-llama::{name}" for name in CHECKS]
    result.stdout.fnmatch_lines(["test_own.py::test_own", "6 tests collected*"])


def test_selection_by_keyword_and_by_id(project):
    result = run(
        project, "tiny:llama", "tiny:gpt2", args=["--collect-only", "-q", "-k", "left-padding and gpt2"]
    )
    assert ids(result) == ["decoderonly::tiny-gpt2::left-padding"]
    result.stdout.fnmatch_lines(["1/11 tests collected (10 deselected)*"])
    given = ["decoderonly::tiny-gpt2", "decoderonly::tiny-llama::prompt-cut"]
    result = run(project, "tiny:llama", "tiny:gpt2", args=["--collect-only", "-q", *given])
    assert ids(result) == [
        "decoderonly::tiny-llama::prompt-cut",
        *(f"decoderonly::tiny-gpt2::{name}" for name in CHECKS),
    ]
    assert "test_own" not in result.stdout.str()


@pytest.mark.parametrize(
    ("models", "given", "text"),
    [
        (
            ["tiny:llama"],
            "decoderonly::tiny-llama::speed",
            "no such check; models: tiny-llama; checks: tokenizer-ready, ",
        ),
        (["tiny:llama"], "decoderonly::llama", "no such check; models: tiny-llama"),
        ([], "decoderonly::tiny-llama", "no model is named; add --decoderonly-model=MODEL"),
    ],
)
def test_unknown_ids_are_usage_errors(project, models, given, text):
    result = run(project, *models, args=[given])
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert text in result.stderr.str()


def test_a_sound_model_passes(project):
    result = run(project, "tiny:llama", "factories:sound", args=["-rA"])
    result.assert_outcomes(passed=11)
    result.stdout.fnmatch_lines(
        ["model*factories.sound   5 checks: 5 passed", "*tiny-llama   5 checks: 5 passed"]
    )


def test_broken_models_fail_with_a_report_and_without_a_traceback(project):
    result = run(project, "factories:leaking", "factories:misplaced", "factories:cut")
    result.assert_outcomes(passed=12, failed=4)
    text = result.stdout.str()
    failed = re.findall(r"^FAILED (\S+)", text, re.MULTILINE)
    assert failed == [
        "decoderonly::factories.leaking::masked-content",
        "decoderonly::factories.leaking::left-padding",
        "decoderonly::factories.misplaced::cached-steps",
        "decoderonly::factories.cut::prompt-cut",
    ]
    assert "culprit:  padding visible" in text
    assert "culprit:  cache" in text
    assert "first:    model.layers.0.self_attn" in text
    assert text.count("\nsigns: ") == 2, "each model's rows are drawn once"
    assert "the first 12 ids are not the padded prompt, they part at position 0" in text
    assert "Traceback" not in text
    assert "conformance/plugin.py" not in text
    result.stdout.fnmatch_lines(["model*factories.cut   5 checks: 4 passed, 1 failed"])


def test_long_tracebacks_on_demand(project):
    result = run(project, "factories:number", args=["--tb=long", "decoderonly::factories.number::prompt-cut"])
    assert "conformance/plugin.py" in result.stdout.str()


def test_a_tokenizer_that_is_not_ready(project):
    result = run(project, "factories:unpadded", args=["-k", "tokenizer-ready"])
    result.assert_outcomes(failed=1, deselected=5)
    text = result.stdout.str()
    assert "DLM103  it has no padding token" in text
    assert "tokenizer.pad_token = tokenizer.eos_token, here '<eos>'" in text
    assert "DLM108  the chat template renders no generation prompt" in text


def test_a_model_without_a_tokenizer_skips_with_the_reason(project):
    result = run(project, "factories:bare", args=["-rs"])
    result.assert_outcomes(passed=5, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "*4 passed, 1 not applicable",
            "SKIPPED*factories.bare tokenizer-ready: not applicable: the model comes without a tokenizer",
        ]
    )


@pytest.mark.parametrize(
    ("model", "line"),
    [
        (
            "./nowhere",
            "./nowhere: there is no folder *nowhere; expected a model folder, an adapter folder, a hub id*",
        ),
        ("some/where", "some/where: no such folder, and no such model in the hub or its cache*"),
        ("nothing", "nothing: the folder holds no config.json, so it is no model of transformers"),
        ("gguf:model.gguf", "gguf:model.gguf: there is no file *model.gguf"),
        ("tiny:lama", "tiny:lama: 'lama' is no causal LM model type*did you mean llama*"),
        ("nomodule:build", "nomodule:build: there is no module nomodule; expected a model folder*"),
        ("factories:nothing", "factories:nothing: module factories has no function nothing"),
        ("factories:value", "factories:value: module factories has no function value"),
        ("factories:number", "factories:number: must return a model, or a model and its tokenizer, got int"),
        ("factories:crash", "factories:crash: the factory raised RuntimeError: no weights here"),
        ("tiny:t5", "tiny:t5: 't5' is no causal LM model type*"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_one_clear_line(project, model, line):
    result = run(project, model, args=["-k", "prompt-cut or test_own", "--tb=short"])
    result.assert_outcomes(passed=1, failed=1, deselected=4)
    result.stdout.fnmatch_lines([line])
    assert "Traceback" not in result.stdout.str()
    start = model.split(":")[0] if model.startswith("./") else model
    assert sum(text.startswith((f"{start}: ", f"{model}: ")) for text in result.outlines) == 1


def test_an_encoder_decoder_is_refused(project):
    project.makepyfile(
        seq="""
        from transformers import T5Config, T5ForConditionalGeneration
        def build():
            return T5ForConditionalGeneration(T5Config(vocab_size=50, d_model=16, d_ff=16, num_layers=1, num_heads=2, d_kv=8))
        """
    )
    result = run(project, "seq:build", args=["decoderonly::seq.build::prompt-cut"])
    result.stdout.fnmatch_lines(
        ["seq:build: is an encoder-decoder model; this suite is for decoder-only models"]
    )


def test_a_folder_is_loaded(project):
    from pytest_decoderonly import tiny_decoder, tiny_tokenizer

    tiny_decoder("qwen2").save_pretrained(project.path / "saved")
    tiny_tokenizer().save_pretrained(project.path / "saved")
    result = run(project, "saved", args=["decoderonly::saved"])
    result.assert_outcomes(passed=5)


def test_last_failed_runs_the_failed_item_alone(project):
    run(project, "factories:misplaced").assert_outcomes(passed=5, failed=1)
    result = run(project, "factories:misplaced", args=["--lf", "--collect-only", "-q"])
    assert ids(result) == ["decoderonly::factories.misplaced::cached-steps"]


def test_missing_packages_fail_with_what_to_install(project, monkeypatch):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "torch" else found(name, *a)
    )
    result = run(project, "tiny:llama", args=["decoderonly::tiny-llama::left-padding"])
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["tiny:llama: checking a model needs torch: pip install 'pytest-decoderonly[[]models[]]'"]
    )


def test_workers_of_xdist(project):
    result = project.runpytest_subprocess(
        "--decoderonly-checks", "--decoderonly-model=tiny:llama", "-n", "2", "-p", "no:cacheprovider"
    )
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(["model*tiny-llama   5 checks: 5 passed"])


def test_collecting_imports_no_torch(project):
    project.makeconftest("""
        def pytest_collection_finish(session):
            import sys
            print("heavy:", [name for name in ("torch", "transformers") if name in sys.modules])
    """)
    result = project.runpytest_subprocess(
        "--decoderonly-checks",
        "--decoderonly-model=tiny:llama",
        "--collect-only",
        "-q",
        "-s",
        "-p",
        "no:hypothesispytest",
    )
    result.stdout.fnmatch_lines(["heavy: []"])


def test_the_same_name_twice_gets_a_number(tmp_path):
    from pytest_decoderonly.conformance.spec import parse_all

    specs = parse_all(["tiny:llama", "org/model", "other/model", "gguf:a/b c.gguf"], tmp_path)
    assert [(spec.kind, spec.name) for spec in specs] == [
        ("tiny", "tiny-llama"),
        ("hub", "model"),
        ("hub", "model-2"),
        ("gguf", "b-c"),
    ]


def test_every_check_says_what_it_protects_from():
    from pytest_decoderonly.conformance.checks import discover

    checks = discover()
    assert tuple(check.name for check in checks) == CHECKS
    for check in checks:
        assert "Protects from:" in check.about
        assert check.about.splitlines()[0].endswith(".")
