"""Group commit: one folder sync and one index commit serve every association that waits at that moment."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

import structlog

from db import ReceivedInstance, Recorded, StoreError
from dicom_node.archive import Incoming, StagedFile
from dicom_node.receiver.errors import OutOfResources

__all__ = ["Committer"]

_log = structlog.get_logger(__name__)

_Record = Callable[[Sequence[ReceivedInstance]], Sequence[Recorded]]


@dataclass(slots=True, kw_only=True)
class _Item:
    """One instance on its way: staged, then published and indexed, or the reason why not."""

    staged: StagedFile
    instance: ReceivedInstance
    recorded: Recorded | None = None
    error: OSError | StoreError | None = None
    done: threading.Event = field(default_factory=threading.Event)


class Committer:
    """Publishes staged files and records their rows, in batches, on one thread.

    There is no delay that waits for a batch to grow: what arrives while a commit runs forms the next one.
    """

    def __init__(self, incoming: Incoming, record: _Record) -> None:
        self._incoming: Final = incoming
        self._record: Final = record
        self._pending: list[_Item] = []
        self._mutex = threading.Lock()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="committer")

    def commit(self, staged: StagedFile, instance: ReceivedInstance) -> Recorded:
        """Block until the instance is durable and indexed.

        Raises:
            OutOfResources: the disk or the database failed. A file that was published stays: the index is rebuilt
                from it, and the same bytes sent again are then accepted.
        """
        item = _Item(staged=staged, instance=instance)
        with self._mutex:
            self._pending.append(item)
        try:
            self._executor.submit(self._flush).add_done_callback(_log_failure)
        except RuntimeError as error:  # the executor is shut down
            self._incoming.discard(staged)
            raise OutOfResources("the receiver is stopping") from error
        item.done.wait()
        if item.recorded is None:
            raise OutOfResources("it could not be committed") from item.error
        return item.recorded

    def close(self) -> None:
        """Finish what waits, then stop."""
        self._executor.shutdown(wait=True)

    def _flush(self) -> None:
        with self._mutex:
            batch, self._pending = self._pending, []
        try:
            published = self._publish(batch)
            if published:
                self._index(published)
        finally:
            for item in batch:
                item.done.set()

    def _publish(self, batch: list[_Item]) -> list[_Item]:
        if not batch:
            return []
        for item, error in zip(batch, self._incoming.publish([item.staged for item in batch]), strict=True):
            item.error = error
        return [item for item in batch if item.error is None]

    def _index(self, items: list[_Item]) -> None:
        """Record the batch in one commit. If that fails for good, one by one, so that no row takes others with it."""
        groups: dict[tuple[str, str, str], list[_Item]] = {}
        for item in items:  # the same bytes, sent twice at once, are one row
            row = item.instance
            groups.setdefault((row.series_instance_uid, row.sop_instance_uid, row.sha256), []).append(item)
        try:
            self._assign(list(groups.values()))
        except StoreError as error:
            if error.transient or len(groups) == 1:
                for item in items:
                    item.error = error
                return
            for group in groups.values():
                try:
                    self._assign([group])
                except StoreError as own:
                    for item in group:
                        item.error = own

    def _assign(self, groups: list[list[_Item]]) -> None:
        for group, recorded in zip(groups, self._record([group[0].instance for group in groups]), strict=True):
            for item in group:
                item.recorded = recorded


def _log_failure(future: Future[None]) -> None:
    """What no one expected is not lost: the waiting associations answer 0xA700, the log has the cause."""
    if error := future.exception():
        _log.error("commit.failed", error=type(error).__name__, exc_info=error)
