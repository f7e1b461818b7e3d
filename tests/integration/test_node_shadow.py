"""The models of a node at work: the active one makes the result, the one in shadow changes nothing whatever it does."""

import threading
from collections.abc import Callable
from pathlib import Path

import node_harness as harness
import numpy as np
import pytest
from model_folders import write_model
from model_sets import models_with
from threshold_segmenter import ThresholdSegmenter

from analysis.errors import OutOfMemory
from analysis.findings import Profile
from analysis.model.registry import Registry
from analysis.pipeline import AnalysedSeries, ExcludedSeries, analyse
from analysis.series import Series
from db import JobState, ModelAssignment, ModelRole, RequeueFilter, SeriesState, Store, StoredShadowResult
from dicom_node.composition import build_worker, worker_with
from dicom_node.settings import Settings
from dicom_node.simulator import Phantom, PhantomSpec, build_phantom, write_series
from dicom_node.storage.series import read_archived
from dicom_node.work.shadow import RecordedCase, lesion_dice
from dicom_node.work.worker import EXIT_GIVEN_UP, Worker

Progress = Callable[[str], None]
Analysed = AnalysedSeries | ExcludedSeries


class _Everything(ThresholdSegmenter):
    """Calls all of the lung opacity: it would alert for anybody."""

    def segment(self, _hu, lung_mask, **_):
        return lung_mask.astype(np.uint8)


class _Nothing(ThresholdSegmenter):
    """Finds no opacity anywhere."""

    def segment(self, _hu, lung_mask, **_):
        return np.zeros(lung_mask.shape, np.uint8)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return build_phantom(PhantomSpec.ctac_opacities(matrix=128))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return harness.quick_settings(tmp_path / "node", max_attempts=1, retry_base_s=0.001)


@pytest.fixture
def uid(settings: Settings, store: Store, phantom: Phantom, tmp_path: Path) -> str:
    """A CTAC with opacities whose job waits in the queue."""
    return harness.queue(settings, store, write_series(phantom, tmp_path / "ct"))


def _use(settings: Settings, store: Store, folder: Path, role: ModelRole, **model: object) -> None:
    """Install a small model and put it in a role for CTAC."""
    manifest = write_model(folder, **model)
    Registry(directory=settings.models_dir).install(folder)
    store.models.assign(
        Profile.CTAC, role, name=manifest.name, version=manifest.version, sha256=manifest.sha256, who="tester"
    )


def _worker(
    settings: Settings,
    store: Store,
    shadow: Callable[[Series, Progress], Analysed],
    *,
    active: ThresholdSegmenter | None = None,
    **changes,
) -> Worker:
    """A worker whose active model is a threshold, or the one given, and whose shadow does what it is told."""
    segmenter = active or ThresholdSegmenter()

    def analyse_in_shadow(series: Series, _model: ModelAssignment, progress: Progress) -> Analysed:
        return shadow(series, progress)

    return worker_with(
        settings=settings,
        store=store,
        analyse=lambda series, progress: analyse(series, models=models_with(segmenter), progress=progress),
        in_shadow=analyse_in_shadow,
        **changes,
    )


def _in_shadow(store: Store) -> None:
    store.models.assign(Profile.CTAC, ModelRole.SHADOW, name="new", version="2.0", sha256="1" * 64, who="tester")


def _only_shadow(store: Store, uid: str) -> StoredShadowResult:
    (stored,) = store.models.shadows(series_instance_uid=uid)
    return stored


def test_result_and_shadow_name_their_models(settings: Settings, store: Store, uid: str, tmp_path: Path) -> None:
    """The active model of the profile makes the result, the other one a shadow beside it; both with their hashes."""
    _use(settings, store, tmp_path / "one", ModelRole.ACTIVE, version="1.0.0", seed=1)
    _use(settings, store, tmp_path / "two", ModelRole.SHADOW, version="2.0.0", seed=2)
    assert harness.run_due_job(store, build_worker(settings)).state is JobState.SUCCEEDED
    result, stored = store.results.latest(uid), _only_shadow(store, uid)
    assert result is not None
    made, shadow = result.findings.provenance, stored.shadow
    assert (made.model_name, made.model_version) == ("stub", "1.0.0")
    assert stored.result_id == result.id
    assert shadow.reference == "stub@2.0.0"
    assert shadow.findings is not None
    assert shadow.findings.provenance.weights_sha256 == shadow.sha256 != made.weights_sha256
    assert shadow.findings.both_lungs.lung_volume_ml == pytest.approx(result.findings.both_lungs.lung_volume_ml)
    assert "shadow" in [one.event for one in store.series.events(uid)]


def test_activation_takes_effect_with_the_next_job(settings: Settings, store: Store, uid: str, tmp_path: Path) -> None:
    """A worker that runs already uses the newly activated model; requeue finds what the old one made."""
    _use(settings, store, tmp_path / "one", ModelRole.ACTIVE, version="1.0.0", seed=1)
    worker = build_worker(settings)
    harness.run_due_job(store, worker)
    _use(settings, store, tmp_path / "two", ModelRole.ACTIVE, version="2.0.0", seed=2)
    candidates = store.requeue.select(RequeueFilter(not_model_version="stub@2.0.0"))
    assert [one.series_instance_uid for one in candidates] == [uid]
    store.requeue.apply(candidates, "tester")
    harness.run_due_job(store, worker)
    versions = [one.findings.provenance.model_version for one in store.results.history(uid)]
    assert versions == ["2.0.0", "1.0.0"]
    assert not store.requeue.select(RequeueFilter(not_model_version="stub@2.0.0"))


