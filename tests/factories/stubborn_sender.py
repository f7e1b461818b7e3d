"""A sender that does not give up: ``python stubborn_sender.py HOST PORT ACKNOWLEDGED FILE...``.

Sends the files over one association and, when that fails, those that were not acknowledged over the next. Each file
that was answered 0x0000 is a line in the file ACKNOWLEDGED. Ends when all are.
"""

import sys
import threading
from pathlib import Path

from held_reactor import held_reactor
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

PATIENCE_S = 3.0


def associate(host: str, port: int) -> Association:
    """An association, or one that was not established."""
    entity = AE(ae_title="SCANNER")
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = PATIENCE_S
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    return entity.associate(host, port, ae_title="LUNGSENTRY")


def send_until_failure(association: Association, paths: list[str], acknowledged: Path | None = None) -> list[str]:
    """Send until something fails; what is left. Each that was acknowledged becomes a line of the file."""
    with held_reactor(association):
        for number, path in enumerate(paths):
            try:
                status = association.send_c_store(path).get("Status")
            except RuntimeError:
                return paths[number:]
            if status != 0:
                return paths[number:]
            if acknowledged is not None:
                with acknowledged.open("a") as file:
                    file.write(f"{path}\n")
    return []


def main(host: str, port: int, acknowledged: Path, left: list[str]) -> None:
    """Send until everything is acknowledged."""
    while left:
        association = associate(host, port)
        if association.is_established:
            left = send_until_failure(association, left, acknowledged)
        if association.is_established and not left:
            association.release()
        elif association.is_established:
            association.abort()
        else:
            threading.Event().wait(0.2)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
