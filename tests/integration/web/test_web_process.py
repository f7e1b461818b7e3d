"""The worklist as a process: killed and started again, told to stop with pages open, over TLS, and what it logs."""

import json
import re
import signal
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

import httpx2
import pytest
import store_bench
from flagged_cases import flagged
from playwright.sync_api import Error as PlaywrightError
from store_bench import PATIENT, Bench
from tls_peers import Authority, client_context
from web_client import PASSWORD, add_user
from web_process import web_process
from web_server import chromium, served

from db import Store, UserRole
from dicom_node.web.app import HASHES_AT_ONCE

LIVE_AGAIN_MS = 20_000
STOP_S = 5
THREADS, CROWD = 40, 50
"""Pages have forty threads."""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    url = store_bench.new_database("sqlite", tmp_path)
    with Store.open(url) as store:
        add_user(store, "anna", list(UserRole))
        yield Bench(store=store, url=url)


@pytest.fixture
def page() -> Iterator[Any]:
    """A page of a browser that has signed in nowhere yet."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        page.set_default_timeout(15_000)
        yield page


def _sign_in(page: Any, address: str) -> None:
    page.goto(f"{address}/login")
    page.fill("input[name=name]", "anna")
    page.fill("input[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_selector("#live[data-state='live']")


def _wait_for_news(page: Any, count: int) -> None:
    told = "(words) => document.getElementById('news-text').textContent.startsWith(words)"
    page.wait_for_function(told, arg=f"{count} new")


@contextmanager
def _signed_in(address: str, verify: ssl.SSLContext | bool = True) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=address, timeout=20, verify=verify) as client:
        token = client.get("/login").text.split('name="csrf" value="')[1].split('"')[0]
        form = {"csrf": token, "name": "anna", "password": PASSWORD, "next": ""}
        assert client.post("/login", data=form, headers={"origin": address}).status_code == 303
        yield client


def _agrees_on(port: int, version: str) -> bool:
    """Whether a client that speaks this version of TLS alone, with any cipher there is, gets a connection."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", version, "-cipher", "ALL@SECLEVEL=0"]
    return subprocess.run(command, input=b"", capture_output=True, check=False, timeout=20).returncode == 0


def test_killed_server_comes_back_and_no_alert_is_missed_or_counted_twice(bench: Bench, tmp_path: Path, page: Any):
    """An open list is live again by itself; it counts what came before, during and after, each once."""
    with web_process(bench.url, tmp_path) as first:
        _sign_in(page, first.address)
        flagged(bench, 1)
        _wait_for_news(page, 1)
        first.kill()
        page.wait_for_selector("#live[data-state='away']")
        assert page.inner_text("#live-text").startswith("Not live since ")
        flagged(bench, 2)
    with web_process(bench.url, tmp_path, port=first.port):
        page.wait_for_selector("#live[data-state='live']", timeout=LIVE_AGAIN_MS)
        _wait_for_news(page, 2)
        flagged(bench, 3)
        _wait_for_news(page, 3)
        page.keyboard.press("r")
        page.wait_for_selector("tr[data-alert]")
        shown = page.eval_on_selector_all("tr[data-alert]", "rows => rows.map((row) => +row.dataset.alert)")
    assert sorted(shown) == sorted(one.id for one in bench.store.alerts.list())
    assert len(shown) == 3


def test_alert_between_the_page_and_its_stream_is_news(bench: Bench, tmp_path: Path, page: Any):
    """What is committed after the page was made and before its stream begins is announced all the same."""
    with web_process(bench.url, tmp_path) as server:
        committed: list[int] = []

        def late(route: Any) -> None:
            if not committed:
                committed.append(flagged(bench))
            route.continue_()

        page.route("**/events*", late)
        _sign_in(page, server.address)
        _wait_for_news(page, 1)


def test_sigterm_ends_fifty_open_streams(bench: Bench, tmp_path: Path):
    """A process that is told to stop ends with 0 within five seconds, however many pages are open."""
    with web_process(bench.url, tmp_path) as server, ExitStack() as streams, _signed_in(server.address) as client:
        for _ in range(50):
            one = streams.enter_context(httpx2.Client(base_url=server.address, cookies=client.cookies, timeout=20))
            answer = streams.enter_context(one.stream("GET", "/events", headers={"accept": "text/event-stream"}))
            assert answer.status_code == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(STOP_S) == 0


def test_over_tls_the_cookie_is_bound_to_it(bench: Bench, tmp_path: Path):
    """With certificates the worklist speaks TLS 1.2 or newer and nothing else; cookies leave by it alone."""
    certificates = Authority.make(tmp_path / "authority").issue("worklist.example", tmp_path / "certificates")
    context = client_context(certificates, with_certificate=False)
    with web_process(bench.url, tmp_path, certificates=certificates) as server:
        assert server.address.startswith("https://")
        with _signed_in(server.address, context) as client:
            answer = client.get("/")
            assert answer.status_code == 200
            assert answer.headers["strict-transport-security"] == "max-age=31536000"
            (cookie,) = [one for one in client.cookies.jar if one.name == "__Host-lungsentry"]
            assert cookie.secure
        with pytest.raises(httpx2.HTTPError):
            httpx2.get(f"http://127.0.0.1:{server.port}/login")
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(server.address)  # whose certificate nobody here vouches for
        assert _agrees_on(server.port, "-tls1_2")
        assert not _agrees_on(server.port, "-tls1_1")


