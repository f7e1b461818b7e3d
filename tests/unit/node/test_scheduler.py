"""Sweeps come at intervals, one at a time each, and outlive their failures."""

import threading
from collections.abc import Callable, Iterable

import pytest

from dicom_node.scheduler import Sweeps
from dicom_node.sweep import Sweep, Unit


def _sweep(units: Callable[[], Iterable[Callable[[], object]]], name: str = "sweep") -> Sweep:
    return Sweep(name=name, every_s=0.01, units=lambda: [Unit(run=run) for run in units()])


def test_failed_unit_does_not_keep_the_next_from_being_done() -> None:
    """One study that cannot be screened leaves the others screened."""
    done: list[int] = []

    def fail() -> None:
        raise ZeroDivisionError

    Sweeps([], leads=lambda: True).tick(_sweep(lambda: [fail, lambda: done.append(1)]))
    assert done == [1]


@pytest.mark.parametrize(("error", "given_up"), [(ZeroDivisionError(), True), (OSError(5, "disk"), False)])
def test_only_a_permanent_failure_is_given_up(error: Exception, given_up: bool) -> None:
    """What would fail at every look is brought to an end with its cause; what may pass is tried at the next look."""
    causes: list[str] = []

    def fail() -> None:
        raise error

    sweep = Sweep(name="sweep", every_s=1, units=lambda: [Unit(run=fail, give_up=causes.append)])
    Sweeps([], leads=lambda: True).tick(sweep)
    assert [cause.split()[0] for cause in causes] == (["ZeroDivisionError"] if given_up else [])


def test_who_does_not_lead_does_nothing() -> None:
    """Of several schedulers only the leader sweeps."""
    done: list[int] = []
    Sweeps([], leads=lambda: False).tick(_sweep(lambda: [lambda: done.append(1)]))
    assert not done


def test_sweep_never_overlaps_itself_and_is_awaited_at_the_end() -> None:
    """A slow sweep is at work once at a time, while another goes on; the stop waits for it."""
    stop, slow_began, may_end = threading.Event(), threading.Event(), threading.Event()
    at_once, most, other = [0], [0], threading.Semaphore(0)

    def slow() -> None:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        slow_began.set()
        may_end.wait(30)
        at_once[0] -= 1

    sweeps = Sweeps([_sweep(lambda: [slow], "slow"), _sweep(lambda: [other.release], "other")], leads=lambda: True)
    running = threading.Thread(target=sweeps.run, args=(stop,))
    running.start()
    assert slow_began.wait(30)
    for _ in range(10):  # ten looks of the other while the slow one is at work
        assert other.acquire(timeout=30)
    stop.set()
    assert running.is_alive()
    may_end.set()
    running.join(30)
    assert not running.is_alive()
    assert most == [1]
    assert at_once == [0]


def test_look_that_fails_is_followed_by_the_next() -> None:
    """A database that is gone for a moment does not end the sweeping."""
    looks = iter([OSError("gone"), None])
    done = threading.Event()

    def units() -> Iterable[Callable[[], None]]:
        error = next(looks, None)
        if error:
            raise error
        return [done.set]

    stop = threading.Event()
    running = threading.Thread(target=Sweeps([_sweep(units)], leads=lambda: True).run, args=(stop,))
    running.start()
    assert done.wait(30)
    stop.set()
    running.join(30)
