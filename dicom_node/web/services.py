"""What the pages work with."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from db import Store
from dicom_node.delivery.channel import Channel
from dicom_node.settings import Destination, Settings, Web
from dicom_node.web.provider import Provider

__all__ = ["Services"]


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The store, the worklist's settings, the folders, and the event that ends the process.

    ``channels`` are those of the destinations, by name; ``told`` names those that hear of a case that is taken up.
    ``provider`` is where people sign in, beside passwords.
    """

    store: Store
    web: Web
    archive_dir: Path
    results_dir: Path
    ae_title: str
    destinations: tuple[Destination, ...] = ()
    told: tuple[str, ...] = ()
    channels: Mapping[str, Channel] = field(default_factory=dict[str, Channel])
    provider: Provider | None = None
    certificates: Path | None = None
    disk_watermark_bytes: int = 0
    clock: Callable[[], datetime] = _now
    stop: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def of(cls, settings: Settings, store: Store, channels: Mapping[str, Channel], stop: threading.Event) -> "Services":
        """The services of a node with these settings."""
        oidc = settings.web.oidc
        return cls(
            store=store,
            web=settings.web,
            archive_dir=settings.archive_dir,
            results_dir=settings.results_dir,
            ae_title=settings.node.ae_title,
            destinations=settings.destinations,
            told=settings.told("taken up"),
            channels=channels,
            provider=Provider(oidc, issuer=oidc.issuer) if oidc.issuer else None,
            certificates=settings.tls.certificates,
            disk_watermark_bytes=settings.receiver.disk_watermark_bytes,
            stop=stop,
        )

    @property
    def encrypted(self) -> bool:
        """Whether browsers speak HTTPS with the worklist."""
        return self.web.certificates is not None or self.web.behind_proxy

    @property
    def idle(self) -> timedelta:
        """How long a browser may rest before it is signed out."""
        return timedelta(minutes=self.web.idle_minutes)

    @property
    def lifetime(self) -> timedelta:
        """How long a session lasts in any case."""
        return timedelta(hours=self.web.session_hours)
