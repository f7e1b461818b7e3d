"""Reading and steering a node from the command line: against a store with series of every fate."""

import json
import os
import socket
import tarfile
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import pytest
from filled_store import EXCLUDED, FAILED, FLAGGED, OTHER_STUDY, PATIENT, RECEIVING, STUDY, FilledNode, filled_node
from node_harness import wait_until
from store_bench import instance
from typer.testing import CliRunner

from alerts import ALONE_AFTER
from analysis.series import Outcome, Rule, RuleResult, Screening
from db import CommitmentRequest, JobState, SeriesState, Store
from dicom_node.cli import app
from dicom_node.clock_step import StepWatch
from dicom_node.failing_units import FailingUnits
from dicom_node.sweep import Sweep
from dicom_node.sweeps import Sweeps


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FilledNode:
    """A node with a flagged, an excluded, a failed and a receiving series, a peer and a refusal."""
    for name in list(os.environ):
        if name.startswith("LUNGSENTRY_"):
            monkeypatch.delenv(name)
    return filled_node(tmp_path)


def _keys(value: Mapping[str, Any], *names: str) -> None:
    assert set(names) <= set(value), set(names) - set(value)


def _told(node: FilledNode, *, code: int) -> Iterator[dict[str, dict[str, str]]]:
    """What status and doctor tell, by name; both end with the code."""
    for command, name in (("status", "warnings"), ("doctor", "checks")):
        done = CliRunner().invoke(app, ["--config", str(node.config), command, "--json"])
        assert done.exit_code == code, done.output
        yield {one["name"]: one for one in json.loads(done.stdout)[name]}


def test_status_counts_every_fate(node: FilledNode) -> None:
    """Status counts series, jobs and alerts by state, and the dead letters."""
    status = node.json("status")
    assert status["series"]["analysed"] == status["series"]["excluded"] == status["series"]["failed"] == 1
    assert status["dead_letters"] == 1
    assert status["alerts"]["open"] == 1
    assert status["last_received_at"].endswith("Z")
    assert "dead letters" in node.run("status").stdout


def test_what_the_scheduler_fails_at_is_told(node: FilledNode) -> None:
    """A unit that fails shows in status and doctor with sweep, cause and number, until it no longer fails."""
    with Store.open(node.url) as store:
        for _ in range(2):
            store.failing_units.record("completion", RECEIVING, "OverflowError")
        doctor = CliRunner().invoke(app, ["--config", str(node.config), "doctor", "--json"])
        for told in (node.json("status")["warnings"], json.loads(doctor.stdout)["checks"]):
            (found,) = [one for one in told if one["name"] == "sweep completion"]
            assert f"{RECEIVING} fails, 2 times since" in found["saw"]
            assert found["saw"].endswith("OverflowError")
        store.failing_units.remove("completion", RECEIVING)
    assert not [one for one in node.json("status")["warnings"] if one["name"].startswith("sweep")]


def test_a_process_without_a_sign_of_life_is_told(node: FilledNode) -> None:
    """A role that says nothing for more than a minute is a failure in status and doctor; one that lives is none."""
    long_ago = datetime.now(UTC) - timedelta(minutes=5)
    with Store.open(node.url, clock=lambda: long_ago) as store:
        store.heartbeats.beat("worker", host="machine", pid=1)
    with Store.open(node.url) as store:
        store.heartbeats.beat("receiver", host="machine", pid=2)
        for command, told in (("status", "warnings"), ("doctor", "checks")):
            done = CliRunner().invoke(app, ["--config", str(node.config), command, "--json"])
            assert done.exit_code == 1, done.output
            levels = {one["name"]: one["level"] for one in json.loads(done.stdout)[told]}
            assert levels["process worker"] == "fail"
            assert levels.get("process receiver", "ok") == "ok"
        store.heartbeats.remove_dead("machine", lambda pid: pid != 1)
        store.heartbeats.remove("receiver", host="machine", pid=2)
        assert not store.heartbeats.list()
    assert CliRunner().invoke(app, ["--config", str(node.config), "status"]).exit_code == 0


