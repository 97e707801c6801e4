"""The table of features: what it says of us is held by tests, what it says was asked is asked."""

import ast
import re
from pathlib import Path

import peer_features
import pytest
from speed.environments import read_peers

ROOT = Path(__file__).parents[2]
PAGE = peer_features.PAGE.read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("|")
][2:]


def names_in(file):
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_we_have_is_shown_by_tests_that_exist(row):
    name, *others, ours, shown = row
    assert name
    assert len(others) == len(peer_features.PROGRAMS)
    assert all(re.match(r"[YPN]( |$)", cell) for cell in (*others, ours))
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", shown)
    assert bool(named) or ours == "N"
    for file, test in named:
        assert test.startswith("test_")
        assert test in names_in(file), f"{file}::{test}"


def test_what_is_said_to_be_asked_is_asked_and_no_more():
    cells = peer_features.cells(PAGE)
    said = {key for key, text in cells.items() if "ran" in text.split()}
    assert said == {(row, tool) for row in peer_features.QUESTIONS for tool in peer_features.PROGRAMS}


def test_the_versions_on_the_page_are_those_that_are_asked():
    pins = read_peers(peer_features.PEERS)
    assert list(pins) == list(peer_features.PROGRAMS)
    for name, peer in pins.items():
        told = name.rpartition("-")[2]
        assert re.search(rf"\b{told} {re.escape(peer.version)}\b", PAGE, re.IGNORECASE), name
