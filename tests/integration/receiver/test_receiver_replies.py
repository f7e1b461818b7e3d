"""Every reply that ARCHITECTURE promises, asked for over the network."""

import io
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import generate_uid
from typer.testing import CliRunner

from dicom_node.cli.app import app

SUCCESS, OUT_OF_RESOURCES, MISMATCH, UNPARSABLE = 0x0000, 0xA700, 0xA900, 0xC210
CT, PET = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.128"

Call = Callable[..., Any]


def encode(dataset: Dataset) -> bytes:
    """Explicit VR Little Endian."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def test_success_is_on_disk_and_in_the_index(
    start_receiver: Call, associate: Call, send: Call, make_slice: Call
) -> None:
    """0x0000 means: the file has the bytes that were sent, nothing temporary is left. Released: its row names it."""
    receiver = start_receiver()
    dataset = make_slice()
    encoded = encode(dataset)
    assoc = associate(receiver)

    assert send(assoc, encoded, sop_instance_uid=dataset.SOPInstanceUID) == SUCCESS
    (file,) = receiver.archived()
    assert file.read_bytes().endswith(encoded)
    assert receiver.temporary() == []
    assoc.release()
    assert receiver.unindexed() == []
    (version,) = receiver.store.intake.find_versions(dataset.SOPInstanceUID)
    assert receiver.settings.archive_dir / version.path == file


def test_identical_resend_changes_nothing(start_receiver: Call, associate: Call, send: Call, make_slice: Call) -> None:
    """A sender that lost the reply sends again and gets success; there is one file and one row."""
    receiver = start_receiver()
    dataset = make_slice()
    encoded = encode(dataset)

    for _ in range(2):
        assoc = associate(receiver)
        assert send(assoc, encoded, sop_instance_uid=dataset.SOPInstanceUID) == SUCCESS
        assoc.release()

    assert len(receiver.archived()) == 1
    assert len(receiver.store.intake.find_versions(dataset.SOPInstanceUID)) == 1


def test_other_bytes_are_a_new_version(start_receiver: Call, associate: Call, send: Call, make_slice: Call) -> None:
    """The same SOP Instance UID with other pixels is kept beside the first; the series gives the newest."""
    receiver = start_receiver()
    first = make_slice()
    second = make_slice(
        SOPInstanceUID=first.SOPInstanceUID,
        StudyInstanceUID=first.StudyInstanceUID,
        SeriesInstanceUID=first.SeriesInstanceUID,
        PixelData=bytes(8192),
    )
    assoc = associate(receiver)

    for dataset in (first, second):
        assert send(assoc, encode(dataset), sop_instance_uid=first.SOPInstanceUID) == SUCCESS
    assoc.release()

    assert len(receiver.archived()) == 2
    assert len(receiver.store.intake.find_versions(first.SOPInstanceUID)) == 2
    (newest,) = receiver.store.intake.series_paths(first.SeriesInstanceUID)
    assert (receiver.settings.archive_dir / newest.path).read_bytes().endswith(encode(second))


def test_same_instance_eight_times_at_once(start_receiver: Call, associate: Call, send: Call, make_slice: Call) -> None:
    """Eight senders of the same instance all get success, and there is one file and one row."""
    receiver = start_receiver()
    dataset = make_slice()
    encoded = encode(dataset)
    barrier = threading.Barrier(8)
    replies: list[int | None] = []

    def sender() -> None:
        assoc = associate(receiver)
        barrier.wait(20)
        replies.append(send(assoc, encoded, sop_instance_uid=dataset.SOPInstanceUID))
        assoc.release()

    threads = [threading.Thread(target=sender) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert replies == [SUCCESS] * 8
    assert len(receiver.archived()) == 1
    assert receiver.temporary() == []
    assert len(receiver.store.intake.find_versions(dataset.SOPInstanceUID)) == 1


@pytest.mark.parametrize("uid", ["../x", "/etc/lungsentry", "anon-7F.case", "1.2.03"])
def test_odd_uid_is_stored_with_a_warning_and_is_no_path(  # noqa: PLR0917 - fixtures
    uid: str, start_receiver: Call, associate: Call, send: Call, make_slice: Call, tmp_path: Path
) -> None:
    """A UID that does not conform is kept as it came; its file lies in the archive; the row has the warning."""
    receiver = start_receiver()
    dataset = make_slice(SOPInstanceUID=uid, SeriesInstanceUID=uid, StudyInstanceUID=uid)
    assoc = associate(receiver)

    assert send(assoc, encode(dataset), sop_instance_uid=uid) == SUCCESS
    assoc.release()

    (version,) = receiver.store.intake.find_versions(uid)
    assert version.uid_warning
    outside = [
        path for path in tmp_path.rglob("*") if path.is_file() and receiver.settings.archive_dir not in path.parents
    ]
    assert [path.name for path in outside if not path.name.startswith("lungsentry.sqlite3")] == []


@pytest.mark.parametrize(
    ("change", "command", "status"),
    [
        ({}, {"sop_instance_uid": "1.2.3.999"}, MISMATCH),
        ({"SOPClassUID": PET}, {}, MISMATCH),
        ({"SOPClassUID": PET}, {"sop_class_uid": PET}, MISMATCH),
        ({"StudyInstanceUID": None}, {}, MISMATCH),
        ({"SeriesInstanceUID": ""}, {}, MISMATCH),
        ({"SOPInstanceUID": None}, {"sop_instance_uid": "1.2.3.4"}, MISMATCH),
        ({"PixelData": bytes(100)}, {}, UNPARSABLE),
    ],
)
def test_contradiction_is_refused(  # noqa: PLR0917 - fixtures
    change: dict[str, Any],
    command: dict[str, str],
    status: int,
    start_receiver: Call,
    associate: Call,
    send: Call,
    make_slice: Call,
) -> None:
    """What contradicts its command or its context, or lacks a UID or pixels, is refused, and the next one is taken."""
    receiver = start_receiver()
    dataset = make_slice(**change)
    uid = str(dataset.get("SOPInstanceUID", ""))
    good = make_slice()
    assoc = associate(receiver)

    assert send(assoc, encode(dataset), **{"sop_instance_uid": uid, **command}) == status
    assert receiver.archived() == []
    assert send(assoc, encode(good), sop_instance_uid=good.SOPInstanceUID) == SUCCESS
    assoc.release()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda _: b"This is a letter, not an image.\n" * 30, id="text"),
        pytest.param(lambda encoded: encoded[:150], id="header cut off"),
        pytest.param(lambda encoded: encoded[:-100], id="pixels cut off"),
        pytest.param(lambda encoded: encoded + b"\x01\x02\x03", id="bytes after the end"),
        pytest.param(lambda _: None, id="no data set"),
    ],
)
def test_damaged_dataset_is_refused(
    damage: Callable[[bytes], bytes | None], start_receiver: Call, associate: Call, send: Call, make_slice: Call
) -> None:
    """What cannot be parsed to its end gets 0xC210 and leaves nothing; the association goes on."""
    receiver = start_receiver()
    dataset = make_slice()
    encoded = encode(dataset)
    assoc = associate(receiver)

    assert send(assoc, damage(encoded), sop_instance_uid=dataset.SOPInstanceUID) == UNPARSABLE
    assert (receiver.archived(), receiver.temporary()) == ([], [])
    assert send(assoc, encoded, sop_instance_uid=dataset.SOPInstanceUID) == SUCCESS
    assoc.release()


def test_full_disk_is_refused_and_recovers(
    start_receiver: Call, associate: Call, send: Call, make_slice: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below the watermark the reply is 0xA700; when there is space again the same association goes on."""
    receiver = start_receiver(disk_watermark_bytes=1_000_000)
    dataset = make_slice()
    assoc = associate(receiver)

    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=999_999))
    assert send(assoc, encode(dataset), sop_instance_uid=dataset.SOPInstanceUID) == OUT_OF_RESOURCES
    assert receiver.archived() == []
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2_000_000))
    assert send(assoc, encode(dataset), sop_instance_uid=dataset.SOPInstanceUID) == SUCCESS
    assoc.release()


