"""The inbound half of a node in one process: a real receiver that listens, every sweep's tick, and a worker.

Nothing runs until it is told to: ``settle`` ticks and works until a series stands where it should.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import node_harness as harness
from model_sets import models_with
from store_bench import DATABASES, empty_postgresql
from threshold_segmenter import ThresholdSegmenter

from alerts import AlertState
from analysis.errors import UndecodablePixels
from analysis.pipeline import AnalysedSeries, ExcludedSeries, analyse
from analysis.series import Outcome, Rule, RuleResult, Screening, Series, screen_series
from db import SeriesRecord, SeriesState, Store
from dicom_node.composition import node_sweeps, worker_with
from dicom_node.failing_units import FailingUnits
from dicom_node.node import prepare, run_receiver
from dicom_node.settings import Settings
from dicom_node.simulator import send_files
from dicom_node.sweeps import Sweeps

__all__ = ["DATABASES", "InboundBench", "inbound_bench", "settings_of"]

_SEGMENTER = ThresholdSegmenter()


def settings_of(database: str, folder: Path) -> Settings:
    """Settings of a node with a database of its own, of one of ``DATABASES``."""
    return harness.quick_settings(folder, url=empty_postgresql() if database == "postgresql" else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundBench:
    """Its store and port; the series (by UID) whose analysis fails, or finds no lung."""

    settings: Settings
    store: Store
    port: int
    failing: set[str] = field(default_factory=set)
    lungless: set[str] = field(default_factory=set)
    ran: list[str] = field(default_factory=list)

    def send(self, paths: Sequence[Path]) -> None:
        """Store the files on one association."""
        assert send_files(paths, host="127.0.0.1", port=self.port).ok

    def tick(self) -> None:
        """One look of every sweep, then every job that is due."""
        looks = node_sweeps(self.settings, self.store, {})
        sweeps = Sweeps(looks, leads=lambda: True, failing=FailingUnits(self.store.failing_units))
        for sweep in looks:
            sweeps.tick(sweep)
        sweeps.wait()
        worker = worker_with(settings=self.settings, store=self.store, name="bench", analyse=self._analyse)
        while (job := self.store.jobs.claim("bench", 60)) is not None:
            worker.run_job(job, threading.Event())

    def until(self, look: Callable[[], object], what: str) -> None:
        """Tick until it is so."""

        def ticked() -> bool:
            self.tick()
            return bool(look())

        harness.wait_until(ticked, what=what)

    def settle(self, uid: str, state: SeriesState, revision: int = 1) -> SeriesRecord:
        """Tick until the series is in this state at this revision, or a later one."""
        self.until(lambda: (one := self.of(uid)).state is state and one.revision >= revision, f"{uid} {state}")
        return self.of(uid)

    def of(self, uid: str) -> SeriesRecord:
        """The series."""
        record = self.store.series.get(uid)
        assert record is not None
        return record

    def flagged(self) -> list[str]:
        """The series that open alerts rest on."""
        studies = [one.study_instance_uid for one in self.store.alerts.list(states=[AlertState.OPEN])]
        return sorted(one.series_instance_uid for study in studies for one in self.store.alerts.flagged(study))

    def _analyse(self, series: Series, progress: Callable[[str], None]) -> AnalysedSeries | ExcludedSeries:
        self.ran.append(series.series_instance_uid)
        if series.series_instance_uid in self.failing:
            raise UndecodablePixels
        if series.series_instance_uid in self.lungless:
            rule = RuleResult(
                rule=Rule.LUNG_PRESENT, value="0 ml", expected="at least 500 ml", outcome=Outcome.EXCLUDED
            )
            return ExcludedSeries(screening=Screening(results=(rule,), profile=None), seconds={})
        volume, screening = screen_series(series)
        assert screening.eligible
        return analyse(volume, models=models_with(_SEGMENTER), progress=progress)


@contextmanager
def listening(settings: Settings) -> Iterator[tuple[Store, int]]:
    """The store of a node and the port of its receiver, which listens in this process."""
    prepare(settings)
    ports: list[int] = []
    ready, stop = threading.Event(), threading.Event()

    def on_ready(port: int) -> None:
        ports.append(port)
        ready.set()

    receiver = threading.Thread(target=run_receiver, args=(settings,), kwargs={"ready": on_ready, "stop": stop})
    receiver.start()
    try:
        assert ready.wait(30)
        with Store.open(settings.database_url) as store:
            yield store, ports[0]
    finally:
        stop.set()
        receiver.join(60)


@contextmanager
def inbound_bench(settings: Settings) -> Iterator[InboundBench]:
    """A bench whose receiver listens."""
    with listening(settings) as (store, port):
        yield InboundBench(settings=settings, store=store, port=port)