def test_a_lane_that_is_stuck_is_a_failure(node: FilledNode) -> None:
    """A destination that failed three times over more than ten minutes makes status and doctor fail."""
    ago = datetime.now(UTC) - timedelta(minutes=11)
    with Store.open(node.url, clock=lambda: ago) as store:
        store.failing_units.record("deliveries", "PACS", "nobody listens")
    with Store.open(node.url) as store:
        for _ in range(2):
            store.failing_units.record("deliveries", "PACS", "nobody listens")
    status = json.loads(node.run("status", "--json", code=1).stdout)
    (stuck,) = [one for one in status["warnings"] if one["name"] == "sweep deliveries"]
    assert (stuck["level"], "PACS is stuck" in stuck["saw"]) == ("fail", True)


def test_a_database_that_the_running_node_does_not_write_to_is_told(
    node: FilledNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something listens on the node's port, and no process of it gives signs of life here: the file was replaced."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("LUNGSENTRY_RECEIVER__PORT", str(listening.getsockname()[1]))
        told = node.run("status", code=1).stdout
        assert "the file was replaced" in " ".join(told.split())
        with Store.open(node.url) as store:
            store.heartbeats.beat("receiver", host="machine", pid=2)
        assert "replaced" not in node.run("status").stdout


def test_poison_that_was_set_aside_is_told(node: FilledNode) -> None:
    """What was given up after all attempts, and a series that no rule could be applied to, in status and doctor."""
    fault = RuleResult(
        rule=Rule.SCREENING, value="OverflowError", expected="headers that rules fit", outcome=Outcome.EXCLUDED
    )
    with Store.open(node.url) as store:
        new = instance(series="1.2.77", received_at=datetime.now(UTC))
        revision = store.intake.record_instance(new).revision
        store.intake.mark_complete("1.2.77", revision, "in a test")
        store.intake.exclude("1.2.77", revision, Screening(results=(fault,), profile=None), judged=False)
    for told in _told(node, code=0):
        assert "1 given up" in told["dead letters"]["saw"]
        assert "1 of the last day could not be read or screened" in told["series"]["saw"]
        assert {told[name]["level"] for name in ("dead letters", "series")} == {"warn"}


def test_clock_that_was_set_is_told(node: FilledNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that the scheduler saw is a warning; what was received in the future, after a step back, is a failure."""
    walls, stop = chain([0.0], repeat(-86_400.0)), threading.Event()
    monkeypatch.setattr("dicom_node.sweeps.StepWatch", lambda: StepWatch(wall=lambda: next(walls), monotonic=float))
    nothing = Sweep(name="sweep", every_s=60, units=list)
    with Store.open(node.url) as store:
        sweeps = Sweeps([nothing], leads=lambda: True, failing=FailingUnits(store.failing_units))
        running = threading.Thread(target=sweeps.run, args=(stop,))
        running.start()
        wait_until(lambda: store.failing_units.list(1), what="the step")
        stop.set()
        running.join(30)
    for told in _told(node, code=0):
        assert "the clock was set by -86400 s" in told["clock step"]["saw"]
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    with Store.open(node.url, clock=lambda: tomorrow) as store:
        store.failing_units.remove("clock", "clock")
        store.intake.record_instance(instance(series="1.2.78", received_at=tomorrow))
    for told in _told(node, code=1):
        assert "received in the future" in told["clock step"]["saw"]


def test_studies_never_name_the_patient_unless_asked(node: FilledNode) -> None:
    """The patient's ID and accession number appear only with --show-patient."""
    listed = node.json("studies", "list")
    assert {study["study_instance_uid"] for study in listed["studies"]} == {STUDY, OTHER_STUDY}
    _keys(listed["studies"][0], "study_date", "study_description", "modalities", "series_count", "last_received_at")
    for words in (["studies", "list"], ["studies", "show", STUDY], ["series", "show", FLAGGED], ["why", FLAGGED]):
        for extra in ([], ["--json"]):
            output = node.run(*words, *extra).output
            assert PATIENT not in output
            assert "ACC-1" not in output
    shown = node.json("studies", "show", ".100", "--show-patient")
    assert shown["patient_id"] == PATIENT
    assert {one["series_instance_uid"] for one in shown["series"]} == {FLAGGED, EXCLUDED, FAILED}


def test_series_are_listed_by_state(node: FilledNode) -> None:
    """--state narrows; a state that does not exist is a usage error that names those that do."""
    every = node.json("series", "list")["series"]
    assert {one["series_instance_uid"] for one in every} == {FLAGGED, EXCLUDED, FAILED, RECEIVING}
    _keys(every[0], "state", "revision", "reason", "profile", "modality", "instance_count", "last_received_at")
    listed = node.json("series", "list", "--state", "failed", "--state", "excluded")["series"]
    assert {one["series_instance_uid"] for one in listed} == {EXCLUDED, FAILED}
    assert [one["series_instance_uid"] for one in node.json("series", "list", "--study", "3.200")["series"]] == [
        RECEIVING
    ]
    assert "queued" in node.run("series", "list", "--state", "lost", code=2).stderr


def test_a_series_is_shown_with_result_and_events(node: FilledNode) -> None:
    """The newest result and everything that happened, in JSON and for people."""
    shown = node.json("series", "show", "100.11")
    assert shown["series"]["state"] == "analysed"
    assert shown["result"]["findings"]["both_lungs"]["ggo_volume_ml"] == 300
    assert shown["events"]
    _keys(shown["events"][0], "at", "event", "from_state", "to_state", "actor", "detail")
    people = node.run("series", "show", "100.11").stdout
    assert "10.00" in people
    assert "Research use only. Not a medical device." in people


def test_why_shows_every_rule(node: FilledNode) -> None:
    """`why` shows rule, value, expectation and outcome, and the reason of an exclusion and of a failure."""
    excluded = node.json("why", EXCLUDED)
    assert excluded["state"] == "excluded"
    assert excluded["rules"] == [
        {"rule": "image type", "value": "LOCALIZER", "expected": "no localizer", "outcome": "excluded"}
    ]
    assert "LOCALIZER" in node.run("why", EXCLUDED).stdout
    assert "truncated" in node.run("why", FAILED).stdout
    analysed = node.json("why", FLAGGED)
    assert (analysed["profile"], analysed["profile_cues"]) == ("ctac", ["kernel B19f"])
    assert node.json("why", RECEIVING)["rules"] == []


def test_uids_that_fit_many_or_none_are_refused(node: FilledNode) -> None:
    """An ambiguous UID and an unknown one are exit code 1, with what to do."""
    assert "give more of it" in node.run("why", "1.2.3", code=1).stderr
    assert "series list" in node.run("series", "show", "9.9.9", code=1).stderr
    assert "studies list" in node.run("studies", "show", "9.9.9", code=1).stderr


def test_requeue_refuses_what_makes_no_sense(node: FilledNode) -> None:
    """A dry run changes nothing; a series still being received is refused with its reason."""
    planned = node.json("requeue", "--failed", "--dry-run")
    assert planned["dry_run"] is True
    assert [(one["series_instance_uid"], one["queued"]) for one in planned["series"]] == [(FAILED, True)]
    with node.store() as store:
        assert store.series.get(FAILED).state is SeriesState.FAILED
    refused = node.json("requeue", "--series", RECEIVING, code=1)
    assert refused["series"][0]["queued"] is False
    assert refused["series"][0]["refusal"]
    assert "refused" in node.run("requeue", "--series", RECEIVING, code=1).stdout


def test_requeue_runs_again(node: FilledNode) -> None:
    """A failed series gets a new job that names who asked; asked twice, the second is refused."""
    assert node.json("requeue", "--series", "100.13")["series"][0]["queued"] is True
    with node.store() as store:
        assert store.series.get(FAILED).state is SeriesState.QUEUED
        assert [job.series_instance_uid for job in store.jobs.list((JobState.QUEUED,), 10)] == [FAILED]
    assert node.json("requeue", "--series", "100.13", code=1)["series"][0]["queued"] is False


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--study", STUDY], {FLAGGED, EXCLUDED, FAILED}),
        (["--patient", PATIENT, "--failed"], {FAILED}),
        (["--model-version", "1.0"], {FLAGGED}),
        (["--since", "1h"], {FLAGGED, EXCLUDED, FAILED, RECEIVING}),
        (["--since", "2999-01-01"], set()),
    ],
)
def test_requeue_filters(node: FilledNode, words: list[str], expected: set[str]) -> None:
    """Each filter chooses the series that it names."""
    planned = node.json("requeue", *words, "--dry-run", code=0 if expected else 1)
    assert {one["series_instance_uid"] for one in planned["series"]} == expected


