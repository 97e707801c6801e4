"""What a run imports that does not ask for the checks, and what it does without torch and transformers."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

HEAVY = ("torch", "transformers", "libcst", "click", "numpy")
OURS = ("static", "summary", "guard", "conformance", "compare", "assertions", "tiny")

# Stands for an environment without the two libraries: whoever imports them gets what is got there.
BLOCKER = """
    import sys

    class Missing:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("torch", "transformers"):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    assert "torch" not in sys.modules and "transformers" not in sys.modules
    sys.meta_path.insert(0, Missing())
"""

FAULTY = """
    def answer(model, tokenizer, question):
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained("gpt2")
        model = AutoModelForCausalLM.from_pretrained("gpt2")
        enc = tokenizer(question, return_tensors="pt")
        return tokenizer.decode(model.generate(**enc, max_new_tokens=20)[0])
"""


def test_a_run_without_the_flag_imports_none_of_it(pytester):
    pytester.makeconftest(
        f"""
        import sys

        def pytest_unconfigure():
            heavy = sorted(set({HEAVY!r}) & set(sys.modules))
            packages = ("pytest_decoderonly", "decoderonly_checker")
            ours = sorted(name for name in sys.modules if name.partition(".")[0] in packages)
            print("\\nheavy:", heavy, "ours:", ours)
        """
    )
    pytester.makepyfile("def test_it(): pass\n")
    result = pytester.runpytest_subprocess("-s")
    result.assert_outcomes(passed=1)
    (line,) = [line for line in result.outlines if line.startswith("heavy:")]
    assert line.startswith("heavy: [] ours:"), line
    assert "'pytest_decoderonly.plugin'" in line
    assert not [name for name in OURS if f"pytest_decoderonly.{name}" in line], line
    assert "decoderonly_checker" not in line


def test_the_plugin_and_options_import_pytest_and_the_standard_library_only():
    code = (
        "import sys, pytest; before = set(sys.modules); import pytest_decoderonly.plugin;"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "print(sorted(new - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "['pytest_decoderonly']"


@pytest.fixture
def bare(pytester, monkeypatch):
    """A project in an environment with neither torch nor transformers."""
    pytester.makepyfile(serve=FAULTY, test_it="def test_it(): pass\n")
    pytester.mkdir(".plugins")
    (pytester.path / ".plugins" / "blocker.py").write_text(textwrap.dedent(BLOCKER))
    monkeypatch.setenv("PYTHONPATH", str(pytester.path / ".plugins"), prepend=os.pathsep)
    return pytester


def test_static_items_run_and_the_rest_says_what_it_needs(bare):
    result = bare.runpytest_subprocess("-p", "blocker", "--decoderonly-checks", "-v")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "serve.py::decoderonly-static FAILED*",
            "*[[]DLM201[]]*",
            "static    1 file checked   1 finding*",
            "guard     off, needs torch and transformers: pip install 'pytest-decoderonly[[]models[]]'",
        ]
    )


def test_a_model_fails_and_says_what_to_install(bare):
    result = bare.runpytest_subprocess(
        "-p", "blocker", "--decoderonly-checks", "--decoderonly-model=some-model"
    )
    assert result.ret != pytest.ExitCode.OK
    assert "pip install" in result.stdout.str() + result.stderr.str()


def test_guard_that_is_off_needs_nothing(bare):
    result = bare.runpytest_subprocess("-p", "blocker", "--decoderonly-checks", "--decoderonly-guard=off")
    assert "pip install" not in result.stdout.str()


def test_builders_say_what_to_install(bare):
    bare.makepyfile(
        test_models="""
        from pytest_decoderonly import tiny_decoder, tiny_tokenizer

        def test_model():
            tiny_decoder("llama")

        def test_tokenizer():
            tiny_tokenizer()
        """
    )
    result = bare.runpytest_subprocess("-p", "blocker", "test_models.py")
    result.assert_outcomes(failed=2)
    for who, needs in (("model", "torch and transformers"), ("tokenizer", "transformers")):
        said = f"ModuleNotFoundError: a tiny {who} needs {needs}: pip install 'pytest-decoderonly[models]'\n"
        assert said in result.stdout.str()
