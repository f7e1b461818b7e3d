"""Retention: instances of series that have ended go from the archive after their time; results and alerts stay."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from db import Store
from dicom_node.settings import Settings
from dicom_node.sweep import Unit

__all__ = ["Retention"]

_LOG = structlog.stdlib.get_logger()


class Retention:
    """The sweep that removes instances. What is unprocessed is never removed: the store names only ended series."""

    def __init__(self, *, settings: Settings, store: Store, clock: Callable[[], datetime] | None = None) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock or (lambda: datetime.now(UTC))

    def removals(self) -> Iterator[Unit]:
        """One unit for each series whose instances may go."""
        keep_days = self._settings.retention.keep_days
        if keep_days is None:
            return
        for series_instance_uid in self._store.retention.removable(self._clock() - timedelta(days=keep_days)):
            yield Unit(run=partial(self._remove, series_instance_uid))

    def _remove(self, series_instance_uid: str) -> None:
        """Files first, of every version: after a crash before the record, the next look finds them gone."""
        stored = self._store.retention.files(series_instance_uid)
        for instance in stored:
            path = self._settings.archive_dir / instance.path
            path.unlink(missing_ok=True)
        self._store.retention.removed(series_instance_uid)
        _LOG.info("instances.removed", series_instance_uid=series_instance_uid, instances=len(stored))
