"""`decoderonly settings`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from decoderonly_checker.config import load_settings
from decoderonly_checker.config_keys import KEYS, as_toml_value, schema
from decoderonly_checker.source.files import shown_path


@click.command("settings", short_help="Show the settings that govern a path.")
@click.argument("path", default=Path(), type=click.Path(path_type=Path))
@click.option("--schema", "wants_schema", is_flag=True, help="Print the JSON schema of the settings instead.")
def command(path: Path, wants_schema: bool) -> None:
    """Show the settings that govern PATH (default: the current folder), as a decoderonly.toml would say them."""
    if wants_schema:
        click.echo(json.dumps(schema(), indent=2))
        return
    settings = load_settings(path)
    click.echo(f"# {shown_path(settings.source) if settings.source else 'no settings file: the defaults'}")
    for name in KEYS:
        value = getattr(settings, name.replace("-", "_"))
        click.echo(f"{name} = {as_toml_value(value)}" if value is not None else f"# {name}: not set")
