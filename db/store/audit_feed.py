"""What is to be told to an audit record repository: the audit trail, and images and results that came and went."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from alerts.delivery import DeliveryEvent
from db.account_rows import AuditRow
from db.rows import AlertRow, AuditForwardRow, DeliveryRow, EventRow, SeriesRow, StudyRow
from db.series_state import SeriesEvent
from db.store.feedback import OPENED
from db.store.room import Room

__all__ = ["AuditFeed", "AuditItem", "Stream"]

AT_ONCE = 200
SETTLED_AFTER = timedelta(seconds=30)
"""A row that is younger waits: one with a smaller number may not be committed yet. No transaction takes so long."""
RECEIVED, SENT, SEEN = "series received", "object sent", "opened"
_TRANSFERS = {
    ("series", SeriesEvent.COMPLETE.value): RECEIVED,
    ("delivery", DeliveryEvent.CONFIRM.value): SENT,
    ("alert", OPENED): SEEN,
}


class Stream(StrEnum):
    """Where items come from; each is told in its order."""

    TRAIL = "trail"
    TRANSFERS = "transfers"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditItem:
    """Who did what to what; the study and the patient it concerned, where it concerned any.

    ``who`` is a user of the trail; of a transfer it is the AE title or destination at the other end.
    """

    at: datetime
    who: str
    action: str
    subject: str = ""
    address: str = ""
    detail: str = ""
    study_instance_uid: str | None = None
    patient_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFeed(Room):
    """Remembers how far each stream was told, so that neither a stop nor a server that is away loses anything."""

    def begin(self) -> None:
        """Where nothing was ever told: begin with what happens from now on."""
        with self.database.write() as session:
            for stream, table in ((Stream.TRAIL, AuditRow), (Stream.TRANSFERS, EventRow)):
                if session.get(AuditForwardRow, stream.value) is None:
                    last = session.scalar(select(func.max(table.id))) or 0
                    session.add(AuditForwardRow(stream=stream.value, last_id=last))

    def next(self, stream: Stream) -> tuple[tuple[AuditItem, ...], int]:
        """The next items of the stream, and the number to give to `told` once they were."""
        before = self.clock() - SETTLED_AFTER
        with self.database.read() as session:
            told = session.get(AuditForwardRow, stream.value)
            last = 0 if told is None else told.last_id
            return _trail(session, last, before) if stream is Stream.TRAIL else _transfers(session, last, before)

    def told(self, stream: Stream, last_id: int) -> bool:
        """Everything of the stream up to this number was told; whether that is more than before."""
        with self.database.read() as session:  # no write lock is taken where there is nothing to write
            known = session.get(AuditForwardRow, stream.value)
            if last_id <= (0 if known is None else known.last_id):
                return False
        with self.database.write() as session:
            row = session.get(AuditForwardRow, stream.value, with_for_update=True)
            if row is None:
                session.add(AuditForwardRow(stream=stream.value, last_id=last_id))
            else:
                row.last_id = max(row.last_id, last_id)
        return True


def _trail(session: Session, last: int, before: datetime) -> tuple[tuple[AuditItem, ...], int]:
    rows = session.scalars(select(AuditRow).where(AuditRow.id > last).order_by(AuditRow.id).limit(AT_ONCE))
    items: list[AuditItem] = []
    for row in rows:
        if row.at > before:
            break
        study = _study_of(session, row.subject)
        items.append(
            AuditItem(
                at=row.at,
                who=row.who,
                action=row.action,
                subject=row.subject,
                address=row.address,
                detail=row.detail,
                study_instance_uid=None if study is None else study.study_instance_uid,
                patient_id=None if study is None else study.patient_id,
            )
        )
        last = row.id
    return tuple(items), last


def _study_of(session: Session, subject: str) -> StudyRow | None:
    """The study that a subject of the trail, such as ``alert 12``, is of."""
    kind, _, key = subject.partition(" ")
    if kind == "alert" and key.isdecimal():
        alert = session.get(AlertRow, int(key))
        return None if alert is None else session.get(StudyRow, alert.study_instance_uid)
    if kind == "series" and (series := session.get(SeriesRow, key)) is not None:
        return session.get(StudyRow, series.study_instance_uid)
    return session.get(StudyRow, key) if kind == "study" else None


def _transfers(session: Session, last: int, before: datetime) -> tuple[tuple[AuditItem, ...], int]:
    events = session.scalars(select(EventRow).where(EventRow.id > last).order_by(EventRow.id).limit(AT_ONCE))
    items: list[AuditItem] = []
    for event in events:
        if event.at > before:
            break
        last = event.id
        if (item := _transfer(session, event)) is not None:
            items.append(item)
    return tuple(items), last


def _transfer(session: Session, event: EventRow) -> AuditItem | None:
    """What the event tells of images or results that came, went or were looked at; None where it tells of none."""
    series = None
    if (event.subject_kind, event.event) in _TRANSFERS:
        series = session.get(SeriesRow, event.series_instance_uid)
    study = None if series is None else session.get(StudyRow, series.study_instance_uid)
    if series is None or study is None:
        return None
    action = _TRANSFERS[event.subject_kind, event.event]
    if action == RECEIVED:
        who = series.calling_ae_title
    elif action == SEEN:
        who = event.actor_name
    else:
        delivery = session.get(DeliveryRow, int(event.subject_id))
        who = "" if delivery is None else delivery.destination
    return AuditItem(
        at=event.at,
        who=who,
        action=action,
        subject=f"series {series.series_instance_uid}",
        study_instance_uid=study.study_instance_uid,
        patient_id=study.patient_id,
    )
