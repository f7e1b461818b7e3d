"""Watches over a running job: renews its lease, and ends it when it is overdue, cancelled or in the way of a stop."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog

from db import StaleState, StoreError
from dicom_node.logs import cause_of

__all__ = ["JobGone", "Watch"]

_LOG = structlog.stdlib.get_logger()

TICK_S = 0.2
STOP_PATIENCE_S = 10.0
"""Time a job has to end by itself once the worker is told to stop."""


class JobGone(Exception):
    """The job is no longer this worker's: it was cancelled, or its lease lapsed and another worker has it."""

    transient = True


class Watch:
    """A thread beside the job. ``beat`` renews the lease and raises StaleState when the job is lost.

    ``give_up`` gets the reason when the job must end now although the analysis cannot be interrupted; it does not
    return where it ends the process.
    """

    def __init__(
        self,
        *,
        beat: Callable[[], object],
        beat_every_s: float,
        limit_s: float,
        stop: threading.Event,
        give_up: Callable[[str], None],
        stop_patience_s: float = STOP_PATIENCE_S,
    ) -> None:
        self._beat = beat
        self._beat_every_s = beat_every_s
        self._limit_s = limit_s
        self._stop = stop
        self._give_up = give_up
        self._stop_patience_s = stop_patience_s
        self._done = threading.Event()
        self._lost = threading.Event()
        self._step = "the start"
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def progress(self, step: str) -> None:
        """Note the step that begins.

        Raises:
            JobGone: the job was lost meanwhile; its result would not be taken.
        """
        self._step = step
        if self._lost.is_set():
            raise JobGone(f"lost before {step}")

    def _run(self) -> None:
        started = beaten = time.monotonic()
        stopped: float | None = None
        while not self._done.wait(TICK_S):
            now = time.monotonic()
            if stopped is None and self._stop.is_set():
                stopped = now
            if now - started > self._limit_s:
                self._give_up(f"time limit of {self._limit_s:g} s passed during {self._step}")
                return
            if stopped is not None and now - stopped > self._stop_patience_s:
                self._give_up(f"the worker was stopped during {self._step}")
                return
            if now - beaten > self._beat_every_s and not self._lost.is_set():
                beaten = now
                self._renew()

    def _renew(self) -> None:
        try:
            self._beat()
        except StaleState:
            self._lost.set()
        except StoreError as error:  # the next beat may reach the database again, before the lease lapses
            _LOG.warning("lease.not_renewed", cause=cause_of(error))
