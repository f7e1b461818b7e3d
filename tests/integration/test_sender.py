"""Every delivery that is due is tried in its destination's lane: sent, tried again later, or a dead letter."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from node_harness import wait_until
from store_bench import SERIES, STUDY, Bench, artefacts_of, new_database

from alerts import DeliveryState
from db import StaleState, Store, StoredDelivery
from dicom_node.composition import node_sweeps
from dicom_node.delivery import Busy, DeliveryError, Parcel, Receipt, Refused, Unreachable
from dicom_node.failing_units import FailingUnits
from dicom_node.settings import Database, Delivery, DicomDestination, Settings
from dicom_node.sweeps import Sweeps

DESTINATIONS = tuple(DicomDestination(ae_title=name, host=name.lower(), port=104) for name in ("P", "Q"))

TAKEN = Receipt(answer="0x0000")
Deliver = Callable[[str, Parcel], Receipt]


@dataclass(frozen=True)
class _Channel:
    """The channel of a destination, whose deliveries are the test's."""

    destination: str
    given: Deliver

    def deliver(self, parcel: Parcel) -> Receipt:
        return self.given(self.destination, parcel)

    def check(self) -> str:
        return "there"


@dataclass(kw_only=True)
class _Node:
    """The scheduler of a node whose channel is the test's."""

    bench: Bench
    settings: Settings
    channel: Deliver = lambda _destination, _parcel: TAKEN
    failing: FailingUnits = field(init=False)

    def __post_init__(self) -> None:
        self.failing = FailingUnits(self.bench.store.failing_units)

    @property
    def store(self) -> Store:
        return self.bench.store

    def tick(self, *, wait: bool = True, stop: threading.Event | None = None) -> Sweeps:
        """One look at the deliveries, as the scheduler does it."""
        channels = {one.name: _Channel(one.name, self.channel) for one in self.settings.destinations}
        found = node_sweeps(self.settings, self.store, channels)
        (sweep,) = (one for one in found if one.name == "deliveries")
        sweeps = Sweeps([sweep], leads=lambda: not (stop and stop.is_set()), failing=self.failing)
        sweeps.tick(sweep)
        if wait:
            sweeps.wait()
        return sweeps

    def states(self) -> list[DeliveryState]:
        return [one.state for one in reversed(self.store.deliveries.list())]

    def delivery(self, number: int = 1) -> StoredDelivery:
        return next(one for one in self.store.deliveries.list() if one.id == number)


@contextmanager
def _opened(folder: Path) -> Iterator[_Node]:
    url = new_database("sqlite", folder)
    settings = Settings(
        database=Database(url=url), destinations=DESTINATIONS, delivery=Delivery(retry_base_s=30, lease_s=30)
    )
    with Store.open(url) as store:
        yield _Node(bench=Bench(store=store, url=url), settings=settings)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[_Node]:
    """A node with nothing to send yet."""
    with _opened(tmp_path) as made:
        yield made


def _results(node: _Node, count: int, destinations: str = "P") -> None:
    for number in range(count):
        node.bench.record(node.bench.running(f"{STUDY}.{number}"), destinations=destinations)


def test_one_delivery_of_a_destination_is_under_way_at_a_time(node: _Node) -> None:
    """While one is being sent, those that wait still wait: a crash at this moment costs one attempt, and one only."""
    _results(node, 8)
    seen: list[list[DeliveryState]] = []

    def channel(_destination: str, _parcel: Parcel) -> Receipt:
        seen.append(node.states())
        return TAKEN

    node.channel = channel
    node.tick()
    assert [states.count(DeliveryState.SENDING) for states in seen] == [1] * 8
    assert [states.count(DeliveryState.PENDING) for states in seen] == list(range(7, -1, -1))
    assert node.states() == [DeliveryState.SENT] * 8


def test_stop_comes_between_two_deliveries(node: _Node) -> None:
    """Who is told to stop while it sends takes up no further delivery; what waits was not begun."""
    _results(node, 3)
    stop = threading.Event()

    def channel(_destination: str, _parcel: Parcel) -> Receipt:
        stop.set()
        return TAKEN

    node.channel = channel
    node.tick(stop=stop)
    assert node.states() == [DeliveryState.SENT, DeliveryState.PENDING, DeliveryState.PENDING]
    assert [one.attempt for one in node.store.deliveries.list()] == [0, 0, 1]


