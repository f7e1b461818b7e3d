"""Results on both databases: everything that an analysis brings about, in one transaction, once."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.orm import Session
from store_bench import DATABASES, NO_LUNG, PATIENT, SERIES, START, STUDY, Bench, instance, opened

from alerts import AlertState, DeliveryState
from db import DismissalReason, JobState, RequeueFilter, SeriesState, StaleState, StoredDelivery, StoreError
from db.rows import AlertRow
from db.store import results


@pytest.fixture(params=DATABASES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """A bench on each database."""
    with opened(request.param, tmp_path) as made:
        yield made


def _state(bench: Bench, series: str = SERIES) -> SeriesState:
    record = bench.store.series.get(series)
    assert record is not None
    return record.state


def test_result_brings_everything_at_once(bench: Bench) -> None:
    """Job, series, result, alert, deliveries and an event for each."""
    recorded = bench.record(bench.running(), destinations="PQ")
    (job,) = bench.store.jobs.list()
    assert (job.state, job.lease_expires_at, _state(bench)) == (JobState.SUCCEEDED, None, SeriesState.ANALYSED)
    latest = bench.store.results.latest(SERIES)
    assert latest is not None
    assert (latest.id, latest.report.name, latest.findings.burden_percent) == (recorded.result_id, "report.dcm", 10)
    (alert,) = bench.store.alerts.list()
    assert (alert.id, alert.state, alert.alert.series_instance_uid) == (recorded.alert_id, AlertState.OPEN, SERIES)
    queued = bench.store.deliveries.list([DeliveryState.PENDING], series=SERIES)
    assert sorted(one.id for one in queued) == sorted(recorded.delivery_ids)
    kinds = {kind: [one.event for one in bench.events(kind)] for kind in ("job", "result", "alert", "delivery")}
    assert kinds == {
        "job": ["enqueue", "claim", "succeed"],
        "result": ["record"],
        "alert": ["raise"],
        "delivery": ["queue", "queue"],
    }
    assert bench.events("series")[-1].event == "analyse"


class _BrokenError(Exception):
    """Raised half-way."""


def _raise(*_: object, **__: object) -> None:
    raise _BrokenError


def _break_last_step(monkeypatch: pytest.MonkeyPatch) -> type[Exception]:
    monkeypatch.setattr(results, "_end_series", _raise)
    return _BrokenError


def _break_constraint(monkeypatch: pytest.MonkeyPatch) -> type[Exception]:
    def add_what_is_refused(session: Session, *_: object) -> tuple[None, bool]:
        session.add(AlertRow(series_instance_uid="none"))
        return None, False

    monkeypatch.setattr(results, "settle_alert", add_what_is_refused)
    return StoreError


@pytest.mark.parametrize("breaking", [_break_last_step, _break_constraint])
def test_result_that_fails_half_way_leaves_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, breaking: Callable[[pytest.MonkeyPatch], type[Exception]]
) -> None:
    """Code that raises or a row that is refused, after an older result was superseded: all is as before."""
    bench.analysed()
    job = bench.again()
    before = bench.content()
    with monkeypatch.context() as patched, pytest.raises(breaking(patched)):
        bench.record(job)
    assert bench.content() == before
    assert bench.record(job).superseded_id is not None


def test_newer_result_supersedes_the_older_and_renews_the_one_alert(bench: Bench) -> None:
    """One result in force, the older kept as history, what it had not sent is cancelled, one alert row."""
    first = bench.analysed(version="1.0")
    second = bench.record(bench.again(), version="2.0")
    assert (second.superseded_id, second.alert_id) == (first.result_id, first.alert_id)
    newest, oldest = bench.store.results.history(SERIES)
    assert (newest.superseded_at, oldest.superseded_at) == (None, bench.clock.now)
    assert newest.findings.provenance.model_version == "2.0"
    states = {one.id: one.state for one in bench.store.deliveries.list(series=SERIES)}
    assert states == {first.delivery_ids[0]: DeliveryState.CANCELLED, second.delivery_ids[0]: DeliveryState.PENDING}
    (alert,) = bench.store.alerts.list()
    assert (alert.result_id, alert.state) == (second.result_id, AlertState.OPEN)
    assert [one.event for one in bench.events("alert")] == ["raise", "renew"]


@pytest.mark.parametrize("decided", [AlertState.ACKNOWLEDGED, AlertState.DISMISSED])
def test_what_a_reader_decided_stays_when_a_result_alerts_again(bench: Bench, decided: AlertState) -> None:
    """The reader's word and name stand, on the new result; the word itself is in no event."""
    alert_id = bench.analysed().alert_id
    assert alert_id is not None
    if decided is AlertState.ACKNOWLEDGED:
        bench.store.alerts.acknowledge(alert_id, "dr", "seen in the morning")
    else:
        bench.store.alerts.dismiss(alert_id, "dr", "seen in the morning", reason=DismissalReason.KNOWN)
    second = bench.record(bench.again())
    alert = bench.store.alerts.get(alert_id)
    assert alert is not None
    assert (alert.state, alert.decided_by, alert.note) == (decided, "dr", "seen in the morning")
    assert alert.result_id == second.result_id
    assert "morning" not in str(bench.store.series.events(SERIES))


