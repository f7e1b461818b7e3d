"""Which associations are open: written to the index, because a series is complete only when they are closed."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from db import AssociationRecord, Store, StoreError
from dicom_node.network.protocol import AssociationInfo

__all__ = ["AssociationRecords"]

_log = structlog.get_logger(__name__)


class AssociationRecords:
    """Which associations the index knows as open. One that sends no instance is never written."""

    def __init__(self, store: Store, receiver_id: str, *, clock: Callable[[], datetime] | None = None) -> None:
        self._store = store
        self._receiver_id = receiver_id
        self._clock = clock or (lambda: datetime.now(UTC))
        self._open: set[str] = set()
        self._to_close: dict[str, bool] = {}
        self._mutex = threading.Lock()

    def ensure_open(self, info: AssociationInfo) -> None:
        """Write the association down before its first instance.

        Raises:
            StoreError: the database cannot be reached.
        """
        if info.association_id in self._open:
            return
        self._store.intake.open_association(
            AssociationRecord(
                association_id=info.association_id,
                receiver_id=self._receiver_id,
                calling_ae_title=info.calling_ae_title,
                called_ae_title=info.called_ae_title,
                address=info.address,
                opened_at=self._clock(),
            ),
        )
        with self._mutex:
            self._open.add(info.association_id)

    def close(self, info: AssociationInfo, *, released: bool) -> None:
        """The association is over; if the database is away now, `retry` closes it later."""
        with self._mutex:
            if info.association_id not in self._open:
                return
            self._open.discard(info.association_id)
            self._to_close[info.association_id] = released
        self.retry()

    def retry(self) -> None:
        """Close what is over and not yet closed."""
        with self._mutex:
            waiting = tuple(self._to_close.items())
        for association_id, released in waiting:
            try:
                self._store.intake.close_association(association_id, released=released)
            except StoreError as error:
                _log.warning("association.unclosed", association_id=association_id, error=type(error).__name__)
                return
            with self._mutex:
                self._to_close.pop(association_id, None)
