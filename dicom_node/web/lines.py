"""A line of the worklist as its template takes it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from alerts.change import days_between
from analysis.findings import Profile
from db import WorklistEntry
from db.surroundings import Surrounding
from dicom_node.web.due import Due, due_of
from dicom_node.web.figures import Bar, LobeShape, bar_of, lobes_of
from dicom_node.web.identity import accession, patient
from dicom_node.web.visit import Visit

__all__ = ["Change", "Line", "kind_of", "lines_of"]

_STEADY_POINTS = 0.5
"""A change of the burden below this is told as none: two scans of one chest differ by as much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Since the earlier examination: how long, how much, and whether that is more, less or neither."""

    days: int | None
    points: float
    then_percent: float
    then_date: str
    direction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A flagged examination on a page; ``pictured``: its images are there."""

    entry: WorklistEntry
    due: Due
    bar: Bar
    lobes: tuple[LobeShape, ...]
    change: Change | None
    patient: str = field(repr=False)
    accession: str = field(repr=False)
    kind: str
    title: str
    delivered: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    opened: tuple[str, datetime] | None
    pictured: bool

    @property
    def id(self) -> int:
        """The alert's number."""
        return self.entry.alert.id


def lines_of(visit: Visit, entries: Sequence[WorklistEntry]) -> tuple[Line, ...]:
    """The lines of these entries for this visit."""
    around = visit.store.surroundings.of(entries)
    opened = visit.store.feedback.opened(tuple(one.alert.id for one in entries))
    now = visit.services.clock()
    return tuple(
        Line(
            entry=one,
            due=due_of(one, now),
            bar=bar_of(one.findings.both_lungs),
            lobes=lobes_of(one.findings),
            change=_change(one, around[one.alert.id]),
            patient=patient(visit, one.patient_id),
            accession=accession(visit, one.accession_number),
            kind=kind_of(one.findings.profile),
            title=one.study_description or one.series.series_description or "Examination without a description",
            delivered=_delivered(around[one.alert.id]),
            opened=opened.get(one.alert.id),
            pictured=_pictured(visit, around[one.alert.id]),
        )
        for one in entries
    )


def kind_of(profile: Profile) -> str:
    """The kind of examination, short."""
    return "CTAC" if profile is Profile.CTAC else "chest CT"


def _change(entry: WorklistEntry, around: Surrounding) -> Change | None:
    then = around.then
    if then is None or not entry.findings.reliable:
        return None
    points = entry.findings.burden_percent - then.burden_percent
    direction = "steady" if abs(points) < _STEADY_POINTS else "more" if points > 0 else "less"
    return Change(
        days=days_between(then.study_date, then.now_date),
        points=points,
        then_percent=then.burden_percent,
        then_date=then.study_date,
        direction=direction,
    )


def _pictured(visit: Visit, around: Surrounding) -> bool:
    return around.view is not None and (visit.services.results_dir / around.view).is_file()


def _delivered(around: Surrounding) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    """By destination: each kind of object, and how far it came."""
    found: dict[str, dict[str, str]] = {}
    for mark in around.deliveries:
        found.setdefault(mark.destination, {})[mark.kind.upper()] = mark.state
    return tuple((destination, tuple(kinds.items())) for destination, kinds in found.items())
