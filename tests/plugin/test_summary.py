"""The section at the end: absent when empty, added up over workers, refused sections."""

from __future__ import annotations

import pytest

from pytest_decoderonly.summary import Summary, summary_of


def test_empty_is_absent(pytester):
    assert Summary().render() == []
    pytester.makepyfile("def test_it(): pass\n")
    pytester.mkdir("nothing")
    pytester.makeini("[pytest]\ndecoderonly_paths = nothing\n")
    assert "= decoderonly =" not in pytester.runpytest_inprocess("--decoderonly-checks").stdout.str()


def test_lines_and_totals_in_the_order_of_sections():
    summary = Summary()
    summary.add("model", "tests.models:build   14 checks")
    summary.add("guard", "a line")
    summary.show("guard", lambda counts: [f"{counts['calls']} calls", "more"] if counts["calls"] else [])
    summary.count("guard", "calls", 3)
    assert summary.render() == [
        "guard     3 calls",
        "          more",
        "          a line",
        "model     tests.models:build   14 checks",
    ]


def test_two_workers_are_one_line():
    whole = Summary()
    whole.show("static", lambda counts: [f"{counts['files']} files"])
    for files in (2, 3):
        part = Summary()
        part.count("static", "files", files)
        part.count("static", "failed")
        part.add("guard", "off, needs transformers")
        whole.merge(part.dump())
    assert whole.render() == ["static    5 files", "guard     off, needs transformers"]
    assert whole.failed == 2


def test_a_wrong_section_is_refused():
    with pytest.raises(ValueError, match="unknown section 'lint': expected one of static, guard, model"):
        Summary().add("lint", "x")


def test_one_summary_a_run_also_without_the_flag(pytester):
    config = pytester.parseconfigure()
    assert summary_of(config) is summary_of(config)


def test_a_rerun_keeps_the_options_that_it_depends_on(pytester):
    pytester.makepyfile(app="def f(tokenizer, ids): pass\n", test_it="def test_it(): pass\n")
    pytester.makeconftest(
        """
        from pytest_decoderonly.summary import summary_of
        def pytest_runtest_logfinish(nodeid): pass
        def pytest_collection_finish(session):
            summary_of(session.config).add("guard", "a line")
            summary_of(session.config).count("guard", "failed")
        """
    )
    given = [
        "--decoderonly-checks",
        "--decoderonly-max-memory=1TiB",
        "--decoderonly-guard=warn",
        "--decoderonly-guard-rule=DLM1=off",
        "--decoderonly-guard-rule=DLM2=error",
    ]
    result = pytester.runpytest_inprocess(*given, "--decoderonly-report=found.json")
    result.stdout.fnmatch_lines([f"rerun failures: pytest --lf {' '.join(given)}"])
