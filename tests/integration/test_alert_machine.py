"""The life of a study's alert in any order of results, readers, notices and time: a machine on a real store.

``LUNGSENTRY_ALERT_STEPS`` is the number of steps of a run; ``make life`` walks a thousand.
"""

import os
import shutil
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from store_bench import DATABASES, STUDY, Bench, Clock, new_database

from alerts import ALERT_TRANSITIONS, DECIDED, UNDECIDED, AlertEvent, AlertState, Occasion, is_worse
from alerts.alert import TIME_ALLOWED
from db import ActorKind, DecidedAlready, DismissalReason, SeenAlert, SeriesState, StaleState, Store, StoredAlert
from db.store.alerts import UNDO_WITHIN

STEPS = int(os.environ.get("LUNGSENTRY_ALERT_STEPS", "25"))
SERIES = tuple(f"{STUDY}.{number}" for number in (1, 2))
READERS = ("anna", "ben")
BY_PEOPLE = {AlertEvent.ACKNOWLEDGE, AlertEvent.PASS_ON, AlertEvent.DISMISS, AlertEvent.UNDO}
_MINUTE = 60
readers, reasons = st.sampled_from(READERS), st.sampled_from(DismissalReason)


class AlertLife(RuleBasedStateMachine):
    """Two series of a study, two readers, a channel and the clock; beside the store, what should have become of it."""

    database: str

    @initialize()
    def begin(self) -> None:
        """An empty store."""
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.store = Store.open(new_database(self.database, self.folder), clock=self.clock)
        self.bench = Bench(store=self.store, url="", clock=self.clock)
        self.burdens: dict[str, float] = {}
        self.state: AlertState | None = None
        self.decided: tuple[str, datetime] | None = None
        self.judged: StoredAlert | None = None
        self.seen: SeenAlert | None = None
        self.looked = False
        self.waiting: list[Occasion] = []
        self.last: Occasion | None = None
        self.kept = False

    def teardown(self) -> None:
        """Leave nothing behind."""
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.folder)

    @rule(uid=st.sampled_from(SERIES), burden=st.sampled_from([None, 5.0, 5.5, 12.0, 40.0]))
    def analyse(self, uid: str, burden: float | None) -> None:
        """A series is analysed, for the first time or again: flagged with this burden, or not."""
        before = self._alert()
        known = self.store.series.get(uid)
        job = self.bench.again(uid) if known and known.state is SeriesState.ANALYSED else self.bench.running(uid)
        self.bench.record(job, alert=burden is not None, burden=burden or 0.0, destinations="", tell=("mail",))
        self.burdens.pop(uid, None)
        if burden is not None:
            self.burdens[uid] = burden
        self._expect_result(before)

    def _expect_result(self, before: StoredAlert | None) -> None:
        if not self.burdens:
            if before is not None and (before.state, AlertEvent.SUPERSEDE) in ALERT_TRANSITIONS:
                self.state = AlertState.SUPERSEDED
                self._withdraw()
            return
        after = self._alert()
        assert after is not None
        told = self.judged if self.state in DECIDED else before
        worse = told is not None and is_worse(after.alert, told.alert)
        if before is None or self.state is AlertState.SUPERSEDED:
            self.state, self.decided, self.looked = AlertState.OPEN, None, False
            self._queue(Occasion.FLAGGED)
        elif worse and (before.state, AlertEvent.REOPEN) in ALERT_TRANSITIONS:
            self.state, self.looked = AlertState.OPEN, False
            self._queue(Occasion.FLAGGED)

    @precondition(lambda self: self._alert() is not None)
    @rule(who=readers)
    def look(self, who: str) -> None:
        """A reader looks at the case; what he saw is what somebody decides upon later."""
        alert = self._known()
        self.store.feedback.open(alert.id, who)
        self.seen, self.looked = alert.seen, True

    @precondition(lambda self: self._alert() is not None)
    @rule(who=readers, event=st.sampled_from(sorted(BY_PEOPLE - {AlertEvent.UNDO})), reason=reasons)
    def decide(self, who: str, event: AlertEvent, reason: DismissalReason) -> None:
        """A reader decides upon what was seen last, which may have changed since."""
        alert = self._known()
        stale = self.seen is not None and self.seen != alert.seen
        allowed = (alert.state, event) in ALERT_TRANSITIONS
        try:
            if event is AlertEvent.ACKNOWLEDGE:
                self.store.alerts.acknowledge(alert.id, who, seen=self.seen)
            elif event is AlertEvent.DISMISS:
                self.store.alerts.dismiss(alert.id, who, reason=reason, seen=self.seen)
            else:
                self.store.alerts.pass_on(alert.id, who, to="carl", seen=self.seen)
        except StaleState as refused:
            assert stale or not allowed
            if alert.state in DECIDED:
                self._told_who_and_when(refused)
        else:
            assert allowed
            assert not stale
            self.state = ALERT_TRANSITIONS[alert.state, event]
            if event is AlertEvent.DISMISS:
                self._withdraw()
            self.decided, self.judged = (who, self.clock.now), alert

    @precondition(lambda self: self._alert() is not None)
    @rule(who=readers)
    def undo(self, who: str) -> None:
        """A reader takes a decision back: his own, and soon."""
        alert = self._known()
        try:
            self.store.alerts.undo(alert.id, who)
        except StaleState:
            mine = self.decided is not None and self.decided[0] == who
            soon = self.decided is not None and self.clock.now - self.decided[1] <= UNDO_WITHIN
            assert alert.state not in DECIDED or not (mine and soon)
        else:
            assert self.decided is not None
            assert self.decided[0] == who
            self.state, self.decided, self.judged = AlertState.OPEN, None, None
            if not self.burdens:
                self.state = AlertState.SUPERSEDED
                self._withdraw()
            elif self.kept or self.last is Occasion.WITHDRAWN:
                self._queue(Occasion.FLAGGED)

    @precondition(lambda self: self._alert() is not None)
    @rule()
    def tell(self) -> None:
        """A channel tells people, where a message waits that is still of use; those before it are not sent."""
        told = None
        while self.waiting and told is None:
            first = self.waiting.pop(0)
            if (first is Occasion.WITHDRAWN) is (self.state in {AlertState.DISMISSED, AlertState.SUPERSEDED}):
                told = self.last = first
            if first is Occasion.FLAGGED:
                self.kept = told is None
        assert self.bench.told("mail") == (None if told is None else self._known().id)
        if told is Occasion.FLAGGED and self.state is AlertState.OPEN:
            self.state = AlertState.NOTIFIED

    def _queue(self, occasion: Occasion) -> None:
        if occasion not in self.waiting:
            self.waiting.append(occasion)

    def _withdraw(self) -> None:
        """It holds no longer: who was told is told so, once."""
        if self.last is Occasion.FLAGGED:
            self._queue(Occasion.WITHDRAWN)

    @rule(minutes=st.sampled_from([1, 9, 59, 61, 241, 4321]))
    def wait(self, minutes: int) -> None:
        """Time passes, and the scheduler looks for what is overdue."""
        self.clock.advance(minutes * _MINUTE)
        alert = self._alert()
        waits = self.state in {AlertState.OPEN, AlertState.NOTIFIED} and not self.looked
        late = self.store.alerts.overdue(10)
        if alert is None or not waits or alert.due_at >= self.clock.now:
            assert late == ()
            return
        assert late == (alert.id,)
        assert self.store.alerts.escalate(alert.id) is not None
        self.state = AlertState.ESCALATED

    @invariant()
    def one_alert_in_the_state_it_should_be_in(self) -> None:
        """At most one alert, by what is flagged and what people did; its series is flagged while it is undecided."""
        alert = self._alert()
        assert (None if alert is None else alert.state) is self.state
        flagged = self.store.alerts.flagged(STUDY)
        assert {one.series_instance_uid: one.alert.burden_percent for one in flagged} == self.burdens
        if alert is None:
            return
        if flagged:
            assert (alert.series_instance_uid, alert.result_id) == (
                flagged[0].series_instance_uid,
                flagged[0].result_id,
            )
            assert alert.alert.burden_percent == max(self.burdens.values())
        else:
            assert alert.state in {AlertState.DISMISSED, AlertState.SUPERSEDED}
        assert (alert.opened_at is not None) == self.looked
        if alert.state in UNDECIDED:
            assert alert.due_at <= self.clock.now + TIME_ALLOWED[alert.alert.category]
        if self.decided is not None:
            assert (alert.decided_by, alert.decided_at) == self.decided

    @invariant()
    def every_move_is_an_event_of_who_made_it(self) -> None:
        """The moves form one way from nothing to where it stands, each along an arrow, each with its actor."""
        moves = [
            one
            for one in self.store.feed.after(0, limit=100_000, kinds=("alert",))
            if one.to_state is not None and one.event != "renew"
        ]
        before = None
        for one in moves:
            assert one.from_state == before
            before = one.to_state
            if one.event == "raise":
                continue
            event = AlertEvent(one.event)
            assert ALERT_TRANSITIONS[AlertState(one.from_state or ""), event] == one.to_state
            assert (one.actor.kind is ActorKind.USER) == (event in BY_PEOPLE)
        assert before == (None if self.state is None else self.state.value)

    @invariant()
    def counts_are_those_of_the_moves(self) -> None:
        """What ``status`` shows is the one alert, where it stands."""
        counts = {state: count for state, count in self.store.status().alerts.items() if count}
        assert counts == ({} if self.state is None else {self.state.value: 1})

    def _told_who_and_when(self, refused: StaleState) -> None:
        assert isinstance(refused, DecidedAlready)
        assert self.decided is not None
        assert f"by {self.decided[0]} at {self.decided[1]:%Y-%m-%d %H:%M:%S} UTC" in str(refused)

    def _alert(self) -> StoredAlert | None:
        found = self.store.alerts.list()
        assert len(found) <= 1
        return found[0] if found else None

    def _known(self) -> StoredAlert:
        alert = self._alert()
        assert alert is not None
        return alert


def _on(kind: str) -> type:
    machine = type(f"AlertLifeOn{kind}", (AlertLife,), {"database": kind})
    case = machine.TestCase
    case.settings = settings(
        max_examples=max(1, min(8, 200 // STEPS)),
        stateful_step_count=STEPS,
        deadline=timedelta(minutes=10) if STEPS > 100 else None,
        suppress_health_check=list(HealthCheck),
    )
    return case


TestOnSqlite, TestOnPostgresql = (_on(kind) for kind in DATABASES)
