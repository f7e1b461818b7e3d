"""The worklist: what a page of flagged examinations is chosen and ordered by, and what stands in a line of it."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from alerts.alert import AlertState, Category
from analysis.findings import Findings, Profile, QualityLevel
from db.values import SeriesRecord, StoredAlert

__all__ = ["COUNTED", "PAGE", "WorklistEntry", "WorklistFilter", "WorklistPage", "WorklistSort"]

PAGE = 50
"""Entries of a page."""
COUNTED = 10_000
"""Entries are counted up to here: nobody turns two hundred pages."""


class WorklistSort(StrEnum):
    """What comes first."""

    PRESSING = "pressing"
    """What is overdue, then the most pressing ACR category, and of it what was received first."""
    DUE = "due"
    """What is to be looked at first."""
    RAISED = "raised"
    """The newest alert."""
    RECEIVED = "received"
    """The examination received last."""
    BURDEN = "burden"
    """The highest burden."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistFilter:
    """What is given narrows; of several values of one kind any will do.

    ``found`` is the beginning of an accession number or patient ID, or either end of a Study or Series Instance UID;
    after ``=`` a whole one. Without ``people`` it is looked for in UIDs alone.
    ``received_since`` is included, ``received_before`` is not.
    """

    states: frozenset[AlertState] = frozenset()
    categories: frozenset[Category] = frozenset()
    incidental: bool | None = None
    profile: Profile | None = None
    quality: QualityLevel | None = None
    calling_ae_title: str | None = None
    received_since: datetime | None = None
    received_before: datetime | None = None
    found: str | None = field(default=None, repr=False)
    people: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistEntry:
    """A flagged examination: its alert, the findings that raised it, its series and study.

    ``patient_id`` and ``accession_number`` are identifying: for a person who asked, never for a log.
    """

    alert: StoredAlert
    findings: Findings
    series: SeriesRecord
    study_date: str
    study_description: str
    patient_id: str = field(repr=False)
    accession_number: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistPage:
    """Some of the entries that a filter chose, in order, and how many it chose.

    ``total`` is counted no further than ``COUNTED``: there may be more.
    """

    entries: tuple[WorklistEntry, ...]
    total: int