def test_a_shadow_never_alerts(settings: Settings, store: Store, uid: str) -> None:
    """The active model finds nothing, the one in shadow everything: there is no alert, and it can be seen."""
    _in_shadow(store)
    worker = _worker(
        settings,
        store,
        lambda series, step: analyse(series, models=models_with(_Everything()), progress=step),
        active=_Nothing(),
    )
    assert harness.run_due_job(store, worker).state is JobState.SUCCEEDED
    result, shadow = store.results.latest(uid), _only_shadow(store, uid).shadow
    assert result is not None
    assert result.findings.burden_percent == 0
    assert store.alerts.list() == ()
    assert shadow.findings is not None
    assert shadow.findings.burden_percent == pytest.approx(100)
    assert (shadow.would_alert, shadow.lesion_dice, shadow.cause) == (True, 0.0, None)


@pytest.mark.parametrize("error", [OutOfMemory("x"), ValueError("Doe^Jane")])
def test_a_shadow_that_fails_fails_nothing(settings: Settings, store: Store, uid: str, error: Exception) -> None:
    """The job has succeeded, the series is analysed; the cause is kept beside the result, without patient data."""

    def failing(_series: Series, _progress: Progress) -> Analysed:
        raise error

    _in_shadow(store)
    assert harness.run_due_job(store, _worker(settings, store, failing)).state is JobState.SUCCEEDED
    assert store.series.get(uid).state is SeriesState.ANALYSED
    shadow = _only_shadow(store, uid).shadow
    assert shadow.findings is None
    assert str(shadow.cause).startswith(type(error).__name__)
    assert "Doe" not in str(shadow.cause)


def test_a_shadow_whose_weights_are_gone_is_noted(settings: Settings, store: Store, uid: str, tmp_path: Path) -> None:
    """Somebody removed the model in shadow: the active one goes on."""
    _use(settings, store, tmp_path / "one", ModelRole.ACTIVE, version="1.0.0", seed=1)
    _in_shadow(store)
    assert harness.run_due_job(store, build_worker(settings)).state is JobState.SUCCEEDED
    assert "UnknownModel" in str(_only_shadow(store, uid).shadow.cause)


def test_an_overdue_shadow_ends_the_process_and_not_the_job(settings: Settings, store: Store, uid: str) -> None:
    """Past the time limit the shadow is noted as cut short, and the process ends; the job was recorded before."""
    ended, may_go_on = threading.Event(), threading.Event()

    def hanging(_series: Series, progress: Progress) -> Analysed:
        progress("model")
        assert may_go_on.wait(60)
        raise OutOfMemory

    job = harness.run_due_job(store, _worker(settings, store, hanging))
    result = store.results.latest(uid)
    assert result is not None
    _in_shadow(store)
    limited = settings.model_copy(update={"worker": settings.worker.model_copy(update={"time_limit_s": 0.1})})
    statuses: list[int] = []
    worker = _worker(limited, store, hanging, end_process=lambda status: (statuses.append(status), ended.set()))
    case = RecordedCase(
        series=read_archived(store, settings.archive_dir, uid, job.revision),
        result_id=result.id,
        findings=result.findings,
        labels=np.zeros((1, 1, 1), np.uint8),
        alerted=True,
    )
    running = threading.Thread(target=worker._run_in_shadow, args=(case, threading.Event()))
    running.start()
    assert ended.wait(60)
    noted = _only_shadow(store, uid).shadow.cause
    may_go_on.set()
    running.join(60)
    assert statuses == [EXIT_GIVEN_UP]
    assert "time limit of 0.1 s passed during model" in str(noted)
    assert store.jobs.get(job.id).state is JobState.SUCCEEDED


@pytest.mark.parametrize("fault", ["removed", "replaced"])
def test_an_active_model_that_is_not_the_one_assigned_fails_its_jobs(
    settings: Settings, store: Store, uid: str, tmp_path: Path, fault: str
) -> None:
    """No other model takes its place in silence: the job is a dead letter that names the model."""
    _use(settings, store, tmp_path / "one", ModelRole.ACTIVE, version="1.0.0", seed=1)
    installed = settings.models_dir / "stub@1.0.0"
    installed.rename(tmp_path / "moved")
    if fault == "replaced":
        write_model(installed, version="1.0.0", seed=9)
    job = harness.run_due_job(store, build_worker(settings))
    assert job.state is JobState.FAILED
    assert "stub@1.0.0" in str(job.cause)
    assert {"removed": "UnknownModel", "replaced": "UntrustedWeights"}[fault] in str(job.cause)
    assert store.series.get(uid).state is SeriesState.FAILED


def test_dice_of_two_label_maps() -> None:
    """Classes do not matter, nothing in both is full agreement, and other shapes cannot be compared."""
    one, other = np.zeros((2, 3, 4), np.uint8), np.zeros((2, 3, 4), np.uint8)
    assert lesion_dice(one, other) == 1.0
    one[0, 0, :2], other[0, 0, 1:3] = 1, 2
    assert lesion_dice(one, other) == pytest.approx(0.5)
    assert lesion_dice(one, other[:1]) is None
