"""What all tables are made of: the base of their rows, the types of their columns, and indexes."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Float, Index, Integer, MetaData, Text, text
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

BIG = BigInteger().with_variant(Integer(), "sqlite")  # only INTEGER is a row id on SQLite


class UtcDateTime(TypeDecorator[datetime]):
    """Aware in and out, UTC inside; SQLite holds it without a zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """An aware time as the database holds it; ValueError for one without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The time in UTC, aware."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class PlainText(TypeDecorator[str]):
    """Text that every database takes: words of an enum as such, no NUL, no lone surrogate."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Text that is stored as it can be."""
        return None if value is None else clean(str(value))


def clean(value: str) -> str:
    """The text as UTF-8 can carry it, without NUL, which PostgreSQL refuses."""
    return value.encode("utf-8", "replace").decode("utf-8").replace("\0", "")


class Row(DeclarativeBase):
    """The base of all rows."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map = {str: PlainText, datetime: UtcDateTime, dict[str, Any]: JSON, list[Any]: JSON, float: Float}  # noqa: RUF012


def where(condition: str, *, sqlite: str = "") -> dict[str, Any]:
    """What makes an index hold only the rows of which this is true; ``sqlite`` where that spells it otherwise."""
    return {"sqlite_where": text(sqlite or condition), "postgresql_where": text(condition)}


def prefixed(table: str, column: str) -> Index:
    """An index that finds a value, and every value that begins with a text."""
    return Index(f"ix_{table}_{column}", column, postgresql_ops={column: "text_pattern_ops"})
