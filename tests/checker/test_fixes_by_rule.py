"""What single rules' fixes change, and where there is none: the shapes of code that people write."""

import pytest
from decoderonly_checker.config import Settings
from decoderonly_checker.diagnostics import Applicability
from decoderonly_checker.fixes.apply import edited
from decoderonly_checker.runner import check_source

HEAD = """\
import transformers
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained("gpt2", padding_side="left")
tokenizer.pad_token = tokenizer.eos_token
model = AutoModelForCausalLM.from_pretrained("gpt2")
t5 = AutoModelForSeq2SeqLM.from_pretrained("t5-small")
"""


def changed(text, code, head=HEAD):
    """Return how a program ends after the fixes of one rule, from the first line that they change; "" without one."""
    whole = head + text
    found = [d for d in check_source(whole, "main.py", Settings()).diagnostics if d.code == code]
    assert found, "nothing to fix"
    edits = {edit for one in found if one.fix is not None for edit in one.fix.edits}
    after = edited(whole, edits)
    if after == whole:
        return ""
    left = check_source(after, "main.py", Settings()).diagnostics
    assert code not in [one.code for one in left]
    lines, before = after.splitlines(), whole.splitlines()
    first = next(i for i, line in enumerate(lines) if i >= len(before) or line != before[i])
    return "\n".join(lines[first:])


def applicability(text, code):
    found = check_source(HEAD + text, "main.py", Settings()).diagnostics
    return {one.fix.applicability for one in found if one.code == code and one.fix is not None}


ASK = 'def ask(question):\n    batch = tokenizer(question, return_tensors="pt")\n'


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        # Ids alone have a name: the encoding gets one, comments and layout stay.
        (
            'ids = tokenizer("Hi", return_tensors="pt").input_ids.to(0)  # why\nout = model.generate(ids)\n',
            (
                'encoding = tokenizer("Hi", return_tensors="pt")  # why\nids = encoding.input_ids.to(0)\n'
                "out = model.generate(ids, attention_mask=encoding.attention_mask.to(0))"
            ),
        ),
        (
            'ids = tokenizer(\n    "Hi",  # what\n    return_tensors="pt",\n)["input_ids"]\nout = model.generate(ids)\n',
            (
                'encoding = tokenizer(\n    "Hi",  # what\n    return_tensors="pt",\n)\nids = encoding["input_ids"]\n'
                'out = model.generate(ids, attention_mask=encoding["attention_mask"])'
            ),
        ),
        (
            'ids = tokenizer.encode("Hi", return_tensors="pt").to(0)\nout = model.generate(ids)\n',
            (
                'encoding = tokenizer("Hi", return_tensors="pt")\nids = encoding["input_ids"].to(0)\n'
                'out = model.generate(ids, attention_mask=encoding["attention_mask"].to(0))'
            ),
        ),
        # What is copied is written on one line.
        (
            'ids = tokenizer("Hi", return_tensors="pt").input_ids.to(\n    0,\n)\nout = model.generate(ids)\n',
            (
                'encoding = tokenizer("Hi", return_tensors="pt")\nids = encoding.input_ids.to(0)\n'
                "out = model.generate(ids, attention_mask=encoding.attention_mask.to(0))"
            ),
        ),
        # A name that is taken is not taken again.
        (
            'encoding = 1\nids = tokenizer("Hi", return_tensors="pt").input_ids\nout = model.generate(ids)\n',
            (
                'encoded = tokenizer("Hi", return_tensors="pt")\nids = encoded.input_ids\n'
                "out = model.generate(ids, attention_mask=encoded.attention_mask)"
            ),
        ),
        # The statement shares its line, or the ids are changed before they are named.
        ('ids = tokenizer("Hi", return_tensors="pt").input_ids; out = model.generate(ids)\n', ""),
        (
            'ids = tokenizer("Hi", return_tensors="pt").input_ids.repeat(2, 1)\nout = model.generate(ids)\n',
            "",
        ),
    ],
)
def test_an_encoding_gets_a_name_where_its_mask_is_needed(text, cure):
    assert changed(text, "DLM101") == cure


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        (
            "    text = tokenizer.decode(model.generate(**batch)[0])\n    return text[len(question):]\n",
            '    text = tokenizer.decode(model.generate(**batch)[0][batch["input_ids"].shape[1]:])\n    return text',
        ),
        (
            (
                "    out = model.generate(**batch)\n    text = tokenizer.batch_decode(out)[0]\n"
                '    text = text.replace(question, "").strip()\n    return text\n'
            ),
            (
                '    text = tokenizer.batch_decode(out[:, batch["input_ids"].shape[1]:])[0]\n'
                "    text = text.strip()\n    return text"
            ),
        ),
        (
            "    out = model.generate(**batch)\n    return tokenizer.decode(out[0]).split(question)[1].strip()\n",
            '    return tokenizer.decode(out[0][batch["input_ids"].shape[1]:]).strip()',
        ),
        # `text = text` would be left.
        (
            "    text = tokenizer.decode(model.generate(**batch)[0])\n    text = text[len(question):]\n    return text\n",
            '    text = tokenizer.decode(model.generate(**batch)[0][batch["input_ids"].shape[1]:])\n    return text',
        ),
        # Somebody else reads the whole text.
        (
            (
                "    text = tokenizer.decode(model.generate(**batch)[0])\n    print(text)\n"
                "    text = text[len(question):]\n    return text\n"
            ),
            "",
        ),
        (
            "    text = tokenizer.decode(model.generate(**batch)[0])\n    return text, text[len(question):]\n",
            "",
        ),
        # It is cut in some cases only.
        (
            (
                "    text = tokenizer.decode(model.generate(**batch)[0])\n    if question:\n"
                "        text = text[len(question):]\n    return text\n"
            ),
            "",
        ),
    ],
)
def test_a_cut_of_text_becomes_a_cut_of_ids(text, cure):
    assert changed(ASK + text, "DLM202") == cure
    assert applicability(ASK + text, "DLM202") <= {Applicability.UNSAFE}


