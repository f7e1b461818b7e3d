"""The archive's names and what a staged file goes through."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from dicom_node.storage.archive import Archive, FileMeta, content_digest
from dicom_node.storage.incoming import Incoming, StagedFile

META = FileMeta(
    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
    sop_instance_uid="1.2.3.4",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    calling_ae_title="CT1",
    called_ae_title="LUNGSENTRY",
)
ENCODED = b"\x08\x00\x60\x00CS\x02\x00CT"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "archive")


@pytest.fixture
def incoming(archive: Archive) -> Iterator[Incoming]:
    incoming = Incoming(archive, "receiver-1")
    yield incoming
    incoming.close()


def stage(incoming: Incoming, encoded: bytes, path: str) -> StagedFile:
    """What a reception does with a data set that came in two parts."""
    draft = incoming.draft(META)
    for part in (encoded[:3], encoded[3:]):
        draft.write([memoryview(part)])
    return draft.finish(path)


def path_of(encoded: bytes, sop_instance_uid: str = "1.2.3.4") -> str:
    return Archive.relative_path(
        series_instance_uid="1.2.3.5", sop_instance_uid=sop_instance_uid, digest=content_digest(encoded)
    )


@given(st.text(max_size=64), st.text(max_size=64))
def test_no_uid_is_a_path(series: str, instance: str) -> None:
    """Whatever a UID holds, the path has three parts of hexadecimal digits and stays in the archive."""
    path = Archive.relative_path(
        series_instance_uid=series, sop_instance_uid=instance, digest=content_digest(instance.encode())
    )

    assert len(path.split("/")) == 3
    assert set(path) <= set("/0123456789abcdef-.dcm")
    assert ".." not in path


def test_published_file_is_a_dicom_file_with_the_bytes_received(archive: Archive, incoming: Incoming) -> None:
    """Any reader takes the file; the data set's bytes are the ones that were staged; nothing temporary is left."""
    staged = stage(incoming, ENCODED, path_of(ENCODED))
    assert incoming.publish([staged]) == [None]

    file = archive.absolute(staged.path)
    assert dcmread(file).file_meta.MediaStorageSOPInstanceUID == "1.2.3.4"
    assert archive.read(staged.path).encoded == ENCODED
    assert file.stat().st_size == staged.size_bytes
    assert [entry.name for entry in incoming.folder.iterdir()] == ["owner.lock"]


def test_same_bytes_are_not_written_again(incoming: Incoming) -> None:
    """An identical resend stages nothing, other bytes lie beside the first."""
    incoming.publish([stage(incoming, ENCODED, path_of(ENCODED))])

    assert stage(incoming, ENCODED, path_of(ENCODED)).temporary is None
    assert stage(incoming, ENCODED + ENCODED, path_of(ENCODED + ENCODED)).temporary is not None


def test_short_file_under_a_final_name_is_replaced(archive: Archive, incoming: Incoming) -> None:
    """A file that a failing disk cut short does not pass for the instance when it is sent again."""
    incoming.publish([stage(incoming, ENCODED, path_of(ENCODED))])
    file = archive.absolute(path_of(ENCODED))
    os.truncate(file, file.stat().st_size - 1)

    incoming.publish([stage(incoming, ENCODED, path_of(ENCODED))])

    assert archive.read(path_of(ENCODED)).encoded == ENCODED


def test_folder_that_retention_removed_is_made_again(archive: Archive, incoming: Incoming) -> None:
    """A series' folder may go between two instances."""
    incoming.publish([stage(incoming, ENCODED, path_of(ENCODED))])
    file = archive.absolute(path_of(ENCODED))
    file.unlink()
    file.parent.rmdir()

    assert incoming.publish([stage(incoming, ENCODED, path_of(ENCODED))]) == [None]
    assert file.exists()


def test_one_failure_does_not_fail_the_batch(archive: Archive, incoming: Incoming) -> None:
    """A file that cannot be published says so for itself, and its temporary file is gone."""
    good = stage(incoming, ENCODED, path_of(ENCODED))
    bad = stage(incoming, ENCODED, "ff/blocked/a.dcm")
    (archive.root / "ff").write_text("a file where a folder should be")

    first, second = incoming.publish([good, bad])

    assert first is None
    assert isinstance(second, OSError)
    assert bad.temporary is not None
    assert not Path(bad.temporary).exists()


def test_only_dead_receivers_are_abandoned(archive: Archive, incoming: Incoming) -> None:
    """A folder whose lock is held is a living receiver's; without a holder it is swept."""
    dead = archive.root / "incoming" / "receiver-0"
    dead.mkdir()
    (dead / "owner.lock").touch()
    (dead / "3.part").write_bytes(b"half")

    (abandoned,) = archive.abandoned()
    archive.remove_abandoned(abandoned)

    assert (abandoned.receiver_id, abandoned.temporary_files) == ("receiver-0", 1)
    assert not dead.exists()
    assert incoming.folder.exists()
