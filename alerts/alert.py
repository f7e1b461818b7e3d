"""An alert: what is flagged, why, and the life it may lead."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from alerts.errors import IllegalTransition


class AlertState(StrEnum):
    """Where an alert stands. That a reader looks at the case is an event and no state: it decides nothing."""

    OPEN = "open"
    NOTIFIED = "notified"
    ESCALATED = "escalated"
    ACKNOWLEDGED = "acknowledged"
    PASSED_ON = "passed_on"
    DISMISSED = "dismissed"
    SUPERSEDED = "superseded"


UNDECIDED = frozenset({AlertState.OPEN, AlertState.NOTIFIED, AlertState.ESCALATED})
"""Nobody has said yet what is to be done."""
DECIDED = frozenset({AlertState.ACKNOWLEDGED, AlertState.PASSED_ON, AlertState.DISMISSED})
"""A reader has said so: what the examination shows now is compared with what was judged."""


class AlertEvent(StrEnum):
    """What can happen to an alert."""

    NOTIFY = "notify"
    ESCALATE = "escalate"
    ACKNOWLEDGE = "acknowledge"
    PASS_ON = "pass_on"  # noqa: S105 - no password
    DISMISS = "dismiss"
    UNDO = "undo"
    SUPERSEDE = "supersede"
    REOPEN = "reopen"


_MOVES: tuple[tuple[AlertEvent, AlertState, frozenset[AlertState]], ...] = (
    # a channel for people has confirmed that it told of the case
    (AlertEvent.NOTIFY, AlertState.NOTIFIED, frozenset({AlertState.OPEN})),
    # nobody has looked at the case in the time that its category allows
    (AlertEvent.ESCALATE, AlertState.ESCALATED, frozenset({AlertState.OPEN, AlertState.NOTIFIED})),
    # a reader has seen the case and takes it up
    (AlertEvent.ACKNOWLEDGE, AlertState.ACKNOWLEDGED, UNDECIDED | {AlertState.PASSED_ON}),
    # a reader has seen the case and leaves it to somebody else
    (AlertEvent.PASS_ON, AlertState.PASSED_ON, UNDECIDED | {AlertState.ACKNOWLEDGED, AlertState.PASSED_ON}),
    # a reader has seen the case and finds nothing to act upon
    (AlertEvent.DISMISS, AlertState.DISMISSED, UNDECIDED | {AlertState.ACKNOWLEDGED, AlertState.PASSED_ON}),
    # who decided takes it back
    (AlertEvent.UNDO, AlertState.OPEN, DECIDED),
    # no result in force of the study meets the policy any more; a dismissal stands
    (AlertEvent.SUPERSEDE, AlertState.SUPERSEDED, UNDECIDED | {AlertState.ACKNOWLEDGED, AlertState.PASSED_ON}),
    # the study shows more than was told or judged, or meets the policy again
    (AlertEvent.REOPEN, AlertState.OPEN, DECIDED | {AlertState.NOTIFIED, AlertState.SUPERSEDED}),
)
ALERT_TRANSITIONS: dict[tuple[AlertState, AlertEvent], AlertState] = {
    (state, event): after for event, after, states in _MOVES for state in sorted(states)
}


def next_alert_state(state: AlertState, event: AlertEvent) -> AlertState:
    """The state an alert enters when ``event`` happens in ``state``; ``IllegalTransition`` where there is no arrow."""
    try:
        return ALERT_TRANSITIONS[state, event]
    except KeyError as cause:
        raise IllegalTransition(state, event) from cause


class Category(StrEnum):
    """ACR actionable-finding category (RADLEX RID49480, RID49481, RID49482)."""

    CATEGORY_1 = "1"
    CATEGORY_2 = "2"
    CATEGORY_3 = "3"


TIME_ALLOWED: Mapping[Category, timedelta] = {
    Category.CATEGORY_1: timedelta(minutes=60),
    Category.CATEGORY_2: timedelta(hours=4),
    Category.CATEGORY_3: timedelta(hours=72),
}
"""How long a case may wait for a reader where the policy says nothing. The American College of Radiology speaks of
minutes, hours and days: these are Lungsentry's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """COVID-like opacities that policy finds worth a reader's eyes. Not a diagnosis.

    ``headline`` and ``reasons`` are for people; they never name the patient.
    """

    study_instance_uid: str
    series_instance_uid: str
    revision: int
    category: Category
    incidental: bool
    headline: str
    reasons: tuple[str, ...]
    burden_percent: float
    minutes_allowed: float | None = None

    @property
    def time_allowed(self) -> timedelta:
        """How long it may wait for a reader, as the policy that raised it says."""
        minutes = self.minutes_allowed
        return TIME_ALLOWED[self.category] if minutes is None else timedelta(minutes=minutes)


WORSE_BY_POINTS = 1.0
WORSE_BY_SHARE = 0.1
"""A burden that is measured again, by another model say, may differ by less without meaning anything."""


def is_worse(later: Alert, judged: Alert) -> bool:
    """Whether the study shows more now than a reader has judged.

    It does where its category is more pressing, or its burden is higher by a percentage point and by a tenth.
    """
    grown = later.burden_percent - judged.burden_percent
    return int(later.category.value) < int(judged.category.value) or (
        grown >= WORSE_BY_POINTS and grown >= WORSE_BY_SHARE * judged.burden_percent
    )


def pressing(alert: Alert) -> tuple[str, float]:
    """By what the most pressing alert comes first: its category, then its burden."""
    return alert.category.value, -alert.burden_percent
