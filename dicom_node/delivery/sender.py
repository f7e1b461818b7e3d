"""Works through the deliveries that are due: sent, tried again later, or a dead letter that names its cause."""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import structlog

from alerts.artefact import Artefact
from alerts.message import Identify, Message
from db import StaleState, Store, StoredDelivery, StoreError
from dicom_node.backoff import retry_delay_s
from dicom_node.delivery.channel import Channel, MessageChannel, ObjectChannel, Parcel, Receipt
from dicom_node.delivery.errors import DeliveryError, Undeliverable, Unreachable
from dicom_node.delivery.forms import deliver_in_form
from dicom_node.delivery.letters import Letters, key_of
from dicom_node.delivery.pace import HOUR, Pace, pace_of
from dicom_node.logs import cause_of
from dicom_node.settings import Delivery, Destination, MessageDestination
from dicom_node.sweep import Unit

__all__ = ["Sender"]

_LOG = structlog.stdlib.get_logger()

BEATS_A_LEASE = 3


class Sender:
    """Sends what is due by the channels of the destinations; ``channels`` are by the destinations' names."""

    def __init__(
        self,
        *,
        settings: Delivery,
        destinations: Iterable[Destination],
        store: Store,
        results_dir: Path,
        worklist_url: str | None,
        channels: Mapping[str, Channel],
    ) -> None:
        self._settings = settings
        self._store = store
        self._results_dir = results_dir
        self._letters = Letters(store=store, results_dir=results_dir, worklist_url=worklist_url)
        self._channels = channels
        told = [one for one in destinations if isinstance(one, MessageDestination)]
        self._identify = {one.name: Identify(one.identify) for one in told}
        self._paces = {one.name: pace_of(one) for one in told}

    def units(self) -> Iterator[Unit]:
        """One unit for each destination that something waits for: its lane, which takes up one delivery at a time."""
        for destination in self._store.outbox.destinations():
            yield Unit(identity=destination, run=partial(self._send_next, destination))

    def _send_next(self, destination: str) -> bool:
        """Whether there was a delivery to try. A destination that cannot be reached is left alone for a while."""
        claimed = self._claim(destination, datetime.now(UTC))
        if not claimed:
            return False
        with self._lease(claimed):
            if claimed[0].artefact is not None:
                self._try(claimed, lambda: self._deliver(claimed[0], claimed[0].artefact))
                return True
            composed = self._composed(claimed)
            if composed:
                together = [delivery for delivery, _ in composed]
                self._try(together, lambda: self._tell(together, [message for _, message in composed]))
        return True

    def _try(self, together: Sequence[StoredDelivery], send: Callable[[], Receipt]) -> None:
        """Send, and write down what came of it."""
        try:
            receipt = send()
        except DeliveryError as error:
            self._failed(together, str(error), transient=error.transient)
            if isinstance(error, Unreachable):
                raise
        except Exception as error:
            self._failed(together, cause_of(error), transient=True)
            raise
        else:
            sent = self._store.outbox.all_sent(together, receipt.answer, sent_as=receipt.sent_as)
            log = _LOG.warning if receipt.warning else _LOG.info
            for one in sent:
                log("delivery.sent", answer=receipt.answer, **_facts(one))

    def _claim(self, destination: str, now: datetime) -> tuple[StoredDelivery, ...]:
        """What goes now: a delivery, or messages that go in one letter, as the pace of the destination allows."""
        outbox, lease_s, attempts = self._store.outbox, self._settings.lease_s, self._settings.max_attempts
        pace = self._paces.get(destination)
        if pace is not None and pace.is_spent(self._told(destination, pace, now), now):
            return ()
        told_before = pace.told_before(now) if pace else None
        first = outbox.claim(destination, now, lease_s, told_before=told_before, attempts=attempts)
        if first is None:
            return ()
        channel = self._channels.get(destination)
        most = channel.most_together - 1 if isinstance(channel, MessageChannel) else 0
        if first.artefact is not None or most == 0 or (pace is not None and pace.is_quiet(now)):
            return (first,)
        return (first, *outbox.gather(first, now, lease_s, most, attempts=attempts))

    def _told(self, destination: str, pace: Pace, now: datetime) -> Sequence[datetime]:
        return self._store.outbox.told_since(destination, now - HOUR, pace.most_per_hour)

    def _deliver(self, delivery: StoredDelivery, artefact: Artefact | None) -> Receipt:
        channel = self._channel(delivery)
        if artefact is None or not isinstance(channel, ObjectChannel):
            raise Undeliverable(f"{delivery.destination} takes no objects.")
        parcel = Parcel(
            delivery_id=delivery.id,
            path=self._results_dir / artefact.path,
            sop_instance_uid=artefact.sop_instance_uid,
        )
        if artefact.sop_class_uid is None:
            return channel.deliver(parcel)
        return deliver_in_form(channel, parcel, artefact.sop_class_uid, delivery=delivery, store=self._store)

    def _tell(self, together: Sequence[StoredDelivery], messages: Sequence[Message]) -> Receipt:
        channel = self._channel(together[0])
        if not isinstance(channel, MessageChannel):
            raise Undeliverable(f"{together[0].destination} takes no messages.")
        return channel.tell(key_of(together), messages)

    def _composed(self, claimed: Sequence[StoredDelivery]) -> list[tuple[StoredDelivery, Message]]:
        """Each with its message; what cannot be put together fails, and keeps nothing else from being told."""
        composed: list[tuple[StoredDelivery, Message]] = []
        for one in claimed:
            identify = self._identify.get(one.destination, Identify.NONE)
            try:
                composed.append((one, self._letters.message(one, identify)))
            except DeliveryError as error:
                self._failed([one], str(error), transient=error.transient)
        return composed

    def _channel(self, delivery: StoredDelivery) -> Channel:
        channel = self._channels.get(delivery.destination)
        if channel is None:
            raise Undeliverable(f"{delivery.destination} is not a destination of the settings.")
        return channel

    def _failed(self, together: Sequence[StoredDelivery], cause: str, *, transient: bool) -> None:
        for one in together:
            delay_s = retry_delay_s(one.attempt, self._settings.retry_base_s)
            try:
                self._store.outbox.failed(one, cause, transient=transient, retry_delay_s=delay_s)
            except StaleState:  # somebody else sends it now; the others of the letter are still to be written down
                _LOG.warning("delivery.lost", **_facts(one))
            else:
                _LOG.warning("delivery.failed", cause=cause, transient=transient, **_facts(one))

    @contextmanager
    def _lease(self, together: Sequence[StoredDelivery]) -> Generator[None]:
        """Renew the lease while the delivery is under way."""
        over = threading.Event()
        lease_s = self._settings.lease_s
        held = list(together)

        def renew() -> None:
            while held and not over.wait(lease_s / BEATS_A_LEASE):
                for one in tuple(held):
                    try:
                        self._store.outbox.renew(one, lease_s)
                    except StaleState:
                        held.remove(one)  # how its attempt ends is told to whoever ends it
                    except StoreError as error:
                        _LOG.warning("delivery.lease_not_renewed", cause=cause_of(error), **_facts(one))

        renewing = threading.Thread(target=renew, name=f"lease-{together[0].id}", daemon=True)
        renewing.start()
        try:
            yield
        finally:
            over.set()
            renewing.join()


def _facts(delivery: StoredDelivery) -> dict[str, object]:
    """By what a delivery is found in the log; the series is the thread from its association to here."""
    return {
        "delivery_id": delivery.id,
        "destination": delivery.destination,
        "series_instance_uid": delivery.series_instance_uid,
        "result_id": delivery.result_id,
    }
