"""The page in headless Chromium: nothing is fetched, nothing complains, nothing sticks out."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from samples import whole_run
from test_html import HOSTILE, hostile_run

from pytest_decoderonly.reporting import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
OPEN_ALL = "document.querySelectorAll('details').forEach(one => one.open = true)"
# WCAG 2.2: contrast of text and what is painted behind it, for every element that has text of its own.
CONTRAST = """
const channel = v => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
const parts = text => (text.match(/[\\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const behind = node => {
  for (; node; node = node.parentElement) {
    const found = parts(getComputedStyle(node).backgroundColor);
    if (found.length === 3 || found[3] > 0) return found;
  }
  return [255, 255, 255];
};
const low = [];
for (const node of document.body.querySelectorAll('*')) {
  if (node.closest('svg') || ![...node.childNodes].some(c => c.nodeType === 3 && c.data.trim())) continue;
  const [a, b] = [light(parts(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < 4.5) low.push(node.className + ' ' + node.textContent.slice(0, 30) + ' ' + ratio.toFixed(2));
}
return low;
"""
WIDE = "return [document.documentElement.scrollWidth, window.innerWidth]"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium that keeps its log and its requests."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium to drive a browser")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("needs Chromium and chromedriver: apt install chromium chromium-driver")
    chosen = webdriver.ChromeOptions()
    chosen.binary_location = CHROMIUM
    for argument in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        chosen.add_argument(argument)
    chosen.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    chosen.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=chosen, service=webdriver.ChromeService(DRIVER))
    driver.get("about:blank")  # away from the browser's own start page
    yield driver
    driver.quit()


def show(browser: Any, page: Path, *, width: int = 1280, dark: bool = False) -> None:
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": scheme})
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(page.as_uri())


def requests(browser: Any) -> set[str]:
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    return {url for url in urls if not url.startswith("chrome")}  # the browser's own start page


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    files.write(whole_run(), path)
    return path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_is_readable_and_fetches_nothing(browser, page, width, dark):
    show(browser, page, width=width, dark=dark)
    assert requests(browser) == {page.as_uri()}
    assert browser.get_log("browser") == []
    browser.execute_script(OPEN_ALL)
    wide, window = browser.execute_script(WIDE)
    assert wide <= window == width
    assert browser.execute_script(CONTRAST) == []


def test_light_and_dark_differ(browser, page):
    seen = []
    for dark in (False, True):
        show(browser, page, dark=dark)
        seen.append(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert seen[0] != seen[1]


def test_it_is_read_without_scripts(browser, page):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(browser, page)
        summary = browser.find_element("css selector", "#m0 > summary")
        table = browser.find_element("css selector", "#m0 table.items")
        assert not table.is_displayed()
        summary.click()
        assert table.is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_printing_shows_what_is_folded(browser, page):
    show(browser, page)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    seen = "return document.querySelector('#m0 table.items').checkVisibility()"
    assert browser.execute_script(seen) is True
    show(browser, page)
    assert browser.execute_script(seen) is False


def test_hostile_text_runs_nothing_and_sticks_out_nowhere(browser, tmp_path):
    path = tmp_path / "hostile.html"
    files.write(hostile_run("".join(HOSTILE) + "w" * 300), path)
    show(browser, path, width=390)
    assert requests(browser) == {path.as_uri()}
    browser.execute_script(OPEN_ALL)
    wide, window = browser.execute_script(WIDE)
    assert wide <= window
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.querySelectorAll('script, img, [onerror]').length") == 0
