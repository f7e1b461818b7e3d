"""The worker: claims a job, analyses its series, records everything that came of it in one transaction, goes on.

Its process holds the model and nothing of the network. The analysis cannot be interrupted, so a job past its time
limit, or in the way of a stop, ends with the process; the supervisor starts the next.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog

from analysis.pipeline import AnalysedSeries, ExcludedSeries
from analysis.series import Outcome, Screening, Series
from db import Job, StaleState, Store, StoreError
from dicom_node.backoff import is_transient, retry_delay_s
from dicom_node.logs import cause_of
from dicom_node.settings import Worker as WorkerSettings
from dicom_node.storage.series import read_archived
from dicom_node.work.publisher import Publisher
from dicom_node.work.shadow import RecordedCase, Shadow
from dicom_node.work.watch import JobGone, Watch

__all__ = ["Analyse", "Worker"]

_LOG = structlog.stdlib.get_logger()

EXIT_GIVEN_UP = 75
"""Exit status after a job that had to be given up with the process (EX_TEMPFAIL of sysexits.h)."""
BEATS_A_LEASE = 3

Analyse = Callable[[Series, Callable[[str], None]], AnalysedSeries | ExcludedSeries]
"""From a series to what was found; the second argument is told each step that begins."""


class Worker:
    """Runs jobs one after another."""

    def __init__(
        self,
        *,
        settings: WorkerSettings,
        store: Store,
        archive_dir: Path,
        analyse: Analyse,
        publisher: Publisher,
        shadow: Shadow | None,
        name: str,
        end_process: Callable[[int], object],
    ) -> None:
        self._settings = settings
        self._store = store
        self._archive_dir = archive_dir
        self._analyse = analyse
        self._publisher = publisher
        self._shadow = shadow
        self._name = name
        self._end_process = end_process

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set."""
        while not stop.is_set():
            try:
                job = self._store.jobs.claim(self._name, self._settings.lease_s)
                if job is None:
                    self._store.jobs.wait(self._settings.poll_s)
            except StoreError as error:
                _LOG.error("queue.unreachable", cause=cause_of(error))
                stop.wait(self._settings.retry_base_s)
                continue
            if job is not None:
                self.run_job(job, stop)

    def run_job(self, job: Job, stop: threading.Event) -> None:
        """Bring one claimed job to its end: recorded, or failed with its cause. Nothing is raised."""
        structlog.contextvars.bind_contextvars(
            job_id=job.id, series_instance_uid=job.series_instance_uid, revision=job.revision, attempt=job.attempt
        )
        _LOG.info("job.started")
        try:
            with self._watch(job, stop) as watch:
                recorded = self._work(job, watch.progress)
            if recorded is not None:
                self._run_in_shadow(recorded, stop)
        except (JobGone, StaleState):
            _LOG.warning("job.lost")
        except Exception as error:  # noqa: BLE001 - boundary: whatever a job raises becomes its cause
            self._fail(job, cause_of(error), transient=is_transient(error))
        finally:
            structlog.contextvars.clear_contextvars()

    def _work(self, job: Job, progress: Callable[[str], None]) -> RecordedCase | None:
        progress("reading headers")
        series = read_archived(self._store, self._archive_dir, job.series_instance_uid, job.revision)
        analysed = self._analyse(series, progress)
        progress("recording")
        screening = _with_triage(analysed.screening, self._store.series.why(job.series_instance_uid))
        if isinstance(analysed, ExcludedSeries):
            self._store.results.record_exclusion(job, self._name, screening, analysed.seconds)
            _LOG.info("series.excluded", rule=screening.rule)
            return None
        return self._publisher.record(job, self._name, analysed, screening)

    def _run_in_shadow(self, case: RecordedCase, stop: threading.Event) -> None:
        """Let the model in shadow have the series. The job has ended: nothing that happens here reaches it."""
        try:
            model = None if self._shadow is None else self._shadow.assigned(case.profile)
            if self._shadow is None or model is None:
                return
            note_failure = partial(self._shadow.record_failure, case, model, self._name)
            with self._watch_shadow(note_failure, stop) as watch:
                try:
                    self._shadow.run(case, model, self._name, watch.progress)
                except Exception as error:  # noqa: BLE001 - the worker's boundary: a shadow's failure is only noted
                    note_failure(cause_of(error))
        except StoreError as error:
            _LOG.error("shadow.unrecorded", cause=cause_of(error))

    def _watch_shadow(self, note_failure: Callable[[str], None], stop: threading.Event) -> Watch:
        def give_up(cause: str) -> None:
            try:
                note_failure(cause)
            finally:
                self._end_process(EXIT_GIVEN_UP)

        limit_s = self._settings.time_limit_s
        return Watch(beat=_no_lease, beat_every_s=limit_s, limit_s=limit_s, stop=stop, give_up=give_up)

    def _watch(self, job: Job, stop: threading.Event) -> Watch:
        worker = self._settings

        def give_up(cause: str) -> None:
            try:
                self._fail(job, cause, transient=True)
            finally:
                self._end_process(EXIT_GIVEN_UP)

        return Watch(
            beat=lambda: self._store.jobs.heartbeat(job.id, self._name, worker.lease_s),
            beat_every_s=worker.lease_s / BEATS_A_LEASE,
            limit_s=worker.time_limit_s,
            stop=stop,
            give_up=give_up,
        )

    def _fail(self, job: Job, cause: str, *, transient: bool) -> None:
        """Tell the queue. Where it cannot be reached the lease lapses, and the job comes back by itself."""
        delay_s = retry_delay_s(job.attempt, self._settings.retry_base_s)
        _LOG.error("job.failed", cause=cause, transient=transient)
        try:
            self._store.jobs.fail(job, cause, transient=transient, retry_delay_s=delay_s)
        except StaleState:
            _LOG.warning("job.lost")
        except StoreError as error:
            _LOG.error("job.unrecorded", cause=cause_of(error))


def _no_lease() -> None:
    """The job has ended: there is no lease to renew."""


def _with_triage(screening: Screening, triaged: Screening | None) -> Screening:
    """The screening with the rules that triage alone could apply: which reconstruction was chosen, and why.

    What excluded the series then is left out: its analysis was asked for all the same.
    """
    applied = {result.rule for result in screening.results}
    further = [
        result
        for result in (triaged.results if triaged else ())
        if result.rule not in applied and result.outcome is not Outcome.EXCLUDED
    ]
    return replace(screening, results=(*screening.results, *further))
