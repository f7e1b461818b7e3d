"""The database goes away in the middle of sending, and comes back: what was acknowledged is there, every job ends."""

import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import node_harness as harness
import pydicom
import pytest
from killable_postgresql import PostgreSQL
from sqlalchemy import make_url

from db import JobState, SeriesState, Store
from dicom_node.settings import Settings

pytestmark = pytest.mark.slow

SERIES, SLICES = 3, 10
AWAY_S = 3.0
"""Long enough for every role to meet the database's absence several times."""


@pytest.fixture
def postgresql() -> PostgreSQL:
    return PostgreSQL(
        Path(tempfile.mkdtemp(prefix="pg"))
    )  # a server of root's runs as another user: not below tmp_path


class Sending:
    """Series that are sent one after another, again and again from a thread, until every slice was acknowledged."""

    def __init__(self, series: list[list[Path]], port: int) -> None:
        self.acknowledged: set[Path] = set()
        self._series = series
        self._port = port
        self._half = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def await_half(self) -> None:
        """Until half of all is acknowledged: the other half is still to come."""
        assert self._half.wait(60)

    def await_end(self) -> None:
        """Until everything is acknowledged."""
        self._thread.join(120)
        assert not self._thread.is_alive()

    def _send(self) -> None:
        total = sum(map(len, self._series))
        while len(self.acknowledged) < total:
            for paths in self._series:
                left = [path for path in paths if path not in self.acknowledged]
                for path in left:
                    if harness.try_to_send(path, self._port) == 0:
                        self.acknowledged.add(path)
                    if len(self.acknowledged) >= total // 2:
                        self._half.set()


def _write(folder: Path) -> list[list[Path]]:
    return [harness.write_ct(folder / f"ct{number}", slices=SLICES) for number in range(SERIES)]


def _check(settings: Settings, series: list[list[Path]]) -> None:
    """Every series ended, each slice is there as it was sent, and every job that no later one replaced succeeded."""
    with Store.open(settings.database_url) as store:
        for paths in series:
            uid = harness.series_uid(paths)
            harness.wait_until(_ended(store, uid, SLICES), what=f"the end of {uid}")
            stored = store.intake.series_paths(uid)
            kept = {one.sop_instance_uid: pydicom.dcmread(settings.archive_dir / one.path) for one in stored}
            assert kept == {sent.SOPInstanceUID: sent for sent in map(pydicom.dcmread, paths)}
        states = {job.state for job in store.jobs.list()}
        assert states <= {JobState.SUCCEEDED, JobState.CANCELLED}
        assert JobState.SUCCEEDED in states


def _ended(store: Store, uid: str, instances: int) -> Callable[[], bool]:
    def look() -> bool:
        series = store.series.get(uid)
        return series is not None and series.state is SeriesState.EXCLUDED and series.instance_count == instances

    return look


def test_postgresql_killed_while_sending_and_started_again(tmp_path: Path, postgresql: PostgreSQL) -> None:
    """SIGKILL of the server between two instances; back after a while, nothing that was acknowledged is missing."""
    series = _write(tmp_path)
    settings = harness.quick_settings(tmp_path / "node", url=postgresql.url)
    with harness.running_node(settings) as (_node, port):
        for _ in range(2):
            sending = Sending(series, port)
            sending.await_half()
            postgresql.kill()
            threading.Event().wait(AWAY_S)
            postgresql.start()
            sending.await_end()
        _check(settings, series)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """A transaction that is left open by somebody else keeps every writer out."""
    with closing(sqlite3.connect(file, isolation_level=None, timeout=30)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def _moved_away(file: Path) -> Iterator[None]:
    """The file and its log are not where they were, as when a mount is lost."""
    away = file.parent / "away"
    away.mkdir()
    for one in file.parent.glob(f"{file.name}*"):
        if one.suffix != ".lock":
            one.rename(away / one.name)
    yield
    for one in file.parent.glob(f"{file.name}*"):
        if one.suffix != ".lock":
            one.unlink()
    for one in away.iterdir():
        one.rename(file.parent / one.name)
    shutil.rmtree(away)


@pytest.mark.parametrize("fault", [_locked, _moved_away], ids=["locked", "moved-away"])
def test_sqlite_gone_while_sending_and_back(tmp_path: Path, fault: Callable[[Path], Iterator[None]]) -> None:
    """While nobody can write to the file instances are archived or refused; back, all are indexed and analysed."""
    series = _write(tmp_path)
    settings = harness.quick_settings(tmp_path / "node")
    file = Path(make_url(settings.database_url).database or "")
    with harness.running_node(settings) as (_node, port):
        sending = Sending(series, port)
        sending.await_half()
        with fault(file):  # type: ignore[attr-defined]
            threading.Event().wait(AWAY_S)
        sending.await_end()
        _check(settings, series)
