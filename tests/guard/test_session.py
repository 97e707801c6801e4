"""The guard as a block and as a decorator: what it raises, warns of and yields, in threads and tasks too."""

# ruff: noqa: PT012, PT031 - blocks are what is tested

from __future__ import annotations

import asyncio
import json
import pickle
import threading
import warnings
from pathlib import Path

import jsonschema
import pytest

from pytest_decoderonly import DecoderOnlyError, DecoderOnlyWarning, decoderonly_allow, guard
from pytest_decoderonly.runtime.watcher import recorder
from pytest_decoderonly.tiny import tiny_tokenizer

PROMPTS = ["the question is", "Question: yes and no, what is the answer?"]
NEW = {"max_new_tokens": 2, "do_sample": False}
REFERENCE = Path(__file__).parents[2] / "docs/reference/json.md"


@pytest.fixture
def enc(tokenizer):
    return tokenizer(PROMPTS, padding=True, return_tensors="pt")


def unmasked(model, enc):
    """Make a mistake whose result is wrong: DLM101."""
    return model.generate(enc["input_ids"], **NEW)


def hazard(model, enc):
    """Make one that is a hazard: DLM106."""
    ids, mask = (enc[name][1:, -3:] for name in ("input_ids", "attention_mask"))
    return model.generate(ids, attention_mask=mask, max_length=8, eos_token_id=None, do_sample=False)


def test_an_error_is_raised_at_the_end_of_the_block_with_line_and_chain(model, tokenizer):
    with pytest.raises(DecoderOnlyError) as caught, guard() as found:
        enc = tokenizer(PROMPTS, padding=True, return_tensors="pt")
        out = unmasked(model, enc)
        assert out.shape[0] == 2  # the block runs to its end
    (finding,) = caught.value.findings
    assert found.findings == [finding]
    assert finding.code == "DLM101"
    assert finding.place.source == 'return model.generate(enc["input_ids"], **NEW)'
    message = str(caught.value)
    assert message.startswith("1 mistake in the guarded block\n\nDecoderOnlyError[DLM101]: generate() got")
    assert "  ids built " in message
    assert "  help " in message
    assert type(caught.value).__module__ == "pytest_decoderonly"
    assert not recorder().active


def test_a_hazard_is_a_warning_at_the_users_line(model, enc):
    with pytest.warns(DecoderOnlyWarning, match=r"DecoderOnlyWarning\[DLM106\]") as caught, guard():
        hazard(model, enc)
    assert caught[0].filename == __file__
    assert caught[0].lineno == hazard.__code__.co_firstlineno + 3


def test_modes(model, enc):
    with pytest.warns(DecoderOnlyWarning, match=r"DecoderOnlyError\[DLM101\]"), guard("warn"):
        unmasked(model, enc)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with guard("collect") as found:
            unmasked(model, enc)
        with guard("off") as off:
            unmasked(model, enc)
    assert [finding.code for finding in found.findings] == ["DLM101"]
    assert (off.findings, off.calls) == ([], 0)
    assert found.calls == 1
    assert repr(found).startswith("<1 call checked, 1 finding; DLM101 ")


