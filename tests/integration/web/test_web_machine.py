"""Whatever readers press in whatever order, pages and database agree on what was decided: a machine over HTTP."""

import os
import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

import store_bench
from flagged_cases import flagged
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from store_bench import START, Bench, Clock
from web_client import Browser, add_user, browser_on, services_for

from alerts import AlertState
from alerts.alert import ALERT_TRANSITIONS, AlertEvent
from db import DismissalReason, Store, UserRole, Verdict

READERS = ("rita", "ben")
MOST_ALERTS = 3
readers, numbers = st.sampled_from(READERS), st.integers(0, MOST_ALERTS - 1)
BUTTONS = {
    "take-up": (AlertEvent.ACKNOWLEDGE, "taken up"),
    "dismiss": (AlertEvent.DISMISS, "dismissed"),
    "pass-on": (AlertEvent.PASS_ON, "passed on"),
}
"""Each button, what it asks of an alert, and the word of the audit."""


@dataclass
class Case:
    """What is known of an alert beside the store."""

    alert: int
    state: AlertState = AlertState.OPEN
    decided_by: str | None = None
    decided_at: datetime = START
    opened: set[str] = field(default_factory=set[str])
    verdicts: dict[str, Verdict] = field(default_factory=dict[str, Verdict])
    audited: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


class Worklist(RuleBasedStateMachine):
    """Two readers at two browsers, and up to three alerts."""

    database: ClassVar[str] = "sqlite"

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        clock = Clock()
        url = store_bench.new_database(self.database, self.folder)
        self.store = Store.open(url, clock=clock)
        self.bench = Bench(store=self.store, url=url, clock=clock)
        services = services_for(self.store, self.folder)
        self.browsers: dict[str, Browser] = {}
        for name in READERS:
            add_user(self.store, name, [UserRole.READER])
            self.browsers[name] = browser_on(services)
            self.browsers[name].sign_in(name)
        self.cases: list[Case] = [Case(alert=flagged(self.bench))]

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.store.close()
        shutil.rmtree(self.folder)

    @rule()
    def flag(self) -> None:
        """Another examination is flagged."""
        if len(self.cases) < MOST_ALERTS:
            self.cases.append(Case(alert=flagged(self.bench, len(self.cases) + 1)))

    @rule(who=readers, number=numbers)
    def open(self, who: str, number: int) -> None:
        """A reader looks at the images."""
        case = self._case(number)
        assert self._send(who, case, "open") == 303
        case.opened.add(who)

    @rule(who=readers, number=numbers, button=st.sampled_from(sorted(BUTTONS)), reason=st.sampled_from(DismissalReason))
    def press(self, who: str, number: int, button: str, reason: DismissalReason) -> None:
        """A reader decides, or tries to."""
        case = self._case(number)
        event, word = BUTTONS[button]
        to = next(name for name in READERS if name != who)
        status = self._send(who, case, button, reason=reason.value, to=to)
        after = ALERT_TRANSITIONS.get((case.state, event))
        if who not in case.opened:
            assert status == 409
            return
        case.audited.append((who, word if after else "refused"))  # that it was tried is on the record too
        if after is None:
            assert status == 409
            return
        assert status == 303
        case.state, case.decided_by, case.decided_at = after, who, self.bench.clock()

    @rule(who=readers, number=numbers, late=st.booleans())
    def undo(self, who: str, number: int, late: bool) -> None:
        """A reader takes a decision back: the own one, within ten minutes."""
        case = self._case(number)
        if late:
            self.bench.clock.advance(11 * 60)
        status = self._send(who, case, "undo")
        if who not in case.opened:
            assert status == 409
            return
        allowed = case.decided_by == who and self.bench.clock() - case.decided_at <= timedelta(minutes=10)
        case.audited.append((who, "undone" if allowed else "refused"))
        if not allowed:
            assert status == 409
            return
        assert status == 303
        case.state, case.decided_by = AlertState.OPEN, None

    @rule(who=readers, number=numbers, verdict=st.sampled_from(Verdict))
    def judge(self, who: str, number: int, verdict: Verdict) -> None:
        """A reader says whether it is there."""
        case = self._case(number)
        opened = who in case.opened
        assert self._send(who, case, "verdict", verdict=verdict.value) == (303 if opened else 409)
        if opened:
            case.verdicts[who] = verdict
            case.audited.append((who, "judged"))

    @rule(who=readers, number=numbers, button=st.sampled_from([*sorted(BUTTONS), "verdict", "open"]))
    def forge(self, who: str, number: int, button: str) -> None:
        """Another site sends the form in a reader's name."""
        answer = self.browsers[who].client.post(
            f"/alerts/{self._case(number).alert}/{button}",
            data={"csrf": self.browsers[who].token, "verdict": "there", "reason": "known"},
            headers={"origin": "http://elsewhere.example", "sec-fetch-site": "cross-site"},
            follow_redirects=False,
        )
        assert answer.status_code == 403

    @rule(who=readers)
    def sign_in_again(self, who: str) -> None:
        """A reader signs out, and in again."""
        assert self.browsers[who].post("/logout").status_code == 303
        assert self.browsers[who].sign_in(who).status_code == 303

    @invariant()
    def pages_and_database_agree(self) -> None:
        """Every alert is where it should be, in the database and on the page; the audit tells every press."""
        for case in self.cases:
            kept = self.store.alerts.get(case.alert)
            assert kept is not None
            assert (kept.state, kept.decided_by) == (case.state, case.decided_by)
            given = {one.who: one.verdict for one in self.store.feedback.of_alert(case.alert)}
            assert given == case.verdicts
            entries = [one for one in reversed(self.store.audit.list()) if one.subject == f"alert {case.alert}"]
            assert [(one.who, one.action) for one in entries] == case.audited
        for browser in self.browsers.values():
            shown = browser.get("/").text
            for case in self.cases:
                assert (f'data-alert="{case.alert}"' in shown) is (case.decided_by is None)

    def _case(self, number: int) -> Case:
        return self.cases[number % len(self.cases)]

    def _send(self, who: str, case: Case, what: str, **form: str) -> int:
        return self.browsers[who].post(f"/alerts/{case.alert}/{what}", form).status_code


class WorklistOnPostgresql(Worklist):
    """The same on the other database."""

    database: ClassVar[str] = "postgresql"


_FEW = settings(
    max_examples=int(os.environ.get("LUNGSENTRY_WEB_MACHINE_RUNS", "4")),
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestWorklist = Worklist.TestCase
TestWorklist.settings = _FEW
TestWorklistOnPostgresql = WorklistOnPostgresql.TestCase
TestWorklistOnPostgresql.settings = _FEW
