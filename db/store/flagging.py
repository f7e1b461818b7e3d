"""The alert of a study follows from what is in force of its series: one alert, however many of them are flagged."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from alerts.alert import (
    ALERT_TRANSITIONS,
    DECIDED,
    Alert,
    AlertEvent,
    AlertState,
    is_worse,
    pressing,
)
from analysis.findings import Findings
from db.rows import AlertRow, ResultRow, SeriesRow, StudyRow
from db.store.conversion import from_json, to_json
from db.store.messages import renew_messages, withdraw
from db.store.transitions import Note, record_event, transition
from db.values import FlaggedSeries

__all__ = ["UNDECIDED_YET", "flagged_series", "note_notice", "settle_alert", "supersede"]

UNDECIDED_YET: Mapping[str, None] = dict.fromkeys(("decided_at", "decided_by", "passed_to", "reason", "note", "judged"))
"""What a decision leaves in the row, as it was before any."""


def flagged_series(session: Session, study_instance_uid: str) -> tuple[FlaggedSeries, ...]:
    """The series of the study whose result in force is flagged, the most pressing first."""
    found = session.execute(
        select(ResultRow.series_instance_uid, ResultRow.id, ResultRow.alert).where(
            ResultRow.study_instance_uid == study_instance_uid,
            ResultRow.superseded_at.is_(None),
            ResultRow.alert.is_not(None),
        )
    )
    flagged = [
        FlaggedSeries(series_instance_uid=uid, result_id=number, alert=from_json(Alert, alert))
        for uid, number, alert in found
        if alert is not None
    ]
    return tuple(sorted(flagged, key=lambda one: (*pressing(one.alert), one.series_instance_uid)))


def settle_alert(session: Session, study_instance_uid: str, note: Note) -> tuple[AlertRow | None, bool]:
    """Raise, renew, reopen or supersede the study's alert by what is in force; the alert, and if it waits anew.

    The most pressing flagged series stands for the study. What a reader decided stays, unless the study shows more
    than he judged. Where nothing is flagged any more a dismissed alert stays dismissed, any other is superseded, and
    who was told of it is told so.
    """
    # whoever records another series of the study waits here: the second one sees what the first one flagged
    session.execute(
        select(StudyRow.study_instance_uid)
        .where(StudyRow.study_instance_uid == study_instance_uid)
        .with_for_update(key_share=True)
    )
    row = session.scalar(select(AlertRow).where(AlertRow.study_instance_uid == study_instance_uid).with_for_update())
    flagged = flagged_series(session, study_instance_uid)
    if not flagged:
        if row is not None and (AlertState(row.state), AlertEvent.SUPERSEDE) in ALERT_TRANSITIONS:
            supersede(session, row, note)
        return row, False
    if row is None:
        return _raise(session, study_instance_uid, flagged[0], note), True
    return row, _renew(session, row, flagged[0], note)


def supersede(session: Session, row: AlertRow, note: Note) -> None:
    """Nothing of the study is flagged any more; who was told of it is told so."""
    transition(session, row, AlertEvent.SUPERSEDE, note, updated_at=note.at)
    withdraw(session, row, note)


def note_notice(session: Session, row: AlertRow, note: Note) -> None:
    """A channel has told people of the case: NOTIFIED where it waited for that, an event in any case."""
    if (AlertState(row.state), AlertEvent.NOTIFY) in ALERT_TRANSITIONS:
        transition(session, row, AlertEvent.NOTIFY, note, updated_at=note.at)
    else:
        record_event(session, "alert", row.id, AlertEvent.NOTIFY.value, note, series=row.series_instance_uid)


def _raise(session: Session, study_instance_uid: str, leading: FlaggedSeries, note: Note) -> AlertRow:
    row = AlertRow(
        study_instance_uid=study_instance_uid,
        state=AlertState.OPEN.value,
        created_at=note.at,
        due_at=_due(leading.alert, note.at),
        **_content(session, leading, note),
    )
    session.add(row)
    session.flush()
    record_event(session, "alert", row.id, "raise", note, series=row.series_instance_uid, moved=(None, row.state))
    return row


def _renew(session: Session, row: AlertRow, leading: FlaggedSeries, note: Note) -> bool:
    """Whether it is open again."""
    state, known, alert = AlertState(row.state), from_json(Alert, row.alert), leading.alert
    told = from_json(Alert, row.judged) if state in DECIDED and row.judged is not None else known
    again = (state, AlertEvent.REOPEN) in ALERT_TRANSITIONS and (
        state is AlertState.SUPERSEDED or is_worse(alert, told)
    )
    if not again and row.result_id == leading.result_id:
        return False
    for name, value in _content(session, leading, note).items():
        setattr(row, name, value)
    renew_messages(session, row, note)
    if not again:
        row.due_at = min(row.due_at, _due(alert, note.at))
        session.flush()
        moved = (row.state, row.state)
        record_event(session, "alert", row.id, "renew", note, series=row.series_instance_uid, moved=moved)
        return False
    session.flush()
    waits_anew: dict[str, Any] = {"due_at": _due(alert, note.at), "opened_at": None}
    if state is AlertState.SUPERSEDED:
        waits_anew |= UNDECIDED_YET
    transition(session, row, AlertEvent.REOPEN, note, **waits_anew)  # else the earlier decision stays to be seen
    return True


def _due(alert: Alert, since: datetime) -> datetime:
    return since + alert.time_allowed


def _content(session: Session, leading: FlaggedSeries, note: Note) -> dict[str, Any]:
    """What the worklist finds an alert by, and what it shows: of the series that stands for the study."""
    alert = leading.alert
    findings = session.scalars(select(ResultRow.findings).where(ResultRow.id == leading.result_id)).one()
    measured = from_json(Findings, findings)
    series = session.execute(
        select(SeriesRow.calling_ae_title, SeriesRow.last_received_at).where(
            SeriesRow.series_instance_uid == leading.series_instance_uid
        )
    ).one()
    return {
        "series_instance_uid": leading.series_instance_uid,
        "result_id": leading.result_id,
        "alert": to_json(alert),
        "category": alert.category.value,
        "incidental": alert.incidental,
        "burden_percent": alert.burden_percent,
        "profile": measured.profile.value,
        "quality": measured.quality.level.value,
        "calling_ae_title": series.calling_ae_title,
        "received_at": series.last_received_at,
        "updated_at": note.at,
    }
