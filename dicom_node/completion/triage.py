"""Triage: series that are complete become jobs, or are excluded with the rule and the value that did it.

Of several reconstructions of one acquisition one is analysed. While another CT series of the study is still being
received, or a PT or NM series that would mark a CTAC, the decision waits, up to ``incomplete_quiet_s``. A
reconstruction that comes later still is analysed only where it beats the one that was chosen; the older one gives way
when the better one has its result. A PT or NM series that comes later has the CT series of its study judged again, so
that the order of arrival has no say.

A study is screened a few series at a time, within a time limit, so that none keeps the others waiting. Every screening
is counted before it begins: one that does not end three times, in time or because it ends its process, is given up.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from time import monotonic

import structlog

from analysis.errors import AnalysisError
from analysis.series import (
    Outcome,
    Rule,
    RuleResult,
    Screening,
    Series,
    StudyContext,
    choose_reconstruction,
    group_acquisitions,
    screen_series,
)
from db import Arrival, CompleteSeries, Rejected, SeriesEvidence, SeriesRecord, SeriesState, StaleState, Store
from dicom_node.completion.evidence import judge
from dicom_node.completion.pacs_counts import PacsCounts
from dicom_node.settings import Completion
from dicom_node.storage.series import EMISSION_MODALITIES, read_archived, study_context
from dicom_node.sweep import Unit

__all__ = ["Triage"]

_LOG = structlog.stdlib.get_logger()

_AWAITED_MODALITIES = EMISSION_MODALITIES | {"CT"}
_CHOSEN_STATES = frozenset({SeriesState.QUEUED, SeriesState.ANALYSED})
AT_ONCE = 64
"""Series of one study that are screened in one unit."""
TIME_LIMIT_S = 10.0
"""Time after which a unit takes no further series, and after which a series' headers are not read further."""
MOST_SCREENINGS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """An eligible series, with what its headers said; ``key`` is what the store knows it by."""

    key: str
    series: Series
    screening: Screening
    is_new: bool


