"""Random programs of tokenize, pad, generate, slice and decode steps, against an oracle that knows what they do."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_decoderonly.runtime import watch
from pytest_decoderonly.tiny import tiny_tokenizer

WORDS = ["the", "question", "is", "yes", "no", "and", "answer", "?", "it"]
CARRIERS = ["view", "sequences", "list", "numpy", "copy", "filtered"]
STARTS = ["whole", "padding", "width", "own length", "characters", "last", "behind"]


@dataclass(frozen=True)
class Program:
    """What one program does: which prompts, how they are padded and passed, what is decoded of the output."""

    prompts: list[str]
    pads_with_eos: bool
    side: str
    padded_later: bool
    passes_mask: bool
    new_tokens: int
    carrier: str
    start: str
    row: int
    whole_batch: bool


programs = st.builds(
    Program,
    prompts=st.lists(
        st.lists(st.sampled_from(WORDS), min_size=2, max_size=9).map(" ".join),
        min_size=1,
        max_size=3,
        unique=True,
    ),
    pads_with_eos=st.booleans(),
    side=st.sampled_from(["left", "right"]),
    padded_later=st.booleans(),
    passes_mask=st.booleans(),
    new_tokens=st.integers(2, 6),
    carrier=st.sampled_from(CARRIERS),
    start=st.sampled_from(STARTS),
    row=st.integers(0, 2),
    whole_batch=st.booleans(),
)


def run(program, model, tokenizer):
    """Run a program; return what an oracle needs to know: the mask of the prompts and where the decoded row begins."""
    if program.padded_later:
        encoded = [tokenizer(prompt) for prompt in program.prompts]
        tokenizer.padding_side = program.side
        enc = tokenizer.pad(encoded, return_tensors="pt")
    else:
        tokenizer.padding_side = program.side
        enc = tokenizer(program.prompts, padding=True, return_tensors="pt")
    options = {
        "max_new_tokens": program.new_tokens,
        "do_sample": False,
        "eos_token_id": None,
        "pad_token_id": 0,
    }
    if program.pads_with_eos:
        options["pad_token_id"] = tokenizer.pad_token_id
    if program.passes_mask:
        options["attention_mask"] = enc["attention_mask"]
    out = model.generate(enc["input_ids"], return_dict_in_generate=program.carrier == "sequences", **options)
    out = out.sequences if program.carrier == "sequences" else out
    number = program.row % len(program.prompts)
    mask = enc["attention_mask"][number]
    width = len(mask)
    start = {
        "whole": 0,
        "padding": int((mask == 0).sum()) if program.side == "left" else 0,
        "width": width,
        "own length": int(mask.sum()),
        "characters": len(program.prompts[number]),
        "last": out.shape[1] - 1,
        "behind": width + 1,
    }[program.start]
    carried = {
        "list": out.tolist,
        "numpy": lambda: out.numpy().copy(),
        "copy": out.clone,
    }.get(program.carrier, lambda: out)()
    if program.whole_batch and program.start in ("whole", "width"):
        rows = [row[start:] for row in carried] if program.carrier == "list" else carried[:, start:]
        return enc, start, tokenizer.batch_decode(rows)
    row = carried[number][start:]
    if program.carrier == "filtered":
        row = [token for token in row.tolist() if token != tokenizer.pad_token_id]
    return enc, start, tokenizer.decode(row)


def judge(program, enc, start):
    """Return the codes that must be found, and those that may be: where only ids tell, they may tell nothing."""
    mask = enc["attention_mask"]
    rows, width = mask.shape
    padded = bool((mask == 0).any())
    must, may = set(), set()
    if not program.passes_mask and (rows > 1 or padded):
        must.add("DLM101")
    if program.side == "right" and padded:
        must.add("DLM102")
    if program.padded_later and not program.passes_mask:
        may |= must  # `pad` makes no new mask of what it is given
    number = program.row % len(program.prompts)
    own = int(mask[number].sum())
    left = width - own if program.side == "left" else 0
    decoded = set()
    batch = program.whole_batch and program.start in ("whole", "width")
    if start == 0 or (start == left and not batch):
        decoded.add("DLM201")
    elif (start == own != width and left) or (
        start == len(program.prompts[number]) > width and program.start == "characters"
    ):
        decoded.add("DLM203")
    if program.carrier in ("view", "sequences"):
        must |= decoded
    else:
        # Ids alone may be another program's as well: the same words with less padding in front, prompt and all.
        may |= decoded | ({"DLM201"} if "DLM203" in decoded or start < left else set())
    if program.start == "characters" or len(program.prompts[number]) in (start, width + program.new_tokens):
        may.add("DLM203")
        must.discard("DLM203")
    return must, may | must


@pytest.fixture(scope="module")
def tokenizers():
    own, shared = tiny_tokenizer(), tiny_tokenizer()
    shared.pad_token = shared.eos_token
    return {False: own, True: shared}


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(program=programs)
def test_what_is_found_is_what_was_done(model, tokenizers, program):
    torch.manual_seed(0)
    with watch() as findings:
        enc, start, _ = run(program, model, tokenizers[program.pads_with_eos])
    found = {finding.code for finding in findings}
    must, may = judge(program, enc, start)
    assert must <= found <= may, (sorted(found), sorted(must), sorted(may))
