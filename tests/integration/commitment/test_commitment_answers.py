"""Storage commitment: what is asked, and what is answered on the same association."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from commitment_peers import CT, PET, SCANNER, Line, action, asking, confirmation
from typer.testing import CliRunner

from db import CommitmentState, Store
from dicom_node.cli.app import app
from dicom_node.commitment import CommitmentService, judge
from dicom_node.commitment.messages import PUSH_MODEL_INSTANCE
from dicom_node.network.protocol import Message
from dicom_node.settings import Settings
from dicom_node.storage.archive import Archive

pytestmark = [
    pytest.mark.usefixtures("dropped_sockets"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_only_what_is_durable_is_confirmed(store: Store, archive: Archive, keep: Callable[..., Path]) -> None:
    """Whole: safe. Never seen, of another class, altered on disk, or gone from disk: not safe, each with its reason."""
    keep("1.2.1", b"a" * 64)
    keep("1.2.2", b"b" * 64).write_bytes(b"altered")
    keep("1.2.3", b"c" * 64).unlink()
    references = [(CT, "1.2.1"), (CT, "1.2.404"), (PET, "1.2.1"), (CT, "1.2.2"), (CT, "1.2.3")]

    judgement = judge(store, archive, references)

    assert judgement.committed == ((CT, "1.2.1"),)
    assert dict(judgement.failed) == {
        (CT, "1.2.404"): 0x0112,
        (PET, "1.2.1"): 0x0119,
        (CT, "1.2.2"): 0x0110,
        (CT, "1.2.3"): 0x0110,
    }


def test_instance_is_read_once_and_in_parts(
    store: Store, archive: Archive, keep: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named thirty times and as large as 64 MiB: one reading, a few MiB of memory."""
    keep("1.2.1", bytes(64 << 20))
    read: list[object] = []
    digest = Archive.digest
    monkeypatch.setattr(Archive, "digest", lambda self, path: (read.append(path), digest(self, path))[1])
    tracemalloc.start()

    judgement = judge(store, archive, [(CT, "1.2.1")] * 30)

    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
    assert len(read) == 1
    assert set(judgement.committed) == {(CT, "1.2.1")}


def test_the_newest_version_is_judged(store: Store, archive: Archive, keep: Callable[..., Path]) -> None:
    """Sent twice with other bytes: that the first is whole does not make the second safe."""
    keep("1.2.1", b"a" * 64)
    keep("1.2.1", b"b" * 64).unlink()
    assert not judge(store, archive, [(CT, "1.2.1")]).committed


def test_answer_on_the_same_association(service: CommitmentService, store: Store, keep: Callable[..., Path]) -> None:
    """The response comes first, then the report with what is safe and what is not; confirmed, it is over."""
    keep("1.2.1", b"a" * 64)
    line = Line()

    service.serve(SCANNER, action(asking((CT, "1.2.1"), (CT, "1.2.404"))), line.send)
    (response, _), (report, information) = line.heard
    service.serve(SCANNER, confirmation(report.MessageID), line.send)
    service.ended(SCANNER)

    assert (response.CommandField, response.Status, response.MessageIDBeingRespondedTo) == (0x8130, 0, 7)
    assert (report.CommandField, report.EventTypeID, report.AffectedSOPInstanceUID) == (0x0100, 2, PUSH_MODEL_INSTANCE)
    assert information.TransactionUID == "1.2.9"
    assert [item.ReferencedSOPInstanceUID for item in information.ReferencedSOPSequence] == ["1.2.1"]
    (failed,) = information.FailedSOPSequence
    assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == ("1.2.404", 0x0112)
    (kept,) = store.commitments.list()
    assert (kept.state, kept.committed_count, kept.failed_count) == (CommitmentState.ANSWERED, 1, 1)


def test_all_safe_is_event_one_and_a_long_answer_is_fragmented(
    service: CommitmentService, keep: Callable[..., Path]
) -> None:
    """Two hundred instances, all safe: event type 1, no failed sequence, in PDUs that every peer takes."""
    uids = [f"1.2.3.{number}" for number in range(200)]
    for uid in uids:
        keep(uid, uid.encode())
    line = Line()

    service.serve(SCANNER, action(asking(*((CT, uid) for uid in uids))), line.send)

    report, information = line.heard[1]
    assert report.EventTypeID == 1
    assert [item.ReferencedSOPInstanceUID for item in information.ReferencedSOPSequence] == uids
    assert "FailedSOPSequence" not in information


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (action(asking((CT, "1.2")), kind=2), 0x0123),
        (action(asking((CT, "1.2")), instance="1.2.3"), 0x0112),
        (action(asking((CT, "1.2"), transaction=None)), 0x0115),
        (action(asking()), 0x0115),
        (action(asking((CT, ""))), 0x0115),
        (action(b"\x08\x00garbage"), 0x0115),
        (action(b""), 0x0115),
    ],
)
def test_what_is_no_request_is_refused(
    service: CommitmentService, store: Store, request_: Message, status: int
) -> None:
    """Another action or object, no transaction, no references, an impossible UID, garbage: a status, and no row."""
    line = Line()
    service.serve(SCANNER, request_, line.send)
    assert line.statuses == [status]
    assert not store.commitments.list()


def test_a_transaction_for_other_instances_is_refused(service: CommitmentService) -> None:
    """The second use of a Transaction UID with other instances is answered 0x0115."""
    line = Line()
    for uid in ("1.2.1", "1.2.2"):
        service.serve(SCANNER, action(asking((CT, uid))), line.send)
    assert line.statuses == [0, 0x0115]


def test_the_command_lists_who_asked(settings: Settings, service: CommitmentService) -> None:
    """``lungsentry commitments list`` names the peer, its state and its counts; a state narrows."""
    line = Line()
    service.serve(SCANNER, action(asking((CT, "1.2.1"))), line.send)
    service.serve(SCANNER, confirmation(line.heard[1][0].MessageID), line.send)
    variables = {"LUNGSENTRY_NODE__DATA_DIR": str(settings.node.data_dir)}

    listed = CliRunner().invoke(app, ["commitments", "list", "--json"], env=variables)
    failed = CliRunner().invoke(app, ["commitments", "list", "--state", "failed"], env=variables)

    (one,) = json.loads(listed.stdout)["commitments"]
    assert (one["calling_ae_title"], one["state"], one["references"], one["failed_count"]) == ("CT1", "answered", 1, 1)
    assert "nobody asked" in failed.stdout
