"""The store on both databases: intake, revisions, the queue and who may end what."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from itertools import chain
from pathlib import Path

import pytest
from store_bench import DATABASES, ELIGIBLE, NO_LUNG, SERIES, START, STUDY, Bench, instance, opened

from db import Arrival, AssociationRecord, JobState, ReceivedInstance, Recorded, RecordedKind, SeriesState, StaleState
from db.rows import DeliveryRow, ResultRow

KINDS = [RecordedKind.NEW, RecordedKind.DUPLICATE, RecordedKind.NEW_VERSION]


@pytest.fixture(params=DATABASES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """A bench on each database."""
    with opened(request.param, tmp_path) as made:
        yield made


def test_same_bytes_are_a_duplicate_and_others_a_version(bench: Bench) -> None:
    """New, again, and with other bytes: two versions stand, and the newest is what is analysed."""
    arrivals = [instance(), instance(), instance(content="b", received_at=START + timedelta(seconds=1))]
    recorded = [bench.store.intake.record_instance(one) for one in arrivals]
    assert [one.kind for one in recorded] == KINDS
    assert recorded[1].instance_id == recorded[0].instance_id
    versions = bench.store.intake.find_versions(arrivals[0].sop_instance_uid)
    assert [one.path for one in versions] == [arrivals[0].path, arrivals[2].path]
    assert [one.path for one in bench.store.intake.series_paths(SERIES)] == [arrivals[2].path]
    series = bench.store.series.get(SERIES)
    assert series is not None
    assert (series.state, series.revision, series.instance_count) == (SeriesState.RECEIVING, 1, 1)
    assert [one.event for one in bench.events("instance")] == ["new_version"]


def test_batch_is_told_apart_within_itself(bench: Bench) -> None:
    """One commit for many tells the same story as one by one, over several series."""
    other = f"{STUDY}.2"
    batch = [instance(), instance(), instance(content="b"), instance(2), instance(series=other)]
    recorded = bench.store.intake.record_instances(batch)
    assert [one.kind for one in recorded] == [*KINDS, RecordedKind.NEW, RecordedKind.NEW]
    assert [one.instance_count for one in bench.store.intake.study_series(STUDY)] == [2, 1]
    assert bench.store.intake.record_instances([]) == ()


@pytest.mark.parametrize("database", DATABASES)
def test_batch_over_series_of_every_fate_is_as_one_by_one(database: str, tmp_path: Path) -> None:
    """Removed by retention, removed and sent in other bytes, queued, still received, unknown: the same rows either way.

    The answers differ in one thing: all of a batch name the revision that their series has at its end.
    """
    removed, other_bytes, queued, receiving, unknown = (f"{STUDY}.{number}" for number in range(1, 6))
    later = {"received_at": START + timedelta(seconds=9)}
    arrivals = [
        *[instance(series=removed, path="again.dcm", **later), instance(series=removed, path="twice.dcm", **later)],
        *[instance(series=other_bytes, **later), instance(series=other_bytes, content="b", **later)],
        *[instance(2, series=queued, **later), instance(series=receiving, **later)],
        *[instance(2, series=receiving, **later), instance(series=unknown, study_instance_uid="9.9", **later)],
    ]

    def told(folder: str, *batches: list[ReceivedInstance]) -> tuple[list[Recorded], dict[str, list[str]]]:
        (tmp_path / folder).mkdir()
        with opened(database, tmp_path / folder) as bench:
            for series in (removed, other_bytes):
                bench.analysed(series)
                moment = bench.clock() + timedelta(days=1)
                with bench.store.retention.removal(series, {SeriesState.ANALYSED: moment}):
                    pass
            bench.queued(queued)
            bench.store.intake.record_instance(instance(series=receiving))
            answers = [one for batch in batches for one in bench.store.intake.record_instances(batch)]
            return answers, bench.content(without=("events", "state_counts"))

    together, singly = told("together", arrivals), told("singly", *[[one] for one in arrivals])
    assert together[1] == singly[1]
    assert [(one.kind, one.instance_id, one.path) for one in together[0]] == [
        (one.kind, one.instance_id, one.path) for one in singly[0]
    ]
    new, duplicate, version = KINDS
    assert [one.kind for one in together[0]] == [new, duplicate, new, version, new, duplicate, new, new]
    assert [one.revision for one in together[0]] == [1, 1, 1, 1, 2, 1, 1, 1]
    assert {one.path for one in together[0][:2]} == {"again.dcm"}


def test_evidence_of_a_series_being_received(bench: Bench) -> None:
    """Positions ascend, each instance once; associations count for the study until closed, siblings too."""
    intake = bench.store.intake
    record = AssociationRecord(
        association_id="a1",
        receiver_id="r1",
        calling_ae_title="CT1",
        called_ae_title="LUNGSENTRY",
        address="10.1.2.17",
        opened_at=START,
    )
    intake.open_association(record)
    intake.open_association(record)
    sibling = f"{STUDY}.2"
    arrivals = [instance(2, association_id="a1"), instance(1), instance(1, content="b"), instance(series=sibling)]
    intake.record_instances(arrivals)
    of_series = {one.series_instance_uid: one for one in intake.receiving_series()}
    assert [one.open_associations for one in of_series.values()] == [1, 1]
    assert intake.arrival(SERIES) == Arrival(slice_positions=(5.0, 10.0))
    assert intake.close_associations_of("r1") == 1
    assert intake.close_associations_of("r1") == 0
    intake.mark_complete(sibling, 1, "all slices")
    (left,) = intake.receiving_series()
    assert (left.series_instance_uid, left.open_associations) == (SERIES, 0)
    assert intake.arrival(SERIES).broken_off
    (complete,) = intake.complete_series()
    assert (complete.series_instance_uid, complete.incomplete) == (sibling, False)


@pytest.mark.parametrize("content", ["a", "b"])
def test_late_instance_begins_a_revision_and_the_stale_result_is_refused(bench: Bench, content: str) -> None:
    """A new slice or another image in mid-job: revision 2 is being received; the worker's result leaves no trace."""
    job = bench.running()
    recorded = bench.store.intake.record_instance(instance(2 if content == "a" else 1, content=content))
    assert recorded.revision == (2 if content == "a" else 1)
    if content == "b":
        assert bench.store.versions.resent_series() == (SERIES,)
        assert bench.store.versions.show_another(SERIES) == 2
    assert bench.store.versions.show_another(SERIES) is None
    series = bench.store.series.get(SERIES)
    assert series is not None
    assert (series.state, series.completed_at) == (SeriesState.RECEIVING, None)
    stopped = bench.store.jobs.get(job.id)
    assert stopped is not None
    assert (stopped.state, stopped.cause) == (JobState.CANCELLED, "revision 2 begins")

    before = bench.content(without=("events",))
    with pytest.raises(StaleState):
        bench.store.jobs.heartbeat(job.id, "w", 60)
    with pytest.raises(StaleState):
        bench.record(job)
    with pytest.raises(StaleState):
        bench.store.results.record_exclusion(job, "w", NO_LUNG, {})
    with pytest.raises(StaleState):
        bench.store.jobs.fail(job, "too late", transient=True)
    assert bench.content(without=("events",)) == before
    assert [one.event for one in bench.events("job")][-2:] == ["result_refused"] * 2

    bench.store.intake.mark_complete(SERIES, 2, "quiet")
    bench.store.jobs.enqueue(SERIES, 2, ELIGIBLE, 3)
    assert bench.record(bench.claim()).alert_id is not None


