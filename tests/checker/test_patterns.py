"""Patterns as in .gitignore, held to git itself."""

import os
import subprocess

import pytest
from decoderonly_checker.patterns import PatternError, Patterns, check_pattern, read_patterns
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    root = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q", root], check=True)
    return root


def git_says(repository, patterns, paths):
    """The pattern that decides on each path, as git sees it: True excluded, False taken back, None unmentioned."""
    (repository / ".gitignore").write_bytes(patterns)
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", "--verbose", "--non-matching", "-z", "--stdin"],
        cwd=repository,
        env={
            **os.environ,
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "XDG_CONFIG_HOME": "/-",
        },
        input="".join(f"{path}\0" for path in paths).encode(),
        capture_output=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    deciding = done.stdout.decode().split("\0")[2::4]
    return [None if not pattern else not pattern.startswith("!") for pattern in deciding]


def we_say(patterns, path):
    parts = path.split("/")
    verdict = None
    for end, name in enumerate(parts, start=1):
        verdict = patterns.verdict("/".join(parts[:end]), name, is_folder=end < len(parts))
        if verdict:
            break  # git does not look into it
    return verdict


NAMES = st.text("ab", min_size=1, max_size=3) | st.text("ab.[]!-\\ *^]", min_size=1, max_size=3)
NAMES = NAMES.filter(lambda name: name not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
PIECES = ["**", "**/", "*", "a", "b", "ab", "/", "?", "[ab]", "[!a]", "[[:alpha:]]", "[a-b]", "\\", " ", "\r"]
PATTERNS = st.tuples(
    st.sampled_from(["", "", "!"]),
    st.text("ab./*?[]!^-\\ :#", max_size=9) | st.lists(st.sampled_from(PIECES), max_size=6).map("".join),
).map("".join)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(PATTERNS, min_size=1, max_size=3), st.lists(PATHS, min_size=10, max_size=40))
@example(["a**/b", "b**b/a"], ["ab", "aa/b", "a/a/b", "aab", "b/b/a", "bb/a", "babb/a"])
@example(["a/**", "!a/**/b"], ["a", "a/b", "a/a/b", "b/a/b"])
@example(["a/**/b", "**b/a"], ["a/b", "a/a/b", "a/ab", "bb/a", "a/bb/a", "a/b/a"])
@example(["/a", "!a/", "/b*"], ["a", "b/a", "a/a", "ba", "a/ba"])
@example(["[]-a]", "[!]]b", "[b-a]", "[[:alpha:]-b]"], ["]", "-", "a", "ab", "]b", "b", "^"])
@example(["[[:digit", "[[:none:]]", "[[:]", "[\\]]", "[a\\-b]"], ["1", "[", "]", "\\", "-", "a"])
@example(["a \\ ", "b\\  ", "\\#", "\\!a", "a\\"], ["a  ", "a \\", "b ", "#", "!a", "a", "a\\"])
@example(["*.ab", "!*.a.ab", "*.b/"], ["a.ab", "a.a.ab", ".ab", "a.b", "a.b/a"])
def test_the_same_verdict_as_git(repository, patterns, paths):
    data = "\n".join(patterns).encode()
    ours = read_patterns(data)
    assert [we_say(ours, path) for path in paths] == git_says(repository, data, paths)


def test_what_is_in_an_excluded_folder_is_covered():
    patterns = Patterns(["build/", "*.gen.py", "/only"])
    assert patterns.covers("build/deep/x.py")
    assert patterns.covers("a/build", is_folder=True)
    assert not patterns.covers("a/build")
    assert patterns.covers("a/x.gen.py")
    assert patterns.covers("only/x")
    assert not patterns.covers("a/only/x")


def test_capitals_can_be_left_out_of_account():
    patterns = Patterns(["*.py", "Setup.cfg", "Read?me", "docs/*.MD"], folded=True)
    for path in ("A.PY", "setup.CFG", "READ-ME", "Docs/x.md"):
        assert patterns.covers(path), path
        assert not Patterns(["*.py", "Setup.cfg", "Read?me", "docs/*.MD"]).covers(path)


@pytest.mark.parametrize(
    "pattern", ["", " ", "!", "/", "!/", "# a", "[a", "a\\", "[[:none:]]", "a/[", "x[\\"]
)
def test_patterns_that_never_match(pattern):
    with pytest.raises(PatternError):
        check_pattern(pattern)


@pytest.mark.parametrize("pattern", ["a", "!a", "\\#a", "(?!)", "[(?!)]", "**", "a/", "[!a]", "\\ "])
def test_patterns_that_may_match(pattern):
    check_pattern(pattern)
