import math

from support_bot.dataset import CONVERSATIONS, build_dataset
from support_bot.loading import load_tokenizer
from support_bot.training import fine_tune


def test_examples_end_in_the_answer(settings):
    tokenizer = load_tokenizer(settings)
    examples = build_dataset(tokenizer, settings, CONVERSATIONS)
    for example, conversation in zip(examples, CONVERSATIONS, strict=True):
        assert len(example["input_ids"]) == len(example["attention_mask"]) == len(example["labels"])
        assert tokenizer.decode(example["labels"][-3:], skip_special_tokens=True) in conversation.answer
        assert example["labels"][-1] == tokenizer.eos_token_id


def test_a_step_of_training_gives_a_loss(settings):
    _, losses = fine_tune(settings, CONVERSATIONS[:2], steps=1)
    assert len(losses) == 1
    assert math.isfinite(losses[0])
