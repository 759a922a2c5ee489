"""`segment` on volumes, from files to files."""

import gzip
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from medsam_edge.runtime import files as whole_files
from medsam_edge.runtime.errors import BoxError, CancelledError, StorageError, UsageError, VolumeError
from medsam_edge.runtime.predictor import Predictor
from medsam_edge.runtime.volumes.files import Request, WrittenVolume, segment_volume_files
from medsam_edge.runtime.volumes.prompts import VolumeBox
from medsam_edge.runtime.volumes.reading import read_label_volume, read_volume
from medsam_edge.runtime.volumes.segmenting import VolumeOptions
from medsam_edge.runtime.windows import parse_window

nibabel = pytest.importorskip("nibabel")
HU = np.random.default_rng(1).integers(-900, 900, (6, 40, 50)).astype(np.int16)
LABELS = np.zeros((6, 40, 50), np.uint8)
LABELS[1:5, 8:20, 10:30] = 4
LABELS[3:6, 22:36, 20:44] = 17
BOX = VolumeBox((5, 6, 1, 30, 28, 4))
Save = Callable[..., Path]


@pytest.fixture
def predictor(fake_predictor: Callable[..., Predictor]) -> Predictor:
    return fake_predictor()


@pytest.fixture
def scan(save_nifti: Save) -> Path:
    return save_nifti("scan_CT.nii.gz", HU)


def segment_one(predictor: Predictor, path: Path, out: Path, **wanted: Any) -> WrittenVolume:  # noqa: ANN401
    (written,) = segment_volume_files(predictor, [path], Request(out, **wanted))
    return written


def report_of(written: WrittenVolume) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(Path(written.report).read_text())
    return report


def test_labels_montage_and_report_are_written_where_the_volume_lies(
    predictor: Predictor, scan: Path, save_nifti: Save, tmp_path: Path
) -> None:
    labels = save_nifti("labels.nii.gz", LABELS)
    written = segment_one(predictor, scan, tmp_path / "out", boxes_from=labels)
    names = {"scan_CT_seg.nii.gz", "scan_CT_overlay.png", "scan_CT_report.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    one, other = nibabel.load(scan), nibabel.load(written.labels)
    assert one.affine.tobytes() == other.affine.tobytes()
    assert set(np.unique(np.asanyarray(other.dataobj))) == {0, 1, 2}
    with PIL.Image.open(written.overlay) as picture:
        assert picture.mode == "RGB"


def test_the_report_says_what_was_done_and_where(
    predictor: Predictor, scan: Path, save_nifti: Save, tmp_path: Path
) -> None:
    written = segment_one(predictor, scan, tmp_path, boxes_from=save_nifti("labels.nii.gz", LABELS))
    report, labels = report_of(written), read_label_volume(Path(written.labels)).voxels
    assert report["schema"] == "medsam-edge/segmented-volume/1"
    assert report["volume"]["affine"] == nibabel.load(scan).affine.tolist()
    assert (report["volume"]["orientation"], report["volume"]["modality"]) == ("LAS", "CT")
    assert (report["window"]["name"], report["slicing"]["name"]) == ("abdomen", "acquisition")
    assert report["convention"] == {
        "name": "litemedsam", "z_max_inclusive": True, "margin": 3 / 256, "after_empty": "stop"
    }  # fmt: skip
    first, second = report["objects"]
    assert (first["reference_label"], second["reference_label"]) == (4, 17)
    assert first["box_in_file"] == [10, 8, 1, 29, 19, 4]
    assert [one["voxels_in_label_map"] for one in (first, second)] == np.bincount(labels.ravel())[1:].tolist()
    assert first["voxels"] >= first["voxels_in_label_map"]
    assert report["slices_encoded"] == 5
    assert report["served_by"]["backend"] == "fake"


@pytest.mark.parametrize("slices", ["acquisition", "axial", "sagittal"])
def test_boxes_of_a_report_are_in_voxels_of_the_file_however_it_was_cut(
    predictor: Predictor, scan: Path, save_nifti: Save, tmp_path: Path, slices: str
) -> None:
    options = VolumeOptions(slicing=slices)
    written = segment_one(predictor, scan, tmp_path, boxes=(BOX,), options=options)
    assert report_of(written)["objects"][0]["box_in_file"] == [5, 6, 1, 30, 28, 4]
    assert report_of(written)["objects"][0]["voxels"] > 0


def test_an_npz_brings_its_boxes_and_gets_the_challenges_file(predictor: Predictor, tmp_path: Path) -> None:
    boxes = np.array([[5, 6, 1, 30, 28, 4]])
    np.savez(tmp_path / "3DBox_CT_1.npz", imgs=HU.astype(np.uint8), boxes=boxes, spacing=[1.0, 2.0, 3.0])
    written = segment_one(predictor, tmp_path / "3DBox_CT_1.npz", tmp_path / "out")
    with np.load(written.labels) as found:
        assert found["segs"].shape == HU.shape
        assert found["spacing"].tolist() == [1, 2, 3]
    assert report_of(written)["window"] is None


def test_a_nrrd_stays_a_nrrd(predictor: Predictor, tmp_path: Path) -> None:
    head = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: LPS\nsizes: 50 40 6\nspace directions: (1,0,0) (0,1,0) (0,0,2)\n"
    )
    rest = "endian: little\nencoding: raw\nspace origin: (1.1,2.2,3.3)\n\n"
    (tmp_path / "a.nrrd").write_bytes((head + rest).encode() + HU.tobytes())
    written = segment_one(predictor, tmp_path / "a.nrrd", tmp_path, boxes=(BOX,), modality="MR")
    one, other = (read_volume(Path(path)).geometry for path in (tmp_path / "a.nrrd", written.labels))
    assert one.affine.tobytes() == other.affine.tobytes()
    assert (written.window and written.window.name, Path(written.labels).name) == ("mr", "a_seg.nrrd")


