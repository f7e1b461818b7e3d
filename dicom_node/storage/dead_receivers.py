"""After the death of a process of the receiver, and at its start: what was acknowledged and has no row gets one."""

import threading
import time
from collections.abc import Callable

import structlog

from db import Store, StoreError
from dicom_node.clock_step import StepWatch
from dicom_node.storage.archive import Archive
from dicom_node.storage.recovery import end_dead_receivers, rebuild_index

__all__ = ["CLOCK_LOOK_S", "Recovery"]

_log = structlog.get_logger(__name__)

_UNINDEXED_S = 3600.0
"""A process that dies has left nothing unindexed that is older than that: it takes nothing while it cannot index."""
CLOCK_LOOK_S = 60.0
"""How often the wall clock is to be looked at, so that a step back and one forward do not cancel out unseen."""


class Recovery:
    """Closes a dead process's associations, removes its drafts, and indexes what it had not.

    ``wall`` and ``monotonic`` give seconds. Several threads may bury at once.
    """

    def __init__(
        self,
        store: Store,
        archive: Archive,
        stop: threading.Event,
        *,
        max_instance_bytes: int,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._archive = archive
        self._stop = stop
        self._max_instance_bytes = max_instance_bytes
        self._wall = wall
        self._watch = StepWatch(wall=wall, monotonic=monotonic)
        self._stepped_forward_s = 0.0
        self._looking = threading.Lock()

    def look_at_clock(self) -> None:
        """Remember a step forward: files that were written before it seem older by as much."""
        with self._looking:
            self._stepped_forward_s += max(0.0, self._watch.look())

    def recover(self) -> None:
        """Leave nothing undone that a dead process acknowledged, however the wall clock was stepped since."""
        self.look_at_clock()
        self.rebuild(since=self._wall() - _UNINDEXED_S - self._stepped_forward_s)
        try:
            end_dead_receivers(self._store, self._archive)
        except (StoreError, OSError) as error:
            _log.error("receiver.unrecovered", error=type(error).__name__)

    def rebuild(self, *, since: float = 0.0) -> None:
        """Index what has no row, in series that got a file after ``since`` (seconds since 1970); an error is logged."""
        limit = self._max_instance_bytes
        try:
            rebuild_index(self._store, self._archive, stop=self._stop, max_instance_bytes=limit, since=since)
        except (StoreError, OSError) as error:
            _log.error("index.unchecked", error=type(error).__name__)