@pytest.mark.parametrize("words", [[], ["--since", "yesterday"]])
def test_requeue_wants_to_know_which(node: FilledNode, words: list[str]) -> None:
    """No filter at all, or a time that is none, is a usage error."""
    assert node.run("requeue", *words, code=2).stderr.startswith("error: ")


def test_jobs_are_listed_shown_and_cancelled(node: FilledNode) -> None:
    """A dead letter names its cause; an ended job cannot be cancelled, a queued one can."""
    (dead,) = node.json("jobs", "list", "--state", "failed")["jobs"]
    _keys(dead, "id", "series_instance_uid", "state", "attempt", "max_attempts", "cause", "requested_by", "created_at")
    assert "truncated" in dead["cause"]
    assert node.json("jobs", "show", str(dead["id"])) == dead
    assert "truncated" in node.run("jobs", "show", str(dead["id"])).stdout
    assert "truncated" in node.run("jobs", "list").stdout
    assert node.run("jobs", "cancel", str(dead["id"]), code=1).stderr.startswith("error: ")
    node.run("requeue", "--series", FAILED)
    (queued,) = node.json("jobs", "list", "--state", "queued")["jobs"]
    assert "cancelled" in node.run("jobs", "cancel", str(queued["id"])).stdout
    assert node.json("jobs", "show", str(queued["id"]))["state"] == "cancelled"
    assert "jobs list" in node.run("jobs", "show", "999", code=1).stderr


