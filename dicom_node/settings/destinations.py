"""Where results go: one type of settings for each channel."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import BeforeValidator, Field, field_validator, model_validator

from alerts.artefact import DEFAULT_KINDS
from dicom_node.settings.section import AETitle, Section

__all__ = [
    "Destination",
    "Destinations",
    "DicomDestination",
    "Hl7Destination",
    "MailDestination",
    "MessageDestination",
    "StowDestination",
    "SyslogDestination",
    "WebhookDestination",
]

_Kind = Literal["opacities", "lobes", "label_map", "summary", "key_slices", "pdf", "sr", "key_objects"]
_KINDS: Any = Field(
    default=tuple(kind.value for kind in DEFAULT_KINDS),
    description="Which results it gets: opacities and lobes are segmentations, label_map the opacities "
    "as one label map for who takes those, summary and key_slices secondary "
    "captures, pdf is the summary as a document, sr the report, key_objects the selection of what to look at. A series "
    "that is not flagged gets the report alone.",
)
_NAME = "What it is called in lists and commands, and for what waits"
_HOST = Field(min_length=1, description="Its host name or address.")
_PORT = Field(ge=1, le=65535, description="Its port.")
_CERTIFICATES = Field(
    default=None,
    description="Folder with trusted/*.pem, and certificate.pem with key.pem where one is asked for; none trusts whom "
    "the machine trusts.",
)
_USER = Field(default=None, description="Who signs in there; none does not sign in.")
_PASSWORD_FILE = Field(default=None, description="File whose first line is the password.")
_CLOCK = r"([01]\d|2[0-3]):[0-5]\d"
_Url = Annotated[str, Field(pattern=r"^https?://[^@\s/?#]+(/[^@\s#]*)?$", max_length=2000)]
_Server = TypeVar("_Server", "StowDestination", "MailDestination", "WebhookDestination")
_Address = Annotated[str, Field(pattern=r"^[^@\s<>\"]+@[^@\s<>\"]+$", max_length=254)]


class DicomDestination(Section):
    """Where results are sent to: a DICOM node."""

    channel: Literal["dicom"] = Field(default="dicom", description="How it is reached: dicom is C-STORE.")
    name: str = Field(default="", max_length=64, description=f"{_NAME}; else its AE title.")
    ae_title: AETitle = Field(description="AE title of the PACS that takes the results.")
    host: str = _HOST
    port: int = _PORT
    kinds: tuple[_Kind, ...] = _KINDS

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

    @property
    def gets(self) -> str:
        """What it is given, for lists."""
        return ", ".join(self.kinds)


class StowDestination(Section):
    """Where results are sent to: a PACS that is spoken to by DICOMweb (STOW-RS)."""

    channel: Literal["stow"] = Field(default="stow", description="How it is reached.")
    name: str = Field(min_length=1, max_length=64, description=f"{_NAME}.")
    url: _Url = Field(description="Address of its DICOMweb services, without /studies.")
    user: str | None = _USER
    password_file: Path | None = _PASSWORD_FILE
    certificates: Path | None = _CERTIFICATES
    kinds: tuple[_Kind, ...] = _KINDS

    @model_validator(mode="after")
    def _has_password(self) -> "StowDestination":
        return _together(self)

    @property
    def where(self) -> str:
        """How it is reached, for lists."""
        return self.url.partition("?")[0]

    @property
    def gets(self) -> str:
        """What it is given, for lists."""
        return ", ".join(self.kinds)


class MessageDestination(Section):
    """Whom a message tells of flagged examinations: when, how much of whose they are, and how often."""

    name: str = Field(min_length=1, max_length=64, description=f"{_NAME}.")
    after: Literal["flagged", "taken up"] = Field(
        default="flagged",
        description="When: an examination is flagged, or a reader has taken it up (for clinicians). Where a PACS gets "
        "results, it has confirmed them before, or was waited for for five minutes.",
    )
    identify: Literal["none", "accession", "full"] = Field(
        default="none", description="What is told of the patient: nothing, the accession number, or everything."
    )
    quiet_hours: str | None = Field(
        default=None,
        pattern=rf"^{_CLOCK}-{_CLOCK}$",
        description='Time in which only category 1 is told ("22:00-07:00"); the rest waits for its end.',
    )
    time_zone: str = Field(default="UTC", description="Zone of quiet_hours.")
    most_per_hour: int = Field(default=30, ge=1, description="More than these wait for the next hour.")
    certificates: Path | None = _CERTIFICATES

    @field_validator("time_zone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError("there is no such time zone")
        return value

    @property
    def kinds(self) -> tuple[_Kind, ...]:
        """It gets no objects."""
        return ()

    @property
    def gets(self) -> str:
        """What it is given, for lists."""
        return f"messages, {self.after}"


class MailDestination(MessageDestination):
    """People who are told by mail, encrypted to the mail server by STARTTLS."""

    channel: Literal["mail"] = Field(default="mail", description="How it is reached.")
    host: str = Field(min_length=1, description="The mail server that takes what is sent; it must offer STARTTLS.")
    port: int = Field(default=587, ge=1, le=65535, description="Its port.")
    user: str | None = _USER
    password_file: Path | None = _PASSWORD_FILE
    sender: _Address = Field(description="Address that it is from.")
    to: tuple[_Address, ...] = Field(min_length=1, max_length=50, description="Addresses that it goes to.")
    after: Literal["flagged", "taken up"] = Field(
        default="taken up", description=MessageDestination.model_fields["after"].description
    )
    digest_minutes: float = Field(
        default=0, ge=0, description="What comes within so many minutes goes in one mail; category 1 goes at once."
    )

    @model_validator(mode="after")
    def _has_password(self) -> "MailDestination":
        return _together(self)

    @property
    def where(self) -> str:
        """How it is reached, for lists."""
        return f"{', '.join(self.to)} by {self.host}:{self.port}"


class WebhookDestination(MessageDestination):
    """A system that is told by HTTP, signed as Standard Webhooks has it."""

    channel: Literal["webhook"] = Field(default="webhook", description="How it is reached.")
    url: _Url = Field(description="Where requests are posted to; http only to this machine.")
    user: str | None = _USER
    password_file: Path | None = _PASSWORD_FILE
    secret_file: Path = Field(
        description="File with the secret in base64 (whsec_...); two lines while one takes the place of the other."
    )

    @model_validator(mode="after")
    def _has_password(self) -> "WebhookDestination":
        return _together(self)

    @field_validator("url")
    @classmethod
    def _is_encrypted(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme == "http" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
            raise ValueError("http is for this machine; elsewhere it is https")
        return value

    @property
    def where(self) -> str:
        """How it is reached, for lists; an address may hold more than everybody is to know."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


