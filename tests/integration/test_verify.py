"""Every way in which the archive can differ from its index is found; a node that works meanwhile is no fault."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from analysis.series.verdicts import Screening
from db import SeriesState, Store
from dicom_node.cli.app import app
from dicom_node.settings import Settings
from dicom_node.storage.archive import Archive
from dicom_node.storage.verification import Fault, FaultKind, verify, verify_sample

AN_HOUR_AGO = 3600


@pytest.fixture
def paths(keep: Callable[..., Path]) -> list[Path]:
    """Six archived and indexed instances of two series, an hour old."""
    files = [keep(f"1.2.3.{number}", bytes([number]) * 100, series=f"1.2.{number % 2}") for number in range(6)]
    for file in files:
        age(file)
    return files


def age(file: Path) -> None:
    """Let the file be older than anything that is on its way."""
    moment = file.stat().st_mtime - AN_HOUR_AGO
    os.utime(file, (moment, moment))


def faults(store: Store, archive: Archive) -> list[Fault]:
    return list(verify(store, archive, on_progress=lambda _: None))


def test_an_archive_as_received_has_no_fault(store: Store, archive: Archive, paths: list[Path]) -> None:
    """No fault, and every file was looked at."""
    seen = []
    assert not list(verify(store, archive, on_progress=seen.append))
    assert (seen[-1].files, seen[-1].series, seen[-1].of_series) == (len(paths), 2, 2)


def one_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (Path.unlink, FaultKind.MISSING),
        (one_bit, FaultKind.CHANGED),
        (lambda file: file.write_bytes(file.read_bytes()[:-3]), FaultKind.CHANGED),
        (lambda file: file.write_bytes(b""), FaultKind.CHANGED),
        (lambda file: (file.unlink(), file.mkdir()), FaultKind.UNREADABLE),
    ],
)
def test_damage_is_named_with_its_instance(
    store: Store, archive: Archive, paths: list[Path], damage: Callable[[Path], object], kind: FaultKind
) -> None:
    """A file that is gone, altered by one bit, shortened, emptied or unreadable: its kind and its UIDs are told."""
    damage(paths[3])

    (fault,) = faults(store, archive)

    assert (fault.kind, fault.sop_instance_uid, fault.series_instance_uid) == (kind, "1.2.3.3", "1.2.1")
    assert archive.absolute(fault.path) == paths[3]


def test_a_file_without_a_row_is_extra_once_it_has_settled(store: Store, archive: Archive, paths: list[Path]) -> None:
    """A stray file in a known and in an unknown series' folder is told; one that has just come is not."""
    beside = paths[0].with_name("stray.dcm")
    unknown = archive.root / "00" / "unknown" / "stray.dcm"
    unknown.parent.mkdir(parents=True)
    for stray in (beside, unknown):
        stray.write_bytes(b"x")
    assert not faults(store, archive)

    age(beside)
    age(unknown)

    assert {(one.kind, archive.absolute(one.path)) for one in faults(store, archive)} == {
        (FaultKind.EXTRA, beside),
        (FaultKind.EXTRA, unknown),
    }


def test_what_retention_removes_meanwhile_is_no_fault(store: Store, archive: Archive, paths: list[Path]) -> None:
    """A series whose files go between the query and the look is not missing."""
    series = "1.2.0"
    removed = []
    revision = store.series.get(series).revision
    store.intake.mark_complete(series, revision, "all here")
    store.intake.exclude(series, revision, Screening(results=(), profile=None))

    def remove(_: object) -> None:
        if not removed:
            before = {SeriesState.EXCLUDED: datetime.now(UTC) + timedelta(days=1)}
            with store.retention.removal(series, before) as files:
                removed.extend(files)
                for one in files:
                    archive.absolute(one.path).unlink(missing_ok=True)

    assert not list(verify(store, archive, series=[series], on_progress=remove))
    assert len(removed) == len(paths) // 2


def test_the_command_lists_and_ends_with_one(settings: Settings, paths: list[Path]) -> None:
    """``lungsentry verify --json`` names the fault and exits 1; after the file is back it exits 0."""
    data = paths[1].read_bytes()
    paths[1].unlink()
    variables = {"LUNGSENTRY_NODE__DATA_DIR": str(settings.node.data_dir)}

    broken = CliRunner().invoke(app, ["verify", "--json"], env=variables)
    listed = CliRunner().invoke(app, ["verify"], env=variables)
    paths[1].write_bytes(data)
    mended = CliRunner().invoke(app, ["verify", "--json"], env=variables)

    assert broken.exit_code == listed.exit_code == 1
    assert [one["kind"] for one in json.loads(broken.stdout)["faults"]] == ["missing"]
    assert "1 missing" in listed.stdout
    assert mended.exit_code == 0
    assert json.loads(mended.stdout)["files"] == len(paths)


def test_sample_finds_what_rots(store: Store, archive: Archive, paths: list[Path]) -> None:
    """A sample as large as the archive finds the changed byte and the missing file; a smaller one is smaller."""
    assert verify_sample(store, archive, 100) == ()
    data = bytearray(paths[0].read_bytes())
    data[-1] ^= 1
    paths[0].write_bytes(data)
    paths[1].unlink()
    found = verify_sample(store, archive, 100)
    assert {(one.kind, archive.absolute(one.path)) for one in found} == {
        (FaultKind.CHANGED, paths[0]),
        (FaultKind.MISSING, paths[1]),
    }
    assert len(store.retention.sample(1)) == 1
    assert len(store.retention.sample(100)) == len(paths)
