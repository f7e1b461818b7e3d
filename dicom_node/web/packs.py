"""Where the pack of images of a result lies."""

from alerts import ArtefactKind
from analysis.view_pack import ViewPack
from db import StoredResult
from dicom_node.web.services import Services

__all__ = ["pack_of"]


def pack_of(services: Services, result: StoredResult) -> ViewPack | None:
    """The pack of a result; None where none was kept."""
    view = next((one for one in result.artefacts if one.kind is ArtefactKind.VIEW), None)
    path = None if view is None else services.results_dir / view.path
    return ViewPack(path=path) if path is not None and path.is_file() else None
