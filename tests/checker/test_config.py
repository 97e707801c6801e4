"""Settings: where they are found, what they mean, how mistakes in them are told."""

from pathlib import Path

import pytest
from decoderonly_checker.config import (
    Settings,
    SettingsError,
    check_selectors,
    load_settings,
    read_settings,
    selects,
)
from decoderonly_checker.diagnostics import Confidence, Severity

KNOWN = {
    "DLM101": "missing-attention-mask",
    "DLM102": "right-padded-generation",
    "DLM201": "prompt-not-stripped",
    "DLM301": "prompt-in-the-loss",
}

KEYS = (
    "baseline, cache-dir, exclude, extend-exclude, extend-select, ignore, include, include-markdown, known-models, "
    "known-tokenizers, min-confidence, models, per-file-ignores, require-ignore-reason, respect-gitignore, "
    "select, severity, timeout"
)
NONE_NEAR = "; `decoderonly rule --all` lists the rules"
NEAR_103 = "DLM102 (right-padded-generation), DLM101 (missing-attention-mask) or DLM301 (prompt-in-the-loss)"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_every_setting_is_read(tmp_path):
    source = write(
        tmp_path / "pyproject.toml",
        """
[tool.decoderonly]
select = ["DLM1", "prompt-not-stripped"]
ignore = ["DLM102"]
extend-select = ["DLM301"]
include = ["*.py", "scripts/*"]
exclude = ["old/"]
extend-exclude = ["*.gen.py"]
respect-gitignore = false
min-confidence = "possible"
timeout = 2.5
models = ["tests.models:build"]
require-ignore-reason = true
baseline = "known.json"
severity = { "DLM2" = "warning", "DLM" = "error" }
known-models = { "app.load" = "encoder-decoder" }
known-tokenizers = { "app.Bpe" = { padding-side = "left", truncation-side = "left" } }
[tool.decoderonly.per-file-ignores]
"tests/*" = ["DLM101", "prompt-not-stripped"]
""",
    )
    settings = load_settings(tmp_path, KNOWN)
    assert settings == Settings(
        root=tmp_path,
        source=source,
        select=("DLM1", "prompt-not-stripped"),
        ignore=("DLM102",),
        extend_select=("DLM301",),
        include=("*.py", "scripts/*"),
        exclude=("old/",),
        extend_exclude=("*.gen.py",),
        respect_gitignore=False,
        per_file_ignores={"tests/*": ("DLM101", "prompt-not-stripped")},
        min_confidence=Confidence.POSSIBLE,
        timeout=2.5,
        models=("tests.models:build",),
        require_ignore_reason=True,
        baseline=tmp_path / "known.json",
        severity={"DLM2": Severity.WARNING, "DLM": Severity.ERROR},
        known_models={"app.load": "encoder-decoder"},
        known_tokenizers={"app.Bpe": {"padding-side": "left", "truncation-side": "left"}},
    )
    assert settings.enabled(KNOWN) == ["DLM101", "DLM201", "DLM301"]


def test_the_selector_that_means_a_rule_most_exactly_says_how_bad_it_is():
    settings = Settings(
        severity={"DLM": Severity.ERROR, "DLM2": Severity.WARNING, "prompt-not-stripped": Severity.ERROR}
    )
    assert settings.severity_of("DLM101", "missing-attention-mask", Severity.WARNING) is Severity.ERROR
    assert settings.severity_of("DLM202", "prompt-stripped-as-text", Severity.ERROR) is Severity.WARNING
    assert settings.severity_of("DLM201", "prompt-not-stripped", Severity.WARNING) is Severity.ERROR
    assert Settings().severity_of("DLM201", "prompt-not-stripped", Severity.WARNING) is Severity.WARNING


def test_the_nearest_file_with_settings_governs(tmp_path):
    write(tmp_path / "pyproject.toml", "[tool.decoderonly]\nmodels = ['top']\n")
    write(tmp_path / "a/pyproject.toml", "[project]\nname = 'x'\n")
    write(tmp_path / "a/b/decoderonly.toml", "models = ['own']\n")
    write(tmp_path / "a/b/pyproject.toml", "[tool.decoderonly]\nmodels = ['beaten']\n")
    write(tmp_path / "a/b/c/x.py", "")
    assert load_settings(tmp_path / "a", KNOWN).models == ("top",)
    assert load_settings(tmp_path / "a", KNOWN).root == tmp_path
    assert load_settings(tmp_path / "a/b/c/x.py", KNOWN).models == ("own",)
    assert load_settings(tmp_path / "a/b/c", KNOWN).root == tmp_path / "a/b"


def test_defaults_without_a_file(tmp_path):
    settings = load_settings(tmp_path / "x.py", KNOWN)
    assert settings.source is None
    assert settings.root == tmp_path
    assert settings.min_confidence is Confidence.LIKELY
    assert settings.enabled(KNOWN) == list(KNOWN)


