"""Begin a rule, a knowledge file or an assertion from its template, and say what else it needs.

python docs/contributing/new.py rule DLM411 generation-without-cache
python docs/contributing/new.py knowledge acme
python docs/contributing/new.py assertion rows-end-in-eos
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_TEMPLATES = Path(__file__).parent / "templates"
_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*\Z")
_RULE_NEXT = """\
next
  1. {path}: text, references, examples, check. `decoderonly rule {code}` prints its page.
  2. tests/checker/specs/: a file of cases; `# error: [{code}]` marks the lines that are reported.
  3. tests/evidence/measures/: run both examples, assert harm and cure, put them in words;
     then `python tests/evidence/measure.py --write {code}`.
  4. pytest_decoderonly/runtime/checks/{code_file}.py: the guard's check; or say in `unseen` why there is none.
  5. CHANGELOG.md: one line; README.md and docs/index.md: how many rules there are.
try it
  pytest tests/checker/test_rule_examples.py tests/website/test_pages.py -k "{code} or rule"
"""
_KNOWLEDGE_NEXT = """\
next
  1. {path}: one handler for each call that matters, and where its behaviour is documented.
  2. checker/decoderonly_checker/knowledge/__init__.py: import it in `loaded`, and put it into `order`.
  3. checker/decoderonly_checker/source/words.py: words that only this library's users write. A file that holds none is not
     looked at: `decoderonly check` says "No language-model calls".
  4. tests/checker/specs/: cases in which a finding, or silence, rests on what it says.
try it
  decoderonly explain FILE:LINE     what is believed at a line that uses the library
  pytest tests/checker/test_specs.py -k NAME_OF_THE_SPEC
"""
_ASSERTION_NEXT = """\
next
  1. {path}: what measures moves to pytest_decoderonly/compare/; the codes it reports stand in the docstring.
  2. pytest_decoderonly/__init__.py (import, _HOMES, __all__) and fixtures.py (_METHODS): the public name.
  3. tests/compare/: what it finds, what it leaves alone, and what it says; a mistake planted in code that a user would write.
  4. docs/guides/, CHANGELOG.md.
try it
  pytest tests/website tests/plugin/test_fixtures.py
"""


def rule(code: str, name: str) -> tuple[str, str, str]:
    """Return where a rule's file belongs, its text, and what comes next."""
    if not re.fullmatch(r"DLM\d{3}", code):
        raise ValueError(f"code: expected DLM and three digits, got {code!r}")
    stem = f"{code.lower()}_{name.replace('-', '_')}"
    path = f"checker/decoderonly_checker/rules/{stem}.py"
    folder = ROOT / "checker" / "decoderonly_checker" / "rules"
    taken = sorted(file.name for file in folder.glob(f"{code.lower()}_*.py"))
    if taken:
        raise ValueError(f"code: {code} is taken by {taken[0]}")
    text = (_TEMPLATES / "rule.py").read_text(encoding="utf-8").replace("DLM999", code)
    return (
        path,
        text.replace("TemplateRule", "".join(word.capitalize() for word in name.split("-"))),
        _RULE_NEXT.format(path=path, code=code, code_file=stem),
    )


def knowledge(name: str) -> tuple[str, str, str]:
    """Return where a knowledge file belongs, its text, and what comes next."""
    module = name.replace("-", "_")
    path = f"checker/decoderonly_checker/knowledge/{module}.py"
    text = (_TEMPLATES / "knowledge.py").read_text(encoding="utf-8").replace("LIBRARY", module)
    # In its place the checker is the file's own package, which the linter sets apart.
    text = text.replace("import libcst as cst\n", "import libcst as cst\n\n", 1)
    return path, text, _KNOWLEDGE_NEXT.format(path=path)


def assertion(name: str) -> tuple[str, str, str]:
    """Return where an assertion's file belongs, its text, and what comes next."""
    module = name.replace("-", "_")
    path = f"pytest_decoderonly/assertions/{module}.py"
    text = (
        (_TEMPLATES / "assertion.py").read_text(encoding="utf-8").replace("SUBJECT", name.replace("-", " "))
    )
    return path, text.replace("assert_template", f"assert_{module}"), _ASSERTION_NEXT.format(path=path)


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Write the file, and print what comes next."""
    parser = argparse.ArgumentParser(description="Begin something from its template.")
    kinds = parser.add_subparsers(dest="kind", required=True)
    of_rule = kinds.add_parser("rule", help="a rule of the catalogue")
    of_rule.add_argument("code", help="a free code, such as DLM411")
    of_rule.add_argument("name", help="its name, such as generation-without-cache")
    kinds.add_parser("knowledge", help="what a library's calls do").add_argument(
        "name", help="the library's import name"
    )
    kinds.add_parser("assertion", help="an assertion").add_argument("name", help="its name without assert_")
    given = parser.parse_args(arguments)
    if not _NAME.match(given.name.replace("_", "-")):
        parser.error(f"name: expected words of lower-case letters joined by hyphens, got {given.name!r}")
    try:
        if given.kind == "rule":
            path, text, following = rule(given.code, given.name)
        else:
            path, text, following = (knowledge if given.kind == "knowledge" else assertion)(given.name)
    except ValueError as problem:
        parser.error(str(problem))
    target = root / path
    if target.exists():
        parser.error(f"{path} is there already")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    sys.stdout.write(f"wrote {path}\n{following}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