def test_alerts_are_listed_with_their_figures_and_never_the_patient(node: FilledNode) -> None:
    """A line has what was measured, of what and from where; filters narrow, and what is not there is a usage error."""
    listing = node.json("alerts", "list", "--profile", "ctac", "--find", "ACC-1", "--sort", "pressing", "--since", "1d")
    assert listing["total"] == 1
    (listed,) = listing["alerts"]
    assert (listed["findings"]["burden_percent"], listed["findings"]["quality"]) == (10.0, "limited")
    assert (listed["series"]["calling_ae_title"], listed["study_description"]) == ("CT1", "PET/CT WHOLE BODY")
    for shown in (json.dumps(listing), node.run("alerts", "list").stdout):
        assert PATIENT not in shown
        assert "ACC-1" not in shown
    for words in (
        ("--quality", "diagnostic"),
        ("--expected",),
        ("--category", "1"),
        ("--offset", "1"),
        ("--scanner", "X"),
    ):
        assert node.json("alerts", "list", *words)["alerts"] == []
    assert "pressing" in node.run("alerts", "list", "--sort", "size", code=2).stderr


def test_every_clause_of_a_flag_is_shown(node: FilledNode) -> None:
    """Its value and limit, as they were applied; what earlier settings flagged is replayed under others."""
    told = node.json("alerts", "why", "1")
    (series,) = told["series"]
    assert [(one["name"], one["met"]) for one in series["clauses"]] == [
        ("quality", True),
        ("burden", True),
        ("volume", True),
        ("expected", False),
    ]
    assert series["clauses"][1] == {"name": "burden", "value": "10.0 %", "limit": "at least 1 %", "met": True}
    assert "at least 5 mL" in node.run("alerts", "why", "1").stdout
    node.run("alerts", "why", "99", code=1)


