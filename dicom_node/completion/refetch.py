"""Instances that retention removed, and without which a new revision is not whole: fetched from the PACS.

It is asked once for each revision, when the series pauses; where it cannot be reached, again later. What it sends
arrives as everything does, and is waited for as everything is: without it the series ends with what it lacks.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from db import SeriesEvidence, Store, received_series_uid
from dicom_node.peers.addresses import AddressBook
from dicom_node.peers.remote import Remote
from dicom_node.retrieval import Criteria, Fetched, FoundSeries, Method, Outcome, Taker, fetch, find_series
from dicom_node.settings import Completion
from dicom_node.sweep import Unit

__all__ = ["Archiving", "Refetch"]

_LOG = structlog.stdlib.get_logger()

Archiving = Callable[[Remote], AbstractContextManager[Taker]]
"""A handler of C-STORE for what this peer sends, for the length of one association."""
TIMEOUT_S = 30.0


class Refetch:
    """The sweep that asks for what retention removed; ``archiving`` archives what is sent, as the receiver does."""

    def __init__(
        self,
        *,
        settings: Completion,
        store: Store,
        addresses: AddressBook,
        archiving: Archiving,
        max_instance_bytes: int,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock or (lambda: datetime.now(UTC))
        self._addresses = addresses
        self._archiving = archiving
        self._max_instance_bytes = max_instance_bytes
        self._asked: set[tuple[str, int]] = set()

    def units(self) -> Iterator[Unit]:
        """One unit for each series that has paused and lacks what was removed; none without a PACS."""
        pacs = self._settings.pacs
        if pacs is None:
            return
        quiet_since = self._clock() - timedelta(seconds=self._settings.quiet_s / 2)
        lacking = [one for one in self._store.intake.receiving_series(quiet_since) if one.removed_instances]
        self._asked &= {(one.series_instance_uid, one.revision) for one in lacking}
        for one in lacking:
            if (one.series_instance_uid, one.revision) not in self._asked:
                yield Unit(identity=one.series_instance_uid, run=partial(self._fetch, pacs, one))

    def _fetch(self, pacs: str, evidence: SeriesEvidence) -> None:
        remote = self._addresses.remote(pacs, timeout_s=TIMEOUT_S)
        uid = received_series_uid(evidence.series_instance_uid)
        found = find_series(remote, Criteria(study_instance_uid=evidence.study_instance_uid))
        wanted = [one for one in found if one.series_instance_uid == uid]
        outcomes = self._by(remote, wanted, Method.GET)
        if any(one.outcome is Outcome.FAILED for one in outcomes):  # not every PACS serves C-GET
            outcomes = self._by(remote, wanted, Method.MOVE)
        self._asked.add((evidence.series_instance_uid, evidence.revision))
        told = [one.outcome.value for one in outcomes] or ["not there"]
        _LOG.info("series.refetched", series_instance_uid=evidence.series_instance_uid, pacs=pacs, outcome=told[0])

    def _by(self, remote: Remote, wanted: list[FoundSeries], method: Method) -> list[Fetched]:
        return list(
            fetch(
                remote,
                wanted,
                method=method,
                store=self._store,
                archiving=lambda: self._archiving(remote),
                max_instance_bytes=self._max_instance_bytes,
                on_progress=lambda _series, _count: None,
            )
        )
