"""What travels in and out of the store: frozen values, no rows. Times are aware and in UTC, lengths in mm."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from alerts.alert import Alert, AlertState
from alerts.artefact import Artefact, ArtefactKind
from alerts.policy import Clause
from alerts.request import RequestContext
from analysis.findings import Findings, Profile
from analysis.series.verdicts import Screening
from db.actor import Actor
from db.feedback import DismissalReason
from db.series_state import SeriesState


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedInstance:
    """An instance that lies durably in the archive; ``path`` is POSIX and relative to the archive's folder.

    ``header`` is small and holds nothing about the patient. Of its entries the store reads ``slice_position_mm``
    (along the normal), ``frame_of_reference_uid``, ``series_description``, ``study_description``, ``study_date``
    and ``accession_number``.
    """

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    study_instance_uid: str
    series_instance_uid: str
    patient_id: str
    modality: str
    path: str
    size_bytes: int
    sha256: str
    calling_ae_title: str
    called_ae_title: str
    address: str
    association_id: str | None
    received_at: datetime
    header: Mapping[str, Any]
    uid_warning: bool = False
    issuer_of_patient_id: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""

    def __post_init__(self) -> None:
        if self.received_at.tzinfo is None:
            raise ValueError("received_at needs a time zone")
        if not (self.sop_instance_uid and self.series_instance_uid and self.study_instance_uid and self.path):
            raise ValueError("an instance needs its three UIDs and its path")


class RecordedKind(StrEnum):
    """What an instance was to the store."""

    NEW = "new"
    DUPLICATE = "duplicate"
    NEW_VERSION = "new_version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What became of an instance: its kind, its row, and the revision that its series has now."""

    kind: RecordedKind
    instance_id: int
    series_instance_uid: str
    revision: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInstance:
    """One version of an instance in the archive; ``removed_at`` is when retention took its file."""

    id: int
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    series_instance_uid: str
    path: str
    size_bytes: int
    sha256: str
    received_at: datetime
    removed_at: datetime | None
    uid_warning: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationRecord:
    """An association that brings instances, and the receiver that holds it."""

    association_id: str
    receiver_id: str
    calling_ae_title: str
    called_ae_title: str
    address: str
    opened_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesEvidence:
    """What tells whether a series being received is complete; ``instance_count`` counts what is on disk.

    ``open_associations`` counts those that brought something of the study and are not closed.
    ``announced_instances`` counts what the modality lists in performed procedure steps that have ended (None: it lists
    nothing), ``announced_missing`` those of them that have not come. ``removed_instances`` are those that retention
    removed and that did not come again.
    """

    series_instance_uid: str
    study_instance_uid: str
    revision: int
    modality: str
    instance_count: int
    last_received_at: datetime
    open_associations: int
    announced_instances: int | None = None
    announced_missing: int = 0
    removed_instances: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What has come of a series: positions in mm along the normal, ascending, each instance on disk once.

    Of ``unplaced`` instances no position is known. ``broken_off``: the last association that brought something of it
    ended without being released.
    """

    slice_positions: tuple[float, ...]
    unplaced: int = 0
    broken_off: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRecord:
    """A series and what became of it; ``reason`` says why it is excluded or failed.

    ``calling_ae_title`` is who sent its first instance.
    """

    series_instance_uid: str
    study_instance_uid: str
    state: SeriesState
    revision: int
    modality: str
    series_description: str
    frame_of_reference_uid: str | None
    calling_ae_title: str
    instance_count: int
    profile: Profile | None
    reason: str | None
    first_received_at: datetime
    last_received_at: datetime
    completed_at: datetime | None
    instances_removed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteSeries:
    """A series that waits for screening, which was begun ``screenings`` times; what is missing of it as far as known.

    ``incomplete``: some of its instances were removed by retention, and did not come again.
    """

    series_instance_uid: str
    study_instance_uid: str
    revision: int
    modality: str
    completed_at: datetime
    screenings: int
    lacking: str | None
    incomplete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A reconstruction, at a revision, that gives way to a better one; ``screening`` says why."""

    series_instance_uid: str
    revision: int
    screening: Screening


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRecord:
    """A study. ``patient_id`` and ``accession_number`` are identifying: for a person who asked, never for a log."""

    study_instance_uid: str
    patient_id: str
    accession_number: str
    study_date: str
    study_description: str
    modalities: tuple[str, ...]
    series_count: int
    first_received_at: datetime
    last_received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedResult:
    """The rows that one result made; ``alert_id`` where the study has an alert, ``superseded_id`` the older result."""

    result_id: int
    alert_id: int | None
    superseded_id: int | None
    delivery_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResult:
    """A result and its files. Superseded by a newer one or not.

    Of results of before 0.2 the ``clauses`` of the policy and the ``request`` were not kept.
    """

    id: int
    job_id: int
    series_instance_uid: str
    study_instance_uid: str
    revision: int
    findings: Findings
    screening: Screening
    explanation: str
    alert: Alert | None
    clauses: tuple[Clause, ...]
    request: RequestContext | None
    artefacts: tuple[Artefact, ...]
    seconds: Mapping[str, float]
    created_at: datetime
    superseded_at: datetime | None

    @property
    def report(self) -> Artefact:
        """The structured report."""
        return next(one for one in self.artefacts if one.kind is ArtefactKind.SR)

    @property
    def pictures(self) -> tuple[Artefact, ...]:
        """The pictures, in the order in which they were made."""
        return tuple(one for one in self.artefacts if one.kind is ArtefactKind.PICTURE)


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierResult:
    """The result in force of an earlier examination of the same patient; ``study_date`` is that of its study (DA)."""

    study_date: str
    result: StoredResult


