"""Files of every kind are read, named or refused within bounds: never another exception, never without end."""

import os
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from ct_files import ct_slice, ct_slices, enhanced, item, set_pixels, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odd_values import NUMERIC, ODD, put

from analysis.errors import AnalysisError
from analysis.series import Outcome, Rule, Screening, assemble, read_series, screen_headers, screen_volume
from analysis.series import memory as memory_rules


def _through(folder: Path) -> Screening | None:
    """Headers, rules, pixels and their rules: a reasoned exclusion, a result, or an error of the analysis."""
    outcome = None
    for series in read_series([folder], derive=True).series:
        outcome = screen_headers(series)
        assert outcome.eligible or outcome.reason
        try:
            volume = assemble(series)
        except AnalysisError:
            continue
        assert volume.hu.dtype == np.int16
        screen_volume(volume, volume.hu < -500)
    return outcome


@settings(
    max_examples=int(os.environ.get("READING_EXAMPLES", "40")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    spoilt=st.lists(st.tuples(st.sampled_from(NUMERIC), ODD), min_size=1, max_size=2),
    times=st.sampled_from([1, 2, 3, 6]),
    where=st.sampled_from(["one", "half", "all"]),
)
def test_any_number_in_any_attribute_is_excluded_or_analysed(tmp_path_factory, spoilt, times, where):
    """One attribute or two, in one slice, half of them or all: never another exception."""
    slices = ct_slices(16)
    for index, dataset in enumerate(slices):
        if where == "all" or (where == "half" and index % 2) or (where == "one" and index == 5):
            for keyword, text in spoilt:
                put(dataset, keyword, text, times)
    _through(write(slices, tmp_path_factory.mktemp("odd")))


@pytest.mark.parametrize(
    "position", [(0, 0, "1.7e308"), (0, 0, "-1.7e308"), ("1e200", 0, 0), ("nan", 0, 0), (0, 0, "1e9")]
)
def test_a_position_that_no_table_reaches_is_named(tmp_path, position):
    """It counts as absent, and the reason says which attribute it is."""
    slices = ct_slices(20)
    put(slices[3], "ImagePositionPatient", "\\".join(map(str, position)), 1)
    screening = _through(write(slices, tmp_path))
    assert screening is not None
    assert "Image Position (Patient) absent or senseless in 1" in (screening.reason or "")


def test_items_beyond_what_an_image_needs_are_not_read(tmp_path):
    """900,000 empty items, of known and of unknown length: refused within a second or two, by their number."""
    for undefined in (False, True):
        folder = write(ct_slices(1), tmp_path / str(undefined))
        path = next(folder.iterdir())
        items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 900_000
        length = 0xFFFFFFFF if undefined else len(items)
        end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) if undefined else b""
        content = path.read_bytes()
        at = content.index(struct.pack("<HH", 0x7FE0, 0x0010))
        sequence = struct.pack("<HH2sHI", 0x5200, 0x9230, b"SQ", 0, length) + items + end
        path.write_bytes(content[:at] + sequence + content[at:])
        began = time.process_time()
        reading = read_series([folder])
        assert time.process_time() - began < 15
        assert not reading.series
        assert "more than an image needs" in reading.unreadable[0][1]


def _deflated(dataset: pydicom.Dataset, path: Path, tail: bytes, mebibytes: int) -> None:
    write([dataset], path.parent)
    plain = next(path.parent.iterdir()).read_bytes()
    meta_ends = 128 + 4 + 12 + struct.unpack("<I", plain[140:144])[0]
    meta = plain[:meta_ends].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    grown = len(meta) - meta_ends
    meta = meta[:140] + struct.pack("<I", struct.unpack("<I", meta[140:144])[0] + grown) + meta[144:]
    at = meta.index(b"1.2.840.10008.1.2.1.99") - 2
    meta = meta[:at] + struct.pack("<H", 22) + meta[at + 2 :]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(plain[meta_ends:] + tail)
    for _ in range(mebibytes):
        body += packer.compress(b"\0" * 2**20)
    path.write_bytes(meta + body + packer.flush())


def test_a_deflated_file_is_read_and_a_bomb_is_not_inflated(tmp_path):
    """Header and pixels of a plain one come back; one that grows to 300 MiB is refused with less than half of it."""
    import resource

    path = tmp_path / "plain" / "00000.dcm"
    _deflated(ct_slice(0), path, b"", 0)
    (series,) = read_series([path]).series
    assert assemble(series).hu.shape == (1, 64, 64)
    bomb = tmp_path / "bomb" / "00000.dcm"
    _deflated(ct_slice(0), bomb, struct.pack("<HH2sHI", 0x7FE1, 0x1010, b"OB", 0, 300 * 2**20), 300)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (series,) = read_series([bomb]).series
    with pytest.raises(AnalysisError):
        assemble(series)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 250 * 1024


