"""The suite inside pytest: real items, ids that can be given back, one line for what cannot be loaded."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from pytest_decoderonly.conformance.checks import KINDS, discover
from pytest_decoderonly.conformance.outcome import Outcome

MUTANTS = Path(__file__).parents[1]
PARTS = ("padding", "truncation", "bos", "generation-prompt", "prompt-cut")

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


def count(full=False):
    return sum(full or not variant.full for check in discover() for variant in check.variants)


def test_items_are_collected_before_selection(project):
    result = run(project, "tiny:llama", args=["--collect-only", "-q"])
    found = ids(result)
    assert found[:5] == [f"decoderonly::tiny-llama::tokenizer-ready[{part}]" for part in PARTS]
    assert "decoderonly::tiny-llama::left-padding[batch3-len33]" in found
    assert "decoderonly::tiny-llama::repeated-call" in found
    assert len(set(found)) == len(found) == count()
    result.stdout.fnmatch_lines(["test_own.py::test_own", f"{count() + 1} tests collected*"])


def test_the_full_suite_has_more_items(project):
    more = ids(run(project, "tiny:llama", args=["--collect-only", "-q", "--decoderonly-suite=full"]))
    assert len(more) == count(full=True) > count()
    project.makeini("[pytest]\ndecoderonly_paths = nothing\ndecoderonly_suite = full\n")
    assert ids(run(project, "tiny:llama", args=["--collect-only", "-q"])) == more
    project.makeini("[pytest]\ndecoderonly_suite = large\n")
    result = run(project, "tiny:llama", args=["--collect-only", "-q"])
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "ini key decoderonly_suite: expected one of default, full, got 'large'" in result.stderr.str()


def test_an_item_of_the_full_suite_by_its_id(project):
    given = "decoderonly::tiny-llama::compiled[aot_eager]"
    assert ids(run(project, "tiny:llama", args=["--collect-only", "-q", given])) == [given]


def test_options_of_the_model_stand_in_its_items(project):
    models = ["tiny:llama", "tiny:llama,dtype=bfloat16,attn=eager"]
    found = ids(
        run(project, *models, args=["--collect-only", "-q", "-k", "bf16 and (order or repeated or bos)"])
    )
    assert found == [
        f"decoderonly::tiny-llama-bf16-eager::{name}"
        for name in (
            "tokenizer-ready[bos]",
            "repeated-call[bf16-eager]",
            "row-order[batch3-len33-bf16-eager]",
        )
    ]


def test_selection_by_keyword_marker_and_id(project):
    result = run(
        project, "tiny:llama", "tiny:gpt2", args=["--collect-only", "-q", "-k", "row-order and gpt2"]
    )
    assert ids(result) == ["decoderonly::tiny-gpt2::row-order[batch3-len33]"]
    result.stdout.fnmatch_lines([f"1/{2 * count() + 1} tests collected*"])
    result = run(project, "tiny:llama", args=["--collect-only", "-q", "-m", "decoderonly_tokenizer"])
    assert ids(result) == [f"decoderonly::tiny-llama::tokenizer-ready[{part}]" for part in PARTS]
    result = run(project, "tiny:llama", args=["--collect-only", "-q", "-m", "not decoderonly_model"])
    assert ids(result) == []
    given = [
        "decoderonly::tiny-gpt2::cache-kind",
        "decoderonly::tiny-llama::tokenizer-ready[bos]",
        "decoderonly::tiny-llama::row-order[batch3-len33]",
    ]
    result = run(project, "tiny:llama", "tiny:gpt2", args=["--collect-only", "-q", *given])
    assert ids(result) == [
        *given[1:],
        "decoderonly::tiny-gpt2::cache-kind[none]",
        "decoderonly::tiny-gpt2::cache-kind[static]",
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
    result = run(project, "tiny:mistral", args=["-rA"])
    result.assert_outcomes(passed=count() - 1 + 1, skipped=1)
    result.stdout.fnmatch_lines(
        [
            f"model*tiny-mistral   {count()} checks: {count() - 1} passed, 1 not applicable",
            "SKIPPED*tiny-mistral attention[[]sdpa[]]: not applicable: the model runs attention 'sdpa' as it is*",
        ]
    )


def test_broken_models_fail_with_a_report_and_without_a_traceback(project):
    which = "masked-content or order or cached-steps or prompt-cut[batch3 or test_own"
    result = run(project, "factories:leaking", "factories:misplaced", "factories:cut", args=["-k", which])
    text = result.stdout.str()
    failed = re.findall(r"^FAILED (\S+)", text, re.MULTILINE)
    assert failed == [
        "decoderonly::factories.leaking::masked-content[padding-batch3-len33]",
        "decoderonly::factories.leaking::masked-content[padding-batch1-len11]",
        *(
            f"decoderonly::factories.misplaced::cached-steps[{shape}]"
            for shape in ("batch1-len6", "batch1-len33", "batch3-len33", "batch1-len257", "batch2-len257")
        ),
        "decoderonly::factories.cut::prompt-cut[batch3-len12]",
    ]
    assert "culprit:  padding visible" in text
    assert "culprit:  cache" in text
    assert "first:    model.layers.0.self_attn" in text
    assert "__ factories.misplaced cached-steps batch=1 len=6 __" in text
    assert text.count("\nsigns: ") == 3, "each battery's rows are drawn once"
    assert "the first 12 ids are not the padded prompt, they part at position 0" in text
    assert "Traceback" not in text
    assert "conformance/plugin.py" not in text.partition("= short test summary")[0]


def test_what_an_item_found_travels_with_its_report(project, monkeypatch):
    """Numbers, culprit and the layers' deviations: as plain data on the report, also from a worker of xdist."""
    project.makeconftest("""
        import json, os
        from pytest_decoderonly.conformance.outcome import outcome_of
        def pytest_runtest_logreport(report):
            outcome = outcome_of(report)
            if outcome is not None and "PYTEST_XDIST_WORKER" not in os.environ:
                with open("outcomes.jsonl", "a") as file:
                    file.write(json.dumps(outcome.as_dict(), allow_nan=False) + "\\n")
    """)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # this test may itself run in one
    result = project.runpytest_subprocess(
        "--decoderonly-checks",
        "--decoderonly-model=factories:leaking",
        "-n1",
        "--dist=loadgroup",
        "-p",
        "no:cacheprovider",
        "-k",
        "masked-content[padding-batch3 or bos or window",
    )
    result.stdout.fnmatch_lines(["model*factories.leaking   4 checks: 1 passed, 1 failed, 2 not applicable"])
    found = [
        Outcome.from_dict(json.loads(line))
        for line in (project.path / "outcomes.jsonl").read_text().splitlines()
    ]
    assert [(o.check, o.verdict) for o in found] == [
        ("tokenizer-ready", "passed"),
        ("masked-content", "failed"),
        ("left-padding", "not applicable"),
        ("cached-steps", "not applicable"),
    ], result.stdout.str()
    leak = found[1]
    assert leak.item == "decoderonly::factories.leaking::masked-content[padding-batch3-len33]"
    assert leak.parameters == {
        "what": "padding",
        "batch": 3,
        "length": 33,
        "dtype": "float32",
        "attention": leak.parameters["attention"],
    }
    assert leak.protects_from.startswith("answers that change with what stands under the padding")
    assert leak.culprit.name == "padding visible"
    assert leak.device == "cpu"
    (number,) = leak.numbers
    assert number.float32 == number.native > 1e-3
    assert leak.first_layer.startswith("model.layers.0.self_attn: row ")
    assert [layer.name for layer in leak.profile] == [
        "the embeddings (before the first layer)",
        "model.layers.0",
        "model.layers.1",
    ]
    assert leak.profile[0].deviation == 0 < leak.profile[1].deviation
    assert any(row.startswith("row ") for row in leak.rows)
    assert found[2].seen == "the model has no sliding window"


