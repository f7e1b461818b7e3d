"""How many instances the PACS has of a series that is being received: asked by C-FIND, beside everything else.

The PACS may be receiving itself, so that its count only ever tells that something is missing, or that nothing more is
there than is here. It is asked once a series pauses, and again while it is waited for. A PACS that does not answer is
left alone for a while, and completion goes on without it.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from db import SeriesEvidence, Store, received_series_uid
from dicom_node.peers.addresses import AddressBook
from dicom_node.peers.errors import PeerError
from dicom_node.peers.remote import Remote
from dicom_node.retrieval import Criteria, FoundSeries, find_series
from dicom_node.settings import Completion
from dicom_node.sweep import Unit

__all__ = ["PacsAnswer", "PacsCounts"]

_LOG = structlog.stdlib.get_logger()

TIMEOUT_S = 10.0
"""For each step of a query; a series waits for it a little longer, and not at all while the PACS is away."""
AGAIN_S = 10.0
"""Between two queries of a study that is still waited for."""
AWAY_S = 60.0
"""Time for which a PACS that failed is not asked."""

Find = Callable[[Remote, Criteria], tuple[FoundSeries, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PacsAnswer:
    """What the PACS says of a series: ``instances`` is None where it says nothing, ``pending`` while it is asked."""

    instances: int | None
    pending: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Count:
    """An answer: to what was known of the series when it was asked, and when that was (monotonic)."""

    last_received_at: datetime
    instances: int | None
    asked_at: float


class PacsCounts:
    """Asks, in a sweep of its own; and knows, for the sweep that judges."""

    def __init__(
        self,
        *,
        settings: Completion,
        store: Store,
        addresses: AddressBook,
        find: Find = find_series,
        clock: Callable[[], datetime] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._store = store
        self._find = find
        self._clock = clock or (lambda: datetime.now(UTC))
        self._monotonic = monotonic
        self._addresses = addresses
        self._counts: dict[str, _Count] = {}
        self._away_until = monotonic()
        self._mutex = threading.Lock()

    def units(self) -> Iterator[Unit]:
        """One unit for each study of which a series has paused; none without a PACS, or while it is away."""
        pacs = self._settings.pacs
        if pacs is None or self._monotonic() < self._away_until:
            return
        quiet_since = self._clock() - timedelta(seconds=self._settings.quiet_s / 2)
        receiving = self._store.intake.receiving_series(quiet_since)
        with self._mutex:
            here = {one.series_instance_uid for one in receiving}
            self._counts = {uid: count for uid, count in self._counts.items() if uid in here}
        studies: dict[str, list[SeriesEvidence]] = {}
        for one in receiving:
            studies.setdefault(one.study_instance_uid, []).append(one)
        for study, members in studies.items():
            if any(map(self._is_due, members)):
                yield Unit(identity=study, run=partial(self._ask, pacs, study, members))

    def answer(self, evidence: SeriesEvidence) -> PacsAnswer | None:
        """What the PACS says since the series' last instance; None where nobody asks it."""
        if self._settings.pacs is None:
            return None
        with self._mutex:
            count = self._counts.get(evidence.series_instance_uid)
        if count is not None and count.last_received_at == evidence.last_received_at:
            return PacsAnswer(instances=count.instances, pending=False)
        return PacsAnswer(instances=None, pending=self._monotonic() >= self._away_until)

    def _is_due(self, evidence: SeriesEvidence) -> bool:
        quiet_s = (self._clock() - evidence.last_received_at).total_seconds()
        if quiet_s < self._settings.quiet_s / 2:
            return False
        with self._mutex:
            count = self._counts.get(evidence.series_instance_uid)
        fresh = count is not None and count.last_received_at == evidence.last_received_at
        return not fresh or (count is not None and self._monotonic() - count.asked_at >= AGAIN_S)

    def _ask(self, pacs: str, study_instance_uid: str, members: list[SeriesEvidence]) -> None:
        try:
            remote = self._addresses.remote(pacs, timeout_s=TIMEOUT_S)
            found = self._find(remote, Criteria(study_instance_uid=study_instance_uid))
        except (PeerError, ValueError) as error:
            self._away_until = self._monotonic() + AWAY_S
            _LOG.warning("pacs.not_asked", pacs=pacs, cause=str(error), again_in_s=AWAY_S)
            return
        counts = {one.series_instance_uid: one.instance_count for one in found}
        with self._mutex:
            for one in members:
                self._counts[one.series_instance_uid] = _Count(
                    last_received_at=one.last_received_at,
                    instances=counts.get(received_series_uid(one.series_instance_uid)),
                    asked_at=self._monotonic(),
                )
        _LOG.info("pacs.asked", pacs=pacs, study_instance_uid=study_instance_uid, series=len(counts))
