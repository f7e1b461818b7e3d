"""One alert a study on both databases: what it rests on, who decides, when it is escalated, and what opens it again."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from store_bench import DATABASES, ELIGIBLE, STUDY, Bench, artefacts_of, findings_of, instance, opened

from alerts import TIME_ALLOWED, AlertState, Category, RequestContext, evaluate
from db import Actor, DecidedAlready, DismissalReason, RecordedResult, StaleState, StoredAlert
from dicom_node.delivery.escalation import Escalation
from dicom_node.settings import Policy
from dicom_node.settings.sections import EscalationMinutes
from dicom_node.sweep import Sweep
from dicom_node.sweeps import Sweeps
from dicom_node.work.publishing import alert_policy

FIRST, SECOND = f"{STUDY}.1", f"{STUDY}.2"


@pytest.fixture(params=DATABASES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """A bench on each database."""
    with opened(request.param, tmp_path) as made:
        yield made


def _flag(bench: Bench, series: str = FIRST, burden: float = 10.0) -> RecordedResult:
    return bench.record(bench.running(series), burden=burden)


def _alert(bench: Bench) -> StoredAlert:
    (alert,) = bench.store.alerts.list()
    return alert


def _at_once(*acts: Callable[[], object]) -> list[object]:
    """What each gave or raised, begun at the same moment in threads of their own."""
    together, came = threading.Barrier(len(acts)), [None] * len(acts)

    def run(number: int, act: Callable[[], object]) -> None:
        together.wait()
        try:
            came[number] = act()  # pyright: ignore[reportArgumentType, reportCallIssue]
        except StaleState as error:
            came[number] = error  # pyright: ignore[reportArgumentType, reportCallIssue]

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return list(came)


def test_two_flagged_series_are_one_alert(bench: Bench) -> None:
    """The most pressing series stands for the study; where it ends the other does, and without any it is superseded."""
    first, second = _flag(bench, FIRST, 10.0), _flag(bench, SECOND, 10.4)
    assert first.alert_id == second.alert_id
    alert = _alert(bench)
    assert (alert.state, alert.series_instance_uid, alert.result_id) == (AlertState.OPEN, SECOND, second.result_id)
    assert [one.series_instance_uid for one in bench.store.alerts.flagged(STUDY)] == [SECOND, FIRST]
    bench.record(bench.again(SECOND), alert=False)
    assert (_alert(bench).state, _alert(bench).series_instance_uid) == (AlertState.OPEN, FIRST)
    bench.record(bench.again(FIRST), alert=False)
    assert _alert(bench).state is AlertState.SUPERSEDED
    assert bench.store.alerts.flagged(STUDY) == ()
    assert {page.alert_id for page in bench.store.examinations.page()[0]} == {None}


def test_two_series_recorded_at_the_same_moment_make_one_alert(bench: Bench) -> None:
    """Two workers end two series of the study together: neither fails, and the alert rests on both."""
    jobs = [bench.running(FIRST), bench.running(SECOND)]
    recorded = _at_once(
        *(
            lambda job=job, burden=burden: bench.record(job, burden=burden)
            for job, burden in zip(jobs, (10.0, 12.0), strict=True)
        )
    )
    assert all(isinstance(one, RecordedResult) for one in recorded)
    assert [one.series_instance_uid for one in bench.store.alerts.flagged(STUDY)] == [SECOND, FIRST]
    assert _alert(bench).series_instance_uid == SECOND


def test_of_two_who_decide_at_once_one_wins_and_the_other_is_told(bench: Bench) -> None:
    """Both saw the open case: whoever comes second hears who was faster and when, and changes nothing."""
    _flag(bench)
    alert, store = _alert(bench), bench.store.alerts
    came = _at_once(
        lambda: store.acknowledge(alert.id, "anna", "ward called", seen=alert.seen),
        lambda: store.dismiss(alert.id, "ben", reason=DismissalReason.KNOWN, seen=alert.seen),
    )
    (refused,) = [one for one in came if isinstance(one, DecidedAlready)]
    (winner,) = [one for one in came if isinstance(one, StoredAlert)]
    state = winner.state.value
    assert str(refused).endswith(f"Alert {alert.id} is {state} by {winner.decided_by} at 2026-03-01 12:00:00 UTC.")
    assert _alert(bench) == winner
    assert [one.event for one in bench.events("alert", FIRST)] == [
        "raise",
        "acknowledge" if winner.decided_by == "anna" else "dismiss",
    ]


def test_what_has_changed_since_it_was_seen_is_not_decided(bench: Bench) -> None:
    """A newer result came while the reader looked at the older one: nothing is dismissed unseen."""
    _flag(bench)
    seen = _alert(bench).seen
    bench.record(bench.again(FIRST), burden=30.0)
    with pytest.raises(StaleState, match="look at it again"):
        bench.store.alerts.dismiss(_alert(bench).id, "anna", reason=DismissalReason.KNOWN, seen=seen)
    assert _alert(bench).state is AlertState.OPEN


@pytest.mark.parametrize("decision", ["acknowledge", "dismiss", "pass_on"])
def test_a_study_that_turns_out_worse_is_open_again(bench: Bench, decision: str) -> None:
    """Judged on one series; a second one shows a little more, and nothing happens; it shows much more, and it opens."""
    _flag(bench)
    alert, store = _alert(bench), bench.store.alerts
    more = {"dismiss": {"reason": DismissalReason.KNOWN}, "pass_on": {"to": "carl"}}.get(decision, {})
    decided = getattr(store, decision)(alert.id, "anna", "a word", **more)
    _flag(bench, SECOND, 10.5)
    assert (_alert(bench).state, _alert(bench).series_instance_uid) == (decided.state, SECOND)
    bench.clock.advance(60)
    bench.record(bench.again(SECOND), burden=25.0)
    again = _alert(bench)
    assert (again.state, again.decided_by, again.note) == (AlertState.OPEN, "anna", "a word")
    assert (again.judged, again.opened_at) == (alert.alert, None)
    assert again.due_at == bench.clock.now + TIME_ALLOWED[Category.CATEGORY_2]


def test_who_decided_takes_it_back_within_ten_minutes(bench: Bench) -> None:
    """He alone, and not for ever; the case is undecided then, and both moves are on the record."""
    _flag(bench)
    alert, store = _alert(bench), bench.store.alerts
    store.dismiss(alert.id, "anna", reason=DismissalReason.ARTEFACT)
    with pytest.raises(DecidedAlready, match="dismissed by anna"):
        store.undo(alert.id, "ben")
    undone = store.undo(alert.id, "anna")
    assert (undone.state, undone.decided_by, undone.reason, undone.judged) == (AlertState.OPEN, None, None, None)
    store.pass_on(alert.id, "anna", to="carl")
    bench.clock.advance(601)
    with pytest.raises(StaleState, match="ten minutes"):
        store.undo(alert.id, "anna")
    with pytest.raises(StaleState):
        store.undo(99, "anna")
    events = [(one.event, one.actor, one.detail) for one in bench.events("alert", FIRST)][1:]
    anna = Actor.user("anna")
    assert events == [("dismiss", anna, "artefact"), ("undo", anna, None), ("pass_on", anna, "to carl")]


def test_a_dismissal_taken_back_tells_whom_it_kept_from_being_told(bench: Bench) -> None:
    """Each of those, once; who was told before is not told again."""
    bench.record(bench.running(FIRST), destinations="", tell=("mail", "hl7"))
    store, number = bench.store.alerts, _alert(bench).id
    assert bench.told("hl7") == number
    store.dismiss(number, "anna", reason=DismissalReason.ARTEFACT)
    assert bench.told("mail") is None
    store.undo(number, "anna")
    assert [bench.told(name) for name in ("mail", "mail", "hl7")] == [number, None, None]
    assert _alert(bench).state is AlertState.NOTIFIED


def test_a_case_is_passed_on_to_a_user_who_decides(bench: Bench) -> None:
    """The other one is named; free text is no name."""
    _flag(bench)
    alert, store = _alert(bench), bench.store.alerts
    with pytest.raises(ValueError, match="user"):
        store.pass_on(alert.id, "anna", to="Mr Miller, ward 3")
    passed = store.pass_on(alert.id, "anna", "yours", to="carl")
    assert (passed.state, passed.passed_to, passed.note) == (AlertState.PASSED_ON, "carl", "yours")
    taken = store.acknowledge(alert.id, "carl", seen=passed.seen)
    assert (taken.state, taken.decided_by, taken.passed_to) == (AlertState.ACKNOWLEDGED, "carl", None)


def test_what_nobody_looks_at_in_time_is_escalated_once(bench: Bench) -> None:
    """By the time of its category; one that somebody has opened, or decided, is left alone."""
    for number in (1, 2, 3):
        study = f"1.2.{number}0"
        series = f"{study}.1"
        bench.store.intake.record_instance(instance(series=series, study_instance_uid=study))
        bench.store.intake.mark_complete(series, 1, "in a test")
        bench.store.jobs.enqueue(series, 1, ELIGIBLE, 3)
        bench.record(bench.claim(), destinations="", tell=("mail",) if number == 3 else ())
    store = bench.store.alerts
    third, second, first = store.list()
    bench.store.feedback.open(second.id, "anna")
    assert bench.told("mail") == third.id
    assert store.overdue(9) == ()
    bench.clock.advance((TIME_ALLOWED[Category.CATEGORY_2] + timedelta(seconds=1)).total_seconds())
    store.acknowledge(third.id, "anna")
    assert store.overdue(9) == (first.id,)
    escalated = store.escalate(first.id)
    assert escalated is not None
    assert escalated.state is AlertState.ESCALATED
    assert [store.escalate(one.id) for one in (first, second, third)] == [None, None, None]
    assert store.overdue(9) == ()
    assert [one.actor for one in bench.events("alert", first.series_instance_uid)][1:] == [Actor.process("escalation")]
    assert (store.acknowledge(first.id, "anna").state, bench.store.status().alerts["acknowledged"]) == (
        AlertState.ACKNOWLEDGED,
        2,
    )


def test_an_escalation_asks_for_a_message_once(bench: Bench) -> None:
    """The scheduler's sweep, looked at twice: one message for each destination, in the transaction that escalates."""
    _flag(bench)
    bench.clock.advance((TIME_ALLOWED[Category.CATEGORY_2] + timedelta(seconds=1)).total_seconds())
    sweep = Sweep(name="escalation", every_s=1, units=Escalation(store=bench.store, tell=("ward", "siem")).units)
    for _ in range(2):
        Sweeps([sweep], leads=lambda: True).tick(sweep)
    assert _alert(bench).state is AlertState.ESCALATED
    messages = [one for one in bench.store.deliveries.list() if one.alert_id is not None]
    assert sorted((one.destination, str(one.occasion)) for one in messages) == [
        ("siem", "escalated"),
        ("ward", "escalated"),
    ]


