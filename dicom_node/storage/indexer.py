"""The index follows the archive: rows of instances that are durable already, many in one commit.

The file is the record and the row its index (ARCHITECTURE), so that success need not wait for the row. What is
not indexed when the process dies is indexed from the files; an association is released, and closed in the index,
only after its rows. While the database is away, what was archived waits here and nothing new is taken.
"""

import fcntl
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from db import ReceivedInstance, Recorded, StoreError
from dicom_node.network.errors import OutOfResources
from dicom_node.network.protocol import AssociationInfo
from dicom_node.storage.associations import AssociationRecords

__all__ = ["CommitLock", "Indexer"]

_log = structlog.get_logger(__name__)

GATHER_S = 1.0
"""Time in which rows gather before they are committed together: a commit costs as much as forty rows. The end of an
association does not wait for it."""
RETRY_S = 1.0
"""Pause after the database failed."""
MOST_IN_ONE_COMMIT = 256
MOST_WAITING = 1024
"""Rows that wait at once, per process; beyond it nothing is taken."""

_Record = Callable[[Sequence[ReceivedInstance]], Sequence[Recorded]]
_Forget = Callable[[Iterable[str]], None]


class CommitLock:
    """Where processes that share one SQLite file take turns.

    Waiting here wakes at once, where SQLite's own waiting polls. A process that dies lets go.
    """

    def __init__(self, file: Path) -> None:
        self._descriptor = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)

    @contextmanager
    def held(self) -> Generator[None]:
        """Hold it; for one thread of the process at a time."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._descriptor)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    info: AssociationInfo
    instance: ReceivedInstance
    entry: str


class Indexer:
    """Records rows in the order in which they came, on one thread; the entries of what is recorded are forgotten."""

    def __init__(
        self, record: _Record, forget: _Forget, associations: AssociationRecords, *, lock: CommitLock | None = None
    ) -> None:
        self._record: Final = record
        self._forget: Final = forget
        self._associations: Final = associations
        self._lock: Final = lock
        self._rows: list[_Row] = []
        self._busy: list[_Row] = []
        self._hurry = False
        self._failing = False
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="indexer", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Nothing, while rows get into the index.

        Raises:
            OutOfResources: they do not.
        """
        if self._failing or len(self._rows) >= MOST_WAITING:
            raise OutOfResources("the index cannot be written")

    def add(self, info: AssociationInfo, instance: ReceivedInstance, entry: str) -> None:
        """Have a durable instance indexed, and its entry forgotten then."""
        with self._changed:
            self._rows.append(_Row(info=info, instance=instance, entry=entry))
            if len(self._rows) in {1, MOST_IN_ONE_COMMIT}:  # in between the thread has nothing to wake for
                self._changed.notify_all()

    def settle(self, association_id: str, timeout_s: float) -> bool:
        """Wait until every row of an association is in the index; whether that came in time."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._waits(association_id), timeout_s)

    def close(self, timeout_s: float) -> None:
        """Index what waits, and end; what is left after that time is indexed by `recovery`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        if self._rows or self._busy:
            _log.warning("index.behind", instances=len(self._rows) + len(self._busy))

    def _waits(self, association_id: str) -> bool:
        return any(row.info.association_id == association_id for rows in (self._rows, self._busy) for row in rows)

    def _run(self) -> None:
        while self._gather():
            with self._changed:
                self._busy, self._rows = self._rows[:MOST_IN_ONE_COMMIT], self._rows[MOST_IN_ONE_COMMIT:]
            left = self._index(self._busy)
            with self._changed:
                self._busy, self._rows = [], left + self._rows
                self._failing = bool(left)
                self._changed.notify_all()
                if left and self._closed:
                    return
                if left:
                    self._changed.wait_for(lambda: self._closed, RETRY_S)

    def _gather(self) -> bool:
        """Wait for rows, and a little longer for more; False once there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._rows or self._closed)
            if not self._failing:
                self._changed.wait_for(
                    lambda: self._hurry or self._closed or len(self._rows) >= MOST_IN_ONE_COMMIT, GATHER_S
                )
            self._hurry = False
            return bool(self._rows)

    def _index(self, rows: list[_Row]) -> list[_Row]:
        """Record the rows; those that are to be tried again. One that the database does not take is left out."""
        started = time.perf_counter()
        try:
            for info in {row.info.association_id: row.info for row in rows}.values():
                self._associations.ensure_open(info)
            self._record_all(rows)
        except StoreError as error:
            if error.transient:
                _log.warning("index.unwritten", instances=len(rows), error=type(error).__name__)
                return rows
            return self._index_singly(rows)
        except Exception:  # noqa: BLE001 - part of the SCP handler's boundary: this thread outlives what it meets
            _log.exception("index.failed", instances=len(rows))
            return rows
        milliseconds = round((time.perf_counter() - started) * 1000, 1)
        series = Counter((row.info.association_id, row.instance.series_instance_uid) for row in rows)
        for (association_id, uid), instances in series.items():
            _log.info(
                "instances.indexed",
                association_id=association_id,
                series_instance_uid=uid,
                instances=instances,
                milliseconds=milliseconds,
            )
        return []

    def _index_singly(self, rows: list[_Row]) -> list[_Row]:
        """So that no row takes others with it."""
        left: list[_Row] = []
        for row in rows:
            try:
                self._record_all([row])
            except StoreError as error:
                if error.transient:
                    left.append(row)
                else:
                    _log.error("instance.unindexed", path=row.instance.path, error=type(error).__name__)
                    self._forget([row.entry])  # it would fail at every start; `verify` tells of it
        return left

    def _record_all(self, rows: list[_Row]) -> None:
        with nullcontext() if self._lock is None else self._lock.held():
            self._record([row.instance for row in rows])
        self._forget(row.entry for row in rows)
