"""A job: one analysis of one revision of a series, and the life it may lead."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum

__all__ = ["ACTIVE_JOB_STATES", "IMPORTED", "JOB_TRANSITIONS", "Job", "JobEvent", "JobPriority", "JobState"]

IMPORTED = "(import)"
"""Stands for the AE title of who sent a series that was read from files."""


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobEvent(StrEnum):
    """What can happen to a job."""

    CLAIM = "claim"
    SUCCEED = "succeed"
    RETRY = "retry"
    LAPSE = "lapse"
    GIVE_UP = "give_up"
    CANCEL = "cancel"
    SUPERSEDE = "supersede"


class JobPriority(IntEnum):
    """What goes first, always; within one, the sites that sent take turns."""

    FRESH = 0
    """An examination that nobody has a result of yet, or that changed."""
    RERUN = 1
    """One that was asked for again."""
    ARCHIVE = 2
    """One of an archive that was imported: whenever nothing else waits."""


JOB_TRANSITIONS: dict[tuple[JobState, JobEvent], JobState] = {
    # a worker takes the job: its attempt counts, its lease runs
    (JobState.QUEUED, JobEvent.CLAIM): JobState.RUNNING,
    # result, alert and deliveries are written in the same transaction
    (JobState.RUNNING, JobEvent.SUCCEED): JobState.SUCCEEDED,
    # a transient failure with attempts left: again, after a while
    (JobState.RUNNING, JobEvent.RETRY): JobState.QUEUED,
    # the worker fell silent with attempts left
    (JobState.RUNNING, JobEvent.LAPSE): JobState.QUEUED,
    # a permanent failure, or the last attempt failed or lapsed: a dead letter that names its cause
    (JobState.RUNNING, JobEvent.GIVE_UP): JobState.FAILED,
    # an administrator stops it, waiting or at work
    (JobState.QUEUED, JobEvent.CANCEL): JobState.CANCELLED,
    (JobState.RUNNING, JobEvent.CANCEL): JobState.CANCELLED,
    # later instances made a new revision, or another reconstruction was chosen: its result would be stale
    (JobState.QUEUED, JobEvent.SUPERSEDE): JobState.CANCELLED,
    (JobState.RUNNING, JobEvent.SUPERSEDE): JobState.CANCELLED,
}

ACTIVE_JOB_STATES = frozenset({JobState.QUEUED, JobState.RUNNING})
"""States in which a job still has something to do; a series has at most one such job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One analysis of one revision of a series.

    ``run`` counts the jobs of a revision from 1, ``attempt`` the claims of this job. ``worker`` is the last that
    claimed it. ``site`` is the AE title that sent the series. ``cause`` names why the last attempt failed. Times are
    aware, in UTC.
    """

    id: int
    series_instance_uid: str
    study_instance_uid: str
    revision: int
    run: int
    priority: JobPriority
    site: str
    state: JobState
    attempt: int
    max_attempts: int
    not_before: datetime
    lease_expires_at: datetime | None
    worker: str | None
    cause: str | None
    requested_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