def test_another_policy_is_tried_on_stored_results(node: FilledNode, tmp_path: Path) -> None:
    """One that asks for more lists what it would not flag, and changes nothing; the one in force lists nothing."""
    assert node.json("policy", "show")["thresholds"][1]["age"] == "any"
    assert node.json("policy", "test")["changes"] == []
    other = tmp_path / "other.toml"
    other.write_text(
        "[policy.ctac]\nburden_percent = 11\nlesion_volume_ml = 5\n"
        "ages = [{ from_years = 0, below_years = 18, burden_percent = 30, lesion_volume_ml = 5 }]\n"
    )
    tried = node.json("policy", "test", "--with", str(other))
    assert (tried["results"], tried["flagged"], tried["would_be_flagged"]) == (1, 1, 0)
    (change,) = tried["changes"]
    assert (change["series"], change["change"]) == (FLAGGED, "no longer flagged")
    assert (
        node.json("policy", "test", "--with", str(other), "--since", "2020-01-01", "--before", "2020-02-01")["results"]
        == 0
    )
    told = node.run("policy", "test", "--with", str(other)).stdout
    assert "no longer flagged" in told
    assert "0 to under 18 years" in told
    assert node.json("alerts", "list", "--state", "open")["total"] == 1
    again = CliRunner().invoke(app, ["--config", str(other), "policy", "show", "--json"])
    assert [one["age"] for one in json.loads(again.stdout)["thresholds"]] == ["any", "0 to under 18 years", "other"]