def test_a_fifo_and_a_device_are_not_waited_for(tmp_path):
    """Only regular files are instances."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/dev/zero")
    reading = read_series([tmp_path / "fifo", tmp_path / "link"])
    assert [why for _, why in reading.unreadable] == ["not a DICOM file", "not a DICOM file"]


@pytest.mark.parametrize(("rows", "columns"), [(65535, 65535), (20000, 20000), (12000, 12000)])
def test_a_matrix_of_no_scanner_is_excluded_before_it_is_decoded(tmp_path, rows, columns):
    """The rule of the matrix says so; a file of some bytes claims gigabytes."""
    screening = screen_headers(read_series([write(ct_slices(12, Rows=rows, Columns=columns), tmp_path)]).series[0])
    assert (screening.reason or "").startswith(f"matrix: {rows} x {columns}")


@pytest.mark.parametrize(("total_gib", "transient"), [(4, False), (1000, True)])
def test_memory_is_judged_before_a_pixel_is_decoded(tmp_path, monkeypatch, total_gib, transient):
    """The cause names memory: for good where the machine never has so much, for now where it is in use."""
    monkeypatch.setattr(memory_rules, "total_bytes", lambda: total_gib * 2**30)
    monkeypatch.setattr(memory_rules, "_meminfo", lambda _: 2**30)
    monkeypatch.setattr("analysis.series.volume.decode_frames", lambda *_: pytest.fail("a pixel was decoded"))
    (series,) = read_series([write(ct_slices(60, Rows=4096, Columns=4096), tmp_path)]).series
    with pytest.raises(AnalysisError, match=r"memory.*60 frames of up to 4096 x 4096 need .* GiB") as caught:
        assemble(series)
    assert caught.value.transient is transient


def _empty_uids(count: int, **changes: object) -> list[pydicom.Dataset]:
    plain = {"SOPInstanceUID": "", "StudyInstanceUID": "9A41-BEEF-study", "SeriesInstanceUID": "9A41-BEEF-series"}
    return ct_slices(count, **{**plain, **changes})


def test_a_folder_of_slices_without_uids_is_a_series(tmp_path):
    """Instances are named by their content: the same wherever they lie, told once, and noted by a rule."""
    first = read_series([write(_empty_uids(40), tmp_path / "one")], derive=True)
    again = read_series([write(list(reversed(_empty_uids(40))), tmp_path / "two")], derive=True)
    (series,) = first.series
    assert len(series.headers) == 40
    assert series.series_instance_uid == "9A41-BEEF-series"
    assert len(first.notes) == 1
    assert "40 of 40 files have no SOPInstanceUID" in first.notes[0]
    uids = {header.sop_instance_uid for header in series.headers}
    assert uids == {header.sop_instance_uid for header in again.series[0].headers}
    assert all(uid.startswith("2.25.") for uid in uids)
    assert any(one.rule is Rule.IDENTIFIERS and one.outcome is Outcome.NOTED for one in screen_headers(series).results)
    assert not read_series([tmp_path / "one"]).series


@pytest.mark.parametrize(
    "changes",
    [
        {"SeriesInstanceUID": "", "StudyInstanceUID": ""},
        {
            "SeriesInstanceUID": lambda index: f"2.25.{index + 7}",
            "StudyInstanceUID": lambda index: f"2.25.{index + 900}",
        },
        {"SOPInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2"},
        {"SOPClassUID": ""},
    ],
    ids=["no series", "a series for each slice", "one instance UID for all", "no SOP class"],
)
def test_whatever_was_spoilt_the_folder_is_one_series(tmp_path, changes):
    """Emptied, scattered or all alike: the slices of a folder are one series of one study."""
    reading = read_series([write(_empty_uids(40, **changes), tmp_path)], derive=True)
    (series,) = reading.series
    assert len(series.headers) == 40
    assert screen_headers(series).eligible
    assert series.study_instance_uid
    assert reading.notes


def test_patients_and_folders_are_kept_apart(tmp_path):
    """Two patients under one series UID, or two folders without UIDs, are two series."""
    both = [*ct_slices(20, PatientID="A"), *ct_slices(20, PatientID="B", SOPInstanceUID=lambda index: f"1.9.{index}")]
    assert len(read_series([write(both, tmp_path / "mixed")], derive=True).series) == 2
    nothing = {"SeriesInstanceUID": "", "StudyInstanceUID": "", "PatientID": "", "StudyDate": "", "StudyTime": ""}
    for name, shift in (("one", 0), ("two", 500)):
        made = _empty_uids(20, **nothing)
        for dataset in made:
            set_pixels(dataset, np.full((64, 64), 1000 + shift))
        write(made, tmp_path / "bare" / name)
    found = read_series([tmp_path / "bare"], derive=True).series
    assert [len(one.headers) for one in found] == [20, 20]
    assert len({one.study_instance_uid for one in found}) == 2


def test_a_slice_sent_again_under_another_uid_counts_once(tmp_path):
    """The same place and pixels: left out and noted. Other pixels in the same place: told, and the series left out."""
    again = ct_slice(7, SOPInstanceUID="1.2.99")
    (series,) = read_series([write([*ct_slices(), again], tmp_path / "same")]).series
    assert len(series.headers) == 40
    screening = screen_headers(series)
    assert screening.eligible
    assert any(one.rule is Rule.REPEATS and one.outcome is Outcome.NOTED for one in screening.results)
    set_pixels(again, np.full((64, 64), 900))
    (series,) = read_series([write([*ct_slices(), again], tmp_path / "other")]).series
    assert "different pixels in the same place" in (screen_headers(series).reason or "")


def test_rescale_at_the_top_level_of_an_enhanced_ct_is_taken(tmp_path):
    """What the functional groups lack, and the top level has, is not lacking."""
    (series,) = read_series([write([enhanced(ct_slices(20))], tmp_path)]).series
    assert screen_headers(series).eligible
    assert int(assemble(series).hu.min()) == -1000


def test_an_enhanced_ct_without_rescale_or_with_other_frames_says_so(tmp_path):
    """The reason names what is wrong; no count is negative."""
    bare = enhanced(ct_slices(20))
    del bare.RescaleSlope
    (series,) = read_series([write([bare], tmp_path / "bare")]).series
    assert (screen_headers(series).reason or "").startswith("rescale: 20 of 20 slices lack them")
    for frames in (12, 50):
        (series,) = read_series([write([enhanced_of(frames)], tmp_path / str(frames))]).series
        reason = screen_headers(series).reason or ""
        assert reason.startswith(f"number of frames: Number of Frames is {frames}, functional groups: 20")


def enhanced_of(frames: int) -> pydicom.Dataset:
    """Twenty functional groups, and another number of frames."""
    made = enhanced(ct_slices(20))
    made.NumberOfFrames = frames
    return made


def test_frames_of_two_kernels_are_read_apart(tmp_path):
    """Kernels stand in the functional groups of each frame; the volume holds the frames of one."""
    parts = [ct_slice(index // 2) for index in range(40)]
    for index, part in enumerate(parts):
        set_pixels(part, np.full((64, 64), 100 if index % 2 else 1000))
    kernels = ("B30f", "B70f")
    whole = enhanced(parts, lambda index: {"CTReconstructionSequence": [item(ConvolutionKernel=kernels[index % 2])]})
    (series,) = read_series([write([whole], tmp_path)]).series
    volume = assemble(series)
    assert volume.hu.shape[0] == 20
    assert set(np.unique(volume.hu)) == {1000 - 1024}


def test_the_request_is_read_wherever_it_stands(tmp_path):
    """Top level, Request Attributes Sequence and codes: every text once."""
    request = item(
        RequestedProcedureDescription="CT chest",
        ScheduledProcedureStepDescription="COVID-19 follow-up",
        ReasonForTheRequestedProcedure="known COVID-19 pneumonia",
        ReasonForRequestedProcedureCodeSequence=[item(CodeMeaning="Viral pneumonia")],
    )
    slices = ct_slices(
        9,
        RequestAttributesSequence=[request],
        ReasonForStudy="fever",
        RequestedProcedureDescription="CT chest",
        AdmittingDiagnosesDescription="dyspnoea",
    )
    header = read_series([write(slices, tmp_path)]).series[0].headers[0]
    assert header.requested_procedure == "CT chest; COVID-19 follow-up"
    assert header.reason_for_request == "fever; dyspnoea; known COVID-19 pneumonia; Viral pneumonia"


@pytest.mark.parametrize(
    ("told", "years"),
    [
        ({"PatientAge": "045Y"}, 45),
        ({"PatientAge": "018M"}, 1),
        ({"PatientAge": "006D"}, 0),
        ({"PatientAge": "045Y", "PatientBirthDate": "20250101", "StudyDate": "20260131"}, 45),
        ({"PatientBirthDate": "19500201", "StudyDate": "20260131"}, 75),
        ({"PatientBirthDate": "19500131", "StudyDate": "20260131"}, 76),
        ({"PatientBirthDate": "20270101", "StudyDate": "20260131"}, None),
        ({"PatientBirthDate": "1950.02.01", "StudyDate": "2026.01.31"}, 75),
        ({"PatientBirthDate": "19480229", "StudyDate": "20260228"}, 77),
        ({"PatientBirthDate": "19000101", "StudyDate": "20260131"}, None),
        ({"PatientBirthDate": "00010101", "StudyDate": "20260131"}, None),
        ({"PatientBirthDate": "19500231", "StudyDate": "20260131"}, None),
        ({"PatientBirthDate": "19500131", "StudyDate": ""}, None),
        ({}, None),
    ],
)
def test_the_age_is_that_at_the_examination(tmp_path, told, years):
    """As the header tells it, else by the birthdays that were over on the day of the study."""
    slices = ct_slices(9, **({"PatientAge": "", "PatientBirthDate": "", "StudyDate": ""} | told))
    assert read_series([write(slices, tmp_path)]).series[0].headers[0].age_years == years
