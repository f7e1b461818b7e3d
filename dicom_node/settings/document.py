"""Settings as a TOML document that explains itself, and as values that may be shown."""

import textwrap
from collections.abc import Iterator
from typing import Any

import tomli_w
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from dicom_node.settings.destinations import DicomDestination
from dicom_node.settings.sections import Settings

_WIDTH = 100
_HIDDEN = "***"
_HEAD = """\
# Settings of Lungsentry. Every field stands here with its default and may be left out.
# A variable of the environment goes over this file: LUNGSENTRY_RECEIVER__PORT=104 sets port in [receiver].
"""
_EXAMPLE_DESTINATION = DicomDestination(ae_title="PACS", host="pacs.example.org", port=104)


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
    """The settings as plain values, the password of the database's URL hidden."""
    values = settings.model_dump(mode="json")
    url = values["database"]["url"]
    if url:
        try:
            parsed = make_url(url)
            hidden = parsed.set(query=dict.fromkeys(parsed.query, _HIDDEN))  # libpq takes a password there too
            values["database"]["url"] = hidden.render_as_string(hide_password=True)
        except ArgumentError:
            values["database"]["url"] = _HIDDEN
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
    yield f"# {(DicomDestination.__doc__ or '').strip()} One [[destinations]] block each."
    for value in values or [_EXAMPLE_DESTINATION.model_dump(mode="json")]:
        block = ["[[destinations]]"]
        for field, info in DicomDestination.model_fields.items():
            block.extend(_field(field, info, value[field]))
        block.append("")
        if values:
            yield from block
        else:
            yield from (
                line if line.startswith("# ") or not line else f"# {line}" for line in "\n".join(block).split("\n")
            )
