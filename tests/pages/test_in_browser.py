"""Every kind of page in a real browser: whole, sortable, readable on a phone, light and dark."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tersor.cli.main import run
from tiny_models import save_text, save_tiny, save_tokenizer

PAGES = ("values", "weight", "model", "artifact", "sensitivity", "study")
WIDTHS = (390, 1440)
THEMES = ("light", "dark")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# What is wider than the window, boxes that scroll by themselves left out.
TOO_WIDE = """
const wide = [...document.querySelectorAll('body *')].filter((one) =>
  !one.closest('.scroll, pre, svg') && one.getBoundingClientRect().right > innerWidth + 1);
return [document.documentElement.scrollWidth - innerWidth, wide.map((one) => one.outerHTML)];
"""
SCALE = """
return [...document.querySelectorAll('.picture svg')].map((one) =>
  one.getBoundingClientRect().width / one.viewBox.baseVal.width);
"""
COLUMN = """
const [table, column] = arguments;
return [...table.tBodies[0].rows].map((row) => row.cells[column].textContent);
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One page of each kind, made by the commands."""
    home = tmp_path_factory.mktemp("pages")
    model = home / "model"
    save_tiny("llama", model)
    save_tokenizer(model)
    text = save_text(home / "text.txt", 400)
    scored = ("--text", text, "--context", 64, "--windows", 2)
    commands = [
        ("explain", "--values=-1.5,0,0.007,2.0", "--asymmetric", "-o", home / "values.html"),
        ("explain", model, "--tensor", "model.layers.0.mlp.up_proj", "-o", home / "weight.html"),
        ("inspect", model, "-o", home / "model.html"),
        ("compare", model, "--recipes", "vanilla-int8,nf4,log2", "-o", home / "out", *scored),
        ("inspect", home / "out" / "nf4", "-o", home / "artifact.html"),
        (
            "sensitivity", model, "--tokens", 128, "--window", 32, "--calibration", text,
            "--schemes", "w4c,w8c", "-o", home / "sensitivity.html",
        ),
    ]  # fmt: skip
    for command in commands:
        assert run([str(word) for word in command]) == 0
    shutil.copy(home / "out" / "compare.html", home / "study.html")
    return home


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    driver, program = shutil.which("chromedriver"), shutil.which("chromium")
    if driver is None or program is None:
        said = "no browser: apt-get install chromium chromium-driver"
        if os.environ.get("CI"):
            pytest.fail(said)
        pytest.skip(said)
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = Chrome(options=options, service=Service(driver))
    yield chrome
    chrome.quit()


def look(browser: Any, file: Path, width: int = 1440, theme: str = "light") -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
    browser.get(file.as_uri())


def requests(browser: Any) -> set[str]:
    messages = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    return {
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    }


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_whole_in_itself(browser: Any, pages: Path, page: str) -> None:
    file = pages / f"{page}.html"
    browser.get_log("browser")
    browser.get_log("performance")
    look(browser, file)
    assert browser.get_log("browser") == []
    assert requests(browser) - {"data:,"} == {file.as_uri()}
    assert browser.find_element("css selector", "h1").text
    assert browser.find_elements("css selector", ".findings li")
    for one in browser.find_elements("css selector", "details"):
        browser.execute_script("arguments[0].open = true", one)
    pictures = browser.find_elements("css selector", "svg")
    assert pictures
    for picture in pictures:
        assert picture.get_attribute("aria-label")
        assert min(picture.size.values()) > 100


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_wider_than_the_window(
    browser: Any, pages: Path, page: str, width: int, theme: str
) -> None:
    look(browser, pages / f"{page}.html", width, theme)
    for one in browser.find_elements("css selector", "details"):
        browser.execute_script("arguments[0].open = true", one)
    beyond, wide = browser.execute_script(TOO_WIDE)
    assert beyond <= 0
    assert wide == []
    # Letters are 9 units high.
    assert all(0.9 < scale < 1.7 for scale in browser.execute_script(SCALE))


@pytest.mark.parametrize("page", PAGES)
def test_light_and_dark(browser: Any, pages: Path, page: str) -> None:
    """Text and what is behind it change places."""
    lightness = {}
    for theme in THEMES:
        look(browser, pages / f"{page}.html", theme=theme)
        style = "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
        ink, surface = browser.execute_script(style)
        lightness[theme] = [sum(map(int, c[4:-1].split(","))) for c in (ink, surface)]
        fill = browser.execute_script(
            "const t = document.querySelector('svg text'); return t && getComputedStyle(t).fill"
        )
        assert fill is None or fill.startswith("rgb")
    assert lightness["light"][1] - lightness["light"][0] > 400
    assert lightness["dark"][0] - lightness["dark"][1] > 400


def number(text: str) -> float:
    return float(text.replace("–", "nan"))


@pytest.mark.parametrize("key", ["mouse", "\ue007", " "], ids=["mouse", "enter", "space"])
def test_tables_sort(browser: Any, pages: Path, key: str) -> None:
    look(browser, pages / "study.html")
    table = browser.find_element("css selector", "table")
    headings = table.find_elements("css selector", "thead th")
    place = next(i for i, one in enumerate(headings) if one.text.startswith("KL"))
    button = headings[place].find_element("css selector", "button")
    for way in ("ascending", "descending"):
        if key == "mouse":
            button.click()
        else:
            button.send_keys(key)
        assert headings[place].get_attribute("aria-sort") == way
        values = [number(text) for text in browser.execute_script(COLUMN, table, place)]
        assert values == sorted(values, reverse=way == "descending")
        assert len(values) == 4


def test_keyboards_reach_what_scrolls_and_what_folds(browser: Any, pages: Path) -> None:
    look(browser, pages / "study.html", 390)
    reached = set()
    body = browser.find_element("css selector", "body")
    for _ in range(30):
        body.send_keys("\ue004")
        active = browser.switch_to.active_element
        reached.add(active.tag_name)
        outline = browser.execute_script(
            "return getComputedStyle(arguments[0]).outlineStyle", active
        )
        assert active.tag_name == "body" or outline != "none"
        body = active
    assert {"button", "summary", "div"} <= reached