@pytest.mark.parametrize(
    ("calling", "called", "diagnostic"), [("STRANGER", "LUNGSENTRY", 3), ("SCANNER", "OTHERNODE", 7)]
)
def test_unknown_peer_is_rejected_and_listed(
    calling: str, called: str, diagnostic: int, start_receiver: Call, associate: Call
) -> None:
    """An unknown title gets an A-ASSOCIATE-RJ (permanent, by the user, which title), and the administrator sees it."""
    receiver = start_receiver()

    assoc = associate(receiver, calling=calling, called=called)

    assert assoc.is_rejected
    rejection = assoc.acceptor.primitive
    assert (rejection.result, rejection.result_source, rejection.diagnostic) == (1, 1, diagnostic)
    (refusal,) = receiver.store.peers.refusals()
    assert (refusal.calling_ae_title, refusal.called_ae_title, refusal.address) == (calling, called, "127.0.0.1")


def test_peer_that_is_allowed_while_running_is_let_in(start_receiver: Call, associate: Call) -> None:
    """The list of peers is read for each association: no restart."""
    receiver = start_receiver()
    assert associate(receiver, calling="CT9").is_rejected
    (known,) = receiver.store.peers.list()

    receiver.store.peers.allow(type(known)(**{**_fields(known), "ae_title": "CT9"}))

    assoc = associate(receiver, calling="CT9")
    assert assoc.is_established
    assoc.release()


