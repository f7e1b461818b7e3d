"""Group commit of files: one sync of a series' folder serves every association that waits for it at that moment."""

import threading
from dataclasses import dataclass
from typing import Final

from dicom_node.network.errors import OutOfResources
from dicom_node.storage.incoming import Incoming, StagedFile

__all__ = ["Publisher"]

CLOSE_TIMEOUT_S = 10.0


@dataclass(slots=True, kw_only=True)
class _Item:
    """One file on its way to its final name, and how that went."""

    staged: StagedFile
    published: bool = False
    error: OSError | None = None
    leads: bool = False
    """Its thread is to publish the folder's next batch, of which it is the first."""
    woken: threading.Event | None = None
    """Set once it leads or is published; None for who finds nobody publishing, and so never waits."""


class Publisher:
    """Publishes staged files in batches: one batch of a folder at a time, those of several folders side by side.

    The thread that finds nobody publishing into a folder publishes; what arrives meanwhile is the folder's next batch,
    led by its first. There is no delay that waits for a batch to grow, and no thread that only hands on.
    """

    def __init__(self, incoming: Incoming) -> None:
        self._incoming: Final = incoming
        self._pending: dict[str, list[_Item]] = {}
        """What waits, by folder; a folder is in it, if with nothing, while somebody publishes into it."""
        self._closed = False
        self._changed = threading.Condition()

    def publish(self, staged: StagedFile) -> None:
        """Block until the file survives a power cut under its final name.

        Raises:
            OutOfResources: the disk failed, or the receiver is stopping.
        """
        item = _Item(staged=staged)
        folder = staged.path.rpartition("/")[0]
        with self._changed:
            if self._closed:
                self._incoming.forget([staged.entry])
                raise OutOfResources("the receiver is stopping")
            batch = self._pending.get(folder)
            if batch is None:
                self._pending[folder], item.leads = [item], True
            else:
                batch.append(item)
                item.woken = threading.Event()
        if item.woken is not None:
            item.woken.wait()
        if item.leads:
            self._lead(folder)
        if not item.published:
            raise OutOfResources("it could not be archived") from item.error

    def close(self) -> None:
        """Let what waits be published, and take nothing more."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._pending, CLOSE_TIMEOUT_S)

    def _lead(self, folder: str) -> None:
        """Publish what is pending; then the first that came meanwhile leads, or nobody."""
        with self._changed:
            batch, self._pending[folder] = self._pending[folder], []
        try:
            for item, error in zip(batch, self._incoming.publish(folder, [item.staged for item in batch]), strict=True):
                item.published, item.error = error is None, error
        finally:
            with self._changed:
                following = self._pending[folder]
                if following:
                    following[0].leads = True
                    _wake(following[0])
                else:
                    del self._pending[folder]
                    self._changed.notify_all()
            for item in batch:
                _wake(item)


def _wake(item: _Item) -> None:
    if item.woken is not None:
        item.woken.set()
