"""``serve`` and the roles that run alone: ``receiver``, ``worker``, ``scheduler``, ``web``."""

from __future__ import annotations

import json
import signal
import socket
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.failures import CommandError
from dicom_node.cli.invocation import Invocation, is_sqlite, open_store
from dicom_node.cli.manual import RESEARCH_USE, ExitCode, epilog
from dicom_node.cli.output import say
from dicom_node.signals import stop_on

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from dicom_node.metrics import Readiness
    from dicom_node.settings import Settings

_STARTING = {ExitCode.OK: "stopped when told to", ExitCode.FAILED: "could not start"}
_Json = Annotated[bool, typer.Option("--json", help="Tell where it listens as one line of JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(epilog=epilog("lungsentry serve", codes=_STARTING))(serve)
    app.command(epilog=epilog("lungsentry receiver", codes=_STARTING))(receiver)
    app.command(epilog=epilog("lungsentry worker", codes=_STARTING))(worker)
    app.command(epilog=epilog("lungsentry scheduler", codes=_STARTING))(scheduler)
    app.command(epilog=epilog("lungsentry web", codes=_STARTING))(web)


def serve(ctx: typer.Context, *, as_json: _Json = False) -> None:
    """Run the whole node on this machine until Ctrl-C: receiver, worker and scheduler, a process each.

    With web.port set the worklist is a fourth.

    On SQLite the data folder and the database are made, and the schema is upgraded, if need be.
    """
    settings = _begin(ctx, "node")
    _claim_port(settings)
    if is_sqlite(settings):
        settings.node.data_dir.mkdir(parents=True, exist_ok=True)
    else:
        _check_schema(settings)
    from dicom_node.node import run_node

    with _observed(settings, "node") as readiness:
        run_node(
            settings,
            stop_on(signal.SIGTERM, signal.SIGINT),
            _telling(settings, readiness, as_json=as_json),
            on_worklist=_telling_web(settings, as_json=as_json),
        )


def receiver(ctx: typer.Context, *, as_json: _Json = False) -> None:
    """Run the receiver alone: it takes instances from scanners and writes them to the archive."""
    settings = _begin(ctx, "receiver")
    _claim_port(settings)
    _check_schema(settings)
    from dicom_node.heartbeat import beating
    from dicom_node.node import run_receiver

    with _observed(settings, "receiver") as readiness, beating(settings.database_url, "receiver"):
        ready = _telling(settings, readiness, as_json=as_json)
        run_receiver(settings, ready=ready, stop=stop_on(signal.SIGTERM, signal.SIGINT))


def worker(ctx: typer.Context) -> None:
    """Run one worker alone: it takes jobs from the queue and analyses series. Start as many as the machine bears."""
    settings = _begin(ctx, "worker")
    _check_schema(settings)
    from dicom_node.node import run_worker

    with _observed(settings, "worker") as readiness:
        run_worker(settings, stop_on(signal.SIGTERM, signal.SIGINT), readiness.begin)


def scheduler(ctx: typer.Context) -> None:
    """Run the scheduler alone: completion, lapsed leases, deliveries, retention. One leads, others wait."""
    settings = _begin(ctx, "scheduler")
    _check_schema(settings)
    from dicom_node.heartbeat import beating
    from dicom_node.node import run_scheduler

    with _observed(settings, "scheduler") as readiness, beating(settings.database_url, "scheduler"):
        run_scheduler(settings, stop_on(signal.SIGTERM, signal.SIGINT), readiness.begin)


def web(ctx: typer.Context) -> None:
    """Run the worklist alone: flagged examinations in the browser. web.port says where."""
    settings = _begin(ctx, "web")
    if settings.web.port is None:
        raise CommandError("there is no port to listen on: set web.port in the settings")
    _check_schema(settings)
    from dicom_node.node import run_web

    tell = _telling_web(settings, as_json=False)
    with _observed(settings, "web") as readiness:

        def ready(port: int) -> None:
            tell(port)
            readiness.begin()

        run_web(settings, ready=ready, stop=stop_on(signal.SIGTERM, signal.SIGINT))


def _begin(ctx: typer.Context, role: str) -> Settings:
    from dicom_node import logs

    invocation = Invocation.of(ctx)
    settings = invocation.settings()
    logging = settings.logging.model_copy(update={"level": "DEBUG"}) if invocation.verbosity else settings.logging
    logs.configure(logging, role=role)
    return settings.model_copy(update={"logging": logging})


def _check_schema(settings: Settings) -> None:
    with open_store(settings):
        """Opening checks the schema and that the server answers."""


def _claim_port(settings: Settings) -> None:
    """Tell at once, and not by a process that dies again and again, that the port is taken or not ours to take."""
    host, port = settings.receiver.host, settings.receiver.port
    if port == 0:
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError as error:
            raise CommandError(
                f"port {port} needs privileges: take one above 1023 (receiver.port), or grant CAP_NET_BIND_SERVICE"
            ) from error
        except OSError as error:
            raise CommandError(
                f"cannot listen on {host}:{port} ({error.strerror}): is the node running already? "
                "Otherwise set receiver.port or receiver.host"
            ) from error


@contextmanager
def _observed(settings: Settings, role: str) -> Generator[Readiness]:
    from dicom_node.metrics import observed

    metrics = settings.metrics
    with ExitStack() as stack:
        try:
            readiness = stack.enter_context(observed(settings, role))
        except OSError as error:
            raise CommandError(
                f"cannot listen on {metrics.host}:{metrics.port} ({error.strerror}): set metrics.port, "
                "for each command on this machine another one"
            ) from error
        yield readiness


def _telling(settings: Settings, readiness: Readiness, *, as_json: bool) -> Callable[[int], None]:
    def tell(port: int) -> None:
        readiness.begin()
        node, host = settings.node, settings.receiver.host
        if as_json:
            where = {"ae_title": node.ae_title, "host": host, "port": port, "data_dir": str(node.data_dir.resolve())}
            sys.stdout.write(json.dumps(where) + "\n")
            sys.stdout.flush()
        else:
            say(f"{node.ae_title} listens on {host}:{port}, data in {node.data_dir.resolve()}. {RESEARCH_USE}")

    return tell


def _telling_web(settings: Settings, *, as_json: bool) -> Callable[[int], None]:
    def tell(port: int) -> None:
        if as_json:
            sys.stdout.write(json.dumps({"worklist": worklist_address(settings, port)}) + "\n")
            sys.stdout.flush()
        else:
            say(f"the worklist is at {worklist_address(settings, port)}. {RESEARCH_USE}")

    return tell


def worklist_address(settings: Settings, port: int) -> str:
    """What to type into a browser."""
    web = settings.web
    host = f"[{web.host}]" if ":" in web.host else web.host
    return web.public_url or f"{'https' if web.certificates else 'http'}://{host}:{port}"
