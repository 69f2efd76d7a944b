"""A headless Chromium that looks at pages, and the axe engine for what people need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from tests.referees import require


@contextmanager
def browser(dark: bool = False) -> Iterator[webdriver.Chrome]:
    """A browser without a network, 1200 by 900. Its console is read by :func:`complaints`."""
    require("chromium", "chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for each in (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--window-size=1200,900", "--host-resolver-rules=MAP * ~NOTFOUND"),
        *(("--force-dark-mode", "--enable-features=WebUIDarkMode") if dark else ()),
    ):
        options.add_argument(each)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        yield driver
    finally:
        driver.quit()


def press(driver: webdriver.Chrome, key: str) -> None:
    """A key for what has the focus. What Selenium sends to an element it scrolls there before."""
    webdriver.ActionChains(driver).send_keys(key).perform()


def complaints(driver: webdriver.Chrome) -> list[str]:
    """What the page wrote to the console, errors of its own code included."""
    log: list[dict[str, str]] = driver.execute("getLog", {"type": "browser"})["value"]
    return [each["message"] for each in log]


def axe(driver: webdriver.Chrome) -> list[tuple[str, str, list[str]]]:
    """Every finding of axe that is serious or critical: its rule, its impact, the elements."""
    folder = resources.files("axe_selenium_python")
    engine = Path(str(folder)) / "node_modules" / "axe-core" / "axe.min.js"
    # Past the page's own policy, as a person's tools are.
    driver.execute_script(engine.read_text(encoding="utf-8"))
    found: dict[str, Any] = driver.execute_async_script(
        "const done = arguments[arguments.length - 1]; axe.run().then(done);"
    )
    return [
        (each["id"], each["impact"], [node["target"][0] for node in each["nodes"]])
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]
