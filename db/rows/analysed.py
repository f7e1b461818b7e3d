"""The tables of the analysis: jobs, the models that do them, results and what they are made of."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.rows.base import BIG, Row, where

_ACTIVE = "state IN ('queued', 'running')"
_IN_FORCE = "superseded_at IS NULL"


class JobRow(Row):
    """A job; ``kept`` is one that a result came of. Waiting ones are claimed by priority, then by turn."""

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("series_instance_uid", "revision", "run"),
        Index("ix_jobs_state", "state", "id"),
        Index("ix_jobs_due", "priority", "turn", "id", "not_before", **where("state = 'queued'")),
        Index("ix_jobs_site", "priority", "site", "turn", **where("state = 'queued'")),
        Index("ix_jobs_not_before", "not_before", **where("state = 'queued'")),
        Index("ix_jobs_oldest", "created_at", **where("state = 'queued'")),
        Index("uq_jobs_active_series", "series_instance_uid", unique=True, **where(_ACTIVE)),
        Index("ix_jobs_finished", "finished_at", **where("NOT kept", sqlite="kept = 0")),
    )

    id: Mapped[int] = mapped_column(BIG, primary_key=True)
    series_instance_uid: Mapped[str] = mapped_column(ForeignKey("series.series_instance_uid"))
    study_instance_uid: Mapped[str]
    revision: Mapped[int]
    run: Mapped[int]
    priority: Mapped[int]
    site: Mapped[str]
    turn: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str]
    attempt: Mapped[int]
    max_attempts: Mapped[int]
    not_before: Mapped[datetime]
    lease_expires_at: Mapped[datetime | None]
    worker: Mapped[str | None]
    cause: Mapped[str | None]
    requested_by: Mapped[str]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    kept: Mapped[bool] = mapped_column(default=False)


class ResultRow(Row):
    """A result; the one of a series that is not superseded is in force.

    ``alert`` is why it is flagged, if it is; ``clauses`` are those of the policy as they were applied to ``request``.
    """

    __tablename__ = "results"
    __table_args__ = (
        Index("uq_results_in_force", "series_instance_uid", unique=True, **where(_IN_FORCE)),
        Index("ix_results_made", "created_at", "id", **where(_IN_FORCE)),
        Index("ix_results_model", "model_version", "model_name", "series_instance_uid", **where(_IN_FORCE)),
    )

    id: Mapped[int] = mapped_column(BIG, primary_key=True)
    job_id: Mapped[int] = mapped_column(BIG, ForeignKey("jobs.id"), unique=True)
    series_instance_uid: Mapped[str] = mapped_column(ForeignKey("series.series_instance_uid"), index=True)
    study_instance_uid: Mapped[str] = mapped_column(index=True)
    revision: Mapped[int]
    model_name: Mapped[str]
    model_version: Mapped[str]
    burden_percent: Mapped[float]
    findings: Mapped[dict[str, Any]]
    screening: Mapped[dict[str, Any]]
    explanation: Mapped[str]
    alert: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    clauses: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    request: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    seconds: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    superseded_at: Mapped[datetime | None]
    artefacts: Mapped[list["ArtefactRow"]] = relationship(order_by="ArtefactRow.id", lazy="selectin")


class ArtefactRow(Row):
    """A file of a result; ``sha256`` and ``size_bytes`` are not known of files of an earlier version."""

    __tablename__ = "artefacts"
    __table_args__ = (UniqueConstraint("result_id", "name"),)

    id: Mapped[int] = mapped_column(BIG, primary_key=True)
    result_id: Mapped[int] = mapped_column(BIG, ForeignKey("results.id"))
    kind: Mapped[str]
    name: Mapped[str]
    media_type: Mapped[str]
    sha256: Mapped[str | None]
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    path: Mapped[str] = mapped_column(index=True)
    sop_class_uid: Mapped[str | None]
    sop_instance_uid: Mapped[str | None] = mapped_column(index=True)
    created_at: Mapped[datetime]


class ShadowResultRow(Row):
    """What a model in shadow made of the series of a result."""

    __tablename__ = "shadow_results"
    __table_args__ = (Index("ix_shadow_results_model", "model_name", "model_version"),)

    id: Mapped[int] = mapped_column(BIG, primary_key=True)
    result_id: Mapped[int] = mapped_column(BIG, ForeignKey("results.id"), index=True)
    series_instance_uid: Mapped[str] = mapped_column(index=True)
    model_name: Mapped[str]
    model_version: Mapped[str]
    weights_sha256: Mapped[str]
    findings: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    would_alert: Mapped[bool | None]
    lesion_dice: Mapped[float | None]
    cause: Mapped[str | None]
    seconds: Mapped[float]
    created_at: Mapped[datetime]


class ModelAssignmentRow(Row):
    """A model in a role for a profile."""

    __tablename__ = "model_assignments"
    __table_args__ = (UniqueConstraint("profile", "role"),)

    id: Mapped[int] = mapped_column(BIG, primary_key=True)
    profile: Mapped[str]
    role: Mapped[str]
    model_name: Mapped[str]
    model_version: Mapped[str]
    weights_sha256: Mapped[str]
    assigned_at: Mapped[datetime]
    assigned_by: Mapped[str]
