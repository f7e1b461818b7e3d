"""What a job ends with: one transaction for the result, the alert, the deliveries and the states that follow."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from alerts.alert import Alert, AlertEvent, AlertState
from alerts.delivery import Delivery, DeliveryEvent, DeliveryState
from alerts.policy import PolicyDecision
from analysis.findings import Findings
from analysis.series.verdicts import Screening
from db.engine import Database
from db.job import Job, JobEvent
from db.rows import AlertRow, DeliveryRow, ResultRow, StudyRow
from db.series_state import SeriesEvent
from db.store.intake import exclude_row, series_at, supersede_alert
from db.store.jobs import claimed
from db.store.records import all_of, result_of, to_json
from db.store.transitions import Note, record_event, transition
from db.values import RecordedResult, StoredResult

MAX_DELIVERY_ATTEMPTS = 12
"""With back-off doubling from seconds to its cap, about a day of a destination that does not answer."""


class Report(Protocol):
    """A report that has been written; what ``alerts.reports`` returns, without importing what writes it."""

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID of the report."""
        ...

    @property
    def sop_class_uid(self) -> str:
        """SOP Class UID of the report."""
        ...

    @property
    def sha256(self) -> str:
        """SHA-256 of the file, hexadecimal."""
        ...


class Results:
    """Results and the end of the jobs that made them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(
        self,
        job: Job,
        worker: str,
        *,
        findings: Findings,
        screening: Screening,
        decision: PolicyDecision,
        report: Report,
        report_path: str,
        pictures: Sequence[str],
        deliveries: Sequence[Delivery],
        seconds: Mapping[str, float],
    ) -> RecordedResult:
        """Everything that a job made, all or nothing: it supersedes the series' older result and its alert is upserted.

        ``report_path`` and ``pictures`` are relative to the folder of results. An alert that a reader has acknowledged
        or dismissed stays so while results meet the policy; one that was superseded opens again.

        Raises:
            StaleState: the job is not this worker's any more, or the series has moved on. Nothing is recorded.
        """
        now = datetime.now(UTC)
        note = Note(at=now, actor=worker)
        with self._database.write() as session:
            job_row = claimed(session, job.id, worker, attempt=job.attempt)
            series = series_at(session, job.series_instance_uid, job.revision)
            transition(session, job_row, JobEvent.SUCCEED, note, finished_at=now, lease_expires_at=None, cause=None)
            transition(
                session,
                series,
                SeriesEvent.ANALYSE,
                note,
                screening=to_json(screening),
                profile=findings.profile.value,
                reason=None,
                ended_at=now,
            )
            superseded = session.scalar(
                select(ResultRow).where(
                    ResultRow.series_instance_uid == job.series_instance_uid, ResultRow.superseded_at.is_(None)
                )
            )
            if superseded is not None:
                superseded.superseded_at = now
                session.flush()
                _withdraw_deliveries(session, superseded, note)
            row = ResultRow(
                job_id=job.id,
                series_instance_uid=job.series_instance_uid,
                study_instance_uid=job.study_instance_uid,
                revision=job.revision,
                model_version=findings.provenance.model_version,
                burden_percent=findings.burden_percent,
                findings=to_json(findings),
                screening=to_json(screening),
                explanation=decision.explanation,
                report_path=report_path,
                report_sop_instance_uid=report.sop_instance_uid,
                report_sop_class_uid=report.sop_class_uid,
                report_sha256=report.sha256,
                picture_paths=list(pictures),
                seconds=dict(seconds),
                created_at=now,
            )
            session.add(row)
            session.flush()
            alert_id = _upsert_alert(session, decision.alert, row, note)
            rows = [_delivery_row(delivery, row, note) for delivery in deliveries]
            session.add_all(rows)
            session.flush()
            return RecordedResult(
                result_id=row.id,
                alert_id=alert_id,
                superseded_id=superseded.id if superseded is not None else None,
                delivery_ids=tuple(delivery.id for delivery in rows),
            )

    def record_exclusion(self, job: Job, worker: str, screening: Screening, seconds: Mapping[str, float]) -> None:
        """The pixels excluded the series; the job has succeeded in finding that out.

        Raises:
            StaleState: the job is not this worker's any more, or the series has moved on.
        """
        now = datetime.now(UTC)
        spent = ", ".join(f"{step} {value:.1f} s" for step, value in seconds.items())
        reason = screening.reason or "not eligible"
        with self._database.write() as session:
            row = claimed(session, job.id, worker, attempt=job.attempt)
            series = series_at(session, job.series_instance_uid, job.revision)
            note = Note(at=now, actor=worker, detail=spent or None)
            transition(session, row, JobEvent.SUCCEED, note, finished_at=now, lease_expires_at=None, cause=None)
            exclude_row(session, series, screening, reason, Note(at=now, actor=worker, detail=reason))

    def latest(self, series_instance_uid: str) -> StoredResult | None:
        """The result in force of a series; None where there is none."""
        with self._database.read() as session:
            row = session.scalar(
                select(ResultRow).where(
                    ResultRow.series_instance_uid == series_instance_uid, ResultRow.superseded_at.is_(None)
                )
            )
            return None if row is None else result_of(row)

    def history(self, series_instance_uid: str) -> tuple[StoredResult, ...]:
        """The results in force of all examinations of the patient of this series, by study date, the oldest first.

        A study without a Patient ID has no history but its own.
        """
        with self._database.read() as session:
            own = session.scalar(
                select(StudyRow)
                .join(ResultRow, ResultRow.study_instance_uid == StudyRow.study_instance_uid)
                .where(ResultRow.series_instance_uid == series_instance_uid)
                .limit(1)
            )
            if own is None:
                return ()
            same = StudyRow.patient_id == own.patient_id if own.patient_id else (
                StudyRow.study_instance_uid == own.study_instance_uid
            )  # fmt: skip
            rows = session.scalars(
                select(ResultRow)
                .join(StudyRow, ResultRow.study_instance_uid == StudyRow.study_instance_uid)
                .where(same, ResultRow.superseded_at.is_(None))
                .order_by(StudyRow.study_date, ResultRow.id)
            )
            return all_of(rows, result_of)


def _upsert_alert(session: Session, alert: Alert | None, result: ResultRow, note: Note) -> int | None:
    """The one alert of the series after this result."""
    row = session.scalar(select(AlertRow).where(AlertRow.series_instance_uid == result.series_instance_uid))
    if alert is None:
        supersede_alert(session, result.series_instance_uid, note)
        return None
    if row is None:
        row = AlertRow(
            series_instance_uid=result.series_instance_uid,
            result_id=result.id,
            state=AlertState.OPEN.value,
            alert=to_json(alert),
            created_at=note.at,
            updated_at=note.at,
        )
        session.add(row)
        session.flush()
        record_event(
            session, "alert", row.id, "raise", note, series=row.series_instance_uid, moved=(None, row.state)
        )  # fmt: skip
        return row.id
    if row.state == AlertState.SUPERSEDED.value:
        transition(session, row, AlertEvent.REOPEN, note)
    row.alert, row.result_id, row.updated_at = to_json(alert), result.id, note.at
    return row.id


def _withdraw_deliveries(session: Session, superseded: ResultRow, note: Note) -> None:
    """What has not been sent of an older result is not sent any more."""
    pending = select(DeliveryRow).where(
        DeliveryRow.result_id == superseded.id, DeliveryRow.state == DeliveryState.PENDING.value
    )
    for row in session.scalars(pending).all():
        transition(session, row, DeliveryEvent.CANCEL, note)


def _delivery_row(delivery: Delivery, result: ResultRow, note: Note) -> DeliveryRow:
    return DeliveryRow(
        **asdict(delivery) | {"kind": str(delivery.kind), "path": Path(delivery.path).as_posix()},
        result_id=result.id,
        series_instance_uid=result.series_instance_uid,
        state=DeliveryState.PENDING.value,
        attempt=0,
        max_attempts=MAX_DELIVERY_ATTEMPTS,
        not_before=note.at,
        created_at=note.at,
    )