@pytest.mark.parametrize(
    ("cut", "cure"),
    [
        ("out[:, batch.input_ids.shape[1]:]", "out"),
        ("out[0, batch.input_ids.shape[1]:]", "out[0]"),
        ("out[0][batch.input_ids.shape[1]:]", "out[0]"),
    ],
)
def test_an_answer_that_came_alone_is_left_whole(cut, cure):
    text = f"{ASK}    out = t5.generate(**batch)\n    ids = {cut}\n    return ids\n"
    assert changed(text, "DLM206") == f"    ids = {cure}\n    return ids"


@pytest.mark.parametrize(
    ("call", "cure"),
    [
        ("out, skip_prompt=True", 'out[:, batch["input_ids"].shape[1]:]'),
        ("out, skip_prompt=True, clean_up_tokenization_spaces=False",
         'out[:, batch["input_ids"].shape[1]:], clean_up_tokenization_spaces=False'),
        ("out,\n    skip_prompt=True,\n", 'out[:, batch["input_ids"].shape[1]:],\n'),
        ("out,  # all\n    skip_prompt=True", ""),
    ],
)  # fmt: skip
def test_an_option_without_effect_goes_and_the_prompt_with_it(call, cure):
    text = f"{ASK}    out = model.generate(**batch)\n    texts = tokenizer.batch_decode({call})\n"
    assert changed(text, "DLM208") == (cure and f"    texts = tokenizer.batch_decode({cure})")


POSITIONS = "position_ids=(batch.attention_mask.cumsum(dim=-1) - 1).clamp(min=0)"
PADDED = 'def run(texts: list[str]):\n    batch = tokenizer(texts, padding=True, return_tensors="pt")\n'


@pytest.mark.parametrize(
    ("call", "cure"),
    [
        ("batch.input_ids", f"batch.input_ids, attention_mask=batch.attention_mask, {POSITIONS}"),
        # A cache goes on from the positions that it holds.
        ("batch.input_ids, past_key_values=cache", ""),
    ],
)  # fmt: skip
def test_a_forward_gets_its_mask_and_what_the_mask_counts(call, cure):
    text = f"{PADDED}    return model({call}).logits\n"
    assert changed(text, "DLM110") == (cure and f"    return model({cure}).logits")


