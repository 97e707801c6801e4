"""Entry point of the `decoderonly` command and of `python -m decoderonly_checker`."""

from __future__ import annotations

import gc
import io
import os
import sys
from typing import NoReturn


def main() -> None:
    """Run the command line and exit."""
    for stream in (sys.stdout, sys.stderr):
        # A console that cannot show a character must not end the run.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run()
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        # The reader (`| head`) has left. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1  # as click does where it meets the same
    sys.exit(code)


def command() -> NoReturn:
    """Run the command line in a process of its own, and end it: at once, where nobody waits for anything.

    Taking all modules and trees apart, as Python does at its end, changes nothing and takes time (mypy leaves in the same way).
    """
    # Start-up makes much that stays: looking for what is garbage among it finds nothing.
    gc.set_threshold(200_000)
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    alone = "threading" not in sys.modules or sys.modules["threading"].active_count() == 1
    measured = "coverage" in sys.modules or sys.gettrace() is not None or sys.getprofile() is not None
    if alone and not measured:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):
            sys.exit(code)
        os._exit(code)
    sys.exit(code)


def _run() -> int:
    import click

    from decoderonly_checker.cli.app import app
    from decoderonly_checker.config import SettingsError

    try:
        result = app.main(prog_name="decoderonly", standalone_mode=False)
    except click.ClickException as problem:
        problem.show()
        return problem.exit_code
    except SettingsError as problem:
        click.echo(f"error: {problem}", err=True)
        return 2
    except click.Abort:
        raise KeyboardInterrupt from None
    except BrokenPipeError:
        raise
    except Exception as problem:
        import traceback

        traceback.print_exc()
        click.echo(
            f"error: internal error: {type(problem).__name__}; please report it with the lines above",
            err=True,
        )
        return 2
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    command()
