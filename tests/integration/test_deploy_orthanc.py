"""The forwarding rule in deploy/orthanc, run by a real Orthanc: what it gets by C-STORE it passes on."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from listeners import free_port
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, MRImageStorage

from dicom_node.peers.errors import Unreachable
from dicom_node.peers.remote import Remote
from dicom_node.peers.scu import echo
from dicom_node.simulator import (
    Phantom,
    PhantomSpec,
    Variant,
    build_phantom,
    write_series,
    write_variant,
)

RULE = Path(__file__).resolve().parents[2] / "deploy" / "orthanc"
DEADLINE_S = 40

pytestmark = [
    pytest.mark.skipif(
        shutil.which("Orthanc") is None or shutil.which("storescu") is None,
        reason="Orthanc and dcmtk's storescu are not installed",
    ),
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # pynetdicom drops a failed socket
]


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return build_phantom(PhantomSpec.cardiac_ctac(matrix=128))


@contextmanager
def orthanc(folder: Path, node_port: int) -> Iterator[int]:
    """Orthanc with the rule of deploy/; only host, port and waiting time are this machine's."""
    config = json.loads((RULE / "lungsentry.json").read_text())
    config["DicomModalities"]["lungsentry"].update(Host="127.0.0.1", Port=node_port)
    port = free_port()
    config.update(DicomPort=port, StableAge=1, HttpServerEnabled=False, StorageDirectory=str(folder / "db"), Plugins=[])
    config["IndexDirectory"] = config["StorageDirectory"]
    (folder / "lungsentry.json").write_text(json.dumps(config))
    shutil.copy(RULE / "lungsentry.lua", folder)
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen(["Orthanc", str(folder / "lungsentry.json")], stdout=log, stderr=log, cwd=folder)
        try:
            yield port
        finally:
            process.terminate()
            process.wait(timeout=DEADLINE_S)


def wait_until_it_answers(port: int) -> None:
    retry = threading.Event()
    for _ in range(10 * DEADLINE_S):
        try:
            echo(Remote(ae_title="ORTHANC", host="127.0.0.1", port=port, calling_ae_title="SIMSCANNER", timeout_s=2))
        except Unreachable:
            retry.wait(0.1)
        else:
            return
    pytest.fail("Orthanc did not start")


def test_orthanc_forwards_ct_and_nothing_else(phantom: Phantom, tmp_path: Path) -> None:
    """A CT series sent to Orthanc reaches the node whole, called by its AE title; an MR series stays."""
    ct = write_series(phantom, tmp_path / "ct")
    mr = write_variant(Variant.MR, phantom, tmp_path / "mr")[:2]
    received: set[str] = set()
    modalities: set[str] = set()
    whole = threading.Event()

    def keep(event: evt.Event) -> int:
        received.add(str(event.request.AffectedSOPInstanceUID))
        modalities.add(str(event.dataset.Modality))
        if len(received) == len(ct):
            whole.set()
        return 0x0000

    node = AE(ae_title="LUNGSENTRY")
    node.require_called_aet = True
    node.require_calling_aet = ["ORTHANC"]
    node.add_supported_context(CTImageStorage)
    node.add_supported_context(MRImageStorage)
    server = node.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    try:
        with orthanc(tmp_path, server.server_address[1]) as port:
            wait_until_it_answers(port)
            for folder in (tmp_path / "mr", tmp_path / "ct"):
                sent = subprocess.run(
                    ["storescu", "-aet", "CT1", "-aec", "ORTHANC", "+sd", "127.0.0.1", str(port), str(folder)],
                    capture_output=True,
                    check=False,
                    env={"TCP_NODELAY": "1"},
                )
                assert sent.returncode == 0, sent.stderr
            assert whole.wait(DEADLINE_S), (tmp_path / "orthanc.log").read_text()[-2000:]
    finally:
        server.shutdown()
    assert modalities == {"CT"}
    assert len(received) == len(ct)
    assert mr
