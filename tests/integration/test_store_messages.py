"""Messages about alerts are written with what gives the occasion, wait for the PACS, and end with their alert."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from store_bench import DATABASES, ELIGIBLE, NO_LUNG, Bench, decision_of, findings_of, opened

from alerts import ALONE_AFTER, AlertState, DeliveryState, Occasion
from db import DismissalReason, RecordedResult, Rejected, StaleState, StoredDelivery


@pytest.fixture(params=DATABASES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    with opened(request.param, tmp_path) as made:
        yield made


def _messages(bench: Bench) -> list[tuple[str, Occasion | None, DeliveryState, int]]:
    return [
        (one.destination, one.occasion, one.state, one.result_id)
        for one in reversed(bench.store.deliveries.list())
        if one.artefact is None
    ]


def _claim(bench: Bench, destination: str = "MAIL", **terms: object) -> StoredDelivery | None:
    return bench.store.outbox.claim(destination, bench.clock.now, 600, **terms)  # type: ignore[arg-type]


def _flagged(bench: Bench, series: str = "1.2.3.1", **other: object) -> RecordedResult:
    return bench.record(bench.running(series, study=f"9.{series}"), tell=("MAIL",), **other)  # type: ignore[arg-type]


def test_a_flagged_result_tells_each_destination_once_in_its_transaction(bench: Bench) -> None:
    """Raised: told. Renewed by another result: not told again; what still waits is told of the newer result."""
    first = bench.record(bench.running(), tell=("MAIL", "HOOK", "MAIL"))
    assert _messages(bench) == [
        ("MAIL", Occasion.FLAGGED, DeliveryState.PENDING, first.result_id),
        ("HOOK", Occasion.FLAGGED, DeliveryState.PENDING, first.result_id),
    ]
    sent = bench.store.outbox.claim("P", bench.clock.now, 600)
    assert sent is not None
    bench.store.outbox.sent(sent)
    taken = _claim(bench)
    assert taken is not None
    assert (taken.artefact, taken.alert_id, taken.what) == (None, first.alert_id, "message")
    bench.store.outbox.sent(taken)
    second = bench.record(bench.again(), tell=("MAIL", "HOOK"))
    assert _messages(bench) == [
        ("MAIL", Occasion.FLAGGED, DeliveryState.SENT, first.result_id),
        ("HOOK", Occasion.FLAGGED, DeliveryState.PENDING, second.result_id),
    ]


def test_a_flagged_reconstruction_that_others_gave_way_to_is_told_of(bench: Bench) -> None:
    """Two reconstructions of one acquisition: that the other one gives way in the same transaction costs no message."""
    store, other, chosen = bench.store, "1.2.3.8", "1.2.3.9"
    outranked = Rejected(series_instance_uid=other, revision=bench.complete(other), screening=NO_LUNG)
    store.jobs.enqueue(chosen, bench.complete(chosen), ELIGIBLE, 3, rejected=(outranked,))
    first = bench.record(bench.claim(), tell=("MAIL",))
    assert _messages(bench) == [("MAIL", Occasion.FLAGGED, DeliveryState.PENDING, first.result_id)]


def test_a_result_that_is_not_flagged_tells_nobody(bench: Bench) -> None:
    """A negative result has a report, and no message."""
    _flagged(bench, alert=False)
    assert _messages(bench) == []


def test_refused_result_leaves_no_message(bench: Bench) -> None:
    """The result of who is not at work on the job is refused whole: its message with it."""
    job = bench.running()
    with pytest.raises(StaleState):
        bench.store.results.record(
            job,
            "somebody else",
            findings=findings_of(job),
            screening=ELIGIBLE,
            decision=decision_of(job, alert=True),
            artefacts=(),
            tell=("MAIL",),
            seconds={},
        )
    assert _messages(bench) == []


def test_no_message_goes_before_the_report_is_confirmed(bench: Bench) -> None:
    """It waits while an object of its result is not over, five minutes at most; and knows whether it was confirmed."""
    first = _flagged(bench)
    assert _claim(bench) is None
    report = _claim(bench, "P")
    assert report is not None
    assert _claim(bench) is None
    assert bench.store.deliveries.confirmed(first.result_id) is False
    bench.store.outbox.sent(report)
    assert bench.store.deliveries.confirmed(first.result_id) is True
    assert _claim(bench) is not None
    late = _flagged(bench, "1.2.3.2")
    bench.clock.advance(ALONE_AFTER.total_seconds() - 1)
    assert _claim(bench) is None
    bench.clock.advance(1)
    alone = _claim(bench)
    assert alone is not None
    assert alone.result_id == late.result_id
    nowhere = _flagged(bench, "1.2.3.3", destinations="")
    assert bench.store.deliveries.confirmed(nowhere.result_id) is None
    assert _claim(bench) is not None


def test_take_up_tells_in_its_transaction(bench: Bench) -> None:
    """Who takes a case up tells the clinicians' channels; who comes second tells nobody."""
    recorded = bench.analysed()
    assert recorded.alert_id is not None
    bench.store.alerts.acknowledge(recorded.alert_id, "dr", tell=("WARD",))
    with pytest.raises(StaleState):
        bench.store.alerts.acknowledge(recorded.alert_id, "other", tell=("WARD", "HIS"))
    assert _messages(bench) == [("WARD", Occasion.TAKEN_UP, DeliveryState.PENDING, recorded.result_id)]


