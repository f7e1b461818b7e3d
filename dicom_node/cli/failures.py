"""Expected errors: which there are, what the person is told, and the exit code. No traceback for any of them."""

import errno
import sys
from collections.abc import Generator
from contextlib import contextmanager

import typer

from dicom_node.cli.manual import ExitCode
from dicom_node.cli.output import print_error


class CommandError(Exception):
    """The command cannot do what was asked; the message says why and what would do."""

    exit_code = ExitCode.FAILED


class NotThereError(CommandError):
    """What the command needs does not exist, or cannot be reached; the message says how to get it."""

    exit_code = ExitCode.UNREACHABLE


class UsageError(CommandError):
    """What was asked is not a question: an option or argument does not fit."""

    exit_code = ExitCode.USAGE


@contextmanager
def reported() -> Generator[None, None, None]:
    """Turn an expected error into one line on standard error and ``typer.Exit``; let everything else through."""
    try:
        yield
    except CommandError as error:
        print_error(str(error))
        raise typer.Exit(error.exit_code) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        print_error(_told_os(error))
        raise typer.Exit(ExitCode.FAILED) from error
    except _domain_errors() as error:
        message, code = _told(error)
        print_error(message)
        raise typer.Exit(code) from error


_BASES = (
    ("analysis.errors", "AnalysisError"),
    ("db", "StoreError"),
    ("dicom_node.settings", "SettingsError"),
    ("dicom_node.peers.errors", "PeerError"),
    ("dicom_node.simulator.errors", "SimulatorError"),
    ("dicom_node.network.tls", "TlsError"),
    ("dicom_node.export.errors", "ExportError"),
)


def _domain_errors() -> tuple[type[Exception], ...]:
    """The bases of the packages' errors; a package that was not imported cannot have raised one."""
    return tuple(getattr(sys.modules[module], name) for module, name in _BASES if module in sys.modules)


def _told(error: Exception) -> tuple[str, ExitCode]:
    from dicom_node.settings import SettingsError

    if isinstance(error, SettingsError):
        return str(error), ExitCode.USAGE
    if "dicom_node.peers.errors" in sys.modules:
        from dicom_node.peers.errors import Unreachable

        if isinstance(error, Unreachable):
            return str(error), ExitCode.UNREACHABLE
    if "db" in sys.modules:
        from db import DatabaseUnavailable, SchemaOutOfDate

        if isinstance(error, SchemaOutOfDate):
            return f"{error} Run `lungsentry db upgrade`.", ExitCode.FAILED
        if isinstance(error, DatabaseUnavailable):
            return f"{error} Check database.url (`lungsentry config show`) and the server.", ExitCode.UNREACHABLE
    return str(error), ExitCode.FAILED


def _told_os(error: OSError) -> str:
    what = error.strerror or type(error).__name__
    return f"{error.filename}: {what}" if error.filename else what
