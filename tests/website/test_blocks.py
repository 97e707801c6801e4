"""Every block of the README and of the documentation does what its page says."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import whole_checker  # noqa: F401

sys.path.insert(0, str(Path(__file__).parent))
from _website import plugin_pages
from blocks import NOT_RUN, PAGES, ROOT, Block, PageRun, blocks_of, same

SHOWING = [path for path in PAGES if blocks_of(path)]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A hub's cache in which every name that the pages load leads to a tiny LLaMA and its tokenizer."""
    from pytest_decoderonly.tiny import tiny_decoder, tiny_tokenizer

    folder = tmp_path_factory.mktemp("hub")
    tiny_decoder("llama").save_pretrained(folder / "tiny")
    tiny_tokenizer(padding_side="right").save_pretrained(folder / "tiny")
    names = set(
        re.findall(r'"(gpt2|[\w.-]+/SmolLM2[\w.-]*)"', "".join(p.read_text(encoding="utf-8") for p in PAGES))
    )
    assert names
    for name in names:
        repository = folder / "cache" / f"models--{name.replace('/', '--')}"
        for part, text in (("refs/main", "tiny"), ("snapshots", None)):
            path = repository / part
            path.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                path.mkdir()
                (path / "tiny").symlink_to(folder / "tiny")
            else:
                path.write_text(text, encoding="utf-8")
    return folder / "cache"


@pytest.mark.parametrize("path", SHOWING, ids=[p.relative_to(ROOT).as_posix() for p in SHOWING])
def test_blocks_do_what_the_page_says(path, hub, pytester, monkeypatch):
    blocks = blocks_of(path)
    if any("from_pretrained" in block.text for block in blocks):
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))

    def inside(*arguments):
        for file in pytester.path.glob("*.py"):
            # Tests of this repository that this process has run may have the names of those on the page.
            monkeypatch.delitem(sys.modules, file.stem, raising=False)
        done = pytester.runpytest_inprocess("-p", "no:cacheprovider", *arguments)
        return int(done.ret), done.stdout.str()

    declared = plugin_pages.declared_options()
    PageRun(pytester.path, inside, declared).run(blocks)


def test_what_is_not_run_says_why():
    reasons = [
        (block.place, block.not_run)
        for path in PAGES
        for block in blocks_of(path)
        if "# not run" in block.text
    ]
    assert all(len(reason.split()) >= 3 for _, reason in reasons), reasons
    for path in PAGES:
        for block in blocks_of(path):
            assert not NOT_RUN.search(block.text) or block.not_run, (
                f"{block.place}: it must be the first line"
            )


def test_options_that_pages_mention_exist():
    mentioned = {
        word
        for path in PAGES
        for word in re.findall(r"--decoderonly-[a-z-]+", path.read_text(encoding="utf-8"))
    }
    assert mentioned - plugin_pages.declared_options() == set()


def test_what_the_page_shows_is_compared():
    assert same("a 1.50\nb", "a 1.51\nb")
    assert same("a\n...\nd", "a\nb\nc\nd")
    assert same("2 passed in 0.10s", "2 passed in 9.99s")
    for shown, said in (
        ("a 1.50", "a 1.60"),
        ("a\nb", "a\nc"),
        ("a\n...\nd", "a\nb"),
        ("a 1", "a 2"),
        ("a", "a\nb"),
    ):
        assert not same(shown, said)


def run(text, language, folder, **more):
    path = ROOT / "docs" / "page.md"
    PageRun(folder, lambda *_: (1, "a test failed"), {"--decoderonly-checks"}).run(
        [Block(path, 1, language, text, **more)]
    )


@pytest.mark.parametrize(
    ("language", "text", "shown"),
    [
        ("python", "raise ValueError('x')\n", ""),
        ("python", "assert False, 'another message'\n", "this message"),
        ("python", "pass\n", "this message"),
        ("python", "# test_a.py\ndef test_a(): assert False\n", ""),
        ("console", "$ decoderonly rule DLM999\nfine\n", ""),
        ("sh", "decoderonly check --no-such-option\n", ""),
        ("sh", "decoderonly nothing\n", ""),
        ("sh", "pytest --decoderonly-nothing\n", ""),
        ("sh", "bash examples/gone/run\n", ""),
        ("sh", 'pip install "pytest-decoderonly[nothing]"\n', ""),
        ("toml", "[tool.decoderonly]\nnothing = 1\n", ""),
        ("yaml", "a: [\n", ""),
        ("json", "{\n", ""),
    ],
)
def test_a_block_that_is_wrong_fails(language, text, shown, tmp_path):
    with pytest.raises(Exception):  # noqa: B017 - whatever the block itself raises
        run(text, language, tmp_path, shown=shown)
