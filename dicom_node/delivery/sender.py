"""Works through the deliveries that are due: sent, tried again later, or a dead letter that names its cause."""

import ssl
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

import structlog

from db import StaleState, Store, StoredDelivery, StoreError
from dicom_node.backoff import retry_delay_s
from dicom_node.delivery.dicom import Receipt, store
from dicom_node.delivery.errors import DeliveryError, Undeliverable, Unreachable
from dicom_node.logs import cause_of
from dicom_node.network.tls import TlsError, certificate_folder
from dicom_node.settings import Destination, Settings
from dicom_node.sweep import Unit

__all__ = ["Channel", "Sender"]

_LOG = structlog.stdlib.get_logger()

BEATS_A_LEASE = 3

Channel = Callable[..., Receipt]


class Sender:
    """Sends what is due to the destinations of the settings."""

    def __init__(self, *, settings: Settings, store: Store, channel: Channel = store) -> None:
        self._settings = settings
        self._store = store
        self._channel = channel
        self._certificates = certificate_folder(settings.tls)
        self._destinations: Mapping[str, Destination] = {one.ae_title: one for one in settings.destinations}

    def units(self) -> Iterator[Unit]:
        """One unit for each destination that something waits for: its lane, which takes up one delivery at a time."""
        for destination in self._store.deliveries.destinations():
            yield Unit(identity=destination, run=partial(self._send_next, destination))

    def _send_next(self, destination: str) -> bool:
        """Whether there was a delivery to try. A destination that cannot be reached is left alone for a while."""
        lease_s = self._settings.delivery.lease_s
        delivery = self._store.deliveries.claim(destination, datetime.now(UTC), lease_s)
        if delivery is None:
            return False
        facts = {"delivery_id": delivery.id, "destination": destination}
        try:
            with self._lease(delivery):
                receipt = self._deliver(delivery)
        except DeliveryError as error:
            self._failed(delivery, str(error), transient=error.transient)
            if isinstance(error, Unreachable):
                raise
        except Exception as error:
            self._failed(delivery, cause_of(error), transient=True)
            raise
        else:
            self._store.deliveries.sent(delivery)
            _LOG.info("delivery.sent", status=f"0x{receipt.status:04X}", **facts)
        return True

    def _failed(self, delivery: StoredDelivery, cause: str, *, transient: bool) -> None:
        delay_s = retry_delay_s(delivery.attempt, self._settings.delivery.retry_base_s)
        self._store.deliveries.failed(delivery, cause, transient=transient, retry_delay_s=delay_s)
        facts = {"delivery_id": delivery.id, "destination": delivery.destination}
        _LOG.warning("delivery.failed", cause=cause, transient=transient, **facts)

    @contextmanager
    def _lease(self, delivery: StoredDelivery) -> Generator[None]:
        """Renew the lease while the delivery is under way."""
        over = threading.Event()
        lease_s = self._settings.delivery.lease_s

        def renew() -> None:
            while not over.wait(lease_s / BEATS_A_LEASE):
                try:
                    self._store.deliveries.renew(delivery, lease_s)
                except StaleState:
                    return  # how the attempt ends is told to whoever ends it
                except StoreError as error:
                    _LOG.warning("delivery.lease_not_renewed", delivery_id=delivery.id, cause=cause_of(error))

        renewing = threading.Thread(target=renew, name=f"lease-{delivery.id}", daemon=True)
        renewing.start()
        try:
            yield
        finally:
            over.set()
            renewing.join()

    def _deliver(self, delivery: StoredDelivery) -> Receipt:
        destination = self._destinations.get(delivery.destination)
        if destination is None:
            raise Undeliverable(f"{delivery.destination} is not a destination of the settings.")
        return self._channel(
            self._settings.results_dir / delivery.artefact.path,
            host=destination.host,
            port=destination.port,
            called=destination.ae_title,
            calling=self._settings.node.ae_title,
            timeout_s=self._settings.delivery.timeout_s,
            **self._security(destination),
        )

    def _security(self, destination: Destination) -> dict[str, ssl.SSLContext]:
        if self._certificates is None or destination.ae_title not in self._settings.tls.outgoing:
            return {}
        try:
            return {"tls": self._certificates.client_context()}
        except TlsError as error:
            raise Unreachable(str(error)) from error
