"""Units that fail look after look: put off longer each time, and written down for whoever asks how the node stands."""

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import structlog

from db import FailingUnits as Records
from db import StoreError
from dicom_node.backoff import retry_delay_s
from dicom_node.logs import cause_of

__all__ = ["CLOCK", "FailingUnits"]

_LOG = structlog.stdlib.get_logger()

CLOCK = "clock"
"""What is written down under this name is of no sweep: the wall clock was stepped."""
LONGEST_DELAY_S = 60.0
"""What failed is looked at again within this, so that what has been mended need not be told to the node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    attempt: int
    again_at: float


class FailingUnits:
    """Keeps, by sweep and unit, what failed last and when it is worth another look.

    ``records`` are what others see; where they cannot be written the node goes by its own memory.
    """

    def __init__(self, records: Records | None = None, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._records = records
        self._monotonic = monotonic
        self._failures: dict[tuple[str, str], _Failure] = {}
        self._mutex = threading.Lock()

    def is_put_off(self, sweep: str, unit: str) -> bool:
        """Whether the unit failed a short while ago."""
        with self._mutex:
            failure = self._failures.get((sweep, unit))
        return failure is not None and self._monotonic() < failure.again_at

    def failed(self, sweep: str, unit: str, cause: str, *, base_s: float) -> float:
        """The unit failed; the seconds for which it is put off."""
        with self._mutex:
            before = self._failures.get((sweep, unit))
            attempt = 1 if before is None else before.attempt + 1
            delay_s = retry_delay_s(attempt, base_s, longest_s=LONGEST_DELAY_S)
            self._failures[sweep, unit] = _Failure(attempt=attempt, again_at=self._monotonic() + delay_s)
        self._record(lambda records: records.record(sweep, unit, cause))
        return delay_s

    def done(self, sweep: str, unit: str) -> None:
        """The unit did not fail."""
        self._forget({(sweep, unit)})

    def looked(self, sweep: str, found: Collection[str]) -> None:
        """A whole look found these units: one that is no longer among them has nothing left to fail at."""
        with self._mutex:
            gone = {key for key in self._failures if key[0] == sweep and key[1] not in found}
        self._forget(gone)

    def _forget(self, keys: Collection[tuple[str, str]]) -> None:
        for key in keys:
            with self._mutex:
                failing = self._failures.pop(key, None)
            if failing is not None:
                self._record(lambda records, key=key: records.remove(*key))

    def _record(self, write: Callable[[Records], object]) -> None:
        if self._records is None:
            return
        try:
            write(self._records)
        except StoreError as error:
            _LOG.warning("sweep.unrecorded", cause=cause_of(error))
