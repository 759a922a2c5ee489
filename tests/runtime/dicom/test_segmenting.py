"""The `segment` verb on DICOM, from the command line to the SEG, and that no patient shows anywhere."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pydicom
import pytest
from medsam_edge.runtime.dicom.reading import read_series
from medsam_edge.runtime.dicom.requests import parse_request, parse_slice_box
from medsam_edge.runtime.dicom.seg_read import read_seg
from medsam_edge.runtime.dicom.segmenting import stem_of
from medsam_edge.runtime.dicom.segments import read_segments
from medsam_edge.runtime.errors import BoxError, ExitCode, UsageError
from medsam_edge.runtime.outputs import write_png
from medsam_edge.runtime.types import AnyArray
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import keyword_for_tag

Cli = Callable[..., CompletedProcess[str]]
Maker = Callable[..., Path]
Make = Callable[..., pydicom.FileDataset]
MARK = "ZZMARKZZ"
PERSONAL = ("Patient", "Physician", "Operator", "Institution", "Station", "Person")
WINDOW = ("--window", "500,3000")
GRAY = np.random.default_rng(3).integers(0, 256, (40, 56), np.uint8)


@pytest.fixture
def segment(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> Cli:
    """Run `segment` on the fake backend, results in `out`."""
    return lambda *words: cli("segment", tiny_bundle, *words, "--backend", "fake", "--out", tmp_path / "out")


@pytest.fixture
def volume() -> AnyArray:
    made: AnyArray = np.random.default_rng(8).integers(0, 3000, (5, 40, 56)).astype(np.uint16)
    return made


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def report_of(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(path.read_text())
    return report


def test_a_single_image_gets_its_files_and_a_seg(
    tmp_path: Path, dicom_image: Make, save_dicom: Maker, segment: Cli
) -> None:
    path = save_dicom(dicom_image(GRAY, "US"), tmp_path / "1.2.840.77")
    done = segment(path, "--box", "5,6,30,32", "--box", "20,4,50,22", "--dicom-seg", "binary", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert names_in(tmp_path / "out") == {
        f"1.2.840.77_{ending}" for ending in ("labels.png", "overlay.png", "report.json", "seg.dcm")
    }
    (result,) = json.loads(done.stdout)["results"]
    assert (result["objects"], result["dicom_seg"]) == (2, str(tmp_path / "out" / "1.2.840.77_seg.dcm"))
    found = read_seg(tmp_path / "out" / "1.2.840.77_seg.dcm", read_series(path))[0]
    assert found.labels == ("Object 1", "Object 2")
    pixels = [one["pixels"] for one in report_of(tmp_path / "out" / "1.2.840.77_report.json")["objects"]]
    assert found.masks.sum(axis=(1, 2)).tolist() == pixels


def test_a_slice_of_a_series_is_segmented_by_its_box(
    tmp_path: Path, ct_series: Maker, volume: AnyArray, segment: Cli
) -> None:
    folder = ct_series(tmp_path / "ct", volume, SpacingBetweenSlices="5")
    boxes = ("--box", "5,6,30,32@3", "--box", "20,4,50,22@1", "--box", "1,1,20,20@3")
    done = segment(folder, *boxes, *WINDOW, "--dicom-seg", "labelmap", "--json")
    assert done.returncode == 0
    results = json.loads(done.stdout)["results"]
    assert [(one["image"], one["objects"]) for one in results] == [(f"{folder} slice 1", 1), (f"{folder} slice 3", 2)]
    found = read_seg(tmp_path / "out" / "ct_seg.dcm", read_series(folder))
    assert {index: one.labels for index, one in found.items()} == {1: ("Object 2",), 3: ("Object 1", "Object 3")}
    report = report_of(tmp_path / "out" / "ct_slice0003_report.json")
    assert report["dicom"]["slice"] == 3
    assert report["dicom"]["spacing_mm"] == [pytest.approx(2.5), 0.5, 0.75]
    assert (report["window"]["low"], report["window"]["high"]) == (-1000, 2000)


def test_boxes_come_from_a_seg_slice_by_slice(tmp_path: Path, ct_series: Maker, volume: AnyArray, segment: Cli) -> None:
    folder = ct_series(tmp_path / "ct", volume)
    segment(folder, "--box", "5,6,30,32@3", "--box", "20,4,50,22@1", *WINDOW, "--dicom-seg", "binary")
    drawn = tmp_path / "drawn.dcm"
    (tmp_path / "out" / "ct_seg.dcm").rename(drawn)
    done = segment(folder, "--boxes-from", drawn, *WINDOW, "--dicom-seg", "binary", "--json")
    assert done.returncode == 0
    given, found = read_seg(drawn, read_series(folder)), read_seg(tmp_path / "out" / "ct_seg.dcm", read_series(folder))
    assert sorted(found) == sorted(given) == [1, 3]
    assert [one.labels for one in found.values()] == [("Object 2",), ("Object 1",)]
    (box,) = [one["box"] for one in report_of(tmp_path / "out" / "ct_slice0001_report.json")["objects"]]
    rows, columns = np.nonzero(given[1].masks[0])
    assert box == [columns.min(), rows.min(), columns.max(), rows.max()]


def test_a_label_map_gives_the_boxes_of_a_single_image(
    tmp_path: Path, dicom_image: Make, save_dicom: Maker, segment: Cli
) -> None:
    path = save_dicom(dicom_image(GRAY, "CR"), tmp_path / "a.dcm")
    labels = np.zeros((40, 56), np.uint8)
    labels[4:20, 6:30] = 7
    write_png(tmp_path / "labels.png", labels)
    assert segment(path, "--boxes-from", tmp_path / "labels.png").returncode == 0
    (one,) = report_of(tmp_path / "out" / "a_report.json")["objects"]
    assert (one["box"], one["reference_label"]) == ([6, 4, 29, 19], 7)


def test_segments_are_described_by_a_file(tmp_path: Path, dicom_image: Make, save_dicom: Maker, segment: Cli) -> None:
    path = save_dicom(dicom_image(GRAY, "CR"), tmp_path / "a.dcm")
    described = tmp_path / "segments.json"
    described.write_text('[{"label": "Liver", "type": "10200004,SCT,Liver"}]')
    words = (path, "--box", "5,6,30,32", "--dicom-seg", "binary", "--segments", described)
    assert segment(*words).returncode == 0
    (item,) = pydicom.dcmread(tmp_path / "out" / "a_seg.dcm").SegmentSequence
    assert item.SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"
    identified = item.SegmentationAlgorithmIdentificationSequence[0]
    assert identified.AlgorithmName == "tiny"
    assert "encoder_sha256" in identified.AlgorithmParameters
    assert segment(*words, "--box", "1,1,9,9").returncode == ExitCode.USAGE


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", "[1]", '[{"label": ""}]', '[{"label": "a", "colour": "b"}]', '[{"label": "a", "type": "b"}]', "["],
)
def test_a_file_of_segments_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "segments.json").write_text(text)
    with pytest.raises(UsageError):
        read_segments(tmp_path / "segments.json")


def test_requests_that_cannot_be_meant_are_refused(
    tmp_path: Path, ct_series: Maker, volume: AnyArray, segment: Cli
) -> None:
    folder = ct_series(tmp_path / "ct", volume)
    picture = tmp_path / "a.png"
    write_png(picture, GRAY)
    for words, said in (
        ((folder,), "boxes from one source"),
        ((folder, "--box", "1,1,9,9"), "the slice of each box"),
        ((folder, "--box", "1,1,9,9@5", *WINDOW), "a slice from 0 to 4"),
        ((folder, "--box", "1,1,9,99@1", *WINDOW), "a box inside its image"),
        ((folder, "--box", "1,1,9,9@1"), "--window header"),
        ((folder, "--box", "1,1,9,9@1", *WINDOW, "--dicom-seg", "none"), "binary or labelmap"),
        ((folder, picture, "--box", "1,1,9,9"), "either DICOM or other images"),
        ((picture, "--box", "1,1,9,9", "--dicom-seg", "binary"), "for other images"),
        ((folder, "--boxes-from", picture, *WINDOW), "a DICOM SEG to take"),
        ((folder, folder, "--box", "1,1,9,9@1", *WINDOW), "inputs with different names"),
    ):
        done = segment(*words)
        assert done.returncode == ExitCode.USAGE
        assert said in done.stderr
    for text in ("1,2,3,4@", "1,2,3,4@-1", "1,2,3@4"):
        with pytest.raises(BoxError):
            parse_slice_box(text)
    with pytest.raises(BoxError):
        parse_request(tmp_path, ["1,2,3,4"], tmp_path)
    assert not (tmp_path / "out").exists()


def test_what_a_person_brought_is_not_replaced(
    tmp_path: Path, ct_series: Maker, volume: AnyArray, segment: Cli
) -> None:
    folder = ct_series(tmp_path / "ct", volume)
    segment(folder, "--box", "5,6,30,32@3", *WINDOW, "--dicom-seg", "binary")
    drawn = tmp_path / "out" / "ct_seg.dcm"
    before = drawn.read_bytes()
    done = segment(folder, "--boxes-from", drawn, *WINDOW, "--dicom-seg", "binary")
    assert "not over it" in done.stderr
    assert drawn.read_bytes() == before


def test_results_are_named_as_the_caller_named_the_input() -> None:
    names = ("a.dcm", "1.2.840.113619.4", "b.IMA", "folder")
    assert [stem_of(Path(name)) for name in names] == ["a", "1.2.840.113619.4", "b", "folder"]


def marked(dataset: pydicom.Dataset) -> None:
    """Put the mark into everything that may name or describe a patient, a person, a place or a day."""
    for tag, (vr, *_) in DicomDictionary.items():
        words = keyword_for_tag(tag)
        personal = any(part in words for part in PERSONAL)
        if personal and vr in ("PN", "LO", "SH", "LT", "ST", "UT") and tag >> 16 in (0x8, 0x10, 0x32, 0x38, 0x40):
            setattr(dataset, words, f"{MARK}^{MARK}" if vr == "PN" else MARK)
    dataset.PatientID = dataset.AccessionNumber = dataset.StudyID = MARK
    dataset.StudyDescription = dataset.ImageComments = dataset.ProtocolName = MARK
    dataset.PatientBirthDate = dataset.StudyDate = dataset.SeriesDate = "17890714"
    dataset.StudyTime = "171819"
    block = dataset.private_block(0x0019, MARK, create=True)
    block.add_new(1, "LO", MARK)
    block.add_new(2, "PN", MARK)


def test_no_name_of_a_header_shows_in_any_output(
    tmp_path: Path, ct_series: Maker, volume: AnyArray, segment: Cli, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    folder = ct_series(tmp_path / "ct", volume)
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        marked(dataset)
        dataset.save_as(path)
    first = sorted(folder.iterdir())[0]
    said = []
    good = ("--box", "5,6,30,32@3", *WINDOW, "--dicom-seg", "binary")
    for words in ((), ("--json",)):
        done = segment(folder, *good, *words)
        assert done.returncode == 0
        said += [done.stdout, done.stderr]
    for words in (("--box", "5,6,30,32@3"), ("--box", "1,1,9,9@77", *WINDOW), (*good, "--series", "9.9")):
        said += [segment(folder, *words).stderr, segment(folder, *words, "--json").stdout]
    data = first.read_bytes()
    for broken in (data[:700], data[:1500], data.replace(b"1.2.3.4", MARK.encode()[:7])):
        (tmp_path / "broken.dcm").write_bytes(broken)
        done = segment(tmp_path / "broken.dcm", "--box", "1,1,9,9", *WINDOW, "--json")
        said += [done.stdout, done.stderr]
    outputs = [path for path in (tmp_path / "out").iterdir() if path.suffix != ".dcm"]
    assert len(outputs) >= 3
    said += [path.read_bytes().decode("latin1") for path in outputs]
    said += [str(path) for path in (tmp_path / "out").rglob("*")] + [caplog.text]
    for text in said:
        assert not any(trace in text for trace in (MARK, "17890714", "171819"))
    # The SEG is part of the patient's study, and says so; private elements stay behind.
    seg = pydicom.dcmread(tmp_path / "out" / "ct_seg.dcm")
    assert (seg.PatientName, seg.PatientID) == (f"{MARK}^{MARK}", MARK)
    assert not [element for element in seg if element.tag.is_private]
