"""The guard changes nothing: results, random state, exceptions, warnings, and the library behind it."""

from __future__ import annotations

import copy
import gc
import inspect
import pickle
import subprocess
import sys
import textwrap
import threading
import warnings
import weakref

import pytest
import torch
from peft import PeftModelForCausalLM
from transformers import (
    DataCollatorForLanguageModeling,
    GenerationMixin,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
    TextGenerationPipeline,
    TextIteratorStreamer,
    TextStreamer,
    pipeline,
)

from pytest_decoderonly.runtime import DecoderOnlyWarning, provenance, watch, watcher
from pytest_decoderonly.runtime.watcher import recorder
from pytest_decoderonly.tiny import tiny_decoder

PROMPTS = ["the question is", "Question: yes and no, what is the answer?"]
METHODS = [
    (GenerationMixin, "generate"),
    *(
        (PreTrainedTokenizerBase, name)
        for name in ("__call__", "encode", "pad", "apply_chat_template", "decode")
    ),
    (PreTrainedTokenizerBase, "batch_decode"),
    (PreTrainedModel, "__call__"),
    (PeftModelForCausalLM, "forward"),
    (ProcessorMixin, "apply_chat_template"),
    (TextStreamer, "__init__"),
    (TextIteratorStreamer, "__init__"),
    (TextGenerationPipeline, "__call__"),
    (TextGenerationPipeline, "__init__"),
    (DataCollatorForLanguageModeling, "torch_call"),
    (DataCollatorForLanguageModeling, "__init__"),
]


def methods():
    return [getattr(owner, name) for owner, name in METHODS]


def faulty_program(model, tokenizer):
    """Make every mistake once, by sampling, and return all that can be observed."""
    torch.manual_seed(7)
    tokenizer.padding_side = "right"
    enc = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    before = {name: tensor.clone() for name, tensor in enc.items()}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        out = model.generate(enc["input_ids"], do_sample=True, max_new_tokens=6, return_dict_in_generate=True)
        texts = tokenizer.batch_decode(out.sequences)
    assert all(torch.equal(enc[name], before[name]) for name in before)
    return {
        "ids": out.sequences.tolist(),
        "texts": texts,
        "random state": torch.get_rng_state().tolist(),
        "warnings": [(entry.category, str(entry.message)) for entry in caught],
        "type": type(out),
        "version": out.sequences._version,
        "keys": list(enc),
    }


def test_same_results(model, tokenizer):
    alone = faulty_program(model, tokenizer)
    with watch() as findings:
        guarded = faulty_program(model, tokenizer)
    assert guarded == alone
    assert sorted(finding.code for finding in findings) == ["DLM101", "DLM102", "DLM201"]


