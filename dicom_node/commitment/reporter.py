"""Answers that are due go out on an association of their own: tried, tried again, or a dead letter with its cause."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

import structlog
from pynetdicom.presentation import build_context, build_role

from db import Store, StoredCommitment
from dicom_node.backoff import retry_delay_s
from dicom_node.commitment.errors import ReportFailed
from dicom_node.commitment.judgement import Judgement, judge
from dicom_node.commitment.messages import PUSH_MODEL, PUSH_MODEL_INSTANCE, event_information, event_type
from dicom_node.network.contexts import UNCOMPRESSED
from dicom_node.peers.addresses import AddressBook
from dicom_node.peers.errors import PeerError, Unreachable
from dicom_node.peers.remote import Remote
from dicom_node.peers.scu import associate, requests, status_of
from dicom_node.settings import Commitment
from dicom_node.storage.archive import Archive
from dicom_node.sweep import Unit

__all__ = ["Reporter", "report"]

_log = structlog.get_logger(__name__)

TIMEOUT_S = 30.0
_SUCCESS = 0x0000


class Reporter:
    """The sweep that tells peers what is safe."""

    def __init__(self, *, settings: Commitment, store: Store, archive: Archive, addresses: AddressBook) -> None:
        self._settings = settings
        self._store = store
        self._archive = archive
        self._addresses = addresses

    def units(self) -> Iterator[Unit]:
        """One unit for each peer that an answer is due for: its lane, which takes up one answer at a time."""
        for ae_title in self._store.commitments.peers_waiting(datetime.now(UTC)):
            yield Unit(identity=ae_title, run=partial(self._answer_next, ae_title))

    def _answer_next(self, ae_title: str) -> bool:
        """Whether there was an answer to try. A peer that cannot be reached is left alone for a while, and told."""
        commitment = self._store.commitments.claim(ae_title, datetime.now(UTC))
        return commitment is not None and self._answer(commitment)

    def _answer(self, commitment: StoredCommitment) -> bool:
        facts = {"transaction_uid": commitment.transaction_uid, "calling": commitment.calling_ae_title}
        try:
            remote = self._addresses.remote(
                commitment.calling_ae_title, calling_ae_title=commitment.called_ae_title, timeout_s=TIMEOUT_S
            )
            judgement = judge(self._store, self._archive, commitment.references)
            report(commitment.transaction_uid, judgement, remote)
        except (ReportFailed, PeerError) as error:
            delay_s = retry_delay_s(commitment.attempt, self._settings.retry_base_s)
            self._store.commitments.failed(commitment, str(error), transient=True, retry_delay_s=delay_s)
            _log.warning("commitment.undelivered", cause=str(error), attempt=commitment.attempt, **facts)
            if isinstance(error, Unreachable):
                raise
            return False
        else:
            counts = {"committed": len(judgement.committed), "failed": len(judgement.failed)}
            self._store.commitments.answered(commitment, **counts)
            _log.info("commitment.answered", same_association=False, **counts, **facts)
            return True


def report(transaction_uid: str, judgement: Judgement, remote: Remote) -> None:
    """Tell the peer on a new association, in the role of the SCP (PS3.4 section J.3.3), and have it confirmed.

    Raises:
        PeerError: no association, or no reply.
        ReportFailed: a reply that is not success.
    """
    contexts = [build_context(PUSH_MODEL, list(UNCOMPRESSED))]
    role = build_role(PUSH_MODEL, scu_role=False, scp_role=True)
    with associate(remote, contexts, needed=PUSH_MODEL, roles=[role]) as association, requests(remote):
        response, _ = association.send_n_event_report(
            event_information(transaction_uid, judgement), event_type(judgement), PUSH_MODEL, PUSH_MODEL_INSTANCE
        )
        status = status_of(response, remote)
    if status != _SUCCESS:
        raise ReportFailed(f"{remote} replied 0x{status:04X}.")
