"""Triage: series that are complete become jobs, or are excluded with the rule and the value that did it.

Of several reconstructions of one acquisition one is analysed. While another CT series of the study is still being
received, or a PT or NM series that would mark a CTAC, the decision waits, up to ``incomplete_quiet_s``. A
reconstruction that comes later still is analysed only where it beats the one that was chosen; the older one is then
excluded in its favour, and its result superseded.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from analysis.errors import AnalysisError
from analysis.series import (
    Outcome,
    Rule,
    RuleResult,
    Screening,
    Series,
    choose_reconstruction,
    group_acquisitions,
    screen_headers,
)
from db import CompleteSeries, SeriesEvidence, SeriesRecord, SeriesState, StaleState, Store
from dicom_node.completion.evidence import judge
from dicom_node.completion.pacs_counts import PacsCounts
from dicom_node.settings import Settings
from dicom_node.storage.series import read_archived
from dicom_node.sweep import Unit

__all__ = ["Triage"]

_LOG = structlog.stdlib.get_logger()

_AWAITED_MODALITIES = frozenset({"CT", "PT", "NM"})
_CHOSEN_STATES = frozenset({SeriesState.QUEUED, SeriesState.ANALYSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """An eligible series, with what its headers said."""

    series: Series
    screening: Screening
    is_new: bool


class Triage:
    """The sweeps that bring a series from receiving to its job or its exclusion."""

    def __init__(
        self,
        *,
        settings: Settings,
        store: Store,
        counts: PacsCounts | None = None,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._settings = settings
        self._counts = counts
        self._store = store
        self._clock = clock or (lambda: datetime.now(UTC))

    def completions(self) -> Iterator[Unit]:
        """One unit for each series that is being received: it is complete by now, or waits for a later look."""
        now = self._clock()
        for evidence in self._store.intake.receiving_series():
            yield Unit(identity=evidence.series_instance_uid, run=partial(self._judge, evidence, now))

    def screenings(self) -> Iterator[Unit]:
        """One unit for each study that has complete series, and no other that has to be waited for."""
        by_study: dict[str, list[CompleteSeries]] = defaultdict(list)
        for series in self._store.intake.complete_series():
            by_study[series.study_instance_uid].append(series)
        patience = timedelta(seconds=self._settings.completion.incomplete_quiet_s)
        now = self._clock()
        for study, members in by_study.items():
            waited_enough = any(now - member.completed_at >= patience for member in members)
            if waited_enough or not any(_awaited(sibling) for sibling in members[0].siblings):
                yield Unit(
                    identity=study,
                    run=partial(self._screen_study, tuple(members)),
                    give_up=partial(self._give_up, tuple(members)),
                )

    def _judge(self, evidence: SeriesEvidence, now: datetime) -> None:
        answer = None if self._counts is None else self._counts.answer(evidence)
        decision = judge(evidence, self._settings.completion, now, answer)
        if decision.complete:
            self._complete(evidence.series_instance_uid, evidence.revision, decision.why)

    def _complete(self, series_instance_uid: str, revision: int, why: str) -> None:
        try:
            self._store.intake.mark_complete(series_instance_uid, revision, why)
        except StaleState:
            return  # another instance came meanwhile; the next look judges anew
        _LOG.info("series.completed", series_instance_uid=series_instance_uid, revision=revision, why=why)

    def _screen_study(self, members: Sequence[CompleteSeries]) -> None:
        candidates = [found for member in members if (found := self._screen(member)) is not None]
        if not candidates:
            return
        older = list(self._competitors(members))
        known = {one.series.series_instance_uid: one for one in (*older, *candidates)}
        for group in group_acquisitions(one.series for one in known.values()):
            in_group = [known[series.series_instance_uid] for series in group]
            if any(one.is_new for one in in_group):
                self._decide(in_group)

    def _screen(self, member: CompleteSeries) -> _Candidate | None:
        """The series as a candidate; None where it is excluded by itself."""
        try:
            series = self._read(member.series_instance_uid, member.revision)
        except AnalysisError as error:
            self._exclude_unscreened(member, Rule.READABLE, str(error), "every instance can be read")
            return None
        screening = screen_headers(series)
        if not screening.eligible:
            self._exclude(member.series_instance_uid, member.revision, screening)
            return None
        return _Candidate(series=series, screening=screening, is_new=True)

    def _competitors(self, members: Sequence[CompleteSeries]) -> Iterator[_Candidate]:
        """Series of the study that were chosen before, and whose files are still there to compare."""
        for sibling in members[0].siblings:
            if sibling.state not in _CHOSEN_STATES or sibling.instances_removed_at is not None:
                continue
            try:
                series = self._read(sibling.series_instance_uid, sibling.revision)
            except AnalysisError:
                continue  # it was readable when it was chosen; what can no longer be compared stays chosen
            yield _Candidate(series=series, screening=screen_headers(series), is_new=False)

    def _decide(self, group: Sequence[_Candidate]) -> None:
        choice = choose_reconstruction([one.series for one in group])
        for one in group:
            uid = one.series.series_instance_uid
            if uid == choice.chosen:
                continue
            screening = replace(one.screening, results=(*one.screening.results, choice.rejected[uid]))
            self._exclude(uid, one.series.revision, screening)
        chosen = next(one for one in group if one.series.series_instance_uid == choice.chosen)
        if chosen.is_new:
            self._enqueue(chosen, choice.reason)

    def _enqueue(self, chosen: _Candidate, reason: str) -> None:
        rule = RuleResult(
            rule=Rule.RECONSTRUCTION, value=reason, expected="one of an acquisition", outcome=Outcome.PASSED
        )
        screening = replace(chosen.screening, results=(*chosen.screening.results, rule))
        uid, revision = chosen.series.series_instance_uid, chosen.series.revision
        try:
            job = self._store.jobs.enqueue(uid, revision, screening, self._settings.worker.max_attempts)
        except StaleState:
            return  # a later instance made a new revision
        _LOG.info("job.queued", job_id=job.id, series_instance_uid=uid, revision=revision)

    def _exclude(self, series_instance_uid: str, revision: int, screening: Screening) -> None:
        reason = screening.reason or "not eligible"
        try:
            self._store.intake.exclude(series_instance_uid, revision, screening, reason)
        except StaleState:
            return
        _LOG.info("series.excluded", series_instance_uid=series_instance_uid, revision=revision, reason=reason)

    def _exclude_unscreened(self, member: CompleteSeries, rule: Rule, value: str, expected: str) -> None:
        result = RuleResult(rule=rule, value=value, expected=expected, outcome=Outcome.EXCLUDED)
        self._exclude(member.series_instance_uid, member.revision, Screening(results=(result,), profile=None))

    def _give_up(self, members: Sequence[CompleteSeries], cause: str) -> None:
        """No silence: a study that cannot be screened at all is excluded with what went wrong, and may be requeued."""
        for member in members:
            self._exclude_unscreened(member, Rule.SCREENING, cause, "headers that the rules can be applied to")

    def _read(self, series_instance_uid: str, revision: int) -> Series:
        return read_archived(self._store, self._settings.archive_dir, series_instance_uid, revision)


def _awaited(sibling: SeriesRecord) -> bool:
    """Whether a series that is still coming may change the screening: another reconstruction, or a CTAC's emission."""
    return sibling.state is SeriesState.RECEIVING and sibling.modality in _AWAITED_MODALITIES
