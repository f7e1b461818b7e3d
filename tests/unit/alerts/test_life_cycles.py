"""The life of an alert and of a delivery."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from itertools import product
from typing import Any

import pytest

from alerts import (
    ALERT_TRANSITIONS,
    DELIVERY_TRANSITIONS,
    AlertEvent,
    AlertState,
    Delivery,
    DeliveryEvent,
    DeliveryState,
    IllegalTransition,
    next_alert_state,
    next_delivery_state,
)

Step = Callable[[Any, Any], StrEnum]
Transitions = Mapping[tuple[StrEnum, StrEnum], StrEnum]
MACHINES: list[tuple[Step, Transitions, type[StrEnum], type[StrEnum]]] = [
    (next_alert_state, ALERT_TRANSITIONS, AlertState, AlertEvent),
    (next_delivery_state, DELIVERY_TRANSITIONS, DeliveryState, DeliveryEvent),
]
PAIRS = [
    (step, table, state, event) for step, table, states, events in MACHINES for state, event in product(states, events)
]


@pytest.mark.parametrize(("step", "table", "state", "event"), PAIRS)
def test_every_pair_has_its_arrow_or_is_refused(step: Step, table: Transitions, state: StrEnum, event: StrEnum) -> None:
    """The whole product of states and events: an arrow of the table, or an error that names both."""
    if (state, event) in table:
        assert step(state, event) is table[state, event]
    else:
        with pytest.raises(IllegalTransition, match=f"{state.value}.*{event.value}"):
            step(state, event)


@pytest.mark.parametrize(
    ("table", "states", "start"),
    [
        (ALERT_TRANSITIONS, AlertState, AlertState.OPEN),
        (DELIVERY_TRANSITIONS, DeliveryState, DeliveryState.PENDING),
    ],
)
def test_every_state_can_be_reached(table: Transitions, states: type[StrEnum], start: StrEnum) -> None:
    """No state is there for nothing."""
    reached = {start}
    while more := {after for (before, _), after in table.items() if before in reached} - reached:
        reached |= more
    assert reached == set(states)


def test_a_dismissed_alert_stays_dismissed() -> None:
    """What a reader has closed no later result opens again."""
    for event in AlertEvent:
        with pytest.raises(IllegalTransition):
            next_alert_state(AlertState.DISMISSED, event)


@pytest.mark.parametrize(
    "change", [{"kind": "fax"}, {"destination": " "}, {"path": "/etc/x"}, {"path": "a/../../x"}, {"path": ""}]
)
def test_a_delivery_that_cannot_be_is_refused(change: dict[str, str]) -> None:
    """Known kinds, a destination, and a path within the folder of results."""
    values = {
        "kind": "sr",
        "destination": "PACS",
        "path": "ab/report.dcm",
        "sop_instance_uid": "2.25.1",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.88.34",
    }
    Delivery(**values)
    with pytest.raises(ValueError):  # noqa: PT011 - each field has its own message
        Delivery(**(values | change))
