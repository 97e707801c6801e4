"""Looks at every link of a built site: does it lead somewhere, and is nothing fetched from elsewhere?"""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from pathlib import Path

_FETCHES = {
    ("script", "src"),
    ("img", "src"),
    ("iframe", "src"),
    ("source", "src"),
    ("video", "src"),
    ("audio", "src"),
}
_LOADED_BY_LINK = {"stylesheet", "preload", "preconnect", "dns-prefetch", "icon", "modulepreload"}


class _Page(HTMLParser):
    """What a page links to, what it loads, and what can be linked to in it."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what one tag says."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[key] for key in ("id", "name") if key in given and (key == "id" or tag == "a")}
        for name, value in given.items():
            if (tag, name) in _FETCHES:
                self.loaded.append(value)
        if tag == "link" and "href" in given:
            loads = _LOADED_BY_LINK & set(given.get("rel", "").split())
            (self.loaded if loads else self.links).append(given["href"])
        elif tag == "a" and "href" in given:
            self.links.append(given["href"])


def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def problems(site: Path) -> list[str]:
    """Return what is wrong with the links of a built site, one line each, sorted by page.

    Links within the site must lead to a file, and to an anchor in it where they name one. Links to elsewhere must be
    whole https addresses; they are not followed. Nothing may be loaded from elsewhere.

    Args:
        site: Folder of the built site.
    """
    pages = {path: _read(path) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        if path.name == "404.html":
            continue  # its addresses are those of a server's root
        shown = path.relative_to(site).as_posix()
        for address in page.loaded:
            if urlsplit(address).scheme not in ("", "data") or address.startswith("//"):
                found.append(f"{shown}: loads {address} from elsewhere")
            else:
                found += _lost(shown, address, path, pages)
        for address in page.links:
            parts = urlsplit(address)
            if parts.scheme in ("mailto", "data"):
                continue
            if parts.scheme or parts.netloc:
                if parts.scheme != "https" or "." not in parts.netloc or " " in address:
                    found.append(f"{shown}: {address} is no whole https address")
            else:
                found += _lost(shown, address, path, pages)
    return found


def _lost(shown: str, address: str, path: Path, pages: dict[Path, _Page]) -> list[str]:
    parts = urlsplit(address)
    if parts.scheme == "data":
        return []
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if not target.exists():
        return [f"{shown}: {address} leads nowhere"]
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].anchors and anchor != "__tabbed":
        return [f"{shown}: {address} names an anchor that is not there"]
    return []
