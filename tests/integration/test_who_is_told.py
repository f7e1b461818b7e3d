"""Who is told of a flagged examination, and when: the node's own worker, sweeps and settings, and stand-in servers."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import node_harness as harness
import pytest
from outbound_program import stand_in_analysis
from stand_in_servers import Servers
from store_bench import STUDY, Bench, Clock, new_database
from typer.testing import CliRunner
from web_client import add_user, browser_on

from alerts import TIME_ALLOWED, Category, Occasion
from db import JobState, Store, UserRole
from dicom_node.cli.app import app
from dicom_node.composition import node_sweeps, worker_with
from dicom_node.settings import Database, DicomDestination, MailDestination, Node, Settings, Web
from dicom_node.sweeps import Sweeps
from dicom_node.web import Services

PACS = DicomDestination(name="PACS", ae_title="PACS", host="127.0.0.1", port=104)


@dataclass(kw_only=True)
class _NodeUnderTest:
    settings: Settings
    bench: Bench
    servers: Servers = field(default_factory=Servers)

    @property
    def store(self) -> Store:
        return self.bench.store

    def tick(self, *names: str) -> None:
        """The node looks at these, one after another, each to its end."""
        sweeps = node_sweeps(self.settings, self.store, {"PACS": self.servers, "WARD": self.servers})
        runner = Sweeps(sweeps, leads=lambda: True)
        for sweep in sorted((one for one in sweeps if one.name in names), key=lambda one: names.index(one.name)):
            runner.tick(sweep)
            runner.wait()

    def flag(self, number: int, category: Category = Category.CATEGORY_2) -> None:
        """A study is flagged, as a worker records it."""
        running = self.bench.running(f"{STUDY}.{number}", study=f"{STUDY}.100.{number}")
        self.bench.record(running, destinations="", tell=self.settings.told("flagged"), category=category)


@contextmanager
def _node(
    folder: Path, *destinations: MailDestination | DicomDestination, behind: timedelta = timedelta(0)
) -> Iterator[_NodeUnderTest]:
    """The store's clock stands still, and may be behind the machine's, which the sweeps go by."""
    settings = Settings(
        node=Node(data_dir=folder),
        database=Database(url=new_database("sqlite", folder)),
        destinations=destinations,
        web=Web(port=0),
    )
    clock = Clock(now=datetime.now(UTC) - behind)
    with Store.open(settings.database_url, clock=clock) as store:
        yield _NodeUnderTest(settings=settings, bench=Bench(store=store, url=settings.database_url, clock=clock))


def _ward(**other: object) -> MailDestination:
    given = {"name": "WARD", "host": "127.0.0.1", "sender": "node@example.org", "to": ("ward@example.org",)}
    return MailDestination.model_validate(given | other)


def test_a_worker_has_the_ward_told_once_and_after_the_pacs(tmp_path: Path) -> None:
    """A series that is analysed and flagged: all its objects, then one letter; of a second look nobody hears."""
    with _node(tmp_path, _ward(after="flagged"), PACS) as node:
        (tmp_path / "software").write_text("1.0.0")
        harness.queue(node.settings, node.store, harness.write_ct(tmp_path / "ct"))
        worker = worker_with(node.settings, node.store, lambda series, _tell: stand_in_analysis(node.settings, series))
        assert harness.run_due_job(node.store, worker).state is JobState.SUCCEEDED
        for _ in range(9):
            node.tick("deliveries")
        assert node.servers.came.count("object") >= 2
        assert node.servers.came == ["object"] * (len(node.servers.came) - 1) + ["letter"]
        assert node.servers.occasions == [Occasion.FLAGGED]


def _by_browser(node: _NodeUnderTest) -> None:
    add_user(node.store, "anna", [UserRole.READER])
    browser = browser_on(Services.of(node.settings, node.store, {}, threading.Event()))
    browser.sign_in("anna")
    browser.get("/alerts/1")
    assert browser.post("/alerts/1/open").status_code < 400
    assert browser.post("/alerts/1/take-up").status_code == 303


def _by_command(node: _NodeUnderTest) -> None:
    file = node.settings.node.data_dir / "lungsentry.toml"
    ward = node.settings.destinations[0].model_dump(mode="json", exclude_unset=True) | {"channel": "mail"}
    lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in ward.items())
    told = f'[node]\ndata_dir = "{node.settings.node.data_dir}"\n[database]\nurl = "{node.settings.database_url}"\n'
    file.write_text(f"{told}[[destinations]]\n{lines}\n")
    result = CliRunner().invoke(app, ["--config", str(file), "alerts", "ack", "1", "--who", "anna"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("take_up", [_by_browser, _by_command])
def test_whoever_wants_to_hear_of_what_was_taken_up_does(tmp_path: Path, take_up) -> None:
    """What a mail is for by default: nothing when it is flagged, one message when a reader takes it up."""
    with _node(tmp_path, _ward()) as node:
        node.flag(1)
        node.tick("deliveries")
        assert node.servers.letters == []
        take_up(node)
        for _ in range(2):
            node.tick("deliveries")
        assert node.servers.occasions == [Occasion.TAKEN_UP]


def test_what_nobody_looked_at_is_told_again(tmp_path: Path) -> None:
    """The node's own sweep escalates when the time of the category is over, and whoever was told is told once more."""
    with _node(tmp_path, _ward(after="flagged"), behind=timedelta(hours=6)) as node:
        node.flag(1)
        node.tick("escalation", "deliveries")
        assert node.servers.occasions == [Occasion.FLAGGED]
        node.bench.clock.advance((TIME_ALLOWED[Category.CATEGORY_2] + timedelta(seconds=1)).total_seconds())
        for _ in range(2):
            node.tick("escalation", "deliveries")
        assert node.servers.occasions == [Occasion.FLAGGED, Occasion.ESCALATED]


def test_quiet_hours_let_through_what_presses_alone(tmp_path: Path) -> None:
    """It is quiet now: category 1 goes by itself, category 2 waits; when the hours are over it goes."""
    now = datetime.now(UTC)
    hours = f"{now - timedelta(hours=2):%H:%M}-{now + timedelta(hours=2):%H:%M}"
    with _node(tmp_path, _ward(after="flagged", quiet_hours=hours)) as node:
        node.flag(1)
        node.flag(2, Category.CATEGORY_1)
        for _ in range(2):
            node.tick("deliveries")
        assert [[one.alert.category for one in letter] for letter in node.servers.letters] == [[Category.CATEGORY_1]]
        node.settings = node.settings.model_copy(update={"destinations": (_ward(after="flagged"),)})
        node.tick("deliveries")
        assert [one.alert.category for one in node.servers.letters[-1]] == [Category.CATEGORY_2]


def test_a_digest_gathers_what_has_waited_long_enough(tmp_path: Path) -> None:
    """The first of three opens the letter when it has waited as long as the digest says, and takes the others along."""
    with _node(tmp_path, _ward(after="flagged", digest_minutes=60)) as node:
        node.bench.clock.now = datetime.now(UTC) - timedelta(minutes=40)
        node.flag(1)
        node.flag(2)
        node.tick("deliveries")
        assert node.servers.letters == []
        node.bench.clock.now = datetime.now(UTC) - timedelta(minutes=90)
        node.flag(3)
        for _ in range(2):
            node.tick("deliveries")
        assert [len(letter) for letter in node.servers.letters] == [3]