def test_stopping_aborts_what_is_open_and_is_quick(
    start_receiver: Call, associate: Call, send: Call, make_slice: Call
) -> None:
    """An idle open association does not hold the stop up; what it stored is there; its incoming folder is gone."""
    receiver = start_receiver()
    dataset = make_slice()
    assoc = associate(receiver)
    assert send(assoc, encode(dataset), sop_instance_uid=dataset.SOPInstanceUID) == SUCCESS

    assert receiver.stop() < 5

    assert len(receiver.archived()) == 1
    assert list((receiver.settings.archive_dir / "incoming").glob("[!.]*")) == []
    assoc.join(5)


def test_associations_are_closed_in_the_index(
    start_receiver: Call, associate: Call, send: Call, make_slice: Call, eventually: Call
) -> None:
    """While its association is open a study counts it; released or torn off, it counts no more."""
    receiver = start_receiver()

    def open_associations() -> int:
        return sum(evidence.open_associations for evidence in receiver.store.intake.receiving_series())

    for end in ("release", "abort"):
        dataset = make_slice()
        assoc = associate(receiver)
        assert send(assoc, encode(dataset), sop_instance_uid=dataset.SOPInstanceUID) == SUCCESS
        eventually(lambda: open_associations() == 1, "association counted")
        getattr(assoc, end)()
        eventually(lambda: open_associations() == 0, f"association closed after {end}")


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def test_index_is_rebuilt_from_files(start_receiver: Call, associate: Call, send: Call, make_slice: Call) -> None:
    """With an empty database beside it, the archive gives every row back on command: the file is the record."""
    receiver = start_receiver()
    first = make_slice()
    second = make_slice(StudyInstanceUID=first.StudyInstanceUID, SeriesInstanceUID=first.SeriesInstanceUID)
    assoc = associate(receiver)
    for dataset in (first, second):
        send(assoc, encode(dataset), sop_instance_uid=dataset.SOPInstanceUID)
    assoc.release()
    before = receiver.store.intake.find_versions(first.SOPInstanceUID)[0]
    receiver.stop()
    receiver.store.close()
    for file in receiver.settings.node.data_dir.glob("lungsentry.sqlite3*"):
        file.unlink()

    again = start_receiver()
    variables = {"LUNGSENTRY_NODE__DATA_DIR": str(again.settings.node.data_dir)}
    run = CliRunner().invoke(app, ["verify", "--rebuild"], env=variables)

    assert (run.exit_code, "2 files got their row" in run.stdout) == (0, True)
    assert len(again.store.intake.series_paths(first.SeriesInstanceUID)) == 2
    after = again.store.intake.find_versions(first.SOPInstanceUID)[0]
    assert (after.path, after.sha256) == (before.path, before.sha256)


def test_encoding_helper_is_what_pydicom_writes() -> None:
    """The helper's bytes are a data set without file meta (guards the tests above)."""
    dataset = Dataset()
    dataset.StudyInstanceUID = generate_uid()
    assert io.BytesIO(encode(dataset)).read(4) == b"\x20\x00\x0d\x00"