@pytest.mark.parametrize(
    ("proxies", "address"), [(("127.0.0.1",), "10.1.1.1"), (("127.0.0.1", "10.1.1.0/24"), "6.6.6.6"), ((), "127.0.0.1")]
)
def test_who_asks_is_told_by_known_proxies_alone(bench: Bench, tmp_path: Path, proxies: tuple[str, ...], address: str):
    """What a browser claims of itself in front of them counts for nothing in the audit trail."""
    with served(bench.url, tmp_path, behind_proxy=True, proxies=proxies) as (worklist, _):
        asking = {"x-forwarded-for": "6.6.6.6, 10.1.1.1", "origin": worklist.replace("http:", "https:")}
        with httpx2.Client(base_url=worklist, headers=asking) as client:
            page = client.get("/login")
            token = page.text.partition('name="csrf" value="')[2].partition('"')[0]
            kept = page.headers["set-cookie"].partition(";")[0]  # of HTTPS, which is the proxy's
            client.post("/login", data={"csrf": token, "name": "anna", "password": "guess"}, headers={"cookie": kept})
    (row,) = bench.store.audit.list(action="sign-in failed")
    assert row.address == address


def test_patient_is_named_nowhere_until_somebody_asks(bench: Bench, tmp_path: Path, page: Any):
    """In a whole run the ID stands in no page, address, title, event or line of the log; a reveal is on the record."""
    alert = flagged(bench, results_dir=tmp_path / "results")
    seen: list[str] = []

    def keep(answer: Any) -> None:
        seen.append(answer.url + json.dumps(answer.all_headers()))
        if answer.request.resource_type in {"document", "fetch", "xhr", "script"} and answer.status == 200:
            with suppress(PlaywrightError):  # the browser has gone on to another page and kept nothing of it
                seen.append(answer.body().decode("latin-1"))

    with web_process(bench.url, tmp_path) as server:
        cdp = page.context.new_cdp_session(page)
        cdp.on("Network.eventSourceMessageReceived", lambda event: seen.append(str(event)))
        cdp.send("Network.enable")
        page.on("requestfinished", lambda request: keep(request.response()))
        _sign_in(page, server.address)
        flagged(bench, 2)
        page.wait_for_selector("#news:not([hidden])")
        for path in (f"/alerts/{alert}", "/series", "/series/1.2.3.1.1", f"/patients/{alert}", "/node", "/models",
                     "/users", "/audit", "/me", "/help", "/a/ACC-1", "/nowhere", f"/alerts/{alert}"):  # fmt: skip
            page.goto(server.address + path)
            seen.append(page.title() + page.content())
        page.wait_for_selector("#axial[data-shown='3']")
        page.wait_for_selector("[data-asks='take-up']:not(:disabled)")
        page.keyboard.press("a")
        page.keyboard.press("Enter")
        page.wait_for_selector("#decided:not([hidden])")
        assert [one for one in seen if PATIENT in one] == []
        assert any("eventName" in one for one in seen)
        assert bench.store.audit.list(action="revealed") == ()
        page.click("#reveal")
        page.wait_for_function("(id) => document.getElementById('patient').textContent === id", arg=PATIENT)
        assert [one.who for one in bench.store.audit.list(action="revealed")] == ["anna"]
    assert PATIENT not in str(bench.store.audit.list())
    log = server.log.read_text()
    assert "worklist.stopped" in log
    assert PATIENT not in log
    assert "1.2.3" not in log


def test_a_crowd_that_signs_in_holds_up_nobody_else(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """While more passwords are checked than there are threads for pages, a page answers who asks for it."""
    held, checks = threading.Event(), threading.Semaphore(0)

    def check(*_: object) -> bool:
        checks.release()
        return held.wait(60)

    monkeypatch.setattr("dicom_node.web.pages.sign_in.is_password", check)
    with served(bench.url, tmp_path) as (address, _), ThreadPoolExecutor(CROWD) as crowd, ExitStack() as stack:
        clients = [stack.enter_context(httpx2.Client(base_url=address, timeout=60)) for _ in range(CROWD)]
        tokens = [re.findall(r'name="csrf" value="([^"]+)"', one.get("/login").text)[0] for one in clients]
        origin = {"origin": address, "sec-fetch-site": "same-origin"}
        signing_in = [
            crowd.submit(
                client.post, "/login", data={"csrf": token, "name": "anna", "password": PASSWORD}, headers=origin
            )
            for client, token in zip(clients, tokens, strict=True)
        ]
        begun = len(list(takewhile(bool, (checks.acquire(timeout=2) for _ in range(THREADS)))))
        assert begun == HASHES_AT_ONCE
        assert httpx2.get(f"{address}/login", timeout=20).status_code == 200
        held.set()
        assert {one.result().status_code for one in signing_in} == {303}
