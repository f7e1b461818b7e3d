"""A node whose flagged examinations are those of a phantom with a name, and the scheduler of its deliveries."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian, generate_uid
from store_bench import STUDY, Bench, new_database

from alerts import DICOM, Artefact, ArtefactKind, DeliveryState, Draft
from db import RecordedResult, Store, StoredDelivery
from dicom_node.composition import delivery_channels, node_sweeps
from dicom_node.settings import Database, Delivery, Destination, Node, Settings, Web
from dicom_node.storage.artefacts import ArtefactFolder
from dicom_node.sweeps import Sweeps

NAME, PATIENT, ACCESSION, BORN = "Phantom^Lung", "PHA-0815", "ACC-4711", "19500102"
TOLD = {"name": "Phantom", "patient": PATIENT, "accession": ACCESSION, "born": BORN}
"""What tells whose an examination is, as it would be found in a body."""
WORKLIST = "https://lungs.example.org"


def report_of_phantom() -> Draft:
    """A structured report about the phantom."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = Comprehensive3DSRStorage, generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, generate_uid()
    dataset.Modality, dataset.StudyDate, dataset.AccessionNumber = "SR", "20260301", ACCESSION
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex = NAME, PATIENT, BORN, "O"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    content = io.BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    return Draft(
        kind=ArtefactKind.SR,
        name="report.dcm",
        media_type=DICOM,
        content=content.getvalue(),
        sop_class_uid=dataset.SOPClassUID,
        sop_instance_uid=dataset.SOPInstanceUID,
    )


@dataclass(kw_only=True)
class MessageNode:
    """The store and the scheduler of a node with these settings."""

    bench: Bench
    settings: Settings

    @property
    def store(self) -> Store:
        """Its store, whose clock is the machine's."""
        return self.bench.store

    def flag(self, number: int = 1, *, destinations: Sequence[str] = ()) -> RecordedResult:
        """A result that is flagged: whoever is told then is told, and ``destinations`` get the report."""
        folder = ArtefactFolder(self.settings.results_dir)
        report: Artefact = folder.put(report_of_phantom())
        return self.bench.record(
            self.bench.running(f"{STUDY}.{number}", study=STUDY if number == 1 else f"{STUDY}.100.{number}"),
            artefacts=[report],
            destinations="".join(destinations),
            tell=self.settings.told("flagged"),
        )

    def tick(self) -> None:
        """One look at the deliveries, as the scheduler does it, until every lane has done its work."""
        sweeps = node_sweeps(self.settings, self.store, delivery_channels(self.settings, self.store))
        (deliveries,) = (one for one in sweeps if one.name == "deliveries")
        runner = Sweeps([deliveries], leads=lambda: True)
        runner.tick(deliveries)
        runner.wait()

    def deliveries(self) -> list[StoredDelivery]:
        """All of them, the oldest first."""
        return list(reversed(self.store.deliveries.list()))

    def states(self) -> list[DeliveryState]:
        """How they stand."""
        return [one.state for one in self.deliveries()]


@contextmanager
def message_node(
    folder: Path, *destinations: Destination, clock: Callable[[], datetime] | None = None, **delivery: float
) -> Iterator[MessageNode]:
    """A node with these destinations, which tries again at once; its clock is the machine's where none is given."""
    url = new_database("sqlite", folder)
    settings = Settings(
        node=Node(data_dir=folder),
        database=Database(url=url),
        destinations=destinations,
        delivery=Delivery(**{"retry_base_s": 0.001, "timeout_s": 10.0, **delivery}),  # type: ignore[arg-type]
        web=Web(public_url=WORKLIST),
    )
    with Store.open(url, clock=clock or (lambda: datetime.now(UTC))) as store:
        yield MessageNode(bench=Bench(store=store, url=url), settings=settings)


def told_of_phantom(*bodies: str | bytes) -> set[str]:
    """Which of the phantom's marks stand in what went out."""
    text = "\n".join(one if isinstance(one, str) else one.decode("utf-8", "replace") for one in bodies)
    return {mark for mark, value in TOLD.items() if value.lower() in text.lower()}


IDENTIFIED = {"none": set[str](), "accession": {"accession"}, "full": set(TOLD)}
"""Which marks may stand there, by ``identify``."""
