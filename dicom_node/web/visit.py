"""One request of a browser, as a page sees it."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from starlette.requests import Request

from db import StaleState, Store, UserRole, UserSession
from dicom_node.web.errors import Conflict
from dicom_node.web.services import Services

__all__ = ["Visit", "whole_number"]

_MOST_DIGITS = 15


def whole_number(text: str) -> int | None:
    """The number that a browser sent, in ASCII digits and of a size that databases hold; None: it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """Who asks for what. ``form`` is what was sent with a POST, its CSRF token already checked."""

    request: Request
    services: Services
    session: UserSession | None
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        """The store."""
        return self.services.store

    @property
    def who(self) -> str:
        """The name of who asks."""
        return self.session.user.name if self.session else ""

    @property
    def roles(self) -> frozenset[UserRole]:
        """What who asks may do."""
        return self.session.user.roles if self.session else frozenset()

    @property
    def address(self) -> str:
        """Where the request came from."""
        return self.request.client.host if self.request.client else ""

    @property
    def query(self) -> Mapping[str, str]:
        """What the address asks for."""
        return self.request.query_params

    @property
    def preferences(self) -> Mapping[str, Any]:
        """What who asks likes."""
        return self.session.user.preferences if self.session else {}

    @property
    def zone(self) -> ZoneInfo:
        """The zone in which times are shown."""
        return ZoneInfo(str(self.preferences.get("time_zone") or self.services.web.time_zone))

    @property
    def wants_json(self) -> bool:
        """Whether a script asks, which takes an answer as data."""
        return "application/json" in self.request.headers.get("accept", "")

    def may(self, *roles: UserRole) -> bool:
        """Whether who asks has one of these roles."""
        return not self.roles.isdisjoint(roles)

    def number(self, name: str) -> int:
        """A number of the address; -1, which nothing has, where it is too large for a row's."""
        value = int(self.request.path_params[name])
        return value if value < 2**31 else -1

    def audit(self, action: str, subject: str = "", detail: str = "") -> None:
        """Write down what who asks is about to do."""
        self.store.audit.record(who=self.who, action=action, subject=subject, address=self.address, detail=detail)

    @contextmanager
    def deciding(
        self, action: str, subject: str = "", detail: str = "", *, refusal: Callable[[], str] | None = None
    ) -> Generator[None]:
        """Write down what who asks does inside, once it is done, or that it was refused.

        Raises:
            Conflict: the state of things does not allow it, in the words of ``refusal`` where there are any.
        """
        try:
            with self.store.audit.recorded(
                who=self.who, action=action, subject=subject, address=self.address, detail=detail
            ):
                yield
        except StaleState as error:
            raise Conflict(str(error) if refusal is None else refusal()) from error
