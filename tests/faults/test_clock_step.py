"""The wall clock steps by a day under the running node: nothing is lost, and nothing waits for the day to pass."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import node_harness as harness
import pytest

from db import JobState, SeriesState, Store

pytestmark = pytest.mark.slow

DAY_S = 86_400.0
STEPS = [pytest.param(DAY_S, id="forward"), pytest.param(-DAY_S, id="back")]


def _step(clock: Path, seconds: float) -> None:
    staged = clock.with_suffix(".staged")
    staged.write_text(str(seconds))
    staged.rename(clock)


def _ended(store: Store, uid: str, instances: int) -> Callable[[], bool]:
    def look() -> bool:
        series = store.series.get(uid)
        return series is not None and series.state is SeriesState.EXCLUDED and series.instance_count == instances

    return look


@pytest.mark.parametrize("step_s", STEPS)
def test_clock_step_while_a_series_comes(tmp_path: Path, step_s: float) -> None:
    """Half a series before the step, half after it: it ends within a minute, whole, and so does one that comes next."""
    clock = tmp_path / "clock"
    settings = harness.quick_settings(tmp_path / "node")
    settings = settings.model_copy(
        update={"completion": settings.completion.model_copy(update={"quiet_s": 3, "incomplete_quiet_s": 6})}
    )
    first, second, untouched = (harness.write_ct(tmp_path / f"ct{number}") for number in range(3))
    with harness.running_node(settings, clock=clock) as (_node, port):
        assert set(harness.send(untouched, port)) == {0}
        assert set(harness.send(first[:5], port)) == {0}
        _step(clock, step_s)
        assert set(harness.send(first[5:], port)) == {0}
        assert set(harness.send(second, port)) == {0}
        with Store.open(settings.database_url) as store:
            for paths in (untouched, first, second):
                uid = harness.series_uid(paths)
                harness.wait_until(_ended(store, uid, len(paths)), what=f"the end of {uid}")
            assert {job.state for job in store.jobs.list()} <= {JobState.SUCCEEDED, JobState.CANCELLED}


@pytest.mark.parametrize("step_s", STEPS)
def test_clock_step_under_a_job_whose_worker_dies(tmp_path: Path, step_s: float) -> None:
    """The lease was given before the step: after the worker's death the job is another's within moments."""
    clock = tmp_path / "clock"
    settings = harness.quick_settings(tmp_path / "node")
    paths = harness.write_ct(tmp_path / "ct")
    with harness.running_node(settings, "hang-first", clock=clock) as (_node, port):
        assert set(harness.send(paths, port)) == {0}
        marker = settings.node.data_dir / "analysis-1"
        pid = int(harness.wait_until(lambda: marker.exists() and marker.read_text(), what="the analysis"))
        os.kill(pid, signal.SIGSTOP)
        _step(clock, step_s)
        os.kill(pid, signal.SIGKILL)
        with Store.open(settings.database_url) as store:
            harness.wait_until(_ended(store, harness.series_uid(paths), len(paths)), what="the end of the series")
            (job,) = store.jobs.list()
            assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)


def test_clock_step_forward_under_a_living_worker_costs_no_attempt(tmp_path: Path) -> None:
    """Every lease seems to have lapsed, yet who lives keeps its job: one attempt, one analysis."""
    clock = tmp_path / "clock"
    settings = harness.quick_settings(tmp_path / "node", lease_s=6)
    paths = harness.write_ct(tmp_path / "ct")
    with harness.running_node(settings, "until-told", clock=clock) as (_node, port):
        assert set(harness.send(paths, port)) == {0}
        marker = settings.node.data_dir / "analysis-1"
        harness.wait_until(marker.exists, what="the analysis")
        with Store.open(settings.database_url) as store:
            (before,) = store.jobs.list()
            _step(clock, DAY_S)
            harness.wait_until(lambda: store.jobs.list()[0].lease_expires_at != before.lease_expires_at, what="a beat")
            (settings.node.data_dir / "go-on").touch()
            harness.wait_until(_ended(store, harness.series_uid(paths), len(paths)), what="the end of the series")
            (job,) = store.jobs.list()
            assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)
