"""The receiver: what it opens, in which order, and how it ends.

One process listens and counts; the others, each with its own interpreter, serve what it hands them. With
``receiver.processes = 1`` the same process does both.
"""

import socket
import threading
from collections.abc import Callable

import structlog

from db import Store
from dicom_node.network.tls import certificate_folder, warn_of_expiry
from dicom_node.receiver.acceptor import Acceptor, listen
from dicom_node.receiver.children import Children
from dicom_node.receiver.connections import ConnectionLimits, Connections
from dicom_node.receiver.engine import GRACE_S, Engine
from dicom_node.receiver.services import BuildServices, Services
from dicom_node.settings import Settings, Tls
from dicom_node.storage.archive import Archive
from dicom_node.storage.recovery import LOOK_S, Recovery

__all__ = ["run_receiver"]

_log = structlog.get_logger(__name__)


def run_receiver(
    settings: Settings, build_services: BuildServices, *, ready: Callable[[int], None], stop: threading.Event
) -> None:
    """Receive until ``stop`` is set. ``ready`` gets the port once the first association can be taken.

    On ``stop`` nothing new is taken, what is in flight is committed and answered, and open associations are aborted.

    Raises:
        StoreError: the database cannot be opened.
        OSError: the archive cannot be written, or the port cannot be had.
        NoChild: a process of the receiver cannot be started.
        UnusableCertificates: there is to be TLS, and its certificates cannot be used.
    """
    store = Store.open(settings.database_url)
    try:
        archive = Archive(settings.archive_dir)
        settings.archive_dir.mkdir(parents=True, exist_ok=True)
        _run(settings, build_services, store, archive, ready, stop)
    finally:
        store.close()
    _log.info("receiver.stopped")


def _run(  # noqa: PLR0917 - what was opened is passed on
    settings: Settings,
    build_services: BuildServices,
    store: Store,
    archive: Archive,
    ready: Callable[[int], None],
    stop: threading.Event,
) -> None:
    receiver = settings.receiver
    _check_certificates(settings.tls)
    connections = Connections(
        ConnectionLimits(
            associations=receiver.max_associations,
            associations_per_peer=receiver.max_associations_per_peer,
            silent=receiver.max_silent,
            silent_per_address=receiver.max_silent_per_address,
        )
    )
    plain = listen(receiver.host, receiver.port)
    secure = None if settings.tls.port is None else listen(receiver.host, settings.tls.port)
    port = plain.getsockname()[1]
    recovery = Recovery(store, archive, stop, max_instance_bytes=receiver.max_instance_bytes)
    processes = (
        _Alone(settings, build_services(settings, store), connections)
        if receiver.processes == 1
        else Children(settings, connections, on_death=recovery.look)
    )
    acceptor = Acceptor(connections, processes.take, plain=plain, secure=secure)
    recoverer = threading.Thread(target=_recover, args=(recovery, stop), name="recovery", daemon=True)
    try:
        processes.start()
        acceptor.open()
        recoverer.start()
        _log.info(
            "receiver.started",
            port=port,
            tls_port=None if secure is None else secure.getsockname()[1],
            ae_title=settings.node.ae_title,
            processes=receiver.processes,
        )
        ready(port)
        stop.wait()
    finally:
        stop.set()
        acceptor.close()
        processes.stop()
    recoverer.join(GRACE_S)


def _recover(recovery: Recovery, stop: threading.Event) -> None:
    recovery.look()
    while not stop.wait(LOOK_S):
        recovery.look()


def _check_certificates(tls: Tls) -> None:
    """With a TLS port: certificates that cannot be used are told now, and those that are about to end."""
    folder = certificate_folder(tls)
    if folder is not None and tls.port is not None:
        folder.server_context()
        warn_of_expiry(folder, within_days=tls.warn_days)


class _Alone:
    """The one process serves what it accepts."""

    def __init__(self, settings: Settings, services: Services, connections: Connections) -> None:
        self._engine = Engine(settings.receiver, settings.tls, services, slots=connections)

    def start(self) -> None:
        """It serves already."""

    def take(self, connection: socket.socket, number: int, *, secure: bool) -> None:
        """Serve a connection, under a descriptor of the engine's own."""
        self._engine.take(connection.dup(), number, secure=secure)

    def stop(self) -> None:
        """Finish what is in flight."""
        self._engine.stop()