class Triage:
    """The sweeps that bring a series from receiving to its job or its exclusion."""

    def __init__(
        self,
        *,
        settings: Completion,
        max_attempts: int,
        archive_dir: Path,
        store: Store,
        counts: PacsCounts | None = None,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._settings = settings
        self._max_attempts = max_attempts
        self._archive_dir = archive_dir
        self._counts = counts
        self._store = store
        self._clock = clock or (lambda: datetime.now(UTC))
        self._arrivals: dict[SeriesEvidence, Arrival] = {}

    def completions(self) -> Iterator[Unit]:
        """One unit for each series that may be complete by now: those that are quiet, or that a modality lists."""
        quiet_since = self._clock() - timedelta(seconds=self._settings.quiet_s)
        waiting = self._store.intake.receiving_series(quiet_since)
        self._arrivals = {one: self._arrivals[one] for one in waiting if one in self._arrivals}
        for evidence in waiting:
            yield Unit(identity=evidence.series_instance_uid, run=partial(self._judge, evidence))

    def screenings(self) -> Iterator[Unit]:
        """One unit for each study that has complete series, and no other that has to be waited for."""
        by_study: dict[str, list[CompleteSeries]] = defaultdict(list)
        for series in self._store.intake.complete_series():
            by_study[series.study_instance_uid].append(series)
        awaiting = self._store.intake.studies_receiving(_AWAITED_MODALITIES) if by_study else frozenset[str]()
        patience = timedelta(seconds=self._settings.incomplete_quiet_s)
        now = self._clock()
        for study, members in by_study.items():
            if study not in awaiting or any(now - member.completed_at >= patience for member in members):
                taken = tuple(members[:AT_ONCE])
                yield Unit(
                    identity=study,
                    run=partial(self._screen_study, study, taken),
                    give_up=partial(self._give_up, taken),
                )

    def _judge(self, evidence: SeriesEvidence) -> None:
        if evidence not in self._arrivals:  # read once for as long as nothing changes
            self._arrivals[evidence] = self._store.intake.arrival(evidence.series_instance_uid)
        answer = None if self._counts is None else self._counts.answer(evidence)
        decision = judge(evidence, self._arrivals[evidence], self._settings, self._clock(), answer)
        if not decision.complete:
            return
        uid, revision = evidence.series_instance_uid, evidence.revision
        try:
            self._store.intake.mark_complete(uid, revision, decision.why, decision.lacking)
        except StaleState:
            return  # another instance came meanwhile; the next look judges anew
        _LOG.info("series.completed", series_instance_uid=uid, revision=revision, why=decision.why)

    def _screen_study(self, study_instance_uid: str, members: Sequence[CompleteSeries]) -> None:
        """Screen the members that the time limit allows, choose among them; the rest is left to the next look."""
        ends = monotonic() + TIME_LIMIT_S
        siblings = self._store.intake.study_series(study_instance_uid)
        context = study_context(siblings)
        candidates: list[_Candidate] = []
        for member in members:
            if monotonic() > ends:
                break
            if (found := self._screen(member, context)) is not None:
                candidates.append(found)
        if candidates:
            self._choose(candidates, self._competitors(siblings, candidates, context))
        if any(member.modality in EMISSION_MODALITIES for member in members):
            self._judge_again(siblings, context)

    def _screen(self, member: CompleteSeries, context: StudyContext) -> _Candidate | None:
        """The series as a candidate; None where it is excluded by itself."""
        if member.incomplete:
            expected = "every instance of the series on disk: send the others again"
            self._exclude_unscreened(member, Rule.ON_DISK, member.lacking or "removed by retention", expected)
            return None
        if member.screenings >= MOST_SCREENINGS:
            self._give_up([member], f"begun {member.screenings} times, and never ended")
            return None
        self._store.intake.begin_screening([member.series_instance_uid])
        try:
            series = self._read(member.series_instance_uid, member.revision, context)
        except AnalysisError as error:
            if not error.transient:
                self._exclude_unscreened(member, Rule.READABLE, str(error), "every instance can be read")
            return None  # what may go better is tried again, as often as is allowed
        if (other_half := self._other_half(member.series_instance_uid)) is not None:
            expected = "all of a series under one Study Instance UID"
            self._exclude_unscreened(member, Rule.ONE_STUDY, other_half, expected)
            return None
        volume, screening = screen_series(series)
        if not screening.eligible:
            self._exclude(member.series_instance_uid, member.revision, screening)
            return None
        return _Candidate(key=member.series_instance_uid, series=volume, screening=screening, is_new=True)

    def _other_half(self, series_instance_uid: str) -> str | None:
        """What came of the same series under another study: the same patient and space, and no position twice."""
        own = frozenset(self._store.intake.arrival(series_instance_uid).slice_positions)
        for other in self._store.intake.namesakes(series_instance_uid):
            there = self._store.intake.arrival(other.series_instance_uid).slice_positions
            if there and own.isdisjoint(there):
                return f"{len(there)} of its slices came under study {other.study_instance_uid}"
        return None

    def _competitors(
        self, siblings: Sequence[SeriesRecord], candidates: Sequence[_Candidate], context: StudyContext
    ) -> Iterator[_Candidate]:
        """Series that were chosen before, share a frame of reference, and whose files are there to compare."""
        frames = {one.series.headers[0].frame_of_reference_uid for one in candidates} - {None}
        known = {one.key for one in candidates}
        for sibling in siblings:
            if sibling.state not in _CHOSEN_STATES or sibling.series_instance_uid in known:
                continue
            if sibling.instances_removed_at is not None or sibling.frame_of_reference_uid not in frames:
                continue
            try:
                series = self._read(sibling.series_instance_uid, sibling.revision, context)
            except AnalysisError:
                continue  # it was readable when it was chosen; what can no longer be compared stays chosen
            volume, screening = screen_series(series)
            yield _Candidate(key=sibling.series_instance_uid, series=volume, screening=screening, is_new=False)

    def _choose(self, candidates: Sequence[_Candidate], older: Iterator[_Candidate]) -> None:
        known = {one.series.series_instance_uid: one for one in (*older, *candidates)}
        for group in group_acquisitions(one.series for one in known.values()):
            in_group = [known[series.series_instance_uid] for series in group]
            if any(one.is_new for one in in_group):
                self._decide(in_group)

    def _decide(self, group: Sequence[_Candidate]) -> None:
        choice = choose_reconstruction([one.series for one in group])
        chosen = next(one for one in group if one.series.series_instance_uid == choice.chosen)
        rejected = tuple(
            Rejected(
                series_instance_uid=one.key,
                revision=one.series.revision,
                screening=_with(one.screening, choice.rejected[one.series.series_instance_uid]),
            )
            for one in group
            if one is not chosen
        )
        if chosen.is_new:
            self._enqueue(chosen, choice.reason, rejected)
            return
        for one in rejected:
            try:
                self._store.intake.reject(one, chosen.key)
            except StaleState:
                return  # what was chosen is no more; the next look judges anew
            _LOG.info("series.rejected", series_instance_uid=one.series_instance_uid, revision=one.revision)

    def _enqueue(self, chosen: _Candidate, reason: str, rejected: Sequence[Rejected]) -> None:
        rule = RuleResult(
            rule=Rule.RECONSTRUCTION, value=reason, expected="one of an acquisition", outcome=Outcome.PASSED
        )
        screening = _with(chosen.screening, rule)
        uid, revision = chosen.key, chosen.series.revision
        try:
            job = self._store.jobs.enqueue(uid, revision, screening, self._max_attempts, rejected=rejected)
        except StaleState:
            return  # a later instance made a new revision
        _LOG.info("job.queued", job_id=job.id, series_instance_uid=uid, revision=revision)
        for one in rejected:
            _LOG.info("series.rejected", series_instance_uid=one.series_instance_uid, revision=one.revision)

    def _judge_again(self, siblings: Sequence[SeriesRecord], context: StudyContext) -> None:
        """The study's context has changed: a CT whose profile changes with it is analysed again; its result stands."""
        for sibling in siblings:
            if sibling.state not in _CHOSEN_STATES or sibling.instances_removed_at is not None:
                continue
            try:
                series = self._read(sibling.series_instance_uid, sibling.revision, context)
            except AnalysisError:
                continue  # what cannot be read any more keeps what was made of it
            _, screening = screen_series(series)
            if not screening.eligible or screening.profile is sibling.profile:
                continue
            try:
                job = self._store.requeue.rescreened(sibling.series_instance_uid, sibling.revision, screening)
            except StaleState:
                continue  # it has moved on, and will be judged in its new context
            _LOG.info("series.rescreened", series_instance_uid=sibling.series_instance_uid, job_id=job.id)

    def _exclude(self, series_instance_uid: str, revision: int, screening: Screening, *, judged: bool = True) -> None:
        try:
            self._store.intake.exclude(series_instance_uid, revision, screening, judged=judged)
        except StaleState:
            return
        _LOG.info("series.excluded", series_instance_uid=series_instance_uid, revision=revision, rule=screening.rule)

    def _exclude_unscreened(self, member: CompleteSeries, rule: Rule, value: str, expected: str) -> None:
        """No rule has judged the series: what is in force of it stands."""
        result = RuleResult(rule=rule, value=value, expected=expected, outcome=Outcome.EXCLUDED)
        screening = Screening(results=(result,), profile=None)
        self._exclude(member.series_instance_uid, member.revision, screening, judged=False)

    def _give_up(self, members: Sequence[CompleteSeries], cause: str) -> None:
        """No silence: a study that cannot be screened at all is excluded with what went wrong, and may be requeued."""
        for member in members:
            self._exclude_unscreened(member, Rule.SCREENING, cause, "headers that the rules can be applied to")

    def _read(self, series_instance_uid: str, revision: int, context: StudyContext) -> Series:
        return read_archived(
            self._store,
            self._archive_dir,
            series_instance_uid,
            revision,
            context=context,
            ends_at=monotonic() + TIME_LIMIT_S,
        )


def _with(screening: Screening, rule: RuleResult) -> Screening:
    """The screening with one rule more, in place of an older result of the same rule."""
    kept = tuple(one for one in screening.results if one.rule != rule.rule)
    return replace(screening, results=(*kept, rule))
