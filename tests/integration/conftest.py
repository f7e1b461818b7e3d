"""A node's archive and store without a running node, and peers that listen."""

import gc
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pynetdicom.transport import AssociationSocket

from db import ReceivedInstance, Store, upgrade
from dicom_node.node import run_receiver
from dicom_node.peers.errors import Unreachable
from dicom_node.peers.remote import Remote
from dicom_node.peers.scu import echo
from dicom_node.settings import Settings
from dicom_node.storage.archive import Archive, FileMeta, content_digest

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"

Keep = Callable[..., Path]
DEADLINE_S = 60


@pytest.fixture
def dropped_sockets() -> Iterator[None]:
    """Pynetdicom drops a socket that could not connect without closing it: collected here, not in a later test."""
    yield
    gc.collect()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a node whose data lies in a folder of its own."""
    return Settings(node={"data_dir": tmp_path / "node"})


@pytest.fixture
def archive(settings: Settings) -> Archive:
    """The archive of the settings."""
    return Archive(settings.archive_dir)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    """The store of the settings, on SQLite."""
    settings.node.data_dir.mkdir(parents=True, exist_ok=True)
    upgrade(settings.database_url)
    with Store.open(settings.database_url) as opened:
        yield opened


@pytest.fixture
def keep(store: Store, archive: Archive) -> Keep:
    """Archive and index an instance; its file."""

    def keep_one(sop_instance_uid: str, encoded: bytes, *, series: str = "1.2.0", sop_class: str = CT) -> Path:
        digest = content_digest(encoded)
        path = archive.relative_path(series_instance_uid=series, sop_instance_uid=sop_instance_uid, digest=digest)
        meta = FileMeta(
            sop_class_uid=sop_class,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=EXPLICIT,
            calling_ae_title="CT1",
            called_ae_title="LUNGSENTRY",
        )
        file = archive.absolute(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(meta.encode() + encoded)
        store.intake.record_instance(
            ReceivedInstance(
                sop_instance_uid=sop_instance_uid,
                sop_class_uid=sop_class,
                transfer_syntax_uid=EXPLICIT,
                study_instance_uid="1.2",
                series_instance_uid=series,
                patient_id="",
                modality="CT",
                path=path,
                size_bytes=file.stat().st_size,
                sha256=digest,
                calling_ae_title="CT1",
                called_ae_title="LUNGSENTRY",
                address="127.0.0.1",
                association_id=None,
                received_at=datetime.now(UTC),
                header={},
            )
        )
        return file

    return keep_one


@pytest.fixture(scope="session", autouse=True)
def _sockets_are_closed() -> Iterator[None]:
    """Pynetdicom leaves a socket open whose other end was quicker: a peer of a test closes it all the same."""

    def close(self: AssociationSocket) -> None:
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AssociationSocket, "_shutdown_socket", close)
        yield


@pytest.fixture(scope="session")
def receiving() -> Callable[[Settings], AbstractContextManager[int]]:
    """Run a receiver with these settings as long as the context lasts; its port. The store has to exist."""

    @contextmanager
    def run(settings: Settings) -> Iterator[int]:
        ready, stop, ports = threading.Event(), threading.Event(), []
        thread = threading.Thread(
            target=run_receiver,
            args=(settings,),
            kwargs={"ready": lambda port: (ports.append(port), ready.set()), "stop": stop},
        )
        thread.start()
        try:
            assert ready.wait(DEADLINE_S)
            yield ports[0]
        finally:
            stop.set()
            thread.join(DEADLINE_S)

    return run


@pytest.fixture(scope="session")
def orthanc() -> Callable[..., AbstractContextManager[None]]:
    """Run Orthanc as PACS on a port, in a folder, with more of its own settings; it answers before this returns."""

    @contextmanager
    def run(folder: Path, port: int, **more: Any) -> Iterator[None]:
        if shutil.which("Orthanc") is None:
            pytest.skip("Orthanc is not installed (Debian package orthanc)")
        config = {
            "DicomAet": "PACS",
            "DicomPort": port,
            "HttpServerEnabled": False,
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "Plugins": [],
        }
        (folder / "orthanc.json").write_text(json.dumps(config | more))
        with (folder / "orthanc.log").open("wb") as log:
            process = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=log, cwd=folder)
            try:
                _wait_until_it_answers(port)
                yield
            finally:
                process.terminate()
                process.wait(timeout=DEADLINE_S)

    return run


def _wait_until_it_answers(port: int) -> None:
    retry = threading.Event()
    for _ in range(10 * DEADLINE_S):
        try:
            echo(Remote(ae_title="PACS", host="127.0.0.1", port=port, calling_ae_title="SIMSCANNER", timeout_s=2))
        except Unreachable:
            retry.wait(0.1)
        else:
            return
    pytest.fail("Orthanc did not start")
