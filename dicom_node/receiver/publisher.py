"""Group commit of files: one folder sync serves every association that waits at that moment."""

import threading
from dataclasses import dataclass, field
from typing import Final

from dicom_node.receiver.errors import OutOfResources
from dicom_node.receiver.incoming import Incoming, StagedFile

__all__ = ["Publisher"]

CLOSE_TIMEOUT_S = 10.0


@dataclass(slots=True, kw_only=True)
class _Item:
    """One file on its way to its final name, and how that went."""

    staged: StagedFile
    published: bool = False
    error: OSError | None = None
    leads: bool = False
    """Its thread is to publish the next batch, of which it is the first."""
    woken: threading.Event = field(default_factory=threading.Event)


class Publisher:
    """Publishes staged files in batches, one batch at a time.

    The thread that finds nobody publishing publishes; what arrives meanwhile is the next batch, led by its first.
    There is no delay that waits for a batch to grow, and no thread that only hands on.
    """

    def __init__(self, incoming: Incoming) -> None:
        self._incoming: Final = incoming
        self._pending: list[_Item] = []
        self._publishing = False
        self._closed = False
        self._changed = threading.Condition()

    def publish(self, staged: StagedFile) -> None:
        """Block until the file survives a power cut under its final name.

        Raises:
            OutOfResources: the disk failed, or the receiver is stopping.
        """
        item = _Item(staged=staged)
        with self._changed:
            if self._closed:
                self._incoming.discard(staged)
                raise OutOfResources("the receiver is stopping")
            self._pending.append(item)
            item.leads = not self._publishing
            self._publishing = True
        if not item.leads:
            item.woken.wait()
        if item.leads:
            self._lead()
        if not item.published:
            raise OutOfResources("it could not be archived") from item.error

    def close(self) -> None:
        """Let what waits be published, and take nothing more."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._publishing, CLOSE_TIMEOUT_S)

    def _lead(self) -> None:
        """Publish what is pending; then the first that came meanwhile leads, or nobody."""
        with self._changed:
            batch, self._pending = self._pending, []
        try:
            for item, error in zip(batch, self._incoming.publish([item.staged for item in batch]), strict=True):
                item.published, item.error = error is None, error
        finally:
            with self._changed:
                self._publishing = bool(self._pending)
                if self._pending:
                    self._pending[0].leads = True
                    self._pending[0].woken.set()
                else:
                    self._changed.notify_all()
            for item in batch:
                item.woken.set()
