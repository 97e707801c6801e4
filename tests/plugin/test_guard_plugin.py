"""The guard in real test runs: what fails, what warns, what is shown, and what travels."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import torch  # noqa: F401 - loaded once here, not in every run inside
import transformers.generation.utils

from pytest_decoderonly.runtime import watch

CHECKS = "--decoderonly-checks"

THREE = """
    import app

    def test_mask(model, tokenizer):
        assert app.answer_without_mask(model, tokenizer)

    def test_side(model, tokenizer):
        assert app.answer_right_padded(model, tokenizer)

    def test_prompt(model, tokenizer):
        assert app.answer_with_prompt(model, tokenizer)

    def test_right(model, tokenizer):
        assert app.answer(model, tokenizer)
"""


def test_each_mistake_fails_its_test_and_no_other(project):
    project.makepyfile(THREE)
    result = project.runpytest_inprocess(CHECKS, "-v")
    result.assert_outcomes(passed=1, failed=3)
    result.stdout.fnmatch_lines(
        [
            "*::test_mask FAILED*",
            "*::test_side FAILED*",
            "*::test_prompt FAILED*",
            "*::test_right PASSED*",
            "DecoderOnlyError[[]DLM101[]]: generate() got ids of 2 prompts with padding and no *",
            "  called        app.py:8 in answer_without_mask *out = model.generate(*",
            "  ids built     app.py:4 in encode *return *-> (2, 21), 15 padding tokens on the left",
            "SUMMARY: DLM101 app.py:8 in answer_without_mask",
            "DecoderOnlyError[[]DLM102[]]: *",
            "SUMMARY: DLM102 app.py:13 in answer_right_padded",
            "DecoderOnlyError[[]DLM201[]]: *",
            "SUMMARY: DLM201 app.py:18 in answer_with_prompt",
            "*= decoderonly =*",
            "guard     8 calls checked in 4 tests   3 findings in 3 tests",
            "            DLM101 app.py:8 in answer_without_mask",
            "            DLM102 app.py:13 in answer_right_padded",
            "            DLM201 app.py:18 in answer_with_prompt",
            "pytest-decoderonly *transformers *torch *",
            "rerun failures: pytest --lf --decoderonly-checks",
        ]
    )
    assert "Traceback" not in result.stdout.str()


def test_without_the_flag_nothing_is_guarded(project):
    project.makepyfile(THREE)
    result = project.runpytest_inprocess()
    result.assert_outcomes(passed=4)
    assert "decoderonly" not in result.stdout.str().split("plugins:")[1].split("\n", 1)[1]


def test_warn_mode(project):
    project.makepyfile(THREE)
    result = project.runpytest_inprocess(CHECKS, "--decoderonly-guard=warn")
    result.assert_outcomes(passed=4, warnings=3)
    result.stdout.fnmatch_lines(
        ["*app.py:8: DecoderOnlyWarning: DecoderOnlyError[[]DLM101[]]*", "guard *3 findings in 3 tests"]
    )
    assert "rerun failures" not in result.stdout.str()


def test_off(project):
    project.makepyfile(THREE)
    result = project.runpytest_inprocess(CHECKS, "--decoderonly-guard=off")
    result.assert_outcomes(passed=4)
    assert "guard  " not in result.stdout.str()


def test_markers(project):
    project.makepyfile(
        """
        import app, pytest

        @pytest.mark.decoderonly_allow("DLM101", reason="compares with the wrong way")
        def test_allowed(model, tokenizer):
            app.answer_without_mask(model, tokenizer)

        @pytest.mark.decoderonly_allow("DLM201", reason="another code")
        def test_other_code(model, tokenizer):
            app.answer_without_mask(model, tokenizer)

        @pytest.mark.decoderonly_guard("warn")
        def test_warned(model, tokenizer):
            app.answer_without_mask(model, tokenizer)

        @pytest.mark.decoderonly_guard("off")
        def test_off(model, tokenizer):
            app.answer_without_mask(model, tokenizer)
        """
    )
    result = project.runpytest_inprocess(CHECKS)
    result.assert_outcomes(passed=3, failed=1, warnings=1)
    result.stdout.fnmatch_lines(
        [
            "guard     6 calls checked in 3 tests   2 findings in 2 tests   1 allowed",
            "FAILED *::test_other_code*",
        ]
    )


def test_comment_silences(project):
    source = project.path / "app.py"
    line = 'out = model.generate(enc["input_ids"], max_new_tokens=3)'
    source.write_text(
        source.read_text().replace(line, f"{line}  # decoderonly: ignore[DLM101] a demonstration")
    )
    project.makepyfile(
        "import app\ndef test_it(model, tokenizer): app.answer_without_mask(model, tokenizer)\n"
    )
    result = project.runpytest_inprocess(CHECKS)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["guard     2 calls checked in 1 test   no findings   1 suppressed"])


def test_a_test_that_fails_by_itself_keeps_its_failure_and_shows_the_finding(project):
    project.makepyfile(
        """
        import app
        def test_it(model, tokenizer):
            assert "yes" in app.answer_with_prompt(model, tokenizer)
        """
    )
    result = project.runpytest_inprocess(CHECKS)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *assert 'yes' in*", "*- decoderonly -*", "DecoderOnlyError[[]DLM201[]]*"])


def test_expected_failure_stays_expected_and_skips_stay_skips(project):
    project.makepyfile(
        """
        import app, pytest

        @pytest.mark.xfail(strict=True)
        def test_known(model, tokenizer):
            app.answer_with_prompt(model, tokenizer)

        def test_skips(model, tokenizer):
            app.answer_with_prompt(model, tokenizer)
            pytest.skip("enough")
        """
    )
    project.runpytest_inprocess(CHECKS).assert_outcomes(xfailed=1, skipped=1)


def test_fixtures_are_guarded(project):
    """Generated in a fixture, decoded in the test; and what a fixture does behind the test counts too."""
    project.makepyfile(
        """
        import app, pytest

        @pytest.fixture(scope="module")
        def output(model, tokenizer):
            return model.generate(**app.encode(tokenizer), max_new_tokens=2)

        @pytest.fixture
        def cleanup(model, tokenizer):
            yield
            app.answer_with_prompt(model, tokenizer)

        def test_first(output):
            pass

        def test_decodes(output, tokenizer):
            tokenizer.batch_decode(output)

        def test_cleans_up(cleanup):
            pass
        """
    )
    result = project.runpytest_inprocess(CHECKS)
    result.assert_outcomes(passed=2, failed=1, errors=1)
    shown = result.stdout.str()
    assert "ERROR at teardown of test_cleans_up" in shown
    assert "FAILED test_fixtures_are_guarded.py::test_decodes" in shown
    assert shown.count("DecoderOnlyError[DLM201]: batch_decode()") == 2


def test_one_report_a_place_with_its_count(project):
    project.makepyfile(
        """
        import app, pytest

        @pytest.mark.parametrize("number", range(2))
        def test_it(model, tokenizer, number):
            for _ in range(3):
                app.answer_without_mask(model, tokenizer)
        """
    )
    result = project.runpytest_inprocess(CHECKS)
    result.assert_outcomes(failed=2)
    assert result.stdout.str().count("DecoderOnlyError[DLM101]: generate() got") == 2  # once for each test
    result.stdout.fnmatch_lines(
        [
            "  seen          3 times at this place",
            "            DLM101 app.py:8 in answer_without_mask (6 times)",
        ]
    )


def test_unittest_classes(project):
    project.makepyfile(
        """
        import unittest, app
        from pytest_decoderonly.tiny import tiny_decoder, tiny_tokenizer

        class Answers(unittest.TestCase):
            def test_it(self):
                app.answer_with_prompt(tiny_decoder("llama"), tiny_tokenizer())
        """
    )
    result = project.runpytest_inprocess(CHECKS)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["DecoderOnlyError[[]DLM201[]]*"])


def test_asyncio_and_threads(project):
    project.makepyfile(
        """
        import asyncio, threading, app

        def test_async(model, tokenizer):
            async def ask():
                return await asyncio.to_thread(app.answer_with_prompt, model, tokenizer)
            assert asyncio.run(ask())

        def test_thread(model, tokenizer):
            thread = threading.Thread(target=app.answer_without_mask, args=(model, tokenizer))
            thread.start()
            thread.join()
        """
    )
    result = project.runpytest_inprocess(CHECKS)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        ["SUMMARY: DLM201 app.py:18 in answer_with_prompt", "SUMMARY: DLM101 app.py:8 in answer_without_mask"]
    )


def test_junit_holds_the_finding(project):
    project.makepyfile(THREE)
    project.runpytest_inprocess(CHECKS, "--junit-xml=out.xml")
    cases = {case.get("name"): case for case in ET.parse(project.path / "out.xml").iter("testcase")}  # noqa: S314
    assert "DecoderOnlyError[DLM101]" in (cases["test_mask"].find("failure").text or "")
    properties = [(entry.get("name"), entry.get("value")) for entry in cases["test_mask"].iter("property")]
    assert properties == [("decoderonly", "DLM101 app.py:8 in answer_without_mask")]
    assert cases["test_right"].find("failure") is None


def test_xdist_adds_up_and_prints_once(project):
    """What was found reaches the controller: the totals, the JUnit file, and plain data for reporters."""
    project.makepyfile(THREE)
    with (project.path / "conftest.py").open("a") as conftest:
        conftest.write(
            """
