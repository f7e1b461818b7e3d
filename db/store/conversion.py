"""Between rows and values."""

from functools import cache
from math import isfinite
from typing import Any, TypeVar

from pydantic import TypeAdapter

from alerts.alert import Alert, AlertState
from alerts.artefact import Artefact, ArtefactKind, Reference
from alerts.delivery import DeliveryState, Occasion
from alerts.policy import Clause
from alerts.request import RequestContext
from analysis.findings import Findings, Profile
from analysis.series.verdicts import Screening
from db.actor import Actor, ActorKind
from db.feedback import DismissalReason
from db.job import Job, JobPriority, JobState
from db.outbound import StoredDelivery
from db.peer import Peer
from db.rows import (
    AlertRow,
    ArtefactRow,
    DeliveryRow,
    EventRow,
    InstanceRow,
    JobRow,
    PeerRow,
    ResultRow,
    SeriesRow,
    clean,
)
from db.series_state import SeriesState
from db.values import SeriesRecord, StoredAlert, StoredEvent, StoredInstance, StoredResult

_T = TypeVar("_T")


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def to_json(value: Any) -> dict[str, Any]:
    """A dataclass in JSON's terms."""
    return cleaned(_adapter(type(value)).dump_python(value, mode="json"))


def from_json(kind: type[_T], value: dict[str, Any]) -> _T:
    """The dataclass again."""
    return _adapter(kind).validate_python(value)


def cleaned(value: Any) -> Any:
    """JSON without what a database refuses: in text, and numbers that are not finite."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float) and not isfinite(value):
        return None  # JSON has no infinity, and PostgreSQL refuses it
    if isinstance(value, dict):
        return {clean(str(key)): cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(item) for item in value]
    return value


def job_of(row: JobRow) -> Job:
    """The job."""
    return Job(
        id=row.id,
        series_instance_uid=row.series_instance_uid,
        study_instance_uid=row.study_instance_uid,
        revision=row.revision,
        run=row.run,
        priority=JobPriority(row.priority),
        site=row.site,
        state=JobState(row.state),
        attempt=row.attempt,
        max_attempts=row.max_attempts,
        not_before=row.not_before,
        lease_expires_at=row.lease_expires_at,
        worker=row.worker,
        cause=row.cause,
        requested_by=row.requested_by,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def series_of(row: SeriesRow) -> SeriesRecord:
    """The series."""
    return SeriesRecord(
        series_instance_uid=row.series_instance_uid,
        study_instance_uid=row.study_instance_uid,
        state=SeriesState(row.state),
        revision=row.revision,
        modality=row.modality,
        series_description=row.series_description,
        frame_of_reference_uid=row.frame_of_reference_uid,
        calling_ae_title=row.calling_ae_title,
        instance_count=row.instance_count,
        profile=Profile(row.profile) if row.profile else None,
        reason=row.reason,
        first_received_at=row.first_received_at,
        last_received_at=row.last_received_at,
        completed_at=row.completed_at,
        instances_removed_at=row.instances_removed_at,
    )


def instance_of(row: InstanceRow) -> StoredInstance:
    """The version of an instance."""
    return StoredInstance(
        id=row.id,
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        transfer_syntax_uid=row.transfer_syntax_uid,
        series_instance_uid=row.series_instance_uid,
        path=row.path,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        received_at=row.received_at,
        removed_at=row.removed_at,
        uid_warning=row.uid_warning,
    )


def result_of(row: ResultRow) -> StoredResult:
    """The result."""
    return StoredResult(
        id=row.id,
        job_id=row.job_id,
        series_instance_uid=row.series_instance_uid,
        study_instance_uid=row.study_instance_uid,
        revision=row.revision,
        findings=from_json(Findings, row.findings),
        screening=from_json(Screening, row.screening),
        explanation=row.explanation,
        alert=None if row.alert is None else from_json(Alert, row.alert),
        clauses=tuple(from_json(Clause, one) for one in row.clauses or ()),
        request=None if row.request is None else from_json(RequestContext, row.request),
        artefacts=tuple(artefact_of(one) for one in row.artefacts),
        seconds=row.seconds,
        created_at=row.created_at,
        superseded_at=row.superseded_at,
    )


def artefact_of(row: ArtefactRow) -> Artefact:
    """The artefact."""
    return Artefact(
        kind=ArtefactKind(row.kind),
        name=row.name,
        media_type=row.media_type,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        path=row.path,
        sop_class_uid=row.sop_class_uid,
        sop_instance_uid=row.sop_instance_uid,
    )


def alert_of(row: AlertRow) -> StoredAlert:
    """The alert."""
    return StoredAlert(
        id=row.id,
        state=AlertState(row.state),
        study_instance_uid=row.study_instance_uid,
        series_instance_uid=row.series_instance_uid,
        alert=from_json(Alert, row.alert),
        judged=None if row.judged is None else from_json(Alert, row.judged),
        result_id=row.result_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
        due_at=row.due_at,
        opened_at=row.opened_at,
        decided_at=row.decided_at,
        decided_by=row.decided_by,
        passed_to=row.passed_to,
        reason=DismissalReason(row.reason) if row.reason else None,
        note=row.note,
    )


def delivery_of(row: DeliveryRow) -> StoredDelivery:
    """The delivery."""
    return StoredDelivery(
        id=row.id,
        result_id=row.result_id,
        series_instance_uid=row.series_instance_uid,
        artefact=None if row.artefact is None else artefact_of(row.artefact),
        alert_id=row.alert_id,
        occasion=None if row.occasion is None else Occasion(row.occasion),
        destination=row.destination,
        state=DeliveryState(row.state),
        attempt=row.attempt,
        max_attempts=row.max_attempts,
        not_before=row.not_before,
        cause=row.cause,
        created_at=row.created_at,
        sent_at=row.sent_at,
        sent_as=None if row.sent_as is None else from_json(Reference, row.sent_as),
    )


def event_of(row: EventRow) -> StoredEvent:
    """The event."""
    return StoredEvent(
        id=row.id,
        at=row.at,
        subject_kind=row.subject_kind,
        subject_id=row.subject_id,
        series_instance_uid=row.series_instance_uid,
        event=row.event,
        from_state=row.from_state,
        to_state=row.to_state,
        actor=Actor(kind=ActorKind(row.actor_kind), name=row.actor_name),
        detail=row.detail,
    )


def peer_of(row: PeerRow) -> Peer:
    """The peer."""
    return Peer(
        ae_title=row.ae_title,
        called_ae_title=row.called_ae_title or None,
        cidr=row.cidr or None,
        host=row.host,
        port=row.port,
        role=row.role,
    )
