"""No sweep, job or command reads a table that grows from end to end: the plans of the statements they really make."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import node_harness as harness
import pytest
from query_plans import recorded, scans
from stand_in_servers import Servers
from store_bench import DATABASES, NO_LUNG, STUDY, Bench, instance, opened
from typer.testing import CliRunner
from web_client import add_user, browser_on, services_for

from analysis.pipeline import ExcludedSeries
from analysis.series import Series
from db import CommitmentRequest, UserRole
from dicom_node.cli import app
from dicom_node.composition import node_sweeps, worker_with
from dicom_node.metrics.standing import Standing
from dicom_node.settings import Database, DicomDestination, MailDestination, Settings, document
from dicom_node.sweeps import Sweeps

ANALYSED = f"{STUDY}.1"
COMMANDS = (
    "status",
    "alerts list",
    "alerts list --state open --sort pressing --profile chest_ct",
    "alerts list --sort pressing",
    "alerts list --state open --state dismissed --find ACC",
    "alerts list --state escalated --state notified",
    "alerts list --sort burden --offset 50",
    "alerts show 1",
    "alerts why 1",
    "alerts feedback 1",
    "policy test --since 7d",
    "models show shipped",
    "series list",
    "series list --state analysed --state failed",
    f"series show {ANALYSED}",
    "series show .1",
    f"series list --study {STUDY}",
    f"why {ANALYSED}",
    "studies list",
    "studies list --since 7d",
    f"studies show {STUDY}",
    "jobs list",
    "jobs list --state failed",
    "jobs list --state queued --state running",
    "jobs show 1",
    "deliveries list",
    "deliveries show 1",
    "destinations list",
    "commitments list",
    "commitments list --state failed",
    "peers refused",
    "requeue --not-model-version 9.9 --dry-run",
    "requeue --not-model-version test@9.9 --dry-run",
    "requeue --model-version 9.9 --dry-run",
    "requeue --failed --dry-run",
    "requeue --since 1d --dry-run",
    "requeue --patient PAT-4711 --dry-run",
    f"requeue --study {STUDY} --dry-run",
)
PAGES = (
    "/",
    "/?state=all&sort=burden&turned=yes&page=2",
    "/?state=all&sort=due",
    "/?sort=due",
    "/?sort=raised",
    "/?sort=received",
    "/?state=taken&kind=ctac&category=1&incidental=yes&quality=limited&days=7&scanner=CT1",
    "/alerts/1",
    "/alerts/1/preview",
    "/patients/1",
    "/series",
    "/series?state=analysed",
    f"/series/{ANALYSED}",
    f"/s/{STUDY}",
    "/a/ACC-1",
    "/node",
    "/models",
    "/models.csv",
    "/users",
    "/me",
    "/audit",
    "/audit?who=anna&action=signed+in&before=99",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A store with series of every fate, and settings that name it."""

    bench: Bench
    settings: Settings
    config: Path


@pytest.fixture(params=DATABASES)
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Node]:
    """The node on each database."""
    with opened(request.param, tmp_path) as bench:
        for study, date in (("1.2.2", "20250302"), (STUDY, "20260302")):  # an examination, and an earlier one
            dated = {"slice_position_mm": 5.0, "study_date": date}
            bench.store.intake.record_instance(instance(series=f"{study}.7", study_instance_uid=study, header=dated))
        bench.record(bench.running(ANALYSED), tell=("WARD",))
        bench.analysed(f"{STUDY}.2", alert=False)
        bench.store.jobs.fail(bench.running(f"{STUDY}.3"), "UndecodablePixels", transient=False)
        bench.store.intake.exclude(f"{STUDY}.4", bench.complete(f"{STUDY}.4"), NO_LUNG)
        bench.queued(f"{STUDY}.5")
        bench.complete(f"{STUDY}.6")
        bench.store.peers.record_refusal("CT2", "LUNGSENTRY", "10.1.2.18", "not known")
        bench.store.commitments.request(
            CommitmentRequest(
                transaction_uid="2.1",
                calling_ae_title="CT1",
                called_ae_title="LUNGSENTRY",
                address="10.1.2.17",
                references=(("1.2", "1.2.3.1.1"),),
            ),
            max_attempts=3,
            begin=False,
        )
        settings = harness.quick_settings(tmp_path / "node")
        retention = settings.retention.model_copy(
            update={"analysed_days": 1.0, "excluded_days": 1.0, "failed_days": 1.0}
        )
        (tmp_path / "url").write_text(bench.url)
        database = Database(url_file=tmp_path / "url")
        ward = MailDestination(
            name="WARD", host="127.0.0.1", sender="node@example.org", to=("ward@example.org",), after="flagged"
        )
        pacs = DicomDestination(name="P", ae_title="P", host="127.0.0.1", port=104)
        settings = settings.model_copy(
            update={"database": database, "retention": retention, "destinations": (pacs, ward)}
        )
        settings.archive_dir.mkdir(parents=True, exist_ok=True)
        config = tmp_path / "lungsentry.toml"
        config.write_text(document(settings))
        yield Node(bench=bench, settings=settings, config=config)


