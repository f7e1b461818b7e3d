"""The whole node as one program, its worker a stand-in: ``python -m node_program SETTINGS.json MODE``.

Prints the receiver's port once every role is ready; ends on SIGTERM.
"""

import signal
import sys
import threading
from functools import partial
from pathlib import Path

from dicom_node.logs import configure
from dicom_node.node import RECEIVER, SCHEDULER, run_node
from dicom_node.settings import Settings
from dicom_node.supervisor import Role

if __name__ == "__main__":
    given = Settings.model_validate_json(Path(sys.argv[1]).read_text())
    configure(given.logging, role="node")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    tell = partial(print, "port", flush=True)
    worker = Role(name="worker", arguments=("worker", sys.argv[2]), module="stand_in_worker")
    run_node(given, stop, tell, roles=(RECEIVER, worker, SCHEDULER))