def test_alert_is_superseded_and_reopened_by_results(bench: Bench) -> None:
    """No longer alerting: superseded, also if acknowledged. Alerting again: open, and undecided."""
    alert_id = bench.analysed().alert_id
    assert alert_id is not None
    bench.store.alerts.acknowledge(alert_id, "dr")
    bench.record(bench.again(), alert=False)
    (alert,) = bench.store.alerts.list()
    assert alert.state is AlertState.SUPERSEDED
    with pytest.raises(StaleState):
        bench.store.alerts.acknowledge(alert_id, "dr")
    bench.record(bench.again())
    (alert,) = bench.store.alerts.list()
    assert (alert.id, alert.state, alert.decided_by) == (alert_id, AlertState.OPEN, None)


def test_dismissed_alert_stays_dismissed_without_cause(bench: Bench) -> None:
    """A result that does not alert leaves the reader's dismissal; nobody decides it twice."""
    alert_id = bench.analysed().alert_id
    assert alert_id is not None
    bench.store.alerts.dismiss(alert_id, "dr", reason=DismissalReason.KNOWN)
    bench.record(bench.again(), alert=False)
    assert [one.state for one in bench.store.alerts.list()] == [AlertState.DISMISSED]
    for refused in (alert_id, 999):
        with pytest.raises(StaleState):
            bench.store.alerts.dismiss(refused, "dr", reason=DismissalReason.KNOWN)


def test_exclusion_by_pixels_ends_job_series_and_an_older_result(bench: Bench) -> None:
    """The reason is kept with the rules, and nothing of the older result is in force."""
    bench.analysed()
    bench.store.results.record_exclusion(bench.again(), "w", NO_LUNG, {"lungs": 1.5})
    record = bench.store.series.get(SERIES)
    assert record is not None
    assert (record.state, record.reason) == (SeriesState.EXCLUDED, NO_LUNG.reason)
    assert bench.store.series.why(SERIES) == NO_LUNG
    assert bench.store.results.latest(SERIES) is None
    assert [one.state for one in bench.store.alerts.list()] == [AlertState.SUPERSEDED]
    assert [one.state for one in bench.store.deliveries.list()] == [DeliveryState.CANCELLED]
    assert {one.state for one in bench.store.jobs.list()} == {JobState.SUCCEEDED}


def test_exclusion_for_another_reconstruction_stops_the_job(bench: Bench) -> None:
    """Excluded while its job runs: the job is cancelled and its result refused."""
    job = bench.running()
    bench.store.intake.exclude(SERIES, 1, NO_LUNG)
    with pytest.raises(StaleState):
        bench.record(job)
    assert (_state(bench), bench.store.jobs.list()[0].state) == (SeriesState.EXCLUDED, JobState.CANCELLED)
    assert bench.store.results.latest(SERIES) is None


