"""The store's keeping on both databases: retention, peers, leadership, the schema and its copies."""

import gc
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, make_url, text
from store_bench import DATABASES, NO_LUNG, SERIES, START, STUDY, Bench, empty_postgresql, instance, opened

from db import (
    BackupRefused,
    DatabaseUnavailable,
    Peer,
    RequeueFilter,
    SchemaOutOfDate,
    SeriesState,
    StaleState,
    Store,
    StoredInstance,
    backup,
    current_revision,
    upgrade,
)
from db.engine import CACHED_STATEMENTS, HEAD
from db.rows import Row

DAY_S = 86400.0


@pytest.fixture(params=DATABASES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """A bench on each database."""
    with opened(request.param, tmp_path) as made:
        yield made


def _every_state(bench: Bench) -> dict[SeriesState, str]:
    series = {state: f"{STUDY}.{number}" for number, state in enumerate(SeriesState, 1)}
    bench.store.jobs.fail(bench.running(series[SeriesState.FAILED]), "UndecodablePixels", transient=False)
    bench.analysed(series[SeriesState.ANALYSED])
    excluded = series[SeriesState.EXCLUDED]
    bench.store.intake.exclude(excluded, bench.complete(excluded), NO_LUNG)
    bench.queued(series[SeriesState.QUEUED])
    bench.complete(series[SeriesState.COMPLETE])
    bench.store.intake.record_instance(instance(series=series[SeriesState.RECEIVING]))
    return series


def _all(before: datetime) -> dict[SeriesState, datetime]:
    return dict.fromkeys((SeriesState.ANALYSED, SeriesState.EXCLUDED, SeriesState.FAILED), before)


def _remove(bench: Bench, series: str = SERIES) -> list[StoredInstance]:
    with bench.store.retention.removal(series, _all(bench.clock() + timedelta(days=999))) as files:
        return list(files)


def test_prepared_statements_are_few_whatever_is_recorded(tmp_path: Path) -> None:
    """Each size of a batch is a statement of its own: a receiver that has seen all sizes keeps the last few only."""

    def prepared() -> int:
        return sum(type(one).__qualname__ == "Statement" for one in gc.get_objects())

    with opened("sqlite", tmp_path) as bench:
        before = prepared()
        for size in range(1, 65):
            bench.store.intake.record_instances([instance(100 * size + number) for number in range(size)])
        assert 0 < prepared() - before <= CACHED_STATEMENTS


def test_retention_names_only_what_has_ended(bench: Bench) -> None:
    """After years: the states that have a time, each by its own; never what waits, runs or comes, nor what is young."""
    series = _every_state(bench)
    later = START + timedelta(days=999)
    ended = {series[state] for state in _all(later)}
    assert bench.store.retention.removable(_all(START)) == ()
    assert set(bench.store.retention.removable(_all(later))) == ended
    assert bench.store.retention.removable({}) == ()
    two = {SeriesState.ANALYSED: START, SeriesState.FAILED: later}
    assert bench.store.retention.removable(two) == (series[SeriesState.FAILED],)
    with pytest.raises(ValueError, match="unprocessed"):
        bench.store.retention.removable({SeriesState.QUEUED: later})
    for uid in set(series.values()) - ended:
        with pytest.raises(StaleState):
            _remove(bench, uid)
        assert bench.store.intake.series_paths(uid)


def test_retention_refuses_a_series_that_received_something_since(bench: Bench) -> None:
    """An instance comes between the look and the removal: the series is at work again and nothing of it may go."""
    bench.analysed()
    before = _all(bench.clock() + timedelta(days=1))
    assert bench.store.retention.removable(before) == (SERIES,)
    bench.store.intake.record_instance(instance(2, received_at=bench.clock.advance(60)))
    with pytest.raises(StaleState), bench.store.retention.removal(SERIES, before):
        pytest.fail("nothing is to be unlinked")


def test_failed_removal_leaves_the_rows(bench: Bench) -> None:
    """A disk that refuses to unlink: the series still has its instances in the index, and is looked at again."""
    bench.analysed()
    before = _all(bench.clock() + timedelta(days=1))
    with pytest.raises(OSError, match="disk"), bench.store.retention.removal(SERIES, before):
        raise OSError(5, "disk")
    assert bench.store.retention.removable(before) == (SERIES,)


def test_retention_takes_every_version_once(bench: Bench) -> None:
    """All files are named, and none after they went; the versions stay known, the result stays."""
    bench.store.intake.record_instance(instance(content="older"))
    bench.analysed()
    assert len(_remove(bench)) == 2
    assert bench.store.retention.files(SERIES) == bench.store.intake.series_paths(SERIES) == ()
    assert bench.store.retention.removable(_all(START + timedelta(days=999))) == ()
    assert len(bench.store.intake.find_versions(instance().sop_instance_uid)) == 2
    assert bench.store.results.latest(SERIES) is not None


def test_bytes_that_retention_removed_come_again(bench: Bench) -> None:
    """NEW without a revision; requeued only when all are back; kept for their time anew, not swept at once."""
    bench.store.intake.record_instance(instance(2))
    bench.analysed()
    _remove(bench)
    later = bench.clock.advance(100 * DAY_S)
    week = timedelta(days=7)

    def refusal() -> str | None:
        return bench.store.requeue.select(RequeueFilter(series=SERIES))[0].refusal

    recorded = bench.store.intake.record_instance(instance(1, received_at=later, path="back/1.dcm"))
    assert (recorded.kind, recorded.revision) == ("new", 1)
    assert refusal() == "its instances were removed by retention"
    assert bench.store.retention.removable(_all(later - week)) == ()
    assert bench.store.retention.removable(_all(later + week)) == (SERIES,)
    bench.store.intake.record_instance(instance(2, received_at=later))
    assert refusal() is None
    assert sorted(one.path for one in bench.store.intake.series_paths(SERIES)) == [f"{SERIES}.2-a.dcm", "back/1.dcm"]
    (study,) = bench.store.studies.list(since=later)
    assert study.study_instance_uid == STUDY


def test_peers_are_told_by_titles_and_range(bench: Bench) -> None:
    """The first that fits; an address mapped into IPv6 is the same address; allowed again replaces."""
    peers = bench.store.peers
    here = Peer(ae_title="CT1", called_ae_title=None, cidr="10.1.2.0/24", host="10.1.2.17", port=104)
    peers.allow(here, "admin")
    peers.allow(Peer(ae_title="CT1", called_ae_title=None, cidr="10.1.2.0/24", host="10.1.2.18", port=105), "admin")
    peers.allow(Peer(ae_title="PET", called_ae_title="NODE", cidr=None, host=None, port=None))
    assert [(one.ae_title, one.port) for one in peers.list()] == [("CT1", 105), ("PET", None)]
    assert peers.match("CT1", "ANY", "::ffff:10.1.2.99") is not None
    assert peers.match("CT1", "ANY", "10.1.3.1") is None
    assert peers.match("PET", "NODE", "2001:db8::1") is not None
    assert peers.match("PET", "OTHER", "2001:db8::1") is None
    assert peers.match("MR1", "NODE", "10.1.2.17") is None
    assert (peers.remove("CT1", "admin"), peers.remove("CT1", "admin")) == (1, 0)


def test_refusals_are_counted(bench: Bench) -> None:
    """One entry for each caller, with how often and why the last time; the last refused stands first."""
    for reason in ("first reason", "second reason"):
        bench.clock.advance(1)
        bench.store.peers.record_refusal("CT9", "NODE", "10.0.0.9", reason)
    bench.clock.advance(1)
    bench.store.peers.record_refusal("CT8", "NODE", "10.0.0.9", "other")
    last, counted = bench.store.peers.refusals()
    assert (last.calling_ae_title, last.count) == ("CT8", 1)
    assert (counted.count, counted.reason) == (2, "second reason")
    assert counted.last_at - counted.first_at == timedelta(seconds=1)


def test_one_leads_until_it_goes(bench: Bench) -> None:
    """A second store does not lead while the first does, and does once it closed; other names are other locks."""
    with Store.open(bench.url) as second:
        with Store.open(bench.url) as first:
            assert first.leads()
            assert first.leads()
            assert not second.leads()
            assert second.leads("other")
        assert second.leads()


def test_leader_whose_session_is_gone_knows_it(tmp_path: Path) -> None:
    """PostgreSQL ended the session, and with it the lock: another leads, and the first does not believe it does."""
    with opened("postgresql", tmp_path) as bench, Store.open(bench.url) as second:
        assert bench.store.leads()
        engine = create_engine(bench.url)
        with engine.connect() as connection:
            holder = "(SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND database = "
            holder += "(SELECT oid FROM pg_database WHERE datname = current_database()))"
            connection.execute(text(f"SELECT pg_terminate_backend({holder}, 10000)"))
        engine.dispose()
        assert second.leads()
        assert not bench.store.leads()


def test_wait_tells_that_the_database_is_gone_and_listens_again(tmp_path: Path) -> None:
    """The listening session was ended: the waiter says so, and the next wait has a new one."""
    with opened("postgresql", tmp_path) as bench:
        bench.store.jobs.wait(0)
        engine = create_engine(bench.url)
        with engine.connect() as connection:
            others = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            others += "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            connection.execute(text(others))
        engine.dispose()
        with pytest.raises(DatabaseUnavailable):
            bench.store.jobs.wait(30)
        assert bench.store.jobs.wait(0)
        assert bench.queued().series_instance_uid == SERIES


def _empty(kind: str, folder: Path) -> str:
    return empty_postgresql() if kind == "postgresql" else f"sqlite:///{folder / 'empty.sqlite3'}"


@pytest.mark.parametrize("kind", DATABASES)
def test_migrations_make_the_tables_that_the_code_knows(kind: str, tmp_path: Path) -> None:
    """From nothing to head by two at once, then again: once done, and not one difference to the rows."""
    url = _empty(kind, tmp_path)
    assert current_revision(url) is None
    with pytest.raises(SchemaOutOfDate, match="empty"):
        Store.open(url)
    upgrades = [threading.Thread(target=upgrade, args=(url,)) for _ in range(2)]
    for one in upgrades:
        one.start()
    for one in upgrades:
        one.join(60)
    upgrade(url)
    assert current_revision(url) == HEAD
    engine = create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Row.metadata) == []
    engine.dispose()


