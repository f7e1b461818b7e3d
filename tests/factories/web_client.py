"""A browser without a window: signs in, sends forms as pages of the worklist do, and keeps cookies."""

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from db import Store, UserRole
from dicom_node.secret import hash_password
from dicom_node.settings import Web
from dicom_node.web import Services, build_app

PASSWORD = "correct horse battery staple"  # noqa: S105 - of users that a test makes
ORIGIN = "http://testserver"


@dataclass
class Browser:
    """One browser; ``token`` is the CSRF token of the page that it saw last."""

    client: TestClient
    token: str = ""
    headers: dict[str, str] = field(default_factory=lambda: {"origin": ORIGIN, "sec-fetch-site": "same-origin"})

    def get(self, path: str, **more: Any) -> Any:
        """Look at a page."""
        answer = self.client.get(path, follow_redirects=False, **more)
        if found := re.search(r'name="csrf" value="([^"]+)"', answer.text):
            self.token = found[1]
        return answer

    def post(self, path: str, form: dict[str, str] | None = None, **more: Any) -> Any:
        """Send a form of the page that was seen last."""
        data = {"csrf": self.token, **(form or {})}
        return self.client.post(path, data=data, follow_redirects=False, headers=self.headers, **more)

    def sign_in(self, name: str, password: str = PASSWORD) -> Any:
        """Sign in; then the token is that of a page."""
        self.get("/login")
        answer = self.post("/login", {"name": name, "password": password})
        if answer.status_code == 303:
            self.get("/me")
        return answer


def services_for(store: Store, folder: Path, **web: Any) -> Services:
    """What pages work with, on this store; results and archive are folders below."""
    return Services(
        store=store,
        web=Web.model_validate({"port": 0} | web),
        archive_dir=folder / "archive",
        results_dir=folder / "results",
        ae_title="LUNGSENTRY",
        clock=store.users.clock,
        stop=threading.Event(),
    )


def browser_on(services: Services) -> Browser:
    """A browser that holds nothing yet."""
    return Browser(client=TestClient(build_app(services), base_url=ORIGIN, raise_server_exceptions=True))


_HASH: list[str] = []


def add_user(store: Store, name: str, roles: Sequence[UserRole]) -> None:
    """A user with ``PASSWORD``; hashed once, for it takes a while."""
    if not _HASH:
        _HASH.append(hash_password(PASSWORD))
    store.users.add(name, roles)
    store.users.set_password(name, _HASH[0])