@pytest.mark.parametrize(
    ("call", "cure"),
    [
        ("**batch", '**batch, position_ids=(batch["attention_mask"].cumsum(dim=-1) - 1).clamp(min=0)'),
        ("batch.input_ids, attention_mask=batch.attention_mask",
         f"batch.input_ids, attention_mask=batch.attention_mask, {POSITIONS}"),
        ("**batch, use_cache=True", ""),
    ],
)  # fmt: skip
def test_positions_are_counted_from_the_mask(call, cure):
    text = f"{PADDED}    return model({call}).logits\n"
    assert changed(text, "DLM109") == (cure and f"    return model({cure}).logits")


COLLATE = PADDED.replace("texts: list[str]", "rows").replace(
    "(texts", '([row["text"] + "</s>" for row in rows]'
)


@pytest.mark.parametrize(
    ("made", "write", "cure"),
    [
        ("batch.input_ids.clone()",
         "labels[labels == tokenizer.pad_token_id] = -100", "labels[batch.attention_mask == 0] = -100"),
        ("batch['input_ids'].detach().clone()", "labels = labels.masked_fill(labels == tokenizer.pad_token_id, -100)", ""),
        ("batch['input_ids']", "labels = batch['input_ids'].masked_fill(batch['input_ids'] == tokenizer.pad_token_id, -100)",
         "labels = batch['input_ids'].masked_fill(batch[\"attention_mask\"] == 0, -100)"),
    ],
)  # fmt: skip
def test_labels_are_masked_by_the_mask(made, write, cure):
    text = f"{COLLATE}    labels = {made}\n    {write}\n    batch['labels'] = labels\n    return batch\n"
    expected = cure and f"    {cure}\n    batch['labels'] = labels\n    return batch"
    assert changed(text, "DLM303") == expected


def test_a_mask_is_the_tokenizers_own():
    text = f"{PADDED}    mask = (batch.input_ids != tokenizer.pad_token_id).long()\n    return mask\n"
    assert changed(text, "DLM104") == "    mask = (batch.attention_mask != 0).long()\n    return mask"


TOKENIZED = 'def loss_of(text: str):\n    tokens = tokenizer(text, return_tensors="pt").input_ids\n'


@pytest.mark.parametrize(
    ("call", "cure"),
    [
        ("tokens[:, :-1], labels=tokens[:, 1:]", "tokens, labels=tokens"),
        ("input_ids=tokens[:, :-1].contiguous(), labels=tokens[:, 1:].contiguous()",
         "input_ids=tokens.contiguous(), labels=tokens.contiguous()"),
        # What stands beside them would have another width.
        ("tokens[:, :-1], attention_mask=mask, labels=tokens[:, 1:]", ""),
        ("tokens[:, :-1], labels=tokens[:, 1:], **more", ""),
    ],
)  # fmt: skip
def test_labels_are_shifted_once(call, cure):
    text = f"{TOKENIZED}    return model({call}).loss\n"
    assert changed(text, "DLM305") == (cure and f"    return model({cure}).loss")


ROWS = """\
def preprocess(row):
    prompt = tokenizer(row["question"])["input_ids"]
    answer = tokenizer(row["answer"] + tokenizer.eos_token)["input_ids"]
    return {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}
rows = datasets.load_dataset("json", data_files="rows.json")["train"].map(preprocess)
"""


