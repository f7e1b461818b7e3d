"""One process's share of the receiver: its store, its incoming folder, its associations."""

import socket
import sys
import threading
import time

import structlog
from pydicom import config as pydicom_config

from dicom_node.network.contexts import (
    PERFORMED_PROCEDURE_STEP,
    STORAGE_COMMITMENT_PUSH_MODEL,
    supported_contexts,
)
from dicom_node.network.protocol import Limits, Slots
from dicom_node.network.tls import TlsError, certificate_folder, handshake
from dicom_node.network.upper_layer import Negotiator
from dicom_node.network.wire import address_of
from dicom_node.peers.admission import BY_TLS
from dicom_node.receiver.association import Association
from dicom_node.receiver.services import Services
from dicom_node.settings import Receiver, Tls

__all__ = ["GRACE_S", "Engine", "share_the_interpreter"]

_log = structlog.get_logger(__name__)

GRACE_S = 5.0
"""Time that a request in flight has to be answered once the receiver is told to stop."""
RETRY_CLOSING_S = 1.0
_SWITCH_INTERVAL_S = 0.001


class Engine:
    """Serves the connections that it is given, a thread each, until it is stopped."""

    def __init__(self, receiver: Receiver, tls: Tls, services: Services, *, slots: Slots) -> None:
        pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE  # odd UIDs are judged by the intake
        self._slots = slots
        self._storage, self._messages = services.storage, services.messages
        self._negotiator = Negotiator(
            supported_contexts(
                commitment=STORAGE_COMMITMENT_PUSH_MODEL in self._messages,
                mpps=PERFORMED_PROCEDURE_STEP in self._messages,
            ),
            max_pdu_bytes=receiver.max_pdu_bytes,
        )
        self._limits = Limits(
            acse_timeout_s=receiver.acse_timeout_s,
            pdu_timeout_s=receiver.pdu_timeout_s,
            network_timeout_s=receiver.network_timeout_s,
            max_pdu_bytes=receiver.max_pdu_bytes,
        )
        self._tls_timeout_s = tls.handshake_timeout_s
        self._certificates = certificate_folder(tls)
        self._associations: set[Association] = set()
        self._mutex = threading.Lock()
        self._stopping = threading.Event()
        self._closer = threading.Thread(target=self._retry_closing, name="closing", daemon=True)
        self._closer.start()

    def take(self, connection: socket.socket, number: int, *, secure: bool) -> None:
        """Serve a connection; on an end, however it comes, its slot is given back."""
        try:
            address = address_of(connection.getpeername()[0])
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:  # the peer is gone already
            connection.close()
            self._slots.leave(number)
            return
        association = Association(
            connection,
            address,
            number,
            service=self._storage,
            negotiator=self._negotiator,
            limits=self._limits,
            slots=self._slots,
            others=self._messages,
            secure=self._handshake if secure else None,
            on_end=self._forget,
        )
        with self._mutex:
            self._associations.add(association)
        try:
            association.start()
        except RuntimeError:  # the system gives no more threads: this one is turned away, and those that run go on
            _log.warning("connection.unserved", address=address)
            self._forget(association)
            connection.close()
            self._slots.leave(number)

    def stop(self) -> None:
        """Take nothing new, answer what is in flight, abort what is open, and leave nothing behind."""
        self._storage.refuse_new()
        self._stopping.set()
        with self._mutex:
            associations = tuple(self._associations)
        enders = [threading.Thread(target=one.end, args=(GRACE_S,), daemon=True) for one in associations]
        for ender in enders:
            ender.start()
        deadline = time.monotonic() + GRACE_S
        for thread in (*enders, *(one.thread for one in associations)):
            thread.join(max(0.0, deadline - time.monotonic()))
        self._closer.join(RETRY_CLOSING_S)
        self._storage.close()

    def _handshake(self, connection: socket.socket) -> socket.socket:
        assert self._certificates is not None  # noqa: S101 - settings give the TLS port its folder
        address = address_of(connection.getpeername()[0])
        try:
            return handshake(connection, self._certificates.server_context(), deadline_s=self._tls_timeout_s)
        except TlsError as error:
            self._storage.refused(f"{BY_TLS}{error}", address=address)
            raise

    def _forget(self, association: Association) -> None:
        with self._mutex:
            self._associations.discard(association)

    def _retry_closing(self) -> None:
        while not self._stopping.wait(RETRY_CLOSING_S):
            self._storage.retry_closing()


def share_the_interpreter() -> None:
    """In a process that only receives, threads wait for each other a millisecond at most, not five."""
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
