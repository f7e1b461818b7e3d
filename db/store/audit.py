"""The audit trail: added to, read, and never changed."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, select

from db.account import AuditEntry
from db.account_rows import AuditRow
from db.errors import StaleState
from db.store.room import Room

__all__ = ["Audit"]

_PAGE = 500
_REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit(Room):
    """Who did what, when, and from where."""

    def record(self, *, who: str, action: str, subject: str = "", address: str = "", detail: str = "") -> int:
        """Write down what somebody does; its number. Committed when this returns."""
        row = AuditRow(at=self.clock(), who=who, action=action, subject=subject, address=address, detail=detail)
        with self.database.write() as session:
            session.add(row)
            session.flush()
            return row.id

    @contextmanager
    def recorded(
        self, *, who: str, action: str, subject: str = "", address: str = "", detail: str = ""
    ) -> Generator[None]:
        """Write down what is done inside once it is done, or that the state of things refused it."""
        try:
            yield
        except StaleState:
            self.record(who=who, action=_REFUSED, subject=subject, address=address, detail=action)
            raise
        self.record(who=who, action=action, subject=subject, address=address, detail=detail)

    def list(
        self,
        *,
        who: str = "",
        action: str = "",
        since: datetime | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> tuple[AuditEntry, ...]:
        """Entries, the newest first; ``before`` is the number of one, for the page after it."""
        statement = select(AuditRow).where(*_conditions(who, action, since)).order_by(AuditRow.id.desc()).limit(limit)
        if before is not None:
            statement = statement.where(AuditRow.id < before)
        with self.database.read() as session:
            return tuple(_entry(row) for row in session.scalars(statement))

    def export(self, *, since: datetime | None = None) -> Iterator[AuditEntry]:
        """Every entry in order, a few hundred at a time."""
        last = 0
        while True:
            newer = (AuditRow.id > last, *_conditions("", "", since))
            with self.database.read() as session:
                rows = session.scalars(select(AuditRow).where(*newer).order_by(AuditRow.id).limit(_PAGE))
                entries = [_entry(row) for row in rows]
            yield from entries
            if len(entries) < _PAGE:
                return
            last = entries[-1].id


def _conditions(who: str, action: str, since: datetime | None) -> Iterator[ColumnElement[bool]]:
    if who:
        yield AuditRow.who == who
    if action:
        yield AuditRow.action == action
    if since is not None:
        yield AuditRow.at >= since


def _entry(row: AuditRow) -> AuditEntry:
    return AuditEntry(
        id=row.id,
        at=row.at,
        who=row.who,
        action=row.action,
        subject=row.subject,
        address=row.address,
        detail=row.detail,
    )
