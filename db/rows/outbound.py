"""The tables of what goes out: alerts for readers, artefacts for destinations, answers on storage commitment."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.rows.analysed import ArtefactRow
from db.rows.base import BIG, Row, where

UNSEEN = "state IN ('open', 'notified') AND opened_at IS NULL"
"""Alerts that nobody has looked at, in words that an index of theirs is found by."""


class AlertRow(Row):
    """The alert of a study: one row, whatever number of series and results; the worklist is filtered and sorted by it.

    Its series and result are those of the flagged series that stands for the study.
    """

    __tablename__ = "alerts"
    __table_args__ = (
        Index("uq_alerts_study_instance_uid", "study_instance_uid", unique=True),
        Index("ix_alerts_due", "due_at", **where(UNSEEN)),
        Index("ix_alerts_state_pressing", "state", "category", "received_at", "id"),
        Index("ix_alerts_state_received", "state", "received_at", "id"),
        Index("ix_alerts_state_burden", "state", "burden_percent", "id"),
        Index("ix_alerts_state_raised", "state", "id"),
        Index("ix_alerts_pressing", "category", "received_at", "id"),
        Index("ix_alerts_received", "received_at", "id"),
        Index("ix_alerts_burden", "burden_percent", "id"),
        Index("ix_alerts_state_by_due", "state", "due_at", "id"),
        Index("ix_alerts_by_due", "due_at", "id"),
        Index("ix_alerts_scanner", "calling_ae_title"),
        Index("ix_alerts_state_decided", "state", "decided_at"),
    )

    id: Mapped[int] = mapped_column(BIG, primary_key=True)
    series_instance_uid: Mapped[str] = mapped_column(ForeignKey("series.series_instance_uid"), unique=True)
    study_instance_uid: Mapped[str]
    result_id: Mapped[int] = mapped_column(BIG, ForeignKey("results.id"))
    state: Mapped[str]
    category: Mapped[str]
    incidental: Mapped[bool]
    burden_percent: Mapped[float]
    profile: Mapped[str]
    quality: Mapped[str]
    calling_ae_title: Mapped[str]
    received_at: Mapped[datetime]
    alert: Mapped[dict[str, Any]]
    judged: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    due_at: Mapped[datetime]
    opened_at: Mapped[datetime | None]
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[str | None]
    passed_to: Mapped[str | None]
    reason: Mapped[str | None]
    note: Mapped[str | None]


class DeliveryRow(Row):
    """One artefact for one destination, or a message to it about an alert; never both."""

    __tablename__ = "deliveries"
    __table_args__ = (
        CheckConstraint("(artefact_id IS NULL) = (alert_id IS NOT NULL)", name="artefact_or_alert"),
        Index("ix_deliveries_told", "destination", "sent_at", **where("alert_id IS NOT NULL")),
        Index("ix_deliveries_due", "state", "destination", "not_before", "id"),
        Index("ix_deliveries_state", "state", "id"),
        Index("ix_deliveries_sent", "sent_at", **where("state = 'sent'")),
    )

    id: Mapped[int] = mapped_column(BIG, primary_key=True)
    result_id: Mapped[int] = mapped_column(BIG, ForeignKey("results.id"), index=True)
    series_instance_uid: Mapped[str] = mapped_column(ForeignKey("series.series_instance_uid"), index=True)
    artefact_id: Mapped[int | None] = mapped_column(BIG, ForeignKey("artefacts.id"), index=True)
    alert_id: Mapped[int | None] = mapped_column(BIG, ForeignKey("alerts.id"), index=True)
    occasion: Mapped[str | None]
    destination: Mapped[str]
    state: Mapped[str]
    attempt: Mapped[int]
    max_attempts: Mapped[int]
    not_before: Mapped[datetime]
    lease_expires_at: Mapped[datetime | None]
    cause: Mapped[str | None]
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    sent_as: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    artefact: Mapped[ArtefactRow | None] = relationship(lazy="selectin")


class PausedDestinationRow(Row):
    """A destination that nothing is sent to for now."""

    __tablename__ = "paused_destinations"

    name: Mapped[str] = mapped_column(primary_key=True)
    paused_at: Mapped[datetime]
    paused_by: Mapped[str]
    reason: Mapped[str | None]


class RefusedClassRow(Row):
    """A SOP class that a destination does not take, as it said."""

    __tablename__ = "refused_classes"

    destination: Mapped[str] = mapped_column(primary_key=True)
    sop_class_uid: Mapped[str] = mapped_column(primary_key=True)
    refused_at: Mapped[datetime]
    answer: Mapped[str]


class CommitmentRow(Row):
    """A request for storage commitment and its answer; ``references`` holds pairs of SOP Class and Instance UID."""

    __tablename__ = "commitments"
    __table_args__ = (
        UniqueConstraint("calling_ae_title", "transaction_uid"),
        Index("ix_commitments_due", "state", "not_before", "id"),
        Index("ix_commitments_state", "state", "id"),
    )

    id: Mapped[int] = mapped_column(BIG, primary_key=True)
    transaction_uid: Mapped[str]
    calling_ae_title: Mapped[str]
    called_ae_title: Mapped[str]
    address: Mapped[str]
    references: Mapped[list[Any]]
    state: Mapped[str]
    attempt: Mapped[int]
    max_attempts: Mapped[int]
    not_before: Mapped[datetime]
    lease_expires_at: Mapped[datetime | None]
    cause: Mapped[str | None]
    committed_count: Mapped[int | None]
    failed_count: Mapped[int | None]
    requested_at: Mapped[datetime] = mapped_column(index=True)
    answered_at: Mapped[datetime | None]
