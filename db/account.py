"""Who may look at results in the browser, their sessions, and the record of what they did."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")


class UserRole(StrEnum):
    """What a user may do; roles add up."""

    READER = "reader"
    ADMINISTRATOR = "administrator"
    SCIENTIST = "scientist"
    AUDITOR = "auditor"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person who may sign in. ``password_hash`` is None until a password was chosen.

    ``subject`` names the person at an identity provider; such a user has no password here.
    """

    id: int
    name: str
    roles: frozenset[UserRole]
    password_hash: str | None = field(repr=False)
    subject: str | None
    created_at: datetime
    disabled_at: datetime | None
    failures: int
    locked_until: datetime | None
    preferences: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSession:
    """A browser that is signed in. ``key`` is the digest of what the browser holds."""

    key: str = field(repr=False)
    user: User
    csrf_token: str = field(repr=False)
    opened_at: datetime
    seen_at: datetime
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInLink:
    """A link that works once, and whether the user chooses a password with it."""

    user: User
    asks_password: bool
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who did what to what, and from where. Nothing about the patient."""

    id: int
    at: datetime
    who: str
    action: str
    subject: str
    address: str
    detail: str


def is_user_name(name: str) -> bool:
    """Whether people may be called so: letters, digits and ``. _ @ + -``, at most 64 of them."""
    return _NAME.fullmatch(name) is not None
