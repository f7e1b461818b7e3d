"""Users: who may sign in, with which roles, and how often somebody guessed wrong."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from db.account import SignInLink, User, UserRole, is_user_name
from db.account_rows import SessionRow, SignInLinkRow, UserRow
from db.errors import StaleState
from db.store.room import Room

__all__ = ["Users", "user_of"]

FREE_FAILURES = 5
"""Wrong passwords in a row before the first wait."""
FIRST_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Users(Room):
    """The users of the worklist."""

    def add(self, name: str, roles: Collection[UserRole], *, subject: str | None = None) -> User:
        """A new user without a password.

        Raises:
            StaleState: the name is taken or cannot be one, or no role was given.
        """
        if not is_user_name(name):
            raise StaleState("A name is made of letters, digits and . _ @ + -, at most 64 of them.")
        if not roles:
            raise StaleState("A user needs a role.")
        with self.database.write() as session:
            if session.scalar(select(UserRow.id).where(UserRow.name == name)) is not None:
                raise StaleState(f"There is a user {name} already.")
            row = UserRow(
                name=name,
                roles=_names(roles),
                password_hash=None,
                subject=subject,
                created_at=self.clock(),
                disabled_at=None,
                failures=0,
                locked_until=None,
                preferences={},
            )
            session.add(row)
            session.flush()
            return user_of(row)

    def list(self) -> tuple[User, ...]:
        """Everybody, by name."""
        with self.database.read() as session:
            return tuple(user_of(row) for row in session.scalars(select(UserRow).order_by(UserRow.name)))

    def readers(self) -> tuple[str, ...]:
        """Names of the readers who may sign in."""
        return tuple(one.name for one in self.list() if one.disabled_at is None and UserRole.READER in one.roles)

    def named(self, name: str) -> User | None:
        """The user of this name."""
        with self.database.read() as session:
            row = session.scalar(select(UserRow).where(UserRow.name == name))
            return None if row is None else user_of(row)

    def with_subject(self, subject: str) -> User | None:
        """The user whom an identity provider calls so."""
        with self.database.read() as session:
            row = session.scalar(select(UserRow).where(UserRow.subject == subject))
            return None if row is None else user_of(row)

    def set_roles(self, name: str, roles: Collection[UserRole]) -> User:
        """Give a user these roles and no others.

        Raises:
            StaleState: there is no such user, no role was given, or nobody would be left to administer.
        """
        if not roles:
            raise StaleState("A user needs a role.")
        with self.database.write() as session:
            row = _named(session, name)
            row.roles = _names(roles)
            session.flush()
            _keep_an_administrator(session)
            return user_of(row)

    def set_password(self, name: str, password_hash: str) -> User:
        """Keep the hash of a password that the user has chosen; wrong guesses are forgotten.

        Raises:
            StaleState: there is no such user.
        """
        with self.database.write() as session:
            row = _named(session, name)
            row.password_hash, row.failures, row.locked_until = password_hash, 0, None
            return user_of(row)

    def set_enabled(self, name: str, *, enabled: bool) -> User:
        """Let a user sign in, or not any more: then sessions and links end with this.

        Raises:
            StaleState: there is no such user, or nobody would be left to administer.
        """
        with self.database.write() as session:
            row = _named(session, name)
            row.disabled_at = None if enabled else self.clock()
            session.flush()
            if not enabled:
                _keep_an_administrator(session)
                session.execute(delete(SessionRow).where(SessionRow.user_id == row.id))
                session.execute(delete(SignInLinkRow).where(SignInLinkRow.user_id == row.id))
            return user_of(row)

    def prefer(self, name: str, preferences: Mapping[str, Any]) -> User:
        """Keep what a user likes, beside what was kept before.

        Raises:
            StaleState: there is no such user.
        """
        with self.database.write() as session:
            row = _named(session, name)
            row.preferences = {**row.preferences, **preferences}
            return user_of(row)

    def failed(self, name: str) -> User | None:
        """A wrong password: from the sixth in a row on, the user waits, twice as long each time."""
        now = self.clock()
        with self.database.write() as session:
            row = session.scalar(select(UserRow).where(UserRow.name == name).with_for_update())
            if row is None:
                return None
            row.failures += 1
            if row.failures > FREE_FAILURES:
                doublings = min(row.failures - FREE_FAILURES - 1, 10)
                row.locked_until = now + min(FIRST_WAIT * 2**doublings, LONGEST_WAIT)
            return user_of(row)

    def succeeded(self, name: str) -> None:
        """The right password: wrong guesses are forgotten."""
        with self.database.write() as session:
            row = _named(session, name)
            row.failures, row.locked_until = 0, None

    def add_link(self, name: str, *, key: str, lifetime: timedelta, asks_password: bool) -> datetime:
        """A link for the user that works once; older ones of the user work no more. When it ends.

        Raises:
            StaleState: there is no such user, or the user signs in elsewhere and has no password here.
        """
        now = self.clock()
        with self.database.write() as session:
            row = _named(session, name)
            if row.subject is not None:
                raise StaleState(f"{name} signs in at the identity provider, and has no password here.")
            session.execute(
                delete(SignInLinkRow).where((SignInLinkRow.user_id == row.id) | (SignInLinkRow.expires_at <= now))
            )
            link = SignInLinkRow(key=key, user_id=row.id, asks_password=asks_password, expires_at=now + lifetime)
            session.add(link)
            return link.expires_at

    def link(self, key: str) -> SignInLink | None:
        """The link, if it can be used."""
        with self.database.read() as session:
            return _link(session, key, self.clock())

    def use_link(self, key: str) -> SignInLink | None:
        """Use the link up: of two who try at once, one gets it."""
        with self.database.write() as session:
            found = _link(session, key, self.clock())
            used = session.scalars(delete(SignInLinkRow).where(SignInLinkRow.key == key).returning(SignInLinkRow.key))
            return found if used.all() else None


def user_of(row: UserRow) -> User:
    """The user."""
    return User(
        id=row.id,
        name=row.name,
        roles=frozenset(UserRole(role) for role in row.roles),
        password_hash=row.password_hash,
        subject=row.subject,
        created_at=row.created_at,
        disabled_at=row.disabled_at,
        failures=row.failures,
        locked_until=row.locked_until,
        preferences=row.preferences,
    )


def _link(session: Session, key: str, now: datetime) -> SignInLink | None:
    found = session.execute(
        select(SignInLinkRow, UserRow)
        .join(UserRow, UserRow.id == SignInLinkRow.user_id)
        .where(SignInLinkRow.key == key, SignInLinkRow.expires_at > now, UserRow.disabled_at.is_(None))
    ).first()
    if found is None:
        return None
    row, user = found
    return SignInLink(user=user_of(user), asks_password=row.asks_password, expires_at=row.expires_at)


def _names(roles: Collection[UserRole]) -> list[str]:
    return sorted(role.value for role in set(roles))


def _named(session: Session, name: str) -> UserRow:
    row = session.scalar(select(UserRow).where(UserRow.name == name).with_for_update())
    if row is None:
        raise StaleState(f"There is no user {name}.")
    return row


def _keep_an_administrator(session: Session) -> None:
    """Somebody can still administer, if anybody could before.

    Raises:
        StaleState: nobody can.
    """
    enabled = session.scalars(select(UserRow).where(UserRow.disabled_at.is_(None))).all()
    if not any(UserRole.ADMINISTRATOR in row.roles for row in enabled):
        raise StaleState("Nobody would be left to administer users.")