def test_no_sweep_scans_a_growing_table(node: Node) -> None:
    """Every sweep of a node, ticked as the scheduler ticks it, when all is fresh and when all is old."""
    servers = Servers()
    sweeps = node_sweeps(node.settings, node.bench.store, {"P": servers, "WARD": servers})
    runner = Sweeps(sweeps, leads=node.bench.store.leads)
    with recorded() as statements:
        for _ in range(2):
            for sweep in sweeps:
                runner.tick(sweep)
                runner.wait()
            node.bench.clock.advance(timedelta(days=400).total_seconds())
    assert len(statements) > 30
    assert set(servers.came) == {"object", "letter"}
    assert scans(node.bench.url, statements) == []


def test_no_job_scans_a_growing_table(node: Node, tmp_path: Path) -> None:
    """A claim, what a worker reads and writes until its series is excluded, a result, and the wait for the next."""
    store = node.bench.store

    def analyse(_series: Series, _progress: object) -> ExcludedSeries:
        return ExcludedSeries(screening=NO_LUNG, seconds={})

    with recorded() as statements:
        harness.queue(node.settings, store, harness.write_ct(tmp_path / "ct"))
        worker = worker_with(settings=node.settings, store=store, analyse=analyse, name="w")
        job = store.jobs.claim("w", 60)
        while job is not None:
            store.jobs.heartbeat(job.id, "w", 60)
            if job.series_instance_uid.startswith(STUDY):
                store.results.earlier(job.series_instance_uid)
                node.bench.record(job)
            else:
                worker.run_job(job, threading.Event())
            job = store.jobs.claim("w", 60)
        store.jobs.release_lapsed()
    assert len(statements) > 20
    assert any(".study_date <" in one for one in statements), "earlier examinations were asked for"
    assert scans(node.bench.url, statements) == []


def test_no_command_scans_a_growing_table(node: Node) -> None:
    """What people look at again and again."""
    found: dict[str, list[str]] = {}
    for command in COMMANDS:
        with recorded() as statements:
            done = CliRunner().invoke(app, ["--config", str(node.config), *command.split()])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert statements, (command, done.output)
        found[command] = scans(node.bench.url, statements)
    assert {command: read for command, read in found.items() if read} == {}


def test_no_page_scans_a_growing_table(node: Node, tmp_path: Path) -> None:
    """What stands in a browser, with each filter and a search for each kind of text."""
    add_user(node.bench.store, "anna", list(UserRole))
    browser = browser_on(services_for(node.bench.store, tmp_path))
    browser.sign_in("anna")
    asked = [{"list": to, "q": text, "state": ""} for to in ("/", "/series") for text in ("PAT", "=ACC", STUDY, "0.1")]
    searches = [browser.post("/search", one).headers["location"] for one in asked]
    found: dict[str, list[str]] = {}
    for address in (*PAGES, *searches):
        with recorded() as statements:
            assert browser.get(address).status_code in {200, 303, 404}, address
        assert statements, address
        found[address] = scans(node.bench.url, statements)
    assert {address: read for address, read in found.items() if read} == {}


def test_no_scrape_scans_a_growing_table(node: Node) -> None:
    """What a monitor asks for every few seconds."""
    with recorded() as statements:
        told = {family.name for family in Standing(node.bench.url).collect()}
    assert {"lungsentry_jobs", "lungsentry_jobs_queued", "lungsentry_deliveries_unsent"} <= told
    assert scans(node.bench.url, statements) == []
