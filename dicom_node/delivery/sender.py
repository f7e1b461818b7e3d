"""Works through the deliveries that are due: sent, tried again later, or a dead letter that names its cause."""

import ssl
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial

import structlog

from db import Store, StoredDelivery
from dicom_node.backoff import retry_delay_s
from dicom_node.delivery.dicom import Receipt, store
from dicom_node.delivery.errors import DeliveryError, Undeliverable, Unreachable
from dicom_node.network.tls import TlsError, certificate_folder
from dicom_node.settings import Destination, Settings
from dicom_node.sweep import Unit

__all__ = ["Sender"]

_LOG = structlog.stdlib.get_logger()

RETRY_BASE_S = 30.0

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
        """One unit for each delivery that is due; it is tried once."""
        for delivery in self._store.deliveries.due(datetime.now(UTC)):
            yield Unit(run=partial(self._send, delivery))

    def _send(self, delivery: StoredDelivery) -> None:
        facts = {"delivery_id": delivery.id, "destination": delivery.destination}
        try:
            receipt = self._deliver(delivery)
        except DeliveryError as error:
            delay_s = retry_delay_s(delivery.attempt, RETRY_BASE_S)
            self._store.deliveries.failed(delivery.id, str(error), transient=error.transient, retry_delay_s=delay_s)
            _LOG.warning("delivery.failed", cause=str(error), transient=error.transient, **facts)
        else:
            self._store.deliveries.sent(delivery.id)
            _LOG.info("delivery.sent", status=f"0x{receipt.status:04X}", **facts)

    def _deliver(self, delivery: StoredDelivery) -> Receipt:
        destination = self._destinations.get(delivery.destination)
        if destination is None:
            raise Undeliverable(f"{delivery.destination} is not a destination of the settings.")
        return self._channel(
            self._settings.results_dir / delivery.path,
            host=destination.host,
            port=destination.port,
            called=destination.ae_title,
            calling=self._settings.node.ae_title,
            **self._security(destination),
        )

    def _security(self, destination: Destination) -> dict[str, ssl.SSLContext]:
        if self._certificates is None or destination.ae_title not in self._settings.tls.outgoing:
            return {}
        try:
            return {"tls": self._certificates.client_context()}
        except TlsError as error:
            raise Unreachable(str(error)) from error