def test_backup_opens_and_holds_the_rows(tmp_path: Path) -> None:
    """Taken while the store is open, also of what stands in the write-ahead log; nothing is written over."""
    with opened("sqlite", tmp_path) as bench:
        bench.analysed()
        copy = tmp_path / "copy.sqlite3"
        backup(bench.url, copy)
        with closing(sqlite3.connect(copy)) as raw:
            assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        content = bench.content()
        with pytest.raises(BackupRefused, match="exists"):
            backup(bench.url, copy)
        with pytest.raises(BackupRefused, match="no database"):
            backup(f"sqlite:///{tmp_path / 'nothing'}", tmp_path / "other")
    with Store.open(f"sqlite:///{copy}") as restored:
        assert restored.results.latest(SERIES) is not None
        assert Bench(store=restored, url=f"sqlite:///{copy}").content() == content


def test_times_of_a_clock_that_was_set_back_are_brought_back(bench: Bench) -> None:
    """A day back: what waits is due, a lease lasts its length, quiet time begins anew; what is meant so stays."""
    series = [f"{STUDY}.{number}" for number in range(1, 6)]
    receiving, complete, running, queued, retried = series
    bench.store.intake.record_instance(instance(series=receiving, received_at=bench.clock()))
    bench.complete(complete)
    bench.running(running)
    bench.store.jobs.fail(bench.running(retried), "later", transient=True, retry_delay_s=1000)
    bench.queued(queued)
    assert _brought_back(bench) == 0

    now = bench.clock.advance(-DAY_S)

    assert _brought_back(bench) == 5
    assert _brought_back(bench) == 0
    (evidence,) = bench.store.intake.receiving_series()
    assert evidence.last_received_at == now
    assert bench.store.intake.complete_series()[0].completed_at == now
    jobs = {job.series_instance_uid: job for job in bench.store.jobs.list()}
    assert jobs[running].lease_expires_at == now + timedelta(seconds=60)
    assert {jobs[queued].not_before, jobs[retried].not_before} == {now}


