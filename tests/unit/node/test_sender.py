"""Every delivery that is due ends the attempt as sent, tried again later, or given up with its cause."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from alerts import DeliveryState
from db import StoredDelivery
from dicom_node.delivery import Busy, DeliveryError, Receipt, Refused, Unreachable
from dicom_node.delivery.sender import RETRY_BASE_S, Sender
from dicom_node.settings import Destination, Settings

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SETTINGS = Settings(destinations=(Destination(ae_title="PACS", host="pacs", port=104),))


class _Deliveries:
    """What the sender says of each delivery."""

    def __init__(self, due: list[StoredDelivery]) -> None:
        self._due = due
        self.said: list[Any] = []

    def due(self, _now: datetime) -> list[StoredDelivery]:
        return self._due

    def sent(self, number: int) -> None:
        self.said.append((number, "sent"))

    def failed(self, number: int, cause: str, *, transient: bool, retry_delay_s: float) -> None:
        self.said.append((number, cause, transient, retry_delay_s))


def _delivery(number: int, destination: str = "PACS", attempt: int = 1) -> StoredDelivery:
    return StoredDelivery(
        id=number,
        result_id=1,
        series_instance_uid="1.2.3",
        kind="sr",
        destination=destination,
        path="ab/report.dcm",
        sop_instance_uid="1.2.3.4",
        sop_class_uid="1.2",
        state=DeliveryState.SENDING,
        attempt=attempt,
        max_attempts=3,
        not_before=NOW,
        cause=None,
        created_at=NOW,
        sent_at=None,
    )


def _send(deliveries: list[StoredDelivery], outcome: Receipt | DeliveryError) -> tuple[list[Any], list[Any]]:
    sent: list[Any] = []

    def channel(path: object, **peer: object) -> Receipt:
        sent.append((path, peer))
        if isinstance(outcome, DeliveryError):
            raise outcome
        return outcome

    store = _Deliveries(deliveries)
    sender = Sender(settings=SETTINGS, store=SimpleNamespace(deliveries=store), channel=channel)  # type: ignore[arg-type]
    for unit in sender.units():
        unit.run()
    return store.said, sent


def test_delivery_goes_to_the_destination_of_the_settings() -> None:
    """The file of the results folder goes to the host, port and AE title that the settings name, and is confirmed."""
    said, sent = _send([_delivery(1)], Receipt(status=0))
    assert said == [(1, "sent")]
    assert sent == [
        (
            SETTINGS.results_dir / "ab/report.dcm",
            {"host": "pacs", "port": 104, "called": "PACS", "calling": "LUNGSENTRY"},
        )
    ]


@pytest.mark.parametrize(
    ("error", "transient"), [(Unreachable("x"), True), (Busy("x"), True), (Refused("0xA900"), False)]
)
def test_failure_is_told_with_its_cause_and_whether_to_try_again(error: DeliveryError, transient: bool) -> None:
    """The cause is the error's own words; the delay grows with the attempt, within its jitter."""
    ((number, cause, again, delay_s),), _sent = _send([_delivery(7, attempt=3)], error)
    assert (number, cause, again) == (7, str(error), transient)
    assert 2 * RETRY_BASE_S <= delay_s <= 6 * RETRY_BASE_S


def test_destination_that_is_no_longer_set_is_permanent() -> None:
    """A delivery to a destination that was taken out of the settings is a dead letter that says so."""
    ((_number, cause, again, _delay_s),), sent = _send([_delivery(1, "OLD")], Receipt(status=0))
    assert not again
    assert "OLD is not a destination" in cause
    assert not sent
