"""What ``doctor`` looks at: each check says ok, warn or fail, what it saw, and what to do."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from db import SchemaOutOfDate, StoreError
from dicom_node.cli.invocation import is_sqlite, open_store, sqlite_file
from dicom_node.failing_units import CLOCK
from dicom_node.storage.disk_space import Room, room_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from db import Store
    from dicom_node.settings import Settings

_LOWEST_PYTHON, _ABOVE_PYTHON = (3, 11), (3, 14)
_CONNECT_S = 1.0
_TIMEDATECTL_S = 3.0
_FAILING_SHOWN = 20
_SILENT = timedelta(seconds=60)
"""A process says every ten seconds that it lives."""
_STUCK_FAILURES, _STUCK = 3, timedelta(minutes=10)
"""What failed so often for so long does not mend itself."""
_CLOCK_TOLERANCE = timedelta(minutes=5)
_SET_ASIDE_SHOWN = timedelta(days=1)
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - recognised, not listened on
_SYNTAXES = (
    "ImplicitVRLittleEndian",
    "ExplicitVRLittleEndian",
    "DeflatedExplicitVRLittleEndian",
    "RLELossless",
    "JPEGLossless",
    "JPEGLosslessSV1",
    "JPEGLSLossless",
    "JPEGLSNearLossless",
    "JPEG2000Lossless",
    "JPEG2000",
    "HTJ2KLossless",
    "HTJ2KLosslessRPCL",
    "HTJ2K",
)


class Level(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of ``doctor``."""

    name: str
    level: Level
    saw: str
    do: str | None = None


def _ok(name: str, saw: str) -> Check:
    return Check(name=name, level=Level.OK, saw=saw)


def _warn(name: str, saw: str, do: str) -> Check:
    return Check(name=name, level=Level.WARN, saw=saw, do=do)


def _fail(name: str, saw: str, do: str) -> Check:
    return Check(name=name, level=Level.FAIL, saw=saw, do=do)


def python_version(_settings: Settings) -> Iterator[Check]:
    """The interpreter is one that the distribution supports, and torch is there."""
    seen = ".".join(str(part) for part in sys.version_info[:3])
    if _LOWEST_PYTHON <= sys.version_info[:2] < _ABOVE_PYTHON:
        yield _ok("python", seen)
    else:
        yield _fail("python", seen, "install Python 3.11, 3.12 or 3.13 and make the environment again")
    for package in ("torch", "pynetdicom", "pydicom", "highdicom"):
        try:
            yield _ok(package, metadata.version(package))
        except metadata.PackageNotFoundError:
            yield _fail(package, "not installed", "install lungsentry again in this environment")


def codecs(_settings: Settings) -> Iterator[Check]:
    """Pixels can be decoded in every transfer syntax that the receiver accepts."""
    import pydicom.uid
    from pydicom.pixels.decoders.base import get_decoder

    for keyword in _SYNTAXES:
        syntax: pydicom.uid.UID = getattr(pydicom.uid, keyword)
        decoder = get_decoder(syntax)
        if decoder.is_available:
            yield _ok(f"codec {keyword}", syntax)
        else:
            needed = " or ".join(decoder.missing_dependencies)
            yield _fail(f"codec {keyword}", f"{syntax} cannot be decoded", f"install {needed}")


def disk(settings: Settings) -> Iterator[Check]:
    """The data folder can be written to and has room above the watermark."""
    folder = settings.node.data_dir.resolve()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(existing, os.W_OK):
        yield _fail(
            "data folder", f"{existing} cannot be written to", "let the node's user write there, or set node.data_dir"
        )
        return
    free, watermark = shutil.disk_usage(existing).free, settings.receiver.disk_watermark_bytes
    saw = f"{folder}{'' if existing == folder else ' (made by serve)'}, {free / 1e9:.1f} GB free"
    room = room_of(free, watermark)
    if room is Room.FULL:
        yield _fail(
            "data folder", f"{saw}: below the watermark of {watermark / 1e9:.1f} GB, instances are refused", "make room"
        )
    elif room is Room.LOW:
        yield _warn("data folder", saw, "make room, or set retention.analysed_days and excluded_days")
    else:
        yield _ok("data folder", saw)


def database_and_peers(settings: Settings) -> Iterator[Check]:
    """The database answers with the schema of this version, and some peer may send."""
    if is_sqlite(settings) and not sqlite_file(settings).exists():
        yield _warn("database", f"{sqlite_file(settings)} does not exist yet", "`lungsentry serve` makes it")
        return
    try:
        with open_store(settings) as store:
            yield _ok("database", "SQLite" if is_sqlite(settings) else "PostgreSQL")
            yield _peers(settings, len(store.peers.list()), sum(1 for _ in store.peers.refusals()))
            yield from standing(settings, store)
    except SchemaOutOfDate as error:
        yield _fail("database", str(error), "run `lungsentry db upgrade`")
    except StoreError as error:
        yield _fail("database", str(error), "check database.url and that the server runs")


