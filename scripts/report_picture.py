"""Takes the README's picture of the newest run's report: report_picture.py [OUTPUT.png]. Needs Chromium."""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


def take(page_file: Path, output: Path) -> None:
    """One PNG of the top of a page, 1200 pixels wide."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1200, "height": 940})
        page.goto(page_file.as_uri())
        page.screenshot(path=output)
        browser.close()


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images" / "report.png"
    take((ROOT / "outputs" / "latest" / "index.html").resolve(), target)
    print(target)
