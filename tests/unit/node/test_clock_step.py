"""A stepped wall clock is noticed, and neither takes a job from who lives nor keeps one from the next."""

import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from dicom_node.clock_step import StepWatch
from dicom_node.sweep import Sweep, Unit
from dicom_node.sweeps import Sweeps
from dicom_node.work.leases import Leases

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class _Clocks:
    """A wall clock and a monotonic one."""

    def __init__(self) -> None:
        self.wall_s = NOW.timestamp()
        self.monotonic_s = 100.0

    def run(self, seconds: float) -> None:
        """Time passes on both."""
        self.wall_s += seconds
        self.monotonic_s += seconds

    def watch(self) -> StepWatch:
        """A watch over both."""
        return StepWatch(wall=lambda: self.wall_s, monotonic=lambda: self.monotonic_s)


def test_step_is_told_once_and_running_is_none() -> None:
    """Forward and back, each at the next look; a minute that passes, and a slew of a second, are no steps."""
    clocks = _Clocks()
    watch = clocks.watch()
    clocks.run(60)
    clocks.wall_s += 1
    assert watch.look() == 0
    for step_s in (86_400.0, -86_400.0):
        clocks.wall_s += step_s
        assert watch.look() == step_s
        assert watch.look() == 0


def test_no_lease_is_taken_for_the_length_of_one_after_a_step() -> None:
    """Who lives renews his lease by then; after that, silence counts again."""
    clocks, released = _Clocks(), []
    jobs = SimpleNamespace(release_lapsed=lambda now: released.append(now) or [])
    leases = Leases(
        lease_s=60,
        delivery_lease_s=60,
        store=SimpleNamespace(jobs=jobs),  # pyright: ignore[reportArgumentType] - only its jobs are asked
        watch=clocks.watch(),
        clock=lambda: datetime.fromtimestamp(clocks.wall_s, UTC),
        monotonic=lambda: clocks.monotonic_s,
    )

    def sweep() -> int:
        before = len(released)
        for unit in leases.lapses():
            unit.run()
        return len(released) - before

    assert sweep() == 1
    clocks.wall_s += 86_400
    assert sweep() == 0
    clocks.run(59)
    assert sweep() == 0
    clocks.run(2)
    assert sweep() == 1
    assert released[-1] == NOW + timedelta(seconds=86_400 + 61)


def test_sweeps_go_on_after_a_step_back(monkeypatch: Any) -> None:
    """The next look was planned in a time that comes again in a day only: it is planned anew."""
    offset = [timedelta(0)]

    class Stepped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + offset[0]

    monkeypatch.setattr("apscheduler.schedulers.base.datetime", Stepped)
    monkeypatch.setattr("dicom_node.sweeps.datetime", Stepped)
    monkeypatch.setattr(
        "dicom_node.sweeps.StepWatch",
        lambda: StepWatch(wall=lambda: Stepped.now(UTC).timestamp()),
    )
    looked, stop = threading.Semaphore(0), threading.Event()
    sweep = Sweep(name="sweep", every_s=0.05, units=lambda: [Unit(identity="look", run=looked.release)])
    running = threading.Thread(target=Sweeps([sweep], leads=lambda: True).run, args=(stop,))
    running.start()
    try:
        for step in (timedelta(days=-1), timedelta(days=365)):
            assert looked.acquire(timeout=30)
            offset[0] += step
            for _ in range(20):  # more looks than could have been planned before the step
                assert looked.acquire(timeout=30)
    finally:
        stop.set()
        running.join(30)
    assert not running.is_alive()