def test_requeue_refuses_what_makes_no_sense(bench: Bench) -> None:
    """Being received, waiting for screening, queued, without instances: each says why; a refused one gets no job."""
    store = bench.store
    series = [f"{STUDY}.{number}" for number in range(1, 6)]
    receiving, complete, queued, removed, analysed = series
    bench.analysed(removed)
    with store.retention.removal(removed, {SeriesState.ANALYSED: START + timedelta(days=1)}):
        pass
    bench.analysed(analysed)
    store.intake.record_instance(instance(series=receiving))
    bench.complete(complete)
    job = bench.queued(queued)
    chosen = {one.series_instance_uid: one for one in store.requeue.select(RequeueFilter(study=STUDY))}
    assert {uid: one.refusal for uid, one in chosen.items()} == {
        receiving: "it is still being received",
        complete: "it waits for screening, and will be queued by itself",
        queued: f"job {job.id} of it is queued",
        removed: "its instances were removed by retention",
        analysed: None,
    }
    (again,) = store.requeue.apply(chosen.values(), "admin")
    assert (again.series_instance_uid, again.run, again.requested_by) == (analysed, 2, "admin")
    before = bench.content()
    with pytest.raises(StaleState, match="is queued"):
        store.requeue.apply([chosen[analysed]], "admin")
    assert bench.content() == before


def test_requeue_by_what_narrows(bench: Bench) -> None:
    """By patient, failure, time and model version; a dead letter's series runs again."""
    bench.analysed(f"{STUDY}.1", version="1.0")
    bench.analysed(f"{STUDY}.2", version="2.0")
    bench.store.jobs.fail(bench.running(f"{STUDY}.3"), "UndecodablePixels", transient=False)

    def chosen(which: RequeueFilter) -> list[str]:
        return [one.series_instance_uid for one in bench.store.requeue.select(which)]

    assert len(chosen(RequeueFilter(patient=PATIENT))) == 3
    assert chosen(RequeueFilter(patient="somebody else")) == []
    assert chosen(RequeueFilter(model_version="2.0")) == [f"{STUDY}.2"]
    assert chosen(RequeueFilter(failed=True)) == [f"{STUDY}.3"]
    assert chosen(RequeueFilter(since=bench.clock.now + timedelta(seconds=1))) == []
    assert bench.again(f"{STUDY}.3").run == 2


def test_history_is_found_by_patient(bench: Bench) -> None:
    """A patient's studies lead to every result, superseded ones included."""
    bench.analysed()
    bench.record(bench.again(), version="2.0")
    (study,) = bench.store.studies.list(patient=PATIENT)
    assert bench.store.studies.list(patient="somebody else") == ()
    (series,) = bench.store.series.list(study=study.study_instance_uid)
    history = bench.store.results.history(series.series_instance_uid)
    assert [one.findings.provenance.model_version for one in history] == ["2.0", "1.0"]


def test_patient_id_stands_in_the_study_and_nowhere_else(bench: Bench) -> None:
    """Not in an event, not in an instance's header: one table knows the patient, one the accession number."""
    bench.store.jobs.fail(bench.running(f"{STUDY}.2"), "UndecodablePixels", transient=False)
    alert_id = bench.analysed().alert_id
    assert alert_id is not None
    bench.store.intake.record_instance(instance(content="b"))
    content = bench.content()
    assert [name for name, rows in content.items() if PATIENT in str(rows)] == ["studies"]
    assert [name for name, rows in content.items() if "ACC-1" in str(rows)] == ["studies"]


def _claim(bench: Bench, destination: str) -> StoredDelivery | None:
    return bench.store.outbox.claim(destination, bench.clock.now, 600)


