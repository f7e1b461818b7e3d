"""The queue under many hands: processes that claim at once, and any order of what can happen to its jobs."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_bench import DATABASES, ELIGIBLE, STUDY, Bench, instance, opened

from db import ACTIVE_JOB_STATES, Job, JobPriority, JobState, RequeueFilter, SeriesState, StaleState

REPOSITORY = Path(__file__).resolve().parents[2]
CLAIM_ALL = """
import sys
from db import Store
url, worker = sys.argv[1:]
with Store.open(url) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    while (job := store.jobs.claim(worker, 60)) is not None:
        print(job.id, flush=True)
"""
SERIES = [f"{STUDY}.{number}" for number in range(1, 4)]
LEASE_S = 60.0


@pytest.mark.parametrize("kind", DATABASES)
def test_two_processes_never_claim_the_same_job(kind: str, tmp_path: Path) -> None:
    """Let loose at the same moment on twelve jobs, they share them: each job once, none left."""
    with opened(kind, tmp_path) as bench:
        jobs = [bench.queued(f"{STUDY}.{number}").id for number in range(1, 13)]
        command = [sys.executable, "-c", CLAIM_ALL, bench.url]
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        workers = [
            subprocess.Popen([*command, name], stdin=-1, stdout=-1, text=True, env=environment) for name in ("w1", "w2")
        ]
        try:
            for one in workers:
                assert one.stdout is not None
                assert one.stdout.readline() == "ready\n"
            for one in workers:
                assert one.stdin is not None
                one.stdin.write("\n")
                one.stdin.flush()
            outputs = [one.communicate(timeout=60)[0].split() for one in workers]
        finally:
            for one in workers:
                one.kill()
        assert [one.returncode for one in workers] == [0, 0]
        assert sorted(int(word) for words in outputs for word in words) == jobs
        assert {one.state for one in bench.store.jobs.list()} == {JobState.RUNNING}


class _Day:
    """Whatever a day does to the queue; a step that the store refuses is told by StaleState and changes nothing."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.store = bench.store
        self.held: list[Job] = []  # claims, also such as are no longer theirs
        self.arrivals = 1

    def state(self) -> object:
        """What must be as it was after a refusal."""
        return self.store.jobs.list(), self.store.series.list(), self.store.alerts.list(), self.store.deliveries.list()

    def arrive(self, pick: int) -> None:
        """A new instance: perhaps a new revision."""
        self.arrivals += 1
        self.store.intake.record_instance(instance(self.arrivals, series=SERIES[pick % 3]))

    def queue(self, pick: int) -> None:
        """What is received becomes complete and is queued."""
        series = SERIES[pick % 3]
        record = self.store.series.get(series)
        if record is not None and record.state is SeriesState.RECEIVING:
            self.store.intake.mark_complete(series, record.revision, "quiet")
            self.store.jobs.enqueue(series, record.revision, ELIGIBLE, 2)

    def claim(self, pick: int) -> None:
        """A worker takes the next."""
        job = self.store.jobs.claim(f"w{pick % 2}", LEASE_S)
        if job is not None:
            self.held.append(job)

    def end(self, pick: int) -> None:
        """Some worker that once had a job brings its result."""
        if self.held:
            self.bench.record(self.held[pick % len(self.held)], alert=bool(pick % 2))

    def fail(self, pick: int) -> None:
        """... or its failure."""
        if self.held:
            self.store.jobs.fail(self.held[pick % len(self.held)], "cause", transient=bool(pick % 2), retry_delay_s=9)

    def lapse(self, pick: int) -> None:
        """Time passes, and lapsed leases are taken back."""
        self.bench.clock.advance(10 if pick % 2 else LEASE_S + 1)
        self.store.jobs.release_lapsed()

    def cancel(self, pick: int) -> None:
        """An administrator cancels any job there was."""
        jobs = self.store.jobs.list()
        if jobs:
            self.store.jobs.cancel(jobs[pick % len(jobs)].id, "admin")

    def requeue(self, pick: int) -> None:
        """... or asks for another run."""
        self.store.requeue.apply(self.store.requeue.select(RequeueFilter(series=SERIES[pick % 3])), "admin")


STEPS = ("arrive", "queue", "claim", "end", "fail", "lapse", "cancel", "requeue")


@settings(max_examples=12, deadline=None, derandomize=True)
@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 11)), min_size=10, max_size=25))
def test_each_job_ends_exactly_once(steps: list[tuple[str, int]]) -> None:
    """After any steps in any order, and the work drained: every job has one end, no attempt is beyond the cap."""
    with tempfile.TemporaryDirectory() as folder, opened("sqlite", Path(folder)) as bench:
        day = _Day(bench)
        for pick in range(3):
            day.arrive(pick)
            day.queue(pick)
        for name, pick in steps:
            before = day.state()
            try:
                getattr(day, name)(pick)
            except StaleState:
                assert day.state() == before
        while bench.store.status().jobs["running"] or bench.store.status().jobs["queued"]:
            bench.clock.advance(LEASE_S + 1)
            bench.store.jobs.release_lapsed()
            if (job := bench.store.jobs.claim("last", LEASE_S)) is not None:
                bench.record(job)
        ends = {state.value for state in JobState if state not in ACTIVE_JOB_STATES}
        for job in bench.store.jobs.list():
            told = [one for one in bench.events("job", job.series_instance_uid) if one.subject_id == str(job.id)]
            assert sum(one.to_state in ends for one in told) == 1
            assert job.state in ends
            assert job.attempt <= job.max_attempts
        for series in SERIES:
            results = bench.store.results.history(series)
            assert sum(one.superseded_at is None for one in results) == min(1, len(results))
            record = bench.store.series.get(series)
            assert record is not None
            assert record.state in {SeriesState.RECEIVING, SeriesState.ANALYSED, SeriesState.FAILED}


@pytest.mark.parametrize("database", DATABASES)
def test_fresh_examinations_go_before_re_runs_and_sites_take_turns(database: str, tmp_path: Path) -> None:
    """A requeue, a site that sends many, then one that sends two: the two sites alternate, the re-runs come last."""
    with opened(database, tmp_path) as bench:

        def fresh(site: str, number: int) -> None:
            series = f"1.2.3.{site}{number}"
            arrival = instance(series=series, calling_ae_title=site)
            revision = bench.store.intake.record_instance(arrival).revision
            bench.store.intake.mark_complete(series, revision, "in a test")
            bench.store.jobs.enqueue(series, revision, ELIGIBLE, 3)

        for number in range(3):
            fresh("OLD", number)
            bench.record(bench.claim())
        bench.store.requeue.apply(bench.store.requeue.select(RequeueFilter(model_version="1.0")), "admin")
        bench.clock.advance(1)
        for number in range(4):
            fresh("BUSY", number)
        first = bench.claim()
        for number in range(2):
            fresh("SMALL", number)
        claimed = [first, *(bench.claim() for _ in range(8))]
        assert [job.site for job in claimed] == ["BUSY", *("BUSY", "SMALL") * 2, "BUSY", *["OLD"] * 3]
        assert [job.priority for job in claimed] == [JobPriority.FRESH] * 6 + [JobPriority.RERUN] * 3
