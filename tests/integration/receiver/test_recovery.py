"""What a receiver acknowledged before it died gets its row, at the cost of what it left."""

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from pydicom import config as pydicom_config
from reception import INFO, Process, ct_slice
from structlog.testing import capture_logs
from typer.testing import CliRunner

from analysis.series.verdicts import Screening
from db import AssociationRecord, DatabaseUnavailable, ReceivedInstance, SeriesState, Store
from dicom_node.cli.app import app
from dicom_node.settings import Settings
from dicom_node.storage.archive import Archive
from dicom_node.storage.recovery import Recovery, rebuild_index

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


class _Away:
    """A database that cannot be reached until it is back."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.back = False

    def record(self, instances: Sequence[ReceivedInstance]) -> object:
        if not self.back:
            raise DatabaseUnavailable
        return self._store.intake.record_instances(instances)


@pytest.fixture
def dead(store: Store, archive: Archive) -> Iterator[Process]:
    """A process that acknowledged three instances and died before any had its row; two drafts were open."""
    mode = pydicom_config.settings.reading_validation_mode
    pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
    process = Process(store, archive, record=_Away(store).record)
    store.intake.open_association(
        AssociationRecord(
            association_id=INFO.association_id,
            receiver_id=process.incoming.folder.name,
            calling_ae_title="CT1",
            called_ae_title="LUNGSENTRY",
            address="127.0.0.1",
            opened_at=datetime.now(UTC),
        )
    )
    first, second = process.begin("1.2.7"), process.begin("1.2.8")
    second.write([memoryview(ct_slice("1.2.8"))])
    for number in range(3):
        uid = f"1.2.3.{number}"
        one = process.begin(uid)
        one.write([memoryview(ct_slice(uid))])
        assert one.finish() == 0
        one.conclude()
    process.indexer.close(10.0)
    os.close(process.incoming._lock)  # what a process that is killed lets go of
    yield process
    for reception in (first, second):
        reception.abandon()
    pydicom_config.settings.reading_validation_mode = mode


def recovery(store: Store, archive: Archive) -> Recovery:
    return Recovery(store, archive, threading.Event(), max_instance_bytes=1 << 20)


def indexed(store: Store, series: str = "1.2.0") -> list[str]:
    return sorted(one.sop_instance_uid for one in store.retention.files(series))


def test_what_was_acknowledged_gets_its_row_and_nothing_is_left(store: Store, archive: Archive, dead: Process) -> None:
    """Rows for what has a final name, none for drafts; the association is closed, the folder is gone."""
    assert indexed(store) == []

    recovery(store, archive).look()

    assert indexed(store) == ["1.2.3.0", "1.2.3.1", "1.2.3.2"]
    assert all(archive.digest(one.path) == one.sha256 for one in store.retention.files("1.2.0"))
    assert not dead.incoming.folder.exists()
    assert store.intake.close_associations_of(dead.incoming.folder.name) == 0


@pytest.mark.usefixtures("dead")
def test_archive_is_not_looked_through(store: Store, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one of the archive's folders is listed: what is stored already costs a start nothing."""
    monkeypatch.setattr(Archive, "series_folders", None)
    recovery(store, archive).look()
    assert len(indexed(store)) == 3


def test_living_receiver_is_left_alone(store: Store, archive: Archive) -> None:
    """Whoever holds his lock sees to his own."""
    away = _Away(store)
    process = Process(store, archive, record=away.record)
    process.take("1.2.3.0", ct_slice("1.2.3.0"))
    recovery(store, archive).look()
    assert indexed(store) == []
    away.back = True
    process.settle()
    process.close()
    assert indexed(store) == ["1.2.3.0"]


