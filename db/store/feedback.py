"""Readers' verdicts, and who has opened which flagged examination."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.actor import Actor
from db.errors import StaleState
from db.feedback import Feedback, LooksLike, ReaderExtent, Verdict, VerdictCount
from db.feedback_rows import VerdictCountRow, VerdictRow
from db.rows import AlertRow, EventRow, ResultRow, SeriesRow
from db.store.room import Room, inserting
from db.store.transitions import Note, record_event
from db.values import SeenAlert

__all__ = ["FeedbackRoom"]

OPENED = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackRoom(Room):
    """What readers saw and said."""

    def open(self, alert_id: int, who: str) -> None:
        """A reader looks at the case: an event, once for each reader and result. It is not overdue any more.

        Raises:
            StaleState: there is no such alert.
        """
        with self.database.write() as session:
            alert = session.scalar(select(AlertRow).where(AlertRow.id == alert_id).with_for_update())
            if alert is None:
                raise StaleState(f"There is no alert {alert_id}.")
            now = self.clock()
            if alert.opened_at is None:
                alert.opened_at = now
                session.flush()
            before = select(EventRow.id).where(
                EventRow.subject_kind == "alert",
                EventRow.subject_id == str(alert_id),
                EventRow.event == OPENED,
                EventRow.actor_name == who,
                EventRow.detail == _shown(alert.result_id),
            )
            if session.scalar(before.limit(1)) is None:
                note = Note(at=now, actor=Actor.user(who), detail=_shown(alert.result_id))
                record_event(session, "alert", alert_id, OPENED, note, series=alert.series_instance_uid)

    def opened(self, alert_ids: tuple[int, ...]) -> dict[int, tuple[str, datetime]]:
        """Who opened the result that each alert stands for now, and when; those that nobody opened are left out."""
        with self.database.read() as session:
            now = select(AlertRow.id, AlertRow.result_id).where(AlertRow.id.in_(alert_ids))
            shown = {str(alert): _shown(result) for alert, result in session.execute(now)}
            rows = session.execute(
                select(EventRow.subject_id, EventRow.actor_name, EventRow.at, EventRow.detail)
                .where(
                    EventRow.subject_kind == "alert",
                    EventRow.subject_id.in_(shown),
                    EventRow.event == OPENED,
                )
                .order_by(EventRow.id)
            )
            return {int(alert): (who, at) for alert, who, at, detail in rows if detail == shown[alert]}

    def has_opened(self, alert_id: int, who: str) -> bool:
        """Whether this reader has opened the result that the alert stands for now."""
        with self.database.read() as session:
            alert = session.get(AlertRow, alert_id)
            found = select(EventRow.id).where(
                EventRow.subject_kind == "alert",
                EventRow.subject_id == str(alert_id),
                EventRow.event == OPENED,
                EventRow.actor_name == who,
                EventRow.detail == (None if alert is None else _shown(alert.result_id)),
            )
            return session.scalar(found.limit(1)) is not None

    def give(
        self,
        alert_id: int,
        who: str,
        verdict: Verdict,
        *,
        looks_like: LooksLike | None = None,
        extent: ReaderExtent | None = None,
        seen: SeenAlert | None = None,
    ) -> None:
        """Keep a reader's verdict on the alert's result; an earlier one of the same reader is replaced.

        Raises:
            StaleState: there is no such alert, or it stands for another result than was ``seen``.
        """
        now = self.clock()
        with self.database.write() as session:
            alert = session.scalar(select(AlertRow).where(AlertRow.id == alert_id).with_for_update())
            if alert is None:
                raise StaleState(f"There is no alert {alert_id}.")
            if seen is not None and seen.result_id != alert.result_id:
                raise StaleState(f"Alert {alert_id} stands for a newer result than was seen.")
            before = _last_verdict(session, alert.result_id)
            said = {
                "at": now,
                "verdict": verdict.value,
                "looks_like": looks_like.value if looks_like else None,
                "extent": extent.value if extent else None,
            }
            row = {"alert_id": alert_id, "result_id": alert.result_id, "who": who, **said}
            statement = inserting(session, VerdictRow).values(**row)
            session.execute(statement.on_conflict_do_update(index_elements=["result_id", "who"], set_=said))
            _recount(session, alert.result_id, before, _last_verdict(session, alert.result_id))
            note = Note(at=now, actor=Actor.user(who), detail=verdict.value)
            record_event(session, "alert", alert_id, "judge", note, series=alert.series_instance_uid)

    def of_alert(self, alert_id: int) -> tuple[Feedback, ...]:
        """Every verdict on the alert, the newest first."""
        with self.database.read() as session:
            rows = session.scalars(
                select(VerdictRow).where(VerdictRow.alert_id == alert_id).order_by(VerdictRow.at.desc())
            )
            return tuple(
                Feedback(
                    alert_id=row.alert_id,
                    result_id=row.result_id,
                    who=row.who,
                    at=row.at,
                    verdict=Verdict(row.verdict),
                    looks_like=LooksLike(row.looks_like) if row.looks_like else None,
                    extent=ReaderExtent(row.extent) if row.extent else None,
                )
                for row in rows
            )

    def counts(self) -> tuple[VerdictCount, ...]:
        """How often each verdict was given, by profile, model and scanner; of each result the last one counts."""
        columns = (
            VerdictCountRow.profile,
            VerdictCountRow.model_name,
            VerdictCountRow.model_version,
            VerdictCountRow.calling_ae_title,
            VerdictCountRow.verdict,
        )
        statement = select(*columns, VerdictCountRow.count).where(VerdictCountRow.count > 0).order_by(*columns)
        with self.database.read() as session:
            return tuple(
                VerdictCount(
                    profile=profile,
                    model_name=name,
                    model_version=version,
                    calling_ae_title=scanner,
                    verdict=Verdict(verdict),
                    count=count,
                )
                for profile, name, version, scanner, verdict, count in session.execute(statement)
            )


def _shown(result_id: int) -> str:
    """How the event of a look names what was looked at."""
    return f"result {result_id}"


def _last_verdict(session: Session, result_id: int) -> str | None:
    """The verdict that counts for the result."""
    newest = select(VerdictRow.verdict).where(VerdictRow.result_id == result_id)
    return session.scalar(newest.order_by(VerdictRow.at.desc(), VerdictRow.id.desc()).limit(1))


def _recount(session: Session, result_id: int, before: str | None, after: str | None) -> None:
    """The result counts with another verdict from now on."""
    if before == after:
        return
    profile = ResultRow.findings["profile"].as_string()
    of_result = session.execute(
        select(profile, ResultRow.model_name, ResultRow.model_version, SeriesRow.calling_ae_title)
        .join(SeriesRow, SeriesRow.series_instance_uid == ResultRow.series_instance_uid)
        .where(ResultRow.id == result_id)
    ).one()
    names = ("profile", "model_name", "model_version", "calling_ae_title")
    for verdict, change in ((before, -1), (after, 1)):
        if verdict is not None:
            row = {**dict(zip(names, of_result, strict=True)), "verdict": verdict, "count": change}
            statement = inserting(session, VerdictCountRow).values(**row)
            statement = statement.on_conflict_do_update(
                index_elements=[*names, "verdict"], set_={"count": VerdictCountRow.count + change}
            )
            session.execute(statement)