def test_labels_are_found_in_a_folder_by_their_name(predictor: Predictor, scan: Path, save_nifti: Save) -> None:
    reference = save_nifti("scan_CT_seg.nii.gz", LABELS)
    written = segment_one(predictor, scan, scan.parent / "out", boxes_from=scan.parent)
    assert written.objects == 2
    with pytest.raises(UsageError, match="not over it"):
        segment_one(predictor, scan, scan.parent, boxes_from=reference)
    assert read_label_volume(reference).voxels.max() == 17


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ({}, BoxError),
        ({"boxes": (BOX,), "boxes_from": Path("x.nii")}, UsageError),
        ({"boxes_from": Path("missing.nii")}, StorageError),
        ({"boxes": (VolumeBox((5, 6, 1, 30, 28, 40)),)}, BoxError),
        ({"boxes": (BOX,), "modality": "US"}, VolumeError),
    ],
)
def test_nothing_is_written_for_what_cannot_be_meant(
    predictor: Predictor, scan: Path, tmp_path: Path, wanted: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        segment_one(predictor, scan, tmp_path / "out", **wanted)
    assert not (tmp_path / "out").exists()


def test_empty_labels_nan_and_the_volume_as_its_own_labels_are_refused(
    predictor: Predictor, scan: Path, save_nifti: Save, tmp_path: Path
) -> None:
    empty, broken = save_nifti("empty.nii.gz", LABELS * 0), HU.astype(np.float32)
    broken[2, 2, 2] = np.nan
    with pytest.raises(BoxError, match="background only"):
        segment_one(predictor, scan, tmp_path / "out", boxes_from=empty)
    with pytest.raises(UsageError, match="the volume itself"):
        segment_one(predictor, scan, tmp_path / "out", boxes_from=scan)
    with pytest.raises(VolumeError, match="slice 2"):
        segment_one(predictor, save_nifti("b_CT.nii.gz", broken), tmp_path / "out", boxes=(BOX,))
    with pytest.raises(UsageError, match="different names"):
        list(segment_volume_files(predictor, [scan, tmp_path / "scan_CT.nrrd"], Request(tmp_path / "out", (BOX,))))
    assert not (tmp_path / "out").exists()


def test_a_cancelled_run_leaves_a_journal_and_the_next_goes_on(
    predictor: Predictor, scan: Path, tmp_path: Path
) -> None:
    cancel = threading.Event()
    request = Request(tmp_path / "out", (BOX,))

    def progress(_name: str, done: int, _count: int) -> None:
        if done == 2:
            cancel.set()

    with pytest.raises(CancelledError):
        list(segment_volume_files(predictor, [scan], request, progress, cancel))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["scan_CT.journal"]
    (resumed,) = segment_volume_files(predictor, [scan], request)
    whole = segment_one(predictor, scan, tmp_path / "whole", boxes=(BOX,), resume=False)
    assert (resumed.visits_resumed, whole.visits_resumed) == (2, 0)
    assert Path(resumed.labels).read_bytes() == Path(whole.labels).read_bytes()
    assert not list((tmp_path / "out").glob("*.journal"))


def test_without_resume_no_journal_is_ever_there(predictor: Predictor, scan: Path, tmp_path: Path) -> None:
    def progress(*_: object) -> None:
        assert not list((tmp_path / "out").iterdir())

    list(segment_volume_files(predictor, [scan], Request(tmp_path / "out", (BOX,), resume=False), progress))


def test_a_full_disk_at_the_end_leaves_the_old_results_and_the_journal(
    predictor: Predictor, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment_one(predictor, scan, tmp_path / "out", boxes=(BOX,))
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    other = (VolumeBox((5, 6, 2, 31, 28, 4)),)

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patched:
        patched.setattr(whole_files, "_write_synced", full)
        with pytest.raises(StorageError, match="No space"):
            segment_one(predictor, scan, tmp_path / "out", boxes=other)
    after = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert {name: data for name, data in after.items() if not name.endswith(".journal")} == before
    assert segment_one(predictor, scan, tmp_path / "out", boxes=other).visits_resumed == 3


def test_no_name_of_a_person_reaches_any_output(predictor: Predictor, tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(HU.transpose(2, 1, 0), np.eye(4))
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        image.header[field] = b"DOE^JANE"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"DOE^JANE"))
    nibabel.save(image, tmp_path / "a.nii")
    written = segment_one(predictor, tmp_path / "a.nii", tmp_path / "out", boxes=(BOX,), modality="CT")
    data = [gzip.decompress(Path(written.labels).read_bytes())]
    data += [Path(path).read_bytes() for path in (written.overlay, written.report)]
    assert not any(b"DOE" in one for one in data)


def test_a_window_may_be_named(predictor: Predictor, save_nifti: Save, tmp_path: Path) -> None:
    options = VolumeOptions(window=parse_window("lung"), scope="slice")
    written = segment_one(predictor, save_nifti("a.nii", HU), tmp_path / "out", boxes=(BOX,), options=options)
    report = report_of(written)
    assert (report["window"], report["window_of_each_slice"]) == (None, "lung")