def test_a_notice_is_on_the_record_and_one_that_told_less_opens_again(bench: Bench) -> None:
    """The first moves it, a second one is an event; when the study shows more than was told it has to be told anew."""
    bench.record(bench.running(FIRST), destinations="", tell=("mail", "hl7"))
    for channel in ("mail", "hl7"):
        assert bench.told(channel) == _alert(bench).id
        assert _alert(bench).state is AlertState.NOTIFIED
    told = [(one.event, one.detail, one.to_state) for one in bench.events("alert", FIRST)][1:]
    assert told == [("notify", "mail", "notified"), ("notify", "hl7", None)]
    bench.record(bench.again(FIRST), burden=30.0)
    assert _alert(bench).state is AlertState.OPEN


def test_a_case_is_due_when_the_settings_say(bench: Bench) -> None:
    """The minutes of the category go with the alert that the policy raises; without them its own times hold."""
    job = bench.running()
    policy = alert_policy(Policy(escalation_minutes=EscalationMinutes(category_2=90, category_3=30)))
    decision = evaluate(findings_of(job), RequestContext(), policy)
    assert decision.alert is not None
    minutes = {Category.CATEGORY_1: 60, Category.CATEGORY_2: 90, Category.CATEGORY_3: 30}[decision.alert.category]
    recorded = bench.store.results.record(
        job,
        "w",
        findings=findings_of(job),
        screening=ELIGIBLE,
        decision=decision,
        artefacts=artefacts_of("1.9"),
        seconds={},
    )
    stored = bench.store.alerts.get(recorded.alert_id or 0)
    assert stored is not None
    assert stored.due_at == bench.clock.now + timedelta(minutes=minutes)
