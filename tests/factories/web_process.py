"""The worklist as a process of its own, as it runs in service: told to stop by SIGTERM, or killed."""

import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_node.settings import Database, Logging, Node, Settings, Web, document

_READY_S = 120
_STOP_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class WebProcess:
    """The process, where it answers, and the file of its log."""

    address: str
    log: Path
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.address.rpartition(":")[2])

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.wait(_STOP_S)


@contextmanager
def web_process(url: str, folder: Path, *, port: int = 0, **web: Any) -> Iterator[WebProcess]:
    """``lungsentry web`` on this database, with every line of its log kept; ended by SIGTERM where it still runs."""
    settings = Settings(
        node=Node(data_dir=folder),
        database=Database(url=url),
        web=Web.model_validate({"port": port} | web),
        logging=Logging(level="DEBUG", format="json"),
    )
    config, log = folder / "web.toml", folder / "web.log"
    config.write_text(document(settings), encoding="utf-8")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LUNGSENTRY_")}
    command = [sys.executable, "-m", "dicom_node.cli", "--config", str(config), "web"]
    with (
        log.open("a", encoding="utf-8") as log_file,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log_file, text=True, env=clean) as process,
    ):
        try:
            assert process.stdout is not None
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                assert selector.select(_READY_S), log.read_text()
            line = process.stdout.readline()
            assert "worklist is at " in line, line + log.read_text()
            yield WebProcess(address=line.split("worklist is at ")[1].split(". ")[0], log=log, process=process)
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                assert process.wait(_STOP_S) == 0, log.read_text()
        finally:
            if process.poll() is None:
                process.kill()