def test_delivery_is_taken_once_retried_and_ends(bench: Bench) -> None:
    """Due once; a transient failure waits; a silent sender's is due again; confirmed or hopeless, it is over."""
    recorded = bench.record(bench.running(), destinations="PQ")
    outbox = bench.store.outbox
    assert outbox.destinations() == ("P", "Q")
    first, second = _claim(bench, "P"), _claim(bench, "Q")
    assert first is not None
    assert second is not None
    assert {first.id, second.id} == set(recorded.delivery_ids)
    assert _claim(bench, "P") is None
    assert outbox.failed(first, "no answer", transient=True, retry_delay_s=30).state is DeliveryState.PENDING
    assert outbox.failed(second, "refused", transient=False).state is DeliveryState.FAILED
    assert outbox.destinations() == ("P",)
    bench.clock.advance(30)
    again = _claim(bench, "P")
    assert again is not None
    assert (again.id, again.attempt) == (first.id, 2)
    bench.clock.advance(3600)
    silent = _claim(bench, "P")
    assert silent is not None
    assert (silent.id, silent.attempt) == (first.id, 3)
    for late in (again, second, replace(first, id=999)):
        with pytest.raises(StaleState):
            outbox.sent(late)
        with pytest.raises(StaleState):
            outbox.renew(late, 60)
    outbox.renew(silent, 60)
    assert outbox.sent(silent).state is DeliveryState.SENT
    with pytest.raises(StaleState):
        outbox.sent(silent)
    assert outbox.destinations() == ()
    assert bench.store.status().dead_letters == 1


def test_delivery_under_way_when_its_result_is_superseded_is_not_tried_again(bench: Bench) -> None:
    """The older report must not arrive after the newer one because its sender had to try twice."""
    older = bench.analysed()
    sending = _claim(bench, "P")
    assert sending is not None
    newer = bench.record(bench.again())
    bench.store.outbox.failed(sending, "no answer", transient=True)
    bench.clock.advance(1)
    due = _claim(bench, "P")
    assert due is not None
    assert (due.id,) == newer.delivery_ids
    states = {one.id: one.state for one in bench.store.deliveries.list()}
    assert states[older.delivery_ids[0]] is DeliveryState.CANCELLED


def _states(bench: Bench) -> list[tuple[str, DeliveryState, int]]:
    return [(one.destination, one.state, one.result_id) for one in reversed(bench.store.deliveries.list())]


def test_what_a_destination_has_confirmed_is_not_queued_again(bench: Bench) -> None:
    """The same report again goes only where it has not arrived; what waits goes on as the new result's."""
    first = bench.record(bench.running(), destinations="PQR", content="1.9")
    for destination in "PQ":
        taken = _claim(bench, destination)
        assert taken is not None
        if destination == "P":
            bench.store.outbox.sent(taken)
    second = bench.record(bench.again(), destinations="PQR", content="1.9")
    assert _states(bench) == [
        ("P", DeliveryState.SENT, first.result_id),
        ("Q", DeliveryState.SENDING, second.result_id),
        ("R", DeliveryState.PENDING, second.result_id),
    ]
    assert len(second.delivery_ids) == 2
    assert bench.store.outbox.sent(taken).state is DeliveryState.SENT


def test_a_dead_letter_is_tried_anew_with_the_next_result(bench: Bench) -> None:
    """Who runs the series again gives its destination another try, with attempts of its own."""
    first = bench.record(bench.running(), content="1.9")
    taken = _claim(bench, "P")
    assert taken is not None
    bench.store.outbox.failed(taken, "refused", transient=False)
    second = bench.record(bench.again(), content="1.9")
    assert _states(bench) == [
        ("P", DeliveryState.CANCELLED, first.result_id),
        ("P", DeliveryState.PENDING, second.result_id),
    ]


def test_another_content_goes_to_every_destination(bench: Bench) -> None:
    """A corrected report is another object: what was confirmed of the older one does not stand in its way."""
    bench.record(bench.running(), content="1.9")
    taken = _claim(bench, "P")
    assert taken is not None
    bench.store.outbox.sent(taken)
    second = bench.record(bench.again(), content="1.10")
    assert _states(bench)[-1] == ("P", DeliveryState.PENDING, second.result_id)
