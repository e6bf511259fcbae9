"""The page in a real browser: it sorts and filters, follows themes and widths, and asks nobody for anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from answered import Answered, seeds
from page.browser import Browser, why_not

import harness

pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is a browser")]

ORDER = (
    "return [...document.querySelectorAll('#scores tbody tr')].map((row) => row.querySelector('.model').textContent)"
)
PLOTS = "return [...document.querySelectorAll('.drawing svg')].length"


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """The page of three models on three tasks with learning curves."""
    folder = tmp_path_factory.mktemp("page")
    answered = Answered(folder)
    shares = {"best": 0.95, "middle": 0.88, "worst": 0.6}
    history = [{"step": step, "loss": 1 / step, "learning_rate": 0.1} for step in (1, 2, 3)]
    records = [r for name in ("one", "pair", "nli") for r in seeds(answered, shares, name=name, history=history)]
    answered.store.update_manifest({(r.task, r.model, r.seed): r.fingerprint for r in records})
    harness.report(folder)
    return folder / "mini" / "index.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    own = Browser(tmp_path_factory.mktemp("browser"))
    yield own
    own.close()


@pytest.fixture
def page(browser, path):
    browser.open(path)
    browser.wait(PLOTS)
    return browser


def click(page: Browser, selector: str) -> None:
    page.driver.find_element("css selector", selector).click()


def choose(page: Browser, selector: str, value: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(page.driver.find_element("css selector", selector)).select_by_value(value)


def test_nothing_is_asked_for_and_nothing_is_refused(page, path):
    page.run("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
    for section in page.run("return [...document.querySelectorAll('section')].map((section) => section.id)"):
        page.run("document.getElementById(arguments[0]).scrollIntoView({behavior: 'instant'})", section)
    page.wait("return document.querySelectorAll('#forest-plot svg').length")
    assert page.requests() == [path.as_uri()]
    assert page.messages() == []


def test_a_column_sorts_and_says_so(page):
    head = "#scores thead th[data-key='one']"
    sorting = f"return document.querySelector(\"{head}\").getAttribute('aria-sort') === arguments[0]"
    click(page, head)
    page.wait(sorting, "descending")
    page.becomes(ORDER, ["best", "middle", "worst"])
    click(page, head)
    page.wait(sorting, "ascending")
    page.becomes(ORDER, ["worst", "middle", "best"])
    page.wait("return location.hash.includes('sort=one+asc')")


def test_the_keyboard_sorts(page):
    from selenium.webdriver.common.keys import Keys

    head = page.driver.find_element("css selector", "#scores thead th[data-key='pair'] [role=button]")
    head.send_keys(Keys.ENTER)
    page.wait("return document.querySelector(\"#scores th[data-key='pair']\").getAttribute('aria-sort')")


def test_text_models_and_tasks_filter_and_a_link_keeps_it(page, path):
    page.driver.find_element("id", "find").send_keys("mid")
    page.becomes(ORDER, ["middle"])
    click(page, "#choose-columns summary")
    click(page, "#choose-columns input[value='one']")
    fragment = page.run("return location.hash")
    page.open(path, fragment)
    page.wait(PLOTS)
    page.becomes(ORDER, ["middle"])
    heads = page.run("return [...document.querySelectorAll('#scores thead th[data-key]')].map((h) => h.dataset.key)")
    assert "one" not in heads and "pair" in heads


def test_differences_to_a_model(page):
    choose(page, "#relative", "middle")
    cells = page.run("return [...document.querySelectorAll('#scores tbody tr')].map((row) => row.cells[1].innerText)")
    assert cells[0].startswith("+") and "▲" in cells[0] and cells[1] == "" and cells[2].startswith("-")
    choose(page, "#relative", "")
    again = page.run("return document.querySelector('#scores tbody tr').cells[1].innerText")
    assert not again.startswith("+")


def test_another_cost_and_another_pair_are_drawn(page):
    choose(page, "#cost", "inference_rate_32")
    page.wait("return document.querySelector('#quality-plot svg')?.textContent.includes('batches of 32')")
    choose(page, "#first", "worst")
    page.run("document.getElementById('forest-plot').scrollIntoView({behavior: 'instant'})")
    page.wait("return document.querySelector('#forest-plot svg')?.textContent.includes('worst less middle')")
    assert page.messages() == []


def test_both_themes(browser, path):
    grounds = []
    for dark in (False, True):
        browser.open(path, dark=dark)
        browser.wait(PLOTS)
        colours = "const style = getComputedStyle(document.body); return [style.backgroundColor, style.color]"
        grounds.append([sum(map(int, c.strip("rgba()").split(",")[:3])) for c in browser.run(colours)])
        assert browser.messages() == []
    (light, ink), (ground, pale) = grounds
    assert light > 600 > 300 > ink and ground < 150 < 500 < pale


@pytest.mark.parametrize("width", [360, 768])
def test_a_narrow_screen_does_not_scroll_sideways(browser, path, width):
    browser.open(path, width=width, height=740)
    browser.wait(PLOTS)
    browser.run("document.querySelectorAll('.fold').forEach((fold) => { fold.open = true; })")
    for section in browser.run("return [...document.querySelectorAll('section')].map((section) => section.id)"):
        browser.run("document.getElementById(arguments[0]).scrollIntoView({behavior: 'instant'})", section)
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.messages() == []
