"""The pages in a real browser: light and dark, no error in its console, no word to another host, keys and trees."""

from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from panda_api.monitor.pages.every import PAGES
from tests.support.browsing import asked_hosts, browsing, log_of, needs_browser
from tests.support.serving import Caller

FLAT = [one.path for one in PAGES if "{" not in one.path]

pytestmark = [pytest.mark.slow, needs_browser]


@pytest.fixture
def browser() -> Iterator[webdriver.Chrome]:
    """A headless Chromium that keeps what its console and its network say."""
    with browsing() as driver:
        yield driver


@pytest.mark.usefixtures("scene")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_clean_in_light_and_dark(browser: webdriver.Chrome, caller: Caller, scheme: str) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    rows = caller.get("/jobs?status=failed&json").json()["jobs"]["rows"]
    pages = [*FLAT, f"/job/{rows[0]['id']}", f"/task/{rows[0]['task_id']}", "/site/BNL", "/dataset/mc.evgen.out"]
    for page in pages:
        browser.get(caller.address + page)
        assert [one["message"] for one in log_of(browser, "browser")] == [], page
        ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(246, 247, 249)" if scheme == "light" else "rgb(14, 19, 26)")
        drawn = browser.execute_script("return document.querySelectorAll('[data-plot] canvas').length")
        assert drawn == len(browser.find_elements(By.CSS_SELECTOR, "[data-plot]")), page
    assert asked_hosts(browser) == {caller.address}


@pytest.mark.usefixtures("scene")
def test_from_the_front_page_to_the_cause_in_three_links(browser: webdriver.Chrome, caller: Caller) -> None:
    browser.get(caller.address)
    browser.find_element(By.CSS_SELECTOR, "#now a[href*='status=failed']").click()
    browser.find_element(By.CSS_SELECTOR, "#jobs tbody a[href^='/job/']").click()
    assert "pilot:1305" in browser.find_element(By.ID, "errors").text
    browser.back()
    browser.find_element(By.CSS_SELECTOR, "#jobs tbody a[href^='/task/']").click()
    assert "memory" in browser.find_element(By.ID, "why").text


@pytest.mark.usefixtures("scene")
def test_clouds_open_and_stay_open_when_the_page_renews_itself(browser: webdriver.Chrome, caller: Caller) -> None:
    browser.get(caller.address)
    shown = "return [...document.querySelectorAll('tr[data-level=\"1\"]')].filter((one) => !one.hidden).length"
    assert browser.execute_script(shown) == 0
    browser.find_element(By.CSS_SELECTOR, "[data-all]").click()
    n_sites = browser.execute_script(shown)
    assert n_sites >= 3
    before = browser.find_element(By.CSS_SELECTOR, ".at").get_attribute("datetime")
    browser.find_element(By.TAG_NAME, "body").send_keys("r")
    WebDriverWait(browser, 30).until(
        lambda one: one.execute_script("return document.querySelector('.at')?.dateTime") not in {None, before}
    )
    WebDriverWait(browser, 30).until(lambda one: one.execute_script(shown) == n_sites)
    assert [one["message"] for one in log_of(browser, "browser")] == []
