"""A job ends: recorded, tried again, or a dead letter that names its cause, by the kind of error."""

import threading
from collections.abc import Callable
from pathlib import Path

import node_harness as harness
import pydicom
import pytest
from model_sets import models_with
from pydicom.uid import generate_uid
from threshold_segmenter import ThresholdSegmenter

from analysis.errors import OutOfMemory, UndecodablePixels
from analysis.pipeline import ExcludedSeries
from analysis.series import Outcome, Rule, RuleResult, Screening, Series
from db import Job, JobState, SeriesState, Store
from dicom_node.composition import build_worker, worker_with
from dicom_node.settings import Settings
from dicom_node.simulator import PhantomSpec, build_phantom, header_for, write_series
from dicom_node.work.models import ModelBench
from dicom_node.work.worker import EXIT_GIVEN_UP

PATIENT = "Doe^Jane"
Progress = Callable[[str], None]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return harness.quick_settings(tmp_path / "node", max_attempts=2, retry_base_s=0.001)


@pytest.fixture
def uid(settings: Settings, store: Store, tmp_path: Path) -> str:
    """A series whose job waits in the queue."""
    return harness.queue(settings, store, harness.write_ct(tmp_path / "ct"))


def _excluding(_series: Series, progress: Progress) -> ExcludedSeries:
    progress("lungs")
    rule = RuleResult(rule=Rule.LUNG_PRESENT, value="none", expected="two lungs", outcome=Outcome.EXCLUDED)
    return ExcludedSeries(screening=Screening(results=(rule,), profile=None), seconds={"lungs": 0.1})


def _raising(error: BaseException) -> Callable[[Series, Progress], ExcludedSeries]:
    def analyse(_series: Series, _progress: Progress) -> ExcludedSeries:
        raise error

    return analyse


def _run(settings: Settings, store: Store, analyse: Callable[[Series, Progress], ExcludedSeries]) -> Job:
    """Run the job that is due once, and return what became of it."""
    return harness.run_due_job(store, worker_with(settings=settings, store=store, analyse=analyse))


def test_exclusion_by_pixels_ends_the_job_with_its_reason(settings: Settings, store: Store, uid: str) -> None:
    """A series that the pixels exclude is a job that succeeded and a series that says why, with all rules kept."""
    assert _run(settings, store, _excluding).state is JobState.SUCCEEDED
    assert store.series.get(uid).state is SeriesState.EXCLUDED
    assert "lung present" in str(store.series.get(uid).reason)


