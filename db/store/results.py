"""Results: one transaction for everything that an analysis brings about, so that no crash can lose an alert."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from alerts.artefact import Artefact
from alerts.delivery import Delivery, Occasion
from alerts.policy import PolicyDecision
from analysis.findings import Findings
from analysis.series.verdicts import Screening
from db.actor import Actor
from db.errors import StaleState
from db.job import Job, JobEvent
from db.rows import ArtefactRow, JobRow, ResultRow, SeriesRow
from db.series_state import SeriesEvent, SeriesState
from db.store.conversion import result_of, to_json
from db.store.demographics import contradict, of_patient
from db.store.flagging import settle_alert
from db.store.jobs import owned
from db.store.messages import queue_messages
from db.store.queueing import DELIVERY_ATTEMPTS, cancel_deliveries, queue_deliveries
from db.store.room import Room
from db.store.succession import exclude, fall_back, is_whole, locked_with_rejected, succeed
from db.store.superseding import supersede_result
from db.store.transitions import Note, record_event, transition
from db.values import EarlierResult, RecordedResult, StoredResult

__all__ = ["Results"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Results(Room):
    """What analyses found."""

    def record(
        self,
        job: Job,
        worker: str,
        *,
        findings: Findings,
        screening: Screening,
        decision: PolicyDecision,
        artefacts: Sequence[Artefact],
        deliveries: Sequence[Delivery] = (),
        delivery_attempts: int = DELIVERY_ATTEMPTS,
        tell: Sequence[str] = (),
        seconds: Mapping[str, float],
    ) -> RecordedResult:
        """Job succeeded, series ANALYSED, result, alert, deliveries, events, what it supersedes: all or none.

        Superseded are the series' older result, and those of the reconstructions that were rejected for this one.

        The ``artefacts``, one of which is the report, lie durably in the folder of results; ``deliveries`` name those
        of them that are to be sent. An object that its destination has confirmed is not queued again, and one that is
        on its way goes on as this result's. The alert of the study follows from what is in force then (``flagging``):
        where it is raised or opened again the destinations ``tell`` are sent a message.

        Raises:
            StaleState: the job is not this worker's attempt any more, or the series has a newer revision. The refusal
                is recorded as an event, nothing else is.
        """
        note = Note(at=self.clock(), actor=Actor.process(worker))
        try:
            with self.database.write() as session:
                series, row, rejected = self._ending(session, job, worker)
                older = supersede_result(session, job.series_instance_uid, note)
                result = ResultRow(
                    job_id=job.id,
                    series_instance_uid=job.series_instance_uid,
                    study_instance_uid=job.study_instance_uid,
                    revision=job.revision,
                    model_name=findings.provenance.model_name,
                    model_version=findings.provenance.model_version,
                    burden_percent=findings.burden_percent,
                    findings=to_json(findings),
                    screening=to_json(screening),
                    explanation=decision.explanation,
                    alert=None if decision.alert is None else to_json(decision.alert),
                    clauses=[to_json(clause) for clause in decision.clauses],
                    request=to_json(decision.request),
                    artefacts=[_artefact_row(one, note) for one in artefacts],
                    seconds=dict(seconds),
                    created_at=note.at,
                )
                session.add(result)
                session.flush()
                record_event(session, "result", result.id, "record", note, series=job.series_instance_uid)
                delivery_ids = queue_deliveries(session, result, deliveries, note, attempts=delivery_attempts)
                if older is not None:
                    cancel_deliveries(session, older, note)
                _end_job(session, row, note, kept=True)
                _end_series(session, series, screening, note)
                succeed(session, rejected.values(), note)
                alert, waits_anew = settle_alert(session, series.study_instance_uid, note)
                if alert is not None and waits_anew:
                    queue_messages(session, alert, Occasion.FLAGGED, tell, note, attempts=delivery_attempts)
                return RecordedResult(
                    result_id=result.id,
                    alert_id=None if alert is None else alert.id,
                    superseded_id=older,
                    delivery_ids=delivery_ids,
                )
        except StaleState as stale:
            self._refuse(job, worker, stale)
            raise

    def record_exclusion(self, job: Job, worker: str, screening: Screening, seconds: Mapping[str, float]) -> None:
        """Job succeeded, series EXCLUDED with its reason; what is in force ends if the revision is whole. All or none.

        Raises:
            StaleState: as ``record``.
        """
        reason = screening.reason or "not eligible"
        spent = f"{reason} ({sum(seconds.values()):.1f} s)"
        note = Note(at=self.clock(), actor=Actor.process(worker), detail=spent)
        try:
            with self.database.write() as session:
                series, row, rejected = self._ending(session, job, worker)
                _end_job(session, row, note)
                exclude(session, series, screening, note, retires=is_whole(series))
                fall_back(session, series, rejected.values(), note)
        except StaleState as stale:
            self._refuse(job, worker, stale)
            raise

    def latest(self, series_instance_uid: str) -> StoredResult | None:
        """The result in force."""
        with self.database.read() as session:
            row = session.scalar(
                select(ResultRow).where(
                    ResultRow.series_instance_uid == series_instance_uid, ResultRow.superseded_at.is_(None)
                )
            )
            return None if row is None else result_of(row)

    def get(self, result_id: int) -> StoredResult | None:
        """The result, in force or not, if there is one."""
        with self.database.read() as session:
            row = session.get(ResultRow, result_id)
            return None if row is None else result_of(row)

    def history(self, series_instance_uid: str) -> tuple[StoredResult, ...]:
        """Every result of the series, superseded ones included, the newest first."""
        with self.database.read() as session:
            rows = session.scalars(
                select(ResultRow)
                .where(ResultRow.series_instance_uid == series_instance_uid)
                .order_by(ResultRow.id.desc())
            )
            return tuple(result_of(row) for row in rows)

    def earlier(self, series_instance_uid: str) -> tuple[EarlierResult, ...]:
        """The results in force of the same patient's studies of an earlier date, the latest examination first.

        Patient is who has the same Patient ID of the same issuer; without one, or without a date of the study, nobody
        knows, and there are none. Where birth dates or sexes contradict each other there are none either: see
        ``not_compared``. The same examination in another study (of the same date) is no earlier one.
        """
        with self.database.read() as session:
            studies = of_patient(session, series_instance_uid)
            if contradict(studies):
                return ()
            before = {one.study_instance_uid: one.study_date for one in studies[1:]}
            found = session.scalars(
                select(ResultRow)
                .join(SeriesRow, SeriesRow.series_instance_uid == ResultRow.series_instance_uid)
                .where(SeriesRow.study_instance_uid.in_(before), ResultRow.superseded_at.is_(None))
                .order_by(ResultRow.id.desc())
            ).all()
            dated = [EarlierResult(study_date=before[row.study_instance_uid], result=result_of(row)) for row in found]
            return tuple(sorted(dated, key=lambda one: one.study_date, reverse=True))

    def not_compared(self, series_instance_uid: str) -> str | None:
        """Why the earlier examinations of the patient are not compared, as a sentence; else None."""
        with self.database.read() as session:
            if contradict(of_patient(session, series_instance_uid)):
                return "Not compared over time: examinations under this Patient ID differ in birth date or sex."
            return None

    @staticmethod
    def _ending(session: Session, job: Job, worker: str) -> tuple[SeriesRow, JobRow, dict[str, SeriesRow]]:
        series, rejected = locked_with_rejected(session, job.series_instance_uid)
        row = owned(session, job, worker)
        if series.revision != row.revision or series.state != SeriesState.QUEUED:
            raise StaleState(f"Job {job.id} is of revision {row.revision}; the series is at {series.revision}.")
        return series, row, rejected

    def _refuse(self, job: Job, worker: str, stale: StaleState) -> None:
        with self.database.write() as session:
            note = Note(at=self.clock(), actor=Actor.process(worker), detail=str(stale))
            record_event(session, "job", job.id, "result_refused", note, series=job.series_instance_uid)


def _end_job(session: Session, job: JobRow, note: Note, *, kept: bool = False) -> None:
    transition(session, job, JobEvent.SUCCEED, note, finished_at=note.at, lease_expires_at=None, kept=kept)


def _end_series(session: Session, series: SeriesRow, screening: Screening, note: Note) -> None:
    transition(
        session,
        series,
        SeriesEvent.ANALYSE,
        note,
        reason=None,
        screening=to_json(screening),
        profile=screening.profile.value if screening.profile else None,
        ended_at=note.at,
    )


def _artefact_row(artefact: Artefact, note: Note) -> ArtefactRow:
    return ArtefactRow(
        kind=artefact.kind.value,
        name=artefact.name,
        media_type=artefact.media_type,
        sha256=artefact.sha256,
        size_bytes=artefact.size_bytes,
        path=artefact.path,
        sop_class_uid=artefact.sop_class_uid,
        sop_instance_uid=artefact.sop_instance_uid,
        created_at=note.at,
    )
