"""Works through the deliveries that are due: sent, tried again later, or a dead letter that names its cause."""

import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import structlog

from db import StaleState, Store, StoredDelivery, StoreError
from dicom_node.backoff import retry_delay_s
from dicom_node.delivery.channel import Channel, Parcel, Receipt
from dicom_node.delivery.errors import DeliveryError, Undeliverable, Unreachable
from dicom_node.logs import cause_of
from dicom_node.settings import Delivery
from dicom_node.sweep import Unit

__all__ = ["Sender"]

_LOG = structlog.stdlib.get_logger()

BEATS_A_LEASE = 3


class Sender:
    """Sends what is due by the channels of the destinations; ``channels`` are by the destinations' names."""

    def __init__(self, *, settings: Delivery, store: Store, results_dir: Path, channels: Mapping[str, Channel]) -> None:
        self._settings = settings
        self._store = store
        self._results_dir = results_dir
        self._channels = channels

    def units(self) -> Iterator[Unit]:
        """One unit for each destination that something waits for: its lane, which takes up one delivery at a time."""
        for destination in self._store.deliveries.destinations():
            yield Unit(identity=destination, run=partial(self._send_next, destination))

    def _send_next(self, destination: str) -> bool:
        """Whether there was a delivery to try. A destination that cannot be reached is left alone for a while."""
        delivery = self._store.deliveries.claim(destination, datetime.now(UTC), self._settings.lease_s)
        if delivery is None:
            return False
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
            self._store.deliveries.sent(delivery, receipt.answer)
            _LOG.info("delivery.sent", answer=receipt.answer, delivery_id=delivery.id, destination=destination)
        return True

    def _deliver(self, delivery: StoredDelivery) -> Receipt:
        channel = self._channels.get(delivery.destination)
        if channel is None:
            raise Undeliverable(f"{delivery.destination} is not a destination of the settings.")
        artefact = delivery.artefact
        return channel.deliver(
            Parcel(
                delivery_id=delivery.id,
                path=self._results_dir / artefact.path,
                sop_instance_uid=artefact.sop_instance_uid,
                absent=self._store.deliveries.absent(delivery),
            )
        )

    def _failed(self, delivery: StoredDelivery, cause: str, *, transient: bool) -> None:
        delay_s = retry_delay_s(delivery.attempt, self._settings.retry_base_s)
        self._store.deliveries.failed(delivery, cause, transient=transient, retry_delay_s=delay_s)
        facts = {"delivery_id": delivery.id, "destination": delivery.destination}
        _LOG.warning("delivery.failed", cause=cause, transient=transient, **facts)

    @contextmanager
    def _lease(self, delivery: StoredDelivery) -> Generator[None]:
        """Renew the lease while the delivery is under way."""
        over = threading.Event()
        lease_s = self._settings.lease_s

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
