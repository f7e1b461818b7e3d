"""What the simulated scanner scans: kinds of phantom chests, their files and the truth about them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from dicom_node.cli.failures import UsageError
from dicom_node.cli.output import number

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dicom_node.simulator import Phantom, PhantomSpec

CALLING_AE_TITLE = "SIMSCANNER"


class Kind(StrEnum):
    """What the simulated scanner scans."""

    NORMAL = "normal"
    OPACITIES = "opacities"
    CTAC = "ctac"
    CTAC_OPACITIES = "ctac-opacities"
    CARDIAC_CTAC = "cardiac-ctac"


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What a phantom holds: volumes in mL, the burden in percent of the lungs."""

    lung_volume_ml: float
    ggo_volume_ml: float
    high_opacity_volume_ml: float
    burden_percent: float

    def cells(self) -> tuple[str, str, str, str]:
        """Burden, lung, GGO and high opacity as a table shows those of a result."""
        return (
            number(self.burden_percent, 2),
            number(self.lung_volume_ml, 0),
            number(self.ggo_volume_ml),
            number(self.high_opacity_volume_ml),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenPhantom:
    """A phantom series on disk."""

    study_instance_uid: str
    series_instance_uid: str
    paths: tuple[Path, ...]
    truth: Truth


def write_phantom(
    kind: Kind, folder: Path, changes: Mapping[str, object] | None = None, **header_changes: object
) -> WrittenPhantom:
    """Build the phantom of a kind, its specification and header changed as given, and write it as a new examination.

    Raises:
        UsageError: such a phantom cannot be built.
    """
    from dicom_node.simulator import LesionTooLargeError, build_phantom, header_for, write_series

    try:
        phantom = build_phantom(_specification(kind, changes or {}))
    except (LesionTooLargeError, ValueError) as error:
        raise UsageError(str(error)) from error
    header = header_for(phantom, salt=uuid.uuid4().hex, **header_changes)
    return WrittenPhantom(
        study_instance_uid=header.study_instance_uid,
        series_instance_uid=header.series_instance_uid,
        paths=tuple(write_series(phantom, folder, header)),
        truth=_truth(phantom),
    )


def _specification(kind: Kind, changes: Mapping[str, object]) -> PhantomSpec:
    from dicom_node.simulator import PhantomSpec

    make = {
        Kind.NORMAL: PhantomSpec.normal,
        Kind.OPACITIES: PhantomSpec.opacities,
        Kind.CTAC: PhantomSpec.ctac,
        Kind.CTAC_OPACITIES: PhantomSpec.ctac_opacities,
        Kind.CARDIAC_CTAC: PhantomSpec.cardiac_ctac,
    }
    return make[kind](**changes)


def _truth(phantom: Phantom) -> Truth:
    return Truth(
        lung_volume_ml=phantom.lung_volume_ml,
        ggo_volume_ml=phantom.ggo_volume_ml,
        high_opacity_volume_ml=phantom.high_opacity_volume_ml,
        burden_percent=phantom.burden_percent,
    )