def test_database_that_is_away_is_tried_again(
    store: Store, archive: Archive, dead: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look ends with a word in the log, the entries stay, and the next look finds them."""
    away = _Away(store)
    with monkeypatch.context() as patch:
        patch.setattr("db.store.intake.Intake.record_instances", lambda _self, rows: away.record(rows))
        with capture_logs() as logs:
            recovery(store, archive).look()
    assert [line["event"] for line in logs] == ["receiver.unrecovered"]
    assert dead.incoming.folder.exists()

    recovery(store, archive).look()

    assert len(indexed(store)) == 3


@pytest.fixture
def refusing(settings: Settings, store: Store) -> str:  # noqa: ARG001 - the store makes the tables
    """An instance that the database itself refuses."""
    uid = "1.2.3.1"
    execute(
        settings,
        f"CREATE TRIGGER refuses BEFORE INSERT ON instances WHEN NEW.sop_instance_uid = '{uid}' "
        "BEGIN SELECT RAISE(ABORT, 'refused'); END",
    )
    return uid


def execute(settings: Settings, *statements: str) -> None:
    with closing(sqlite3.connect(settings.database_url.removeprefix("sqlite:///"))) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def test_instance_that_is_refused_takes_no_other_with_it(
    store: Store, archive: Archive, dead: Process, refusing: str
) -> None:
    """It is told in the log; the others have their rows, and no later look meets it again."""
    with capture_logs() as logs:
        recovery(store, archive).look()
    assert indexed(store) == ["1.2.3.0", "1.2.3.2"]
    assert [line["event"] for line in logs] == ["instance.unindexed", "receiver.recovered"]
    assert not dead.incoming.folder.exists()
    assert refusing not in indexed(store)


def test_damaged_entry_is_told_and_passed_over(store: Store, archive: Archive, dead: Process) -> None:
    """A byte that rotted since: the file is not what was acknowledged, and gets no row as if it were."""
    entry = max(dead.incoming.folder.glob("*.part"))
    data = bytearray(entry.read_bytes())
    data[-1] ^= 0xFF
    entry.write_bytes(data)
    recovery(store, archive).look()
    assert len(indexed(store)) == 2


def test_instance_that_came_again_elsewhere_has_one_row(store: Store, archive: Archive, dead: Process) -> None:
    """Another process took the same bytes since: the dead one's entry is no longer the file, and changes nothing."""
    other = Process(store, archive)
    other.take("1.2.3.0", ct_slice("1.2.3.0"))
    other.settle()
    other.close()

    recovery(store, archive).look()

    assert indexed(store) == ["1.2.3.0", "1.2.3.1", "1.2.3.2"]
    assert not dead.incoming.folder.exists()


def lose_index(settings: Settings) -> None:
    """The index is as it was before anything came."""
    execute(settings, *(f"DELETE FROM {table}" for table in ("events", "instances", "series", "studies")))  # noqa: S608


@pytest.fixture
def stored(store: Store, archive: Archive) -> list[str]:
    """200 instances of four series, archived and indexed."""
    process = Process(store, archive)
    uids = [f"1.2.3.{number}" for number in range(200)]
    for number, uid in enumerate(uids):
        assert process.take(uid, ct_slice(uid, series=f"1.2.{number % 4}")) == 0
    process.settle()
    process.close()
    return uids


def test_lost_index_is_rebuilt_but_for_what_can_have_no_row(
    settings: Settings, store: Store, archive: Archive, stored: list[str], refusing: str
) -> None:
    """One row that the database refuses, one file that is damaged, one that is empty: told by the command, 197 rows."""
    damaged, empty = store.intake.find_versions(stored[2])[0].path, store.intake.find_versions(stored[3])[0].path
    lose_index(settings)
    data = bytearray(archive.absolute(damaged).read_bytes())
    data[-1] ^= 0xFF
    archive.absolute(damaged).write_bytes(data)
    archive.absolute(empty).write_bytes(b"")
    variables = {"LUNGSENTRY_NODE__DATA_DIR": str(settings.node.data_dir)}

    run = CliRunner().invoke(app, ["verify", "--rebuild", "--json"], env=variables)

    told = json.loads(run.stdout)
    rows = {uid for number in range(4) for uid in indexed(store, f"1.2.{number}")}
    assert rows == set(stored) - {refusing, stored[2], stored[3]}
    assert (run.exit_code, told["rebuilt"], len(told["unindexed"])) == (1, 197, 3)
    assert {damaged, empty} < {one["path"] for one in told["unindexed"]}
    assert all(one["cause"] for one in told["unindexed"])


def test_complete_index_is_left_as_it_is(store: Store, archive: Archive, stored: list[str]) -> None:
    """Nothing is rebuilt where nothing is missing."""
    assert rebuild_index(store, archive, max_instance_bytes=1 << 20) == (0, ())
    assert sum(len(indexed(store, f"1.2.{number}")) for number in range(4)) == len(stored)


def test_file_whose_row_says_that_it_is_gone_is_there_again(
    store: Store, archive: Archive, stored: list[str], leave: Callable[[str], None]
) -> None:
    """Retention's record outlived a file that was put back from a backup: the rebuilt index says that it is there."""
    leave("1.2.1")
    assert indexed(store, "1.2.1") == []
    assert rebuild_index(store, archive, max_instance_bytes=1 << 20) == (50, ())
    assert len(indexed(store, "1.2.1")) == 50
    assert len(stored) == 200


@pytest.fixture
def leave(store: Store) -> Callable[[str], None]:
    """Have a series' rows say that its files were removed."""

    def one(series: str) -> None:
        store.intake.mark_complete(series, 1, "all here")
        store.intake.exclude(series, 1, Screening(results=(), profile=None))
        with store.retention.removal(series, {SeriesState.EXCLUDED: datetime.now(UTC) + timedelta(days=1)}):
            """The files stay."""

    return one
