"""Answers that are due go out on an association of their own: tried, tried again, or a dead letter with its cause."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import structlog
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.presentation import build_role

from db import Store, StoredCommitment
from dicom_node.backoff import retry_delay_s
from dicom_node.commitment.errors import ReportFailed
from dicom_node.commitment.judgement import Judgement, judge
from dicom_node.commitment.messages import PUSH_MODEL, PUSH_MODEL_INSTANCE, event_information, event_type
from dicom_node.network.tls import TlsError, certificate_folder
from dicom_node.peers.addresses import locate
from dicom_node.settings import Settings
from dicom_node.storage.archive import Archive
from dicom_node.sweep import Unit

__all__ = ["Reporter", "Target", "report"]

_log = structlog.get_logger(__name__)

TIMEOUT_S = 30.0
_SUCCESS = 0x0000


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Who is to be told, and where it listens; with a context, by TLS."""

    ae_title: str
    host: str
    port: int
    tls: ssl.SSLContext | None = None


class Reporter:
    """The sweep that tells peers what is safe."""

    def __init__(self, *, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._archive = Archive(settings.archive_dir)
        self._certificates = certificate_folder(settings.tls)

    def units(self) -> Iterator[Unit]:
        """One unit for each answer that is due; it is tried once."""
        for commitment in self._store.commitments.due(datetime.now(UTC)):
            yield Unit(identity=commitment.transaction_uid, run=partial(self._answer, commitment))

    def _answer(self, commitment: StoredCommitment) -> None:
        facts = {"transaction_uid": commitment.transaction_uid, "calling": commitment.calling_ae_title}
        try:
            target = self._target(commitment.calling_ae_title)
            judgement = judge(self._store, self._archive, commitment.references)
            report(commitment.transaction_uid, judgement, target, calling=commitment.called_ae_title)
        except (ReportFailed, TlsError) as error:
            delay_s = retry_delay_s(commitment.attempt, self._settings.commitment.retry_base_s)
            self._store.commitments.failed(commitment, str(error), transient=True, retry_delay_s=delay_s)
            _log.warning("commitment.undelivered", cause=str(error), attempt=commitment.attempt, **facts)
        else:
            counts = {"committed": len(judgement.committed), "failed": len(judgement.failed)}
            self._store.commitments.answered(commitment, **counts)
            _log.info("commitment.answered", same_association=False, **counts, **facts)

    def _target(self, ae_title: str) -> Target:
        """Where the peer listens."""
        tls = None
        if ae_title in self._settings.tls.outgoing and self._certificates is not None:
            tls = self._certificates.client_context()
        address = locate(self._settings, self._store, ae_title)
        if address is None:
            raise ReportFailed(
                f"Where {ae_title} listens is not known: `lungsentry peers allow` it with --host and --port."
            )
        return Target(ae_title=ae_title, host=address.host, port=address.port, tls=tls)


def report(transaction_uid: str, judgement: Judgement, target: Target, *, calling: str) -> None:
    """Tell the peer on a new association, in the role of the SCP (PS3.4 section J.3.3), and have it confirmed.

    Raises:
        ReportFailed: no association, no reply, or one that is not success.
    """
    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = TIMEOUT_S
    entity.add_requested_context(PUSH_MODEL, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    role = build_role(PUSH_MODEL, scu_role=False, scp_role=True)
    association = entity.associate(
        target.host,
        target.port,
        ae_title=target.ae_title,
        ext_neg=[role],
        tls_args=None if target.tls is None else (target.tls, target.host),
    )
    if not association.is_established:
        raise ReportFailed(f"{target.ae_title} at {target.host}:{target.port} took no association for it.")
    try:
        status, _ = association.send_n_event_report(
            event_information(transaction_uid, judgement), event_type(judgement), PUSH_MODEL, PUSH_MODEL_INSTANCE
        )
    except (RuntimeError, ValueError) as error:  # pynetdicom: the association is gone
        raise ReportFailed(f"{target.ae_title} broke off the association.") from error
    finally:
        if association.is_established:
            association.release()
    if "Status" not in status:
        raise ReportFailed(f"{target.ae_title} gave no reply within {TIMEOUT_S:g} s.")
    if status.Status != _SUCCESS:
        raise ReportFailed(f"{target.ae_title} replied 0x{status.Status:04X}.")