def test_a_volume_that_headers_exclude_gives_way_to_the_next(
    settings: Settings, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two kernels under one series UID the softer lacks its rescale: screened in, and the other is analysed."""
    monkeypatch.setattr(ModelBench, "active", lambda *_: models_with(ThresholdSegmenter()))
    phantom = build_phantom(PhantomSpec.ctac(matrix=128))
    paths = write_series(phantom, tmp_path / "ct", header_for(phantom, salt="two", kernel="B30f"))
    soft: list[Path] = []
    for number, path in enumerate(paths):
        dataset = pydicom.dcmread(path)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.ConvolutionKernel = "B20s"
        del dataset.RescaleSlope, dataset.RescaleIntercept
        soft.append(tmp_path / "ct" / f"soft-{number:04d}.dcm")
        dataset.save_as(soft[-1])
    uid = harness.queue(settings, store, [*paths, *soft])
    assert harness.run_due_job(store, build_worker(settings)).state is JobState.SUCCEEDED
    result, screening = store.results.latest(uid), store.series.why(uid)
    assert result is not None
    assert screening is not None
    assert result.findings.slice_count == len(paths)
    told = f"taken: Convolution Kernel B30f ({len(paths)} slices); left out: Convolution Kernel B20s"
    assert any(told in rule.value for rule in screening.results)


@pytest.mark.parametrize("error", [OutOfMemory("x"), MemoryError(), OSError(28, "disk full", PATIENT)])
def test_transient_error_is_tried_again_and_then_a_dead_letter(
    settings: Settings, store: Store, uid: str, error: BaseException
) -> None:
    """Two attempts are allowed: after the first the job is queued again, after the second it is given up."""
    assert _run(settings, store, _raising(error)).state is JobState.QUEUED
    job = _run(settings, store, _raising(error))
    assert (job.state, job.attempt) == (JobState.FAILED, 2)
    assert str(job.cause).startswith(type(error).__name__)
    assert PATIENT not in str(job.cause)
    assert store.series.get(uid).state is SeriesState.FAILED


@pytest.mark.parametrize("error", [UndecodablePixels("1.2.3"), ValueError(PATIENT), KeyError(PATIENT)])
def test_permanent_error_is_a_dead_letter_at_once(
    settings: Settings, store: Store, uid: str, error: BaseException
) -> None:
    """What would fail again is not tried again; the cause is a type and a place, or our own error's words."""
    job = _run(settings, store, _raising(error))
    assert (job.state, job.attempt) == (JobState.FAILED, 1)
    assert str(job.cause).startswith(type(error).__name__)
    assert PATIENT not in str(job.cause)
    assert store.series.get(uid).state is SeriesState.FAILED


def test_missing_file_of_the_archive_is_named(settings: Settings, store: Store, uid: str) -> None:
    """An instance that is gone from the archive fails the job with the error that says so."""
    next(settings.archive_dir.glob("*.dcm")).unlink()
    job = _run(settings, store, _excluding)
    assert (job.state, str(job.cause).split(":")[0]) == (JobState.FAILED, "UnreadableInstance")
    assert store.series.get(uid).state is SeriesState.FAILED


def test_cancelled_job_leaves_no_result(settings: Settings, store: Store, uid: str) -> None:
    """A job that is cancelled while it runs stays cancelled, and its worker goes on."""

    def cancelled_meanwhile(series: Series, progress: Progress) -> ExcludedSeries:
        (job,) = store.jobs.list()
        store.jobs.cancel(job.id, "administrator")
        return _excluding(series, progress)

    assert _run(settings, store, cancelled_meanwhile).state is JobState.CANCELLED
    assert store.series.get(uid).state is not SeriesState.EXCLUDED


def test_overdue_job_fails_as_transient_and_ends_the_process(settings: Settings, store: Store, uid: str) -> None:
    """Past the limit the queue is told first, then the process ends; the job is queued for another attempt."""
    ended, may_go_on = threading.Event(), threading.Event()
    statuses: list[int] = []

    def end_process(status: int) -> None:
        statuses.append(status)
        ended.set()

    def hanging(series: Series, progress: Progress) -> ExcludedSeries:
        progress("model")
        assert may_go_on.wait(60)
        return _excluding(series, progress)

    limited = settings.model_copy(update={"worker": settings.worker.model_copy(update={"time_limit_s": 0.1})})
    worker = worker_with(settings=limited, store=store, analyse=hanging, name="worker", end_process=end_process)
    job = harness.wait_until(lambda: store.jobs.claim("worker", 60), what="a job that is due")
    running = threading.Thread(target=worker.run_job, args=(job, threading.Event()))
    running.start()
    assert ended.wait(60)
    after = store.jobs.get(job.id)
    may_go_on.set()
    running.join(60)
    assert statuses == [EXIT_GIVEN_UP]
    assert after.state is JobState.QUEUED
    assert "time limit of 0.1 s passed during model" in str(after.cause)
    assert store.series.get(uid).state is SeriesState.QUEUED  # the late end of the given-up job changed nothing


def test_run_takes_jobs_until_it_is_stopped(settings: Settings, store: Store, uid: str) -> None:
    """The loop claims what waits, and ends when told to."""
    stop = threading.Event()
    worker = worker_with(settings=settings, store=store, analyse=_excluding, name="worker")
    running = threading.Thread(target=worker.run, args=(stop,))
    running.start()
    harness.wait_until(lambda: store.series.get(uid).state is SeriesState.EXCLUDED, what="the end of the series")
    stop.set()
    running.join(60)
    assert not running.is_alive()