def training(model, tokenizer):
    """Make one step with every mistake that a batch of labels can hold, and return all that can be observed."""
    torch.manual_seed(7)
    model.train()
    tokenizer.padding_side = "right"
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    labels = batch["input_ids"].clone()
    labels[1] = -100
    before = {name: tensor.clone() for name, tensor in (*batch.items(), ("labels", labels))}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        out = model(**batch, labels=labels)
        out.loss.backward()
    assert all(torch.equal({**batch, "labels": labels}[name], before[name]) for name in before)
    gradients = [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
    model.zero_grad()
    model.eval()
    return {
        "loss": out.loss.item(),
        "gradients": [gradient.tolist() for gradient in gradients],
        "random state": torch.get_rng_state().tolist(),
        "warnings": [(entry.category, str(entry.message)) for entry in caught],
        "type": type(out),
        "versions": [batch["input_ids"]._version, labels._version],
    }


def test_same_gradients(model, tokenizer):
    alone = training(model, tokenizer)
    with watch() as findings:
        guarded = training(model, tokenizer)
    assert guarded == alone
    assert [finding.code for finding in findings] == ["DLM302", "DLM311"]


def outcome(call):
    """Return what a call raises; some versions take what others refuse."""
    try:
        call()
    except Exception as error:
        return type(error), str(error)
    return None, ""


def test_same_exceptions_of_forwards_pipelines_and_collators(model, tokenizer):
    pipe = pipeline("text-generation", model=model, tokenizer=tokenizer)
    collate = DataCollatorForLanguageModeling(tokenizer, mlm=False)

    def attempt():
        calls = (
            lambda: model(torch.tensor([[5, 6]]), labels=torch.tensor([[5, 6, 7]])),
            lambda: model(torch.tensor([[100000]])),
            lambda: model("text"),
            model,
            lambda: pipe(7),
            lambda: collate([{"labels": [1]}]),
            lambda: collate([]),
            TextStreamer,
            lambda: tokenizer.apply_chat_template("text"),
        )
        seen = [outcome(call) for call in calls]
        assert sum(kind is not None for kind, _ in seen) > 5
        return seen

    alone = attempt()
    with warnings.catch_warnings():
        warnings.simplefilter("error", DecoderOnlyWarning)
        with watch() as findings:
            guarded = attempt()
    assert guarded == alone
    assert findings == []


def test_models_are_copied_pickled_and_traced_as_before():
    # A model of its own: transformers hangs hooks that cannot be pickled on one that was asked for hidden states.
    model = tiny_decoder("llama")
    ids = torch.tensor([[5, 6, 7]])
    expected = model(ids, use_cache=False).logits

    class Logits(torch.nn.Module):
        def __init__(self, within):
            super().__init__()
            self.within = within

        def forward(self, given):
            return self.within(given, use_cache=False).logits

    with warnings.catch_warnings(record=True) as alone:
        warnings.simplefilter("always")
        plain = outcome(
            lambda: torch.jit.trace(Logits(model), (ids,))
        )  # 4.57 cannot be traced by today's torch
    with warnings.catch_warnings(record=True) as caught, watch() as findings:
        warnings.simplefilter("always")
        copied = pickle.loads(pickle.dumps(copy.deepcopy(model)))  # noqa: S301 - our own
        traces = []
        guarded = outcome(lambda: traces.append(torch.jit.trace(Logits(copied), (ids,))))
    assert guarded == plain
    assert [str(entry.message) for entry in caught] == [str(entry.message) for entry in alone]
    assert torch.equal(copied(ids, use_cache=False).logits, expected)
    for traced in traces:
        torch.testing.assert_close(traced(ids), expected)
    assert findings == []


def test_memory_of_tokenizers_stays_bounded(tokenizer):
    with watch():
        for number in range(provenance._TOKENIZED_CALLS + 300):
            tokenizer(f"text {number}")
        log = recorder()._log
        assert len(log._tokenized) == provenance._TOKENIZED_CALLS
        assert log._tokenized_bytes == sum(event.size for event in log._tokenized)
        assert len(log._rows) <= provenance._TOKENIZED_CALLS
        assert len(log._texts) <= provenance._TOKENIZED_CALLS
        assert sum(log._widths.values()) == provenance._TOKENIZED_CALLS
        for number in range(provenance._RENDERED_TEXTS + 100):
            log.add_rendered([str(number)], [provenance.Rendered(None, "user", False, False)])
        assert len(log._rendered) == provenance._RENDERED_TEXTS


def test_same_exceptions(model, tokenizer):
    def attempt():
        seen = []
        for call in (
            lambda: model.generate(torch.ones(2, 3, 4, dtype=torch.long), max_new_tokens=1),
            lambda: model.generate(torch.tensor([[5]]), nonsense=True),
            lambda: tokenizer(5),
            lambda: tokenizer.decode("text"),
            tokenizer.decode,
        ):
            with pytest.raises(Exception) as caught:
                call()
            seen.append((caught.type, str(caught.value)))
        return seen

    alone = attempt()
    with watch() as findings:
        guarded = attempt()
    assert guarded == alone
    assert findings == []


def test_methods_are_wrapped_inside_and_restored_after_a_failure():
    before = methods()
    with pytest.raises(RuntimeError, match="mine"), watch():  # noqa: PT012
        inside = methods()
        assert all(now is not then for now, then in zip(inside, before, strict=True))
        # What a reader or a library asks of a method is answered as before.
        for now, then in zip(inside, before, strict=True):
            assert inspect.signature(now) == inspect.signature(then)
            assert (now.__doc__, now.__qualname__, now.__module__) == (
                then.__doc__,
                then.__qualname__,
                then.__module__,
            )
        raise RuntimeError("mine")
    assert all(now is then for now, then in zip(methods(), before, strict=True))
    assert "__call__" not in vars(PreTrainedModel)
    assert not [finder for finder in sys.meta_path if type(finder).__name__ == "_AfterImport"]


def test_a_replacement_made_inside_is_left_to_its_owner(monkeypatch):
    def mine(*_, **__):
        return "mine"

    before = vars(PreTrainedTokenizerBase)["decode"]
    with watch():
        PreTrainedTokenizerBase.decode = mine
    try:
        assert vars(PreTrainedTokenizerBase)["decode"] is mine
    finally:
        PreTrainedTokenizerBase.decode = before


def test_nothing_is_kept_alive(tokenizer):
    from pytest_decoderonly.tiny import tiny_decoder

    model = tiny_decoder("llama")
    with watch() as findings:
        out = model.generate(**tokenizer(PROMPTS[0], return_tensors="pt"), max_new_tokens=2)
        tokenizer.decode(out[0])
        streamer = TextStreamer(tokenizer, skip_prompt=True)
        pipe = pipeline("text-generation", model=model, tokenizer=tokenizer)
        labels = torch.tensor([[-100, -100]])
        model(torch.tensor([[5, 6]]), labels=labels)
        gone = [weakref.ref(thing) for thing in (model, out, streamer, pipe, labels)]
        del model, out, streamer, pipe, labels
        gc.collect()
        assert [ref() for ref in gone] == [None] * 5
        assert not recorder().made._known
    assert [finding.code for finding in findings] == ["DLM201", "DLM311"]


def test_inner_block_takes_its_own_findings(model):
    ids = torch.tensor([[5, 6, 0, 0], [7, 8, 9, 10]])
    with watch() as outer:
        model.generate(ids, max_new_tokens=1)
        with watch() as inner:
            model.generate(ids, max_new_tokens=1)
    assert [finding.code for finding in outer] == [finding.code for finding in inner] == ["DLM101", "DLM102"]
    assert outer[0].place != inner[0].place


def test_generate_inside_generate(model, tokenizer):
    """A user's processor that asks another model is judged on its own; the outer output is still followed."""
    from transformers import LogitsProcessor

    padded = tokenizer(PROMPTS, padding=True, return_tensors="pt")["input_ids"]

    class Asks(LogitsProcessor):
        def __call__(self, _, scores):
            model.generate(padded, max_new_tokens=1)
            return scores

    with watch() as findings:
        out = model.generate(
            **tokenizer(PROMPTS[0], return_tensors="pt"),
            max_new_tokens=2,
            do_sample=False,
            logits_processor=[Asks()],
        )
        tokenizer.decode(out[0])
    assert [finding.code for finding in findings] == ["DLM101", "DLM201"]
    assert findings[0].place.function.endswith("Asks.__call__")
    assert findings[0].count == 2


def test_assistant_is_not_the_users_call(model, tokenizer):
    with watch() as findings:
        enc = tokenizer(PROMPTS[0], return_tensors="pt")
        model.generate(**enc, assistant_model=model, max_new_tokens=4, do_sample=False)
    assert findings == []


def test_threads(model, tokenizer):
    """Threads that generate and decode at once: every mistake is counted, none is mixed up with another's."""
    ids = torch.tensor([[5, 6, 7]])

    def right():
        for _ in range(5):
            out = model.generate(ids, max_new_tokens=2)
            tokenizer.decode(out[0, 3:])

    def wrong():
        for _ in range(5):
            out = model.generate(ids, max_new_tokens=2)
            tokenizer.decode(out[0])

    with watch() as findings:
        threads = [threading.Thread(target=target) for target in (right, wrong, right, wrong)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    (finding,) = findings
    assert (finding.code, finding.count) == ("DLM201", 10)
    assert finding.place.function.endswith("wrong")


def test_a_fault_of_the_guard_is_one_warning(model, tokenizer, monkeypatch):
    """The user's calls go on; the fault is told once, after them."""

    def broken(*_):
        raise ZeroDivisionError("inside the guard")

    monkeypatch.setattr(watcher.ids, "rows_of", broken)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with watch() as findings:
            out = model.generate(torch.tensor([[5, 6], [7, 8]]), max_new_tokens=1)
            tokenizer.batch_decode(out)
    assert out.shape == (2, 3)
    assert findings == []
    (told,) = [entry for entry in caught if entry.category is DecoderOnlyWarning]
    assert "ZeroDivisionError: inside the guard" in str(told.message)


def test_a_fault_of_the_guard_is_no_failure_where_warnings_are_errors(model, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(watcher.ids, "rows_of", broken)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with watch():
            assert model.generate(torch.tensor([[5, 6]]), max_new_tokens=1).shape == (1, 3)


def test_fake_and_meta_tensors_are_left_alone(tokenizer):
    from torch._subclasses.fake_tensor import FakeTensorMode

    from pytest_decoderonly.runtime import ids

    with FakeTensorMode():
        fake = torch.ones(2, 3, dtype=torch.long)
    assert ids.rows_of(fake) is None
    assert ids.rows_of(torch.ones(2, 3, dtype=torch.long, device="meta")) is None
    assert ids.rows_of(torch.ones(2, 3)) is None
    assert ids.rows_of([[1.5]]) is None


@pytest.fixture
def apart(monkeypatch):
    """A torch that was built for another NumPy than the one that is there: it says so when it is asked for an array."""
    from pytest_decoderonly.runtime import ids

    def refuse(_):
        raise RuntimeError("Numpy is not available")

    kept = (ids._numpy_reads_tensors, ids._numpy_types)
    monkeypatch.setattr(torch.Tensor, "numpy", refuse)
    for one in kept:
        one.cache_clear()
    yield
    for one in kept:
        one.cache_clear()


def test_a_torch_that_cannot_hand_tensors_to_numpy_is_guarded_as_any_other(model, tokenizer, apart):
    batch = tokenizer(["Hi", "Is the sky blue?"], padding=True, return_tensors="pt")
    with watch() as findings:
        model.generate(batch["input_ids"], max_new_tokens=1)
    assert [finding.code for finding in findings] == ["DLM101"]


def test_transformers_imported_inside_the_block_is_guarded_and_not_before():
    """The guard imports nothing; what the program imports later is wrapped then, its loader restored."""
    program = """
        import sys
        from pytest_decoderonly.runtime import watch
        with watch() as findings:
            early = [name for name in ("torch", "transformers", "libcst") if name in sys.modules]
            import torch
            from pytest_decoderonly.tiny import tiny_decoder, tiny_tokenizer
            model, tokenizer = tiny_decoder("llama"), tiny_tokenizer()
            model.generate(torch.tensor([[5, 6, 0, 0], [7, 8, 9, 10]]), max_new_tokens=1)
            tokenizer.decode(model.generate(torch.tensor([[5, 6]]), max_new_tokens=1)[0])
        import transformers.generation.utils as utils
        wrapped = hasattr(utils.GenerationMixin.generate, "_decoderonly_guard")
        print(early, sorted(f.code for f in findings), wrapped)
        print("exec_module" in vars(utils.__loader__), type(utils.__loader__).__name__)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stdout.splitlines() == ["[] ['DLM101', 'DLM102', 'DLM201'] False", "False SourceFileLoader"]
