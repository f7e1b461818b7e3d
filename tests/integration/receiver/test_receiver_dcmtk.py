"""Real senders: dcmtk's echoscu, storescu and dcmsend, with real series where they are at hand."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

Call = Callable[..., Any]

ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}
"""Without it Debian's dcmtk waits 45 ms an image for the peer's delayed acknowledgement."""


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False
    )


def test_echo(start_receiver: Call, dcmtk: Callable[[str], str]) -> None:
    """A C-ECHO from a known peer succeeds and writes nothing."""
    receiver = start_receiver()

    done = run(dcmtk("echoscu"), "-aet", "SCANNER", "-aec", "LUNGSENTRY", "127.0.0.1", str(receiver.port))

    assert done.returncode == 0, done.stderr
    assert receiver.archived() == []


def test_wrong_title(start_receiver: Call, dcmtk: Callable[[str], str]) -> None:
    """A sender with an unknown AE title is told which title it was, and the refusal is listed."""
    receiver = start_receiver()

    done = run(dcmtk("echoscu"), "-aet", "NOBODY", "-aec", "LUNGSENTRY", "127.0.0.1", str(receiver.port))

    assert done.returncode != 0
    assert "Calling AE Title Not Recognized" in done.stdout + done.stderr
    assert [refusal.calling_ae_title for refusal in receiver.store.peers.refusals()] == ["NOBODY"]


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("sender", "series", "syntax"),
    [
        (("storescu", "-xs", "+sd"), "covid_P001", "1.2.840.10008.1.2.4.70"),
        (("storescu", "-xs", "+sd"), "normal001", "1.2.840.10008.1.2.4.70"),
        (("dcmsend", "+sd", "+r"), "philips_two_recons", "1.2.840.10008.1.2.4.90"),
    ],
)
def test_real_series_is_stored_byte_for_byte(  # noqa: PLR0917 - fixtures
    sender: tuple[str, ...],
    series: str,
    syntax: str,
    shared_data: Path,
    start_receiver: Call,
    dcmtk: Callable[[str], str],
) -> None:
    """A compressed series sent by dcmtk: every instance is indexed, and its pixel data is that of the file sent."""
    receiver = start_receiver()
    folder = shared_data / "dicom" / series
    titles = ("-aet", "SCANNER", "-aec", "LUNGSENTRY")

    done = run(dcmtk(sender[0]), *sender[1:], *titles, "127.0.0.1", str(receiver.port), folder)

    assert done.returncode == 0, done.stderr
    sent = [path for path in folder.rglob("*") if path.is_file()]
    assert len(receiver.archived()) == len(sent)
    for path in sent[::5]:
        original = dcmread(path)
        (version,) = receiver.store.intake.find_versions(original.SOPInstanceUID)
        stored = dcmread(receiver.settings.archive_dir / version.path)
        assert stored.file_meta.TransferSyntaxUID == syntax == original.file_meta.TransferSyntaxUID
        assert stored.PixelData == original.PixelData
