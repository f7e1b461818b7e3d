"""The way of the data, on both databases: received, complete, screened, analysed, recorded, flagged, run again."""

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import node_harness as harness
import pytest
import structlog
from inbound_bench import listening
from model_sets import models_with
from storage_scp import storage_scp
from store_bench import DATABASES, empty_postgresql
from threshold_segmenter import ThresholdSegmenter

from alerts import AlertState
from analysis.pipeline import analyse
from db import JobState, RequeueFilter, SeriesState, Store
from dicom_node.composition import delivery_channels, node_sweeps, worker_with
from dicom_node.logs import configure
from dicom_node.settings import Logging, Settings
from dicom_node.simulator import (
    Phantom,
    PhantomSpec,
    Variant,
    build_phantom,
    header_for,
    send_files,
    write_series,
    write_variant,
)
from dicom_node.sweeps import Sweeps

SEGMENTER = ThresholdSegmenter()


@pytest.fixture(params=DATABASES)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of a node with a database of its own."""
    url = empty_postgresql() if request.param == "postgresql" else None
    return harness.quick_settings(tmp_path / "node", url=url)


class _Bench:
    """The roles of a node in this process: a receiver that listens, sweeps and a worker that run when told to."""

    def __init__(self, settings: Settings, store: Store, port: int) -> None:
        self.settings, self.store, self.port = settings, store, port
        self._worker = worker_with(
            settings=settings,
            store=store,
            name="bench",
            analyse=lambda series, progress: analyse(series, models=models_with(SEGMENTER), progress=progress),
        )

    def send(self, paths: list[Path]) -> None:
        assert send_files(paths, host="127.0.0.1", port=self.port).ok

    def sweep(self) -> None:
        sweeps = node_sweeps(self.settings, self.store, delivery_channels(self.settings, self.store))
        scheduler = Sweeps(sweeps, leads=lambda: True)
        for sweep in sweeps:
            scheduler.tick(sweep)
        scheduler.wait()

    def settle(self, uid: str, state: SeriesState) -> None:
        """Sweep and work until the series is in ``state``."""

        def look() -> bool:
            self.sweep()
            job = self.store.jobs.claim("bench", 60)
            if job is not None:
                self._worker.run_job(job, threading.Event())
            return self.store.series.get(uid).state is state

        harness.wait_until(look, what=f"{uid} {state}")


@contextmanager
def _bench(settings: Settings) -> Iterator[_Bench]:
    with listening(settings) as (store, port):
        yield _Bench(settings, store, port)


@pytest.fixture(scope="module")
def ctac() -> Phantom:
    return build_phantom(PhantomSpec.ctac_opacities(matrix=128))


def test_ctac_with_opacities_becomes_one_alert_whatever_is_sent_or_run_again(
    settings: Settings, ctac: Phantom, tmp_path: Path
) -> None:
    """Sent: analysed and flagged. Sent again: nothing. Requeued: a new result, and still one alert."""
    paths = write_series(ctac, tmp_path / "ct")
    uid = harness.series_uid(paths)
    with _bench(settings) as bench:
        store = bench.store
        bench.send(paths)
        bench.settle(uid, SeriesState.ANALYSED)
        (alert,) = store.alerts.list()
        assert (alert.state, alert.alert.series_instance_uid) == (AlertState.OPEN, uid)
        first = store.results.latest(uid)
        assert first is not None
        assert first.findings.profile == "ctac"
        assert (settings.results_dir / first.report.path).is_file()
        assert all((settings.results_dir / one.path).is_file() for one in first.pictures)
        assert {"reconstruction", "extent"} <= {result.rule for result in first.screening.results}

        bench.send(paths)
        bench.settle(uid, SeriesState.ANALYSED)
        assert len(store.jobs.list()) == 1

        store.requeue.apply(store.requeue.select(RequeueFilter(series=uid)), "tester")
        assert store.series.get(uid).state is SeriesState.QUEUED
        bench.settle(uid, SeriesState.ANALYSED)
        second = store.results.latest(uid)
        assert second is not None
        assert second.id != first.id
        assert second.report.sop_instance_uid == first.report.sop_instance_uid
        assert [one.id for one in store.alerts.list()] == [alert.id]
        assert [job.state for job in store.jobs.list()] == [JobState.SUCCEEDED] * 2


@contextmanager
def _logging() -> Iterator[None]:
    """Events of this process go where those of the receiver's processes go."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure(Logging(format="json"), role="node")
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def test_the_log_tells_one_series_from_its_association_to_its_receipt(
    tmp_path: Path, ctac: Phantom, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its UID stands in every step's event, in their order; the first names the association too."""
    paths = write_series(ctac, tmp_path / "ct")
    uid = harness.series_uid(paths)
    with storage_scp("PACS", lambda _: 0x0000) as pacs:
        settings = harness.quick_settings(tmp_path / "node").model_copy(update={"destinations": (pacs,)})
        with _bench(settings) as bench, _logging():
            bench.send(paths)
            bench.settle(uid, SeriesState.ANALYSED)
            harness.wait_until(
                lambda: bench.store.status().deliveries["pending"] == 0 or bench.sweep(), what="receipts"
            )
    events = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    of_series = [event for event in events if event.get("series_instance_uid") == uid]
    (association,) = {event["association_id"] for event in of_series if event["event"] == "instances.indexed"}
    assert association in {event["association_id"] for event in events if event["event"] == "association.accepted"}
    way = list(dict.fromkeys(event["event"] for event in of_series))
    steps = ["instances.indexed", "series.completed", "job.queued", "job.started", "series.analysed", "delivery.sent"]
    assert [step for step in way if step in steps] == steps
    (analysed,) = [event for event in of_series if event["event"] == "series.analysed"]
    assert analysed["job_id"]


def test_of_two_reconstructions_one_is_analysed(settings: Settings, ctac: Phantom, tmp_path: Path) -> None:
    """The soft kernel is analysed; the sharp one is excluded, and says for which."""
    paths = write_variant(Variant.TWO_RECONSTRUCTIONS, ctac, tmp_path / "ct")
    soft, sharp = (
        harness.series_uid([path for path in paths if path.parent.name == kind]) for kind in ("soft", "sharp")
    )
    with _bench(settings) as bench:
        bench.send(paths)
        bench.settle(soft, SeriesState.ANALYSED)
        bench.settle(sharp, SeriesState.EXCLUDED)
        assert "other reconstruction chosen" in str(bench.store.series.get(sharp).reason)
        assert len(bench.store.jobs.list()) == 1


def test_better_reconstruction_that_comes_later_takes_the_place(
    settings: Settings, ctac: Phantom, tmp_path: Path
) -> None:
    """The sharp one alone is analysed; when the soft one follows it is analysed, and the sharp one excluded."""
    paths = write_variant(Variant.TWO_RECONSTRUCTIONS, ctac, tmp_path / "ct")
    of_kind = {kind: [path for path in paths if path.parent.name == kind] for kind in ("soft", "sharp")}
    soft, sharp = harness.series_uid(of_kind["soft"]), harness.series_uid(of_kind["sharp"])
    with _bench(settings) as bench:
        bench.send(of_kind["sharp"])
        bench.settle(sharp, SeriesState.ANALYSED)
        bench.send(of_kind["soft"])
        bench.settle(soft, SeriesState.ANALYSED)
        assert bench.store.series.get(sharp).state is SeriesState.EXCLUDED
        assert [one.alert.series_instance_uid for one in bench.store.alerts.list(states=[AlertState.OPEN])] == [soft]


@pytest.mark.parametrize(
    ("variant", "rule"),
    [(Variant.MISSING_SLICE, "gap"), (Variant.LOCALIZER, "image type"), (Variant.NO_LUNGS, "lung")],
)
def test_series_that_is_not_analysed_says_why(tmp_path: Path, ctac: Phantom, variant: Variant, rule: str) -> None:
    """A gap, a localizer and a series without lungs end as excluded, with the rule that did it."""
    settings = harness.quick_settings(tmp_path / "node")
    paths = write_variant(variant, ctac, tmp_path / "ct")
    uid = harness.series_uid(paths)
    with _bench(settings) as bench:
        bench.send(paths)
        bench.settle(uid, SeriesState.EXCLUDED)
        assert rule in str(bench.store.series.get(uid).reason).lower()


def test_late_instances_make_a_new_revision_and_a_new_result(settings: Settings, ctac: Phantom, tmp_path: Path) -> None:
    """The lower half is taken and analysed; the rest makes revision 2, whose result stands."""
    paths = write_series(ctac, tmp_path / "ct", header_for(ctac, salt="late"))
    uid = harness.series_uid(paths)
    with _bench(settings) as bench:
        bench.send(paths[: len(paths) * 2 // 3])
        bench.settle(uid, SeriesState.ANALYSED)
        bench.send(paths[len(paths) * 2 // 3 :])
        assert bench.store.series.get(uid).state is SeriesState.RECEIVING
        bench.settle(uid, SeriesState.ANALYSED)
        result = bench.store.results.latest(uid)
        assert result is not None
        assert (result.revision, result.findings.slice_count) == (2, len(paths))
