"""The tables. Rows never leave this package; ``db.values`` holds what does."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

_BIG = BigInteger().with_variant(Integer(), "sqlite")  # only INTEGER is a row id on SQLite


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
        }
    )
    type_annotation_map = {str: PlainText, datetime: UtcDateTime, dict[str, Any]: JSON, list[Any]: JSON, float: Float}  # noqa: RUF012


_ACTIVE = "state IN ('queued', 'running')"
_IN_FORCE = "superseded_at IS NULL"
_MAY_HAVE_INSTANCES = "instances_removed_at IS NULL OR instances_removed_at < last_received_at"


def _where(condition: str, *, sqlite: str = "") -> dict[str, Any]:
    """What makes an index hold only the rows of which this is true; ``sqlite`` where that spells it otherwise."""
    return {"sqlite_where": text(sqlite or condition), "postgresql_where": text(condition)}


def _prefixed(table: str, column: str) -> Index:
    """An index that finds a value, and every value that begins with a text."""
    return Index(f"ix_{table}_{column}", column, postgresql_ops={column: "text_pattern_ops"})


class StudyRow(Row):
    """A study: the one place that knows the patient's ID."""

    __tablename__ = "studies"
    __table_args__ = tuple(
        _prefixed("studies", name) for name in ("study_instance_uid", "reversed_uid", "patient_id", "accession_number")
    )

    study_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    reversed_uid: Mapped[str]
    patient_id: Mapped[str]
    issuer_of_patient_id: Mapped[str] = mapped_column(server_default="")
    patient_birth_date: Mapped[str] = mapped_column(server_default="")
    patient_sex: Mapped[str] = mapped_column(server_default="")
    accession_number: Mapped[str]
    study_date: Mapped[str]
    study_description: Mapped[str]
    first_received_at: Mapped[datetime]
    last_received_at: Mapped[datetime] = mapped_column(index=True)


class SeriesRow(Row):
    """A series and its state.

    Its key is its Series Instance UID; where another study holds a series of that UID, it is marked with its study (see
    ``db.series_key``).

    ``lacking`` says in words what of the revision is known to be missing. ``rejected_for`` names the reconstruction
    that was chosen in its place, ``rejection`` is the screening that says why. ``screenings`` counts how often the
    screening of the revision was begun.
    """

    __tablename__ = "series"
    __table_args__ = (
        *(_prefixed("series", name) for name in ("series_instance_uid", "reversed_uid")),
        Index("ix_series_newest", "last_received_at", "series_instance_uid"),
        Index("ix_series_state_newest", "state", "last_received_at", "series_instance_uid"),
        Index("ix_series_with_instances", "state", "ended_at", **_where(_MAY_HAVE_INSTANCES)),
    )

    series_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    reversed_uid: Mapped[str]
    study_instance_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_instance_uid"), index=True)
    state: Mapped[str]
    revision: Mapped[int]
    modality: Mapped[str]
    series_description: Mapped[str]
    frame_of_reference_uid: Mapped[str | None]
    calling_ae_title: Mapped[str]
    instance_count: Mapped[int]
    profile: Mapped[str | None]
    reason: Mapped[str | None]
    screening: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    first_received_at: Mapped[datetime]
    last_received_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    instances_removed_at: Mapped[datetime | None]
    lacking: Mapped[str | None]
    rejected_for: Mapped[str | None] = mapped_column(index=True)
    rejection: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    screenings: Mapped[int] = mapped_column(server_default="0")


class InstanceRow(Row):
    """One version of an instance in the archive."""

    __tablename__ = "instances"
    __table_args__ = (UniqueConstraint("series_instance_uid", "sop_instance_uid", "sha256"),)

    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    series_instance_uid: Mapped[str] = mapped_column(ForeignKey("series.series_instance_uid"))
    sop_instance_uid: Mapped[str] = mapped_column(index=True)
    sop_class_uid: Mapped[str]
    transfer_syntax_uid: Mapped[str]
    path: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    calling_ae_title: Mapped[str]
    called_ae_title: Mapped[str]
    address: Mapped[str]
    association_id: Mapped[str | None] = mapped_column(index=True)
    received_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]
    slice_position_mm: Mapped[float | None]
    uid_warning: Mapped[bool]


