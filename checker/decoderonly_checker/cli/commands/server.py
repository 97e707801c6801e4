"""`decoderonly server`."""

from __future__ import annotations

from importlib.util import find_spec

import click

from decoderonly_checker.config import SettingsError


@click.command("server", short_help="Serve an editor (language server on standard input and output).")
@click.option(
    "--stdio", is_flag=True, hidden=True, expose_value=False
)  # some editors add it; there is nothing else
@click.pass_context
def command(ctx: click.Context) -> None:
    """Serve an editor: findings while typing, rules' pages to hover over, fixes.

    Speaks the language server protocol on standard input and output. An editor starts this; see docs/reference/editors.md.
    """
    if find_spec("pygls") is None:
        raise SettingsError('server needs pygls: pip install "pytest-decoderonly[server]"')
    from decoderonly_checker.server.service import serve

    ctx.exit(serve())
