"""A destination that takes objects and answers as a test wants."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt

from alerts import SOP_CLASSES, ArtefactKind
from dicom_node.settings import DicomDestination

REPORTS = ("sr",)


@contextmanager
def storage_scp(
    ae_title: str, reply: Callable[[evt.Event], int], *, kinds: tuple[str, ...] = REPORTS
) -> Iterator[DicomDestination]:
    """A Storage SCP for these kinds that answers each C-STORE by ``reply``, as a destination of the settings."""
    entity = AE(ae_title=ae_title)
    for sop_class in {SOP_CLASSES[ArtefactKind(kind)] for kind in kinds}:
        entity.add_supported_context(sop_class, ExplicitVRLittleEndian)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, reply)])
    assert server is not None
    try:
        port = server.socket.getsockname()[1]
        yield DicomDestination.model_validate({"ae_title": ae_title, "host": "127.0.0.1", "port": port, "kinds": kinds})
    finally:
        server.shutdown()
