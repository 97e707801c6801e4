"""Runs what the documentation shows: a page's blocks in their order, in a folder of the page's own.

How a block is run is told by its language and its first line:

* python: `# app.py` puts it into the folder and runs it; `# test_app.py` puts it there for the next `$ pytest`, or for
  the run at the end of the page; anything else is run in the namespace that the page's blocks share. A block before a
  `text` block raises an AssertionError with that text.
* toml, yaml, json: `# name` puts it into the folder; each must parse, and settings must be accepted.
* console: each `$ command` is run, and what follows it is what it prints. A line `...` stands for any lines.
* sh: commands for the reader's own machine. They are not run: scripts, options and extras in them must exist.

`# not run: why` as the first line says that a block cannot be run here.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml
from click.testing import CliRunner
from decoderonly_checker.cli.app import app
from decoderonly_checker.config import load_settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_RUN = re.compile(r"# not run: (.+)")
_FENCE = re.compile(r"^( *)```([\w-]*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w./-]+\.(?:py|toml|ya?ml|jsonl?|ini|cfg))\n")
_DECIMAL = re.compile(r"-?\d+\.\d+(?:e[+-]\d+)?s?")
_RUN_LANGUAGES = ("python", "console", "sh", "toml", "yaml", "json")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page. `shown` is the `text` block right behind it, empty where there is none."""

    path: Path
    line: int
    language: str
    text: str
    shown: str

    @property
    def place(self) -> str:
        return f"{self.path.relative_to(ROOT).as_posix()}:{self.line}"

    @property
    def not_run(self) -> str:
        """Why it is not run; empty where it is."""
        match = NOT_RUN.match(self.text)
        return match[1].strip() if match else ""

    @property
    def file(self) -> str:
        match = _FILE.match(self.text)
        return match[1] if match else ""


def blocks_of(path: Path) -> list[Block]:
    """Return the blocks of a page, in order; a fence without its other half is an error."""
    page = path.read_text(encoding="utf-8")
    fences = len(re.findall(r"^ *```", page, re.MULTILINE))
    found = list(_FENCE.finditer(page))
    if 2 * len(found) != fences:
        raise ValueError(f"{path}: {fences} fences, but {len(found)} blocks")
    blocks = []
    for match, after in zip(found, [*found[1:], None][: len(found)], strict=True):
        behind = after and after[2] == "text" and not page[match.end() : after.start()].strip()
        blocks.append(
            Block(
                path,
                page.count("\n", 0, match.start()) + 2,
                match[2],
                textwrap.dedent(match[3]),
                textwrap.dedent(after[3]).rstrip("\n") if behind else "",
            )
        )
    return blocks


def same(shown: str, said: str) -> bool:
    """Is this what the page shows, but for kernels that round differently, times, and lines that `...` stands for?"""
    patterns = [
        r"(?:.*\n)*?" if line.strip() == "..." else re.escape(_DECIMAL.sub("#", line.rstrip())) + r"\n"
        for line in shown.split("\n")
    ]
    plain = "".join(_DECIMAL.sub("#", line.rstrip()) + "\n" for line in said.split("\n"))
    if re.fullmatch("".join(patterns), plain) is None:
        return False
    if "..." in shown.split("\n"):
        return True
    pairs = zip(_DECIMAL.findall(shown), _DECIMAL.findall(said), strict=True)
    return all(
        b.endswith("s") or abs(float(a) - float(b)) <= max(0.02 * abs(float(b)), 1e-3) for a, b in pairs
    )


