"""What stands around a node, for every node of a tree."""

import libcst as cst
from decoderonly_checker.source.ancestors import Ancestors

CODE = """\
class Asker:
    @cached
    def ask(self, *texts, limit=(1, 2)):
        with open("f") as file, lock:
            return [model.generate(**t)[0, n:] for t in texts if t] if texts else f"{limit!r}"
"""


class Walk(cst.CSTVisitor):
    """Keeps the way down to each node, as libcst itself goes."""

    def __init__(self):
        self.way = []
        self.found = []

    def on_visit(self, node):
        self.found.append((node, list(self.way)))
        self.way.append(node)
        return True

    def on_leave(self, _original):
        self.way.pop()


def test_the_way_to_every_node_is_that_of_a_visitor():
    tree = cst.parse_module(CODE)
    walk = Walk()
    tree.visit(walk)
    ancestors = Ancestors(tree)
    asked = [(node, way) for node, way in walk.found if not isinstance(node, cst.SimpleWhitespace)]
    assert len(asked) > 75
    for node, way in asked:
        assert [id(step) for step in ancestors.of(node)] == [id(step) for step in way], node


def test_a_node_of_another_tree_stands_in_nothing():
    assert Ancestors(cst.parse_module(CODE)).of(cst.Name("elsewhere")) == []


def test_each_node_is_looked_at_once_however_many_are_asked_for(monkeypatch):
    tree = cst.parse_module("x = 1\n" * 300)
    ancestors = Ancestors(tree)
    asked = []
    real = Ancestors._parents.func
    monkeypatch.setattr(Ancestors._parents, "func", lambda self: asked.append(1) or real(self))
    assert [len(ancestors.of(line.body[0])) for line in tree.body] == [2] * 300
    assert len(asked) == 1
