"""The life of an alert and of a delivery."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import StrEnum
from itertools import product
from typing import Any

import pytest

from alerts import (
    ALERT_TRANSITIONS,
    DELIVERY_TRANSITIONS,
    DICOM,
    AlertEvent,
    AlertState,
    ArtefactKind,
    Delivery,
    DeliveryEvent,
    DeliveryState,
    Draft,
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


def test_a_delivery_needs_a_destination() -> None:
    """A blank name is nobody's."""
    with pytest.raises(ValueError, match="destination"):
        Delivery(destination=" ", artefact="report.dcm")


@pytest.mark.parametrize("path", ["/etc/x", "a/../../x", ""])
def test_an_artefact_stays_in_the_folder_of_results(path: str) -> None:
    """No path of a row leads anywhere else."""
    report = Draft(kind=ArtefactKind.SR, name="report.dcm", media_type=DICOM, content=b"x").artefact()
    with pytest.raises(ValueError, match="folder of results"):
        replace(report, path=path)
