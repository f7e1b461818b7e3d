"""The worklist's section of the settings."""

import ipaddress
from pathlib import Path
from typing import Literal, Self
from zoneinfo import available_timezones

from pydantic import Field, field_validator, model_validator

from dicom_node.settings.section import Section, first_line_of

__all__ = ["Oidc", "Web"]


class Oidc(Section):
    """Signing in to the worklist at an identity provider (OpenID Connect). Without an issuer nobody does."""

    issuer: str | None = Field(
        default=None,
        pattern=r"^https://[^/\s]+(/\S*)?$|^http://(127\.0\.0\.1|localhost)(:\d+)?(/\S*)?$",
        description="Its issuer, which leads to its configuration; /oidc/callback of the worklist is registered there.",
    )
    client_id: str = Field(default="lungsentry", description="What the worklist is called there.")
    client_secret_file: Path | None = Field(
        default=None, description="File whose first line is the worklist's secret there; none: a public client."
    )
    name: str = Field(default="the hospital's account", description="What the sign-in page calls it.")
    roles_claim: str = Field(default="roles", description="Claim of the ID token that lists what a person is.")
    reader: str = Field(default="lungsentry-reader", description="What that claim holds for a reader;")
    administrator: str = Field(default="lungsentry-administrator", description="... for an administrator;")
    scientist: str = Field(default="lungsentry-scientist", description="... for a scientist;")
    auditor: str = Field(default="lungsentry-auditor", description="... for an auditor.")

    @property
    def client_secret(self) -> str:
        """The worklist's secret at the provider; empty where it has none. Never printed."""
        if self.client_secret_file is None:
            return ""
        return first_line_of(self.client_secret_file, "web.oidc.client_secret_file")


class Web(Section):
    """The worklist in the browser. Without a port there is none."""

    port: int | None = Field(
        default=None, ge=0, le=65535, description="Port to listen on (8042, say); 0 takes a free one and prints it."
    )
    host: str = Field(
        default="127.0.0.1",
        description="Address to listen on; one that others reach needs certificates or a proxy that encrypts.",
    )
    certificates: Path | None = Field(
        default=None, description="Folder with certificate.pem and key.pem: the worklist speaks HTTPS."
    )
    behind_proxy: bool = Field(
        default=False, description="A proxy in front speaks HTTPS, and tells who asks (X-Forwarded-For, -Proto)."
    )
    proxies: tuple[str, ...] = Field(
        default=("127.0.0.1", "::1"),
        description="With behind_proxy: addresses or networks of proxies whose word on who asks is believed.",
    )
    public_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/\s]+$",
        description="What people type, for links that are printed; without it, host and port.",
    )
    patient_data: Literal["masked", "full", "none"] = Field(
        default="masked",
        description="How patients appear: the last four of the ID until somebody asks, the whole ID, or nothing.",
    )
    time_zone: str = Field(default="UTC", description="Zone in which times are shown to who has chosen none.")
    idle_minutes: float = Field(default=30, gt=0, description="Idle time after which a browser is signed out.")
    session_hours: float = Field(default=12, gt=0, description="Time after which it is signed out in any case.")
    frame_ancestors: tuple[str, ...] = Field(
        default=(), description="Origins whose pages may hold ours in a frame, such as a portal's."
    )
    pacs_url: str | None = Field(
        default=None,
        description="Address of a study in the PACS's viewer; {study}, {series} and {accession} are filled in.",
    )
    ohif_url: str | None = Field(default=None, description="... in OHIF.")
    weasis_url: str | None = Field(default=None, description="... in Weasis (weasis://...).")
    oidc: Oidc = Oidc()

    @model_validator(mode="after")
    def _is_encrypted(self) -> Self:
        if self.port is not None and not _is_loopback(self.host) and not (self.certificates or self.behind_proxy):
            raise ValueError("a host that others reach needs certificates, or behind_proxy")
        return self

    @field_validator("time_zone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError("there is no such time zone")
        return value


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
