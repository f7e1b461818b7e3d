"""How the node is watched from outside."""

from pydantic import Field

from dicom_node.settings.section import Section

__all__ = ["Metrics"]


class Metrics(Section):
    """Metrics for Prometheus, /healthz and /readyz, by HTTP; each command that runs a role has a server of its own."""

    host: str = Field(default="127.0.0.1", description="Address to listen on; what is told names no patient.")
    port: int | None = Field(
        default=None, ge=0, le=65535, description="Port to listen on; none means none, 0 takes a free one and logs it."
    )