def test_rules_have_modes_of_their_own(model, enc):
    with guard(rules={"DLM1": "off"}) as found:
        unmasked(model, enc)
    assert found.findings == []
    with pytest.warns(DecoderOnlyWarning), guard(rules={"DLM1": "off", "DLM101": "warn"}):
        unmasked(model, enc)
    with pytest.raises(DecoderOnlyError), guard("warn", rules={"DLM106": "error"}):
        hazard(model, enc)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "loud"}, "mode: expected one of error, warn, collect, off, got 'loud'"),
        ({"rules": {"DLM101": "loud"}}, "rules: expected one of error, warn, off, got 'loud'"),
        ({"rules": {"dlm": "off"}}, "rules: expected CODE=MODE such as DLM106=off, got 'dlm=off'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError) as caught:
        guard(**arguments)
    assert str(caught.value) == message


def test_an_exception_of_the_block_passes_and_findings_are_warned_of(model, enc):
    error = KeyError("mine")
    with pytest.warns(DecoderOnlyWarning, match="DLM101"), pytest.raises(KeyError) as caught, guard():
        unmasked(model, enc)
        raise error
    assert caught.value is error


def test_findings_where_warnings_are_errors_do_not_replace_the_exception(model, enc):
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("error")
        with pytest.raises(KeyError), guard():
            unmasked(model, enc)
            raise KeyError


def test_blocks_in_blocks(model, enc):
    with guard("collect") as outer:
        with pytest.raises(DecoderOnlyError), guard():
            unmasked(model, enc)
        with decoderonly_allow("DLM101"):
            unmasked(model, enc)
        assert outer.findings == []
        hazard(model, enc)
    assert [finding.severity for finding in outer.findings] == ["warning"]


def test_a_running_block_is_not_entered_again(model):
    one = guard("collect")
    with one, pytest.raises(RuntimeError, match="make another with guard"):
        one.__enter__()
    with one:  # behind its block it may be used again
        pass


def test_decorated_functions_and_coroutines(model, enc):
    @guard()
    def ask(times):
        """Ask."""
        if times:
            return ask(times - 1)
        return unmasked(model, enc).shape[0]

    @guard(rules={"DLM101": "off"})
    async def quiet():
        await asyncio.sleep(0)
        return unmasked(model, enc).shape[0]

    assert ask.__doc__ == "Ask."
    with pytest.raises(DecoderOnlyError):
        ask(1)
    assert asyncio.run(quiet()) == 2
    with pytest.raises(TypeError, match="decorates functions and coroutine functions"):

        @guard()
        def rows():
            yield 1


def test_a_comment_silences(model, enc):
    with guard() as found:
        model.generate(enc["input_ids"], **NEW)  # decoderonly: ignore[DLM101] to compare with
    assert (found.findings, found.suppressed) == ([], 1)


def test_tasks_that_generate_by_turns_have_their_own_blocks(model, tokenizer, enc):
    """Two tasks, each with its block, whose calls run in threads and interleave."""
    turn = [asyncio.Event(), asyncio.Event()]

    async def task(number, call):
        with guard("collect") as found:
            for _ in range(3):
                await turn[number].wait()
                turn[number].clear()
                await asyncio.to_thread(call)
                turn[1 - number].set()
        return [(finding.code, finding.count) for finding in found.findings]

    def decode_whole():
        tokenizer.batch_decode(model.generate(**enc, **NEW))

    async def both():
        turn[0].set()
        return await asyncio.gather(
            task(0, lambda: unmasked(model, enc)),
            task(1, decode_whole),
        )

    assert asyncio.run(both()) == [[("DLM101", 3)], [("DLM201", 3)]]


def test_executor_threads_of_interleaved_tasks_are_seen_by_the_block_around(model, tokenizer, enc):
    """`run_in_executor` hands no context on: the block that was entered last has it, and no output is mixed up."""

    def ask(own):
        batch = own(PROMPTS, padding=True, return_tensors="pt")
        out = model.generate(**batch, **NEW)
        return own.batch_decode(out[:, batch["input_ids"].shape[1] :])

    async def both():
        loop = asyncio.get_running_loop()
        right = tiny_tokenizer(padding_side="right")
        calls = [loop.run_in_executor(None, ask, own) for own in (tokenizer, right, tokenizer, right)]
        return await asyncio.gather(*calls)

    with guard("collect") as found:
        answers = asyncio.run(both())
    assert answers[0] == answers[2]
    assert [(finding.code, finding.count) for finding in found.findings] == [("DLM102", 2)]


def test_blocks_of_threads_side_by_side(model, enc):
    """Each thread's block has its own findings, whichever was entered last."""
    barrier = threading.Barrier(2, timeout=60)
    seen = {}

    def work(name, call):
        with guard("collect") as found:
            barrier.wait()
            call(model, enc)
            barrier.wait()
        seen[name] = [finding.severity for finding in found.findings]

    threads = [threading.Thread(target=work, args=given) for given in (("a", unmasked), ("b", hazard))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"a": ["error"], "b": ["warning"]}
    assert not recorder().active


def test_plain_data_has_the_fields_of_the_checkers_json(model, tokenizer):
    with guard("collect") as found:
        tokenizer.padding_side = "right"
        enc = tokenizer(PROMPTS, padding=True, return_tensors="pt")
        ausgabe = "ä"; out = model.generate(enc["input_ids"], **NEW)  # fmt: skip  # noqa: E702, F841
        tokenizer.batch_decode(out)
    data = found.as_dicts()
    jsonschema.validate(
        json.loads(json.dumps(data)),
        json.loads(REFERENCE.read_text(encoding="utf-8").split("```")[1].removeprefix("json")),
    )
    assert [entry["code"] for entry in data] == ["DLM101", "DLM102", "DLM201"]
    first, last = data[0], data[-1]
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    span = lines[first["line"] - 1][first["column"] - 1 : first["end_column"] - 1]
    assert first["line"] == first["end_line"]
    assert 'model.generate(enc["input_ids"], **NEW)' in span
    assert (first["path"], first["confidence"], first["count"], first["test"], first["fix"]) == (
        "tests/guard/test_session.py",
        "certain",
        1,
        None,
        None,
    )
    # In program order, the tokenizer beside the call that it made.
    assert [entry["message"].partition(":")[0] for entry in last["related"]] == ["tokenized", "generated"]
    assert 'padding_side="right"' in last["related"][0]["message"]
    assert last["related"][0]["line"] < last["related"][1]["line"] < last["line"]
    assert first["rows"][0]["label"].startswith("row")


def test_an_error_goes_to_another_process(model, enc):
    with pytest.raises(DecoderOnlyError) as caught, guard():
        unmasked(model, enc)
    copied = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own
    assert str(copied) == str(caught.value)
    assert copied.findings[0].place.line == caught.value.findings[0].place.line
