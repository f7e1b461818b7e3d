"""The worklist on an empty store."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import store_bench
from web_client import Browser, add_user, browser_on, services_for

from db import UserRole
from dicom_node.web import Services


@pytest.fixture(params=store_bench.DATABASES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[store_bench.Bench]:
    with store_bench.opened(request.param, tmp_path) as bench:
        yield bench


@pytest.fixture
def services(bench: store_bench.Bench, tmp_path: Path) -> Services:
    for name, role in (
        ("rita", UserRole.READER),
        ("adam", UserRole.ADMINISTRATOR),
        ("sven", UserRole.SCIENTIST),
        ("aude", UserRole.AUDITOR),
    ):
        add_user(bench.store, name, [role])
    return services_for(bench.store, tmp_path)


@pytest.fixture
def browser(services: Services) -> Browser:
    return browser_on(services)
