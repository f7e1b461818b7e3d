"""The scanner's side: files go to the node over as many associations as a scanner opens."""

from collections.abc import Callable, Iterable
from pathlib import Path

from dicom_node.peers.remote import TIMEOUT_S, Remote
from dicom_node.peers.sending import Progress, Report, send

__all__ = ["send_files"]


def send_files(
    paths: Iterable[Path],
    *,
    host: str,
    port: int,
    calling_ae_title: str = "SIMSCANNER",
    called_ae_title: str = "LUNGSENTRY",
    associations: int = 1,
    on_progress: Callable[[Progress], None] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Report:
    """Send files as `dicom_node.peers.sending.send` does, with a scanner's usual AE titles.

    Raises:
        PeerError: no path is a DICOM file, or no association came about at all.
    """
    scanned = Remote(
        ae_title=called_ae_title, host=host, port=port, calling_ae_title=calling_ae_title, timeout_s=timeout_s
    )
    return send(scanned, list(paths), associations=associations, on_progress=on_progress)
