"""What ends a result that is in force, and what leaves it standing.

A result and its alert are retired in the transaction that commits what takes their place, and in no other:

- a newer result of the same series;
- the result of a better reconstruction of the same acquisition. That it was chosen only marks the other series
  (``rejected_for``); the mark takes effect when the job of the chosen one succeeds;
- the exclusion of the series itself, judged on a whole revision: a rule on headers or pixels saw every instance on
  disk, and none is known to be missing.

A failed, lapsed or cancelled job, a file that is lost, removed or unreadable, a gap that was waited for in vain, and a
screening that could not be applied leave them standing; the reason of the series says so. Where the chosen
reconstruction cannot be analysed and nothing of it is in force, those that were left out for it are judged again.
"""

from collections.abc import Collection, Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from analysis.series.verdicts import Screening
from db.errors import StaleState
from db.rows import ResultRow, SeriesRow
from db.series_state import SERIES_TRANSITIONS, SeriesEvent, SeriesState
from db.store.conversion import from_json, to_json
from db.store.flagging import settle_alert
from db.store.room import stop_active_job
from db.store.superseding import retire_result
from db.store.transitions import Note, record_event, transition
from db.values import Rejected

__all__ = ["exclude", "fall_back", "is_whole", "locked_with_rejected", "reject", "standing", "succeed", "told"]

_MAY_YIELD = frozenset({SeriesState.COMPLETE, SeriesState.QUEUED, SeriesState.ANALYSED})


def locked_with_rejected(
    session: Session, series_instance_uid: str, others: Iterable[str] = ()
) -> tuple[SeriesRow, dict[str, SeriesRow]]:
    """The series, and those that were rejected for it or are named, locked in one order until the transaction ends.

    Raises:
        StaleState: there is no such series.
    """
    marked = session.scalars(select(SeriesRow.series_instance_uid).where(SeriesRow.rejected_for == series_instance_uid))
    wanted = {series_instance_uid, *others, *marked}
    rows = {
        row.series_instance_uid: row
        for row in session.scalars(
            select(SeriesRow)
            .where(SeriesRow.series_instance_uid.in_(wanted))
            .order_by(SeriesRow.series_instance_uid)
            .with_for_update()
        )
    }
    series = rows.pop(series_instance_uid, None)
    if series is None:
        raise StaleState(f"There is no series {series_instance_uid}.")
    return series, rows


def standing(session: Session, series_instance_uid: str) -> int | None:
    """The revision of the series' result in force; None where there is none."""
    return session.scalar(
        select(ResultRow.revision).where(
            ResultRow.series_instance_uid == series_instance_uid, ResultRow.superseded_at.is_(None)
        )
    )


def is_whole(series: SeriesRow) -> bool:
    """Whether every instance of the revision is on disk, and none is known to be missing."""
    return series.lacking is None and series.instances_removed_at is None


def reject(session: Session, chosen: SeriesRow, series: SeriesRow, rejected: Rejected, note: Note) -> None:
    """Another reconstruction was chosen: the series gives way when that one has a result; until then what stands stays.

    A series that has moved on meanwhile is judged anew by itself.
    """
    uid = series.series_instance_uid
    if series.revision != rejected.revision or series.state not in _MAY_YIELD:
        return
    series.rejected_for, series.rejection = chosen.series_instance_uid, to_json(rejected.screening)
    session.flush()
    if chosen.state == SeriesState.ANALYSED:
        _yield(session, series, note)
        settle_alert(session, series.study_instance_uid, note)
    elif series.state == SeriesState.COMPLETE:
        exclude(session, series, rejected.screening, note, retires=False)
    else:
        record_event(session, "series", uid, "outranked", note, series=uid)


def succeed(session: Session, rejected: Iterable[SeriesRow], note: Note) -> None:
    """The chosen reconstruction has its result: those rejected for it give way; the alert is still to settle."""
    for series in rejected:
        _yield(session, series, note)


def fall_back(session: Session, chosen: SeriesRow, rejected: Collection[SeriesRow], note: Note) -> None:
    """The chosen reconstruction cannot be analysed: where nothing of it is in force, the others are judged again."""
    if not rejected or standing(session, chosen.series_instance_uid) is not None:
        return
    for series in rejected:
        if series.state == SeriesState.EXCLUDED and series.instances_removed_at is None:
            transition(session, series, SeriesEvent.RECONSIDER, note, reason=None, ended_at=None, completed_at=note.at)


def exclude(session: Session, series: SeriesRow, screening: Screening, note: Note, *, retires: bool) -> str:
    """EXCLUDED with its reason, which is returned; ``retires``: what is in force ends with it, else it stands."""
    reason = screening.reason or "not eligible"
    if retires:
        retire_result(session, series.series_instance_uid, note)
        settle_alert(session, series.study_instance_uid, note)
    else:
        reason = told(session, series.series_instance_uid, reason)
    transition(
        session,
        series,
        SeriesEvent.EXCLUDE,
        note,
        reason=reason,
        screening=to_json(screening),
        profile=screening.profile.value if screening.profile else None,
        ended_at=note.at,
    )
    return reason


def told(session: Session, series_instance_uid: str, reason: str) -> str:
    """The reason, with what goes on standing all the same."""
    revision = standing(session, series_instance_uid)
    return reason if revision is None else f"{reason}; the result of revision {revision} stands"


def _yield(session: Session, series: SeriesRow, note: Note) -> None:
    """Give way to the reconstruction that was chosen and has its result."""
    stop_active_job(session, series.series_instance_uid, note)
    retire_result(session, series.series_instance_uid, note)
    if series.rejection is not None and (series.state, SeriesEvent.EXCLUDE) in SERIES_TRANSITIONS:
        exclude(session, series, from_json(Screening, series.rejection), note, retires=False)
