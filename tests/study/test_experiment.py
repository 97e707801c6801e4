"""The experiment on real tiny models: what is found in sound and in faulty ones, and what is kept when it breaks off."""

import dataclasses
import random

import mutants
import pytest
import torch
from small_study import PLAN, TASKS, ask, tokenizer_of_a_chat_model

from pytest_decoderonly import tiny_decoder, tiny_tokenizer
from pytest_decoderonly.study.experiment import StudyError, run_study
from pytest_decoderonly.study.tasks import BUILT_IN, Task, TaskError, read_tasks
from pytest_decoderonly.study.ways import BATCHED, Plan


def verdicts(study):
    return {conclusion.way: conclusion.verdict for conclusion in study.conclusions}


def said(study):
    return "\n".join([*(conclusion.text for conclusion in study.conclusions), *study.notes])


def cell(study, way, padding=0):
    return next(c for c in study.cells if (c.way, c.padding) == (way, padding))


def test_a_sound_model_is_changed_by_what_is_wrong_and_by_nothing_else(sound):
    assert verdicts(sound) == {"left": "safe", "left-no-mask": "changed", "right": "changed"}
    for padding in (0, 5):
        left = cell(sound, "left", padding)
        assert (left.same.count, left.different, left.lost) == (len(TASKS), 0, 0)
        assert left.padded_rows == (len(TASKS) if padding else 4)
        # The longest row of a batch has no padding, and is answered as it is alone.
        assert cell(sound, "left-no-mask", padding).different == cell(sound, "right", padding).different
        assert cell(sound, "right", padding).different == left.padded_rows
    assert "safe. All 12 answers are those of the prompts alone" in said(sound)
    assert "5 more columns, 6 of 6 answers change beyond rounding" in said(sound)


def test_a_small_model_says_that_its_accuracy_tells_nothing(sound):
    assert "Alone, 0 of 6 answers are right: too few for accuracy to tell anything" in said(sound)
    assert not any(conclusion.worse for conclusion in sound.conclusions)


def test_each_cell_is_asked_once_a_round_and_counts_add_up(sound):
    assert [(c.way, c.batch_size, c.padding) for c in sound.cells] == [
        (c.way.key, c.batch_size, c.padding) for c in PLAN.cells
    ]
    for each in sound.cells:
        assert len(each.seconds) == PLAN.rounds
        assert each.tokens_per_second == pytest.approx(each.tokens / (sum(each.seconds) / 2))
        parts = (each.same.count, each.rounding, each.different, each.undecided, each.unjudged)
        assert sum(parts) == len(each.answers) == len(TASKS)
        assert each.padding_columns == sum(answer.padding for answer in each.answers)
    assert cell(sound, "alone").speed == 1
    left, alone = cell(sound, "left"), cell(sound, "alone")
    ratios = [
        (left.tokens / mine) / (alone.tokens / own)
        for mine, own in zip(left.seconds, alone.seconds, strict=True)
    ]
    assert left.speed == pytest.approx(sum(ratios) / 2)  # the median of two


def test_a_mask_that_generate_makes_itself_is_no_harm_and_named():
    study = ask(
        tiny_decoder("llama"), tiny_tokenizer(), plan=dataclasses.replace(PLAN, paddings=(0,), rounds=1)
    )
    assert verdicts(study) == {"left": "safe", "left-no-mask": "safe", "right": "changed"}
    assert "no harm here" in said(study)
    assert "`generate` makes the mask itself" in said(study)
    assert study.setting["mask_inferred"]


def test_a_model_that_does_not_see_the_mask_is_changed_by_batches():
    study = ask(mutants.mask_dropped(tiny_decoder("llama")), plan=Plan(BATCHED[:1], (3,), rounds=1))
    assert verdicts(study)["left"] == "changed"
    assert "--decoderonly-model=MODEL` looks for the cause" in said(study)
    assert all(a.deviation > 1e-2 for a in cell(study, "left").answers if a.verdict == "different")


def test_ties_in_half_precision_are_rounding(monkeypatch):
    linear = torch.nn.functional.linear

    def in_two_halves(given, weight, bias=None):
        """Add up a batch in another order than a single row, as most devices do; some CPUs do not."""
        if len(given) == 1:
            return linear(given, weight, bias)
        half = weight.shape[1] // 2
        return linear(given[..., :half], weight[:, :half]) + linear(given[..., half:], weight[:, half:], bias)

    monkeypatch.setattr(torch.nn.functional, "linear", in_two_halves)
    study = ask(
        tiny_decoder("qwen2", dtype="bfloat16"),
        tasks=read_tasks(BUILT_IN),
        plan=Plan(BATCHED[:1], (8,), (0, 3), max_new_tokens=12, rounds=1),
    )
    ties = [answer for each in study.cells for answer in each.answers if answer.verdict == "rounding"]
    assert ties
    assert all(answer.deviation < 1e-4 and answer.step is not None for answer in ties)
    assert verdicts(study) == {"left": "safe"}
    assert "different by rounding" in said(study)


