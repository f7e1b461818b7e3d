"""Retention removes a series while its instances are sent again: what is acknowledged is there, and so says its row.

The real parts meet at every step: each call of one side that touches the disk, or the database, is a point where the
other side may run.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom import config as pydicom_config
from reception import Process, ct_slice

from analysis.series.verdicts import Screening
from db import SeriesState, Store, upgrade
from dicom_node.settings import Retention as RetentionSettings
from dicom_node.storage.archive import Archive
from dicom_node.storage.retention import Retention
from dicom_node.storage.verification import verify

SERIES, UIDS = "1.2.0", ["1.2.3.0", "1.2.3.1"]
BLOCKED_S = 0.2
"""Whoever makes no step for so long waits for the other, which then goes on."""
STEPS = ("link", "rename", "unlink", "stat", "rmdir", "fsync", "mkdir")


class _Turns:
    """Two sides take turns: the first goes on for ``steps`` calls, then the other to its end, or until it waits."""

    def __init__(self, steps: int) -> None:
        self._left = steps
        self._first: int | None = None
        self._handed = threading.Event()
        self._other_is_done = threading.Event()
        self._progress = 0
        self.reached = False

    def step(self) -> None:
        """A call is about to be made."""
        if threading.get_ident() != self._first:
            self._progress += 1
            return
        self._left -= 1
        if self._left == 0:
            self.reached = True
            self._handed.set()
            seen = -1
            while not self._other_is_done.wait(BLOCKED_S) and seen != self._progress:
                seen = self._progress

    def run(self, first: Callable[[], None], other: Callable[[], None]) -> None:
        """Both, to their ends; an exception of either is raised."""
        errors: list[BaseException] = []

        def guarded(side: Callable[[], None], done: threading.Event | None = None) -> None:
            try:
                if side is first:
                    self._first = threading.get_ident()
                else:
                    assert self._handed.wait(30)
                side()
            except BaseException as error:  # noqa: BLE001 - raised below, in the test's own thread
                errors.append(error)
            finally:
                (done or self._handed).set()

        threads = [
            threading.Thread(target=guarded, args=(first,)),
            threading.Thread(target=guarded, args=(other, self._other_is_done)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        if errors:
            raise errors[0]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path}/node.sqlite3"
    upgrade(url)
    with Store.open(url) as opened:
        yield opened


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "archive")


@pytest.fixture
def odd_uids() -> Iterator[None]:
    """Odd UIDs are the reception's to judge, as in a receiver."""
    mode = pydicom_config.settings.reading_validation_mode
    pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
    yield
    pydicom_config.settings.reading_validation_mode = mode


@pytest.fixture
def removable(store: Store, archive: Archive, odd_uids: None) -> Process:  # noqa: ARG001
    """A process that received a series, which is excluded since, and whose files are two hours old."""
    process = Process(store, archive)
    for uid in UIDS:
        assert process.take(uid, ct_slice(uid)) == 0
    process.settle()
    store.intake.mark_complete(SERIES, 1, "all here")
    store.intake.exclude(SERIES, 1, Screening(results=(), profile=None))
    for file in archive.root.glob("??/*/*.dcm"):
        _age(file)
    return process


def _age(file: Path) -> None:
    os.utime(file, (time.time() - 7200,) * 2)


def _sweep(store: Store, archive: Archive) -> Callable[[], None]:
    """Whatever the rows' times: everything that ended may go."""
    retention = Retention(
        settings=RetentionSettings(excluded_days=0.001),
        store=store,
        archive=archive,
        clock=lambda: datetime.now(UTC) + timedelta(days=1),
    )

    def sweep() -> None:
        for unit in retention.removals():
            unit.run()

    return sweep


def _resend(process: Process) -> Callable[[], None]:
    def resend() -> None:
        assert process.take(UIDS[0], ct_slice(UIDS[0])) == 0
        process.settle()

    return resend


def _stepping(monkeypatch: pytest.MonkeyPatch, turns: _Turns, store: Store) -> None:
    for name in STEPS:
        monkeypatch.setattr(os, name, _stepped(getattr(os, name), turns))
    for room, name in ((type(store.intake), "record_instances"), (type(store.retention), "removal")):
        monkeypatch.setattr(room, name, _stepped(getattr(room, name), turns))


def _stepped(call: Callable[..., Any], turns: _Turns) -> Callable[..., Any]:
    def stepped(*args: Any, **kwargs: Any) -> Any:
        turns.step()
        return call(*args, **kwargs)

    return stepped


@pytest.mark.parametrize("first", ["resend", "sweep"])
def test_resend_beside_removal_at_every_step(
    store: Store, archive: Archive, removable: Process, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Wherever one begins while the other is under way: what was sent again is there, whole, and its row says so.

    No row says "there" of a file that is gone, and none says "gone" of one that is there.
    """
    sides = {"resend": _resend(removable), "sweep": _sweep(store, archive)}
    begins = sides.pop(first)
    (comes,) = sides.values()
    met = 0
    for step in range(1, 200):
        turns = _Turns(step)
        with monkeypatch.context() as patch:
            _stepping(patch, turns, store)
            turns.run(begins, comes)
        removable.settle()
        there = {row.sop_instance_uid for row in store.retention.files(SERIES)}
        assert list(verify(store, archive, on_progress=lambda _: None)) == [], f"after step {step} of the {first}"
        assert UIDS[0] in there, f"after step {step} of the {first}"
        met += turns.reached
        if not turns.reached:
            break
        for uid in UIDS:
            assert removable.take(uid, ct_slice(uid)) == 0
        removable.settle()
        for file in archive.root.glob("??/*/*.dcm"):
            _age(file)
    assert met >= 5
    removable.close()


def test_clock_that_steps_takes_nothing_that_has_no_row(store: Store, archive: Archive, removable: Process) -> None:
    """Sent again, acknowledged, and not yet indexed, when the clock jumps by a day: the file seems old, and stays."""
    reception = removable.begin(UIDS[0])
    reception.write([memoryview(ct_slice(UIDS[0]))])
    assert reception.finish() == 0
    for file in archive.root.glob("??/*/*.dcm"):
        _age(file)

    _sweep(store, archive)()

    assert {row.sop_instance_uid for row in store.retention.files(SERIES)} == set(UIDS)
    reception.conclude()
    removable.settle()
    assert list(verify(store, archive, on_progress=lambda _: None)) == []
    removable.close()


def test_removal_takes_what_nobody_sends(store: Store, archive: Archive, removable: Process) -> None:
    """The same sweep, alone: files, folder and rows go."""
    _sweep(store, archive)()
    assert store.retention.files(SERIES) == ()
    assert not list(archive.root.glob("??/*"))
    assert store.series.get(SERIES).state is SeriesState.EXCLUDED
    removable.close()