def test_same_image_in_other_bytes_in_mid_job_changes_nothing(bench: Bench) -> None:
    """It is compared with what stands, and the worker's result is recorded; a new slice ends what is to be compared."""
    job = bench.running()
    arrivals = [instance(content=content, received_at=START + timedelta(hours=1)) for content in "bc"]
    bench.store.intake.record_instances(arrivals)
    first, second = bench.store.versions.begin(SERIES, 9)
    assert (first.path, first.before) == (arrivals[0].path, instance().path)
    assert (second.path, second.before) == (arrivals[1].path, first.path)
    bench.store.versions.show_the_same(SERIES, [first.instance_id])
    assert bench.store.versions.begin(SERIES, 9) == (second,)
    assert bench.record(job).alert_id is not None
    series = bench.store.series.get(SERIES)
    assert series is not None
    assert (series.revision, series.instance_count) == (1, 1)
    assert series.last_received_at == arrivals[0].received_at
    assert bench.store.intake.record_instance(instance(2)).revision == 2
    assert bench.store.versions.resent_series() == ()


def test_what_was_decided_on_an_older_revision_is_refused(bench: Bench) -> None:
    """Completion, exclusion and queueing name the revision they saw; on a newer one they do nothing."""
    bench.complete()
    bench.store.intake.record_instance(instance(2))
    before = bench.content()
    with pytest.raises(StaleState, match="revision 2"):
        bench.store.intake.mark_complete(SERIES, 1, "late")
    with pytest.raises(StaleState, match="revision 2"):
        bench.store.intake.exclude(SERIES, 1, NO_LUNG)
    with pytest.raises(StaleState, match="revision 2"):
        bench.store.jobs.enqueue(SERIES, 1, ELIGIBLE, 3)
    with pytest.raises(StaleState, match="no series"):
        bench.store.intake.mark_complete("9.9", 1, "nobody")
    assert bench.content() == before


def test_enqueue_twice_is_one_job(bench: Bench) -> None:
    """Asked again while it waits or runs, the same job is returned."""
    job = bench.queued()
    assert bench.store.jobs.enqueue(SERIES, 1, ELIGIBLE, 3).id == job.id
    bench.claim()
    assert bench.store.jobs.enqueue(SERIES, 1, ELIGIBLE, 3).id == job.id
    assert len(bench.store.jobs.list()) == 1


