"""Jobs whose worker fell silent go back to the queue; a stepped wall clock neither takes a job nor keeps one."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial

import structlog

from db import Store
from dicom_node.backoff import LONGEST_WAIT_S
from dicom_node.clock_step import StepWatch
from dicom_node.sweep import Unit

__all__ = ["Leases"]

_LOG = structlog.stdlib.get_logger()


class Leases:
    """The sweeps over times that stand in the database.

    Leases and delays are points of wall time, because several machines share them. After a step forward every lease
    seems to have lapsed: for the length of one lease none is taken, and whoever lives renews his by then. After a
    step back what was written before lies in the future, and is brought back.
    """

    def __init__(
        self,
        *,
        lease_s: float,
        delivery_lease_s: float,
        store: Store,
        watch: StepWatch | None = None,
        clock: Callable[[], datetime] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lease_s = lease_s
        self._delivery_lease_s = delivery_lease_s
        self._store = store
        self._watch = watch or StepWatch()
        self._clock = clock or (lambda: datetime.now(UTC))
        self._monotonic = monotonic
        self._held_until = monotonic()

    def lapses(self) -> Iterator[Unit]:
        """One unit, that releases every lapsed job; none for the length of a lease after a step of the clock."""
        now = self._clock()  # before the look: a step that comes between them is seen by the next
        if self._watch.look():
            self._held_until = self._monotonic() + self._lease_s
        if self._monotonic() >= self._held_until:
            yield Unit(identity="lapses", run=partial(self._release_lapsed, now))

    def corrections(self) -> Iterator[Unit]:
        """One unit, that brings back every time that lies further ahead than anything is ever put off."""
        yield Unit(identity="corrections", run=self._bring_back)

    def _release_lapsed(self, now: datetime) -> None:
        for job in self._store.jobs.release_lapsed(now):
            _LOG.warning("job.lapsed", job_id=job.id, series_instance_uid=job.series_instance_uid, state=job.state)

    def _bring_back(self) -> None:
        corrected = self._store.timekeeping.bring_back(
            self._clock(),
            longest_wait_s=LONGEST_WAIT_S,
            job_lease_s=self._lease_s,
            delivery_lease_s=self._delivery_lease_s,
        )
        if corrected:
            _LOG.warning("times.corrected", rows=corrected)
