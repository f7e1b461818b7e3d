"""Pictures of the worklist, taken by a Chromium without a window where one is installed."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from typing import TYPE_CHECKING

from dicom_node.cli.failures import CommandError

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Playwright

__all__ = ["chromium", "take"]

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_WIDTH, _HEIGHT = 1680, 1050
_LINE, _CASE = (
    "#lines tr[data-alert]",
    ("#axial[data-shown]", "#coronal[data-shown]", "[data-asks=take-up]:not(:disabled)"),
)
_PICTURES_ARE_THERE = "() => [...document.images].every((one) => one.complete)"
_TIMEOUT_MS = 60_000


def chromium() -> str | None:
    """The Chromium of this machine that Playwright can drive; None where one of the two is missing."""
    if find_spec("playwright") is None:
        return None
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


def take(program: str, link: str, alert_id: int, folder: Path) -> tuple[Path, Path]:
    """Sign in by a link that works once, and keep pictures of the list and of this alert's case in the folder.

    Raises:
        CommandError: the browser failed at it.
    """
    from playwright.sync_api import Error, sync_playwright

    try:
        with sync_playwright() as playwright:
            return _take(playwright, program, link, alert_id, folder)
    except Error as error:
        raise CommandError(f"no picture of the worklist: {error.message.splitlines()[0]}") from error


def _take(playwright: Playwright, program: str, link: str, alert_id: int, folder: Path) -> tuple[Path, Path]:
    shown = folder / "worklist.png", folder / "case.png"
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium has none for root; it sees our own pages alone
    with playwright.chromium.launch(executable_path=program, args=sandbox) as browser:
        page = browser.new_page(viewport={"width": _WIDTH, "height": _HEIGHT})
        page.set_default_timeout(_TIMEOUT_MS)
        page.goto(link)
        page.locator("form button.main").click()
        page.wait_for_selector(_LINE)
        page.keyboard.press("j")
        page.wait_for_selector("#preview img")
        page.wait_for_function(_PICTURES_ARE_THERE)
        page.screenshot(path=shown[0])
        page.goto(f"{link.rpartition('/join/')[0]}/alerts/{alert_id}")
        for shown_last in _CASE:
            page.wait_for_selector(shown_last)
        page.wait_for_function(_PICTURES_ARE_THERE)
        page.screenshot(path=shown[1])
    return shown
