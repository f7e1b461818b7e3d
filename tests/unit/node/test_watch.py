"""A job is watched: its lease renewed, its loss told to it, its time limit and a stop enforced."""

import threading

import pytest

from db import DatabaseUnavailable, StaleState
from dicom_node.work.watch import JobGone, Watch


class _Beats:
    """Counts beats; raises what it is told to, in turn."""

    def __init__(self, *errors: Exception | None) -> None:
        self._errors = list(errors)
        self.came = threading.Semaphore(0)

    def __call__(self) -> None:
        error = self._errors.pop(0) if self._errors else None
        self.came.release()
        if error:
            raise error


def _watch(
    beats: _Beats, given_up: list[str], *, limit_s: float = 60, stop: threading.Event | None = None
) -> tuple[Watch, threading.Event]:
    ended = threading.Event()

    def give_up(cause: str) -> None:
        given_up.append(cause)
        ended.set()

    watch = Watch(
        beat=beats,
        beat_every_s=0.01,
        limit_s=limit_s,
        stop=stop or threading.Event(),
        give_up=give_up,
        stop_patience_s=0.1,
    )
    return watch, ended


def test_lease_is_renewed_through_a_moment_without_database() -> None:
    """A beat that cannot reach the database is followed by the next, and the job goes on."""
    beats, given_up = _Beats(DatabaseUnavailable("gone")), list[str]()
    watch, _ended = _watch(beats, given_up)
    with watch:
        for _ in range(3):
            assert beats.came.acquire(timeout=30)
        watch.progress("measuring")
    assert not given_up


def test_lost_job_ends_at_its_next_step() -> None:
    """A job that was cancelled or given to another worker raises at the next step and beats no more."""
    beats, given_up = _Beats(StaleState("job 1")), list[str]()
    watch, _ended = _watch(beats, given_up)
    with watch:
        assert beats.came.acquire(timeout=30)

        def step() -> bool:
            try:
                watch.progress("measuring")
            except JobGone:
                return True
            return False

        deadline = threading.Event()
        assert any(step() or deadline.wait(0.01) for _ in range(1000))
    assert not given_up
    assert not beats.came.acquire(blocking=False)


def test_overdue_job_is_given_up_with_limit_and_step() -> None:
    """Past the limit the reason names the limit and the step that did not end."""
    given_up: list[str] = []
    watch, ended = _watch(_Beats(), given_up, limit_s=0.05)
    with watch:
        watch.progress("segmenting")
        assert ended.wait(30)
    assert given_up == ["time limit of 0.05 s passed during segmenting"]


@pytest.mark.parametrize("stopped_before", [True, False])
def test_stop_waits_a_moment_and_then_gives_the_job_up(stopped_before: bool) -> None:
    """A stop leaves the job its patience, then the job goes back to the queue with its reason."""
    stop, given_up = threading.Event(), list[str]()
    watch, ended = _watch(_Beats(), given_up, stop=stop)
    if stopped_before:
        stop.set()
    with watch:
        watch.progress("measuring")
        stop.set()
        assert ended.wait(30)
    assert given_up == ["the worker was stopped during measuring"]
