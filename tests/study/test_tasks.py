"""Files of questions: what is read, what is refused and where, and which answers are right."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_decoderonly.study.tasks import BUILT_IN, TaskError, choose, read_tasks

TEXT = st.text(min_size=1).filter(str.strip)
KEY = {
    "question": TEXT,
    "prompt": TEXT,
    "messages": st.lists(
        st.fixed_dictionaries({"role": st.sampled_from(["system", "user"]), "content": st.text()}), min_size=1
    ),
}
TASK = st.sampled_from(list(KEY)).flatmap(
    lambda key: st.fixed_dictionaries(
        {key: KEY[key]}, optional={"answers": TEXT | st.lists(TEXT, min_size=1), "pattern": st.just("[a-z]+")}
    )
)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("tasks") / "tasks.jsonl"


@given(
    tasks=st.lists(TASK, min_size=1, max_size=4),
    escaped=st.booleans(),
    gap=st.sampled_from([b"\n", b"\r\n\n"]),
)
def test_what_is_written_is_read(file, tasks, escaped, gap):
    file.write_bytes(
        gap.join(json.dumps(task, ensure_ascii=escaped).encode("utf-8", "surrogatepass") for task in tasks)
    )
    found = read_tasks(file)
    assert [task.question for task in found] == [task.get("question") for task in tasks]
    assert [task.prompt for task in found] == [task.get("prompt") for task in tasks]
    assert [task.messages and [{"role": r, "content": c} for r, c in task.messages] for task in found] == [
        task.get("messages") for task in tasks
    ]
    for task, given_ in zip(found, tasks, strict=True):
        words = given_.get("answers", [])
        assert list(task.answers) == [word.strip() for word in ([words] if isinstance(words, str) else words)]
        assert task.checkable == ("answers" in given_ or "pattern" in given_)
        # Each accepted answer is right when it is all that is said.
        assert all(task.is_right(word) for word in task.answers)


@given(st.binary(max_size=60))
def test_any_bytes_give_tasks_or_one_line_that_names_the_file(file, data):
    file.write_bytes(data)
    try:
        tasks, line = read_tasks(file), ""
    except TaskError as error:
        tasks, line = [], str(error)
    assert bool(tasks) != bool(line)
    assert tasks or line.startswith(str(file))
    assert len(line.splitlines()) <= 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "is not JSON: Expecting property name enclosed in double quotes (column 2)"),
        ("[1]", 'expected an object such as {"question": …, "answers": […]}, got a list'),
        ("null", "got null"),
        ('{"answers": ["a"]}', 'expected one of "question", "messages" or "prompt", got none of them'),
        ('{"question": "a", "prompt": "b"}', 'got "question" and "prompt"'),
        ('{"question": "a", "answer": "b"}', 'unknown key "answer" (did you mean "answers"?)'),
        ('{"question": " "}', '"question" must be a text that is not empty, got " "'),
        ('{"question": 3}', "got 3"),
        ('{"question": "a", "answers": []}', '"answers" is empty; leave it out'),
        ('{"question": "a", "answers": [""]}', '"answers" must be a text or a list of texts'),
        ('{"question": "a", "answers": true}', "got a truth value"),
        ('{"question": "a", "pattern": "("}', '"pattern" is no regular expression: missing ), unterminated'),
        ('{"question": "a", "id": {}}', '"id" must be a text or an integer, got an object'),
        ('{"question": "a", "id": 1}', 'id "1" is that of line 1, too'),
        ('{"messages": []}', '"messages" must be a list of messages, got a list'),
        (
            '{"messages": [{"role": "user"}]}',
            'message 1 of "messages" must be an object with "role" and "content"',
        ),
        ('{"messages": [{"role": "user", "content": 1}]}', "must be texts"),
        (
            '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}',
            "nothing is left to be answered",
        ),
    ],
)
def test_a_line_that_is_no_task_is_named(file, line, said):
    file.write_text(f'{{"question": "Why?"}}\n\n{line}\n', encoding="utf-8")
    with pytest.raises(TaskError) as caught:
        read_tasks(file)
    assert str(caught.value).startswith(f"{file}:3: ")
    assert said in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "empty.jsonl").write_bytes(b"\n \n")
    (tmp_path / "latin.jsonl").write_bytes(b'{"question": "caf\xe9"}')
    for name, said in (
        ("none.jsonl", "cannot be read: No such file"),
        (".", "cannot be read: Is a directory"),
        ("empty.jsonl", "holds no tasks"),
        ("latin.jsonl", "latin.jsonl:1: is not UTF-8 (byte 18)"),
    ):
        with pytest.raises(TaskError, match=f"^{tmp_path}") as caught:
            read_tasks(tmp_path / name)
        assert said in str(caught.value)


def test_an_answer_is_right_where_an_accepted_word_stands(tmp_path):
    lines = ['{"question": "a", "answers": ["7", "seven"]}', '{"question": "b", "pattern": "^-?\\\\d+$"}']
    (tmp_path / "t").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    words, pattern = read_tasks(tmp_path / "t")
    assert all(map(words.is_right, ("7", "It is Seven.", "(7)")))
    assert not any(map(words.is_right, ("17", "sevenths", "", "eight")))
    assert pattern.is_right("-12")
    assert not pattern.is_right("it is 12")


def test_the_built_in_questions_can_be_checked_and_differ_in_length():
    tasks = read_tasks(BUILT_IN)
    assert len(tasks) == 24
    assert all(task.question and task.checkable for task in tasks)
    assert len({len(task.text) for task in tasks}) > 20


@given(count=st.integers(1, 30), limit=st.none() | st.integers(1, 40), seed=st.none() | st.integers())
def test_a_choice_is_repeatable_and_keeps_each_once(count, limit, seed):
    tasks = read_tasks(BUILT_IN)[:count]
    chosen = choose(tasks, limit, seed)
    assert chosen == choose(tasks, limit, seed)
    assert len({task.id for task in chosen}) == len(chosen) == min(len(tasks), limit or len(tasks))
    assert set(chosen) <= set(tasks)
    if seed is None:
        assert chosen == tasks[: len(chosen)]
