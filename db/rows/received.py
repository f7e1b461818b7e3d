"""The tables of what was received: studies, series, instances, and the associations and steps that brought them."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.rows.base import BIG, Row, prefixed, where

_MAY_HAVE_INSTANCES = "instances_removed_at IS NULL OR instances_removed_at < last_received_at"


class StudyRow(Row):
    """A study: the one place that knows the patient's ID."""

    __tablename__ = "studies"
    __table_args__ = tuple(
        prefixed("studies", name) for name in ("study_instance_uid", "reversed_uid", "patient_id", "accession_number")
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
        *(prefixed("series", name) for name in ("series_instance_uid", "reversed_uid")),
        Index("ix_series_newest", "last_received_at", "series_instance_uid"),
        Index("ix_series_state_newest", "state", "last_received_at", "series_instance_uid"),
        Index("ix_series_with_instances", "state", "ended_at", **where(_MAY_HAVE_INSTANCES)),
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

    id: Mapped[int] = mapped_column(BIG, primary_key=True)
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


class ResentVersionRow(Row):
    """A version that came with other bytes than the one before it, and is not compared with it yet.

    ``begun`` counts how often the comparison was begun.
    """

    __tablename__ = "resent_versions"

    instance_id: Mapped[int] = mapped_column(BIG, ForeignKey("instances.id"), primary_key=True, autoincrement=False)
    series_instance_uid: Mapped[str] = mapped_column(ForeignKey("series.series_instance_uid"), index=True)
    begun: Mapped[int] = mapped_column(default=0)


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


class PerformedStepRow(Row):
    """A modality performed procedure step; ``state`` in the Standard's words."""

    __tablename__ = "performed_steps"
    __table_args__ = (Index("ix_performed_steps_begun_at", "begun_at"),)

    id: Mapped[int] = mapped_column(BIG, primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(unique=True)
    calling_ae_title: Mapped[str]
    state: Mapped[str]
    begun_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class PerformedSeriesRow(Row):
    """A series of a step, and the SOP Instance UIDs that the modality lists for it."""

    __tablename__ = "performed_series"
    __table_args__ = (UniqueConstraint("step_id", "series_instance_uid"),)

    id: Mapped[int] = mapped_column(BIG, primary_key=True)
    step_id: Mapped[int] = mapped_column(BIG, ForeignKey("performed_steps.id"))
    series_instance_uid: Mapped[str] = mapped_column(index=True)
    sop_instance_uids: Mapped[list[Any]]