def test_an_empty_table_means_defaults(tmp_path):
    write(tmp_path / "pyproject.toml", "[tool.decoderonly]\n")
    assert load_settings(tmp_path, KNOWN).source == tmp_path / "pyproject.toml"
    assert load_settings(tmp_path, KNOWN).enabled(KNOWN) == list(KNOWN)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("selekt = []", "unknown setting tool.decoderonly.selekt; did you mean select?"),
        (
            "per_file_ignores = {}",
            "unknown setting tool.decoderonly.per_file_ignores; did you mean per-file-ignores?",
        ),
        (
            "zebra = 1",
            f"unknown setting tool.decoderonly.zebra; known settings: {KEYS}",
        ),
        ("select = 'DLM101'", "tool.decoderonly.select must be a list of strings, not a string"),
        (
            "select = ['DLM101', 3]",
            "tool.decoderonly.select must be a list of strings, but holds an integer: 3",
        ),
        ("models = true", "tool.decoderonly.models must be a list of strings, not a boolean"),
        (
            "ignore = ['DLM103']",
            f'tool.decoderonly.ignore: unknown rule "DLM103"; did you mean {NEAR_103}?',
        ),
        (
            "select = ['prompt-not-striped']",
            'tool.decoderonly.select: unknown rule "prompt-not-striped"; did you mean prompt-not-stripped?',
        ),
        (
            "select = ['E501']",
            'tool.decoderonly.select: unknown rule "E501"; `decoderonly rule --all` lists the rules',
        ),
        (
            "select = ['']",
            'tool.decoderonly.select: unknown rule ""; `decoderonly rule --all` lists the rules',
        ),
        (
            "min-confidence = 'sure'",
            'tool.decoderonly.min-confidence must be one of certain, likely, possible, not "sure"',
        ),
        (
            "timeout = '10'",
            "tool.decoderonly.timeout must be a number of seconds, not a string",
        ),
        (
            "timeout = true",
            "tool.decoderonly.timeout must be a number of seconds, not a boolean",
        ),
        (
            "timeout = -1",
            "tool.decoderonly.timeout must be a number of seconds, or 0 for no limit, not -1",
        ),
        (
            "timeout = nan",
            "tool.decoderonly.timeout must be a number of seconds, or 0 for no limit, not nan",
        ),
        (
            "min-confidence = 1.5",
            "tool.decoderonly.min-confidence must be one of certain, likely, possible, not a number",
        ),
        (
            "per-file-ignores = []",
            "tool.decoderonly.per-file-ignores must be a table of pattern = [rules], not a list",
        ),
        (
            "per-file-ignores = { 'a.py' = 'DLM101' }",
            'tool.decoderonly.per-file-ignores."a.py" must be a list of strings, not a string',
        ),
        (
            "per-file-ignores = { 'a.py' = ['X'] }",
            f'tool.decoderonly.per-file-ignores."a.py": unknown rule "X"{NONE_NEAR}',
        ),
        ("cache-dir = ['a']", "tool.decoderonly.cache-dir must be a string, not a list"),
        ("cache-dir = ''", "tool.decoderonly.cache-dir must name a folder, not ''"),
        ('cache-dir = "a\\u0000b"', "tool.decoderonly.cache-dir must name a folder, not 'a\\x00b'"),
        ("exclude = ['a', '!']", 'tool.decoderonly.exclude: "!" is not a pattern as in .gitignore'),
        ("exclude = ['[a']", 'tool.decoderonly.exclude: "[a" is not a pattern as in .gitignore'),
        ("include = ['# a']", 'tool.decoderonly.include: "# a" is not a pattern as in .gitignore'),
        (
            "include = ['src/']",
            'tool.decoderonly.include: "src/" names a folder; for its files write "src/**/*.py"',
        ),
        ("respect-gitignore = 1", "tool.decoderonly.respect-gitignore must be true or false, not an integer"),
        (
            "severity = { DLM2 = 'fatal' }",
            'tool.decoderonly.severity."DLM2" must be one of error, warning, not "fatal"',
        ),
        ("severity = { X = 'error' }", f'tool.decoderonly.severity: unknown rule "X"{NONE_NEAR}'),
        (
            "severity = 'error'",
            'tool.decoderonly.severity must be a table of rule = "error" or "warning", not a string',
        ),
        (
            "require-ignore-reason = 'yes'",
            "tool.decoderonly.require-ignore-reason must be true or false, not a string",
        ),
        ("baseline = true", "tool.decoderonly.baseline must be a string, not a boolean"),
        (
            "known-models = { 'a.load' = 'gpt' }",
            'tool.decoderonly.known-models."a.load" must be one of decoder-only, encoder-decoder, not "gpt"',
        ),
        (
            "known-models = { 'a load' = 'decoder-only' }",
            'tool.decoderonly.known-models: "a load" is not a dotted name such as "app.models.load"',
        ),
        (
            "known-tokenizers = { 'a.load' = { side = 'left' } }",
            'tool.decoderonly.known-tokenizers."a.load": unknown key "side"; known: padding-side, truncation-side',
        ),
        (
            "known-tokenizers = { 'a.load' = { padding-side = 'up' } }",
            'tool.decoderonly.known-tokenizers."a.load".padding-side must be one of left, right, not "up"',
        ),
        ("exclude = 1979-05-27", "tool.decoderonly.exclude must be a list of strings, not a date or time"),
    ],
)
def test_mistakes_are_one_exact_line(tmp_path, text, message):
    write(tmp_path / "pyproject.toml", "[tool.decoderonly]\n" + text)
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path, KNOWN)
    assert str(caught.value) == f"pyproject.toml: {message}"


