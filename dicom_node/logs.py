"""Logs: structlog over the standard library, JSON lines or console, and no patient data whatever happens.

Our own events are dotted and past tense (``instance.stored``) and carry UIDs and AE titles. Two guards stand
behind that custom: fields named like patient attributes are removed, and text written by libraries that hold
datasets (pydicom, pynetdicom, highdicom, warnings) is replaced by where it came from, as are the messages of
exceptions that are not ours.
"""

import logging
import sys
import threading
import traceback
from collections.abc import MutableMapping
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import structlog

from dicom_node.settings import Logging

__all__ = ["cause_of", "configure", "log_uncaught", "remove_patient_fields"]

_LOG = structlog.stdlib.get_logger()

REMOVED = "[removed]"

_OWN_PACKAGES = frozenset({"analysis", "alerts", "db", "dicom_node"})
_ROOT = Path(__file__).resolve().parent.parent

# Attributes of PS3.15 table E.1-1 that identify a person or an order, as they would be spelt as a field's name.
_PATIENT_WORDS = (
    "patient",
    "birth",
    "accession",
    "physician",
    "operator",
    "person_name",
    "given_name",
    "family_name",
    "address_of",
    "telephone",
    "ethnic",
    "occupation",
    "medical_record",
    "insurance",
)
_PATIENT_FIELDS = frozenset({"sex", "age", "name", "dataset", "ds", "mrn", "issuer", "comments", "institution"})

# Loggers whose text may quote a dataset, and the least level that is kept of them.
_HOLDS_DATASETS = ("pydicom", "pynetdicom", "highdicom", "pylibjpeg", "openjpeg", "libjpeg", "py.warnings")
_LEAST_OF_LIBRARIES = {
    "apscheduler": logging.ERROR,
    "sqlalchemy": logging.WARNING,
    "alembic": logging.WARNING,
    "httpx2": logging.WARNING,  # it tells addresses, in which tokens may stand
    "httpcore2": logging.WARNING,
}


def configure(settings: Logging, *, role: str, stream: TextIO | None = None) -> None:
    """Set up logging of this process; called once, by its entry point."""
    out = stream or sys.stderr
    console = settings.format == "console" or (settings.format == "auto" and out.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _Role(role),
        _describe_exception,
        remove_patient_fields,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    renderer = (
        structlog.dev.ConsoleRenderer(colors=out.isatty())
        if console
        else structlog.processors.JSONRenderer(default=str)
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_mute_library, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level)
    logging.captureWarnings(capture=True)
    for name in _HOLDS_DATASETS:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name, level in _LEAST_OF_LIBRARIES.items():
        logging.getLogger(name).setLevel(level)


def log_uncaught() -> None:
    """Have what nothing catches, in any thread, logged like everything else: a bare traceback quotes messages."""

    def log(error: BaseException | None, thread: str) -> None:
        _LOG.critical("process.crashed", exc_info=error, thread=thread)

    sys.excepthook = lambda _kind, error, _trace: log(error, "main")
    threading.excepthook = lambda arguments: log(
        arguments.exc_value, arguments.thread.name if arguments.thread else "unknown"
    )


def cause_of(error: BaseException) -> str:
    """What went wrong without patient data: our own errors speak, others are a type and where they were raised."""
    if type(error).__module__.partition(".")[0] in _OWN_PACKAGES:
        return f"{type(error).__name__}: {error}"
    place = _innermost(error.__traceback__)
    number = f" (errno {error.errno})" if isinstance(error, OSError) and error.errno else ""
    return f"{type(error).__name__}{number} at {place}" if place else f"{type(error).__name__}{number}"


def remove_patient_fields(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace the value of every field that is named like a patient's attribute, also inside mappings."""
    for name, value in event.items():
        if name.startswith("_"):  # structlog's own bookkeeping, removed before rendering
            continue
        if _identifies(name):
            event[name] = REMOVED
        elif isinstance(value, dict):
            event[name] = remove_patient_fields(None, "", dict(value))
    return event


@lru_cache(maxsize=1024)
def _identifies(name: str) -> bool:
    spelling = name.lower()
    words = spelling.replace("_", "")
    return spelling in _PATIENT_FIELDS or any(word.replace("_", "") in words for word in _PATIENT_WORDS)


class _Role:
    def __init__(self, role: str) -> None:
        self._role = role

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("role", self._role)
        return event


def _mute_library(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The event of a foreign record: its text is dropped where it may quote a dataset, its place is kept."""
    record: logging.LogRecord = event["_record"]
    event["logger"] = record.name
    if record.name.partition(".")[0] in {name.partition(".")[0] for name in _HOLDS_DATASETS}:
        if record.name == "py.warnings":
            event["where"] = str(event["event"]).partition(": ")[0].strip()  # warnings.formatwarning: place first
        else:
            event["where"] = f"{record.name}:{record.lineno}"
        event["event"] = "library.reported"
    return event


def _describe_exception(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Turn ``exc_info`` into types and places; the text of a foreign exception may hold patient data."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info if isinstance(info, BaseException) else info[1] if isinstance(info, tuple) else None
    if error is not None:
        event["cause"] = cause_of(error)
        event["trace"] = [_place(frame) for frame in traceback.extract_tb(error.__traceback__)]
    record = event.get("_record")
    if isinstance(record, logging.LogRecord):
        record.exc_info, record.exc_text = None, None
    return event


def _innermost(trace: TracebackType | None) -> str | None:
    frames = traceback.extract_tb(trace)
    if not frames:
        return None
    own = [
        frame
        for frame in frames
        if Path(frame.filename).is_relative_to(_ROOT) and "site-packages" not in frame.filename
    ]
    return _place((own or frames)[-1])


def _place(frame: traceback.FrameSummary) -> str:
    path = Path(frame.filename)
    inside = path.is_relative_to(_ROOT) and "site-packages" not in path.parts
    name = path.relative_to(_ROOT).as_posix() if inside else "/".join(path.parts[-2:])
    return f"{name}:{frame.lineno}"
