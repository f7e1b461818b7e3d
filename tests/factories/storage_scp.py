"""A destination that takes objects and answers as a test wants."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt

from dicom_node.settings import DicomDestination


@contextmanager
def storage_scp(ae_title: str, reply: Callable[[evt.Event], int]) -> Iterator[DicomDestination]:
    """A Storage SCP for structured reports that answers each C-STORE by ``reply``, as a destination of the settings."""
    entity = AE(ae_title=ae_title)
    entity.add_supported_context(Comprehensive3DSRStorage, ExplicitVRLittleEndian)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, reply)])
    assert server is not None
    try:
        yield DicomDestination(ae_title=ae_title, host="127.0.0.1", port=server.socket.getsockname()[1])
    finally:
        server.shutdown()
