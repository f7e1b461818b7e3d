"""Sweeps come at intervals, one at a time each; every unit stands for itself, and both outlive their failures."""

import threading
from collections.abc import Callable, Iterable, Iterator

import pytest

from dicom_node.failing_units import FailingUnits
from dicom_node.sweep import Sweep, Unit
from dicom_node.sweeps import Sweeps

Run = Callable[[], object]


def _sweep(units: Callable[[], Iterable[Run]], name: str = "sweep") -> Sweep:
    return Sweep(
        name=name,
        every_s=0.01,
        units=lambda: (Unit(identity=str(number), run=run) for number, run in enumerate(units())),
    )


def _fail() -> None:
    raise ZeroDivisionError


def test_failed_unit_does_not_keep_the_next_from_being_done() -> None:
    """One study that cannot be screened leaves the others screened."""
    done: list[int] = []
    Sweeps([], leads=lambda: True).tick(_sweep(lambda: [_fail, lambda: done.append(1)]))
    assert done == [1]


def test_unit_is_drawn_after_the_one_before_it_was_done() -> None:
    """What drawing takes up is at work at once: a crash in between takes one unit with it, not all."""
    happened: list[str] = []

    def units() -> Iterator[Run]:
        for number in range(3):
            happened.append(f"drawn {number}")
            yield lambda number=number: happened.append(f"done {number}")

    Sweeps([], leads=lambda: True).tick(_sweep(units))
    assert happened == [f"{what} {number}" for number in range(3) for what in ("drawn", "done")]


@pytest.mark.parametrize("cause", ["stop", "no longer leads"])
def test_look_ends_between_two_units(cause: str) -> None:
    """Whether to go on is asked before each unit is drawn, and not at the next look only."""
    drawn: list[int] = []
    stop, leads = threading.Event(), [True]

    def end() -> None:
        if cause == "stop":
            stop.set()
        else:
            leads[0] = False

    def units() -> Iterator[Run]:
        for number in range(5):
            drawn.append(number)
            yield end if number == 1 else lambda: None

    running = threading.Thread(target=Sweeps([_sweep(units)], leads=lambda: leads[0]).run, args=(stop,))
    running.start()
    if cause != "stop":
        while leads[0]:
            threading.Event().wait(0.01)
        stop.set()
    running.join(30)
    assert not running.is_alive()
    assert drawn == [0, 1]


def test_units_drawn_before_one_that_cannot_be_drawn_are_done() -> None:
    """A look that breaks off has done what came before, and is not taken for a whole one."""
    done: list[int] = []

    def units() -> Iterator[Run]:
        yield lambda: done.append(1)
        raise ZeroDivisionError

    Sweeps([], leads=lambda: True).tick(_sweep(units))
    assert done == [1]


@pytest.mark.parametrize(("error", "given_up"), [(ZeroDivisionError(), True), (OSError(5, "disk"), False)])
def test_only_a_permanent_failure_is_given_up(error: Exception, given_up: bool) -> None:
    """What would fail at every look is brought to an end with its cause; what may pass is tried at a later look."""
    causes: list[str] = []

    def fail() -> None:
        raise error

    sweep = Sweep(name="sweep", every_s=1, units=lambda: [Unit(identity="u", run=fail, give_up=causes.append)])
    Sweeps([], leads=lambda: True).tick(sweep)
    assert [cause.split()[0] for cause in causes] == (["ZeroDivisionError"] if given_up else [])


def test_failing_unit_is_put_off_longer_each_time() -> None:
    """A poisoned unit does not fail at every look; once it is done it is forgotten, as is one that is gone."""
    now, tried, poisoned = [0.0], [0], [True]
    failing = FailingUnits(monotonic=lambda: now[0])

    def unit() -> None:
        tried[0] += 1
        if poisoned[0]:
            raise ZeroDivisionError

    sweep = Sweep(name="sweep", every_s=1, units=lambda: [Unit(identity="poison", run=unit)])
    sweeps = Sweeps([], leads=lambda: True, failing=failing)
    for _ in range(600):
        sweeps.tick(sweep)
        now[0] += 1
    assert 10 <= tried[0] <= 30
    poisoned[0], now[0] = False, now[0] + 100
    sweeps.tick(sweep)
    before = tried[0]
    sweeps.tick(sweep)
    assert tried[0] == before + 1


def test_who_does_not_lead_does_nothing() -> None:
    """Of several schedulers only the leader sweeps."""
    done: list[int] = []
    Sweeps([], leads=lambda: False).tick(_sweep(lambda: [lambda: done.append(1)]))
    assert not done


def test_unit_of_a_lane_waits_for_no_other_and_goes_on_while_there_is_more() -> None:
    """One lane that hangs leaves the others at work; each is once at work, and no more of them than is allowed."""
    may_end, hangs = threading.Event(), threading.Semaphore(0)
    left, done = [3], threading.Event()

    def hang() -> None:
        hangs.release()
        may_end.wait(30)

    def work() -> bool:
        left[0] -= 1
        if not left[0]:
            done.set()
        return left[0] > 0

    units = [Unit(identity="silent", run=hang), Unit(identity="up", run=work), Unit(identity="third", run=_fail)]
    sweep = Sweep(name="sweep", every_s=1, units=lambda: units, lanes=2)
    sweeps = Sweeps([sweep], leads=lambda: True)
    sweeps.tick(sweep)
    assert hangs.acquire(timeout=30)
    assert done.wait(30)
    sweeps.tick(sweep)
    assert not hangs.acquire(blocking=False)
    may_end.set()
    sweeps.wait()


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

    def units() -> Iterable[Run]:
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
