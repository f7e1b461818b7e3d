"""Where results go: one type of settings for each channel."""

from typing import Any, Literal

from pydantic import Field, model_validator

from alerts.artefact import DEFAULT_KINDS
from dicom_node.settings.section import AETitle, Section


class DicomDestination(Section):
    """Where results are sent to: a DICOM node."""

    channel: Literal["dicom"] = Field(default="dicom", description="How it is reached: dicom is C-STORE.")
    name: str = Field(
        default="",
        max_length=64,
        description="What it is called in lists and commands, and for what waits; else its AE title.",
    )
    ae_title: AETitle = Field(description="AE title of the PACS that takes the results.")
    host: str = Field(min_length=1, description="Its host name or address.")
    port: int = Field(ge=1, le=65535, description="Its port.")
    kinds: tuple[Literal["opacities", "lobes", "summary", "key_slices", "pdf", "sr", "key_objects"], ...] = Field(
        default=tuple(kind.value for kind in DEFAULT_KINDS),
        description="Which results it gets: opacities and lobes are segmentations, summary and key_slices "
        "secondary captures, pdf is the summary as a document, sr the report, key_objects the selection of what to "
        "look at. A series that is not flagged gets the report alone.",
    )

    @model_validator(mode="before")
    @classmethod
    def _named(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("name"):
            return {**values, "name": values.get("ae_title", "")}
        return values

    @property
    def where(self) -> str:
        """How it is reached, for lists."""
        return f"{self.ae_title} at {self.host}:{self.port}"


Destination = DicomDestination
