"""Migrations of a database that holds rows: what older versions wrote is read by this one."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, inspect, make_url, text
from store_bench import DATABASES, ELIGIBLE, START, decision_of, empty_postgresql, findings_of

from alerts import AlertState, Category
from analysis.findings import Profile, QualityLevel
from db import Actor, Job, JobPriority, JobState, RequeueFilter, Store, WorklistFilter, upgrade
from db.store.conversion import to_json

JOB = Job(
    id=1,
    series_instance_uid="1.2.3",
    study_instance_uid="1.2",
    revision=1,
    run=1,
    priority=JobPriority.FRESH,
    site="CT1",
    state=JobState.SUCCEEDED,
    attempt=1,
    max_attempts=3,
    not_before=START,
    lease_expires_at=None,
    worker="w",
    cause=None,
    requested_by="completion",
    created_at=START,
    started_at=START,
    finished_at=START,
)
NOW = START.strftime("%Y-%m-%d %H:%M:%S.%f")
PICTURES = '["aa/r1/coronal.png", "aa/r1/slice-1.png"]'
OLD_EVENTS = (
    ("series", "1.2.3", "receive", None, None),
    ("job", "1", "enqueue", "completion", None),
    ("job", "1", "claim", "host-17", "attempt 1 of 3"),
    ("job", "2", "enqueue", "requeue:ann", None),
    ("job", "2", "cancel", "bob", "cancelled by bob"),
    ("alert", "1", "acknowledge", "reader", None),
    ("alert", "1", "raise", "host-17", None),
    ("commitment", "1", "request", "CT1", None),
    ("commitment", "1", "start", "commitment", None),
    ("performed_step", "1.9", "begin", "CT1", None),
)


@pytest.mark.parametrize("kind", DATABASES)
def test_rows_of_0004_are_read(kind: str, tmp_path: Path) -> None:
    """Actors get their kind from what they did, alerts are found by what they hold, UIDs from either end.

    Files that columns of results and deliveries named are artefacts, with their old paths.
    """
    url = f"sqlite:///{tmp_path / 'old.sqlite3'}" if kind == "sqlite" else empty_postgresql()
    _upgrade_to(url, "0004")
    _fill(url)

    upgrade(url)

    with Store.open(url) as store:
        actors = [one.actor for one in store.series.events("1.2.3")]
        (entry,) = store.worklist.page(
            WorklistFilter(
                states=frozenset({AlertState.OPEN}),
                categories=frozenset({Category.CATEGORY_2}),
                incidental=True,
                profile=Profile.CHEST_CT,
                quality=QualityLevel.DIAGNOSTIC,
                calling_ae_title="CT1",
                received_since=START,
                found=".2.3",
            )
        ).entries
        result, (delivery,) = store.results.latest("1.2.3"), store.deliveries.list()
        status, (job,) = store.status(), store.jobs.list()
        others = store.requeue.select(RequeueFilter(not_model_version="other@1.0"))
    assert (status.series["analysed"], status.jobs["succeeded"], status.alerts["open"]) == (1, 1, 1)
    assert (job.priority, job.site, job.requested_by) == (JobPriority.RERUN, "CT1", "ann")
    assert [one.series_instance_uid for one in others] == ["1.2.3"]
    assert actors == [
        Actor.process("node"),
        Actor.process("completion"),
        Actor.process("host-17"),
        Actor.user("ann"),
        Actor.user("bob"),
        Actor.user("reader"),
        Actor.process("host-17"),
        Actor.peer("CT1"),
        Actor.process("commitment"),
        Actor.peer("CT1"),
    ]
    assert result is not None
    assert [(one.kind, one.name, one.path) for one in result.artefacts] == [
        ("sr", "report.dcm", "aa/r1/report.dcm"),
        ("picture", "coronal.png", "aa/r1/coronal.png"),
        ("picture", "slice-1.png", "aa/r1/slice-1.png"),
    ]
    assert result.report == delivery.artefact
    assert (delivery.artefact.sop_instance_uid, delivery.artefact.sha256, delivery.state) == ("1", "ab", "sent")
    assert (entry.patient_id, entry.series.calling_ae_title, entry.alert.alert.burden_percent) == ("P", "CT1", 10.0)


@pytest.mark.parametrize("kind", DATABASES)
def test_alerts_of_one_study_become_one(kind: str, tmp_path: Path) -> None:
    """The one that waits stands for the study, with the verdicts and events of the other; it rests on both series."""
    url = f"sqlite:///{tmp_path / 'old.sqlite3'}" if kind == "sqlite" else empty_postgresql()
    _upgrade_to(url, "0004")
    _fill(url)
    _upgrade_to(url, "0014")
    engine = create_engine(make_url(url))
    copied = {
        "series": {"series_instance_uid": "'1.2.4'"},
        "jobs": {"id": "2", "series_instance_uid": "'1.2.4'"},
        "results": {"id": "2", "job_id": "2", "series_instance_uid": "'1.2.4'"},
        "alerts": {"id": "2", "result_id": "2", "series_instance_uid": "'1.2.4'", "state": "'dismissed'"},
    }
    with engine.begin() as connection:
        for table, changes in copied.items():
            names = [column["name"] for column in inspect(connection).get_columns(table)]
            values = ", ".join(changes.get(name, name) for name in names)
            columns = ", ".join(names)
            connection.execute(text(f"INSERT INTO {table} ({columns}) SELECT {values} FROM {table}"))  # noqa: S608
        connection.execute(text("INSERT INTO state_counts (kind, state, count) VALUES ('alert', 'dismissed', 1)"))
        connection.execute(
            text(
                "INSERT INTO verdicts (id, alert_id, result_id, who, at, verdict) "
                "VALUES (1, 2, 2, 'ann', :now, 'unsure')"
            ),
            {"now": NOW},
        )
        connection.execute(
            text(
                "INSERT INTO events (at, subject_kind, subject_id, event, actor_kind, actor_name, kept) "
                "VALUES (:now, 'alert', '1', 'open', 'user', 'ann', false)"
            ),
            {"now": NOW},
        )
    engine.dispose()

    upgrade(url)

    with Store.open(url) as store:
        (alert,) = store.alerts.list()
        flagged = store.alerts.flagged("1.2")
        verdicts, status = store.feedback.of_alert(1), store.status()
        counts = store.feedback.counts()
    assert (alert.id, alert.state, alert.study_instance_uid) == (1, AlertState.OPEN, "1.2")
    assert (alert.due_at, alert.opened_at) == (START + timedelta(hours=4), START)
    assert [one.series_instance_uid for one in flagged] == ["1.2.3", "1.2.4"]
    assert [(one.who, one.result_id) for one in verdicts] == [("ann", 2)]
    assert [(one.verdict, one.count, one.calling_ae_title) for one in counts] == [("unsure", 1, "CT1")]
    assert {state: count for state, count in status.alerts.items() if count} == {"open": 1}


def _upgrade_to(url: str, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", "db:migrations")
    engine = create_engine(make_url(url))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def _fill(url: str) -> None:
    import json

    alert = decision_of(JOB, alert=True).alert
    rows: list[tuple[str, dict[str, Any]]] = [
        (
            "studies",
            {"study_instance_uid": "1.2", "patient_id": "P", "accession_number": "A", "study_date": ""}
            | {"study_description": "", "first_received_at": NOW, "last_received_at": NOW},
        ),
        (
            "series",
            {"series_instance_uid": "1.2.3", "study_instance_uid": "1.2", "state": "analysed", "revision": 1}
            | {"modality": "CT", "series_description": "", "instance_count": 1}
            | {"first_received_at": NOW, "last_received_at": NOW},
        ),
        (
            "instances",
            {"series_instance_uid": "1.2.3", "sop_instance_uid": "1.2.3.1", "sop_class_uid": "1"}
            | {"transfer_syntax_uid": "1", "path": "a", "size_bytes": 1, "sha256": "0", "calling_ae_title": "CT1"}
            | {"called_ae_title": "N", "address": "", "received_at": NOW, "uid_warning": False, "header": "{}"},
        ),
        (
            "jobs",
            {"series_instance_uid": "1.2.3", "study_instance_uid": "1.2", "revision": 1, "run": 1, "attempt": 1}
            | {
                "state": "succeeded",
                "max_attempts": 3,
                "not_before": NOW,
                "requested_by": "requeue:ann",
                "created_at": NOW,
            },
        ),
        (
            "results",
            {"job_id": 1, "series_instance_uid": "1.2.3", "study_instance_uid": "1.2", "revision": 1}
            | {"model_version": "1", "burden_percent": 10.0, "findings": json.dumps(to_json(findings_of(JOB)))}
            | {
                "screening": json.dumps(to_json(ELIGIBLE)),
                "explanation": "",
                "report_path": "aa/r1/report.dcm",
                "report_sop_instance_uid": "1",
            }
            | {"report_sop_class_uid": "1", "report_sha256": "ab", "picture_paths": PICTURES, "seconds": "{}"}
            | {"created_at": NOW},
        ),
        (
            "alerts",
            {"series_instance_uid": "1.2.3", "result_id": 1, "state": "open", "alert": json.dumps(to_json(alert))}
            | {"created_at": NOW, "updated_at": NOW},
        ),
        (
            "deliveries",
            {"result_id": 1, "series_instance_uid": "1.2.3", "kind": "sr", "destination": "PACS", "state": "sent"}
            | {"path": "aa/r1/report.dcm", "sop_instance_uid": "1", "sop_class_uid": "1", "attempt": 1}
            | {"max_attempts": 12, "not_before": NOW, "created_at": NOW, "sent_at": NOW},
        ),
        *(
            (
                "events",
                {"at": NOW, "subject_kind": subject, "subject_id": identity, "series_instance_uid": "1.2.3"}
                | {"event": event, "actor": actor, "detail": detail},
            )
            for subject, identity, event, actor, detail in OLD_EVENTS
        ),
    ]
    engine = create_engine(make_url(url))
    with engine.begin() as connection:
        for table, values in rows:
            names = ", ".join(values)
            marks = ", ".join(f":{name}" for name in values)
            connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({marks})"), values)  # noqa: S608
    engine.dispose()
