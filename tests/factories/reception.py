"""The real parts that take an instance in, put together as a process of the receiver does, without a network."""

import threading
import uuid
from collections.abc import Callable

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from db import Store
from dicom_node.network.protocol import AssociationInfo, StoreCommand
from dicom_node.storage.archive import Archive
from dicom_node.storage.associations import AssociationRecords
from dicom_node.storage.incoming import Incoming
from dicom_node.storage.indexer import Indexer
from dicom_node.storage.publisher import Publisher
from dicom_node.storage.reception import InstanceReception, ReceptionContext

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
INFO = AssociationInfo(association_id="a", calling_ae_title="CT1", called_ae_title="LUNGSENTRY", address="127.0.0.1")


def ct_slice(sop_instance_uid: str, *, series: str = "1.2.0", pixel: int = 0) -> bytes:
    """The smallest slice that is taken."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality, dataset.PatientID = CT, sop_instance_uid, "CT", "P"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2", series
    dataset.SamplesPerPixel, dataset.Rows, dataset.Columns, dataset.BitsAllocated = 1, 2, 2, 16
    dataset.PixelData = pixel.to_bytes(2, "little") * 4
    dataset["PixelData"].VR = "OW"
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset)
    return buffer.getvalue()


class Process:
    """What one process of the receiver takes instances in with. `die` leaves everything as a SIGKILL does."""

    def __init__(self, store: Store, archive: Archive, *, record: Callable[..., object] | None = None) -> None:
        self.incoming = Incoming(archive, f"receiver-{uuid.uuid4().hex}")
        records = AssociationRecords(store, self.incoming.folder.name)
        self.indexer = Indexer(record or store.intake.record_instances, self.incoming.forget, records)  # pyright: ignore[reportArgumentType] - a test may refuse
        self._context = ReceptionContext(
            archive=archive,
            incoming=self.incoming,
            publisher=Publisher(self.incoming),
            indexer=self.indexer,
            stopping=threading.Event(),
            disk_watermark_bytes=0,
            max_instance_bytes=1 << 20,
        )

    def begin(self, sop_instance_uid: str) -> InstanceReception:
        """A C-STORE's command has come."""
        command = StoreCommand(
            sop_class_uid=CT,
            sop_instance_uid=sop_instance_uid,
            context_sop_class_uid=CT,
            transfer_syntax_uid=EXPLICIT,
        )
        return InstanceReception(self._context, INFO, command)

    def take(self, sop_instance_uid: str, encoded: bytes) -> int:
        """A whole C-STORE; its status."""
        reception = self.begin(sop_instance_uid)
        reception.write([memoryview(encoded)])
        status = reception.finish()
        reception.conclude()
        return status

    def settle(self) -> None:
        """Wait until all that was taken has its row."""
        assert self.indexer.settle(INFO.association_id, 30)

    def close(self) -> None:
        """An orderly end."""
        self.indexer.close(30)
        self.incoming.close()
