"""The tables of users, their sessions and the audit trail."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from db.rows import Row
from db.rows.base import BIG


class UserRow(Row):
    """Somebody who may sign in."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(BIG, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    roles: Mapped[list[Any]]
    password_hash: Mapped[str | None]
    subject: Mapped[str | None] = mapped_column(unique=True)
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]
    failures: Mapped[int]
    locked_until: Mapped[datetime | None]
    preferences: Mapped[dict[str, Any]] = mapped_column(JSON)


class SignInLinkRow(Row):
    """A link that works once; ``key`` is its token's digest."""

    __tablename__ = "sign_in_links"

    key: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(BIG, ForeignKey("users.id"), index=True)
    asks_password: Mapped[bool]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class SessionRow(Row):
    """A browser that is signed in; ``key`` is the digest of what its cookie holds."""

    __tablename__ = "sessions"

    key: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(BIG, ForeignKey("users.id"), index=True)
    csrf_token: Mapped[str]
    opened_at: Mapped[datetime]
    seen_at: Mapped[datetime] = mapped_column(index=True)
    address: Mapped[str]


class AuditRow(Row):
    """Who did what. The database refuses to change or remove a row."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(BIG, primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    who: Mapped[str] = mapped_column(index=True)
    action: Mapped[str]
    subject: Mapped[str]
    address: Mapped[str]
    detail: Mapped[str]