class AssociationRow(Row):
    """An association that brought instances."""

    __tablename__ = "associations"

    association_id: Mapped[str] = mapped_column(primary_key=True)
    receiver_id: Mapped[str] = mapped_column(index=True)
    calling_ae_title: Mapped[str]
    called_ae_title: Mapped[str]
    address: Mapped[str]
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None] = mapped_column(index=True)
    released: Mapped[bool | None]


class AssociationSeriesRow(Row):
    """That an association brought something of a series."""

    __tablename__ = "association_series"

    association_id: Mapped[str] = mapped_column(primary_key=True)
    series_instance_uid: Mapped[str] = mapped_column(primary_key=True, index=True)


class JobRow(Row):
    """A job; ``kept`` is one that a result came of. Waiting ones are claimed by priority, then by turn."""

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("series_instance_uid", "revision", "run"),
        Index("ix_jobs_state", "state", "id"),
        Index("ix_jobs_due", "priority", "turn", "id", "not_before", **_where("state = 'queued'")),
        Index("ix_jobs_site", "priority", "site", "turn", **_where("state = 'queued'")),
        Index("ix_jobs_not_before", "not_before", **_where("state = 'queued'")),
        Index("ix_jobs_oldest", "created_at", **_where("state = 'queued'")),
        Index("uq_jobs_active_series", "series_instance_uid", unique=True, **_where(_ACTIVE)),
        Index("ix_jobs_finished", "finished_at", **_where("NOT kept", sqlite="kept = 0")),
    )

    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
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
    """A result; the one of a series that is not superseded is in force."""

    __tablename__ = "results"
    __table_args__ = (
        Index("uq_results_in_force", "series_instance_uid", unique=True, **_where(_IN_FORCE)),
        Index("ix_results_model", "model_version", "model_name", "series_instance_uid", **_where(_IN_FORCE)),
    )

    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    job_id: Mapped[int] = mapped_column(_BIG, ForeignKey("jobs.id"), unique=True)
    series_instance_uid: Mapped[str] = mapped_column(ForeignKey("series.series_instance_uid"), index=True)
    study_instance_uid: Mapped[str] = mapped_column(index=True)
    revision: Mapped[int]
    model_name: Mapped[str]
    model_version: Mapped[str]
    burden_percent: Mapped[float]
    findings: Mapped[dict[str, Any]]
    screening: Mapped[dict[str, Any]]
    explanation: Mapped[str]
    seconds: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    superseded_at: Mapped[datetime | None]
    artefacts: Mapped[list["ArtefactRow"]] = relationship(order_by="ArtefactRow.id", lazy="selectin")


class ArtefactRow(Row):
    """A file of a result; ``sha256`` and ``size_bytes`` are not known of files of an earlier version."""

    __tablename__ = "artefacts"
    __table_args__ = (UniqueConstraint("result_id", "name"),)

    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    result_id: Mapped[int] = mapped_column(_BIG, ForeignKey("results.id"))
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

    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    result_id: Mapped[int] = mapped_column(_BIG, ForeignKey("results.id"), index=True)
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

    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    profile: Mapped[str]
    role: Mapped[str]
    model_name: Mapped[str]
    model_version: Mapped[str]
    weights_sha256: Mapped[str]
    assigned_at: Mapped[datetime]
    assigned_by: Mapped[str]


