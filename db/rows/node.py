"""The tables of the node itself: who may call it, what happened, and how it fares."""

from datetime import datetime

from sqlalchemy import BigInteger, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.rows.base import BIG, Row, where


class PeerRow(Row):
    """Who may send; None is held as the empty text, so that the unique constraint sees it."""

    __tablename__ = "peers"
    __table_args__ = (UniqueConstraint("ae_title", "called_ae_title", "cidr"),)

    id: Mapped[int] = mapped_column(BIG, primary_key=True)
    ae_title: Mapped[str]
    called_ae_title: Mapped[str]
    cidr: Mapped[str]
    host: Mapped[str | None]
    port: Mapped[int | None]
    role: Mapped[str]


class RefusalRow(Row):
    """Who was refused, counted."""

    __tablename__ = "refusals"
    __table_args__ = (UniqueConstraint("calling_ae_title", "called_ae_title", "address"),)

    id: Mapped[int] = mapped_column(BIG, primary_key=True)
    calling_ae_title: Mapped[str]
    called_ae_title: Mapped[str]
    address: Mapped[str]
    reason: Mapped[str]
    count: Mapped[int]
    first_at: Mapped[datetime]
    last_at: Mapped[datetime] = mapped_column(index=True)


class FailingUnitRow(Row):
    """A unit of a sweep that fails."""

    __tablename__ = "failing_units"

    sweep: Mapped[str] = mapped_column(primary_key=True)
    unit: Mapped[str] = mapped_column(primary_key=True)
    cause: Mapped[str]
    failures: Mapped[int]
    first_at: Mapped[datetime]
    last_at: Mapped[datetime] = mapped_column(index=True)


class HeartbeatRow(Row):
    """A process of the node that lives."""

    __tablename__ = "heartbeats"

    role: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str] = mapped_column(primary_key=True)
    pid: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    started_at: Mapped[datetime]
    beat_at: Mapped[datetime]


class StateCountRow(Row):
    """How many more, or fewer, of a kind stand in a state; the sum of all rows is how many do.

    Every move adds a row instead of changing one, so that nobody waits for another; a sweep adds them up.
    """

    __tablename__ = "state_counts"

    id: Mapped[int] = mapped_column(BIG, primary_key=True)
    kind: Mapped[str]
    state: Mapped[str]
    count: Mapped[int]


class SchemaFloorRow(Row):
    """One row: the schema's version whose code, and any later one's, works with the schema as it is now."""

    __tablename__ = "schema_floor"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    revision: Mapped[str]


class AuditForwardRow(Row):
    """How far a stream was told to the audit record repository."""

    __tablename__ = "audit_forward"

    stream: Mapped[str] = mapped_column(primary_key=True)
    last_id: Mapped[int] = mapped_column(BigInteger)


class EventRow(Row):
    """What happened, written with it; ``kept`` is one that was old enough to go, and tells of something that stands."""

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_subject", "subject_kind", "subject_id"),
        Index("ix_events_passing", "at", **where("NOT kept", sqlite="kept = 0")),
    )

    id: Mapped[int] = mapped_column(BIG, primary_key=True)
    at: Mapped[datetime]
    subject_kind: Mapped[str]
    subject_id: Mapped[str]
    series_instance_uid: Mapped[str | None] = mapped_column(index=True)
    event: Mapped[str]
    from_state: Mapped[str | None]
    to_state: Mapped[str | None]
    actor_kind: Mapped[str]
    actor_name: Mapped[str]
    detail: Mapped[str | None]
    kept: Mapped[bool] = mapped_column(default=False)
