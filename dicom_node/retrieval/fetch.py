"""Pull series into the archive, a study an association: by C-GET, or by C-MOVE to this node's own receiver."""

import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any

import structlog
from pydicom.dataset import Dataset
from pynetdicom import build_context, build_role, evt
from pynetdicom.association import Association

from db import Store
from dicom_node.network.contexts import STORAGE_SOP_CLASSES, TRANSFER_SYNTAXES, UNCOMPRESSED
from dicom_node.network.protocol import StoreCommand
from dicom_node.peers.errors import PeerError, Unreachable
from dicom_node.peers.remote import Remote
from dicom_node.peers.scu import associate, requests, status_of
from dicom_node.retrieval.archiving import Taker
from dicom_node.retrieval.query import FoundSeries

__all__ = ["STUDY_ROOT_GET", "STUDY_ROOT_MOVE", "Fetched", "Method", "Outcome", "fetch", "held_instances"]

STUDY_ROOT_MOVE, STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.2.3"
_PENDING = frozenset({0xFF00, 0xFF01})
_SUCCESS = 0x0000
INDEX_PATIENCE_S = 5.0
_LOOK_AGAIN_S = 0.02
_SLACK_BYTES = 1 << 20
"""A message's command, and the heads of its PDUs."""

_log = structlog.get_logger(__name__)


class Method(StrEnum):
    """How instances come."""

    GET = "get"
    MOVE = "move"