def _brought_back(bench: Bench) -> int:
    return bench.store.timekeeping.bring_back(bench.clock(), longest_wait_s=5400, job_lease_s=60, delivery_lease_s=600)


def test_file_that_is_gone_is_missed_and_one_in_its_place_is_used(tmp_path: Path) -> None:
    """Nothing is written to a file that nobody would find, and none is made; back, or another, it is worked with."""
    with opened("sqlite", tmp_path) as bench:
        file, away = Path(make_url(bench.url).database or ""), tmp_path / "away"
        bench.complete()
        copy = tmp_path / "copy.sqlite3"
        backup(bench.url, copy)
        bench.store.intake.record_instance(instance(series="1.2.9"))
        away.mkdir()
        for one in tmp_path.glob(f"{file.name}*"):
            one.rename(away / one.name)

        for attempt in (
            lambda: bench.store.series.get(SERIES),
            lambda: bench.store.intake.record_instance(instance(series="1.2.8")),
        ):
            with pytest.raises(DatabaseUnavailable):
                attempt()
        assert not file.exists()

        for one in away.iterdir():
            one.rename(file.parent / one.name)
        assert bench.store.series.get("1.2.9") is not None

        for one in tmp_path.glob(f"{file.name}*"):
            one.unlink()
        copy.rename(file)
        assert bench.store.series.get(SERIES) is not None
        assert bench.store.series.get("1.2.9") is None
