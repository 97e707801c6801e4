"""Which files are analysed together, and in which order."""

import pytest
from decoderonly_checker.plan import Contents, begin_plan, make_plan
from decoderonly_checker.source.selection import scan

RELEVANT = "reply = model.generate(tokenizer(q).input_ids)\n"
FILES = {
    "light.py": RELEVANT,
    "heavy.py": RELEVANT + "from helper import ask\n" + "x = ask(1)\n" * 50,
    "helper.py": "def ask(n):\n    return n\n",
    "middle.py": RELEVANT + "x = 1\n" * 50,
    "other.py": "print('nothing')\n" * 500,
}


class Noting(Contents):
    """Files that note who is asked for again, once all have been looked over."""

    def __init__(self):
        super().__init__()
        self.again = []

    def read(self, path):
        self.again.append(path)
        return super().read(path)


@pytest.fixture
def project(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def parts(project, contents):
    asked = [str(project / name) for name in sorted(FILES)]
    return (
        asked,
        asked,
        str(project),
        contents,
        lambda paths: {path: scan(contents.find(path)) for path in paths},
    )


def names(paths):
    return [path.rpartition("/")[2] for path in paths]


def test_what_weighs_most_comes_first_before_the_rest_is_planned(project):
    contents = Noting()
    plan, units = begin_plan(*parts(project, contents))
    assert contents.again == []
    assert names(next(units).files) == ["heavy.py"]
    assert set(names(contents.again)) == {"heavy.py", "helper.py"}
    assert [names(unit.files) for unit in units] == [["middle.py"], ["light.py"]]
    assert names(plan.checked) == ["heavy.py", "light.py", "middle.py"]
    assert names(plan.skipped) == ["helper.py", "other.py"]
    assert names(plan.joined) == ["helper.py"]


def test_a_whole_plan_is_the_same(project):
    plan, units = begin_plan(*parts(project, Contents()))
    made = list(units)
    whole = make_plan(*parts(project, Contents()))
    assert [unit.files for unit in whole.units] == [unit.files for unit in made]
    assert (whole.checked, whole.skipped, whole.joined) == (plan.checked, plan.skipped, plan.joined)
