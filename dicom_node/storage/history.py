"""History: what the node remembers of the past goes after its time, and counts of states are added up."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from db import PRUNED_AT_ONCE, Store
from dicom_node.settings import Retention
from dicom_node.sweep import Unit

__all__ = ["History"]

_LOG = structlog.stdlib.get_logger()


class History:
    """The sweeps that keep every table bounded."""

    def __init__(
        self, *, settings: Retention, store: Store, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock

    def removals(self) -> Iterator[Unit]:
        """One unit for each table; each removes a batch, and says whether there may be more."""
        now, settings, pruning = self._clock(), self._settings, self._store.pruning
        tables: tuple[tuple[str, float, Callable[[datetime], int]], ...] = (
            ("events", settings.events_days, pruning.events),
            ("jobs", settings.jobs_days, pruning.jobs),
            ("commitments", settings.commitments_days, pruning.commitments),
            ("associations", settings.associations_days, pruning.associations),
            ("refusals", settings.refusals_days, pruning.refusals),
        )
        for table, days, prune in tables:
            yield Unit(identity=table, run=partial(_removed, table, prune, now - timedelta(days=days)))

    def counts(self) -> Iterator[Unit]:
        """One unit, that adds up the counts of states."""
        yield Unit(identity="counts", run=self._add_up)

    def _add_up(self) -> None:
        self._store.counts.add_up()


def _removed(table: str, prune: Callable[[datetime], int], before: datetime) -> bool:
    rows = prune(before)
    if rows:
        _LOG.info("history.removed", table=table, rows=rows)
    return rows >= PRUNED_AT_ONCE
