"""Options, ini keys and markers: accepted forms, refused forms, and how they combine."""

from __future__ import annotations

import pytest

from pytest_decoderonly import options

PASSING = "def test_passes(): pass\n"


def usage_error(result: pytest.RunResult) -> str:
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    return result.stderr.str() + result.stdout.str()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--decoderonly-checks", "--decoderonly-guard=loud"], "choose from"),
        (["--decoderonly-guard=warn"], "--decoderonly-guard has no effect without --decoderonly-checks"),
        (["--decoderonly-model=a"], "set the ini key decoderonly_models instead"),
        (["--decoderonly-checks", "--decoderonly-model= "], "an empty model; expected a model folder"),
    ],
)
def test_wrong_options_are_refused(pytester, arguments, expected):
    pytester.makepyfile(PASSING)
    assert expected in usage_error(pytester.runpytest_inprocess(*arguments))


def test_wrong_ini_value(pytester):
    pytester.makepyfile(PASSING)
    pytester.makeini("[pytest]\ndecoderonly_guard = loud\n")
    shown = usage_error(pytester.runpytest_inprocess("--decoderonly-checks"))
    assert "ini key decoderonly_guard: expected one of error, warn, off, got 'loud'" in shown
    assert pytester.runpytest_inprocess().ret == pytest.ExitCode.OK, "not in use, so nobody's business"


def test_wrong_settings_of_the_checker(pytester):
    pytester.makepyfile(PASSING)
    pytester.makepyprojecttoml('[tool.decoderonly]\nmodells = ["a"]\n')
    assert "modells" in usage_error(pytester.runpytest_inprocess("--decoderonly-checks"))


@pytest.mark.parametrize(
    ("marker", "expected"),
    [
        ('decoderonly_guard("loud")', "expected one of error, warn, off, got 'loud'"),
        ("decoderonly_guard()", 'expected decoderonly_guard("error")'),
        ('decoderonly_allow("DLM20")', "expected codes and a reason"),
        ('decoderonly_allow("DLM201", because="x")', "got because"),
    ],
)
def test_wrong_markers(project, marker, expected):
    project.makepyfile(f"import pytest\n@pytest.mark.{marker}\ndef test_it(): pass\n")
    shown = usage_error(project.runpytest_inprocess("--decoderonly-checks"))
    assert expected in shown
    assert "test_wrong_markers.py::test_it" in shown


def test_models_from_everywhere_in_order(pytester):
    pytester.makeini("[pytest]\ndecoderonly_models =\n    ini:one\n    both:two\n")
    (pytester.path / "decoderonly.toml").write_text('models = ["toml:three", "both:two"]\n')
    config = pytester.parseconfig(
        "--decoderonly-checks", "--decoderonly-model=both:two", "--decoderonly-model=opt:zero"
    )
    assert options.models(config) == ["both:two", "opt:zero", "ini:one", "toml:three"]


def test_guard_mode_option_wins_over_ini(pytester):
    pytester.makeini("[pytest]\ndecoderonly_guard = off\n")
    assert options.guard_mode(pytester.parseconfig("--decoderonly-checks")) == "off"
    config = pytester.parseconfig("--decoderonly-checks", "--decoderonly-guard=warn")
    assert options.guard_mode(config) == "warn"


def test_markers_are_registered(pytester):
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.decoderonly_allow("DLM201", reason="shown to the user on purpose")
        @pytest.mark.decoderonly_guard("off")
        def test_it(): pass
        """
    )
    assert pytester.runpytest_inprocess("--strict-markers").ret == pytest.ExitCode.OK
    pytester.runpytest_inprocess("--markers").stdout.fnmatch_lines(
        ["@pytest.mark.decoderonly_allow(*", "@pytest.mark.decoderonly_guard(mode)*"]
    )


def test_header_only_when_in_use(project):
    project.makepyfile(PASSING)
    assert "decoderonly:" not in project.runpytest_inprocess().stdout.str()
    project.runpytest_inprocess("--decoderonly-checks", "--decoderonly-guard=warn").stdout.fnmatch_lines(
        ["decoderonly: static checks, guard=warn"]
    )


def test_help_shows_the_accepted_forms(pytester):
    shown = pytester.runpytest_inprocess("--help").stdout
    shown.fnmatch_lines(
        [
            "checks for decoder-only language models:",
            "*--decoderonly-checks*",
            "*--decoderonly-model=SPEC*",
            "*--decoderonly-guard=MODE*",
        ]
    )