class AlertRow(Row):
    """The alert of a series: one row, whatever number of results; holds what the worklist is filtered and sorted by."""

    __tablename__ = "alerts"
    __table_args__ = (
        Index("ix_alerts_state_pressing", "state", "category", "received_at", "id"),
        Index("ix_alerts_state_received", "state", "received_at", "id"),
        Index("ix_alerts_state_burden", "state", "burden_percent", "id"),
        Index("ix_alerts_state_raised", "state", "id"),
        Index("ix_alerts_pressing", "category", "received_at", "id"),
        Index("ix_alerts_received", "received_at", "id"),
        Index("ix_alerts_burden", "burden_percent", "id"),
    )

    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    series_instance_uid: Mapped[str] = mapped_column(ForeignKey("series.series_instance_uid"), unique=True)
    study_instance_uid: Mapped[str] = mapped_column(index=True)
    result_id: Mapped[int] = mapped_column(_BIG, ForeignKey("results.id"))
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
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[str | None]
    note: Mapped[str | None]


class DeliveryRow(Row):
    """One artefact for one destination."""

    __tablename__ = "deliveries"
    __table_args__ = (
        Index("ix_deliveries_due", "state", "destination", "not_before", "id"),
        Index("ix_deliveries_state", "state", "id"),
    )

    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    result_id: Mapped[int] = mapped_column(_BIG, ForeignKey("results.id"), index=True)
    series_instance_uid: Mapped[str] = mapped_column(ForeignKey("series.series_instance_uid"), index=True)
    artefact_id: Mapped[int] = mapped_column(_BIG, ForeignKey("artefacts.id"), index=True)
    destination: Mapped[str]
    state: Mapped[str]
    attempt: Mapped[int]
    max_attempts: Mapped[int]
    not_before: Mapped[datetime]
    lease_expires_at: Mapped[datetime | None]
    cause: Mapped[str | None]
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    artefact: Mapped[ArtefactRow] = relationship(lazy="selectin")


class CommitmentRow(Row):
    """A request for storage commitment and its answer; ``references`` holds pairs of SOP Class and Instance UID."""

    __tablename__ = "commitments"
    __table_args__ = (
        UniqueConstraint("calling_ae_title", "transaction_uid"),
        Index("ix_commitments_due", "state", "not_before", "id"),
        Index("ix_commitments_state", "state", "id"),
    )

    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
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


class PerformedStepRow(Row):
    """A modality performed procedure step; ``state`` in the Standard's words."""

    __tablename__ = "performed_steps"
    __table_args__ = (Index("ix_performed_steps_begun_at", "begun_at"),)

    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(unique=True)
    calling_ae_title: Mapped[str]
    state: Mapped[str]
    begun_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class PerformedSeriesRow(Row):
    """A series of a step, and the SOP Instance UIDs that the modality lists for it."""

    __tablename__ = "performed_series"
    __table_args__ = (UniqueConstraint("step_id", "series_instance_uid"),)

    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    step_id: Mapped[int] = mapped_column(_BIG, ForeignKey("performed_steps.id"))
    series_instance_uid: Mapped[str] = mapped_column(index=True)
    sop_instance_uids: Mapped[list[Any]]


class PeerRow(Row):
    """Who may send; None is held as the empty text, so that the unique constraint sees it."""

    __tablename__ = "peers"
    __table_args__ = (UniqueConstraint("ae_title", "called_ae_title", "cidr"),)

    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
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

    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    calling_ae_title: Mapped[str]
    called_ae_title: Mapped[str]
    address: Mapped[str]
    reason: Mapped[str]
    count: Mapped[int]
    first_at: Mapped[datetime]
    last_at: Mapped[datetime] = mapped_column(index=True)


class PausedDestinationRow(Row):
    """A destination that nothing is sent to for now."""

    __tablename__ = "paused_destinations"

    name: Mapped[str] = mapped_column(primary_key=True)
    paused_at: Mapped[datetime]
    paused_by: Mapped[str]
    reason: Mapped[str | None]


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

    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    kind: Mapped[str]
    state: Mapped[str]
    count: Mapped[int]


class EventRow(Row):
    """What happened, written with it; ``kept`` is one that was old enough to go, and tells of something that stands."""

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_subject", "subject_kind", "subject_id"),
        Index("ix_events_passing", "at", **_where("NOT kept", sqlite="kept = 0")),
    )

    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
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