@dataclass(frozen=True, slots=True, kw_only=True)
class FlaggedSeries:
    """A series of a flagged study whose result in force is flagged, and why."""

    series_instance_uid: str
    result_id: int
    alert: Alert


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAlert:
    """The alert of a study (there is at most one) and what a reader made of it.

    ``series_instance_uid``, ``alert`` and ``result_id`` are of the series that stands for the study: the most pressing
    one. ``judged`` is the alert as it was when a reader last decided; where it is open again, the study shows more.
    ``due_at`` is when somebody has to have looked at it, ``opened_at`` when somebody did.
    """

    id: int
    study_instance_uid: str
    series_instance_uid: str
    state: AlertState
    alert: Alert
    judged: Alert | None
    result_id: int
    created_at: datetime
    updated_at: datetime
    due_at: datetime
    opened_at: datetime | None
    decided_at: datetime | None
    decided_by: str | None
    passed_to: str | None
    reason: DismissalReason | None
    note: str | None

    @property
    def seen(self) -> "SeenAlert":
        """What somebody who looks at it decides upon."""
        return SeenAlert(state=self.state, result_id=self.result_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenAlert:
    """An alert as it was in front of somebody: its state and its result."""

    state: AlertState
    result_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """Something that happened, in the transaction that made it so."""

    id: int
    at: datetime
    subject_kind: str
    subject_id: str
    series_instance_uid: str | None
    event: str
    from_state: str | None
    to_state: str | None
    actor: Actor
    detail: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequeueFilter:
    """Which series to run again; what is given narrows. ``failed``: only those whose series failed.

    ``since``: received since. ``model_version`` and ``not_model_version``: whose result in force was made by that
    version, or by another one (a series without a result is neither); ``NAME@VERSION`` names the model as well.
    """

    study: str | None = None
    series: str | None = None
    patient: str | None = None
    failed: bool = False
    since: datetime | None = None
    model_version: str | None = None
    not_model_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequeueCandidate:
    """A series that the filter chose; ``refusal`` says why it cannot run again, None that it can."""

    series_instance_uid: str
    revision: int
    refusal: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingUnit:
    """Something that a sweep of the scheduler looks at and fails at, how often, since when, and why the last time."""

    sweep: str
    unit: str
    cause: str
    failures: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """A process of the node, by role and machine, and when it last said that it lives."""

    role: str
    host: str
    pid: int
    started_at: datetime
    beat_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How the node stands; counts by state, every state listed."""

    series: dict[str, int]
    jobs: dict[str, int]
    alerts: dict[str, int]
    deliveries: dict[str, int]
    commitments: dict[str, int]
    open_associations: int
    dead_letters: int
    oldest_queued_at: datetime | None
    last_received_at: datetime | None
