"""What comes out: DLM201 to DLM208."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import drive, evidence
from checkpoints import LIKE_GPT2, TINY_T5

from measures.common import alone, calls_of, shown

if TYPE_CHECKING:
    from bench import Program, Programs

QUESTION = "The capital of France is"


def _reference(programs: Programs, question: str = QUESTION) -> str:
    good = programs.good
    return alone(good["model"], good["tokenizer"], question)


@evidence("DLM201", gpt2=LIKE_GPT2)
def prompt_not_stripped(programs: Programs) -> tuple[str, str]:
    bad, good = programs.bad.call("answer", QUESTION), programs.good.call("answer", QUESTION)
    assert good == _reference(programs)
    assert bad == QUESTION + good
    return f"the answer to {shown(QUESTION)} is {shown(bad)}", f"the answer is {shown(good)}"


@evidence("DLM202", gpt2=LIKE_GPT2)
def prompt_stripped_as_text(programs: Programs) -> tuple[str, str]:
    question = "<|im_start|>user\nName three primary colours.<|im_end|>\n<|im_start|>assistant\n"
    bad, good = programs.bad.call("answer", question), programs.good.call("answer", question)
    assert good == _reference(programs, question)
    assert len(bad) < len(good)
    assert good.endswith(bad)
    return (
        f"a chat prompt is decoded without its special tokens and so gets shorter: of the answer, {shown(bad)} is left",
        f"the answer is {shown(good)}",
    )


@evidence("DLM203", gpt2=LIKE_GPT2)
def wrong_cut(programs: Programs) -> tuple[str, str]:
    bad, good = programs.bad, programs.good
    reference = [alone(good["model"], good["tokenizer"], prompt) for prompt in good["prompts"]]
    assert good["answers"] == reference
    assert bad["answers"][1] == reference[1]
    left = bad["answers"][0].removesuffix(reference[0])
    assert left != bad["answers"][0]
    assert left
    assert bad["prompts"][0].endswith(left)
    return (
        f"the answer to {shown(bad['prompts'][0])} is {shown(bad['answers'][0])}",
        f"the answer is {shown(good['answers'][0])}",
    )


@evidence("DLM204", gpt2=LIKE_GPT2)
def pipeline_returns_prompt(programs: Programs) -> tuple[str, str]:
    bad, good = programs.bad.call("answer", QUESTION), programs.good.call("answer", QUESTION)
    # The same seed before both calls: pipelines sample by default.
    assert bad == QUESTION + good
    assert good
    return (
        f"`generated_text` begins with the question {shown(QUESTION)}",
        "`generated_text` is the rest, without it",
    )


@evidence("DLM205", gpt2=LIKE_GPT2)
def streamer_echoes_prompt(programs: Programs) -> tuple[str, str]:
    bad, good = programs.bad, programs.good
    question = bad["tokenizer"].decode(bad["encoding"]["input_ids"][0])
    assert bad.printed == question + good.printed
    assert good.printed.strip()
    return (
        f"the first words shown are the question, {shown(question)}",
        f"shown is {shown(good.printed.rstrip())}",
    )


@drive("DLM206")
def _ask(program: Program) -> None:
    program.call("answer", "Translate: yes")


@evidence("DLM206", googleflant5small=TINY_T5)
def stripped_encoder_decoder(programs: Programs) -> tuple[str, str]:
    counts = []
    question = "Translate: yes"
    for program in (programs.bad, programs.good):
        with calls_of(program["model"]) as calls, calls_of(program["tokenizer"], "decode") as decodes:
            program.call("answer", question)
        (generated,), (decoded,) = calls, decodes
        whole = generated["result"][0]
        counts.append((len(whole), len(decoded["given"])))
    (length, left), (whole, kept) = counts
    assert length == whole == kept
    assert left == max(0, length - len(programs.good["tokenizer"](question)["input_ids"]))
    return (
        f"of the {length} ids that `generate` returned, none of them the prompt's, {left} are left",
        f"all {kept} ids are decoded",
    )


@evidence("DLM208", gpt2=LIKE_GPT2)
def option_without_effect(programs: Programs) -> tuple[str, str]:
    bad, good = programs.bad, programs.good
    question = bad["tokenizer"].decode(bad["encoding"]["input_ids"][0])
    assert bad["answers"] == [question + good["answers"][0]]
    return f"the answer is still {shown(bad['answers'][0], 80)}", f"the answer is {shown(good['answers'][0])}"
