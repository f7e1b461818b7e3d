"""Instances go after their state's time, and only those that the store names."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from db import SeriesState, StaleState
from dicom_node.settings import Retention as RetentionSettings
from dicom_node.storage.archive import Archive
from dicom_node.storage.retention import Retention

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LONG_AGO = 1_000_000_000.0
SERIES = "ab/abcdef"


class _Store:
    """One series that may go, performed steps, and what is asked and recorded of them."""

    def __init__(self, paths: list[str], *, at_work: bool = False) -> None:
        self.asked: list[dict[SeriesState, datetime]] = []
        self.gone: list[str] = []
        self.steps_before: list[datetime] = []
        self.retention = SimpleNamespace(removable=self._removable, removal=self._removal)
        self.performed_steps = SimpleNamespace(remove=self._remove_steps)
        self._stored = [SimpleNamespace(path=f"{SERIES}/{path}") for path in paths]
        self._at_work = at_work

    def _removable(self, before: dict[SeriesState, datetime]) -> list[str]:
        self.asked.append(before)
        return ["1.2.3"] if before else []

    def _remove_steps(self, before: datetime) -> int:
        self.steps_before.append(before)
        return 2

    @contextmanager
    def _removal(self, uid: str, _before: dict[SeriesState, datetime]) -> Iterator[list[SimpleNamespace]]:
        if self._at_work:
            raise StaleState
        yield self._stored
        self.gone.append(uid)


def _archive(folder: Path, *names: str) -> Path:
    archive = folder / "archive" / SERIES
    archive.mkdir(parents=True)
    for name in names:
        (archive / name).touch()
        os.utime(archive / name, (LONG_AGO, LONG_AGO))
    return archive


def _sweep(folder: Path, store: Any, **days: float) -> None:
    settings, archive = RetentionSettings.model_validate(days), Archive(folder / "archive")
    for unit in Retention(settings=settings, store=store, archive=archive, clock=lambda: NOW).removals():
        unit.run()


def test_files_of_a_removable_series_go_and_it_is_recorded(tmp_path: Path) -> None:
    """Every version of the series goes, also where a crash took some already; its neighbour's files stay."""
    archive = _archive(tmp_path, "a.dcm", "a-older.dcm", "neighbour.dcm")
    store = _Store(["a.dcm", "a-older.dcm", "gone-already.dcm"])
    _sweep(tmp_path, store, analysed_days=30)
    assert [path.name for path in archive.iterdir()] == ["neighbour.dcm"]
    assert store.gone == ["1.2.3"]


def test_each_state_has_its_own_time_and_none_by_default(tmp_path: Path) -> None:
    """What has no days set is not even asked for."""
    store = _Store([])
    _sweep(tmp_path, store, analysed_days=30, failed_days=90)
    _sweep(tmp_path, store)
    thirty, ninety = NOW - timedelta(days=30), NOW - timedelta(days=90)
    assert store.asked == [{SeriesState.ANALYSED: thirty, SeriesState.FAILED: ninety}, {}]


def test_series_that_is_at_work_again_keeps_its_files(tmp_path: Path) -> None:
    """Between the look and the removal an instance came: the store refuses, nothing is unlinked."""
    archive = _archive(tmp_path, "a.dcm")
    _sweep(tmp_path, _Store(["a.dcm"], at_work=True), analysed_days=30)
    assert [path.name for path in archive.iterdir()] == ["a.dcm"]


def test_files_that_came_again_just_now_stay(tmp_path: Path) -> None:
    """Identical bytes were written a moment ago and acknowledged: the whole series waits for a later look."""
    archive = _archive(tmp_path, "a.dcm", "b.dcm")
    (archive / "b.dcm").touch()
    store = _Store(["a.dcm", "b.dcm"])
    _sweep(tmp_path, store, excluded_days=1)
    assert sorted(path.name for path in archive.iterdir()) == ["a.dcm", "b.dcm"]
    assert not store.gone


def test_performed_steps_go_after_a_month(tmp_path: Path) -> None:
    """Whatever is set for instances: steps are removed by their own time."""
    store = _Store([])
    _sweep(tmp_path, store)
    assert store.steps_before == [NOW - timedelta(days=30)]