def test_what_a_tried_policy_does_not_name_stays_as_it_is(
    node: FilledNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One threshold over the node's own: the others are the node's, not the defaults; no variable is above the file."""
    monkeypatch.setenv("LUNGSENTRY_POLICY__CTAC__LESION_VOLUME_ML", "77")
    monkeypatch.setenv("LUNGSENTRY_POLICY__CTAC__BURDEN_PERCENT", "9")
    other = tmp_path / "other.toml"
    other.write_text("[policy.ctac]\nburden_percent = 11\n")
    (ctac,) = [
        one for one in node.json("policy", "test", "--with", str(other))["thresholds"] if one["profile"] == "ctac"
    ]
    assert (ctac["burden_percent"], ctac["lesion_volume_ml"]) == (11, 77)
    other.write_text("[policy.ctac]\nburden_percent = -1\n")
    assert "policy.ctac.burden_percent = -1" in node.run("policy", "test", "--with", str(other), code=2).stderr
    other.write_text("[node]\n")
    assert "has no [policy]" in node.run("policy", "test", "--with", str(other), code=2).stderr


def test_a_readers_verdict_is_kept_and_counted(node: FilledNode) -> None:
    """By scanner, profile and model; a share is told from twenty verdicts on."""
    node.run("alerts", "feedback", "1", "--extent", "1-25", code=2)
    node.run("alerts", "feedback", "1", "--verdict", "unsure", "--who", "anna")
    given = node.json(
        "alerts", "feedback", "1", "--verdict", "not there", "--looks-like", "atelectasis", "--who", "anna"
    )
    assert [(one["verdict"], one["looks_like"]) for one in given["feedback"]] == [("not there", "atelectasis")]
    for scanner, profile in (("all", "all"), ("CT1", "ctac")):
        (line,) = [one for one in node.json("status")["predictive_value"] if one["scanner"] == scanner]
        assert (line["profile"], line["there"], line["not_there"], line["ppv"]) == (profile, 0, 1, None)
    assert "what readers said" in node.run("status").stdout


def test_alerts_are_acknowledged_and_dismissed(node: FilledNode) -> None:
    """An alert moves as its life allows, with who and why; a move that is not allowed is exit code 1."""
    (listed,) = node.json("alerts", "list", "--state", "open")["alerts"]
    _keys(listed, "id", "state", "alert", "created_at", "decided_by", "note")
    _keys(listed["alert"], "headline", "reasons", "category", "incidental", "burden_percent", "series_instance_uid")
    number = str(listed["id"])
    assert "Research use only" in node.run("alerts", "list").stdout
    node.run("alerts", "ack", number, "--who", "reader", "--note", "seen")
    shown = node.json("alerts", "show", number)
    assert (shown["state"], shown["decided_by"], shown["note"]) == ("acknowledged", "reader", "seen")
    assert "reader" in node.run("alerts", "show", number).stdout
    assert node.json("alerts", "list", "--state", "open")["alerts"] == []
    assert node.run("alerts", "ack", number, code=1).stderr.startswith("error: ")
    node.run("alerts", "dismiss", number, "--reason", "known", "--note", "old scars")
    assert node.run("alerts", "dismiss", number, "--reason", "known", code=1).stderr.startswith("error: ")
    assert "alerts list" in node.run("alerts", "show", "99", code=1).stderr


def test_the_command_that_refused_shows_allows(node: FilledNode) -> None:
    """Each refusal comes with the command that would let it in, and that command does."""
    refused = node.json("peers", "refused")["refused"]
    commands = {one["calling_ae_title"]: one["allow"] for one in refused}
    assert commands["CT2"] == "lungsentry peers allow CT2 --address 10.1.2.18"
    assert commands["CT 3"] == "lungsentry peers allow 'CT 3' --address 10.1.2.19 --called OTHER"
    assert commands["CT2"] in node.run("peers", "refused").stdout
    node.run(*commands["CT2"].split()[1:])
    allowed = {(peer["ae_title"], peer["cidr"]) for peer in node.json("peers", "list")["peers"]}
    assert allowed == {("CT1", "10.1.2.0/24"), ("CT2", "10.1.2.18/32")}


def test_peers_are_listed_and_removed(node: FilledNode) -> None:
    """A peer that is removed is gone; one that is not there is exit code 1."""
    assert "10.1.2.17:104" in node.run("peers", "list").stdout
    node.run("peers", "remove", "CT1")
    assert node.json("peers", "list") == {"peers": []}
    assert "peers list" in node.run("peers", "remove", "CT1", code=1).stderr
    assert "peers allow" in node.run("peers", "list").stdout


@pytest.mark.parametrize(
    "words", [["A" * 17], ["BACK\\SLASH"], ["CT9", "--address", "10.1.2.300"], ["CT9", "--port", "99999"]]
)
def test_peers_that_cannot_be_are_usage_errors(node: FilledNode, words: list[str]) -> None:
    """An AE title, address or port that cannot be is exit code 2, and nothing is allowed."""
    node.run("peers", "allow", *words, code=2)
    assert len(node.json("peers", "list")["peers"]) == 1


def test_the_database_is_copied(node: FilledNode, tmp_path: Path) -> None:
    """A backup opens as a database of the same content; an existing file is kept."""
    copy = tmp_path / "copy.tar"
    node.run("db", "backup", str(copy))
    with tarfile.open(copy) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    with Store.open(f"sqlite:///{tmp_path / 'unpacked' / 'database.sqlite3'}") as store:
        assert store.series.get(FLAGGED).state is SeriesState.ANALYSED
    assert "exists" in node.run("db", "backup", str(copy), code=1).stderr
    assert "up to date" in node.run("db", "upgrade").stdout


def test_upgrade_makes_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`db upgrade` makes folder and schema; afterwards the node can be read, and is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LUNGSENTRY_NODE__DATA_DIR", str(tmp_path / "new" / "data"))
    assert CliRunner().invoke(app, ["db", "upgrade"]).exit_code == 0
    listed = CliRunner().invoke(app, ["series", "list", "--json"])
    assert json.loads(listed.stdout) == {"series": []}


def test_a_schema_that_is_out_of_date_says_what_to_run(node: FilledNode) -> None:
    """A database of another version is exit code 1 and names the command."""
    import sqlite3

    with sqlite3.connect(node.url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    connection.close()
    assert "Run `lungsentry db upgrade`" in node.run("status", code=1).stderr


def test_doctor_says_what_to_do(node: FilledNode) -> None:
    """Each check is ok, warn or fail, and whatever is not ok comes with what to do."""
    done = CliRunner().invoke(app, ["--config", str(node.config), "doctor", "--json"])
    report = json.loads(done.stdout)
    assert done.exit_code == (0 if report["ok"] else 1)
    names = {check["name"] for check in report["checks"]}
    assert {"python", "weights", "data folder", "database", "peers", "clock", "codec JPEGLosslessSV1"} <= names
    for check in report["checks"]:
        assert check["level"] in {"ok", "warn", "fail"}
        assert (check["do"] is None) == (check["level"] == "ok")


def test_status_without_a_database_says_what_would_make_one(tmp_path: Path) -> None:
    """Nothing there is exit code 3, as for a peer that does not answer, and the message names the commands."""
    told = CliRunner().invoke(app, ["status"], env={"LUNGSENTRY_NODE__DATA_DIR": str(tmp_path)})
    assert told.exit_code == 3
    assert "lungsentry serve" in told.stderr
    assert "lungsentry db upgrade" in told.stderr


def test_status_shows_what_nobody_may_miss(node: FilledNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commitments by state, an answer that never arrived among the dead letters; a full disk makes it exit code 1."""
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: SimpleNamespace(free=0))
    request = CommitmentRequest(
        transaction_uid="1.2.9",
        calling_ae_title="CT1",
        called_ae_title="LUNGSENTRY",
        address="10.1.2.17",
        references=[("1.2", "1.3")],
    )
    with Store.open(node.url) as store:
        taken = store.commitments.request(request, max_attempts=1, begin=True)
        store.commitments.failed(taken, "nobody listens", transient=True, retry_delay_s=0)
    told = node.run("status", code=1).stdout
    assert "1 failed" in next(line for line in told.splitlines() if line.startswith("commitments"))
    assert "instances are refused" in told
    status = json.loads(node.run("status", "--json", code=1).stdout)
    assert status["commitments"]["failed"] == 1
    assert status["dead_letters"] == 2