def test_silent_destination_holds_up_no_other(node: _Node) -> None:
    """While one destination keeps its sender waiting, everything for the other is sent; each has one sender."""
    _results(node, 3, destinations="PQ")
    may_answer, asked = threading.Event(), threading.Semaphore(0)

    def channel(destination: str, _parcel: Parcel) -> Receipt:
        if destination == "P":
            asked.release()
            assert may_answer.wait(60)
        return TAKEN

    node.channel = channel
    sweeps = node.tick(wait=False)
    assert asked.acquire(timeout=60)
    wait_until(lambda: node.states().count(DeliveryState.SENT) == 3, what="everything for Q is sent")
    assert {one.destination for one in node.store.deliveries.list([DeliveryState.SENT])} == {"Q"}
    assert not asked.acquire(blocking=False)
    may_answer.set()
    sweeps.wait()
    assert set(node.states()) == {DeliveryState.SENT}


def test_deliveries_of_a_result_go_in_their_order(node: _Node) -> None:
    """What refers to an object does not overtake it: it waits while the object is tried again, and goes after it."""
    segmentation, report = (
        replace(artefacts_of(uid)[0], name=name) for uid, name in (("1.8", "seg.dcm"), ("1.9", "report.dcm"))
    )
    node.bench.record(node.bench.running(), artefacts=(segmentation, report))
    outcome: list[DeliveryError | None] = [Busy("0xA700")]
    tried: list[int] = []

    def channel(_destination: str, _parcel: Parcel) -> Receipt:
        (now,) = node.store.deliveries.list([DeliveryState.SENDING])
        tried.append(now.id)
        if outcome and (error := outcome.pop()):
            raise error
        return TAKEN

    node.channel = channel
    node.tick()
    assert (tried, node.states()) == ([1], [DeliveryState.PENDING, DeliveryState.PENDING])
    later = datetime.now(UTC) + timedelta(hours=1)
    assert [one.id for one in _taken(node, later)] == [1, 2]


def _taken(node: _Node, now: datetime) -> Iterator[StoredDelivery]:
    while (taken := node.store.outbox.claim("P", now, 60)) is not None:
        yield node.store.outbox.sent(taken)


def test_file_of_the_artefact_goes_and_the_answer_is_kept(node: _Node) -> None:
    """What the channel gets is the artefact's file and UID; what it answered stands in the event."""
    given: list[tuple[str, Parcel]] = []

    def channel(destination: str, parcel: Parcel) -> Receipt:
        given.append((destination, parcel))
        return TAKEN

    node.channel = channel
    _results(node, 1)
    node.tick()
    ((destination, parcel),) = given
    artefact = node.delivery().artefact
    assert (destination, parcel.path) == ("P", node.settings.results_dir / artefact.path)
    assert (parcel.delivery_id, parcel.sop_instance_uid) == (1, artefact.sop_instance_uid)
    assert [one.detail for one in node.bench.events("delivery", f"{STUDY}.0") if one.event == "confirm"] == ["0x0000"]


def test_nothing_goes_to_a_paused_destination(node: _Node) -> None:
    """What comes for it waits and loses no attempt, the others go on; resumed, it gets everything. Both are events."""
    _results(node, 2, destinations="PQ")
    assert node.store.destinations.pause("P", "ann", "update")
    assert not node.store.destinations.pause("P", "bob")
    (paused,) = node.store.destinations.paused()
    assert (paused.name, paused.paused_by, paused.reason) == ("P", "ann", "update")
    node.tick()
    assert {(one.destination, one.state) for one in node.store.deliveries.list()} == {
        ("P", DeliveryState.PENDING),
        ("Q", DeliveryState.SENT),
    }
    assert {one.attempt for one in node.store.deliveries.list([DeliveryState.PENDING])} == {0}
    assert node.store.destinations.resume("P", "bob")
    assert not node.store.destinations.resume("P", "bob")
    node.tick()
    assert set(node.states()) == {DeliveryState.SENT}


