"""Settings as a TOML document that explains itself, and as values that may be shown."""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from dicom_node.settings.destinations import (
    Destination,
    DicomDestination,
    Hl7Destination,
    MailDestination,
    StowDestination,
    SyslogDestination,
    WebhookDestination,
)
from dicom_node.settings.sections import Settings

_WIDTH = 100
_HIDDEN = "***"
_HEAD = """\
# Settings of Lungsentry. Every field stands here with its default and may be left out.
# A variable of the environment goes over this file: LUNGSENTRY_RECEIVER__PORT=104 sets port in [receiver].
"""
EXAMPLES: tuple[Destination, ...] = (
    DicomDestination(ae_title="PACS", host="pacs.example.org", port=104),
    StowDestination(name="Cloud", url="https://pacs.example.org/dicom-web"),
    MailDestination(name="Ward", host="mail.example.org", sender="node@example.org", to=("ward@example.org",)),
    WebhookDestination(
        name="Portal", url="https://portal.example.org/hooks/lungs", secret_file=Path("/etc/lungsentry/webhook-secret")
    ),
    Hl7Destination(name="HIS", host="engine.example.org"),
    SyslogDestination(name="Log", host="syslog.example.org"),
)
"""A destination of each channel."""
_HEAD_OF_DESTINATIONS = (
    "Where results and messages go. One [[destinations]] block each; without a channel it is a PACS."
)


def document(settings: Settings | None = None) -> str:
    """A TOML document of every field with its value (default: the defaults) and description; no password in it."""
    values = shown(settings or Settings.model_construct())
    lines = [_HEAD]
    for name, info in Settings.model_fields.items():
        section = info.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            lines.extend(_section(name, section, values[name]))
    lines.extend(_destinations(values["destinations"]))
    return "\n".join(lines).rstrip() + "\n"


def shown(settings: Settings) -> dict[str, Any]:
    """The settings as plain values, passwords in the database's URL, and what follows ``?`` in others, hidden."""
    values = settings.model_dump(mode="json")
    url = values["database"]["url"]
    if url:
        try:
            parsed = make_url(url)
            hidden = parsed.set(query=dict.fromkeys(parsed.query, _HIDDEN))  # libpq takes a password there too
            values["database"]["url"] = hidden.render_as_string(hide_password=True)
        except ArgumentError:
            values["database"]["url"] = _HIDDEN
    for one in values["destinations"]:
        if "?" in one.get("url", ""):  # what stands behind it often is a token
            one["url"] = f"{one['url'].partition('?')[0]}?{_HIDDEN}"
    return values


def _section(name: str, section: type[BaseModel], values: dict[str, Any]) -> Iterator[str]:
    yield f"# {(section.__doc__ or '').strip()}"
    yield f"[{name}]"
    nested: list[str] = []
    for field, info in section.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            nested.extend(_section(f"{name}.{field}", inner, values[field]))
        else:
            yield from _field(field, info, values[field])
    yield ""
    yield from nested


def _field(name: str, info: FieldInfo, value: object) -> Iterator[str]:
    yield from textwrap.wrap(info.description or "", _WIDTH, initial_indent="# ", subsequent_indent="# ")
    if value is None:
        yield f"# {name} ="
    else:
        yield tomli_w.dumps({name: value}).rstrip()


def _destinations(values: list[dict[str, Any]]) -> Iterator[str]:
    yield f"# {_HEAD_OF_DESTINATIONS}"
    for value in values or [one.model_dump(mode="json") for one in EXAMPLES]:
        kind = next(type(one) for one in EXAMPLES if one.channel == value["channel"])
        block = [f"# {(kind.__doc__ or '').strip()}", "[[destinations]]"]
        for field in sorted(kind.model_fields, key=lambda name: name != "channel"):
            block.extend(_field(field, kind.model_fields[field], value[field]))
        block.append("")
        if values:
            yield from block
        else:
            yield from (
                line if line.startswith("# ") or not line else f"# {line}" for line in "\n".join(block).split("\n")
            )
