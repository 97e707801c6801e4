"""`--decoderonly-max-memory`, and what the suite says of batches that do not fit."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_decoderonly.conformance.memory import ALL, read_limits

FACTORIES = """
    import torch
    from pytest_decoderonly import tiny_decoder, tiny_tokenizer

    def narrow(most=2):
        model = tiny_decoder("llama")
        def refuse(_module, _args, kwargs):
            if kwargs["input_ids"].shape[0] > most:
                raise torch.OutOfMemoryError("CUDA out of memory.")
        model.register_forward_pre_hook(refuse, with_kwargs=True)
        return model, tiny_tokenizer()

    def costly_to_train():
        model = narrow(most=99)[0]
        class Narrow(torch.autograd.Function):
            @staticmethod
            def forward(ctx, states):
                return states.clone()
            @staticmethod
            def backward(ctx, gradient):
                if gradient.shape[0] > 1:
                    raise torch.OutOfMemoryError("CUDA out of memory.")
                return gradient
        model.model.norm.register_forward_hook(lambda _module, _args, output: Narrow.apply(output))
        return model, tiny_tokenizer()

    def hungry():
        # A quarter of a gigabyte a row, taken for real.
        model = tiny_decoder("llama")
        def eat(_module, _args, kwargs):
            torch.empty(kwargs["input_ids"].shape[0] << 28, dtype=torch.uint8)
        model.register_forward_pre_hook(eat, with_kwargs=True)
        return model, tiny_tokenizer()
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.mkdir("nothing")
    pytester.makeini("[pytest]\ndecoderonly_paths = nothing\n")
    pytester.makepyfile(factories=FACTORIES)
    return pytester


def run(project, model, *args, how="runpytest_inprocess"):
    return getattr(project, how)(
        "--decoderonly-checks", f"--decoderonly-model={model}", "-p", "no:cacheprovider", "-rA", *args
    )


def test_a_batch_that_does_not_fit_is_halved_and_the_run_goes_on(project):
    items = [
        f"decoderonly::factories.narrow::{check}" for check in ("left-padding", "row-order", "prompt-cut")
    ]
    result = run(project, "factories:narrow", *items, "--decoderonly-report=out.json")
    assert result.parseoutcomes().get("failed", 0) == 0
    result.stdout.fnmatch_lines(
        ["*factories.narrow   the batch was halved to 2 rows: 3 rows of width 33 did not fit into memory *"]
    )
    outcomes = json.loads((project.path / "out.json").read_text())["outcomes"]
    halved = {one["check"] for one in outcomes if any("halved to 2 rows" in note for note in one["notes"])}
    assert halved == {"left-padding", "row-order", "prompt-cut"}


TRAINING = ("loss-on-completions", "gradient-flow", "training-padding")


@pytest.mark.parametrize(
    ("model", "checks"), [("narrow,most=1", TRAINING), ("costly_to_train", ("gradient-flow",))]
)
def test_a_training_step_that_does_not_fit_is_halved(project, model, checks):
    name = model.partition(",")[0]
    items = [f"decoderonly::factories.{name}::{check}" for check in checks]
    result = run(project, f"factories:{model}", *items, "--decoderonly-report=out.json")
    assert set(result.parseoutcomes()) <= {"passed", "skipped"}
    result.stdout.fnmatch_lines(
        ["*the batch was halved to 1 row: 2 rows of width 12 did not fit into memory (OutOfMemoryError)*"]
    )
    outcomes = json.loads((project.path / "out.json").read_text())["outcomes"]
    told = {one["check"] for one in outcomes if "halved to 1 row" in " ".join([one["seen"], *one["notes"]])}
    assert told == {*checks}


def test_not_even_one_row_is_an_error_in_one_line(project):
    result = run(project, "factories:narrow,most=0", "decoderonly::factories.narrow::prompt-cut")
    result.assert_outcomes(failed=1)
    assert "Traceback" not in result.stdout.str()
    result.stdout.fnmatch_lines(["1 row* of width 5 did not fit into memory (OutOfMemoryError)"])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can limit the memory of a process on the CPU")
def test_the_limit_is_real_on_the_cpu(project):
    item = "decoderonly::factories.hungry::prompt-cut"
    free = run(project, "factories:hungry", item)
    free.assert_outcomes(passed=1)
    assert "halved" not in free.stdout.str()
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    from pytest_decoderonly.conformance.memory import _taken

    limit = (_taken() >> 20) + 700  # room for two rows
    result = run(project, "factories:hungry", item, f"--decoderonly-max-memory={limit}MiB")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["*the batch was halved to 2 rows: 3 rows of width 12 did not fit into memory*"]
    )
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can limit the memory of a process on the CPU")
def test_a_limit_below_what_is_taken_says_so(project):
    result = run(
        project, "tiny:llama", "decoderonly::tiny-llama::prompt-cut", "--decoderonly-max-memory=10MiB"
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["--decoderonly-max-memory: 10 MiB are less than the * MiB that the process takes*"]
    )


@pytest.mark.parametrize("text", ["10", "lots", "gpu=1GiB", "1GiB,2GiB", "cpu=", "0=1GiB,cpu", "-1GiB"])
def test_another_form_is_refused(project, text):
    result = run(project, "tiny:llama", f"--decoderonly-max-memory={text}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f"ERROR: --decoderonly-max-memory: expected SIZE such as 10GiB*, got {text!r}"]
    )


def test_the_option_alone_is_refused(project):
    result = project.runpytest_inprocess("--decoderonly-max-memory=1GiB")
    result.stderr.fnmatch_lines(
        ["ERROR: --decoderonly-max-memory has no effect without --decoderonly-checks*"]
    )


@given(st.dictionaries(st.integers(0, 9) | st.just("cpu"), st.integers(1, 999), min_size=1))
def test_devices_and_sizes_are_read(sizes):
    text = ", ".join(f"{device}={size}MiB" for device, size in sizes.items())
    assert read_limits(text) == {device: size << 20 for device, size in sizes.items()}


def test_sizes():
    assert read_limits("") == {}
    assert read_limits("1.5GiB") == {ALL: 3 << 29}
    assert read_limits("2GB") == {ALL: 2_000_000_000}
