"""The queue on PostgreSQL: a million jobs wait, 64 workers in eight processes claim and end them; analysis is a pause.

``LUNGSENTRY_BENCH_JOBS`` takes another number of jobs. All but a five-hundredth are re-runs, of one site; the others
are fresh, of ten sites. Told are how long a claim takes where each analysis takes a second, and how many jobs a second
there are where it takes no time; and that no re-run was claimed while a fresh one waited.
"""

import multiprocessing
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import quantiles
from typing import Any

from sqlalchemy import create_engine, func, select, text

from alerts import PolicyDecision
from db import Store, upgrade
from db.job import JobPriority, JobState
from db.rows import JobRow, SeriesRow, StudyRow
from tests.benchmarks.store import first_row, postgresql, write_rows

sys.path.append(str(Path(__file__).resolve().parents[1] / "factories"))
from store_bench import ELIGIBLE, START, Bench, findings_of

JOBS = int(os.environ.get("LUNGSENTRY_BENCH_JOBS", "1000000"))
FRESH = JOBS // 500
PROCESSES, THREADS = 8, 8
SECONDS = 20.0
SITES = 10
_FIRST = 10
_NOTHING = PolicyDecision(alert=None, reasons=(), explanation="nothing was looked at")


def main() -> None:
    """Fill, claim with a second of analysis, claim without."""
    with tempfile.TemporaryDirectory(prefix="bench-queue-") as folder, postgresql(Path(folder) / "postgresql") as url:
        upgrade(url)
        with Store.open(url) as store:
            Bench(store=store, url=url).analysed()
        began = time.perf_counter()
        _fill(url)
        print(f"{JOBS} jobs wait, {FRESH} of them fresh, filled in {time.perf_counter() - began:.0f} s")
        for analysis_s in (1.0, 0.0):
            _print(_claims(url, analysis_s), analysis_s)
        _print_order(url)


def _fill(url: str) -> None:
    engine = create_engine(url)
    for table, changes in ((StudyRow, _study), (SeriesRow, _series), (JobRow, _job)):
        write_rows(engine, table, first_row(engine, table), map(changes, range(JOBS)))
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
    engine.dispose()


def _study(number: int) -> dict[str, Any]:
    uid = f"1.2.9.{number}"
    return {"study_instance_uid": uid, "reversed_uid": uid[::-1], "patient_id": f"P{number}"}


def _series(number: int) -> dict[str, Any]:
    uid = f"1.2.9.{number}.1"
    return {
        "series_instance_uid": uid,
        "reversed_uid": uid[::-1],
        "study_instance_uid": f"1.2.9.{number}",
        "state": "queued",
        "ended_at": None,
    }


def _job(number: int) -> dict[str, Any]:
    """The re-runs came first: whoever went by age would claim them."""
    fresh = number >= JOBS - FRESH
    return {
        "id": _FIRST + number,
        "series_instance_uid": f"1.2.9.{number}.1",
        "study_instance_uid": f"1.2.9.{number}",
        "priority": (JobPriority.FRESH if fresh else JobPriority.RERUN).value,
        "site": f"CT{number % SITES}" if fresh else "CT0",
        "turn": number // SITES if fresh else number,
        "state": JobState.QUEUED.value,
        "attempt": 0,
        "worker": None,
        "not_before": START,
        "started_at": None,
        "finished_at": None,
        "lease_expires_at": None,
        "kept": False,
    }


def _claims(url: str, analysis_s: float) -> list[float]:
    """How long each claim took, in seconds."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(PROCESSES) as pool:
        found = pool.starmap(_process, [(number, url, analysis_s) for number in range(PROCESSES)])
    return [claim for one in found for claim in one]


def _process(number: int, url: str, analysis_s: float) -> list[float]:
    claims: list[float] = []
    with Store.open(url) as store:
        ends = time.monotonic() + SECONDS

        def work(name: str) -> None:
            while time.monotonic() < ends:
                began = time.monotonic()
                job = store.jobs.claim(name, 600)
                assert job is not None
                claims.append(time.monotonic() - began)
                threading.Event().wait(analysis_s)
                store.results.record(
                    job,
                    name,
                    findings=findings_of(job),
                    screening=ELIGIBLE,
                    decision=_NOTHING,
                    artefacts=(),
                    deliveries=(),
                    seconds={},
                )

        workers = [threading.Thread(target=work, args=(f"worker-{number}-{one}",)) for one in range(THREADS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    return claims


def _print(claims: list[float], analysis_s: float) -> None:
    cuts = quantiles((1000 * taken for taken in claims), n=100)
    print(
        f"{PROCESSES * THREADS} workers, {analysis_s:g} s of analysis: {len(claims) / SECONDS:.0f} jobs a second; "
        f"a claim takes {cuts[49]:.1f} ms, p99 {cuts[98]:.1f}"
    )


def _print_order(url: str) -> None:
    """Whether a re-run was claimed before the last fresh one."""
    begun = select(JobRow.id).where(JobRow.id >= _FIRST, JobRow.started_at.is_not(None))
    last_fresh = select(func.max(JobRow.started_at)).where(JobRow.priority == JobPriority.FRESH).scalar_subquery()
    rerun = begun.where(JobRow.priority == JobPriority.RERUN)
    engine = create_engine(url)
    with engine.connect() as connection:
        counts = [
            connection.scalar(select(func.count()).select_from(one.subquery()))
            for one in (begun, rerun, rerun.where(JobRow.started_at < last_fresh))
        ]
    engine.dispose()
    print(f"claimed {counts[0]}, of them {counts[1]} re-runs, {counts[2]} before the last fresh one")
