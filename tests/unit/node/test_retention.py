"""Instances go after their time, and only those that the store names."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dicom_node.retention import Retention
from dicom_node.settings import Node, Settings
from dicom_node.settings import Retention as RetentionSettings

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class _Store:
    """One series that may go, and what is asked and said of it."""

    def __init__(self, paths: list[str]) -> None:
        self.asked: list[datetime] = []
        self.gone: list[str] = []
        stored = [SimpleNamespace(path=path) for path in paths]
        self.intake = SimpleNamespace(series_paths=lambda _uid: stored[-1:])
        self.retention = SimpleNamespace(removable=self._removable, files=lambda _uid: stored, removed=self.gone.append)

    def _removable(self, before: datetime) -> list[str]:
        self.asked.append(before)
        return ["1.2.3"]


def _sweep(folder: Path, store: Any, keep_days: float | None) -> None:
    settings = Settings(node=Node(data_dir=folder), retention=RetentionSettings(keep_days=keep_days))
    for unit in Retention(settings=settings, store=store, clock=lambda: NOW).removals():
        unit.run()


def test_files_of_a_removable_series_go_and_it_is_recorded(tmp_path: Path) -> None:
    """The series' files go, also where a crash took some already; its neighbour's stay."""
    archive = tmp_path / "archive"
    archive.mkdir()
    for name in ("a.dcm", "neighbour.dcm"):
        (archive / name).touch()
    store = _Store(["a.dcm", "gone-already.dcm"])
    _sweep(tmp_path, store, keep_days=30)
    assert [path.name for path in archive.iterdir()] == ["neighbour.dcm"]
    assert store.asked == [NOW - timedelta(days=30)]
    assert store.gone == ["1.2.3"]


def test_without_a_limit_nothing_is_even_looked_for(tmp_path: Path) -> None:
    """Instances are kept for ever where no limit is set."""
    store = _Store([])
    _sweep(tmp_path, store, keep_days=None)
    assert not store.asked


def test_every_version_of_an_instance_goes(tmp_path: Path) -> None:
    """An instance that came twice with other bytes has two files: none of them stays behind."""
    archive = tmp_path / "archive"
    archive.mkdir()
    versions = ["older.dcm", "newest.dcm"]
    for name in versions:
        (archive / name).touch()
    _sweep(tmp_path, _Store(versions), keep_days=30)
    assert not list(archive.iterdir())
