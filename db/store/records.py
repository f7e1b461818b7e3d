"""From rows to the values that leave the store, and between dataclasses and JSON."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import TypeAdapter

from alerts.alert import Alert, AlertState
from alerts.delivery import DeliveryState
from analysis.findings import Findings, Profile
from analysis.series.verdicts import Screening
from db.job import Job, JobState
from db.rows import AlertRow, DeliveryRow, EventRow, InstanceRow, JobRow, PeerRow, RefusalRow, ResultRow, SeriesRow
from db.series_state import SeriesState
from db.values import (
    Peer,
    RefusedAssociation,
    SeriesRecord,
    StoredAlert,
    StoredDelivery,
    StoredEvent,
    StoredInstance,
    StoredResult,
)

_Value = TypeVar("_Value")
_Row = TypeVar("_Row")


@lru_cache(maxsize=8)
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def to_json(value: Any) -> dict[str, Any]:
    """A value dataclass as the JSON object that a column holds."""
    return _adapter(type(value)).dump_python(value, mode="json")


def from_json(kind: type[_Value], stored: Any) -> _Value:
    """The value dataclass of a column's JSON object."""
    return _adapter(kind).validate_python(stored)


def _copied(row: Any, names: tuple[str, ...], **converted: Any) -> dict[str, Any]:
    """The row's columns of these names, with those that need it converted."""
    return {name: getattr(row, name) for name in names} | converted


_JOB = tuple(Job.__dataclass_fields__)
_INSTANCE = tuple(StoredInstance.__dataclass_fields__)
_SERIES = tuple(SeriesRecord.__dataclass_fields__)
_RESULT = tuple(StoredResult.__dataclass_fields__)
_ALERT = tuple(StoredAlert.__dataclass_fields__)
_DELIVERY = tuple(StoredDelivery.__dataclass_fields__)
_EVENT = tuple(StoredEvent.__dataclass_fields__)
_REFUSAL = tuple(RefusedAssociation.__dataclass_fields__)


def job_of(row: JobRow) -> Job:
    """The job of a row."""
    return Job(**_copied(row, _JOB, state=JobState(row.state)))


def instance_of(row: InstanceRow) -> StoredInstance:
    """The instance of a row."""
    return StoredInstance(**_copied(row, _INSTANCE))


def series_of(row: SeriesRow) -> SeriesRecord:
    """The series of a row."""
    profile = Profile(row.profile) if row.profile else None
    return SeriesRecord(**_copied(row, _SERIES, state=SeriesState(row.state), profile=profile))


def result_of(row: ResultRow) -> StoredResult:
    """The result of a row."""
    return StoredResult(
        **_copied(
            row,
            _RESULT,
            findings=from_json(Findings, row.findings),
            screening=from_json(Screening, row.screening),
            picture_paths=tuple(row.picture_paths),
        )
    )


def alert_of(row: AlertRow) -> StoredAlert:
    """The alert of a row."""
    return StoredAlert(**_copied(row, _ALERT, state=AlertState(row.state), alert=from_json(Alert, row.alert)))


def delivery_of(row: DeliveryRow) -> StoredDelivery:
    """The delivery of a row."""
    return StoredDelivery(**_copied(row, _DELIVERY, state=DeliveryState(row.state)))


def event_of(row: EventRow) -> StoredEvent:
    """The event of a row."""
    return StoredEvent(**_copied(row, _EVENT))


def refusal_of(row: RefusalRow) -> RefusedAssociation:
    """The refusal of a row."""
    return RefusedAssociation(**_copied(row, _REFUSAL))


def peer_of(row: PeerRow) -> Peer:
    """The peer of a row."""
    return Peer(
        ae_title=row.ae_title,
        called_ae_title=row.called_ae_title or None,
        cidr=row.cidr or None,
        host=row.host,
        port=row.port,
        role=row.role,
    )


def all_of(rows: Any, convert: Callable[[_Row], _Value]) -> tuple[_Value, ...]:
    """Every row converted."""
    return tuple(convert(row) for row in rows)
