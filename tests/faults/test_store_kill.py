"""A worker killed inside the transaction that records its result: nothing of it stands, and the job runs again."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from store_bench import DATABASES, SERIES, opened

from db import JobState, SeriesState
from db.rows import AlertRow, DeliveryRow, ResultRow

REPOSITORY = Path(__file__).resolve().parents[2]
HANG_INSIDE = """
import signal, sys
from db import Store
from db.store import results
from store_bench import Bench, Clock

def hang(*_, **__):
    print("inside", flush=True)  # result, alert and deliveries are written, nothing is committed
    signal.pause()

results._end_series = hang  # by then everything but this is written
clock = Clock()
with Store.open(sys.argv[1], clock=clock) as store:
    bench = Bench(store=store, url=sys.argv[1], clock=clock)
    bench.record(bench.claim("doomed", 60))
"""


@pytest.mark.parametrize("kind", DATABASES)
def test_kill_inside_the_results_transaction(kind: str, tmp_path: Path) -> None:
    """SIGKILL with everything written but the end: no half result; after its lease the job is another's and ends."""
    with opened(kind, tmp_path) as bench:
        job = bench.queued()
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])}
        with subprocess.Popen(
            [sys.executable, "-c", HANG_INSIDE, bench.url], stdout=subprocess.PIPE, text=True, env=environment
        ) as worker:
            assert worker.stdout is not None
            try:
                assert worker.stdout.readline() == "inside\n"
            finally:
                worker.kill()
            assert worker.wait(60) == -signal.SIGKILL
        tables = (ResultRow, AlertRow, DeliveryRow)
        assert [bench.count(table) for table in tables] == [0, 0, 0]
        assert not [*bench.events("result"), *bench.events("alert"), *bench.events("delivery")]
        left = bench.store.jobs.get(job.id)
        assert left is not None
        assert (left.state, left.worker) == (JobState.RUNNING, "doomed")

        assert bench.store.jobs.claim("other", 60) is None
        bench.clock.advance(61)
        (released,) = bench.store.jobs.release_lapsed()
        assert released.state is JobState.QUEUED
        again = bench.claim("other")
        assert (again.id, again.attempt) == (job.id, 2)
        bench.record(again)
        series = bench.store.series.get(SERIES)
        assert series is not None
        assert series.state is SeriesState.ANALYSED
        assert [bench.count(table) for table in tables] == [1, 1, 1]
