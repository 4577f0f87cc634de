"""The pages in a real browser: light and dark, no error in its console, no word to another host, keys and trees."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
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


def click(browser: webdriver.Chrome, selector: str) -> None:
    """Follow the first link that a selector finds."""
    browser.find_element(By.CSS_SELECTOR, selector).click()


@pytest.mark.usefixtures("scene")
def test_three_links_lead_to_why_a_task_stands(browser: webdriver.Chrome, caller: Caller) -> None:
    browser.get(caller.address)
    click(browser, "nav a[href='/tasks']")
    click(browser, "#tasks tbody a[href^='/task/']")
    assert "It is done since" in browser.find_element(By.ID, "why").text


@pytest.mark.usefixtures("scene")
def test_three_links_lead_to_the_site_that_fails_most_and_its_errors(browser: webdriver.Chrome, caller: Caller) -> None:
    browser.get(caller.address)
    click(browser, "nav a[href='/errors']")
    first = browser.find_element(By.CSS_SELECTOR, "#sites tbody tr")
    assert first.text.split()[:2] == ["BNL", "4"]
    first.find_element(By.TAG_NAME, "a").click()
    codes = browser.find_element(By.ID, "codes").text
    assert "pilot" in codes
    assert "payload" in codes


@pytest.mark.usefixtures("scene")
def test_three_links_lead_to_a_dataset_its_copies_and_its_maker(browser: webdriver.Chrome, caller: Caller) -> None:
    browser.get(caller.address)
    click(browser, "nav a[href='/datasets']")
    click(browser, "#datasets tbody a[href^='/dataset/']")
    main = browser.find_element(By.TAG_NAME, "main")
    assert main.find_elements(By.CSS_SELECTOR, "a[href^='/task/']")
    assert "mc.evgen" in main.text
    assert main.find_elements(By.ID, "sites")


LISTS = {"/jobs": "jobs", "/tasks": "tasks", "/ddm": "blocks", "/workers": "pilots"}
NUMBERS = """
    return [...document.querySelectorAll('main a[href]')].filter((one) => !one.closest('#matrix'))
        .map((one) => [(one.querySelector('b, strong, .value') ?? one).textContent.trim(), one.getAttribute('href')])
"""


@pytest.mark.usefixtures("scene")
def test_every_number_leads_to_a_list_of_as_many(browser: webdriver.Chrome, caller: Caller) -> None:
    followed, wrong = set(), []
    for page in ("/", "/errors", "/ddm", "/sites", "/site/BNL", "/shares", "/workers", "/users", "/report"):
        browser.get(caller.address + page)
        for words, link in browser.execute_script(NUMBERS):
            number = re.sub(r"[\u2009\u202f\u00a0]", "", words)
            path = urlsplit(link).path
            if not number.isdecimal() or path not in LISTS or (number, link) in followed:
                continue
            followed.add((number, link))
            told = caller.get(link + ("&" if "?" in link else "?") + "json").json()
            if told[LISTS[path]]["total"] != int(number):
                wrong.append((page, number, link, told[LISTS[path]]["total"]))
    assert not wrong, wrong
    assert len(followed) > 60


@pytest.mark.usefixtures("scene")
def test_keys_alone_lead_from_page_to_page(browser: webdriver.Chrome, caller: Caller) -> None:
    browser.get(caller.address)
    body = browser.find_element(By.TAG_NAME, "body")
    body.send_keys("g", "e")
    WebDriverWait(browser, 20).until(lambda one: urlsplit(one.current_url).path == "/errors")
    browser.find_element(By.TAG_NAME, "body").send_keys("/")
    browser.switch_to.active_element.send_keys("BNL", Keys.ENTER)
    WebDriverWait(browser, 20).until(lambda one: urlsplit(one.current_url).path == "/site/BNL")
    browser.find_element(By.TAG_NAME, "body").send_keys("?")
    keys = browser.find_element(By.ID, "keys")
    assert "light or dark" in keys.text
    keys.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert not keys.is_displayed()
    browser.find_element(By.TAG_NAME, "body").send_keys("j")
    reached = browser.switch_to.active_element
    assert reached.find_elements(By.XPATH, "ancestor::tbody")
    assert reached.value_of_css_property("outline-style") == "solid"
    assert [one["message"] for one in log_of(browser, "browser")] == []
