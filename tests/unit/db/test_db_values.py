"""Values that cannot be invalid, times that are aware and in UTC, text that every database takes, errors that speak."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import create_engine, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Engine
from sqlalchemy.exc import StatementError
from store_bench import ELIGIBLE, NO_LUNG, decision_of, findings_of, instance

from alerts import Alert
from analysis.findings import Findings
from analysis.series.verdicts import Screening
from db import (
    BackupRefused,
    DatabaseUnavailable,
    Job,
    JobPriority,
    JobState,
    SchemaOutOfDate,
    StaleState,
    StoreError,
    backup,
)
from db.engine import open_engine
from db.rows import EventRow, Row, UtcDateTime
from db.store.conversion import from_json, to_json

NOON_IN_BERLIN = datetime(2026, 3, 1, 13, tzinfo=timezone(timedelta(hours=1)))
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
JOB = Job(
    id=1,
    series_instance_uid="1.2.3",
    study_instance_uid="1.2",
    revision=2,
    run=1,
    priority=JobPriority.FRESH,
    site="CT1",
    state=JobState.RUNNING,
    attempt=1,
    max_attempts=3,
    not_before=NOON,
    lease_expires_at=None,
    worker="w",
    cause=None,
    requested_by="completion",
    created_at=NOON,
    started_at=None,
    finished_at=None,
)
CLAIMED = {"subject_kind": "job", "subject_id": "1", "event": "claim", "actor_kind": "process", "actor_name": "w"}


@pytest.fixture
def engine() -> Iterator[Engine]:
    """The tables in memory."""
    made = create_engine("sqlite://")
    Row.metadata.create_all(made)
    yield made
    made.dispose()


def test_instance_without_a_time_zone_is_refused() -> None:
    """Nobody can tell when it was received."""
    with pytest.raises(ValueError, match="time zone"):
        instance(received_at=NOON.replace(tzinfo=None))


@pytest.mark.parametrize("name", ["sop_instance_uid", "series_instance_uid", "study_instance_uid", "path"])
def test_instance_without_what_identifies_it_is_refused(name: str) -> None:
    """Three UIDs and a path, or there is no such value."""
    with pytest.raises(ValueError, match="UIDs"):
        instance(**{name: ""})


def test_time_goes_in_from_any_zone_and_comes_out_in_utc(engine: Engine) -> None:
    """One in the afternoon in Berlin is the same moment in the row, aware and in UTC."""
    with engine.begin() as connection:
        connection.execute(insert(EventRow).values(at=NOON_IN_BERLIN, **CLAIMED))
        stored = connection.scalar(select(EventRow.at))
    assert stored == NOON
    assert stored.tzinfo is UTC


def test_time_of_either_database_is_utc() -> None:
    """SQLite gives it back without a zone, PostgreSQL in the session's; both are told in UTC."""
    kind = UtcDateTime()
    assert kind.process_bind_param(NOON_IN_BERLIN, sqlite.dialect()) == NOON.replace(tzinfo=None)
    assert kind.process_bind_param(NOON_IN_BERLIN, postgresql.dialect()) == NOON
    for got in (
        kind.process_result_value(NOON.replace(tzinfo=None), sqlite.dialect()),
        kind.process_result_value(NOON_IN_BERLIN, postgresql.dialect()),
    ):
        assert (got, got and got.tzinfo) == (NOON, UTC)


def test_time_without_a_zone_is_not_stored(engine: Engine) -> None:
    """It would be another moment on another machine."""
    naive = NOON.replace(tzinfo=None)
    with engine.begin() as connection, pytest.raises(StatementError, match="without a zone"):
        connection.execute(insert(EventRow).values(at=naive, **CLAIMED))


def test_text_is_stored_as_every_database_can(engine: Engine) -> None:
    """NUL goes and a lone surrogate is replaced; the rest stays, also beyond ASCII."""
    with engine.begin() as connection:
        connection.execute(insert(EventRow).values(at=NOON, **CLAIMED, detail="a\0ü\udcff→"))
        assert connection.scalar(select(EventRow.detail)) == "aü?→"


def test_findings_of_before_lungs_and_lobes_were_named_are_read() -> None:
    """A row that an older version wrote gives its findings, and says that these networks were not named."""
    row = to_json(findings_of(JOB))
    del row["provenance"]["lungs"], row["provenance"]["lobes"]
    provenance = from_json(Findings, row).provenance
    assert provenance.lungs is None
    assert list(provenance.algorithms) == ["lesions"]


def test_values_come_back_from_json_as_they_went_in() -> None:
    """Findings, screening and alert survive the JSON columns."""
    findings, alert = findings_of(JOB), decision_of(JOB, alert=True).alert
    assert from_json(Findings, to_json(findings)) == findings
    assert from_json(Alert, to_json(alert)) == alert
    for screening in (ELIGIBLE, NO_LUNG):
        assert from_json(Screening, to_json(screening)) == screening


@pytest.mark.parametrize("url", ["mysql://host/name", "sqlite://", "sqlite:///:memory:", "no url at all"])
def test_url_of_no_supported_database_is_refused(url: str) -> None:
    """Neither another database, nor one that ends with the process."""
    with pytest.raises(StoreError, match=r"database|SQLite"):
        open_engine(url)


def test_only_an_unreachable_database_is_worth_another_try() -> None:
    """What the caller may repeat is told by the class; the docstring is the message."""
    assert DatabaseUnavailable.transient
    assert not any(kind.transient for kind in (StoreError, SchemaOutOfDate, StaleState, BackupRefused))
    assert str(StaleState("Job 3.")) == "What was to be moved is not in the state that was expected. Job 3."


def test_backup_of_postgresql_names_the_command(tmp_path: Path) -> None:
    """Its own tool copies it; the command is complete but for the password, which is not shown."""
    with pytest.raises(BackupRefused, match=r"pg_dump .*--dbname=node --host=dbhost --port=5433 --username=u") as told:
        backup("postgresql://u:secret@dbhost:5433/node", tmp_path / "copy")
    assert "secret" not in str(told.value)
