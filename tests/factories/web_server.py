"""The worklist on a port of this machine, in a thread, and a Chromium without a window."""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dicom_node.node import run_web
from dicom_node.settings import Database, Node, Settings, Web


@contextmanager
def served(url: str, folder: Path, *, port: int = 0, **web: Any) -> Iterator[tuple[str, threading.Event]]:
    """The address of a worklist on this database, and the event that stops it."""
    settings = Settings(
        node=Node(data_dir=folder), database=Database(url=url), web=Web.model_validate({"port": port} | web)
    )
    stop, ready, ports = threading.Event(), threading.Event(), list[int]()

    def tell(found: int) -> None:
        ports.append(found)
        ready.set()

    thread = threading.Thread(target=run_web, args=(settings,), kwargs={"ready": tell, "stop": stop}, daemon=True)
    thread.start()
    assert ready.wait(30), "the worklist did not start"
    try:
        yield f"http://127.0.0.1:{ports[0]}", stop
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive(), "the worklist did not stop"


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium; without one a test skips on a laptop and fails in CI."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        assert not os.environ.get("CI"), "no Chromium is installed"
        pytest.skip("no Chromium is installed (make peers)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
