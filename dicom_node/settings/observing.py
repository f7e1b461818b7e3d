"""How the node is watched from outside."""

from pathlib import Path

from pydantic import Field

from dicom_node.settings.section import Section

__all__ = ["Audit", "Metrics"]


class Metrics(Section):
    """Metrics for Prometheus, /healthz and /readyz, by HTTP; each command that runs a role has a server of its own."""

    host: str = Field(default="127.0.0.1", description="Address to listen on; what is told names no patient.")
    port: int | None = Field(
        default=None, ge=0, le=65535, description="Port to listen on; none means none, 0 takes a free one and logs it."
    )


class Audit(Section):
    """The audit trail, and transfers of images and results, as DICOM audit messages (PS3.15 A.5) by syslog over TLS."""

    host: str | None = Field(default=None, description="The audit record repository; none tells nobody.")
    port: int = Field(default=6514, ge=1, le=65535, description="Its port.")
    certificates: Path | None = Field(
        default=None,
        description="Folder with trusted/*.pem, and certificate.pem with key.pem where one is asked for; none trusts "
        "whom the machine trusts.",
    )