def standing(settings: Settings, store: Store) -> Iterator[Check]:
    """How the running node stands, as its database tells: what ``doctor`` and ``status`` both show."""
    yield from processes(store)
    yield from same_database(settings, store)
    yield from clock_against(store.status().last_received_at)
    yield from set_aside(store)
    yield from failing_units(store)


def processes(store: Store) -> Iterator[Check]:
    """Every process of the node that has not ended gives a sign of life; none at all where the node does not run."""
    now = datetime.now(UTC)
    for one in store.heartbeats.list():
        name, silent = f"process {one.role}", now - one.beat_at
        who = f"{one.pid} on {one.host}"
        if silent > _SILENT:
            saw = f"{who} gives no sign of life since {one.beat_at:%Y-%m-%d %H:%M:%S} UTC"
            yield _fail(name, saw, "it hangs or cannot be started: look at its log and at the memory")
        elif silent < -_CLOCK_TOLERANCE:
            yield _fail(name, f"{who} gave a sign of life in the future: the clock stepped back", "use NTP")
        else:
            yield _ok(name, f"{who}, alive")


def failing_units(store: Store) -> Iterator[Check]:
    """Whatever the scheduler looks at and fails at now, each with its cause; the rest goes on meanwhile."""
    for failing in store.failing_units.list(_FAILING_SHOWN):
        if failing.sweep == CLOCK:
            saw = f"{failing.cause}, at {failing.last_at:%Y-%m-%d %H:%M} UTC"
            yield _warn(
                "clock step", saw, "synchronise it (NTP); times of before the step are those of the other clock"
            )
            continue
        since = f"{failing.failures} times since {failing.first_at:%Y-%m-%d %H:%M} UTC"
        stuck = failing.failures >= _STUCK_FAILURES and datetime.now(UTC) - failing.first_at > _STUCK
        told, what = (_fail, "is stuck") if stuck else (_warn, "fails")
        yield told(f"sweep {failing.sweep}", f"{failing.unit} {what}, {since}: {failing.cause}", "mend its cause")


def set_aside(store: Store) -> Iterator[Check]:
    """What was given up after all of its attempts, and waits for somebody."""
    if dead_letters := store.status().dead_letters:
        commands = "`lungsentry jobs list`, `deliveries list` and `commitments list` tell why; each can be tried again"
        yield _warn("dead letters", f"{dead_letters} given up after all attempts", commands)
    if series := store.series.set_aside(datetime.now(UTC) - _SET_ASIDE_SHOWN):
        saw = f"{series} of the last day could not be read or screened, and are set aside"
        yield _warn(
            "series", saw, "`lungsentry series list --state excluded` tells why; `requeue --series` tries again"
        )


def same_database(settings: Settings, store: Store) -> Iterator[Check]:
    """The node that listens on the settings' port writes to the settings' database."""
    if store.heartbeats.list() or settings.receiver.port == 0 or not _listens(settings):
        return
    yield _fail(
        "database",
        f"a node listens on port {settings.receiver.port}, and no process of it writes here: the file was replaced, "
        "or these are another node's settings",
        "restart the node, or name its settings with --config",
    )


def _listens(settings: Settings) -> bool:
    target = _WILDCARDS.get(settings.receiver.host, settings.receiver.host)
    try:
        with socket.create_connection((target, settings.receiver.port), timeout=_CONNECT_S):
            return True
    except OSError:
        return False


def _peers(settings: Settings, allowed: int, refused: int) -> Check:
    if settings.receiver.accept_unknown_peers:
        return _warn("peers", "any peer may send", "set receiver.accept_unknown_peers = false outside a test bench")
    if not allowed:
        do = "`lungsentry peers refused` shows who tried" if refused else "`lungsentry peers allow AE_TITLE`"
        return _warn("peers", "none is allowed: every association is refused", do)
    return _ok("peers", f"{allowed} allowed")


def clock_against(last_received_at: datetime | None) -> Iterator[Check]:
    """What was received before now: else the clock was set back since."""
    if last_received_at is not None and last_received_at > datetime.now(UTC) + _CLOCK_TOLERANCE:
        yield _fail(
            "clock step", "instances were received in the future: the clock was set back", "synchronise it (NTP)"
        )


