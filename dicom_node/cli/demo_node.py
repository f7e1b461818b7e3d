"""A node for the demo: on SQLite in a folder of its own, in processes of its own, on a free port of this machine."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dicom_node.cli.failures import CommandError
from dicom_node.cli.invocation import open_store
from dicom_node.settings import Web

if TYPE_CHECKING:
    from collections.abc import Collection, Generator
    from pathlib import Path

    from db import SeriesRecord
    from dicom_node.settings import Settings

_START_S = 120.0
_STOP_S = 40.0
_POLL_S = 0.25
_LOG_NAME = "node.log"
_ENVIRONMENT_PREFIX = "LUNGSENTRY_"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoNode:
    """A running node: where it listens, the address of its worklist, if any, its settings, its log and its process."""

    settings: Settings
    port: int
    worklist: str
    log: Path
    process: subprocess.Popen[str]


def demo_settings(base: Settings, folder: Path, *, web: bool = True) -> Settings:
    """The settings in force, but with SQLite in ``folder``, a free port of this machine, and a short quiet time."""
    return base.model_copy(
        update={
            "node": base.node.model_copy(update={"data_dir": folder / "data"}),
            "database": base.database.model_copy(update={"url": None, "url_file": None}),
            "receiver": base.receiver.model_copy(
                update={"host": "127.0.0.1", "port": 0, "disk_watermark_bytes": 0, "accept_unknown_peers": False}
            ),
            "completion": base.completion.model_copy(
                update={"quiet_s": 1.0, "incomplete_quiet_s": 5.0, "sweep_s": 0.5}
            ),
            "destinations": (),
            "web": Web(port=0 if web else None),
        }
    )


@contextmanager
def running_node(settings: Settings, folder: Path, peer_ae_title: str) -> Generator[DemoNode, None, None]:
    """A node that allows one peer from this machine; stopped, and waited for, when the block ends.

    Raises:
        CommandError: it did not start, or did not stop by itself.
    """
    from db import Peer, upgrade
    from dicom_node.settings import document

    settings.node.data_dir.mkdir(parents=True, exist_ok=True)
    file, log = folder / "lungsentry.toml", folder / _LOG_NAME
    file.write_text(document(settings), encoding="utf-8")
    upgrade(settings.database_url)
    with open_store(settings) as store:
        store.peers.allow(
            Peer(ae_title=peer_ae_title, called_ae_title=None, cidr="127.0.0.0/8", host=None, port=None, role="scanner")
        )
    clean = {name: value for name, value in os.environ.items() if not name.startswith(_ENVIRONMENT_PREFIX)}
    command = [sys.executable, "-m", "dicom_node.cli", "--config", str(file), "serve", "--json"]
    with (
        log.open("w", encoding="utf-8") as log_file,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log_file, text=True, env=clean) as process,  # noqa: S603 - our own interpreter and module
    ):
        try:
            port = int(_wait_until_ready(process)["port"])
            worklist = "" if settings.web.port is None else str(_told(process)["worklist"])
            yield DemoNode(settings=settings, port=port, worklist=worklist, log=log, process=process)
        finally:
            _end(process)


def _wait_until_ready(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The first line that the node tells about itself."""
    assert process.stdout is not None  # noqa: S101 - a pipe, as asked
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(_START_S):
            raise CommandError(f"the node was not ready within {_START_S:.0f} s")
    return _told(process)


def _told(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The next line that the node tells about itself; it tells all of them at once."""
    assert process.stdout is not None  # noqa: S101 - a pipe, as asked
    line = process.stdout.readline()
    if not line:
        raise CommandError("the node ended while it started")
    return json.loads(line)


def wait_for_series(node: DemoNode, awaited: Collection[str], timeout_s: float) -> dict[str, SeriesRecord]:
    """The awaited series once each has ended as analysed, excluded or failed.

    Raises:
        CommandError: the node died, or the time is up.
    """
    from db import SeriesState

    ended_states = {SeriesState.ANALYSED, SeriesState.EXCLUDED, SeriesState.FAILED}
    deadline = time.monotonic() + timeout_s
    with open_store(node.settings) as store:
        while True:
            found = {uid: record for uid in awaited if (record := store.series.get(uid)) is not None}
            if len(found) == len(awaited) and all(one.state in ended_states for one in found.values()):
                return found
            if node.process.poll() is not None:
                raise CommandError(f"the node ended with status {node.process.returncode}")
            if time.monotonic() > deadline:
                states = ", ".join(sorted(one.state.value for one in found.values())) or "nothing received"
                raise CommandError(f"no result within {timeout_s:.0f} s ({states})")
            time.sleep(_POLL_S)


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        status = process.wait(_STOP_S)
    except subprocess.TimeoutExpired as error:
        process.kill()
        raise CommandError(f"the node did not stop within {_STOP_S:.0f} s and was killed") from error
    if status != 0 and sys.exc_info()[0] is None:
        raise CommandError(f"the node stopped with status {status}")