def test_dead_letter_is_retried_with_attempts_anew_and_what_waits_is_cancelled(node: _Node) -> None:
    """Retry takes what failed or was sent, cancel what waits or failed; nothing else, and nothing that was replaced."""
    outbox = node.store.deliveries

    def refuse(_destination: str, _parcel: Parcel) -> Receipt:
        raise Refused("0xA900")

    node.channel = refuse
    _results(node, 1)
    node.tick()
    assert (node.delivery().state, outbox.count("P", DeliveryState.FAILED)) == (DeliveryState.FAILED, 1)
    retried = outbox.retry(1, "ann")
    assert (retried.state, retried.attempt, retried.cause) == (DeliveryState.PENDING, 0, None)
    with pytest.raises(StaleState):
        outbox.retry(1, "ann")
    assert outbox.cancel(1, "ann").state is DeliveryState.CANCELLED
    for again in (outbox.cancel, outbox.retry):
        with pytest.raises(StaleState):
            again(1, "ann")
        with pytest.raises(StaleState):
            again(99, "ann")
    node.channel = lambda _destination, _parcel: TAKEN
    node.bench.record(node.bench.again(f"{STUDY}.0"))
    node.tick()
    assert outbox.retry(2, "ann").state is DeliveryState.PENDING
    node.bench.record(node.bench.again(f"{STUDY}.0"))
    with pytest.raises(StaleState):
        outbox.retry(2, "ann")


@pytest.mark.parametrize(("error", "again"), [(Unreachable("x"), True), (Busy("x"), True), (Refused("0xA900"), False)])
def test_failure_is_told_with_its_cause_and_whether_to_try_again(
    node: _Node, error: DeliveryError, again: bool
) -> None:
    """The cause is the error's own words; what may pass waits within the jitter of its delay."""

    def channel(_destination: str, _parcel: Parcel) -> Receipt:
        raise error

    node.channel = channel
    _results(node, 1)
    before = datetime.now(UTC)
    node.tick()
    delivery = node.delivery()
    assert (delivery.state, delivery.cause) == (DeliveryState.PENDING if again else DeliveryState.FAILED, str(error))
    if again:
        assert 15 <= (delivery.not_before - before).total_seconds() <= 46


def test_unreachable_destination_is_left_alone_for_a_while_and_told(node: _Node) -> None:
    """What waits for it is not tried in turn, attempt after attempt; that it cannot be reached can be seen."""
    tried: list[object] = []

    def channel(_destination: str, parcel: Parcel) -> Receipt:
        tried.append(parcel)
        raise Unreachable("P does not answer.")

    node.channel = channel
    _results(node, 3)
    node.tick()
    node.tick()
    assert len(tried) == 1
    (failing,) = node.store.failing_units.list(10)
    assert (failing.sweep, failing.unit) == ("deliveries", "P")
    assert "does not answer" in failing.cause


def test_lease_is_renewed_while_a_delivery_is_under_way(node: _Node) -> None:
    """A large object on a slow line is not taken for one whose sender is gone."""
    node.settings = node.settings.model_copy(update={"delivery": Delivery(lease_s=0.3)})
    _results(node, 1)
    renewed = threading.Event()
    renew = node.store.outbox.renew

    def channel(_destination: str, _parcel: Parcel) -> Receipt:
        assert renewed.wait(60)
        assert node.store.outbox.claim("P", datetime.now(UTC), 60) is None
        return TAKEN

    def watched(delivery: StoredDelivery, _lease_s: float) -> None:
        renew(delivery, 60)
        renewed.set()

    object.__setattr__(node.store, "outbox", _Watched(node.store.outbox, watched))
    node.channel = channel
    node.tick()
    assert node.states() == [DeliveryState.SENT]


class _Watched:
    """The outbox, whose renewals a test sees."""

    def __init__(self, outbox: Any, renew: Callable[..., None]) -> None:
        self._outbox = outbox
        self.renew = renew

    def __getattr__(self, name: str) -> Any:
        return getattr(self._outbox, name)


def test_destination_that_is_no_longer_set_is_permanent(node: _Node) -> None:
    """A delivery to a destination that was taken out of the settings is a dead letter that says so."""
    _results(node, 1, destinations="O")
    node.tick()
    delivery = node.delivery()
    assert delivery.state is DeliveryState.FAILED
    assert delivery.cause is not None
    assert "O is not a destination" in delivery.cause


def test_delivery_of_a_replaced_result_is_not_sent(node: _Node) -> None:
    """A report that waited while a newer one was made stays here."""
    node.bench.analysed()
    node.bench.record(node.bench.again(SERIES))
    node.tick()
    assert node.states() == [DeliveryState.CANCELLED, DeliveryState.SENT]
