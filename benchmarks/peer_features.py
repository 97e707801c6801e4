"""Ask the peers themselves what they can do: `python benchmarks/peer_features.py --peers FOLDER`.

Each question is a small project and a command; the answers must be those of the table in docs/reference/features.md, in the cells
that say "ran". Environments with the versions of `feature_peers.txt` are made in FOLDER by pip, and used again.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from speed.environments import program, read_peers

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "reference" / "features.md"
PEERS = HERE / "feature_peers.txt"
# Our name of a tool, and what its program is called.
PROGRAMS = {"ruff": "ruff", "fixit": "fixit", "torchfix": "torchfix", "transformers-mlinter": "mlinter"}

# A mistake that each tool finds, under a name that it looks at.
FAULTS = {
    "ruff": ("fault.py", "import os\n", "F401"),
    "fixit": ("fault.py", "def f(x):\n    return x == None\n", "CompareSingletonPrimitivesByIs"),
    "torchfix": ("fault.py", 'import torch\n\nstate = torch.load("a.pt")\n', "TOR102"),
    "transformers-mlinter": (
        "modeling_foo.py",
        "class FooPreTrainedModel(PreTrainedModel):\n    config_class = BarConfig\n",
        "TRF057",
    ),
}
SERVING = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("gpt2")
model = AutoModelForCausalLM.from_pretrained("gpt2")


def answer(questions: list[str]) -> list[str]:
    encoding = tokenizer(questions, padding=True, return_tensors="pt")
    output = model.generate(encoding["input_ids"], max_new_tokens=32)
    return tokenizer.batch_decode(output, skip_special_tokens=True)
"""


@dataclass
class Said:
    """What a program said."""

    status: int
    text: str


@dataclass
class Tool:
    """A peer, and an empty folder to ask it in."""

    name: str
    program: Path
    folder: Path

    def run(self, *arguments: str, stdin: str | None = None) -> Said:
        """Run its program."""
        done = subprocess.run(
            [str(self.program), *arguments],
            cwd=self.folder,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "NO_COLOR": "1", "COLUMNS": "200"},
        )
        return Said(done.returncode, done.stdout + done.stderr)

    def lint(self, *files: str, options: tuple[str, ...] = ()) -> Said:
        """Check files with all rules that are on by default (TorchFix and mlinter: all)."""
        command = {
            "ruff": ("check", "--no-cache", "--isolated", "--output-format", "concise"),
            "fixit": ("lint",),
            "torchfix": ("--select", "ALL"),
            "transformers-mlinter": ("--enable-all-trf-rules", "--no-cache", "--no-progress"),
        }[self.name]
        return self.run(*command, *options, *files)

    def fault(self, change: Callable[[str], str] = str) -> str:
        """Write the mistake that it finds, changed; return the file's name."""
        name, text, _ = FAULTS[self.name]
        (self.folder / name).write_text(change(text), encoding="utf-8")
        return name

    @property
    def code(self) -> str:
        """The code of that mistake."""
        return FAULTS[self.name][2]

    def help(self) -> str:
        """What it prints about its options, those of its commands included."""
        pages = {
            "ruff": (("--help",), ("check", "--help")),
            "fixit": (("--help",), ("lint", "--help"), ("fix", "--help")),
        }
        return "".join(self.run(*words).text for words in pages.get(self.name, (("--help",),)))

    def fix(self, *options: str) -> str | None:
        """Fix the mistake; the file's text afterwards, None where it can fix nothing."""
        name = self.fault()
        command = {
            "ruff": ("check", "--no-cache", "--isolated", "--fix"),
            "fixit": ("fix", "--automatic"),
            "torchfix": ("--fix",),
        }.get(self.name)
        if command is None:
            return None
        self.run(*command, *options, name)
        return (self.folder / name).read_text(encoding="utf-8")


def finds_its_fault(tool: Tool) -> bool:
    """Whether the harness works at all."""
    return tool.code in tool.lint(tool.fault()).text


