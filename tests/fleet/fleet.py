"""The processes of a fleet: each role's command, in a session of its own, killed as a whole and started again."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import node_harness as harness
from listeners import free_port

from dicom_node.settings import Database, Settings, document

__all__ = ["Fleet", "Member", "Size"]

_COMMAND = (sys.executable, "-m", "dicom_node.cli", "--config")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many of each."""

    receivers: int = 3
    workers: int = 6
    schedulers: int = 2
    webs: int = 2
    senders: int = 4


@dataclass(slots=True, kw_only=True)
class Member:
    """One process of the fleet with all that it started, as a machine of its own would hold it."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it where it does not run, but for a scanner that has done its work."""
        if self.process is not None and self.process.poll() not in {None, 0}:
            self.process = None
        if self.process is None:
            with self.log.open("a") as log:
                self.process = subprocess.Popen(
                    self.command,
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def kill(self) -> None:
        """SIGKILL to all of it at the same moment."""
        if self.process is not None:
            with suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@dataclass(slots=True, kw_only=True)
class Fleet:
    """All of its members, as whatever supervises them sees them."""

    folder: Path
    members: list[Member]

    @property
    def sent(self) -> list[Path]:
        """The folders of the series that were acknowledged whole."""
        return [Path(line) for file in self.folder.glob("sent-*") for line in file.read_text().splitlines()]

    @property
    def sending(self) -> bool:
        """Whether a scanner has not done its work yet."""
        scanners = [one.process for one in self.members if one.name.startswith("sender")]
        return any(one is None or one.poll() != 0 for one in scanners)

    @property
    def journals(self) -> list[Path]:
        """Of each worker that ever lived: what it analysed, and when."""
        return sorted((self.folder / "journals").iterdir())

    def start(self) -> None:
        """Start what does not run."""
        for member in self.members:
            member.start()


@contextmanager
def fleet_of(size: Size, settings: Settings, folder: Path) -> Iterator[Fleet]:
    """Members with one archive and one database between them, not yet started; stopped in the end."""
    (folder / "journals").mkdir(parents=True)
    config, as_json = folder / "lungsentry.toml", folder / "settings.json"
    url_file = folder / "database-url"
    url_file.write_text(f"{settings.database_url}\n")
    config.write_text(document(settings.model_copy(update={"database": Database(url_file=url_file)})))
    as_json.write_text(settings.model_dump_json())
    paths = os.pathsep.join([str(harness.REPOSITORY), str(harness.FACTORIES)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    members: list[Member] = []

    def add(name: str, command: Sequence[str], **variables: str) -> None:
        log = folder / f"{name}.log"
        members.append(Member(name=name, command=command, environment={**environment, **variables}, log=log))

    ports = [free_port() for _ in range(size.receivers)]
    for number, port in enumerate(ports):
        add(f"receiver-{number}", (*_COMMAND, str(config), "receiver"), LUNGSENTRY_RECEIVER__PORT=str(port))
    for number in range(size.workers):
        journal = folder / "journals" / f"worker-{number}"
        add(f"worker-{number}", (sys.executable, "-m", "fleet_worker", str(as_json), str(journal)))
    for number in range(size.schedulers):
        add(f"scheduler-{number}", (*_COMMAND, str(config), "scheduler"))
    for number in range(size.webs):
        add(f"web-{number}", (*_COMMAND, str(config), "web"), LUNGSENTRY_WEB__PORT=str(free_port()))
    for number in range(size.senders):
        command = (sys.executable, "-m", "fleet_sender", str(folder), str(number), *map(str, ports))
        add(f"sender-{number}", command)
    fleet = Fleet(folder=folder, members=members)
    try:
        yield fleet
    finally:
        for member in fleet.members:
            member.kill()
