"""A simulated scanner: chest phantoms of known burden, series made of them or of real files, and their sending."""

from dicom_node.simulator.context import write_pet_series
from dicom_node.simulator.errors import (
    AssociationAbortedError,
    AssociationRejectedError,
    NothingToSendError,
    PeerUnreachableError,
    SimulatorError,
)
from dicom_node.simulator.lesions import GGO_LABEL, HIGH_OPACITY_LABEL, LesionTooLargeError
from dicom_node.simulator.phantom import Phantom, PhantomProfile, PhantomSpec, build_phantom
from dicom_node.simulator.replay import ReplayedPatient, replay
from dicom_node.simulator.scanner import (
    EchoReport,
    FileReport,
    SendOutcome,
    SendProgress,
    SendReport,
    echo,
    send_files,
)
from dicom_node.simulator.series import SeriesHeader, header_for, write_series
from dicom_node.simulator.variants import Variant, write_variant

__all__ = [
    "GGO_LABEL",
    "HIGH_OPACITY_LABEL",
    "AssociationAbortedError",
    "AssociationRejectedError",
    "EchoReport",
    "FileReport",
    "LesionTooLargeError",
    "NothingToSendError",
    "PeerUnreachableError",
    "Phantom",
    "PhantomProfile",
    "PhantomSpec",
    "ReplayedPatient",
    "SendOutcome",
    "SendProgress",
    "SendReport",
    "SeriesHeader",
    "SimulatorError",
    "Variant",
    "build_phantom",
    "echo",
    "header_for",
    "replay",
    "send_files",
    "write_pet_series",
    "write_series",
    "write_variant",
]