@pytest.mark.parametrize(
    ("imported", "call", "other", "cure"),
    [
        ("DataCollatorForLanguageModeling", "DataCollatorForLanguageModeling(tokenizer, mlm=False)",
         "DataCollatorForSeq2Seq", "DataCollatorForSeq2Seq(tokenizer)"),
        ("DataCollatorForLanguageModeling",
         "DataCollatorForLanguageModeling(tokenizer, mlm=False), args=DataCollatorForLanguageModeling",
         "DataCollatorForLanguageModeling, DataCollatorForSeq2Seq",
         "DataCollatorForSeq2Seq(tokenizer), args=DataCollatorForLanguageModeling"),
        ("DataCollatorForSeq2Seq, DataCollatorForLanguageModeling",
         "DataCollatorForLanguageModeling(mlm=False, tokenizer=tokenizer)",
         "DataCollatorForSeq2Seq, DataCollatorForLanguageModeling", "DataCollatorForSeq2Seq(tokenizer=tokenizer)"),
        ("AutoConfig", "transformers.DataCollatorForLanguageModeling(tokenizer, mlm=False, pad_to_multiple_of=8)",
         "AutoConfig", "transformers.DataCollatorForSeq2Seq(tokenizer, pad_to_multiple_of=8)"),
        ("DataCollatorForLanguageModeling", "DataCollatorForLanguageModeling(tokenizer, False)", None, None),
    ],
)  # fmt: skip
def test_a_collator_that_keeps_labels(imported, call, other, cure):
    def program(imported, call):
        run = f"Trainer(model, data_collator={call}, train_dataset=rows)\n"
        return f"from transformers import {imported}, Trainer\n{ROWS}{run}"

    text = program(imported, call)
    after = changed(text, "DLM306", f"import datasets\n{HEAD}")
    assert after == "" if cure is None else program(other, cure).endswith(f"{after}\n")


def test_a_collator_that_would_keep_the_labels_of_padding_is_not_brought_in():
    rows = ROWS.replace(
        'tokenizer(row["question"])', 'tokenizer(row["question"], padding="max_length", max_length=9)'
    )
    text = f"from transformers import DataCollatorForLanguageModeling, Trainer\n{rows}"
    text += "Trainer(model, data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False), train_dataset=rows)\n"
    assert changed(text, "DLM306", f"import datasets\n{HEAD}") == ""


def test_a_pad_token_is_set_where_nothing_is_trained():
    head = HEAD.replace("tokenizer.pad_token = tokenizer.eos_token\n", "")
    use = 'batch = tokenizer(["Hi", "Hello there"], padding=True, return_tensors="pt")\n'
    made = "def make():\n    own = AutoTokenizer.from_pretrained('gpt2')\n    return own\n"
    made += "batch = make()(['a', 'b'], padding=True)\n"
    assert "    own.pad_token = own.eos_token\n    return own" in changed(made, "DLM103", head)
    trained = use + 'labels = batch["input_ids"].clone()\nmodel(**batch, labels=labels).loss.backward()\n'
    assert changed(trained, "DLM103", head) == ""


def test_the_last_token_of_each_row_is_told_by_the_mask():
    head = HEAD.replace(', padding_side="left"', "")
    text = PADDED + "    scores = model(**batch).logits\n    return scores[:, -1, :].argmax(-1)\n"
    assert changed(text, "DLM401", head) == (
        '    return scores[range(len(batch["attention_mask"])), batch["attention_mask"].sum(dim=1) - 1, :].argmax(-1)'
    )


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ('row["question"] + row["answer"] + tokenizer.eos_token', 'row["question"]'),
        ('row["question"] + "\\n" + row["answer"] + tokenizer.eos_token, truncation=True, max_length=64',
         'row["question"] + "\\n", truncation=True, max_length=64'),
        # Filled up, a prompt is as long as all.
        ('row["question"] + row["answer"] + tokenizer.eos_token, padding="max_length", max_length=64', ""),
        ('f"{row[\'question\']} {row[\'answer\']}</s>"', ""),
    ],
)  # fmt: skip
def test_the_prompt_is_hidden_by_its_own_length(text, cure):
    body = f"def preprocess(row):\n    whole = tokenizer({text})\n"
    body += '    whole["labels"] = whole["input_ids"].copy()\n    return whole\n'
    expected = (
        f'    prompt_length = len(tokenizer({cure})["input_ids"])\n'
        '    whole["labels"] = [-100] * prompt_length + whole["input_ids"][prompt_length:]\n    return whole'
    )
    assert changed(body, "DLM301") == (expected if cure else "")
