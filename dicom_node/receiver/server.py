"""The receiver's process: what it opens, in which order, and how it ends."""

import secrets
import socket
import threading
from collections.abc import Callable

import structlog
from pydicom import config as pydicom_config
from pynetdicom import _config

from db import Store, StoreError
from dicom_node.archive import Archive, Incoming
from dicom_node.receiver.contexts import supported_contexts
from dicom_node.receiver.intake import Intake
from dicom_node.receiver.protocol import Limits, StorageServer
from dicom_node.receiver.recovery import end_dead_receivers, rebuild_index
from dicom_node.settings import Settings

__all__ = ["run_receiver"]

_log = structlog.get_logger(__name__)

GRACE_S = 5.0
"""Time that a request in flight has to be answered once the receiver is told to stop."""
HOUSEKEEPING_S = 1.0


def run_receiver(settings: Settings, *, ready: Callable[[int], None], stop: threading.Event) -> None:
    """Receive until ``stop`` is set. ``ready`` gets the port once the first association can be taken.

    On ``stop`` nothing new is taken, what is in flight is committed and answered, and open associations are aborted.

    Raises:
        StoreError: the database cannot be opened.
        OSError: the archive cannot be written, or the port cannot be had.
    """
    _config.LOG_HANDLER_LEVEL = "none"  # pynetdicom's own log names every PDU; the node logs what matters
    pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE  # odd UIDs are judged by the intake
    store = Store.open(settings.database_url)
    try:
        _run(settings, store, ready, stop)
    finally:
        store.close()


def _run(settings: Settings, store: Store, ready: Callable[[int], None], stop: threading.Event) -> None:
    archive = Archive(settings.archive_dir)
    settings.archive_dir.mkdir(parents=True, exist_ok=True)
    end_dead_receivers(store, archive)
    incoming = Incoming(archive, f"{socket.gethostname()}-{secrets.token_hex(8)}")
    intake = Intake(settings=settings, store=store, archive=archive, incoming=incoming)
    try:
        server = StorageServer(
            host=settings.receiver.host,
            port=settings.receiver.port,
            ae_title=settings.node.ae_title,
            contexts=supported_contexts(),
            limits=_limits(settings),
            service=intake,
        )
        server.start()
        rebuilder = threading.Thread(
            target=_rebuild, args=(settings, store, archive, stop), name="index-rebuilder", daemon=True
        )
        rebuilder.start()
        _log.info("receiver.started", port=server.port, ae_title=settings.node.ae_title)
        ready(server.port)
        while not stop.wait(HOUSEKEEPING_S):
            intake.retry_closing()
        intake.refuse_new()
        server.stop_accepting()
        server.end_associations(GRACE_S)
        rebuilder.join(GRACE_S)
    finally:
        intake.close()
        incoming.close()
    _log.info("receiver.stopped")


def _limits(settings: Settings) -> Limits:
    receiver = settings.receiver
    return Limits(
        acse_timeout_s=receiver.acse_timeout_s,
        network_timeout_s=receiver.network_timeout_s,
        max_pdu_bytes=receiver.max_pdu_bytes,
        max_instance_bytes=receiver.max_instance_bytes,
        max_associations=receiver.max_associations,
    )


def _rebuild(settings: Settings, store: Store, archive: Archive, stop: threading.Event) -> None:
    try:
        rebuild_index(store, archive, stop=stop, max_instance_bytes=settings.receiver.max_instance_bytes)
    except (StoreError, OSError) as error:
        _log.error("index.unchecked", error=type(error).__name__)
