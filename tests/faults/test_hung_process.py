"""A process that hangs: the kernel keeps it, it serves nobody, and nothing but its silence tells."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from db import upgrade
from dicom_node.receiver.children import Children
from dicom_node.receiver.connections import ConnectionLimits, Connections
from dicom_node.settings import Settings

SILENT_S = 7  # a child says every five seconds that it lives


@pytest.mark.slow
def test_a_hung_process_of_the_receiver_is_replaced(tmp_path: Path) -> None:
    """Stopped, it is killed once it was silent for too long; its index is recovered, and another takes its place."""
    settings = Settings(node={"data_dir": tmp_path}, receiver={"processes": 2, "disk_watermark_bytes": 0})
    settings.archive_dir.mkdir()
    upgrade(settings.database_url)
    connections = Connections(ConnectionLimits(associations=9, associations_per_peer=9, silent=9, silent_per_address=9))
    recovered = threading.Event()
    children = Children(settings, connections, on_death=recovered.set, silent_s=SILENT_S)
    children.start()
    try:
        before = set(children.process_ids())
        hung = min(before)
        os.kill(hung, signal.SIGSTOP)
        assert recovered.wait(60)
        deadline = time.monotonic() + 60
        while len(set(children.process_ids()) - {hung}) < 2 and time.monotonic() < deadline:
            threading.Event().wait(0.05)
        assert len(children.process_ids()) == 2
        assert hung not in children.process_ids()
        assert len(before & set(children.process_ids())) == 1, "the one that lives was left alone"
    finally:
        children.stop()
