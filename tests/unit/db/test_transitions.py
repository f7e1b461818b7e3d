"""The guarded writer: the whole product of states and events, lost races, and the event that goes with each move."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from itertools import product
from typing import Any

import pytest
from sqlalchemy import create_engine, select, update
from sqlalchemy.orm import Session

from alerts import ALERT_TRANSITIONS, DELIVERY_TRANSITIONS, AlertEvent, AlertState, DeliveryEvent, DeliveryState
from db import JOB_TRANSITIONS, SERIES_TRANSITIONS, Actor, JobEvent, JobState, SeriesEvent, SeriesState, StaleState
from db.rows import AlertRow, DeliveryRow, EventRow, JobRow, Row, SeriesRow
from db.store.transitions import Note, transition

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOTE = Note(at=NOW, actor=Actor.user("tester"), detail="in a test")
Machine = tuple[type[Any], str, Mapping[Any, Any], type[StrEnum], type[StrEnum]]
MACHINES: tuple[Machine, ...] = (
    (JobRow, "job", JOB_TRANSITIONS, JobState, JobEvent),
    (SeriesRow, "series", SERIES_TRANSITIONS, SeriesState, SeriesEvent),
    (AlertRow, "alert", ALERT_TRANSITIONS, AlertState, AlertEvent),
    (DeliveryRow, "delivery", DELIVERY_TRANSITIONS, DeliveryState, DeliveryEvent),
)
PRODUCT = [
    pytest.param((table, kind, arrows), state, event, id=f"{kind}-{state}-{event}")
    for table, kind, arrows, states, events in MACHINES
    for state, event in product(states, events)
]
VALUES: Mapping[type[Any], dict[str, Any]] = {
    JobRow: {"study_instance_uid": "1.2", "revision": 1, "run": 1, "attempt": 1, "max_attempts": 3}
    | {"not_before": NOW, "requested_by": "completion", "created_at": NOW, "priority": 0, "site": "CT1", "turn": 0},
    SeriesRow: {
        "study_instance_uid": "1.2",
        "reversed_uid": "3.2.1",
        "calling_ae_title": "CT1",
        "revision": 1,
        "modality": "CT",
        "series_description": "",
    }
    | {"instance_count": 1, "first_received_at": NOW, "last_received_at": NOW},
    AlertRow: {"result_id": 1, "alert": {}, "created_at": NOW, "updated_at": NOW, "study_instance_uid": "1.2"}
    | {"category": "2", "incidental": True, "burden_percent": 10.0, "profile": "ctac", "quality": "limited"}
    | {"calling_ae_title": "CT1", "received_at": NOW, "due_at": NOW},
    DeliveryRow: {"result_id": 1, "artefact_id": 1, "destination": "PACS", "attempt": 1, "max_attempts": 3}
    | {"not_before": NOW, "created_at": NOW},
}
ALLOWED_JOB = {
    ("queued", "claim", "running"),
    ("queued", "cancel", "cancelled"),
    ("queued", "supersede", "cancelled"),
    ("running", "succeed", "succeeded"),
    ("running", "retry", "queued"),
    ("running", "lapse", "queued"),
    ("running", "give_up", "failed"),
    ("running", "cancel", "cancelled"),
    ("running", "supersede", "cancelled"),
}
ALLOWED_SERIES = {
    ("receiving", "complete", "complete"),
    ("complete", "enqueue", "queued"),
    ("complete", "exclude", "excluded"),
    ("queued", "analyse", "analysed"),
    ("queued", "exclude", "excluded"),
    ("queued", "fail", "failed"),
    ("analysed", "exclude", "excluded"),
    ("excluded", "reconsider", "complete"),
    *((ended, "requeue", "queued") for ended in ("analysed", "excluded", "failed")),
    *((past, "late_instance", "receiving") for past in ("complete", "queued", "analysed", "excluded", "failed")),
}


@pytest.fixture
def session() -> Iterator[Session]:
    """The tables in memory."""
    engine = create_engine("sqlite://")
    Row.metadata.create_all(engine)
    with Session(engine, expire_on_commit=False) as opened:
        yield opened
    engine.dispose()


def _row(session: Session, table: type[Any], state: StrEnum) -> Any:
    row = table(state=state.value, series_instance_uid="1.2.3", **VALUES[table])
    session.add(row)
    session.flush()
    return row


def _events(session: Session) -> list[EventRow]:
    return list(session.scalars(select(EventRow)))


def test_job_and_series_have_exactly_their_arrows() -> None:
    """No arrow is missing, none was added unseen."""
    assert {(*pair, after) for pair, after in JOB_TRANSITIONS.items()} == ALLOWED_JOB
    assert {(*pair, after) for pair, after in SERIES_TRANSITIONS.items()} == ALLOWED_SERIES


@pytest.mark.parametrize(("machine", "state", "event"), PRODUCT)
def test_arrow_moves_and_leaves_its_event_and_no_arrow_leaves_nothing(
    session: Session, machine: tuple[type[Any], str, Mapping[Any, Any]], state: StrEnum, event: StrEnum
) -> None:
    """Of every pair of state and event: the move with its one event, or StaleState with neither."""
    table, kind, arrows = machine
    row = _row(session, table, state)
    after = arrows.get((state, event))
    if after is None:
        with pytest.raises(StaleState, match=f"{state.value}.*{event.value}"):
            transition(session, row, event, NOTE)
        assert (row.state, _events(session)) == (state, [])
        return
    transition(session, row, event, NOTE)
    assert row.state == after
    (written,) = _events(session)
    assert (written.subject_kind, written.event, written.series_instance_uid) == (kind, event.value, "1.2.3")
    assert (written.from_state, written.to_state) == (state.value, after.value)
    assert (written.at, written.detail) == (NOW, "in a test")
    assert (written.actor_kind, written.actor_name) == ("user", "tester")


ARROWS = [pytest.param(table, *next(iter(arrows)), id=kind) for table, kind, arrows, _, _ in MACHINES]


@pytest.mark.parametrize(("table", "state", "event"), ARROWS)
def test_lost_race_is_told_and_changes_nothing(
    session: Session, table: type[Any], state: StrEnum, event: StrEnum
) -> None:
    """Somebody else moved the row since it was read: StaleState, and his state stands without an event of ours."""
    row = _row(session, table, state)
    elsewhere = update(table).values(state="elsewhere").execution_options(synchronize_session=False)
    session.execute(elsewhere)
    with pytest.raises(StaleState, match="no longer"):
        transition(session, row, event, NOTE)
    assert session.scalar(select(table.state)) == "elsewhere"
    assert not _events(session)


@pytest.mark.parametrize(
    ("table", "state", "event", "guard"),
    [
        (JobRow, JobState.RUNNING, JobEvent.SUCCEED, "attempt"),
        (DeliveryRow, DeliveryState.SENDING, DeliveryEvent.CONFIRM, "attempt"),
        (SeriesRow, SeriesState.QUEUED, SeriesEvent.ANALYSE, "revision"),
    ],
)
def test_same_state_of_another_attempt_or_revision_is_another_thing(
    session: Session, table: type[Any], state: StrEnum, event: StrEnum, guard: str
) -> None:
    """A row that left its state and came back to it is not taken for the one that was read."""
    row = _row(session, table, state)
    session.execute(update(table).values({guard: 2}).execution_options(synchronize_session=False))
    with pytest.raises(StaleState, match="no longer"):
        transition(session, row, event, NOTE)
    assert not _events(session)


def test_event_shares_the_fate_of_its_move(session: Session) -> None:
    """Rolled back, neither the move nor its event is there: they are one transaction."""
    row = _row(session, JobRow, JobState.QUEUED)
    session.commit()
    transition(session, row, JobEvent.CLAIM, NOTE, attempt=2)
    session.rollback()
    assert session.execute(select(JobRow.state, JobRow.attempt)).one() == ("queued", 1)
    assert not _events(session)
