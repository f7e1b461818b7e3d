"""Retention: instances of series that have ended go from the archive after their state's time; results stay.

Performed procedure steps of modalities go too, when they have been no evidence for long.
"""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from db import SeriesState, StaleState, Store
from dicom_node.settings import Retention as RetentionSettings
from dicom_node.storage.archive import Archive, InUse
from dicom_node.sweep import Unit

__all__ = ["STEPS_KEPT_DAYS", "Retention"]

_LOG = structlog.stdlib.get_logger()

JUST_WRITTEN_S = 3600.0
"""A file this young came again, and its sender was told that it is safe: its series waits for a later look."""
STEPS_KEPT_DAYS = 30
"""A step tells of series that its modality sends within hours, or that are asked to be sent again within days."""


class Retention:
    """The sweep that removes instances and performed steps.

    What is unprocessed is never removed: the store names only ended series.
    """

    def __init__(
        self,
        *,
        settings: RetentionSettings,
        store: Store,
        archive: Archive,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._archive = archive
        self._clock = clock or (lambda: datetime.now(UTC))

    def removals(self) -> Iterator[Unit]:
        """One unit for each series whose instances may go, and one for all steps."""
        now, retention = self._clock(), self._settings
        kept = {
            SeriesState.ANALYSED: retention.analysed_days,
            SeriesState.EXCLUDED: retention.excluded_days,
            SeriesState.FAILED: retention.failed_days,
        }
        before = {state: now - timedelta(days=days) for state, days in kept.items() if days is not None}
        for series_instance_uid in self._store.retention.removable(before):
            yield Unit(identity=series_instance_uid, run=partial(self._remove, series_instance_uid, before))
        before_steps = now - timedelta(days=STEPS_KEPT_DAYS)
        yield Unit(identity="performed steps", run=partial(self._remove_steps, before_steps))

    def _remove_steps(self, before: datetime) -> None:
        steps = self._store.performed_steps.remove(before)
        if steps:
            _LOG.info("performed_steps.removed", steps=steps)

    def _remove(self, series_instance_uid: str, before: dict[SeriesState, datetime]) -> None:
        """Every version of every instance, while the series is locked; the record follows in the same transaction."""
        try:
            with self._store.retention.removal(series_instance_uid, before) as stored:
                self._archive.remove([instance.path for instance in stored], spare_after=time.time() - JUST_WRITTEN_S)
        except (StaleState, InUse):
            return  # the next look judges anew
        _LOG.info("instances.removed", series_instance_uid=series_instance_uid, instances=len(stored))