class PageRun:
    """Runs the blocks of one page in a folder."""

    def __init__(
        self, folder: Path, pytest_inside: Callable[..., tuple[int, str]], options: set[str]
    ) -> None:
        self._folder = folder
        self._pytest = pytest_inside
        self._options = options
        self._names: dict[str, Any] = {"__name__": "page"}
        self._waiting: list[str] = []

    def run(self, blocks: list[Block]) -> None:
        """Run them in order; then the test files that no command of the page has run."""
        for block in blocks:
            if block.language in _RUN_LANGUAGES and not block.not_run:
                getattr(self, f"_{block.language}")(block)
        if self._waiting:
            status, said = self._pytest("-q", "--decoderonly-checks", *self._waiting)
            assert status == 0, f"{blocks[0].path}: its tests fail\n{said}"

    def _write(self, block: Block) -> bool:
        if block.file:
            path = self._folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        return bool(block.file)

    def _python(self, block: Block) -> None:
        named = self._write(block)
        if named and Path(block.file).name.startswith(("test_", "conftest")):
            if Path(block.file).name.startswith("test_") and block.file not in self._waiting:
                self._waiting.append(block.file)
            return
        names = {"__name__": Path(block.file).stem, "__file__": block.file} if named else self._names
        source = "\n" * (block.line - 1) + block.text
        shown_as = block.file if named else str(block.path)
        raised = ""
        with contextlib.redirect_stdout(None), _imports_from(self._folder):
            try:
                exec(compile(source, shown_as, "exec"), names)  # noqa: S102 - our own pages, which is the point
            except AssertionError as problem:
                if not block.shown:
                    raise
                raised = str(problem)
        if block.shown:
            assert same(block.shown, raised), f"{block.place}: it says\n{raised}"

    def _console(self, block: Block) -> None:
        for session in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            line, _, expected = session.partition("\n")
            program, *arguments = shlex.split(line, comments=True)
            said = getattr(self, f"_run_{program}", self._run_other)(program, arguments)
            assert same(expected.rstrip("\n"), said.rstrip("\n")), f"{block.place}: `{line}` says\n{said}"

    def _run_decoderonly(self, _: str, arguments: list[str]) -> str:
        return CliRunner().invoke(app, arguments, catch_exceptions=False).output

    def _run_pytest(self, _: str, arguments: list[str]) -> str:
        named = {word.partition("::")[0] for word in arguments if not word.startswith("-")}
        self._waiting = [file for file in self._waiting if named and file not in named]
        return self._pytest(*arguments)[1]

    def _run_other(self, program: str, arguments: list[str]) -> str:
        installed = Path(sys.executable).parent / program
        done = subprocess.run(
            [str(installed) if installed.exists() else program, *arguments],
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return done.stdout + done.stderr

    def _toml(self, block: Block) -> None:
        held = tomllib.loads(block.text)
        tool = held.get("tool", {}).get("decoderonly")
        folder = self._folder / f"settings-{block.line}"
        if block.path.name == "settings.md" or tool is not None:
            folder.mkdir()
            name = "pyproject.toml" if tool is not None else "decoderonly.toml"
            (folder / name).write_text(block.text, encoding="utf-8")
            load_settings(folder)
            (folder / name).unlink()
        self._write(block)

    def _yaml(self, block: Block) -> None:
        yaml.safe_load(block.text)
        self._write(block)

    def _json(self, block: Block) -> None:
        json.loads(re.sub(r"^\s*//.*$", "", block.text, flags=re.MULTILINE))
        self._write(block)

    def _sh(self, block: Block) -> None:
        for line in block.text.replace("\\\n", " ").splitlines():
            for part in re.split(r"\s(?:\||&&|;)\s", line):
                words = shlex.split(part, comments=True)
                while words and ("=" in words[0] or words[0] in ("export", "nice", "time")):
                    words = words[1:]
                problem = self._cannot(words) if words else ""
                assert not problem, f"{block.place}: `{line}`: {problem}"

    def _cannot(self, words: list[str]) -> str:
        """Say what of a command does not exist; nothing where it could be run."""
        program, *arguments = words
        if Path(program).name == "decoderonly":
            return _no_such_option(arguments)
        if Path(program).name == "pytest" or arguments[:2] == ["-m", "pytest"]:
            given = {word.partition("=")[0] for word in arguments if word.startswith("--decoderonly")}
            return ", ".join(sorted(given - self._options))
        if program in ("bash", "python", "python3") or program.endswith("/python"):
            script = ROOT / next((word for word in arguments if not word.startswith("-")), "")
            if "-m" in arguments:
                return ""
            if not script.is_file():
                return f"there is no {script.relative_to(ROOT)}"
            return subprocess.run(
                ["bash", "-n", script], capture_output=True, text=True, check=False
            ).stderr * (program == "bash")
        if "pip" in words[:3]:
            return _no_such_extra(arguments)
        return ""


def _no_such_option(arguments: list[str]) -> str:
    command: click.Command = app
    with click.Context(app, info_name="decoderonly") as context:
        while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
            inner = command.get_command(context, arguments[0])
            if inner is None:
                return f"there is no command {arguments[0]}"
            command, arguments = inner, arguments[1:]
        known = {name for one in command.get_params(context) for name in (*one.opts, *one.secondary_opts)}
    given = {word.partition("=")[0] for word in arguments if word.startswith("-") and word != "-"}
    return ", ".join(sorted(given - known))


def _no_such_extra(arguments: list[str]) -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    known = set(project["optional-dependencies"])
    wanted = {
        extra.strip()
        for word in arguments
        for found in re.findall(r"^(?:\.|pytest-decoderonly)\[([^\]]+)\]", word)
        for extra in found.split(",")
    }
    return ", ".join(sorted(wanted - known))


@contextlib.contextmanager
def _imports_from(folder: Path) -> Iterator[None]:
    """Let a page's files import each other, and forget them afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    here = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(here)
        sys.path.remove(str(folder))
        own = {path.stem for path in folder.rglob("*.py")}
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in own:
                del sys.modules[name]
