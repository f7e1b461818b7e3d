"""Real kills: whatever was acknowledged is there afterwards, and every job ends."""

import importlib.util
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from db import JobState, SeriesState, Store

_PATH = Path(__file__).resolve().parents[1] / "factories" / "node_harness.py"
_SPEC = importlib.util.spec_from_file_location("node_harness", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
harness = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(harness)


def _in_state(store: Store, uid: str, state: SeriesState) -> Callable[[], bool]:
    return lambda: store.series.get(uid).state is state


def _worker_pid(folder: Path, analysis: int) -> int:
    marker = folder / f"analysis-{analysis}"
    return int(harness.wait_until(lambda: marker.exists() and marker.read_text(), what=f"analysis {analysis}"))


def test_kill_of_worker_in_mid_job_lets_the_job_run_again_and_end(tmp_path: Path) -> None:
    """SIGKILL of the worker: its lease lapses, a new worker process takes the job and ends it at the second attempt."""
    settings = harness.quick_settings(tmp_path / "node")
    paths = harness.write_ct(tmp_path / "ct")
    uid = harness.series_uid(paths)
    with harness.running_node(settings, "hang-first") as (_node, port):
        assert set(harness.send(paths, port)) == {0}
        os.kill(_worker_pid(settings.node.data_dir, 1), signal.SIGKILL)
        with Store.open(settings.database_url) as store:
            harness.wait_until(_in_state(store, uid, SeriesState.EXCLUDED), what="the end of the series")
            (job,) = store.jobs.list()
            assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)


def test_hung_job_is_ended_by_its_time_limit(tmp_path: Path) -> None:
    """A job that never ends is a dead letter that names the limit and the step, and the worker lives again."""
    settings = harness.quick_settings(tmp_path / "node", time_limit_s=1, max_attempts=2)
    paths = harness.write_ct(tmp_path / "ct")
    uid = harness.series_uid(paths)
    with harness.running_node(settings, "hang") as (_node, port):
        harness.send(paths, port)
        first, second = (_worker_pid(settings.node.data_dir, analysis) for analysis in (1, 2))
        assert first != second
        with Store.open(settings.database_url) as store:
            harness.wait_until(_in_state(store, uid, SeriesState.FAILED), what="the end of the series")
            (job,) = store.jobs.list()
            assert job.state is JobState.FAILED
            assert "time limit of 1 s passed during segmenting" in str(job.cause)


@pytest.mark.parametrize("mode", ["hang-first", "quick"])
def test_kill_of_the_whole_node_loses_nothing(tmp_path: Path, mode: str) -> None:
    """SIGKILL of every process, in mid-job or while a series is coming: all that was acknowledged is there and ends."""
    folder = tmp_path / "node"
    settings = harness.quick_settings(folder)
    series = [harness.write_ct(tmp_path / f"ct{number}") for number in range(3)]
    with harness.running_node(settings, mode) as (node, port):
        assert [set(harness.send(paths, port)) for paths in series] == [{0}, {0}, {0}]
        if mode == "hang-first":
            _worker_pid(folder, 1)
        harness.kill_all(node)
    with harness.running_node(settings, "quick"), Store.open(settings.database_url) as store:
        for paths in series:
            uid = harness.series_uid(paths)
            harness.wait_until(_in_state(store, uid, SeriesState.EXCLUDED), what="the end of the series")
            stored = store.intake.series_paths(uid)
            assert sorted(_pixels(settings.archive_dir / one.path) for one in stored) == sorted(map(_pixels, paths))
        assert {job.state for job in store.jobs.list()} == {JobState.SUCCEEDED}


def _pixels(path: Path) -> bytes:

    dataset = pydicom.dcmread(path)
    return str(dataset.SOPInstanceUID).encode() + dataset.PixelData
