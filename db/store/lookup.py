"""Finding by index: by the beginning or end of a text, and the first rows of some states."""

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, select, union_all
from sqlalchemy.orm import InstrumentedAttribute, Session

from alerts.alert import UNDECIDED
from db.job import IMPORTED
from db.rows import AlertRow

__all__ = ["begins_with", "ends_with", "first_of_states", "found_uids", "overdue"]

_Row = TypeVar("_Row")

_LAST = "\U0010ffff"
"""Comes after every letter that a value can hold."""


def begins_with(session: Session, column: InstrumentedAttribute[str], beginning: str) -> ColumnElement[bool]:
    """The value begins with this text, which an index of bytes can answer; ``ValueError`` without a text."""
    if not beginning:
        raise ValueError("everything begins with nothing")
    if session.get_bind().dialect.name == "postgresql":  # its own order of texts is a language's
        return column.bool_op("~>=~")(beginning) & column.bool_op("~<~")(beginning + _LAST)
    return (column >= beginning) & (column < beginning + _LAST)


def overdue(now: datetime) -> ColumnElement[bool]:
    """The alert still waits for a decision, and should have been looked at by now."""
    waits = AlertRow.state.in_([state.value for state in sorted(UNDECIDED)])
    return waits & (AlertRow.due_at < now) & (AlertRow.calling_ae_title != IMPORTED)


def ends_with(session: Session, reversed_column: InstrumentedAttribute[str], end: str) -> ColumnElement[bool]:
    """The value, which the column holds reversed, ends with this text."""
    return begins_with(session, reversed_column, end[::-1])


def found_uids(
    session: Session, uid: InstrumentedAttribute[str], reversed_uid: InstrumentedAttribute[str], part: str, limit: int
) -> tuple[str, ...]:
    """The UIDs that begin or end with this text, in order, at most so many; where one is the text, only that."""
    if not part:
        return ()
    if session.scalar(select(uid).where(uid == part)) is not None:
        return (part,)
    found: set[str] = set()
    for condition in (begins_with(session, uid, part), ends_with(session, reversed_uid, part)):
        found.update(session.scalars(select(uid).where(condition).limit(limit)))
    return tuple(sorted(found)[:limit])


def first_of_states(
    statement: Select[_Row],
    row: Any,
    states: Collection[StrEnum] | None,
    order: tuple[ColumnElement[Any], ...],
    limit: int | None,
) -> Select[_Row]:
    """The first rows of the statement in these states (none given: in any).

    The first of each state are found by its index, and the first of those are the first: rows in between are not read.
    """
    ordered = statement.order_by(*order).limit(limit)
    if not states:
        return ordered
    if limit is None or len(states) == 1:
        return ordered.where(row.state.in_(sorted(states)))
    (key,) = row.__table__.primary_key
    firsts = [
        statement.with_only_columns(key).where(row.state == state).order_by(*order).limit(limit).subquery()
        for state in sorted(states)
    ]
    return ordered.where(key.in_(union_all(*(select(first) for first in firsts))))
