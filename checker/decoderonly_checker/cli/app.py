"""The `decoderonly` command: a group whose commands are found by file name and imported on use."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

_COMMANDS = Path(__file__).parent / "commands"
# Commands that need a model belong to the plugin, which comes in the same distribution; named, never imported otherwise.
_OF_THE_PLUGIN = {"study": "pytest_decoderonly.study.command"}


class LazyGroup(click.Group):
    """Finds `commands/<name>.py`, which holds a click command called `command`, and those of the plugin."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names of the commands, without importing them."""
        return sorted([*(file.stem for file in _COMMANDS.glob("[a-z]*.py")), *_OF_THE_PLUGIN])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        home = _OF_THE_PLUGIN.get(cmd_name, f"decoderonly_checker.cli.commands.{cmd_name}")
        module = importlib.import_module(home)
        command = module.command
        if not isinstance(command, click.Command):
            raise TypeError(f"{module.__name__}.command is no click command")
        return command


def _print_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from decoderonly_checker.version import installed_version

        click.echo(f"decoderonly {installed_version() or '(not installed: run from its sources)'}")
        ctx.exit()


@click.command(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Print the version.",
)
def app() -> None:
    """Find the silent mistakes of code for decoder-only language models, without running it.

    `study` alone runs something: a model that it is given.

    Exit codes: 0 nothing found, 1 findings, 2 the tool could not do its work.
    """
