"""Input that is long, deep, circular or broken: a run ends, says why where it gives up, and never fails."""

import pytest
from decoderonly_checker import check_paths
from decoderonly_checker.config import Settings

HEAD = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("gpt2")
model = AutoModelForCausalLM.from_pretrained("gpt2")
"""
BAD = (
    HEAD
    + """
inputs = tokenizer("Hello", return_tensors="pt")
output = model.generate(**inputs, max_new_tokens=20)
print(tokenizer.decode(output[0], skip_special_tokens=True))
"""
)
# Every function calls every other one, so that the whole graph is walked for each.
TANGLE = HEAD + "".join(
    f"def f{n}(ids, text):\n"
    f"    ids = tokenizer(text).input_ids if ids else model.generate(ids)\n"
    + "".join(f"    if text == '{m}':\n        ids = f{m}(ids, text + '{m}')\n" for m in range(40))
    + "    return tokenizer.decode(ids)\n\n"
    for n in range(40)
)


@pytest.fixture
def check(tmp_path):
    """Check files given as name -> text or bytes; what a hard input must never do is held against every run."""

    def check(timeout=30.0, /, **files):
        for name, content in files.items():
            data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
            (tmp_path / f"{name}.py").write_bytes(data)
        settings = Settings(root=tmp_path, timeout=timeout)
        result = check_paths([tmp_path], settings)
        assert not [error for error in result.errors if "internal error" in error.message]
        assert not [error for error in result.errors if "\n" in error.message]
        return result

    return check


def said(result):
    return [error.message for error in result.errors]


def test_a_file_that_takes_too_long_is_skipped_and_the_rest_is_checked(check, tmp_path):
    result = check(0.2, bad=BAD, tangle=TANGLE)
    assert [(error.path, error.message) for error in result.errors] == [
        ((tmp_path / "tangle.py").as_posix(), "took over 0.2 s: skipped (see --timeout)")
    ]
    assert [(d.code, d.place.path) for d in result.diagnostics] == [
        ("DLM201", (tmp_path / "bad.py").as_posix())
    ]


def test_findings_of_a_file_that_takes_too_long_are_not_shown(check):
    # The mistake is met at once, but what comes later in the file might have put it right.
    assert [d.code for d in check(0, both=BAD).diagnostics] == ["DLM201"]
    result = check(0.2, both=BAD + TANGLE.removeprefix(HEAD))
    assert said(result) == ["took over 0.2 s: skipped (see --timeout)"]
    assert not result.diagnostics


def test_the_time_of_a_module_is_not_charged_to_those_that_import_it(check, tmp_path):
    user = "from tangle import model, tokenizer\n" + BAD.removeprefix(HEAD)
    result = check(0.2, tangle=TANGLE, user=user)
    assert [error.path for error in result.errors] == [(tmp_path / "tangle.py").as_posix()]
    assert [d.code for d in result.diagnostics] == ["DLM201"]
