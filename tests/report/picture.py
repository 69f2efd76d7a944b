"""Takes the picture of the README: ``python -m tests.report.picture``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from selenium.webdriver.common.keys import Keys

from kpatch.report.page.html import page
from tests.report.browser import browser, press
from tests.report.test_page import document

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "report.png"

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, browser() as driver:
        path = Path(folder) / "report.html"
        path.write_text(page(document()), encoding="utf-8")
        driver.get(path.as_uri())
        driver.set_window_size(1000, 880)
        driver.execute_script("document.getElementById('bug').scrollIntoView()")
        press(driver, Keys.END)
        driver.save_screenshot(str(PICTURE))