def test_deliveries_are_listed_shown_retried_and_cancelled(node: FilledNode) -> None:
    """The one delivery waits: shown, withdrawn, and what cannot be done is a sentence and exit code 1."""
    (listed,) = node.json("deliveries", "list", "--state", "pending", "--destination", "PACS")["deliveries"]
    assert (listed["destination"], listed["state"], listed["artefact"]["kind"]) == ("PACS", "pending", "sr")
    number = str(listed["id"])
    assert node.json("deliveries", "show", number) == {**listed, "attempts": ANY}
    assert "PACS" in node.run("deliveries", "show", number).stdout
    assert "does not allow" in node.run("deliveries", "retry", number, code=1).stderr
    node.run("deliveries", "cancel", number)
    assert node.json("deliveries", "list", "--state", "pending")["deliveries"] == []
    assert "no delivery 99" in node.run("deliveries", "show", "99", code=1).stderr
    assert "no dead letter" in node.run("deliveries", "retry", "--destination", "PACS").stdout
    node.run("deliveries", "retry", code=2)


def test_a_message_is_told_from_an_object_with_each_of_its_attempts(node: FilledNode) -> None:
    """A list says that it is a message and why it goes; what is shown has what came of each attempt."""
    with node.store() as store:
        store.alerts.acknowledge(1, "anna", tell=["Ward"])
        for transient in (True, False):
            later = datetime.now(UTC) + ALONE_AFTER
            taken = store.outbox.claim("Ward", later, 60)
            assert taken is not None
            number = taken.id
            store.outbox.failed(taken, f"451 {transient}", transient=transient)
    (listed,) = node.json("deliveries", "list", "--destination", "Ward")["deliveries"]
    assert (listed["artefact"], listed["alert_id"], listed["occasion"]) == (None, 1, "taken up")
    assert "message, taken up" in " ".join(node.run("deliveries", "list", "--destination", "Ward").stdout.split())
    attempts = node.json("deliveries", "show", str(number))["attempts"]
    assert [(one["event"], one["state"], one["detail"]) for one in attempts if one["detail"]] == [
        ("retry", "pending", "451 True"),
        ("give_up", "failed", "451 False"),
    ]
    assert all(datetime.fromisoformat(one["at"]) for one in attempts)
    told = node.run("deliveries", "show", str(number)).stdout
    assert "a message about alert 1" in told
    assert told.index("451 True") < told.rindex("451 False")


