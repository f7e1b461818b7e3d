"""Sessions of browsers: rows that end by themselves, by signing out, or with their user."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, or_, select, update

from db.account import UserSession
from db.account_rows import SessionRow, UserRow
from db.store.room import Room
from db.store.users import user_of

__all__ = ["Sessions"]

TOUCH_EVERY = timedelta(seconds=60)
"""A look renews a session at most so often: a page asks for many things at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions(Room):
    """Who is signed in. ``key`` is the digest of what the browser holds: who reads the table can impersonate nobody."""

    def open(self, *, key: str, user_id: int, csrf_token: str, address: str) -> None:
        """A browser has signed in."""
        now = self.clock()
        row = SessionRow(key=key, user_id=user_id, csrf_token=csrf_token, opened_at=now, seen_at=now, address=address)
        with self.database.write() as session:
            session.add(row)

    def find(self, key: str, *, idle: timedelta, lifetime: timedelta, touch: bool = True) -> UserSession | None:
        """The session, unless it was idle or open for too long, or its user may not sign in any more.

        What a page does by itself does not ``touch`` it: only a person keeps a session from being idle.
        """
        now = self.clock()
        with self.database.read() as session:
            found = session.execute(
                select(SessionRow, UserRow)
                .join(UserRow, UserRow.id == SessionRow.user_id)
                .where(SessionRow.key == key, UserRow.disabled_at.is_(None))
            ).first()
        if found is None:
            return None
        row, user = found
        if row.seen_at + idle <= now or row.opened_at + lifetime <= now:
            return None
        if touch and row.seen_at + TOUCH_EVERY <= now:
            with self.database.write() as session:
                session.execute(update(SessionRow).where(SessionRow.key == key).values(seen_at=now))
        return _session(row, user)

    def of_user(self, user_id: int) -> tuple[UserSession, ...]:
        """The sessions of a user, the last seen first."""
        with self.database.read() as session:
            rows = session.execute(
                select(SessionRow, UserRow)
                .join(UserRow, UserRow.id == SessionRow.user_id)
                .where(SessionRow.user_id == user_id)
                .order_by(SessionRow.seen_at.desc())
            )
            return tuple(_session(row, user) for row, user in rows)

    def close(self, key: str) -> None:
        """The browser has signed out."""
        with self.database.write() as session:
            session.execute(delete(SessionRow).where(SessionRow.key == key))

    def close_all(self, user_id: int, *, but: str | None = None) -> int:
        """End every session of a user, but the one with this key; how many that were."""
        statement = delete(SessionRow).where(SessionRow.user_id == user_id)
        if but is not None:
            statement = statement.where(SessionRow.key != but)
        with self.database.write() as session:
            return len(session.scalars(statement.returning(SessionRow.key)).all())

    def sweep(self, *, idle: timedelta, lifetime: timedelta) -> int:
        """Remove the rows of sessions that have ended by themselves; how many that were."""
        now: datetime = self.clock()
        ended = or_(SessionRow.seen_at <= now - idle, SessionRow.opened_at <= now - lifetime)
        with self.database.write() as session:
            return len(session.scalars(delete(SessionRow).where(ended).returning(SessionRow.key)).all())


def _session(row: SessionRow, user: UserRow) -> UserSession:
    return UserSession(
        key=row.key,
        user=user_of(user),
        csrf_token=row.csrf_token,
        opened_at=row.opened_at,
        seen_at=row.seen_at,
        address=row.address,
    )
