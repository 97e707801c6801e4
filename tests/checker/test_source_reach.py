"""What lies behind a node of a graph, asked again and again: as a plain walk finds it."""

from decoderonly_checker.source.reach import reached
from hypothesis import given
from hypothesis import strategies as st

NODES = 12
GRAPHS = st.lists(
    st.tuples(st.integers(0, 7), st.lists(st.integers(0, NODES - 1), max_size=4)),
    min_size=NODES,
    max_size=NODES,
)


def plain(graph, start):
    seen, pending, bits = {start}, [start], 0
    while pending:
        own, targets = graph[pending.pop()]
        bits |= own
        pending += [target for target in targets if target not in seen]
        seen.update(targets)
    return bits


@given(GRAPHS, st.lists(st.integers(0, NODES - 1), max_size=8))
def test_all_that_can_be_reached(graph, starts):
    known = {}
    looked_at = []

    def targets(node):
        looked_at.append(node)
        return graph[node][1]

    for start in starts:
        found = reached(start, lambda node: graph[node][0], targets, lambda *_: False, known)
        assert found == plain(graph, start)
    assert all(bits == plain(graph, node) for node, bits in known.items())
    assert len(looked_at) == len(set(looked_at))


@given(GRAPHS, st.lists(st.integers(0, NODES - 1), max_size=8), st.integers(1, 7))
def test_enough(graph, starts, mask):
    """More is not looked for than is enough, and whether there is enough is told right."""
    known = {}

    def enough(_, bits):
        return bits & mask == mask

    for start in starts:
        found = reached(start, lambda node: graph[node][0], lambda node: graph[node][1], enough, known)
        whole = plain(graph, start)
        assert enough(start, found) == enough(start, whole)
        assert enough(start, found) or found == whole
    for node, bits in known.items():
        assert enough(node, bits) == enough(node, plain(graph, node))


def test_a_long_way():
    """Deeper than Python's stack."""
    last = 50_000
    found = reached(
        0,
        lambda node: int(node == last),
        lambda node: range(node + 1, min(node + 2, last + 1)),
        lambda *_: False,
        {},
    )
    assert found == 1
