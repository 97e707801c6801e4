"""Modes of single rules, expectations, and warnings that may be errors."""

from __future__ import annotations

import pytest
import torch  # noqa: F401 - loaded once here, not in every run inside
import transformers.generation.utils  # noqa: F401

CHECKS = "--decoderonly-checks"

TWO = """
    import app

    def test_mask(model, tokenizer):
        assert app.answer_without_mask(model, tokenizer)

    def test_prompt(model, tokenizer):
        assert app.answer_with_prompt(model, tokenizer)
"""

HAZARD = """
    def test_limit(model, tokenizer):
        enc = tokenizer("the question is", return_tensors="pt")
        assert model.generate(**enc, max_length=12, eos_token_id=None) is not None
"""


@pytest.mark.parametrize(
    ("options", "outcomes"),
    [
        ([], {"failed": 2}),
        (["--decoderonly-guard-rule=DLM201=off"], {"failed": 1, "passed": 1}),
        (["--decoderonly-guard-rule=DLM2=warn"], {"failed": 1, "passed": 1, "warnings": 1}),
        (
            ["--decoderonly-guard-rule=DLM=off", "--decoderonly-guard-rule=DLM101=error"],
            {"failed": 1, "passed": 1},
        ),
        (
            ["--decoderonly-guard=warn", "--decoderonly-guard-rule=DLM101=error"],
            {"failed": 1, "passed": 1, "warnings": 1},
        ),
    ],
)
def test_modes_of_rules(project, options, outcomes):
    project.makepyfile(TWO)
    project.runpytest_inprocess(CHECKS, *options).assert_outcomes(**outcomes)


def test_modes_in_the_ini_file_and_the_option_goes_first(project):
    project.makeini(
        "[pytest]\ndecoderonly_paths = nothing\ndecoderonly_guard_rules =\n    DLM101 = off\n    DLM201=off\n"
    )
    project.makepyfile(TWO)
    project.runpytest_inprocess(CHECKS).assert_outcomes(passed=2)
    project.runpytest_inprocess(CHECKS, "--decoderonly-guard-rule=DLM101=error").assert_outcomes(
        passed=1, failed=1
    )


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("DLM101", "--decoderonly-guard-rule: expected CODE=MODE such as DLM106=off, got 'DLM101'"),
        ("W101=off", "expected CODE=MODE"),
        ("DLM101=loud", "expected one of error, warn, off, got 'loud'"),
    ],
)
def test_wrong_modes(project, entry, expected):
    project.makepyfile(TWO)
    result = project.runpytest_inprocess(CHECKS, f"--decoderonly-guard-rule={entry}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert expected in result.stderr.str() + result.stdout.str()


def test_modes_need_the_checks(project):
    project.makepyfile(TWO)
    result = project.runpytest_inprocess("--decoderonly-guard-rule=DLM101=off")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "set the ini key decoderonly_guard_rules instead" in result.stderr.str() + result.stdout.str()


def test_a_hazard_warns_and_fails_only_where_it_is_told_to(project):
    project.makepyfile(HAZARD)
    result = project.runpytest_inprocess(CHECKS)
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*DecoderOnlyWarning[[]DLM106[]]: max_length=12 counts the prompt*"])
    project.runpytest_inprocess(CHECKS, "--decoderonly-guard-rule=DLM106=error").assert_outcomes(failed=1)


def test_warnings_that_are_errors_fail_no_test_for_a_hazard(project):
    project.makepyfile(HAZARD)
    result = project.runpytest_inprocess(CHECKS, "-W", "error::pytest_decoderonly.runtime.DecoderOnlyWarning")
    result.assert_outcomes(passed=1, warnings=1)


def test_expected_by_a_marker(project):
    project.makepyfile(
        """
        import app, pytest

        @pytest.mark.decoderonly_expect("DLM101", reason="the wrong way")
        def test_found(model, tokenizer):
            app.answer_without_mask(model, tokenizer)

        @pytest.mark.decoderonly_expect("DLM101", reason="the wrong way")
        def test_missing(model, tokenizer):
            app.answer(model, tokenizer)

        @pytest.mark.decoderonly_expect("DLM101", reason="the wrong way")
        def test_another(model, tokenizer):
            app.answer_with_prompt(model, tokenizer)
        """
    )
    result = project.runpytest_inprocess(CHECKS)
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        ["*decoderonly_expect: DLM101 not found in this test*", "*DecoderOnlyError[[]DLM201[]]*"]
    )


def test_blocks_inside_tests(project):
    project.makepyfile(
        """
        import app
        from pytest_decoderonly import decoderonly_allow, decoderonly_expect

        def test_expected(model, tokenizer):
            with decoderonly_expect("DLM101"):
                app.answer_without_mask(model, tokenizer)

        def test_allowed(model, tokenizer):
            with decoderonly_allow("DLM101", reason="the wrong way"):
                app.answer_without_mask(model, tokenizer)
            app.answer_with_prompt(model, tokenizer)
        """
    )
    result = project.runpytest_inprocess(CHECKS)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["guard  *1 finding in 1 test   2 allowed"])
    project.runpytest_inprocess().assert_outcomes(passed=2)


def test_missing_pad_token_is_explained_beside_the_failure(project):
    project.makepyfile(
        """
        import pytest
        from pytest_decoderonly.tiny import tiny_tokenizer

        def test_it():
            tiny_tokenizer(pad=False)(["a", "b c"], padding=True)

        def test_expected():
            with pytest.raises(ValueError):
                tiny_tokenizer(pad=False)(["a", "b c"], padding=True)
        """
    )
    result = project.runpytest_inprocess(CHECKS)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["E *ValueError*", "*- decoderonly -*", "DecoderOnlyError[[]DLM103[]]*"])
    assert result.stdout.str().count("DecoderOnlyError[DLM103]") == 1
