"""Finding by a part of a text that is indexed: its beginning, or, where it is stored reversed, its end."""

from sqlalchemy import ColumnElement
from sqlalchemy.orm import InstrumentedAttribute, Session

__all__ = ["begins_with", "ends_with"]

_LAST = "\U0010ffff"
"""Comes after every letter that a value can hold."""


def begins_with(session: Session, column: InstrumentedAttribute[str], beginning: str) -> ColumnElement[bool]:
    """The value begins with this text, which an index of bytes can answer; ``ValueError`` without a text."""
    if not beginning:
        raise ValueError("everything begins with nothing")
    if session.get_bind().dialect.name == "postgresql":  # its own order of texts is a language's
        return column.bool_op("~>=~")(beginning) & column.bool_op("~<~")(beginning + _LAST)
    return (column >= beginning) & (column < beginning + _LAST)


def ends_with(session: Session, reversed_column: InstrumentedAttribute[str], end: str) -> ColumnElement[bool]:
    """The value, which the column holds reversed, ends with this text."""
    return begins_with(session, reversed_column, end[::-1])