def pytest_runtest_logreport(report):
    import json, pathlib
    from pytest_decoderonly.runtime.plugin import findings_of
    if hasattr(report, "node") and findings_of(report):  # in the controller
        path = pathlib.Path("found.jsonl")
        path.write_text((path.read_text() if path.exists() else "") + json.dumps(findings_of(report)) + chr(10))
"""
        )
    result = project.runpytest_subprocess(CHECKS, "-n", "2", "--junit-xml=out.xml", timeout=180)
    result.assert_outcomes(passed=1, failed=3)
    shown = result.stdout.str()
    assert shown.count("= decoderonly =") == 1
    assert "8 calls checked in 4 tests   3 findings in 3 tests" in shown
    assert shown.count("            DLM101 app.py:8 in answer_without_mask") == 1
    properties = [entry.get("value") for entry in ET.parse(project.path / "out.xml").iter("property")]  # noqa: S314
    assert sorted(value[:14] for value in properties) == [
        "DLM101 app.py:",
        "DLM102 app.py:",
        "DLM201 app.py:",
    ]
    lines = (project.path / "found.jsonl").read_text().splitlines()
    found = [finding for line in lines for finding in json.loads(line)]
    assert sorted((entry["code"], entry["path"], entry["test"].partition("::")[2]) for entry in found) == [
        ("DLM101", "app.py", "test_mask"),
        ("DLM102", "app.py", "test_side"),
        ("DLM201", "app.py", "test_prompt"),
    ]


def test_methods_are_restored_behind_the_run(project):
    project.makepyfile(THREE)
    before = vars(transformers.generation.utils.GenerationMixin)["generate"]
    project.runpytest_inprocess(CHECKS)
    assert vars(transformers.generation.utils.GenerationMixin)["generate"] is before


def test_the_guard_sees_what_a_guarded_test_watches_itself(project):
    """A test may watch on its own: the inner block has the finding, and the test passes."""
    project.makepyfile(
        """
        import app
        from pytest_decoderonly.runtime import watch

        def test_it(model, tokenizer):
            with watch() as findings:
                app.answer_with_prompt(model, tokenizer)
            assert [finding.code for finding in findings] == ["DLM201"]
        """
    )
    project.runpytest_inprocess(CHECKS).assert_outcomes(passed=1)
    with watch() as findings:
        pass
    assert findings == []
