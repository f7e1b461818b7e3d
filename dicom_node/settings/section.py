"""What every section of the settings is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

AETitle = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=16, pattern=r"^[!-\[\]-~ ]+$")
]
"""An application entity title: 1 to 16 characters, no backslash or control character (PS3.5 section 6.2)."""


class Section(BaseModel):
    """Fields with their defaults, limits and descriptions; frozen, and nothing unknown is accepted."""

    model_config = ConfigDict(frozen=True, extra="forbid")