class Hl7Destination(MessageDestination):
    """A hospital's system that is told by HL7 v2 (ORU^R01 over MLLP)."""

    channel: Literal["hl7"] = Field(default="hl7", description="How it is reached.")
    host: str = _HOST
    port: int = Field(default=2575, ge=1, le=65535, description="Its port.")
    tls: bool = Field(default=False, description="Whether it is encrypted.")
    receiving_application: str = Field(default="", max_length=180, description="MSH-5 of what is sent.")
    receiving_facility: str = Field(default="", max_length=180, description="MSH-6.")
    after: Literal["flagged", "taken up"] = Field(
        default="taken up", description=MessageDestination.model_fields["after"].description
    )

    @property
    def where(self) -> str:
        """How it is reached, for lists."""
        return f"{self.host}:{self.port}"


class SyslogDestination(MessageDestination):
    """A syslog server (RFC 5424), by TLS."""

    channel: Literal["syslog"] = Field(default="syslog", description="How it is reached.")
    host: str = _HOST
    port: int = Field(default=6514, ge=1, le=65535, description="Its port.")

    @property
    def where(self) -> str:
        """How it is reached, for lists."""
        return f"{self.host}:{self.port}"


Destination = (
    DicomDestination | StowDestination | MailDestination | WebhookDestination | Hl7Destination | SyslogDestination
)


def _together(server: _Server) -> _Server:
    if (server.user is None) != (server.password_file is None):
        raise ValueError("user and password_file go together")
    return server


def _channelled(values: Any) -> Any:
    """A destination without a channel is a DICOM node, as all were."""
    if not isinstance(values, list | tuple):
        return values
    return [{"channel": "dicom", **one} if isinstance(one, dict) else one for one in values]


Destinations = Annotated[
    tuple[Annotated[Destination, Field(discriminator="channel")], ...], BeforeValidator(_channelled)
]
