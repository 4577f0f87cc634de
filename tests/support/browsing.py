"""Owns a real browser for tests: Debian's Chromium without a window, and what its console and its network said."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1400,1000")
RENAME = """
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replaceAll(arguments[0], '.panda');
"""
needs_browser = pytest.mark.skipif(
    BROWSER is None or DRIVER is None, reason="needs Debian's chromium and chromium-driver"
)


@contextlib.contextmanager
def browsing() -> Iterator[webdriver.Chrome]:
    """A headless Chromium that keeps what its console and its network say."""
    options = Options()
    options.binary_location = BROWSER or ""
    for one in OPTIONS:
        options.add_argument(one)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER or ""))
    try:
        yield driver
    finally:
        driver.quit()


def log_of(browser: webdriver.Chrome, kind: str) -> list[dict[str, Any]]:
    """What one of the browser's logs says since the last call."""
    found: list[dict[str, Any]] = browser.get_log(kind)  # type: ignore[no-untyped-call]  # selenium's own
    return found


def asked_hosts(browser: webdriver.Chrome) -> set[str]:
    """Every address that the browser asked for since the last call, as scheme and host."""
    told = [json.loads(one["message"])["message"] for one in log_of(browser, "performance")]
    urls = [one["params"]["request"]["url"] for one in told if one["method"] == "Network.requestWillBeSent"]
    return {"/".join(url.split("/")[:3]) for url in urls if url.startswith("http")}


def keep_picture(browser: webdriver.Chrome, name: str, folder_shown: Path) -> None:
    """Keep what the browser shows as a picture for the documentation, if DOCS_PICTURES names a folder for it.

    `folder_shown` is this run's data folder: the picture says `.panda` instead, as a user's would.
    """
    folder = os.environ.get("DOCS_PICTURES")
    if folder:
        browser.execute_script(RENAME, str(folder_shown))
        (Path(folder) / f"{name}.png").write_bytes(browser.get_screenshot_as_png())