def weights(settings: Settings) -> Iterator[Check]:
    """The shipped weights and those in use are there, with the SHA-256 that was named for them."""
    from analysis.errors import AnalysisError
    from analysis.model.registry import SHIPPED, Registry
    from analysis.model.weights import read_weights

    registry = Registry(directory=settings.models_dir)
    wanted = {SHIPPED: None, **_in_use(settings)}
    for reference, sha256 in wanted.items():
        try:
            manifest, _ = read_weights(registry.find(reference).directory)
        except AnalysisError as error:
            do = "install lungsentry again; never copy weights by hand"
            yield _fail("weights", str(error), do if reference == SHIPPED else "`lungsentry models install` it again")
            continue
        told = f"{manifest.name} {manifest.version}, SHA-256 {manifest.sha256[:12]}... as its manifest names"
        if sha256 not in (None, manifest.sha256):
            yield _fail(
                "weights", f"{told}, but {sha256[:12]}... was put in use", "`lungsentry models activate` it anew"
            )
        else:
            yield _ok("weights", told)


def _in_use(settings: Settings) -> dict[str, str]:
    """Reference and SHA-256 of the models in use, as far as the database tells; another check speaks of that."""
    if is_sqlite(settings) and not sqlite_file(settings).exists():
        return {}
    from db import StoreError

    try:
        with open_store(settings) as store:
            return {one.reference: one.sha256 for one in store.models.assignments()}
    except StoreError:
        return {}


def port(settings: Settings) -> Iterator[Check]:
    """The receiver's port is either free or listened on."""
    host, number = settings.receiver.host, settings.receiver.port
    name = f"port {number}"
    if number == 0:
        yield _warn(name, "a free port is taken at every start", "set receiver.port, so that scanners find the node")
        return
    if _listens(settings):
        yield _ok(name, f"something listens on {host}; `lungsentry echo` asks whether it is the node")
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except PermissionError:
            yield _fail(name, "needs privileges", "set receiver.port above 1023, or grant CAP_NET_BIND_SERVICE")
        except OSError as error:
            yield _fail(name, f"cannot be bound on {host}: {error.strerror}", "set receiver.host or receiver.port")
        else:
            yield _ok(name, f"free on {host}; the node is not running")


def tls(settings: Settings) -> Iterator[Check]:
    """The certificates can be used, and hold for longer than the warning asks for."""
    if settings.tls.certificates is None:
        return
    from dicom_node.network.tls import CertificateFolder, TlsError

    folder, now = CertificateFolder(settings.tls.certificates), datetime.now(UTC)
    try:
        folder.server_context()
        certificates = folder.certificates()
    except TlsError as error:
        yield _fail("tls", str(error), "put certificate.pem, key.pem and trusted/*.pem there; the node sees it at once")
        return
    for one in certificates:
        name, saw = f"certificate {one.name}", f"holds until {one.not_after:%Y-%m-%d %H:%M} UTC"
        if one.not_after <= now or one.not_before > now:
            yield _fail(name, saw if one.not_after <= now else f"holds from {one.not_before:%Y-%m-%d}", "replace it")
        elif one.not_after - now <= timedelta(days=settings.tls.warn_days):
            yield _warn(name, saw, "replace it in time: the new file is taken up without a restart")
        else:
            yield _ok(name, saw)


def clock(_settings: Settings) -> Iterator[Check]:
    """The clock is later than the software it runs, and synchronised where the system can say so."""
    now = datetime.now().astimezone()
    built = datetime.fromtimestamp(Path(__file__).stat().st_mtime, tz=UTC)
    if now < built - timedelta(days=1):
        yield _fail("clock", f"{now:%Y-%m-%d %H:%M %Z} is before this software was made", "set the clock, use NTP")
    elif _synchronised() is False:
        yield _warn("clock", f"{now:%Y-%m-%d %H:%M %Z}, not synchronised", "run an NTP client, such as chrony")
    else:
        yield _ok("clock", f"{now:%Y-%m-%d %H:%M %Z}")


def _synchronised() -> bool | None:
    """Whether systemd finds the clock synchronised; None where there is no systemd to ask."""
    timedatectl = shutil.which("timedatectl")
    if timedatectl is None:
        return None
    try:
        answer = subprocess.run(  # noqa: S603 - a fixed command
            [timedatectl, "show", "--property=NTPSynchronized", "--value"],
            capture_output=True,
            text=True,
            timeout=_TIMEDATECTL_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"yes": True, "no": False}.get(answer.stdout.strip())


CHECKS: tuple[Callable[[Settings], Iterator[Check]], ...] = (
    python_version,
    codecs,
    weights,
    disk,
    database_and_peers,
    port,
    tls,
    clock,
)