def test_lost_answers_are_counted_in_pairs_and_told_from_chance():
    """Questions whose right answer is what the model says alone: then all that changes is lost."""
    alone = ask(tiny_decoder("llama"), tasks=read_tasks(BUILT_IN), plan=Plan((), max_new_tokens=4, rounds=1))
    own = [answer.answer for answer in alone.cells[0].answers]
    tasks = [
        dataclasses.replace(task, answers=(words,))
        for task, words in zip(read_tasks(BUILT_IN), own, strict=True)
    ]
    study = ask(tiny_decoder("llama"), tasks=tasks, plan=Plan(BATCHED[:2], (8,), max_new_tokens=4, rounds=1))
    left, bare = cell(study, "left"), cell(study, "left-no-mask")
    assert (left.right.count, left.lost, left.gained, left.p) == (24, 0, 0, 1)
    assert bare.lost == 24 - bare.right.count > 10
    assert bare.p_adjusted < 1e-3
    assert {c.way: c.worse for c in study.conclusions} == {"left": False, "left-no-mask": True}
    assert f"{bare.lost} of 24 answers lost in batches of 8" in said(study)
    assert "worse beyond chance (p < 0.001)" in said(study)


def test_models_without_padding_token_or_template_are_asked_behind_examples():
    tokenizer = tiny_tokenizer(pad=False, chat_template=False)
    study = ask(tiny_decoder("gpt2"), tokenizer, plan=dataclasses.replace(PLAN, paddings=(0,), rounds=1))
    assert study.setting["prompts"] == "behind 3 worked examples"
    assert verdicts(study)["left"] == "safe"
    assert all("\n" not in answer.answer for each in study.cells for answer in each.answers)


def test_templates_that_know_no_system_role_get_the_instruction_otherwise():
    tokenizer = tiny_tokenizer(chat_template="gemma")
    study = ask(tiny_decoder("llama"), tokenizer, plan=dataclasses.replace(PLAN, ways=(), rounds=1))
    assert study.setting["prompts"] == "in the chat template"
    with pytest.raises(TaskError, match='task t: has "messages", and the tokenizer has no chat template'):
        ask(
            tiny_decoder("llama"),
            tiny_tokenizer(chat_template=False),
            tasks=[Task("t", messages=(("user", "Hi"),))],
        )
    with pytest.raises(TaskError, match="task t: the chat template refuses it: TemplateError: System role"):
        ask(tiny_decoder("llama"), tokenizer, tasks=[Task("t", messages=(("system", "Be"), ("user", "Hi")))])


def test_a_state_space_model_takes_part():
    study = ask(
        tiny_decoder("mamba"), tasks=TASKS[:3], plan=dataclasses.replace(PLAN, paddings=(0,), rounds=1)
    )
    assert verdicts(study)["left"] == "safe"


def test_a_way_that_cannot_be_run_is_said_and_the_others_go_on():
    model = tiny_decoder("gpt2")
    room = model.config.n_positions
    study = ask(model, plan=dataclasses.replace(PLAN, ways=BATCHED[:2], paddings=(0, room), rounds=1))
    beyond = cell(study, "left-no-mask", room)
    assert beyond.right is None
    assert "IndexError" in beyond.error
    assert cell(study, "left-no-mask").error is None
    assert cell(study, "left", room).error is None
    assert f"It could not be run in batches of 3 and {room} more columns: IndexError" in said(study)


def test_models_that_cannot_be_asked_are_refused_in_one_line():
    class Silent(torch.nn.Linear):
        pass

    for model, tokenizer, line in (
        (tiny_decoder("llama"), None, "model: has no tokenizer"),
        (Silent(2, 2), tiny_tokenizer(), "model: Silent has no generate"),
    ):
        with pytest.raises(StudyError, match=line):
            run_study(model, tokenizer, TASKS, PLAN, name="model")
    long = [Task("long", prompt="word " * 2000)]
    with pytest.raises(StudyError, match="model: cannot be asked one prompt at a time: IndexError"):
        ask(tiny_decoder("gpt2"), tasks=long)


@pytest.mark.parametrize("after", [len(TASKS), len(TASKS) + 3, 40])
def test_what_was_measured_before_an_interrupt_is_kept(after):
    calls = iter(range(10_000))

    def tell(done, whole):
        assert 0 < done <= whole
        if next(calls) == after:
            raise KeyboardInterrupt

    study = ask(tiny_decoder("llama"), tell=tell)
    assert study.interrupted
    assert study.cells[0].same.count == len(TASKS)
    assert len(study.cells) == {6: 1, 9: 2, 40: 7}[after]
    assert "Interrupted" in said(study)


def test_an_interrupt_before_anything_is_measured_is_one():
    def tell(_done, _whole):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(tiny_decoder("llama"), tell=tell)


def test_answers_that_change_from_round_to_round_are_said():
    model = tiny_decoder("llama")
    noise = torch.Generator().manual_seed(3)
    model.lm_head.register_forward_hook(lambda _m, _a, out: out + torch.randn(out.shape, generator=noise))
    study = ask(model, plan=dataclasses.replace(PLAN, ways=()))
    assert study.cells[0].unstable > 0
    assert "not the same in every round" in said(study)


def test_the_model_is_left_as_it_was():
    model, tokenizer = tiny_decoder("llama").train(), tokenizer_of_a_chat_model()
    model.generation_config.repetition_penalty = 1.3
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    settings, side = model.generation_config.to_dict(), tokenizer.padding_side
    torch.manual_seed(1)
    random.seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    # Penalties read prompt and padding: they are off here, or padded rows would differ by them alone.
    assert verdicts(ask(model, tokenizer))["left"] == "safe"
    assert torch.equal(torch.rand(3), expected)
    assert model.training
    assert model.generation_config.to_dict() == settings
    assert tokenizer.padding_side == side
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
