"""Whatever happens in whatever order, no alert in force vanishes without a successor: a machine on a real store."""

import os
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from store_bench import ELIGIBLE, NO_LUNG, STUDY, Bench, Clock, instance, new_database

from alerts import AlertState
from db import Job, JobState, Rejected, RequeueFilter, SeriesState, StaleState, Store

SERIES = tuple(f"{STUDY}.{number}" for number in (1, 2))
INSTANCES = (1, 2)
series_uids, numbers, contents = st.sampled_from(SERIES), st.sampled_from(INSTANCES), st.sampled_from("ab")


class Node(RuleBasedStateMachine):
    """Two reconstructions of one acquisition, the second the better; what is flagged is told beside the store."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.store = Store.open(new_database("sqlite", self.folder), clock=self.clock)
        self.bench = Bench(store=self.store, url="", clock=self.clock)
        self.flagged: set[str] = set()
        self.whole: dict[str, bool] = {}

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.store.close()
        shutil.rmtree(self.folder)

    @rule(uid=series_uids, number=numbers, content=contents)
    def arrive(self, uid: str, number: int, content: str) -> None:
        """An instance comes: new, again, or with other bytes."""
        self.store.intake.record_instance(
            instance(number, series=uid, content=content, received_at=self.clock.advance(1))
        )

    @rule(uid=series_uids, content=contents, lacking=st.sampled_from([None, None, "1 missing by their positions"]))
    def come_whole(self, uid: str, content: str, lacking: str | None) -> None:
        """All that there is of it comes, is taken as complete, or as it is, and is screened."""
        for number in INSTANCES:
            self.arrive(uid, number, content)
        self.complete(uid, lacking)
        self.screen()

    @rule(uid=series_uids, lacking=st.sampled_from([None, "1 missing by their positions"]))
    def complete(self, uid: str, lacking: str | None) -> None:
        """It is taken as complete, or as it is."""
        record = self.store.series.get(uid)
        if record is not None and record.state is SeriesState.RECEIVING:
            self.store.intake.mark_complete(uid, record.revision, "quiet", lacking)
            self.whole[uid] = lacking is None and record.instances_removed_at is None

    @precondition(lambda self: bool(self.store.intake.complete_series()))
    @rule()
    def screen(self) -> None:
        """Triage: what lacks files is excluded, the better of what is left is chosen."""
        records = {one.series_instance_uid: one for one in self.store.series.list()}
        new = [one for one in records.values() if one.state is SeriesState.COMPLETE]
        for one in new:
            if one.instances_removed_at is not None:
                self.store.intake.exclude(one.series_instance_uid, one.revision, NO_LUNG, judged=False)
        eligible = [one for one in new if one.instances_removed_at is None]
        chosen_before = [one for one in records.values() if one.state in {SeriesState.QUEUED, SeriesState.ANALYSED}]
        group = sorted([*eligible, *chosen_before], key=lambda one: one.series_instance_uid)
        if not eligible:
            return
        best = group[-1]
        rejected = [
            Rejected(series_instance_uid=one.series_instance_uid, revision=one.revision, screening=NO_LUNG)
            for one in group[:-1]
        ]
        if best.state is SeriesState.COMPLETE:
            self.store.jobs.enqueue(best.series_instance_uid, best.revision, ELIGIBLE, 1, rejected=rejected)
        else:
            for one in rejected:
                self.store.intake.reject(one, best.series_instance_uid)
            if best.state is SeriesState.ANALYSED:
                self.flagged -= {one.series_instance_uid for one in rejected}

    @rule(uid=series_uids)
    def exclude(self, uid: str) -> None:
        """A rule on headers excludes it; only a whole revision ends what stands."""
        record = self.store.series.get(uid)
        if record is not None and record.state is SeriesState.COMPLETE:
            reason = self.store.intake.exclude(uid, record.revision, NO_LUNG)
            if "stands" not in reason:
                self._may_end(uid)

    def succeed(self) -> None:
        """A worker records a result that alerts: those that were rejected for it give way."""
        job = self._claimed()
        before = {one.series_instance_uid for one in self.store.alerts.list(states=[AlertState.OPEN])}
        self.bench.record(job, destinations="")
        after = {one.series_instance_uid for one in self.store.alerts.list(states=[AlertState.OPEN])}
        assert job.series_instance_uid in after, "the successor is there"
        self.flagged = (self.flagged - (before - after)) | {job.series_instance_uid}

    def die(self, how: str) -> None:
        """The job dies in one way or another."""
        job = self._claimed()
        if how == "fail":
            self.store.jobs.fail(job, "UndecodablePixels", transient=False)
        elif how == "lapse":
            self.clock.advance(3600)
            self.store.jobs.release_lapsed()
        else:
            self.store.jobs.cancel(job.id, "admin")

    def find_no_lung(self) -> None:
        """The worker excludes it by its pixels."""
        job = self._claimed()
        self.store.results.record_exclusion(job, "w", NO_LUNG, {})
        after = self.store.series.get(job.series_instance_uid)
        assert after is not None
        if "stands" not in str(after.reason):
            self._may_end(job.series_instance_uid)

    @precondition(lambda self: self._waiting())
    @rule(fate=st.sampled_from(["succeed", "succeed", "succeed", "fail", "lapse", "cancel", "no lung"]))
    def work(self, fate: str) -> None:
        """A worker brings the next job to one end or another."""
        if fate == "succeed":
            self.succeed()
        elif fate == "no lung":
            self.find_no_lung()
        else:
            self.die(fate)

    @rule(uid=series_uids)
    def requeue(self, uid: str) -> None:
        """An administrator has it run again."""
        candidates = self.store.requeue.select(RequeueFilter(series=uid))
        self.store.requeue.apply([one for one in candidates if one.refusal is None], "admin")

    @rule(uid=series_uids)
    def remove(self, uid: str) -> None:
        """Retention takes the files of what has ended."""
        self.clock.advance(86_400)
        ended = (SeriesState.ANALYSED, SeriesState.EXCLUDED, SeriesState.FAILED)
        try:
            with self.store.retention.removal(uid, dict.fromkeys(ended, self.clock.now + timedelta(days=1))):
                pass
        except StaleState:
            return

    @invariant()
    def what_is_flagged_stands(self) -> None:
        """Every alert that nothing has taken the place of is open, on a result that is in force."""
        alerts = {one.series_instance_uid: one for one in self.store.alerts.list(states=[AlertState.OPEN])}
        assert set(alerts) == self.flagged
        for uid, alert in alerts.items():
            result = self.store.results.latest(uid)
            assert result is not None
            assert result.id == alert.result_id

    @invariant()
    def counts_are_of_what_is_on_disk(self) -> None:
        """The count of a series is that of its files; without some it says so."""
        for one in self.store.series.list():
            held = len(self.store.intake.series_paths(one.series_instance_uid))
            assert one.instance_count == held
            assert held or one.instances_removed_at is not None

    def _waiting(self) -> bool:
        return bool(self.store.jobs.list(states=[JobState.QUEUED]))

    def _claimed(self) -> Job:
        return self.bench.claim()

    def _may_end(self, uid: str) -> None:
        assert self.whole[uid] or uid not in self.flagged, "what lacks instances ends nothing"
        self.flagged.discard(uid)


TestNode = Node.TestCase
TestNode.settings = settings(
    max_examples=int(os.environ.get("LUNGSENTRY_MACHINE_RUNS", "20")),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_better_reconstruction_whose_job_dies_ends_nothing() -> None:
    """The way that matters most, walked without chance: the older one stands until the better one has its result."""
    node, (older, better) = Node(), SERIES
    try:
        for fate in ("succeed", "fail"):
            node.come_whole(older if fate == "succeed" else better, "a", None)
            node.what_is_flagged_stands()
            node.work(fate)
            node.what_is_flagged_stands()
        assert node.flagged == {older}
        node.requeue(better)
        node.what_is_flagged_stands()
        node.work("succeed")
        node.what_is_flagged_stands()
        assert node.flagged == {better}
    finally:
        node.teardown()
