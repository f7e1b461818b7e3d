"""The scheduler: sweeps at intervals, by the one scheduler that leads. A sweep never overlaps itself."""

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from db import Store
from dicom_node.backoff import is_transient
from dicom_node.clock_step import StepWatch
from dicom_node.commitment import Reporter
from dicom_node.completion.pacs_counts import PacsCounts
from dicom_node.completion.triage import Triage
from dicom_node.delivery.sender import Sender
from dicom_node.logs import cause_of
from dicom_node.network.tls import expiry_units
from dicom_node.settings import Settings
from dicom_node.storage.archive import Archive
from dicom_node.storage.disk_space import DiskSpace
from dicom_node.storage.retention import Retention
from dicom_node.storage.verification import verify_sample
from dicom_node.sweep import Sweep, Unit
from dicom_node.work.leases import Leases

__all__ = ["Sweeps", "node_sweeps", "run_scheduler"]

_LOG = structlog.stdlib.get_logger()

LEASES_EVERY_S = 2.0
CORRECTIONS_EVERY_S = 10.0
DELIVERIES_EVERY_S = 1.0
CERTIFICATES_EVERY_S = 86_400.0
SAMPLE_EVERY_S = 86_400.0
SAMPLED = 64
"""Instances that are verified at the start and each day: some 32 MB of CT slices."""
DISK_EVERY_S = 30.0
CLOCK_EVERY_S = 0.5


class _Every(BaseTrigger):
    """So many seconds after the last look began. APScheduler's own would make up for every look of a skipped year."""

    def __init__(self, seconds: float) -> None:
        self._interval = timedelta(seconds=seconds)

    def get_next_fire_time(  # pyright: ignore[reportIncompatibleMethodOverride] - the base says that it returns None
        self,
        previous_fire_time: datetime | None,  # noqa: ARG002 - only now counts
        now: datetime,
    ) -> datetime:
        """The next look."""
        return now + self._interval


class Sweeps:
    """Runs sweeps until told to stop; only while ``leads`` says so, and one failure does not end the next look."""

    def __init__(self, sweeps: Sequence[Sweep], *, leads: Callable[[], bool]) -> None:
        self._sweeps = sweeps
        self._leads = leads

    def run(self, stop: threading.Event) -> None:
        """Sweep until ``stop`` is set; a sweep that is at work then is awaited."""
        scheduler = BackgroundScheduler(
            timezone="UTC",
            executors={"default": ThreadPoolExecutor(len(self._sweeps))},
            job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": None},
        )
        for sweep in self._sweeps:
            first_s = 0 if sweep.at_start else sweep.every_s
            first = datetime.now(UTC) + timedelta(seconds=first_s)
            scheduler.add_job(self.tick, _Every(sweep.every_s), args=[sweep], id=sweep.name, next_run_time=first)
        scheduler.start()
        watch = StepWatch()
        try:
            while not stop.wait(CLOCK_EVERY_S):
                if step_s := watch.look():
                    self._look_now(scheduler, step_s)
        finally:
            scheduler.shutdown(wait=True)

    def _look_now(self, scheduler: BackgroundScheduler, step_s: float) -> None:
        """The times of the next looks are those of a clock that holds no more."""
        _LOG.warning("clock.stepped", by_s=round(step_s, 1))
        for sweep in self._sweeps:
            scheduler.modify_job(sweep.name, next_run_time=datetime.now(UTC))

    def tick(self, sweep: Sweep) -> None:
        """One look. Whatever goes wrong is logged with its cause; the next unit and the next look come all the same."""
        units: list[Unit] = []

        def look() -> None:
            if self._leads():
                units.extend(sweep.units())

        _attempt(sweep, Unit(run=look))
        for unit in units:
            _attempt(sweep, unit)


def _attempt(sweep: Sweep, unit: Unit) -> None:
    try:
        unit.run()
    except Exception as error:  # noqa: BLE001 - boundary: the scheduler's tick
        cause = cause_of(error)
        _LOG.error("sweep.failed", sweep=sweep.name, cause=cause)
        if unit.give_up and not is_transient(error):
            _attempt(sweep, Unit(run=partial(unit.give_up, cause)))


def run_scheduler(settings: Settings, stop: threading.Event, ready: Callable[[], None] | None = None) -> None:
    """Sweep as the settings say until ``stop`` is set; ``ready`` is called before the first look."""
    with Store.open(settings.database_url) as store:
        sweeps = Sweeps(node_sweeps(settings, store), leads=store.leads)
        if ready:
            ready()
        sweeps.run(stop)


def node_sweeps(settings: Settings, store: Store) -> tuple[Sweep, ...]:
    """Everything that a node looks at: completion, screening, lapsed leases, deliveries, commitments, retention."""
    counts = PacsCounts(settings=settings, store=store)
    triage = Triage(settings=settings, store=store, counts=counts)
    sender = Sender(settings=settings, store=store)
    reporter = Reporter(settings=settings, store=store)
    retention = Retention(settings=settings, store=store)
    leases = Leases(settings=settings, store=store)
    return (
        Sweep(name="completion", every_s=settings.completion.sweep_s, units=triage.completions),
        Sweep(name="pacs", every_s=settings.completion.sweep_s, units=counts.units),
        Sweep(name="screening", every_s=settings.completion.sweep_s, units=triage.screenings),
        Sweep(name="leases", every_s=LEASES_EVERY_S, units=leases.lapses),
        Sweep(name="corrections", every_s=CORRECTIONS_EVERY_S, units=leases.corrections),
        Sweep(name="deliveries", every_s=DELIVERIES_EVERY_S, units=sender.units),
        Sweep(name="commitments", every_s=settings.commitment.sweep_s, units=reporter.units),
        Sweep(
            name="certificates",
            every_s=CERTIFICATES_EVERY_S,
            units=lambda: expiry_units(settings.tls),
            at_start=True,
        ),
        Sweep(name="disk", every_s=DISK_EVERY_S, units=DiskSpace(settings).looks, at_start=True),
        Sweep(
            name="sample",
            every_s=SAMPLE_EVERY_S,
            units=lambda: [Unit(run=partial(verify_sample, store, Archive(settings.archive_dir), SAMPLED))],
            at_start=True,
        ),
        Sweep(name="retention", every_s=settings.retention.sweep_s, units=retention.removals),
    )
