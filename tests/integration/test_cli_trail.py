"""What is decided, revealed or set by a command stands in the audit trail, as what is done in the browser does."""

from pathlib import Path

import pytest
from filled_store import FAILED, FLAGGED, STUDY, FilledNode, filled_node
from store_bench import PATIENT

from analysis.model.registry import Registry
from db import UserRole
from dicom_node.cli.options import this_user

SHIPPED = Registry(directory=Path()).find("shipped").reference
DONE = (
    (("alerts", "feedback", "1", "--verdict", "there"), ("judged", "alert 1", "there")),
    (("alerts", "ack", "1", "--who", "rita"), ("taken up", "alert 1", "for rita")),
    (("alerts", "dismiss", "1", "--reason", "known"), ("dismissed", "alert 1", "")),
    (("alerts", "pass", "1", "--to", "rita"), ("passed on", "alert 1", "to rita")),
    (("requeue", "--series", FAILED), ("run again", f"series {FAILED}", "")),
    (("requeue", "--patient", PATIENT, "--failed"), ("run again", f"series {FAILED}", "")),
    (("deliveries", "cancel", "1"), ("delivery cancelled", "delivery 1", "")),
    (("peers", "allow", "CT9", "--address", "10.1.2.9"), ("peer allowed", "CT9", "from 10.1.2.9/32")),
    (("peers", "remove", "CT1"), ("peer removed", "CT1", "")),
    (("studies", "show", STUDY, "--show-patient"), ("revealed", f"study {STUDY}", "")),
    (("models", "activate", "shipped", "--profile", "ctac"), ("model activated", SHIPPED, "for ctac")),
    (("audit", "export"), ("audit exported", "", "")),
    (("users", "disable", "rita"), ("user disabled", "rita", "")),
    (("users", "enable", "rita"), ("user enabled", "rita", "")),
    (("users", "roles", "rita", "--role", "auditor"), ("roles set", "rita", "auditor")),
    (("users", "link", "rita"), ("link made", "rita", "")),
    (("users", "add", "anna", "--role", "reader"), ("user added", "anna", "reader")),
)


@pytest.fixture
def node(tmp_path: Path) -> FilledNode:
    """A node with a flagged series, a dead job and a delivery; Ada administers it, Rita reads."""
    made = filled_node(tmp_path)
    with made.store() as store:
        store.users.add("ada", {UserRole.ADMINISTRATOR})
        store.users.add("rita", {UserRole.READER})
    return made


def _trail(node: FilledNode) -> list[tuple[str, str, str, str]]:
    with node.store() as store:
        return [(one.who, one.action, one.subject, one.detail) for one in reversed(store.audit.list())]


@pytest.mark.parametrize(("words", "row"), DONE, ids=[" ".join(words[:2]) for words, _ in DONE])
def test_a_command_writes_one_row(node: FilledNode, words: tuple[str, ...], row: tuple[str, str, str]) -> None:
    """Who typed it, what it did and to what; never who the patient is."""
    node.run(*words)
    assert _trail(node) == [(f"{this_user()} (command)", *row)]
    assert PATIENT not in "".join(row)


def test_looking_writes_none(node: FilledNode) -> None:
    """Lists, a study without its patient, and a requeue that is only tried are nobody's decision."""
    for words in (("alerts", "list"), ("alerts", "show", "1"), ("studies", "show", STUDY), ("audit", "list")):
        node.run(*words)
    node.run("requeue", "--series", FAILED, "--dry-run")
    assert _trail(node) == []


def test_what_cannot_be_decided_any_more_stands_as_refused(node: FilledNode) -> None:
    """Of two who take a case up, one does; that the other tried is on the record."""
    node.run("alerts", "ack", "1", "--who", "rita")
    node.run("alerts", "ack", "1", code=1)
    assert [row[1:] for row in _trail(node)] == [
        ("taken up", "alert 1", "for rita"),
        ("refused", "alert 1", "taken up"),
    ]


def test_what_an_administrator_may_not_do_stands_as_refused(node: FilledNode) -> None:
    """The last administrator stays one; the trail does not say that he went."""
    node.run("users", "disable", "ada", code=1)
    assert [row[1:] for row in _trail(node)] == [("refused", "ada", "user disabled")]


def test_a_case_is_passed_to_a_reader_of_the_node(node: FilledNode) -> None:
    """Where the node has readers, a name that is none of theirs is refused, and the alert stays where it is."""
    assert "rita" in node.run("alerts", "pass", "1", "--to", "nobody", code=2).stderr
    with node.store() as store:
        alert = store.alerts.get(1)
        assert alert is not None
        assert (alert.series_instance_uid, alert.passed_to) == (FLAGGED, None)
        store.users.set_enabled("rita", enabled=False)
    node.run("alerts", "pass", "1", "--to", "dr.miller")