def test_own_file_has_no_prefix(tmp_path):
    write(tmp_path / "decoderonly.toml", "selekt = []")
    with pytest.raises(
        SettingsError, match=r"^decoderonly\.toml: unknown setting selekt; did you mean select\?$"
    ):
        load_settings(tmp_path, KNOWN)


@pytest.mark.parametrize(
    ("written", "meant"), [("../a", "proj/a"), ("b/./c", "proj/x/b/c"), ("~/d", "home/d"), ("~", "home")]
)
def test_the_cache_folder_is_named_from_the_settings_file(tmp_path, monkeypatch, written, meant):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write(tmp_path / "proj/x/decoderonly.toml", f"cache-dir = '{written}'")
    assert load_settings(tmp_path / "proj/x/y/z.py", KNOWN).cache_dir == tmp_path / meant
    monkeypatch.chdir(tmp_path / "proj/x")
    assert read_settings(Path("decoderonly.toml"), KNOWN).cache_dir == tmp_path / meant


def test_a_home_that_is_not_known(tmp_path):
    write(tmp_path / "decoderonly.toml", "cache-dir = '~nobody-of-this-name/x'")
    with pytest.raises(
        SettingsError,
        match=r"^decoderonly.toml: cache-dir: no home folder is known for '~nobody-of-this-name/x'$",
    ):
        load_settings(tmp_path, KNOWN)


@pytest.mark.parametrize(
    ("data", "start"),
    [
        (b"[tool.decoderonly\n", "pyproject.toml: not valid TOML: "),
        (b"[tool.decoderonly]\n\xff", "pyproject.toml: not valid TOML: "),
        (b"[tool]\ndecoderonly = 3\n", "pyproject.toml: tool.decoderonly must be a table, not an integer"),
    ],
)
def test_broken_files_are_named(tmp_path, data, start):
    (tmp_path / "pyproject.toml").write_bytes(data)
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path, KNOWN)
    assert str(caught.value).startswith(start)
    assert "\n" not in str(caught.value)


def test_what_says_nothing_of_this_tool_is_not_read(tmp_path):
    (tmp_path / "pyproject.toml").write_bytes(b"[tool.other\n")
    write(tmp_path / "below" / "decoderonly.toml", "")
    assert load_settings(tmp_path, KNOWN) == Settings(root=tmp_path)
    assert load_settings(tmp_path / "below", KNOWN).source == tmp_path / "below" / "decoderonly.toml"


def test_a_named_file_must_be_readable(tmp_path):
    (tmp_path / "pyproject.toml").write_bytes(b"[tool.other\n")
    with pytest.raises(SettingsError, match=r"pyproject\.toml: not valid TOML: "):
        read_settings(tmp_path / "pyproject.toml", KNOWN)
    with pytest.raises(SettingsError, match=r"^gone\.toml: no such file or directory$"):
        read_settings(Path("gone.toml"), KNOWN)
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(SettingsError, match=r"^folder\.toml: is a directory, not a file$"):
        read_settings(Path("folder.toml"), KNOWN)


@pytest.mark.parametrize(
    ("select", "ignore", "enabled"),
    [
        (["ALL"], [], ["DLM101", "DLM102", "DLM201", "DLM301"]),
        (["DLM1"], ["DLM101"], ["DLM102"]),
        (["DLM101"], ["DLM1"], ["DLM101"]),
        (["DLM101"], ["DLM101"], []),
        (["dlm101", "Prompt-In-The-Loss"], [], ["DLM101", "DLM301"]),
        (["DLM"], ["prompt-not-stripped", "DLM3"], ["DLM101", "DLM102"]),
        (["ALL"], ["DLM"], []),
    ],
)
def test_the_more_exact_selector_wins_and_ignore_wins_a_tie(select, ignore, enabled):
    settings = Settings(select=tuple(select), ignore=tuple(ignore))
    assert settings.enabled(KNOWN) == enabled


def test_selectors():
    assert selects("DLM1", "DLM101", "a-name")
    assert selects("a-name", "DLM101", "a-name")
    assert not selects("a-na", "DLM101", "a-name")
    check_selectors(["DLM", "all", "DLM10"], KNOWN, "--select")
    with pytest.raises(SettingsError, match=r'^--select: unknown rule "DLM9"'):
        check_selectors(["DLM9"], KNOWN, "--select")
