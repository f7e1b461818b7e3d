"""Runs sweeps at intervals. A sweep never overlaps itself, and no unit's failure is another's."""

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from dicom_node.backoff import is_transient
from dicom_node.clock_step import StepWatch
from dicom_node.failing_units import CLOCK, FailingUnits
from dicom_node.lanes import Lanes
from dicom_node.logs import cause_of
from dicom_node.sweep import Sweep, Unit

__all__ = ["Sweeps"]

_LOG = structlog.stdlib.get_logger()

CLOCK_EVERY_S = 0.5
LOOK = "(look)"
"""The identity under which it is written down that a sweep's units could not be drawn."""


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
    """Runs sweeps until told to stop, and only while ``leads`` says so: both are asked before every unit."""

    def __init__(
        self, sweeps: Sequence[Sweep], *, leads: Callable[[], bool], failing: FailingUnits | None = None
    ) -> None:
        self._sweeps = sweeps
        self._leads = leads
        self._failing = failing or FailingUnits()
        self._lanes = {sweep.name: Lanes(sweep.lanes) for sweep in sweeps if sweep.lanes}
        self._stop = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Sweep until ``stop`` is set; the units that are at work then are awaited."""
        self._stop = stop
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
            self.wait()

    def tick(self, sweep: Sweep) -> None:
        """One look. Whatever goes wrong is logged with its cause; the next unit and the next look come all the same."""
        found: set[str] = set()
        for unit in self._drawn(sweep):
            found.add(unit.identity)
            if not self._failing.is_put_off(sweep.name, unit.identity):
                self._start(sweep, unit)
            if not self._may_go_on(sweep):
                return
        self._failing.looked(sweep.name, found | {LOOK})

    def wait(self) -> None:
        """Until every lane that is at work now has done its work."""
        for lanes in self._lanes.values():
            lanes.wait()

    def _look_now(self, scheduler: BackgroundScheduler, step_s: float) -> None:
        """The times of the next looks are those of a clock that holds no more."""
        _LOG.warning("clock.stepped", by_s=round(step_s, 1))
        self._failing.failed(CLOCK, CLOCK, f"the clock was set by {step_s:+.0f} s", base_s=0)
        for sweep in self._sweeps:
            scheduler.modify_job(sweep.name, next_run_time=datetime.now(UTC))

    def _drawn(self, sweep: Sweep) -> Iterator[Unit]:
        """The units, each drawn when it is asked for; they end where drawing fails."""
        if not self._may_go_on(sweep):
            return
        try:
            units = iter(sweep.units())
        except Exception as error:  # noqa: BLE001 - boundary: the scheduler's tick
            self._failed(sweep, LOOK, cause_of(error))
            return
        while True:
            try:
                unit = next(units)
            except StopIteration:
                break
            except Exception as error:  # noqa: BLE001 - boundary: the scheduler's tick
                self._failed(sweep, LOOK, cause_of(error))
                return
            yield unit
        self._failing.done(sweep.name, LOOK)

    def _start(self, sweep: Sweep, unit: Unit) -> None:
        lanes = self._lanes.get(sweep.name)
        if lanes is None:
            self._work_off(sweep, unit)
            return
        try:
            lanes.start(unit.identity, partial(self._work_off, sweep, unit))
        except RuntimeError as error:  # the machine has no thread left
            self._failed(sweep, unit.identity, cause_of(error))

    def _work_off(self, sweep: Sweep, unit: Unit) -> None:
        """Run the unit, again while it says that there is more."""
        while True:
            try:
                more = unit.run()
            except Exception as error:  # noqa: BLE001 - boundary: the scheduler's tick
                self._end(sweep, unit, error)
                return
            self._failing.done(sweep.name, unit.identity)
            if more is not True or not self._may_go_on(sweep):
                return

    def _end(self, sweep: Sweep, unit: Unit, error: Exception) -> None:
        cause = cause_of(error)
        if unit.give_up is None or is_transient(error):
            self._failed(sweep, unit.identity, cause)
            return
        _LOG.error("sweep.given_up", sweep=sweep.name, unit=unit.identity, cause=cause)
        try:
            unit.give_up(cause)
        except Exception as second:  # noqa: BLE001 - boundary: the scheduler's tick
            self._failed(sweep, unit.identity, cause_of(second))

    def _failed(self, sweep: Sweep, identity: str, cause: str) -> None:
        delay_s = self._failing.failed(sweep.name, identity, cause, base_s=sweep.every_s)
        _LOG.error("sweep.failed", sweep=sweep.name, unit=identity, cause=cause, again_in_s=round(delay_s, 1))

    def _may_go_on(self, sweep: Sweep) -> bool:
        if self._stop.is_set():
            return False
        try:
            return self._leads()
        except Exception as error:  # noqa: BLE001 - boundary: the scheduler's tick; who cannot know does not lead
            _LOG.error("sweep.failed", sweep=sweep.name, cause=cause_of(error))
            return False
