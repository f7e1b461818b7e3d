"""A scanner of a fleet: ``python -m fleet_sender FOLDER NUMBER PORT...``.

Makes one small CT after another and sends it to any of the receivers, as a balancer of TCP would have it, and again to
any until every image was acknowledged. Ends once there is a file ``stop`` in the folder and the series at hand is sent.
Each series that was acknowledged whole is a line of the file ``sent-NUMBER``: its folder.
"""

import random
import sys
import threading
from pathlib import Path

import node_harness as harness
from stubborn_sender import associate, send_until_failure

PAUSE_S = 0.5


def main(folder: Path, number: int, ports: list[int]) -> None:
    """Send until told to stop."""
    chance, sent = random.Random(number), 0
    while not (folder / "stop").exists():
        series = folder / f"scanner-{number}" / str(sent)
        left = [str(path) for path in harness.write_ct(series)]
        while left:
            association = associate("127.0.0.1", chance.choice(ports))
            if not association.is_established:
                threading.Event().wait(0.2)
                continue
            left = send_until_failure(association, left)
            if left:
                association.abort()
            else:
                association.release()
        with (folder / f"sent-{number}").open("a") as file:
            file.write(f"{series}\n")
        sent += 1
        threading.Event().wait(PAUSE_S)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), [int(port) for port in sys.argv[3:]])