CHANNELS = """
[[destinations]]
channel = "stow"
name = "Stow"
url = "http://127.0.0.1:9/dicom-web"

[[destinations]]
channel = "mail"
name = "Mail"
host = "127.0.0.1"
port = 9
sender = "node@example.org"
to = ["ward@example.org"]

[[destinations]]
channel = "webhook"
name = "Webhook"
url = "http://127.0.0.1:9/hook?token=S3CRET"
secret_file = "{secret}"

[[destinations]]
channel = "hl7"
name = "Hl7"
host = "127.0.0.1"
port = 9

[[destinations]]
channel = "syslog"
name = "Syslog"
host = "127.0.0.1"
port = 9
quiet_hours = "{quiet}"
"""


def test_every_channel_is_listed_and_asked(node: FilledNode, tmp_path: Path) -> None:
    """How each is reached, what it gets and why it waits; that nobody answers is told, and no token."""
    quiet = [f"{datetime.now(UTC) + timedelta(hours=hours):%H:%M}" for hours in (-1, 2)]
    secret = tmp_path / "secret"
    secret.write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    node.config.write_text(
        node.config.read_text().replace("destinations = []", "") + CHANNELS.format(secret=secret, quiet="-".join(quiet))
    )
    listed = node.json("destinations", "list")["destinations"]
    assert [one["channel"] for one in listed] == ["stow", "mail", "webhook", "hl7", "syslog"]
    assert listed[4]["held"] == f"quiet until {quiet[1]}"
    told = node.run("destinations", "list").stdout + node.run("config", "show").stdout + json.dumps(listed)
    assert "S3CRET" not in told
    for one in listed:
        asked = node.run("destinations", "test", one["name"], code=1)
        assert one["name"] in asked.stderr
        assert "Connection refused" in " ".join(asked.stderr.split())


def test_destinations_are_listed_asked_paused_and_resumed(node: FilledNode) -> None:
    """A destination of the settings by its name: what waits for it, who paused it, and that it does not answer."""
    told = node.config.read_text()
    node.config.write_text(
        told.replace("destinations = []", "")
        + '\n[[destinations]]\nname = "Archive"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 9\n'
    )
    (listed,) = node.json("destinations", "list")["destinations"]
    assert (listed["name"], listed["channel"], listed["ae_title"], listed["paused"]) == (
        "Archive",
        "dicom",
        "PACS",
        None,
    )
    node.run("destinations", "pause", "Archive", "--reason", "update")
    assert node.json("destinations", "list")["destinations"][0]["paused"]["reason"] == "update"
    assert "paused already" in node.run("destinations", "pause", "Archive").stdout
    node.run("destinations", "resume", "Archive")
    assert node.json("destinations", "list")["destinations"][0]["paused"] is None
    assert "Nothing answers as PACS" in node.run("destinations", "test", "Archive", code=1).stderr
    assert "no destination PACS" in node.run("destinations", "pause", "PACS", code=1).stderr
