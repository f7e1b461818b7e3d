"""A simulated scanner: chest phantoms of known burden, series made of them or of real files, and their sending."""

from dicom_node.simulator.context import write_pet_series
from dicom_node.simulator.errors import NothingToReplay, SimulatorError
from dicom_node.simulator.lesions import GGO_LABEL, HIGH_OPACITY_LABEL, LesionTooLargeError
from dicom_node.simulator.phantom import Phantom, PhantomProfile, PhantomSpec, build_phantom
from dicom_node.simulator.replay import ReplayedPatient, replay
from dicom_node.simulator.scanner import send_files
from dicom_node.simulator.series import SeriesHeader, header_for, write_series
from dicom_node.simulator.variants import Variant, write_variant

__all__ = [
    "GGO_LABEL",
    "HIGH_OPACITY_LABEL",
    "LesionTooLargeError",
    "NothingToReplay",
    "Phantom",
    "PhantomProfile",
    "PhantomSpec",
    "ReplayedPatient",
    "SeriesHeader",
    "SimulatorError",
    "Variant",
    "build_phantom",
    "header_for",
    "replay",
    "send_files",
    "write_pet_series",
    "write_series",
    "write_variant",
]
