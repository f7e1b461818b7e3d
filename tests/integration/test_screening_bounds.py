"""One bad slice, one bad study: screening and completion go on for the others, through the receiver and the ticks."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import node_harness as harness
import pydicom
import pytest
from inbound_bench import DATABASES, InboundBench, inbound_bench, settings_of
from listeners import free_port
from pydicom.config import disable_value_validation
from sqlalchemy import event
from store_bench import Clock, instance, new_database

from db import Peer, SeriesState, Store
from dicom_node.completion import triage
from dicom_node.simulator import send_files


@pytest.fixture(params=DATABASES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[InboundBench]:
    """A bench on each database."""
    with inbound_bench(settings_of(request.param, tmp_path / "node")) as made:
        yield made


@pytest.mark.parametrize(
    "absurd",
    [
        {"ImageOrientationPatient": ["1e200", 0, 0, 0, "1e200", 0]},
        {"ImagePositionPatient": [0, 0, "1.7e308"]},
        {"ImagePositionPatient": [0, 0, "-1.7e308"]},
    ],
)
def test_slice_that_lies_nowhere_keeps_nobody_waiting(
    bench: InboundBench, tmp_path: Path, absurd: dict[str, list[object]]
) -> None:
    """Its series ends with a reason, and a healthy series beside it is analysed."""
    poison, healthy = (harness.write_ct(tmp_path / name, slices=12) for name in ("poison", "healthy"))
    for path in poison[3:5]:
        with disable_value_validation():
            dataset = pydicom.dcmread(path)
            for keyword, value in absurd.items():
                setattr(dataset, keyword, value)
            dataset.save_as(path)
    bench.lungless.add(harness.series_uid(healthy))
    assert harness.send(poison, bench.port) == [0] * 12
    assert harness.send(healthy, bench.port) == [0] * 12
    bench.settle(harness.series_uid(healthy), SeriesState.EXCLUDED)
    ended = bench.settle(harness.series_uid(poison), SeriesState.EXCLUDED)
    assert ended.reason
    assert bench.ran == [harness.series_uid(healthy)]
    (complete,) = (one for one in bench.store.series.events(ended.series_instance_uid) if one.event == "complete")
    assert "(2 without a usable position)" in str(complete.detail)


def test_screening_that_never_ends_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers that take longer to read than is allowed: tried three times, then excluded, and the cause is told."""
    monkeypatch.setattr(triage, "TIME_LIMIT_S", -1.0)
    settings = settings_of("sqlite", tmp_path / "node")
    with inbound_bench(settings) as bench:
        paths = harness.write_ct(tmp_path / "ct")
        harness.send(paths, bench.port)
        uid = harness.series_uid(paths)
        bench.until(lambda: bench.of(uid).state is not SeriesState.RECEIVING, "complete")
        looks = harness.triage_of(settings, bench.store)
        monkeypatch.setattr(triage, "TIME_LIMIT_S", 60.0)
        monkeypatch.setattr(looks, "_read", _never_ends)
        for _ in range(triage.MOST_SCREENINGS + 1):
            for unit in looks.screenings():
                unit.run()
        assert "begun 3 times, and never ended" in str(bench.of(uid).reason)


def _never_ends(*_: object) -> None:
    from analysis.errors import ReadingTooLong

    raise ReadingTooLong


@pytest.mark.parametrize("database", DATABASES)
def test_study_of_many_series_costs_what_each_costs(database: str, tmp_path: Path) -> None:
    """Hundreds of series under one study: the statements of a look grow with what it takes, not with its square."""

    def statements(series: int) -> int:
        folder = tmp_path / str(series)
        folder.mkdir()
        clock = Clock()
        counted = 0
        with Store.open(new_database(database, folder), clock=clock) as store:
            store.intake.record_instances([instance(series=f"1.2.3.{number}") for number in range(series)])
            settings = harness.quick_settings(folder)
            looks = harness.triage_of(settings, store, clock=lambda: clock.advance(3600))

            def count(*_: object) -> None:
                nonlocal counted
                counted += 1

            event.listen(store._database.engine, "before_cursor_execute", count)
            for units in (looks.completions, looks.screenings):
                for unit in units():
                    unit.run()
            ended = store.series.list(states=[SeriesState.EXCLUDED])
            assert len(ended) == min(series, triage.AT_ONCE)
        return counted

    few, many = statements(30), statements(60)
    assert many < 2.2 * few


@pytest.fixture
def pacs_port(tmp_path: Path, orthanc: Callable[..., AbstractContextManager[None]]) -> Iterator[int]:
    """Where Orthanc listens as PACS, and answers queries and C-GET."""
    folder, port = tmp_path / "orthanc", free_port()
    folder.mkdir()
    with orthanc(folder, port, DicomAlwaysAllowFind=True, DicomAlwaysAllowGet=True):
        yield port


def test_what_retention_removed_is_fetched_for_a_new_revision(tmp_path: Path, pacs_port: int) -> None:
    """One slice comes corrected when the others are gone: the PACS has them, and the revision is whole."""
    settings = settings_of("sqlite", tmp_path / "node")
    settings = settings.model_copy(update={"completion": settings.completion.model_copy(update={"pacs": "PACS"})})
    paths = harness.write_ct(tmp_path / "ct")
    assert send_files(paths, host="127.0.0.1", port=pacs_port, called_ae_title="PACS").ok
    uid = harness.series_uid(paths)
    with inbound_bench(settings) as bench:
        bench.lungless.add(uid)
        bench.store.peers.allow(
            Peer(ae_title="PACS", called_ae_title=None, cidr=None, host="127.0.0.1", port=pacs_port)
        )
        harness.send(paths, bench.port)
        bench.settle(uid, SeriesState.EXCLUDED)
        with bench.store.retention.removal(uid, {SeriesState.EXCLUDED: datetime.now(UTC) + timedelta(days=1)}) as gone:
            for one in gone:
                (settings.archive_dir / one.path).unlink()
        corrected = pydicom.dcmread(paths[4])
        corrected.ImageComments = "corrected"
        corrected.save_as(tmp_path / "corrected.dcm")
        harness.send([tmp_path / "corrected.dcm"], bench.port)
        whole = bench.settle(uid, SeriesState.EXCLUDED, revision=2)
        assert (whole.instance_count, whole.instances_removed_at) == (len(paths), None)
        assert "lung" in str(whole.reason)
