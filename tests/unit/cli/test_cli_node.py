"""Reading and steering a node from the command line: against a store with series of every fate."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from alerts import AlertPolicy, Delivery, ProfileThresholds, RequestContext, evaluate
from alerts.reports import WrittenReport
from analysis.findings import Findings, KeySlice, Profile, Provenance, Quality, QualityLevel, RegionFindings
from analysis.series import Outcome, RuleResult, Screening
from db import JobState, Peer, ReceivedInstance, SeriesState, Store, upgrade
from dicom_node.cli import app
from dicom_node.settings import Node, Settings, document

PATIENT = "PAT-4711"
STUDY, OTHER_STUDY = "1.2.3.100", "1.2.3.200"
FLAGGED, EXCLUDED, FAILED, RECEIVING = "1.2.3.100.11", "1.2.3.100.12", "1.2.3.100.13", "1.2.3.200.21"
ELIGIBLE = Screening(
    results=(RuleResult(rule="extent", value="300 mm", expected="at least 100 mm", outcome=Outcome.PASSED),),
    profile=Profile.CTAC,
    profile_cues=("kernel B19f",),
)
LOCALIZER = Screening(
    results=(RuleResult(rule="image type", value="LOCALIZER", expected="no localizer", outcome=Outcome.EXCLUDED),),
    profile=None,
)


def _received(series: str, study: str) -> ReceivedInstance:
    return ReceivedInstance(
        sop_instance_uid=f"{series}.1",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        study_instance_uid=study,
        series_instance_uid=series,
        patient_id=PATIENT,
        modality="CT",
        path=f"{series}/1.dcm",
        size_bytes=100,
        sha256=hashlib.sha256(series.encode()).hexdigest(),
        calling_ae_title="CT1",
        called_ae_title="LUNGSENTRY",
        address="10.1.2.17",
        association_id=None,
        received_at=datetime.now(UTC),
        header={
            "slice_position_mm": 1.0,
            "series_description": "AC CT 5.0",
            "study_description": "PET/CT WHOLE BODY",
            "study_date": "20260131",
            "accession_number": "ACC-1",
        },
    )


def _findings(series: str, revision: int, version: str = "1.0") -> Findings:
    region = RegionFindings(
        lung_volume_ml=4000, ggo_volume_ml=300, high_opacity_volume_ml=100, high_density_volume_ml=90
    )
    return Findings(
        study_instance_uid=STUDY,
        series_instance_uid=series,
        revision=revision,
        profile=Profile.CTAC,
        profile_cues=("kernel B19f",),
        slice_count=60,
        both_lungs=region,
        right_lung=region,
        left_lung=region,
        lobes={},
        lss=None,
        lhos=None,
        lesion_count=3,
        lesion_mean_hu=-500.0,
        lesion_sd_hu=120.0,
        key_slices=(
            KeySlice(
                sop_instance_uid=f"{series}.1",
                frame_number=None,
                slice_index=30,
                position_mm=150.0,
                ggo_area_mm2=900.0,
                high_opacity_area_mm2=100.0,
            ),
        ),
        quality=Quality(level=QualityLevel.LIMITED, reasons=("no inspiration scan",)),
        provenance=Provenance(
            model_name="test",
            model_version=version,
            weights_sha256="0" * 64,
            thresholds={"ggo": 0.5},
            runtime="numpy",
            device="cpu",
            software_version="0",
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    config: Path
    url: str

    def run(self, *words: str, code: int = 0) -> Any:
        """Run a command that ends with ``code``; never a traceback, never the patient."""
        done = CliRunner().invoke(app, ["--config", str(self.config), *words])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert done.exit_code == code, done.output
        return done

    def json(self, *words: str, code: int = 0) -> Any:
        """What a command prints as JSON."""
        return json.loads(self.run(*words, "--json", code=code).stdout)

    def store(self) -> Store:
        """The store behind the command."""
        return Store.open(self.url)


def _complete(store: Store, series: str, study: str) -> int:
    recorded = store.intake.record_instance(_received(series, study))
    store.intake.mark_complete(series, recorded.revision, "in a test")
    return recorded.revision


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Node:
    """A node with a flagged, an excluded, a failed and a receiving series, a peer and a refusal."""
    for name in list(os.environ):
        if name.startswith("LUNGSENTRY_"):
            monkeypatch.delenv(name)
    settings = Settings.model_construct(node=Node(data_dir=tmp_path / "data"))
    settings.node.data_dir.mkdir()
    config = tmp_path / "lungsentry.toml"
    config.write_text(document(settings))
    upgrade(settings.database_url)
    with Store.open(settings.database_url) as store:
        for series in (FLAGGED, FAILED):
            store.jobs.enqueue(series, _complete(store, series, STUDY), ELIGIBLE, 3)
            job = store.jobs.claim("worker-1", 60)
            assert job is not None
            if series == FAILED:
                store.jobs.fail(job, "UndecodablePixels: truncated", transient=False, retry_delay_s=1)
            else:
                _record(store, job, series)
        store.intake.exclude(EXCLUDED, _complete(store, EXCLUDED, STUDY), LOCALIZER, LOCALIZER.reason or "")
        store.intake.record_instance(_received(RECEIVING, OTHER_STUDY))
        store.peers.allow(Peer(ae_title="CT1", called_ae_title=None, cidr="10.1.2.0/24", host="10.1.2.17", port=104))
        store.peers.record_refusal("CT2", "LUNGSENTRY", "10.1.2.18", "the calling AE title is not known")
        store.peers.record_refusal("CT 3", "OTHER", "10.1.2.19", "the called AE title is not this node's")
    return _Node(config=config, url=settings.database_url)


def _record(store: Store, job: Any, series: str) -> None:
    findings = _findings(series, job.revision)
    thresholds = ProfileThresholds(burden_percent=1, lesion_volume_ml=5)
    policy = AlertPolicy(thresholds=dict.fromkeys(Profile, thresholds), expected_words=("covid",))
    uid = f"{series}.9"
    store.results.record(
        job,
        "worker-1",
        findings=findings,
        screening=ELIGIBLE,
        decision=evaluate(findings, RequestContext(), policy),
        report=WrittenReport(
            sop_instance_uid=uid,
            sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
            path=Path("aa/report.dcm"),
            sha256="0" * 64,
        ),
        report_path="aa/report.dcm",
        pictures=("aa/slice-1.png",),
        deliveries=(
            Delivery(
                kind="sr",
                destination="PACS",
                path="aa/report.dcm",
                sop_instance_uid=uid,
                sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
            ),
        ),
        seconds={"model": 1.0},
    )


def _keys(value: Mapping[str, Any], *names: str) -> None:
    assert set(names) <= set(value), set(names) - set(value)


def test_status_counts_every_fate(node: _Node) -> None:
    """Status counts series, jobs and alerts by state, and the dead letters."""
    status = node.json("status")
    assert status["series"]["analysed"] == status["series"]["excluded"] == status["series"]["failed"] == 1
    assert status["dead_letters"] == 1
    assert status["alerts"]["open"] == 1
    assert status["last_received_at"].endswith("Z")
    assert "dead letters" in node.run("status").stdout


def test_studies_never_name_the_patient_unless_asked(node: _Node) -> None:
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


def test_series_are_listed_by_state(node: _Node) -> None:
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


def test_a_series_is_shown_with_result_and_events(node: _Node) -> None:
    """The newest result and everything that happened, in JSON and for people."""
    shown = node.json("series", "show", "100.11")
    assert shown["series"]["state"] == "analysed"
    assert shown["result"]["findings"]["both_lungs"]["ggo_volume_ml"] == 300
    assert shown["events"]
    _keys(shown["events"][0], "at", "event", "from_state", "to_state", "actor", "detail")
    people = node.run("series", "show", "100.11").stdout
    assert "10.00" in people
    assert "Research use only. Not a medical device." in people


def test_why_shows_every_rule(node: _Node) -> None:
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


def test_uids_that_fit_many_or_none_are_refused(node: _Node) -> None:
    """An ambiguous UID and an unknown one are exit code 1, with what to do."""
    assert "give more of it" in node.run("why", "1.2.3", code=1).stderr
    assert "series list" in node.run("series", "show", "9.9.9", code=1).stderr
    assert "studies list" in node.run("studies", "show", "9.9.9", code=1).stderr


def test_requeue_refuses_what_makes_no_sense(node: _Node) -> None:
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


def test_requeue_runs_again(node: _Node) -> None:
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
def test_requeue_filters(node: _Node, words: list[str], expected: set[str]) -> None:
    """Each filter chooses the series that it names."""
    planned = node.json("requeue", *words, "--dry-run", code=0 if expected else 1)
    assert {one["series_instance_uid"] for one in planned["series"]} == expected


@pytest.mark.parametrize("words", [[], ["--since", "yesterday"]])
def test_requeue_wants_to_know_which(node: _Node, words: list[str]) -> None:
    """No filter at all, or a time that is none, is a usage error."""
    assert node.run("requeue", *words, code=2).stderr.startswith("error: ")


def test_jobs_are_listed_shown_and_cancelled(node: _Node) -> None:
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


def test_alerts_are_acknowledged_and_dismissed(node: _Node) -> None:
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
    node.run("alerts", "dismiss", number, "--note", "known")
    assert node.run("alerts", "dismiss", number, code=1).stderr.startswith("error: ")
    assert "alerts list" in node.run("alerts", "show", "99", code=1).stderr


def test_the_command_that_refused_shows_allows(node: _Node) -> None:
    """Each refusal comes with the command that would let it in, and that command does."""
    refused = node.json("peers", "refused")["refused"]
    commands = {one["calling_ae_title"]: one["allow"] for one in refused}
    assert commands["CT2"] == "lungsentry peers allow CT2 --address 10.1.2.18"
    assert commands["CT 3"] == "lungsentry peers allow 'CT 3' --address 10.1.2.19 --called OTHER"
    assert commands["CT2"] in node.run("peers", "refused").stdout
    node.run(*commands["CT2"].split()[1:])
    allowed = {(peer["ae_title"], peer["cidr"]) for peer in node.json("peers", "list")["peers"]}
    assert allowed == {("CT1", "10.1.2.0/24"), ("CT2", "10.1.2.18/32")}


def test_peers_are_listed_and_removed(node: _Node) -> None:
    """A peer that is removed is gone; one that is not there is exit code 1."""
    assert "10.1.2.17:104" in node.run("peers", "list").stdout
    node.run("peers", "remove", "CT1")
    assert node.json("peers", "list") == {"peers": []}
    assert "peers list" in node.run("peers", "remove", "CT1", code=1).stderr
    assert "peers allow" in node.run("peers", "list").stdout


@pytest.mark.parametrize(
    "words", [["A" * 17], ["BACK\\SLASH"], ["CT9", "--address", "10.1.2.300"], ["CT9", "--port", "99999"]]
)
def test_peers_that_cannot_be_are_usage_errors(node: _Node, words: list[str]) -> None:
    """An AE title, address or port that cannot be is exit code 2, and nothing is allowed."""
    node.run("peers", "allow", *words, code=2)
    assert len(node.json("peers", "list")["peers"]) == 1


def test_the_database_is_copied(node: _Node, tmp_path: Path) -> None:
    """A backup opens as a database of the same content; an existing file is kept."""
    copy = tmp_path / "copy.sqlite3"
    node.run("db", "backup", str(copy))
    with Store.open(f"sqlite:///{copy}") as store:
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


def test_a_schema_that_is_out_of_date_says_what_to_run(node: _Node) -> None:
    """A database of another version is exit code 1 and names the command."""
    import sqlite3  # noqa: PLC0415

    with sqlite3.connect(node.url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'older'")
    connection.close()
    assert "Run `lungsentry db upgrade`" in node.run("status", code=1).stderr


def test_doctor_says_what_to_do(node: _Node) -> None:
    """Each check is ok, warn or fail, and whatever is not ok comes with what to do."""
    done = CliRunner().invoke(app, ["--config", str(node.config), "doctor", "--json"])
    report = json.loads(done.stdout)
    assert done.exit_code == (0 if report["ok"] else 1)
    names = {check["name"] for check in report["checks"]}
    assert {"python", "weights", "data folder", "database", "peers", "clock", "codec JPEGLosslessSV1"} <= names
    for check in report["checks"]:
        assert check["level"] in {"ok", "warn", "fail"}
        assert (check["do"] is None) == (check["level"] == "ok")
