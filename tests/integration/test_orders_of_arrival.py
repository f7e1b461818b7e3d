"""In whatever order and parts the series of a study come, they end alike: files, store and triage, without pixels."""

import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import node_harness as harness
import pydicom
import pytest
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydicom.uid import NuclearMedicineImageStorage, generate_uid

from analysis.findings import Profile
from db import SeriesState, Store, upgrade
from dicom_node.completion.triage import Triage
from dicom_node.settings import Settings
from dicom_node.simulator import PhantomSpec, build_phantom, header_for, write_pet_series, write_series

RUNS = int(os.environ.get("LUNGSENTRY_ORDERS", "5"))


class _Study(NamedTuple):
    """Its series in parts, by what they are; each part comes as a whole."""

    parts: dict[str, list[Path]]
    soft: str
    sharp: str


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> _Study:
    """A PET/CT whose CT has two reconstructions, one without a word of what it is for, and an NM image."""
    folder = tmp_path_factory.mktemp("study")
    phantom = build_phantom(PhantomSpec.ctac(matrix=128))
    named = {"series_description": "CT WB 5.0", "protocol": "PETCT_WB", "model_name": "Biograph64"}
    series = {
        kernel: write_series(phantom, folder / kernel, header_for(phantom, salt="orders", kernel=kernel, **named))
        for kernel in ("B30f", "B70f")
    }
    pet = write_pet_series(phantom, folder / "pt", header_for(phantom, salt="orders", **named))
    nm = pydicom.dcmread(pet[0])
    nm.SOPClassUID, nm.Modality, nm.SeriesInstanceUID = NuclearMedicineImageStorage, "NM", generate_uid()
    nm.SOPInstanceUID = generate_uid()
    nm.file_meta.MediaStorageSOPClassUID, nm.file_meta.MediaStorageSOPInstanceUID = nm.SOPClassUID, nm.SOPInstanceUID
    nm.save_as(folder / "nm.dcm")
    uids = {"B30f": str(generate_uid()), "B70f": str(generate_uid())}
    parts = {"pt": pet, "nm": [folder / "nm.dcm"]}
    for kernel, paths in series.items():
        for number, path in enumerate(paths):
            dataset = pydicom.dcmread(path)
            dataset.ReconstructionDiameter, dataset.SeriesInstanceUID = "780", uids[kernel]
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            dataset.save_as(path.with_name(f"{kernel}-{number:04d}.dcm"))
            path.unlink()
        written = sorted((folder / kernel).iterdir())
        parts |= {f"{kernel} head": written[: len(written) // 2], f"{kernel} feet": written[len(written) // 2 :]}
    parts["pt"] = [path.rename(path.with_name(f"pt-{path.name}")) for path in pet]
    return _Study(parts=parts, soft=uids["B30f"], sharp=uids["B70f"])


def _look(triage: Triage) -> None:
    for units in (triage.completions, triage.screenings):
        for unit in tuple(units()):
            unit.run()


@examples(max_examples=RUNS, deadline=None, derandomize=True)
@given(
    order=st.permutations(["pt", "nm", "B30f head", "B30f feet", "B70f head", "B70f feet"]),
    looks=st.lists(st.booleans(), min_size=6, max_size=6),
)
@example(order=["B30f head", "B30f feet", "B70f head", "B70f feet", "nm", "pt"], looks=[True] * 6)
def test_a_study_ends_alike_in_every_order_of_arrival(study: _Study, order: list[str], looks: list[bool]) -> None:
    """The soft reconstruction waits for its analysis as a CTAC, whole; looks between parts have no say."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(node={"data_dir": Path(folder) / "node"})
        settings.node.data_dir.mkdir()
        upgrade(settings.database_url)
        with Store.open(settings.database_url) as store:
            triage = harness.triage_of(settings, store)
            for part, looked_at in zip(order, [*looks[:-1], True], strict=True):
                harness.index(settings, store, study.parts[part])
                if looked_at:
                    _look(triage)
            while store.intake.complete_series():  # a look takes what its time allows
                _look(triage)
            soft, sharp = store.series.get(study.soft), store.series.get(study.sharp)
            assert soft is not None
            assert sharp is not None
            assert (soft.state, soft.profile) == (SeriesState.QUEUED, Profile.CTAC)
            assert soft.instance_count == sum(len(study.parts[f"B30f {half}"]) for half in ("head", "feet"))
            assert sharp.state in {SeriesState.EXCLUDED, SeriesState.QUEUED}
