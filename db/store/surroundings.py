"""What stands around flagged examinations on a page: what was delivered, what was there before, who has looked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from alerts.alert import AlertState
from alerts.artefact import ArtefactKind
from analysis.findings import QualityLevel
from db.outbound import MESSAGE
from db.rows import AlertRow, ArtefactRow, DeliveryRow, ResultRow, SeriesRow
from db.series_state import SeriesState
from db.store.counts import counts_of
from db.store.demographics import contradict, of_patients
from db.store.lookup import overdue
from db.store.room import Room
from db.surroundings import DayCounts, DeliveryMark, Surrounding, Then
from db.worklist import WorklistEntry

__all__ = ["Surroundings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings(Room):
    """What a page tells beside the entries themselves, in a few statements whatever their number."""

    def of(self, entries: Sequence[WorklistEntry]) -> Mapping[int, Surrounding]:
        """For each alert what was delivered of its result, its images, and the latest earlier result of the patient."""
        results = {one.alert.result_id: one.alert.id for one in entries}
        marks: dict[int, list[DeliveryMark]] = {one.alert.id: [] for one in entries}
        with self.database.read() as session:
            sent = session.execute(
                select(DeliveryRow.result_id, DeliveryRow.destination, ArtefactRow.kind, DeliveryRow.state)
                .join(ArtefactRow, ArtefactRow.id == DeliveryRow.artefact_id, isouter=True)
                .where(DeliveryRow.result_id.in_(results))
                .order_by(DeliveryRow.id)
            )
            for result, destination, kind, state in sent:
                marks[results[result]].append(DeliveryMark(destination=destination, kind=kind or MESSAGE, state=state))
            kept = session.execute(
                select(ArtefactRow.result_id, ArtefactRow.path).where(
                    ArtefactRow.result_id.in_(results), ArtefactRow.kind == ArtefactKind.VIEW.value
                )
            )
            views = {result: path for result, path in kept}  # noqa: C416 - a row is no pair to the type checker
            before = _before(session, [one.alert.alert.series_instance_uid for one in entries])
        return {
            one.alert.id: Surrounding(
                deliveries=tuple(marks[one.alert.id]),
                then=before.get(one.alert.alert.series_instance_uid),
                view=views.get(one.alert.result_id),
            )
            for one in entries
        }

    def alert_counts(self) -> tuple[dict[AlertState, int], int]:
        """How many alerts are in each state, and how many undecided ones should have been looked at by now."""
        late = select(func.count()).where(overdue(self.clock()))
        with self.database.read() as session:
            counts = counts_of(session)
            waiting = session.scalar(late)
        return {state: counts.get(("alert", state.value), 0) for state in AlertState}, waiting or 0

    def day_counts(self, since: datetime) -> DayCounts:
        """What became of the series received since then, and when the last one came."""
        with self.database.read() as session:
            received = select(func.count()).where(SeriesRow.last_received_at >= since)
            states = {one: session.scalar(received.where(SeriesRow.state == one.value)) or 0 for one in SeriesState}
            flagged = session.scalar(select(func.count()).select_from(AlertRow).where(AlertRow.received_at >= since))
            last = session.scalar(select(func.max(SeriesRow.last_received_at)))
            decided = session.scalar(
                select(func.count())
                .select_from(AlertRow)
                .where(AlertRow.state == AlertState.ACKNOWLEDGED, AlertRow.decided_at >= since)
            )
        return DayCounts(
            series=sum(states.values()),
            analysed=states[SeriesState.ANALYSED],
            excluded=states[SeriesState.EXCLUDED],
            failed=states[SeriesState.FAILED],
            flagged=flagged or 0,
            taken_up=decided or 0,
            last_received_at=last,
        )

    def scanners(self) -> tuple[str, ...]:
        """The AE titles that flagged examinations came from: a look into the index for each, whatever their alerts."""
        titles: list[str] = []
        with self.database.read() as session:
            following = select(func.min(AlertRow.calling_ae_title))
            title = session.scalar(following)
            while title is not None:
                titles.append(title)
                title = session.scalar(following.where(AlertRow.calling_ae_title > title))
        return tuple(titles)


def _before(session: Session, series: Sequence[str]) -> dict[str, Then]:
    """The latest earlier result in force of the same person that holds figures, for each series that has one."""
    patients = {uid: studies for uid, studies in of_patients(session, series).items() if not contradict(studies)}
    earlier = {one.study_instance_uid: one.study_date for _, *before in patients.values() for one in before}
    level = ResultRow.findings["quality"]["level"].as_string()
    found = session.execute(
        select(ResultRow.study_instance_uid, ResultRow.burden_percent)
        .where(
            ResultRow.study_instance_uid.in_(earlier),
            ResultRow.superseded_at.is_(None),
            level != QualityLevel.NOT_ANALYSABLE.value,
        )
        .order_by(ResultRow.id)
    )
    burdens = {study: burden for study, burden in found}  # noqa: C416 - as above
    before: dict[str, Then] = {}
    for uid, (own, *studies) in patients.items():
        with_figures = [one for one in studies if one.study_instance_uid in burdens]
        if with_figures:
            last = max(with_figures, key=lambda one: one.study_date)
            burden = burdens[last.study_instance_uid]
            before[uid] = Then(study_date=last.study_date, burden_percent=burden, now_date=own.study_date)
    return before
