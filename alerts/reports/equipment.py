"""The device that makes the objects of a result, as each of them names it."""

from typing import Final

from highdicom import AlgorithmIdentificationSequence
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from alerts.reports.identity import derived_uid
from analysis.findings import Algorithm, Provenance

MANUFACTURER: Final = "Lungsentry project"
PRODUCT: Final = "Lungsentry"
NO_SERIAL_NUMBER: Final = "none"

_PROCESSING = Code("Newcode1", "99IHE", "Processing Algorithm")  # IHE AI Results: the purpose of an algorithm's host
_ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")  # CID 7162


def ascii_text(text: str) -> str:
    """Text that every Specific Character Set of a source can hold."""
    return text.encode("ascii", "replace").decode("ascii")


def device_uid(provenance: Provenance) -> str:
    """The UID of this software with these weights as an observer; the same wherever they run."""
    weights = [f"{part} {one.weights_sha256}" for part, one in sorted(provenance.algorithms.items())]
    return derived_uid("device", "lungsentry", provenance.software_version, *weights)


def contributing_equipment(provenance: Provenance) -> Dataset:
    """The software that processed the images, as an item of the Contributing Equipment Sequence.

    highdicom's own class knows no purpose of IHE.
    """
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(_PROCESSING)]
    item.Manufacturer = MANUFACTURER
    item.ManufacturerModelName = PRODUCT
    item.SoftwareVersions = ascii_text(provenance.software_version)
    item.DeviceUID = device_uid(provenance)
    item.ContributionDescription = "Measured opacities of the lungs"
    return item


def algorithm_of(provenance: Provenance, part: str) -> Algorithm:
    """The network that told this part; the lesions' where an older result does not name it."""
    return provenance.algorithms.get(part) or provenance.algorithms["lesions"]


def segment_algorithm(provenance: Provenance, part: str) -> AlgorithmIdentificationSequence:
    """The network that told this part, as a segment names it."""
    algorithm = algorithm_of(provenance, part)
    return AlgorithmIdentificationSequence(
        name=ascii_text(algorithm.name),
        family=_ARTIFICIAL_INTELLIGENCE,
        version=ascii_text(algorithm.version),
        source=MANUFACTURER,
        parameters={"Weights SHA-256": algorithm.weights_sha256},
    )
