"""What MkDocs calls while it builds the site: adds the generated pages, and checks the built ones.

`mkdocs.yml` names this file. MkDocs loads it by path, so the folders of what it imports are put on the path of
imports first.
"""

from __future__ import annotations

import html
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[2]
_FOLDERS = [str(ROOT), str(ROOT / "checker"), str(ROOT / "docs")]
sys.path[:0] = [folder for folder in _FOLDERS if folder not in sys.path]

from mkdocs.exceptions import PluginError  # noqa: E402 - the path comes first
from mkdocs.structure.files import File  # noqa: E402

from _website import plugin_pages, rule_pages  # noqa: E402
from _website.links import problems  # noqa: E402

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

RULES = "reference/rules"
_LINK = re.compile(r"(!?\[[^\]]*\])\(([^)\s]+)\)")
_IMAGE = re.compile(r'<img alt="([^"]*)" src="[^"]*?assets/diagrams/([\w-]+)\.svg"[^>]*>')
_markdown: dict[str, str] = {}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put one page a rule into the menu, behind the table of rules."""
    pages = [{f"{page.code} {page.name}": f"{RULES}/{page.code}.md"} for page in rule_pages.all_pages()]
    _entry(config.nav or [], f"{RULES}/index.md").extend(pages)
    return config


def _entry(nav: list[Any], wanted: str) -> list[Any]:
    """Return the list of the menu in which a page stands."""
    for item in nav:
        if item == wanted:
            return nav
        for inner in item.values() if isinstance(item, dict) else ():
            if isinstance(inner, list):
                found = _entry(inner, wanted)
                if found:
                    return found
    return []


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    made = {f"{RULES}/{page.code}.md": page.text for page in rule_pages.all_pages()}
    made[f"{RULES}/index.md"] = rule_pages.table()
    made["reference/api.md"] = plugin_pages.api_page()
    made["versioning.md"] = plugin_pages.promises_page()
    made["reference/pytest.md"] = plugin_pages.options_page()
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Name what lies outside of the documentation as a file of the repository; keep the text for its twin."""
    here = Path("docs", page.file.src_uri).parent

    def plain(match: re.Match[str]) -> str:
        label, target = match.groups()
        if "://" in target or target.startswith(("#", "mailto:")):
            return match[0]
        path = (ROOT / here / target.partition("#")[0]).resolve()
        if path.is_relative_to(ROOT / "docs") or not path.exists():
            return match[0]
        return f"{label[1:-1]} (`{path.relative_to(ROOT)}`)"

    _markdown[page.file.dest_uri] = markdown
    return _LINK.sub(plain, markdown)


def on_page_content(content: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Put diagrams into the page itself: there they take the colours of its scheme."""

    def inline(match: re.Match[str]) -> str:
        label, name = match.groups()
        drawing = (ROOT / "docs" / "assets" / "diagrams" / f"{name}.svg").read_text(encoding="utf-8")
        drawing = re.sub(r"<style>.*?</style>", "", drawing, flags=re.DOTALL)
        drawing = drawing[drawing.index("<svg") :].replace(
            "<svg ", f'<svg role="img" aria-label="{html.escape(label)}" class="dlm-diagram" ', 1
        )
        return f'<span class="dlm-scroll">{drawing}</span>'

    return _IMAGE.sub(inline, content)


def on_post_build(*, config: MkDocsConfig) -> None:
    """Write the Markdown twin of each page, and rules under their names; look at every link.

    Raises:
        PluginError: A link leads nowhere, or a page fetches something from elsewhere.
    """
    site = Path(config.site_dir)
    for address, text in _markdown.items():
        (site / address).with_suffix(".md").write_text(text, encoding="utf-8")
    for page in rule_pages.all_pages():
        folder = site / RULES / page.name
        folder.mkdir(parents=True, exist_ok=True)
        target = f"../{page.code}/"
        (folder / "index.html").write_text(
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{page.code}</title>'
            f'<meta http-equiv="refresh" content="0; url={target}"></head>'
            f'<body><a href="{target}">{page.name} is {page.code}</a></body></html>\n',
            encoding="utf-8",
        )
    found = problems(site)
    if found:
        raise PluginError("links of the site:\n" + "\n".join(found))
