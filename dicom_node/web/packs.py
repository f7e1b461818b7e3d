"""Where the pack of images of a result lies."""

import structlog

from alerts import ArtefactKind
from analysis.view_pack import ViewPack, ViewPackUnreadable
from db import StoredResult
from dicom_node.logs import cause_of
from dicom_node.web.services import Services

__all__ = ["pack_of"]

_LOG = structlog.stdlib.get_logger()


def pack_of(services: Services, result: StoredResult) -> ViewPack | None:
    """The pack of a result; None where none was kept, or where it cannot be read."""
    view = next((one for one in result.artefacts if one.kind is ArtefactKind.VIEW), None)
    path = None if view is None else services.results_dir / view.path
    if path is None or not path.is_file():
        return None
    pack = ViewPack(path=path)
    try:
        pack.manifest()
    except ViewPackUnreadable as error:  # the figures, and the decision upon them, can do without
        _LOG.warning("view.unreadable", path=path.name, cause=cause_of(error))
        return None
    return pack
