"""What every section of the settings is made of."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

__all__ = ["AETitle", "Section", "SettingsError", "first_line_of"]

AETitle = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=16, pattern=r"^[!-\[\]-~ ]+$")
]
"""An application entity title: 1 to 16 characters, no backslash or control character (PS3.5 section 6.2)."""


class SettingsError(Exception):
    """The settings cannot be used; the message names the field, the value and what would do."""


class Section(BaseModel):
    """Fields with their defaults, limits and descriptions; frozen, and nothing unknown is accepted."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def first_line_of(file: Path, field: str) -> str:
    """What a file that ``field`` names holds of a secret.

    Raises:
        SettingsError: it cannot be read, or its first line is empty.
    """
    try:
        first_line = file.read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{field}: {file} cannot be read") from error
    if not first_line:
        raise SettingsError(f"{field}: the first line of {file} is empty")
    return first_line