def test_transient_failure_waits_and_the_last_is_a_dead_letter(bench: Bench) -> None:
    """Not before its delay, not after its cap; the cause stands in job and series, and the dead letter is counted."""
    job = bench.running(attempts=2)
    retried = bench.store.jobs.fail(job, "OutOfMemory", transient=True, retry_delay_s=30)
    assert (retried.state, retried.cause) == (JobState.QUEUED, "OutOfMemory")
    bench.clock.advance(29)
    assert bench.store.jobs.claim("w", 60) is None
    bench.clock.advance(1)
    second = bench.claim()
    assert (second.id, second.attempt) == (job.id, 2)
    with pytest.raises(StaleState, match="attempt 1"):
        bench.store.jobs.fail(job, "the first attempt again", transient=True)
    dead = bench.store.jobs.fail(second, "OutOfMemory", transient=True, retry_delay_s=30)
    assert (dead.state, dead.cause, dead.finished_at) == (JobState.FAILED, "OutOfMemory", bench.clock.now)
    series = bench.store.series.get(SERIES)
    assert series is not None
    assert (series.state, series.reason) == (SeriesState.FAILED, "OutOfMemory")
    status = bench.store.status()
    assert (status.dead_letters, status.jobs["failed"], status.oldest_queued_at) == (1, 1, None)


def test_permanent_failure_is_a_dead_letter_at_once(bench: Bench) -> None:
    """What cannot become better is not tried again."""
    dead = bench.store.jobs.fail(bench.running(attempts=9), "UndecodablePixels", transient=False)
    assert (dead.state, dead.attempt) == (JobState.FAILED, 1)


def test_lapsed_lease_gives_the_job_to_another_and_ends_at_the_cap(bench: Bench) -> None:
    """Renewed, it stays; silent, it is queued again for anybody, and the silent worker's result is refused."""
    first = bench.running(attempts=2)
    bench.clock.advance(50)
    bench.store.jobs.heartbeat(first.id, "w", 60)
    bench.clock.advance(50)
    assert bench.store.jobs.release_lapsed() == ()
    bench.clock.advance(11)
    (released,) = bench.store.jobs.release_lapsed()
    assert (released.state, released.cause) == (JobState.QUEUED, "lease lapsed on attempt 1 of 2")
    second = bench.claim("other")
    with pytest.raises(StaleState):
        bench.store.jobs.heartbeat(first.id, "w", 60)
    with pytest.raises(StaleState):
        bench.record(first)
    assert (bench.count(ResultRow), bench.count(DeliveryRow)) == (0, 0)
    bench.clock.advance(61)
    (dead,) = bench.store.jobs.release_lapsed()
    assert (dead.id, dead.state) == (second.id, JobState.FAILED)


def test_cancelled_job_ends_waiting_or_at_work(bench: Bench) -> None:
    """The series says who cancelled it; the worker at work loses it; what has ended is not cancelled."""
    for series in (f"{STUDY}.1", f"{STUDY}.2"):
        bench.queued(series)
    running = bench.claim()
    for job in bench.store.jobs.list([JobState.QUEUED, JobState.RUNNING]):
        assert bench.store.jobs.cancel(job.id, "admin").state is JobState.CANCELLED
        record = bench.store.series.get(job.series_instance_uid)
        assert record is not None
        assert (record.state, record.reason) == (SeriesState.FAILED, "cancelled by admin")
    for refused in (running.id, 999):
        with pytest.raises(StaleState):
            bench.store.jobs.cancel(refused, "admin")
    with pytest.raises(StaleState):
        bench.record(running)


def test_claims_of_many_threads_are_exclusive_and_in_order(bench: Bench) -> None:
    """Four threads empty a queue of twelve: every job went to exactly one of them."""
    jobs = [bench.queued(f"{STUDY}.{number}").id for number in range(1, 13)]
    start = threading.Barrier(4)
    claimed: dict[str, list[int]] = {f"w{number}": [] for number in range(4)}

    def work(worker: str) -> None:
        start.wait(30)
        while (job := bench.store.jobs.claim(worker, 60)) is not None:
            claimed[worker].append(job.id)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in claimed]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(chain.from_iterable(claimed.values())) == jobs
    assert all(ids == sorted(ids) for ids in claimed.values())


def test_wait_wakes_on_enqueue_and_else_runs_out(bench: Bench) -> None:
    """A waiting worker is woken by another connection's commit, long before its time is over."""
    bench.store.jobs.wait(0)  # what came before the first wait counts as news
    while bench.store.jobs.wait(0):
        pass
    assert not bench.store.jobs.wait(0.01)
    woken: list[bool] = []
    waiter = threading.Thread(target=lambda: woken.append(bench.store.jobs.wait(60)))
    waiter.start()
    bench.queued()
    waiter.join(30)
    assert woken == [True]