def test_long_tracebacks_on_demand(project):
    result = run(
        project, "factories:number", args=["--tb=long", "decoderonly::factories.number::repeated-call"]
    )
    assert "conformance/plugin.py" in result.stdout.str()


def test_a_tokenizer_that_is_not_ready(project):
    result = run(project, "factories:unpadded", args=["-k", "tokenizer-ready"])
    result.assert_outcomes(failed=2, passed=3, deselected=count() - 5 + 1)
    text = result.stdout.str()
    assert "DLM103  it has no padding token" in text
    assert "tokenizer.pad_token = tokenizer.eos_token, here '<eos>'" in text
    assert "DLM108  the chat template renders no generation prompt" in text


def test_a_model_without_a_tokenizer_skips_with_the_reason(project):
    result = run(project, "factories:bare", args=["-rs", "-k", "bos or order"])
    result.assert_outcomes(passed=1, skipped=1, deselected=count() - 2 + 1)
    result.stdout.fnmatch_lines(
        [
            "*1 passed, 1 not applicable",
            "SKIPPED*factories.bare tokenizer-ready[[]bos[]]: not applicable: the model comes without a tokenizer",
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
    result = run(project, model, args=["-k", "repeated-call or test_own", "--tb=short"])
    result.assert_outcomes(passed=1, failed=1, deselected=count() - 1)
    result.stdout.fnmatch_lines([line])
    assert "Traceback" not in result.stdout.str()
    start = model.split(":")[0] if model.startswith("./") else model
    assert sum(text.startswith((f"{start}: ", f"{model}: ")) for text in result.outlines) == 1


def test_a_type_that_cannot_be_built_tiny_fails_only_where_it_is_named(project):
    for model, outcome in (("tiny:all", {"skipped": 1}), ("tiny:musicgen", {"failed": 1})):
        result = run(project, model, args=["decoderonly::tiny-musicgen::repeated-call", "-rs"])
        result.assert_outcomes(**outcome)
        result.stdout.fnmatch_lines(["*tiny:musicgen: 'musicgen' is no model for prompts*"])


def test_an_encoder_decoder_is_refused(project):
    project.makepyfile(
        seq="""
        from transformers import T5Config, T5ForConditionalGeneration
        def build():
            return T5ForConditionalGeneration(T5Config(vocab_size=50, d_model=16, d_ff=16, num_layers=1, num_heads=2, d_kv=8))
        """
    )
    result = run(project, "seq:build", args=["decoderonly::seq.build::repeated-call"])
    result.stdout.fnmatch_lines(
        ["seq:build: is an encoder-decoder model; this suite is for decoder-only models"]
    )


def test_a_folder_is_loaded(project):
    from pytest_decoderonly import tiny_decoder, tiny_tokenizer

    tiny_decoder("qwen2").save_pretrained(project.path / "saved")
    tiny_tokenizer().save_pretrained(project.path / "saved")
    result = run(project, "saved", args=["decoderonly::saved", "-m", "decoderonly_tokenizer"])
    result.assert_outcomes(passed=5, deselected=count() - 5)


def test_last_failed_runs_the_failed_item_alone(project):
    run(project, "factories:misplaced", args=["-k", "batch1-len6 or order"])
    result = run(project, "factories:misplaced", args=["--lf", "--collect-only", "-q"])
    assert "decoderonly::factories.misplaced::cached-steps[batch1-len6]" in ids(result)
    assert "decoderonly::factories.misplaced::row-order[batch3-len33]" not in ids(result)


def test_missing_packages_fail_with_what_to_install(project, monkeypatch):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "torch" else found(name, *a)
    )
    result = run(project, "tiny:llama", args=["decoderonly::tiny-llama::row-order"])
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["tiny:llama: checking a model needs torch: pip install 'pytest-decoderonly[[]models[]]'"]
    )


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
    for check in discover():
        assert check.kind in KINDS
        assert check.protects_from.endswith("."), check.name
        assert check.about.partition("\n")[0].endswith("."), check.name
        shown = [variant.id for variant in check.variants]
        assert len(set(shown)) == len(shown)