class Outcome(StrEnum):
    """What became of a series."""

    HELD = "held"
    FETCHED = "fetched"
    INCOMPLETE = "incomplete"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A series and what became of it. ``held_before`` and ``held`` count the instances in the archive."""

    series: FoundSeries
    outcome: Outcome
    held_before: int
    held: int
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operation:
    """The end of one retrieval: its status and its failed sub-operations."""

    status: int
    completed: int
    failed: int

    @property
    def reason(self) -> str | None:
        """What went wrong, as the peer tells it."""
        if self.status == _SUCCESS and not self.failed:
            return None
        return f"the peer ended with 0x{self.status:04X}, {self.failed} of its sub-operations failed"


Archiving = Callable[[], AbstractContextManager[Taker]]
"""Opens what C-GET stores into, for the length of one association."""


def held_instances(store: Store, series_instance_uid: str) -> int:
    """How many instances of a series lie in the archive."""
    return len(store.intake.series_paths(series_instance_uid))


def fetch(
    peer: Remote,
    series: Iterable[FoundSeries],
    *,
    method: Method,
    store: Store,
    archiving: Archiving,
    max_instance_bytes: int,
    on_progress: Callable[[FoundSeries, int], None],
) -> Iterator[Fetched]:
    """Fetch series, and tell of each what became of it. What the archive holds whole is left where it is.

    ``on_progress`` gets a series and how many of its instances the peer has sent so far. A series is FETCHED when the
    archive holds as many instances as the peer says that there are; a peer that does not say is believed. A study whose
    association fails does not keep the next from being tried.
    """
    studies: dict[str, list[FoundSeries]] = defaultdict(list)
    for one in series:
        studies[one.study_instance_uid].append(one)
    for of_study in studies.values():
        wanted: list[FoundSeries] = []
        for one in of_study:
            held = held_instances(store, one.series_instance_uid)
            if one.instance_count is not None and held >= one.instance_count > 0:
                yield Fetched(series=one, outcome=Outcome.HELD, held_before=held, held=held)
            else:
                wanted.append(one)
        moving = method is Method.MOVE
        opening = _moving(peer) if moving else _getting(peer, archiving, max_instance_bytes)
        yield from _fetch_study(peer, wanted, method, store, opening, on_progress)


def _fetch_study(  # noqa: PLR0917 - the arguments of `fetch`, in its order
    peer: Remote,
    wanted: list[FoundSeries],
    method: Method,
    store: Store,
    opening: AbstractContextManager[Association],
    on_progress: Callable[[FoundSeries, int], None],
) -> Iterator[Fetched]:
    left = list(wanted)
    if not left:
        return
    try:
        with opening as association:
            while left:
                one = left[0]
                before = held_instances(store, one.series_instance_uid)
                ended = _retrieve(association, peer, one, method, on_progress)
                left.pop(0)
                if ended.reason is None:
                    _await_index(store, one, max(one.instance_count or 0, ended.completed))
                yield _judged(store, one, before, ended.reason)
    except PeerError as error:
        for one in left:
            before = held_instances(store, one.series_instance_uid)
            yield replace(_judged(store, one, before, str(error)), outcome=Outcome.FAILED)


def _await_index(store: Store, series: FoundSeries, instances: int) -> None:
    """The index follows the archive by moments: wait until it knows so many instances, but not for long."""
    deadline = time.monotonic() + INDEX_PATIENCE_S
    while held_instances(store, series.series_instance_uid) < instances and time.monotonic() < deadline:
        time.sleep(_LOOK_AGAIN_S)


def _judged(store: Store, series: FoundSeries, before: int, reason: str | None) -> Fetched:
    held = held_instances(store, series.series_instance_uid)
    missing = series.instance_count is not None and held < series.instance_count
    if missing and reason is None:
        reason = f"the peer says that there are {series.instance_count} instances"
    outcome = Outcome.INCOMPLETE if missing or reason else Outcome.FETCHED
    _log.info(
        "series.fetched",
        series_instance_uid=series.series_instance_uid,
        outcome=outcome,
        held=held,
        expected=series.instance_count,
    )
    return Fetched(series=series, outcome=outcome, held_before=before, held=held, reason=reason)


@contextmanager
def _getting(peer: Remote, archiving: Archiving, max_instance_bytes: int) -> Generator[Association]:
    """An association for C-GET, on which this node is the SCP of storage.

    One presentation context for each SOP class and transfer syntax, so that the peer can send every instance as it
    holds it.
    """
    contexts = [build_context(STUDY_ROOT_GET, list(UNCOMPRESSED))]
    contexts += [build_context(sop_class, syntax) for sop_class in STORAGE_SOP_CLASSES for syntax in TRANSFER_SYNTAXES]
    roles = [build_role(sop_class, scp_role=True) for sop_class in STORAGE_SOP_CLASSES]
    with (
        archiving() as take,
        associate(
            peer,
            contexts,
            needed=STUDY_ROOT_GET,
            roles=roles,
            handlers=[(evt.EVT_C_STORE, partial(_take, take))],
            max_message_bytes=max_instance_bytes + _SLACK_BYTES,
        ) as association,
    ):
        yield association


def _take(take: Taker, event: Any) -> int:
    command = StoreCommand(
        sop_class_uid=str(event.request.AffectedSOPClassUID or ""),
        sop_instance_uid=str(event.request.AffectedSOPInstanceUID or ""),
        context_sop_class_uid=str(event.context.abstract_syntax),
        transfer_syntax_uid=str(event.context.transfer_syntax),
    )
    return take(command, event.request.DataSet.getvalue() if event.request.DataSet else b"")


@contextmanager
def _moving(peer: Remote) -> Generator[Association]:
    context = build_context(STUDY_ROOT_MOVE, list(UNCOMPRESSED))
    with associate(peer, [context], needed=STUDY_ROOT_MOVE) as association:
        yield association


def _retrieve(
    association: Association,
    peer: Remote,
    series: FoundSeries,
    method: Method,
    on_progress: Callable[[FoundSeries, int], None],
) -> _Operation:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "SERIES"
    identifier.StudyInstanceUID = series.study_instance_uid
    identifier.SeriesInstanceUID = series.series_instance_uid
    ended: _Operation | None = None
    with requests(peer):
        answers = (
            association.send_c_get(identifier, STUDY_ROOT_GET)
            if method is Method.GET
            else association.send_c_move(identifier, peer.calling_ae_title, STUDY_ROOT_MOVE)
        )
        for status, _ in answers:
            code = status_of(status, peer)
            completed = int(status.get("NumberOfCompletedSuboperations") or 0)
            on_progress(series, completed)
            if code not in _PENDING:
                failed = int(status.get("NumberOfFailedSuboperations") or 0)
                ended = _Operation(status=code, completed=completed, failed=failed)
    if ended is None:
        raise Unreachable(f"{peer} broke off the retrieval.")
    return ended