def knows_misuse(tool: Tool) -> str:
    """Whether it says anything of a call without its mask, or of a decode with the prompt in front."""
    (tool.folder / "modeling_serve.py").write_text(SERVING, encoding="utf-8")
    options = {"ruff": ("--select", "ALL")}.get(tool.name, ())
    said = tool.lint("modeling_serve.py", options=options).text
    return "Y" if re.search(r"modeling_serve\.py[:@]L?(9|10)\b", said) else "N"


def fixes(tool: Tool) -> str:
    """Whether it mends the mistake that it finds."""
    before = FAULTS[tool.name][1]
    return "Y" if tool.fix() not in (None, before) else "N"


def levels_of_fixes(tool: Tool) -> str:
    """Whether a fix that may be wrong is made only when that is asked for."""
    if tool.name != "ruff":
        return "Y" if "unsafe" in tool.help() else "N"
    file = tool.folder / "fault.py"
    file.write_text("def f(x):\n    return x == None\n", encoding="utf-8")
    for words, expected in (((), "== None"), (("--unsafe-fixes",), "is None")):
        tool.run("check", "--isolated", "--no-cache", "--select", "E711", "--fix", *words, "fault.py")
        if expected not in file.read_text(encoding="utf-8"):
            return "N"
    return "Y"


_COMMENTS = {
    "ruff": "# noqa: F401",
    "fixit": "# lint-ignore: CompareSingletonPrimitivesByIs",
    "torchfix": "# noqa: TOR102",
    "transformers-mlinter": "# trf-ignore: TRF057",
}


def comments_silence(tool: Tool) -> str:
    """Whether its own kind of comment silences the mistake, where it runs alone."""
    line = {"fixit": 1, "torchfix": 2}.get(tool.name, 0)

    def silenced(text: str) -> str:
        lines = text.splitlines()
        lines[line] += f"  {_COMMENTS[tool.name]}"
        return "\n".join(lines) + "\n"

    return "N" if tool.code in tool.lint(tool.fault(silenced)).text else "Y"


def idle_comments_are_told(tool: Tool) -> str:
    """Whether such a comment is reported where there is nothing to silence."""
    name = FAULTS[tool.name][0]
    (tool.folder / name).write_text(f"x = 1  {_COMMENTS[tool.name]}\n", encoding="utf-8")
    options = {"ruff": ("--select", "RUF100")}.get(tool.name, ())
    said = tool.lint(name, options=options).text
    return "Y" if re.search(rf"{re.escape(name)}[:@]L?1:.*(RUF100|[Uu]nused|suppress)", said) else "N"


def comments_in_bulk(tool: Tool) -> str:
    """Whether it writes such comments by itself."""
    if not re.search(r"--add-(noqa|ignore|suppress)", tool.help()):
        return "N"
    name = tool.fault()
    tool.run("check", "--isolated", "--no-cache", "--add-noqa=why", name)
    return "Y" if "# noqa: F401 why" in (tool.folder / name).read_text(encoding="utf-8") else "N"


def notebooks(tool: Tool) -> str:
    """Whether it finds the mistake in a cell."""
    name, text, code = FAULTS[tool.name]
    cell = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": text}
    book = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    file = Path(name).with_suffix(".ipynb").name
    (tool.folder / file).write_text(json.dumps(book), encoding="utf-8")
    return "Y" if code in tool.lint(file).text else "N"


def markdown(tool: Tool) -> str:
    """Whether it finds the mistake in a block of a Markdown file."""
    name, text, code = FAULTS[tool.name]
    file = Path(name).with_suffix(".md").name
    (tool.folder / file).write_text(f"# Title\n\n```python\n{text}```\n", encoding="utf-8")
    options = {"ruff": ("--preview",)}.get(tool.name, ())
    return "Y" if code in tool.lint(file, options=options).text else "N"


def standard_input(tool: Tool) -> str:
    """Whether it finds the mistake in what it is piped."""
    name, text, code = FAULTS[tool.name]
    words = {"ruff": ("check", "--isolated", "--no-cache", "-"), "fixit": ("lint", "-", name)}.get(
        tool.name, ("-",)
    )
    return "Y" if code in tool.run(*words, stdin=text).text else "N"