def test_a_message_ends_with_its_alert(bench: Bench) -> None:
    """Dismissed before it went: it does not go. Superseded: neither; and neither is sent again by hand."""
    dismissed = _flagged(bench, destinations="")
    assert dismissed.alert_id is not None
    bench.store.alerts.dismiss(dismissed.alert_id, "dr", reason=DismissalReason.NOT_THERE)
    assert _claim(bench) is None
    _flagged(bench, "1.2.3.2", destinations="")
    bench.record(bench.again("1.2.3.2"), alert=False, destinations="")
    assert _claim(bench) is None
    assert [state for _, _, state, _ in _messages(bench)] == [DeliveryState.CANCELLED] * 2


def test_a_dead_letter_about_a_standing_alert_goes_over_to_its_newer_result(bench: Bench) -> None:
    """A run that changes nothing about the alert does not bury what could not be told."""
    _flagged(bench, destinations="")
    taken = _claim(bench)
    assert taken is not None
    bench.store.outbox.failed(taken, "refused", transient=False)
    second = bench.record(bench.again(), destinations="", tell=("MAIL",))
    assert _messages(bench) == [("MAIL", Occasion.FLAGGED, DeliveryState.FAILED, second.result_id)]
    assert bench.store.deliveries.retry(taken.id, "ann").state is DeliveryState.PENDING


def test_an_alert_that_opens_again_is_told_again(bench: Bench) -> None:
    """Withdrawn by one result and raised by the next: told again; that it had been withdrawn is not told any more."""
    recorded = _flagged(bench, destinations="")
    assert bench.told("MAIL") == recorded.alert_id
    bench.record(bench.again("1.2.3.1"), alert=False, destinations="", tell=("MAIL",))
    bench.record(bench.again("1.2.3.1"), destinations="", tell=("MAIL",))
    assert bench.told("MAIL") == recorded.alert_id
    assert [(occasion, state) for _, occasion, state, _ in _messages(bench)] == [
        (Occasion.FLAGGED, DeliveryState.SENT),
        (Occasion.WITHDRAWN, DeliveryState.CANCELLED),
        (Occasion.FLAGGED, DeliveryState.SENT),
    ]


def test_messages_are_gathered_held_back_and_counted(bench: Bench) -> None:
    """Those that are due go together, once; newer ones are held back where asked; when letters went is known."""
    for number in range(4):
        _flagged(bench, f"1.2.3.{number}", destinations="")
        bench.clock.advance(60)
    assert _claim(bench, told_before=bench.clock.now - timedelta(minutes=5)) is None
    first = _claim(bench, told_before=bench.clock.now - timedelta(minutes=4))
    assert first is not None
    others = bench.store.outbox.gather(first, bench.clock.now, 600, 2)
    assert [one.id for one in others] == [first.id + 1, first.id + 2]
    assert bench.store.outbox.told_since("MAIL", bench.clock.now - timedelta(hours=1), 10) == ()
    bench.store.outbox.all_sent((first, *others), "250")
    assert bench.store.outbox.told_since("MAIL", bench.clock.now - timedelta(hours=1), 10) == (bench.clock.now,)
    with pytest.raises(StaleState):
        bench.store.outbox.all_sent((first,))


def test_of_a_letter_what_is_still_held_is_confirmed(bench: Bench) -> None:
    """One message of two was taken up by somebody else meanwhile: the other one is on record as sent, and its alert."""
    for number in (1, 2):
        _flagged(bench, f"1.2.3.{number}", destinations="")
    lost = bench.store.outbox.claim("MAIL", bench.clock.now, 60)
    assert lost is not None
    (held,) = bench.store.outbox.gather(lost, bench.clock.now, 600, 1)
    bench.clock.advance(61)
    taken = _claim(bench)
    assert taken is not None
    assert (taken.id, taken.attempt) == (lost.id, 2)
    assert [one.id for one in bench.store.outbox.all_sent((lost, held), "250")] == [held.id]
    assert [state for _, _, state, _ in _messages(bench)] == [DeliveryState.SENDING, DeliveryState.SENT]
    assert held.alert_id is not None
    told = bench.store.alerts.get(held.alert_id)
    assert told is not None
    assert told.state is AlertState.NOTIFIED


