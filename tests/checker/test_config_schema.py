"""The JSON schema of the settings: it accepts what the checker accepts, and refuses what the checker refuses."""

import json
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner
from decoderonly_checker.cli.app import app
from decoderonly_checker.config import Settings, SettingsError, load_settings
from decoderonly_checker.config_keys import KEYS, as_toml_value, schema
from hypothesis import given, settings
from hypothesis import strategies as st

try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)


def test_the_schema_is_a_schema():
    jsonschema.Draft7Validator.check_schema(schema())


def test_the_command_prints_it():
    done = CliRunner().invoke(app, ["settings", "--schema"])
    assert json.loads(done.output) == schema()


def test_every_setting_is_in_both():
    fields = set(Settings.__dataclass_fields__) - {"root", "source"}
    assert (
        {name.replace("-", "_") for name in KEYS}
        == fields
        == {n.replace("-", "_") for n in schema()["properties"]}
    )


def test_defaults_are_those_that_the_schema_tells():
    for name, one in schema()["properties"].items():
        held = getattr(Settings(), name.replace("-", "_"))
        if "default" in one:
            assert tomllib.loads(f"x = {as_toml_value(held)}")["x"] == one["default"], name
        else:
            assert held is None


@pytest.mark.parametrize("name", KEYS)
def test_examples_are_accepted(name, tmp_path):
    example = KEYS[name].example
    if example:
        (tmp_path / "decoderonly.toml").write_text(example, encoding="utf-8")
        load_settings(tmp_path)
        jsonschema.validate(tomllib.loads(example), schema())


VALUES = st.recursive(
    st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
    | st.sampled_from(["left", "error", "likely", "decoder-only"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([*KEYS, "unknown"]), VALUES)
def test_what_the_schema_refuses_the_checker_refuses(tmp_path_factory, name, value):
    """Not the other way round: whether a rule exists, or a pattern is one, no schema can tell."""
    try:
        jsonschema.validate({name: value}, schema())
    except jsonschema.ValidationError:
        folder = tmp_path_factory.mktemp("settings")
        (folder / "decoderonly.toml").write_text(f"{name} = {as_toml_value(value)}", encoding="utf-8")
        with pytest.raises(SettingsError) as caught:
            load_settings(folder)
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)


def test_settings_are_shown_as_a_file_would_say_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "decoderonly.toml").write_text(
        'select = ["DLM1"]\nseverity = { "DLM101" = "warning" }\nbaseline = "b.json"\n', encoding="utf-8"
    )
    shown = CliRunner().invoke(app, ["settings"]).output
    assert shown.startswith("# decoderonly.toml\n")
    held = tomllib.loads(shown)
    assert held["select"] == ["DLM1"]
    assert held["severity"] == {"DLM101": "warning"}
    assert held["baseline"] == str(tmp_path / "b.json")
    again = tmp_path / "again"
    again.mkdir()
    (again / "decoderonly.toml").write_text(shown, encoding="utf-8")
    assert load_settings(again).severity == load_settings(tmp_path).severity


def test_the_page_is_made_of_them():
    text = PAGE.read_text(encoding="utf-8")
    for name, key in KEYS.items():
        assert f"\n## {name}\n\n{key.text}\n" in text, f"docs/reference/settings.md: {name}"
        if key.example:
            assert f"```toml\n{key.example}\n```" in text
