"""The stream of events: news in time, none twice."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
import store_bench
from flagged_cases import flagged
from store_bench import Bench
from web_client import PASSWORD, add_user
from web_server import served

from db import Store, UserRole


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    url = store_bench.new_database("sqlite", tmp_path)
    with Store.open(url) as store:
        add_user(store, "rita", [UserRole.READER])
        yield Bench(store=store, url=url)


@contextmanager
def _signed_in(address: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=address, timeout=20) as client:
        token = client.get("/login").text.split('name="csrf" value="')[1].split('"')[0]
        form = {"csrf": token, "name": "rita", "password": PASSWORD, "next": ""}
        assert client.post("/login", data=form, headers={"origin": address}).status_code == 303
        yield client


def _events(lines: Iterator[str]) -> Iterator[tuple[str, str, dict[str, object]]]:
    """Number, kind and data of each event that carries a number."""
    number = kind = ""
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "id":
            number = value
        elif name == "event":
            kind = value
        elif name == "data" and number:
            yield number, kind, json.loads(value)
            number = ""


def test_alert_is_told_within_two_seconds_by_its_number_alone(bench: Bench, tmp_path: Path):
    """What an open page hears of a new alert is the number; after a cut it hears what it missed, and nothing twice."""
    with served(bench.url, tmp_path) as (address, _), _signed_in(address) as client:
        with client.stream("GET", "/events", headers={"accept": "text/event-stream"}) as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith("retry")
            begun = time.monotonic()
            first = flagged(bench)
            heard: list[tuple[str, str, dict[str, object]]] = []
            for one in _events(lines):
                heard.append(one)
                if one[1] == "alert":
                    break
            assert time.monotonic() - begun < 3
        assert heard[-1][2] == {"alert": first, "what": "raise"}
        assert store_bench.PATIENT not in str(heard)
        second = flagged(bench, 2)
        last = max(int(number) for number, _, _ in heard)
        headers = {"accept": "text/event-stream", "last-event-id": str(last)}
        with client.stream("GET", "/events", headers=headers) as answer:
            missed: list[tuple[str, str, dict[str, object]]] = []
            for one in _events(answer.iter_lines()):
                missed.append(one)
                if one[1] == "alert" and one[2]["alert"] == second:
                    break
        numbers = [number for number, _, _ in missed]
        assert len(numbers) == len(set(numbers))


def test_stream_is_for_who_is_signed_in(bench: Bench, tmp_path: Path):
    """Without a session there is no stream, and no page in its place."""
    with served(bench.url, tmp_path) as (address, _):
        answer = httpx2.get(f"{address}/events", headers={"accept": "text/event-stream"})
        assert answer.status_code == 401