def _told(bench: Bench, number: int, *destinations: str) -> int:
    """A flagged series of a study of its own, of which these have been sent a message; its alert."""
    recorded = bench.record(
        bench.running(f"1.2.3.{number}", study=f"9.{number}"), destinations="", tell=("MAIL", "HOOK", "LATE")
    )
    for destination in destinations:
        assert bench.told(destination) == recorded.alert_id
    assert recorded.alert_id is not None
    return recorded.alert_id


def _withdrawn(bench: Bench, alert_id: int) -> list[tuple[str, DeliveryState]]:
    return [
        (one.destination, one.state)
        for one in reversed(bench.store.deliveries.list())
        if one.alert_id == alert_id and one.occasion is Occasion.WITHDRAWN
    ]


@pytest.mark.parametrize("by", ["a newer result", "exclusion", "a reader"])
def test_who_was_told_is_told_once_that_it_holds_no_longer(bench: Bench, by: str) -> None:
    """In the transaction that ends the alert; who has not been told yet hears nothing, now or then."""
    alert_id = _told(bench, 1, "MAIL", "HOOK")
    match by:
        case "a newer result":
            bench.record(bench.again("1.2.3.1"), alert=False, destinations="", tell=("MAIL", "HOOK", "LATE"))
        case "exclusion":
            bench.store.results.record_exclusion(bench.again("1.2.3.1"), "w", NO_LUNG, {})
        case _:
            bench.store.alerts.dismiss(alert_id, "dr", reason=DismissalReason.ARTEFACT)
    assert _withdrawn(bench, alert_id) == [("MAIL", DeliveryState.PENDING), ("HOOK", DeliveryState.PENDING)]
    assert [bench.told(one) for one in ("MAIL", "HOOK", "LATE", "MAIL", "HOOK")] == [alert_id, alert_id, *[None] * 3]
    if by == "a reader":
        bench.record(bench.again("1.2.3.1"), alert=False, destinations="", tell=("MAIL", "HOOK", "LATE"))
        assert [bench.told(one) for one in ("MAIL", "HOOK", "LATE")] == [None] * 3


@pytest.mark.parametrize("arrives", [True, False])
def test_what_was_on_its_way_when_it_was_withdrawn_is_taken_back_if_it_arrives(bench: Bench, arrives: bool) -> None:
    """The message that a destination takes after the dismissal is followed by another; one that failed by none."""
    alert_id = _told(bench, 1)
    taken = _claim(bench)
    assert taken is not None
    bench.store.alerts.dismiss(alert_id, "dr", reason=DismissalReason.KNOWN)
    if arrives:
        bench.store.outbox.sent(taken)
    else:
        bench.store.outbox.failed(taken, "451", transient=True)
    assert _withdrawn(bench, alert_id) == ([("MAIL", DeliveryState.PENDING)] if arrives else [])
    assert bench.told("MAIL") == (alert_id if arrives else None)


@pytest.mark.parametrize("told", [True, False])
def test_a_dismissal_that_is_taken_back_is_told_as_far_as_it_was_told(bench: Bench, told: bool) -> None:
    """Who heard of the dismissal is told again that the examination is flagged; who did not hears nothing more."""
    alert_id = _told(bench, 1, "MAIL")
    bench.store.alerts.dismiss(alert_id, "dr", reason=DismissalReason.KNOWN)
    if told:
        assert bench.told("MAIL") == alert_id
    bench.store.alerts.undo(alert_id, "dr")
    assert bench.told("MAIL") == (alert_id if told else None)
    assert bench.told("MAIL") is None


def test_a_dismissal_that_is_taken_back_when_nothing_is_flagged_any_more_opens_nothing(bench: Bench) -> None:
    """A newer result had nothing to flag while the dismissal stood: the alert is superseded, and nobody told again."""
    alert_id = _told(bench, 1, "MAIL")
    bench.store.alerts.dismiss(alert_id, "dr", reason=DismissalReason.KNOWN)
    assert bench.told("MAIL") == alert_id
    bench.record(bench.again("1.2.3.1"), alert=False, destinations="", tell=("MAIL",))
    assert bench.store.alerts.undo(alert_id, "dr").state is AlertState.SUPERSEDED
    assert bench.told("MAIL") is None


def test_the_cap_of_attempts_is_that_of_the_settings_whatever_the_occasion(bench: Bench) -> None:
    """A message that another process asked for obeys the sender's cap as all others do."""
    alert_id = _told(bench, 1)
    bench.store.alerts.acknowledge(alert_id, "dr", tell=("WARD",))
    taken = _claim(bench, "WARD", attempts=1)
    assert taken is not None
    assert taken.max_attempts == 1
    failed = bench.store.outbox.failed(taken, "451", transient=True)
    assert failed.state is DeliveryState.FAILED