def explains_rules(tool: Tool) -> str:
    """Whether it prints a page on a rule."""
    words = {"ruff": ("rule", "F401"), "transformers-mlinter": ("--rule", "TRF001")}.get(tool.name)
    if words is not None:
        said = tool.run(*words)
        return "Y" if said.status == 0 and len(said.text) > 100 else "N"
    return "Y" if re.search(r"--(rule|explain)\b", tool.help()) else "N"


def status_says_findings(tool: Tool) -> str:
    """Whether its exit status tells that there are findings."""
    return "Y" if tool.lint(tool.fault()).status else "N"


def shows_differences(tool: Tool) -> str:
    """Whether it shows a fix and leaves the file alone."""
    name = tool.fault()
    words = {"ruff": ("check", "--isolated", "--no-cache", "--diff"), "fixit": ("lint", "--diff")}.get(
        tool.name, ()
    )
    said = tool.run(*words, name).text
    unchanged = (tool.folder / name).read_text(encoding="utf-8") == FAULTS[tool.name][1]
    return "Y" if unchanged and re.search(r"^\+\+\+ ", said, re.MULTILINE) else "N"


def serves_editors(tool: Tool) -> str:
    """Whether it has a language server."""
    words = {"ruff": ("server", "--help"), "fixit": ("lsp", "--help")}.get(tool.name)
    if words is not None:
        return "Y" if tool.run(*words).status == 0 else "N"
    return "Y" if re.search(r"\b(server|lsp)\b", tool.help()) else "N"


def has_option(pattern: str) -> Callable[[Tool], str]:
    """Whether its help has an option, or a value of one, that matches."""
    return lambda tool: "Y" if re.search(pattern, tool.help()) else "N"


# Row of the table -> question.
QUESTIONS: dict[str, Callable[[Tool], str]] = {
    "finds calls without their mask, decodes with the prompt": knows_misuse,
    "fixes": fixes,
    "safe and unsafe fixes": levels_of_fixes,
    "fixes shown as a diff": shows_differences,
    "silenced by comments": comments_silence,
    "comments that silence nothing are told": idle_comments_are_told,
    "comments written in bulk": comments_in_bulk,
    "baseline": has_option(r"(?i)baseline"),
    "notebooks": notebooks,
    "Python in Markdown": markdown,
    "standard input": standard_input,
    "SARIF": has_option(r"(?i)\bsarif\b"),
    "GitHub annotations": has_option(r"(?i)\bgithub\b"),
    "GitLab code quality": has_option(r"(?i)\bgitlab\b"),
    "JUnit": has_option(r"(?i)\bjunit\b"),
    "reviewdog (rdjson)": has_option(r"(?i)\brdjson\b"),
    "language server": serves_editors,
    "exit status tells findings": status_says_findings,
    "explains a rule": explains_rules,
    "only what changed since a commit": has_option(r"--(changed|base|diff-)"),
    "checks again when files change": has_option(r"--watch"),
}


def cells(page: str) -> dict[tuple[str, str], str]:
    """The table's cells about peers: (row, tool) -> text."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    found = {}
    for line in lines[2:]:
        row, *rest = (cell.strip() for cell in line.strip("|").split("|"))
        for tool, text in zip(PROGRAMS, rest, strict=False):
            found[row, tool] = text
    return found


def main() -> int:
    """Ask, compare, and return 1 where the page says otherwise."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--peers", type=Path, required=True, metavar="FOLDER", help="where their environments are"
    )
    options = parser.parse_args()
    pins = read_peers(PEERS)
    told = cells(PAGE.read_text(encoding="utf-8"))
    wrong = 0
    for name, command in PROGRAMS.items():
        path = program(pins[name], options.peers.resolve(), command)
        for row, question in {"": finds_its_fault, **QUESTIONS}.items():
            with tempfile.TemporaryDirectory() as folder:
                answer = question(Tool(name, path, Path(folder)))
            if row == "":
                if not answer:
                    raise SystemExit(f"{name} does not find the mistake that it is asked about")
                continue
            shown = told[row, name]
            right = shown.split()[0] == answer and "ran" in shown.split()
            wrong += not right
            print(
                f"{name:22} {row:42} {answer}" + ("" if right else f"   the page says {shown!r}"), flush=True
            )
    print(f"{wrong} cells are otherwise")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
