"""Whatever happens in whatever order, nothing in force ends without a successor, and each report goes once."""

import os
import random
import shutil
import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from store_bench import ELIGIBLE, NO_LUNG, STUDY, Bench, Clock, instance, new_database

from alerts import AlertState, DeliveryState
from db import Job, JobState, Rejected, RequeueFilter, SeriesState, StaleState, Store

SERIES = tuple(f"{STUDY}.{number}" for number in (1, 2))
INSTANCES = (1, 2)
LACKING = "1 missing by their positions"
FATES = (None, "new", "new", "new", "same", "same", "fail", "lapse", "cancel", "no lung")
"""What becomes of the next job: it waits on, a new result, the same as once before, a death, an exclusion."""
STEPS = 40
WALKS = int(os.environ.get("LUNGSENTRY_MACHINE_RUNS", "20"))


class Node:
    """Two reconstructions of one acquisition, the second the better, and a PACS.

    What has to be in force is told beside the store, from what was done and never from what came of it: ``in_force`` is
    the report of each series with a result, all of which alert, ``marked`` the series that another was chosen for, and
    ``confirmed`` what the PACS has.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.store = Store.open(new_database("sqlite", self.folder), clock=self.clock)
        self.bench = Bench(store=self.store, url="", clock=self.clock)
        self.in_force: dict[str, str] = {}
        self.marked: dict[str, str] = {}
        self.lacking: dict[str, str | None] = {}
        self.confirmed: Counter[str] = Counter()

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.store.close()
        shutil.rmtree(self.folder)

    def come_in_part(self, uid: str, number: int, content: str, ends: bool) -> None:
        """One instance comes; it may be all that is waited for."""
        self.arrive(uid, number, content)
        if ends:
            self.complete(uid, None)
            self.screen()

    def come_whole(self, uid: str, content: str, lacking: str | None, fate: str | None = None) -> None:
        """All that there is of it comes, is taken as complete, or as it is, is screened, and perhaps worked on."""
        for number in INSTANCES:
            self.arrive(uid, number, content)
        self.compare(uid, same=False)
        self.complete(uid, lacking)
        self.screen()
        self.work(fate)

    def arrive(self, uid: str, number: int, content: str) -> None:
        """An instance comes: new, again, or with other bytes. A new revision is judged anew, whatever was chosen."""
        before = self.store.series.get(uid)
        recorded = self.store.intake.record_instance(
            instance(number, series=uid, content=content, received_at=self.clock.advance(1))
        )
        if before is not None and recorded.revision > before.revision:
            self.marked.pop(uid, None)

    def compare(self, uid: str, same: bool) -> None:
        """What came with other bytes shows the same, or something else: only then does a revision begin."""
        before = self.store.series.get(uid)
        if before is None or uid not in self.store.versions.resent_series():
            return
        if same:
            self.store.versions.show_the_same(uid, [one.instance_id for one in self.store.versions.begin(uid, 9)])
        else:
            self.store.versions.show_another(uid)
            self.marked.pop(uid, None)
        after = self.store.series.get(uid)
        assert after is not None
        assert after.revision == before.revision + (not same)
        assert uid not in self.store.versions.resent_series()

    def complete(self, uid: str, lacking: str | None) -> None:
        """It is taken as complete, or as it is."""
        record = self.store.series.get(uid)
        if record is not None and record.state is SeriesState.RECEIVING:
            self.store.intake.mark_complete(uid, record.revision, "quiet", lacking)
            self.lacking[uid] = lacking

    def look_again(self, fate: str | None) -> None:
        """What was reconsidered is screened."""
        self.screen()
        self.work(fate)

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
        self.marked |= {one.series_instance_uid: best.series_instance_uid for one in rejected}
        if best.state is SeriesState.COMPLETE:
            self.store.jobs.enqueue(best.series_instance_uid, best.revision, ELIGIBLE, 1, rejected=rejected)
            self.marked.pop(best.series_instance_uid, None)
            return
        for one in rejected:
            self.store.intake.reject(one, best.series_instance_uid)
            if best.state is SeriesState.ANALYSED:
                self.in_force.pop(one.series_instance_uid, None)

    def exclude(self, uid: str) -> None:
        """A rule on headers excludes it; only a whole revision ends what stands."""
        record = self.store.series.get(uid)
        if record is not None and record.state is SeriesState.COMPLETE:
            whole = self._is_whole(uid)
            self.store.intake.exclude(uid, record.revision, NO_LUNG)
            if whole:
                self.in_force.pop(uid, None)

    def succeed(self, content: str) -> None:
        """A worker records a result that alerts, and those that were rejected for it give way."""
        job = self._claimed()
        report = f"{job.series_instance_uid}.9{job.id if content == 'new' else ''}"
        self.bench.record(job, destinations="P", content=report)
        for uid, chosen in self.marked.items():
            if chosen == job.series_instance_uid:
                self.in_force.pop(uid, None)
        self.in_force[job.series_instance_uid] = report

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
        """The worker excludes it by its pixels; only a whole revision ends what stands."""
        job = self._claimed()
        whole = self._is_whole(job.series_instance_uid)
        self.store.results.record_exclusion(job, "w", NO_LUNG, {})
        if whole:
            self.in_force.pop(job.series_instance_uid, None)

    def work(self, fate: str | None) -> None:
        """A worker brings the next job to one end or another; what it finds is new, or the same as once before."""
        if fate is None or not self._waiting():
            return
        if fate in {"new", "same"}:
            self.succeed(fate)
        elif fate == "no lung":
            self.find_no_lung()
        else:
            self.die(fate)

    def deliver(self, ends: list[str]) -> None:
        """The PACS is sent what is due, one after the other: it confirms, is busy, or the sender falls silent."""
        for end in ends:
            delivery = self.store.outbox.claim("P", self.clock.advance(600), 60)
            if delivery is None:
                return
            if end == "confirmed":
                self.store.outbox.sent(delivery, "0x0000")
                self.confirmed[str(delivery.artefact.sop_instance_uid)] += 1
            elif end == "busy":
                self.store.outbox.failed(delivery, "busy", transient=True, retry_delay_s=1)

    def requeue(self, uid: str, fate: str | None = None) -> None:
        """An administrator has it run again."""
        candidates = self.store.requeue.select(RequeueFilter(series=uid))
        self.store.requeue.apply([one for one in candidates if one.refusal is None], "admin")
        self.work(fate)

    def remove(self, uid: str) -> None:
        """Retention takes the files of what has ended."""
        self.clock.advance(86_400)
        ended = (SeriesState.ANALYSED, SeriesState.EXCLUDED, SeriesState.FAILED)
        try:
            with self.store.retention.removal(uid, dict.fromkeys(ended, self.clock.now + timedelta(days=1))):
                pass
        except StaleState:
            return

    def what_is_in_force_stands(self) -> None:
        """What nothing has taken the place of is in force, and nothing else is; the one alert rests on all of it."""
        alerts = self.store.alerts.list(states=[AlertState.OPEN])
        assert [one.study_instance_uid for one in alerts] == [STUDY] * bool(self.in_force)
        flagged = {one.series_instance_uid: one.result_id for one in self.store.alerts.flagged(STUDY)}
        assert set(flagged) == set(self.in_force)
        assert [(one.series_instance_uid, one.result_id) for one in alerts] == list(flagged.items())[:1]
        for uid in SERIES:
            result = self.store.results.latest(uid)
            assert (result and result.report.sop_instance_uid) == self.in_force.get(uid)
            assert result is None or result.id == flagged[uid]

    def each_report_goes_once(self) -> None:
        """A report in force is confirmed or on its way, one that is not is not begun; nothing is confirmed twice."""
        assert set(self.confirmed.values()) <= {1}
        states: dict[str, set[DeliveryState]] = {}
        for one in self.store.deliveries.list():
            states.setdefault(str(one.artefact.sop_instance_uid), set()).add(one.state)
        for report, of_it in states.items():
            assert DeliveryState.PENDING not in of_it or report in self.in_force.values()
        for report in self.in_force.values():
            assert states[report] - {DeliveryState.CANCELLED}

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

    def _is_whole(self, uid: str) -> bool:
        record = self.store.series.get(uid)
        return record is not None and record.instances_removed_at is None and self.lacking.get(uid) is None


def _step(chance: random.Random) -> tuple[str, list[object]]:
    """What happens next, and with what."""
    uid, number, content = chance.choice(SERIES), chance.choice(INSTANCES), chance.choice("ab")
    fate, lacking = chance.choice(FATES), chance.choice((None, None, None, LACKING))
    ends = chance.choices(("confirmed", "busy", "silent"), (2, 1, 1), k=3)
    return chance.choice(
        [
            ("come_whole", [uid, content, lacking, fate]),
            ("come_whole", [uid, content, lacking, fate]),
            ("come_in_part", [uid, number, content, chance.random() < 0.5]),
            ("compare", [uid, chance.random() < 0.5]),
            ("look_again", [fate]),
            ("work", [fate]),
            ("requeue", [uid, fate]),
            ("deliver", [ends]),
            ("exclude", [uid]),
            ("remove", [uid]),
        ]
    )


@pytest.mark.parametrize("walk", range(WALKS))
def test_whatever_happens_what_is_in_force_stands(walk: int) -> None:
    """Steps by chance, the same in every run of the walk; after each, all that has to hold does."""
    node, chance = Node(), random.Random(walk)
    steps: list[str] = []
    try:
        for _ in range(STEPS):
            name, given = _step(chance)
            steps.append(f"{name}{tuple(given)}")
            getattr(node, name)(*given)
            node.what_is_in_force_stands()
            node.each_report_goes_once()
            node.counts_are_of_what_is_on_disk()
    except AssertionError as error:
        error.add_note("after " + "\n      ".join(steps))
        raise
    finally:
        node.teardown()


def test_better_reconstruction_whose_job_dies_ends_nothing() -> None:
    """The way that matters most, walked without chance: the older one stands until the better one has its result."""
    node, (older, better) = Node(), SERIES
    try:
        for fate in ("new", "fail"):
            node.come_whole(older if fate == "new" else better, "a", None)
            node.what_is_in_force_stands()
            node.work(fate)
            node.what_is_in_force_stands()
        assert set(node.in_force) == {older}
        node.requeue(better)
        node.what_is_in_force_stands()
        node.work("new")
        node.what_is_in_force_stands()
        assert set(node.in_force) == {better}
    finally:
        node.teardown()
