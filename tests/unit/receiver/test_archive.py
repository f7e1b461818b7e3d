"""The archive's names and what a staged file goes through."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from dicom_node.storage.archive import Archive, FileMeta, InUse, content_digest
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


def publish(incoming: Incoming, *staged: StagedFile) -> list[OSError | None]:
    """As the publisher does, a series' folder at a time."""
    return incoming.publish(staged[0].path.rpartition("/")[0], staged)


def held(archive: Archive, path: str) -> bytes:
    with archive.opened(path) as file:
        return bytes(file.encoded)


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
    """Any reader takes the file, it holds what was staged; its entry stays until it is forgotten."""
    staged = stage(incoming, ENCODED, path_of(ENCODED))
    assert publish(incoming, staged) == [None]

    file = archive.absolute(staged.path)
    assert dcmread(file).file_meta.MediaStorageSOPInstanceUID == "1.2.3.4"
    assert held(archive, staged.path) == ENCODED
    assert archive.digest(staged.path) == content_digest(ENCODED)
    assert file.stat().st_size == staged.size_bytes
    assert file.samefile(staged.entry)
    incoming.forget([staged.entry])
    assert [entry.name for entry in incoming.folder.iterdir()] == ["owner.lock"]
    assert held(archive, staged.path) == ENCODED


def test_what_is_sent_again_is_written_again(archive: Archive, incoming: Incoming) -> None:
    """The same bytes replace whatever lies under their name by now, damaged, cut short or whole; others lie beside."""
    path = path_of(ENCODED)
    publish(incoming, stage(incoming, ENCODED, path))
    for damage in (lambda file: os.truncate(file, file.stat().st_size - 1), _flip, lambda _file: None):
        damage(archive.absolute(path))
        again = stage(incoming, ENCODED, path)
        assert publish(incoming, again) == [None]
        assert held(archive, path) == ENCODED
        assert archive.absolute(path).samefile(again.entry)
    other = stage(incoming, ENCODED + ENCODED, path_of(ENCODED + ENCODED))
    assert publish(incoming, other) == [None]
    assert (held(archive, path), held(archive, other.path)) == (ENCODED, ENCODED + ENCODED)


def _flip(file: Path) -> None:
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 0xFF
    file.write_bytes(damaged)


def test_folder_that_retention_removed_is_made_again(archive: Archive, incoming: Incoming) -> None:
    """A series' folder may go between two instances."""
    staged = stage(incoming, ENCODED, path_of(ENCODED))
    publish(incoming, staged)
    incoming.forget([staged.entry])
    archive.remove([staged.path], spare_after=float("inf"))
    assert not archive.absolute(staged.path).parent.exists()

    assert publish(incoming, stage(incoming, ENCODED, path_of(ENCODED))) == [None]
    assert held(archive, staged.path) == ENCODED


def test_what_has_no_row_is_not_removed_however_old_it_seems(archive: Archive, incoming: Incoming) -> None:
    """While a file has its entry it stays, and so do the others of its series; likewise what was written lately."""
    first, second = (stage(incoming, encoded, path_of(encoded)) for encoded in (ENCODED, ENCODED + ENCODED))
    publish(incoming, first, second)
    incoming.forget([first.entry])
    with pytest.raises(InUse):
        archive.remove([first.path, second.path], spare_after=float("inf"))
    incoming.forget([second.entry])
    with pytest.raises(InUse):
        archive.remove([first.path, second.path], spare_after=0.0)
    assert all(archive.absolute(one.path).exists() for one in (first, second))

    archive.remove([first.path, second.path], spare_after=float("inf"))

    assert not archive.absolute(first.path).parent.exists()


def test_nothing_is_removed_where_somebody_publishes(archive: Archive, incoming: Incoming) -> None:
    """Retention does not wait for the lock, in whose time the index would stand still: it comes again."""
    staged = stage(incoming, ENCODED, path_of(ENCODED))
    publish(incoming, staged)
    incoming.forget([staged.entry])
    with archive.publishing(staged.path.rpartition("/")[0]), pytest.raises(InUse):
        archive.remove([staged.path], spare_after=float("inf"))
    assert archive.absolute(staged.path).exists()


def test_one_failure_does_not_fail_the_batch(archive: Archive, incoming: Incoming) -> None:
    """A file that cannot be published says so for itself, and its entry is gone."""
    good, bad = stage(incoming, ENCODED, path_of(ENCODED)), stage(incoming, ENCODED + ENCODED, path_of(ENCODED * 2))
    archive.absolute(bad.path).mkdir(parents=True)

    first, second = publish(incoming, good, bad)

    assert first is None
    assert isinstance(second, OSError)
    assert not Path(bad.entry).exists()


def test_folder_that_cannot_be_made_fails_each_file(archive: Archive, incoming: Incoming) -> None:
    """A file where a folder should be: every file of the batch says so."""
    staged = stage(incoming, ENCODED, "ff/blocked/a.dcm")
    (archive.root / "ff").write_text("in the way")
    (error,) = publish(incoming, staged)
    assert isinstance(error, OSError)
    assert not Path(staged.entry).exists()


def test_only_dead_receivers_are_abandoned(archive: Archive, incoming: Incoming) -> None:
    """A folder whose lock is held is a living receiver's, or somebody's who sees to it; else it is to be seen to."""
    dead = archive.root / "incoming" / "receiver-0"
    dead.mkdir()
    for folder in archive.abandoned():
        assert folder == dead
        assert list(archive.abandoned()) == []
    assert incoming.folder.exists()


def test_closing_leaves_what_has_no_row(archive: Archive) -> None:
    """An orderly end with rows missing is seen to as a death is; without any the folder goes."""
    incoming = Incoming(archive, "receiver-2")
    staged = stage(incoming, ENCODED, path_of(ENCODED))
    publish(incoming, staged)
    incoming.close()
    assert list(archive.abandoned()) == [incoming.folder]
    assert Path(staged.entry).exists()

    Incoming(archive, "receiver-3").close()

    assert not (archive.root / "incoming" / "receiver-3").exists()
