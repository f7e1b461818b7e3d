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
    Alert,
    AlertEvent,
    AlertState,
    ArtefactKind,
    Category,
    Delivery,
    DeliveryEvent,
    DeliveryState,
    Draft,
    IllegalTransition,
    next_alert_state,
    next_delivery_state,
)
from alerts.alert import is_worse

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


def test_a_dismissed_alert_is_only_opened_again() -> None:
    """What a reader has closed nobody takes up or supersedes; what shows more opens it, or he himself."""
    opening = {AlertEvent.REOPEN, AlertEvent.UNDO}
    assert {next_alert_state(AlertState.DISMISSED, event) for event in opening} == {AlertState.OPEN}
    for event in set(AlertEvent) - opening:
        with pytest.raises(IllegalTransition):
            next_alert_state(AlertState.DISMISSED, event)


@pytest.mark.parametrize(
    ("category", "burden", "worse"),
    [
        (Category.CATEGORY_2, 10.0, False),
        (Category.CATEGORY_2, 10.9, False),  # by less than a point
        (Category.CATEGORY_2, 11.0, True),
        (Category.CATEGORY_3, 9.0, False),
        (Category.CATEGORY_1, 10.1, True),  # more pressing
    ],
)
def test_what_shows_more_than_was_judged(category: Category, burden: float, worse: bool) -> None:
    """Measured again it differs by little; a more pressing category, or a point and a tenth more, is worse."""
    judged = Alert(
        study_instance_uid="1.2",
        series_instance_uid="1.2.3",
        revision=1,
        category=Category.CATEGORY_2,
        incidental=True,
        headline="opacities",
        reasons=(),
        burden_percent=10.0,
    )
    assert is_worse(replace(judged, category=category, burden_percent=burden), judged) is worse


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
